# SPDX-License-Identifier: MIT
"""Random recurrent layers for `random_models`: every cell, option, activation of each gate, and shape of frame."""

import numpy as np

from networks import GATES
from random_nodes import CENTRES, PLACES, SMOOTH, Builder
from undertow.ir.activations import KINDS, Activation

CELLS = tuple(GATES)
#: activations of gates under which a smooth cell stays bounded
GATELIKE = ("sigmoid", "hard_sigmoid", "tanh", "softsign", "sin", "clip")
CANDIDATES = tuple(k for k in SMOOTH if k not in ("softplus", "silu", "affine"))


def activations(b: Builder, op: str, cycle: int | None) -> tuple[Activation, ...]:
    """One for each place; `cycle` counts through all kinds, so that every place sees every one of them."""
    if cycle is not None:
        kinds = tuple(KINDS)
        return tuple(b.activation((kinds[(cycle + 9 * p) % len(kinds)],)) for p in range(len(PLACES[op])))
    if b.chance(0.5):
        usual = {"gate": "sigmoid"}
        return tuple(Activation(usual.get(place, "tanh")) for place in PLACES[op])
    if b.smooth:
        return tuple(b.activation(GATELIKE if place == "gate" else CANDIDATES) for place in PLACES[op])
    return tuple(b.activation() for _ in PLACES[op])


def weights(b: Builder, op: str, n_in: int, hidden: int, fed_back: int, acts, precisions) -> dict[str, np.ndarray]:
    """Weights of the size under which the inputs of gates lie where their activations are at home."""
    by_gate = {
        "rnn": [acts[0]],
        "gru": [acts[0], acts[0], acts[-1]],
        "lstm": [acts[0], acts[0], acts[1 % len(acts)], acts[0]],
    }[op]
    calm = np.array([0.3 if a.kind in CENTRES else 0.7 for a in by_gate])[:, None, None]
    centres = np.array([CENTRES.get(a.kind, 0.0) for a in by_gate])[:, None]
    G = GATES[op]
    w = {
        "W": b.matrix(G, hidden, n_in, precision=precisions.get("W", "float32")) * calm,
        "R": b.matrix(G, hidden, fed_back, precision=precisions.get("R", "float32")) * calm,
    }
    if centres.any() or b.chance(0.8):
        w["b"] = b.vector(G, hidden) * calm[..., 0] + centres
    return w


def cell(b: Builder, op: str, hidden: int, *, cycle: int | None = None) -> None:
    """Add a cell of any options over some value; its outputs join the pool."""
    layout = "plain" if b.chance(0.55) else b.one_of(("rows", "steps", "both"))
    rows = (int(b.rng.integers(1, 4)),) if layout in ("rows", "both") else ()
    steps = (int(b.rng.integers(1, 5)),) if layout in ("steps", "both") else ()
    hidden = hidden if layout == "plain" else min(hidden, 33)
    x = b.pick(130)
    n_in = b.n(x) if layout == "plain" else b.size(17)
    x = b.fit(x, (*steps, *rows, n_in))

    attrs = {"activations": activations(b, op, cycle), "steps": bool(steps)}
    if b.chance(0.25):
        attrs["clip"] = b.one_of((0.5, 1.25, 3.0))
    if op == "gru":
        attrs["reset_after"] = b.chance(0.5)
    if op == "lstm":
        attrs["input_forget"] = b.chance(0.25)
    projection = op == "lstm" and b.chance(0.3)
    fed_back = b.size(65) if projection else hidden

    start = "states" if layout == "plain" and b.chance(0.9) else b.one_of(("states", "given", "zero"))
    if start == "zero" and not steps:
        start = "given"
    backwards = bool(steps) or (b.whole and start == "states")
    attrs["reverse"] = backwards and b.chance(0.6 if b.whole else 0.4)
    attrs["masked"] = layout == "plain" and start == "states" and b.chance(0.5 if b.whole else 0.1)

    keys = ["W", "R", *(["projection"] if projection else [])]
    precisions = b.precisions(keys)
    w = weights(b, op, n_in, hidden, fed_back, attrs["activations"], precisions)
    if projection:
        w["projection"] = b.matrix(fed_back, hidden, precision=precisions.get("projection", "float32"))
    if op == "lstm" and b.chance(0.3):
        w["peephole"] = b.vector(3, hidden) * 0.5
    if attrs.get("reset_after") and b.chance(0.8):
        w["rb_n"] = b.vector(hidden)

    name = b.graph.unique_name(op)
    widths = {"h": fed_back, **({"c": hidden} if op == "lstm" else {})}
    states, more = [], []
    for letter, width in widths.items():
        shape = (*rows, width)
        if start == "states":
            init = np.tanh(b.vector(*shape)) if b.chance(0.4) else None
            states.append(b.graph.state(f"{name}.{letter}", shape, init))
        elif start == "given":
            more.append(b.fit(b.tame(b.pick()), shape))
    if start == "states" and not (attrs["reverse"] and not steps) and b.chance(0.2):
        more = [b.gate()]
    h = b.add(op, [x, *more], name=name, weights=w, attrs=attrs, states=states, precisions=precisions)
    b.keep(h)
    if op == "lstm" and b.chance(0.5):
        b.keep(h.removesuffix(".h") + ".c")
