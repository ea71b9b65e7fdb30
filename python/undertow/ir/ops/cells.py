# SPDX-License-Identifier: MIT
"""Recurrent cells.

Letters: I inputs, H hidden units, P width of the hidden state that is fed back (P = H unless an lstm has a projection).
Gate order is i, f, g, o (lstm) and z, r, n (gru); importers permute, nothing else does. Formulas: ONNX operator
specification, RNN, GRU, LSTM; a pre-activation is (b + W x) + R h. `clip` bounds the input of every gate's activation
to [-clip, clip] (not c on its way out: ONNX Runtime and OpenVINO do not either). `masked` stops a cell at the length of
the sequence: later outputs are zero and the final state is the one at the length (ONNX sequence_lens).

A cell takes frames of shape ([L,] [B,] I) and gives h ([L,] [B,] P) and, if it has one, c ([L,] [B,] H):

* the axis B is that many sequences side by side, which share the weights; its states are h (B, P) and c (B, H);
* with `steps`, the leading axis L is timesteps inside one frame, walked in order, or with `reverse` from the last to
  the first (which needs no whole sequence: `reverse` is about the axis it walks). Its states are those after the last;
* without states, a cell forgets at the end of its frame: it starts from zero, or from further inputs h0 ([B,] P) and
  c0 ([B,] H). It is a frame op then. Without `steps` it walks one timestep, and needs these inputs.

None of the three goes together with `masked`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import FormatError, UnsupportedError
from .. import fixed
from ..activations import SIGMOID, TANH, Activation, activate
from ..fixed import Fixed
from ..nodes import Node, Scope, Value
from ..precision import FIXED
from ..products import times
from .base import HIDDEN, INPUT, Arrays, Frames, Layout, Op, Params, Shape, Shapes, Stored, Weight, Weights
from .checks import Outputs, fail, gated, weight
from .elementwise import named_activation
from .params import (
    ACTIVATION,
    MASKED,
    REVERSE,
    STEPS,
    VARIANT,
    activation_at,
    f32,
    from_activations,
    from_f32,
)

_W, _R = Weight("W", Layout.MATRIX, INPUT, fixed=True), Weight("R", Layout.MATRIX, HIDDEN, fixed=True)
_B = Weight("b", Layout.GATES)
_ATTRS = ("activations", "clip", "reverse", "masked", "steps")
_SMALLEST, _LARGEST = 2.0**-126, float(np.finfo(np.float32).max)
#: what a clip may be
BOUNDS = "expected a number above 0 that float32 holds, 2^-126 at least"


def is_bound(clip: float) -> bool:
    """Whether a float32 `clip` of a cell bounds anything: what is subnormal counts as 0, and 0 stands for none."""
    return clip >= _SMALLEST and (clip <= _LARGEST or clip == np.inf)


def clipped(attrs: dict[str, Any], a: np.ndarray) -> np.ndarray:
    """The input of a gate within the bounds of the cell."""
    return a if attrs["clip"] is None else np.clip(a, -attrs["clip"], attrs["clip"])


class Cell(Op):
    """A recurrent layer; W (G, H, I), R (G, H, P) and b (G, H)? with G gates. Its first outputs are its states."""

    #: gates; activations where none are given; the attribute that tells two forms of the cell, if there are two
    n_gates: int
    usual: tuple[Activation, ...]
    form = ""
    #: besides float32: where W and R of a plain cell both are in one of these, one kernel takes a timestep
    in_one: tuple[str, ...] = ()
    #: update(attrs, w, x (I,), *states) -> the states after one timestep, which are its outputs
    update: Callable[..., Arrays]
    #: the same of a cell in fixed8, whose W and R are `Fixed`
    update_fixed: Callable[..., Arrays]

    n_inputs: tuple[int, ...] = (1, 2)
    attrs: tuple[str, ...] = _ATTRS
    weights: tuple[Weight, ...] = (_W, _R, _B)
    stored: tuple[Weight, ...] = (_W, _B, _R)
    landmark = True

    # -- checks -----------------------------------------------------------------------------------------------------

    def widths(self, node: Node) -> dict[str, int]:
        """Of each state, by its letter."""
        return {"h": node.weights["R"].shape[2]}

    def check_own(self, node: Node, hidden: int) -> None:
        """Check what only this cell has."""

    def fed_back(self, node: Node, hidden: int) -> int:
        """Check what makes the hidden state of the units, and give its width."""
        return hidden

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        x, *starts = gated(graph, node, self.is_gated(node))
        W = node.weights.get("W")
        if W is None or W.ndim != 3 or W.shape[0] != self.n_gates:
            fail(node, f"W has shape {None if W is None else W.shape}, expected ({self.n_gates}, hidden, inputs)")
        _, hidden, n_in = W.shape
        weight(node, "R", (self.n_gates, hidden, self.fed_back(node, hidden)))
        weight(node, "b", (self.n_gates, hidden), optional=True)

        activations = node.attrs.setdefault("activations", self.usual)
        if isinstance(activations, str) or len(activations) != len(self.usual):
            fail(node, f"activations are {activations!r}, expected {len(self.usual)} of them")
        node.attrs["activations"] = tuple(
            a if isinstance(a, Activation) else named_activation(node, a) for a in activations
        )
        for flag in ("reverse", "masked", "steps", *([self.form] if self.form else [])):
            node.attrs[flag] = bool(node.attrs.get(flag, False))
        clip = node.attrs.setdefault("clip", None)
        if clip is not None and not is_bound(clip):
            fail(node, f"clip is {clip}, {BOUNDS}")
        self.check_own(node, hidden)

        n_steps_axes = int(node.attrs["steps"])
        if len(x.shape) - n_steps_axes not in (1, 2) or x.shape[-1] != n_in:
            expected = f"(steps, {n_in}) or (steps, rows, {n_in})" if n_steps_axes else f"({n_in},) or (rows, {n_in})"
            fail(node, f"input {x.name!r} has shape {x.shape}, expected {expected}: W is {W.shape}")
        outer, rows = x.shape[:-1], x.shape[n_steps_axes:-1]
        widths = self.widths(node)
        if node.attrs["masked"] and (outer or not node.states):
            raise UnsupportedError(
                f"{node.op} {node.name!r}: masked goes with frames of shape ({n_in},) and states only, "
                "not with rows or steps inside of a frame"
            )
        if node.states and starts:
            fail(
                node,
                f"has states and {len(starts)} inputs to start from, expected one of the two, or a gate (1,)",
            )
        if not node.states and not starts and not node.attrs["steps"]:
            fail(node, f"has 0 states, expected {list(widths)}, or as many further inputs to start each frame from")
        if node.attrs["reverse"] and not node.states and not node.attrs["steps"]:
            fail(node, "reverse is given, but a cell without states and steps has no time to walk")
        if node.states and len(node.states) != len(widths):
            fail(node, f"has {len(node.states)} states, expected {list(widths)}")
        if starts and len(starts) != len(widths):
            fail(node, f"has {len(starts)} inputs to start from, expected {[f'{letter}0' for letter in widths]}")
        for state, (letter, width) in zip(node.states, widths.items(), strict=False):
            shape = graph.states[state].shape
            if shape != (*rows, width):
                fail(node, f"state {letter} ({state!r}) has shape {shape}, expected {(*rows, width)}")
        for start, (letter, width) in zip(starts, widths.items(), strict=False):
            if start.shape != (*rows, width):
                fail(node, f"input {letter}0 ({start.name!r}) has shape {start.shape}, expected {(*rows, width)}")
        once = not node.states and x.once and all(start.once for start in starts)
        return [(letter, Value("", (*outer, width), once=once)) for letter, width in widths.items()]

    def is_plain(self, node: Node) -> bool:
        """Whether kernels of one timestep of one row take it: nothing but what every cell of its kind has."""
        return bool(node.states) and not self._extras(node)

    def _extras(self, node: Node) -> list[str]:
        """What it has that not every cell of its kind has."""
        extras = [f"a {key}" for key in ("peephole", "projection") if key in node.weights]
        extras += ["a clip"] if node.attrs["clip"] is not None else []
        extras += ["input_forget"] if node.attrs.get("input_forget") else []
        other = tuple(node.attrs["activations"]) != self.usual
        return extras + ([f"activations {' '.join(map(str, node.attrs['activations']))}"] if other else [])

    def why_not_fixed(self, node: Node) -> str:
        """What keeps it from fixed8, behind its name: "has a clip"; "" of a cell that may be."""
        extras = self._extras(node)
        return f"has {', '.join(extras)}" if extras else ""

    def check_precisions(self, node: Node) -> None:
        if FIXED in (node.precisions.get("W"), node.precisions.get("R")) and (why := self.why_not_fixed(node)):
            raise UnsupportedError(
                f"{node.op} {node.name!r} {why}, and {FIXED} is for cells with {' '.join(map(str, self.usual))} and "
                "nothing else: store it as int8"
            )
        super().check_precisions(node)
        chosen = [node.precisions.get(key, "float32") for key in ("W", "R")]
        if FIXED in chosen and chosen != [FIXED, FIXED]:
            raise UnsupportedError(
                f"{node.op} {node.name!r}: W is {chosen[0]} and R is {chosen[1]}; {FIXED} is for both or for neither"
            )

    # -- in a file --------------------------------------------------------------------------------------------------

    def _is_framed(self, node: Node, frames: Frames) -> bool:
        """Whether it has rows or steps in its frames, or no states: the second of its kinds."""
        return len(frames.inputs[0]) > 1 or not node.states

    def kind(self, node: Node, frames: Frames) -> int:
        return self.kinds[self._is_framed(node, frames)]

    def params(self, node: Node, arrays: Stored, frames: Frames) -> list[int]:
        a = node.attrs
        flags = REVERSE * a["reverse"] | VARIANT * bool(a.get(self.form)) | MASKED * a["masked"] | STEPS * a["steps"]
        hidden = [node.weights["W"].shape[1]] if self._is_framed(node, frames) else []
        return [*from_activations(*a["activations"]), flags, f32(a["clip"] or 0.0), *hidden]

    def _own(self, params: Params) -> Params:
        """What follows on the activations: flags, clip, and of a cell that has no states to tell it, H."""
        return params[ACTIVATION * len(self.usual) :]

    def sizes(self, params: Params, frames: Frames) -> tuple[int, int, int]:
        """(I, H, P)"""
        _, _, *hidden = self._own(params)
        return frames.inputs[0][-1], hidden[0] if hidden else frames.states[-1][-1], frames.outputs[0][-1]

    def stored_shapes(self, params: Params, frames: Frames) -> Shapes:
        n_in, hidden, fed_back = self.sizes(params, frames)
        return (self.n_gates, hidden, n_in), (self.n_gates, hidden), (self.n_gates, hidden, fed_back)

    def attributes(self, params: Params, frames: Frames) -> dict[str, Any]:
        flags, clip, *_ = self._own(params)
        return {
            "activations": tuple(activation_at(params, i) for i in range(len(self.usual))),
            "clip": from_f32(clip) or None,
            "reverse": bool(flags & REVERSE),
            "masked": bool(flags & MASKED),
            "steps": bool(flags & STEPS),
            **({self.form: bool(flags & VARIANT)} if self.form else {}),
        }

    # -- what it computes -------------------------------------------------------------------------------------------

    def rows(self, node: Node, w: Weights, x: np.ndarray, states: Arrays) -> Arrays:
        """One timestep: x (I,), or (B, I) with as many rows in its states. Gives the states after it."""
        update: Callable[..., Arrays]
        update = self.update_fixed if isinstance(w["W"], Fixed) else self.update
        if x.ndim == 1:
            return update(node.attrs, w, x, *states)
        rows = [update(node.attrs, w, row, *before) for row, *before in zip(x, *states, strict=True)]
        return tuple(np.stack(after) for after in zip(*rows, strict=True))

    def walk(self, node: Node, w: Weights, x: np.ndarray, states: Arrays) -> tuple[Arrays, Arrays]:
        """One frame ([L,] [B,] I): the outputs, after every step of it; and the states after the last one."""
        if not node.attrs["steps"]:
            states = self.rows(node, w, x, states)
            return states, states
        outputs = tuple(np.zeros((len(x), *s.shape)) for s in states)
        for step in reversed(range(len(x))) if node.attrs["reverse"] else range(len(x)):
            states = self.rows(node, w, x[step], states)
            for output, s in zip(outputs, states, strict=True):
                output[step] = s
        return outputs, states

    def formula(self, node: Node, w: Weights, x: np.ndarray, *starts: np.ndarray) -> Arrays:
        """Without states: each frame from its own start."""
        zeros = self._zeros(node, x.shape[1:])
        per_frame = [self.walk(node, w, x[t], tuple(s[t] for s in starts) or zeros)[0] for t in range(len(x))]
        if not per_frame:
            steps = x.shape[1:2] if node.attrs["steps"] else ()
            return tuple(np.zeros((0, *steps, *s.shape)) for s in zeros)
        return tuple(np.stack(output) for output in zip(*per_frame, strict=True))

    def _zeros(self, node: Node, frame: Shape) -> Arrays:
        rows = frame[int(node.attrs["steps"]) : -1]
        return tuple(np.zeros((*rows, width)) for width in self.widths(node).values())

    def step(self, node: Node, w: Weights, xs: Sequence[np.ndarray], states: Arrays) -> tuple[Arrays, Arrays]:
        return self.walk(node, w, xs[0][-1], states) if states else super().step(node, w, xs, states)

    # -- how it is shown --------------------------------------------------------------------------------------------

    def form_words(self, node: Node) -> list[str]:
        """Which of the forms of the cell it is."""
        return []

    def own_words(self, node: Node) -> list[str]:
        """What only this cell has."""
        return []

    def words(self, node: Node, shapes: Shapes) -> list[str]:
        attrs, frame = node.attrs, shapes[0]
        activations = " ".join(map(str, attrs["activations"]))
        words = [
            f"{frame[0]} steps of a frame" if attrs["steps"] else "",
            f"{frame[-2]} rows" if len(frame) == 2 + attrs["steps"] else "",
            "backwards" if attrs["reverse"] else "forwards",
            *self.form_words(node),
            activations if tuple(attrs["activations"]) == self.usual else f"{activations} (not the usual ones)",
            "" if "b" in node.weights else "no bias",
            *self.own_words(node),
            "" if attrs["clip"] is None else f"clip {attrs['clip']:g}",
            "masked by length" if attrs["masked"] else "",
            "" if node.states else "starts from an input" if len(node.inputs) > 1 else "forgets",
        ]
        return [word for word in words if word]

    # -- time -------------------------------------------------------------------------------------------------------

    def may_be_gated(self, node: Node) -> bool:
        return bool(node.states)

    def walks_back(self, node: Node) -> bool:
        return bool(node.attrs["reverse"] and not node.attrs["steps"])

    def needs_whole_sequence(self, node: Node) -> str:
        if self.walks_back(node):
            return "it runs backwards in time (direction reverse, or one half of a bidirectional layer)"
        return ""


def _sums(w: Weights, x: np.ndarray, h: np.ndarray, rb: Any = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """W x + b and R h + rb of a cell in fixed8, and for which units both are numbers."""
    (a, known_a), (q, known_q) = w["W"].times(x, w.get("b", 0.0)), w["R"].times(h, rb, fixed.OF_H)
    return a, q, known_a.all(axis=0) & known_q.all(axis=0)


class Rnn(Cell):
    """h' = f(W x + R h + b); activations (f,), clip, reverse, masked, steps; states h"""

    name, kinds = "rnn", (12, 24)
    n_gates, usual = 1, (TANH,)

    def update(self, attrs: dict[str, Any], w: Weights, x: np.ndarray, h: np.ndarray) -> Arrays:
        (f,) = attrs["activations"]
        (a,) = times(w["W"], x, w.get("b", 0.0)) + times(w["R"], h)
        return (activate(f, clipped(attrs, a)),)

    def update_fixed(self, attrs: dict[str, Any], w: Weights, x: np.ndarray, h: np.ndarray) -> Arrays:
        (a,), (q,), known = _sums(w, x, h)
        return (fixed.numbers(fixed.tanh(a + q), known, 15),)


class Gru(Cell):
    """h' = (1 - z) n + z h; activations (gate, candidate), reset_after, clip, reverse, masked, steps; states h.

    The reset gate r multiplies R_n h + rb_n with `reset_after`, else h before R_n does; rb_n (H)? is for the first.
    """

    name, kinds = "gru", (13, 25)
    n_gates, usual, form = 3, (SIGMOID, TANH), "reset_after"
    in_one = ("int16", "int8")
    attrs = (*_ATTRS, form)
    weights = (_W, _R, _B, Weight("rb_n"))
    #: R holds two gates where R_n multiplies another vector than they do; rb is zero for z and r, whose b has it
    stored = (_W, _B, _R, Weight("R", Layout.MATRIX, HIDDEN, fixed=True, part="R_n"), Weight("rb", Layout.GATES))

    def check_own(self, node: Node, hidden: int) -> None:
        weight(node, "rb_n", (hidden,), optional=True)
        if "rb_n" in node.weights and not node.attrs["reset_after"]:
            fail(node, "rb_n is given, but only a GRU with reset_after has a recurrent candidate bias")

    def split(self, node: Node) -> list[np.ndarray | None]:
        w, R = node.weights, node.weights["R"]
        if not node.attrs["reset_after"]:
            return [w["W"], w.get("b"), R[:2], R[2:], None]
        rb = np.zeros(R.shape[:2], np.float32)
        rb[2] = w.get("rb_n", 0.0)
        return [w["W"], w.get("b"), R, None, rb]

    def stored_shapes(self, params: Params, frames: Frames) -> Shapes:
        W, b, R = super().stored_shapes(params, frames)
        _, hidden, fed_back = R
        flags = self._own(params)[0]
        return W, b, R if flags & VARIANT else (2, hidden, fed_back), (1, hidden, fed_back), b

    def join(self, arrays: Stored, params: Params, frames: Frames) -> dict[str, np.ndarray | None]:
        W, b, R, R_n, rb = arrays
        if not self._own(params)[0] & VARIANT:
            assert R is not None and R_n is not None
            return {"W": W, "b": b, "R": np.concatenate([R, R_n])}
        assert rb is not None
        if rb[:2].any():
            raise FormatError("a gru has a recurrent bias for gates z and r; expected zeros, b has it")
        return {"W": W, "b": b, "R": R, "rb_n": rb[2]}

    def update(self, attrs: dict[str, Any], w: Weights, x: np.ndarray, h: np.ndarray) -> Arrays:
        gate, candidate = attrs["activations"]
        a_z, a_r, a_n = times(w["W"], x, w.get("b", 0.0))
        R_z, R_r, R_n = (w["R"][g : g + 1] for g in range(3))
        z = activate(gate, clipped(attrs, a_z + times(R_z, h)[0]))
        r = activate(gate, clipped(attrs, a_r + times(R_r, h)[0]))
        (recurrent,) = r * times(R_n, h, w.get("rb_n", 0.0)) if attrs["reset_after"] else times(R_n, r * h)
        n = activate(candidate, clipped(attrs, a_n + recurrent))
        return ((1.0 - z) * n + z * h,)

    def update_fixed(self, attrs: dict[str, Any], w: Weights, x: np.ndarray, h: np.ndarray) -> Arrays:
        rb = np.zeros(w["R"].exponent.shape, np.float32)
        rb[2] = w.get("rb_n", 0.0)
        n_gates = 3 if attrs["reset_after"] else 2
        a, q, known = _sums({**w, "R": w["R"][:n_gates]}, x, h, rb[:n_gates])
        z, r, h_count = fixed.sigmoid(a[0] + q[0]), fixed.sigmoid(a[1] + q[1]), fixed.of_h(h)
        if attrs["reset_after"]:
            inner = fixed.product(q[2], r)
        else:
            rh = fixed.numbers(fixed.product(h_count, r), known, 15)
            (inner,), (known_n,) = w["R"][2:].times(rh, 0.0, fixed.OF_H)
            known &= known_n
        n = fixed.tanh(a[2] + inner)
        return (fixed.numbers(n + fixed.product(h_count - n, z), known, 15),)

    def is_plain(self, node: Node) -> bool:
        return bool(node.attrs["reset_after"]) and super().is_plain(node)

    def inner_matrix(self, node: Node) -> str:
        return "" if node.attrs["reset_after"] else "R"

    def factors(self, node: Node, key: str, x: np.ndarray, h: np.ndarray) -> list[tuple[slice, np.ndarray]]:
        if key != "R" or node.attrs["reset_after"]:
            return super().factors(node, key, x, h)
        w = node.weights
        a = x @ w["W"][1].T + h @ w["R"][1].T + (w["b"][1] if "b" in w else 0.0)
        r = activate(node.attrs["activations"][0], clipped(node.attrs, a))
        return [(slice(2), h), (slice(2, 3), r * h)]

    def form_words(self, node: Node) -> list[str]:
        return ["reset after" if node.attrs["reset_after"] else "reset before"]


class Lstm(Cell):
    """c' = f c + i g and h' = o out(c'), which the projection (P, H)? multiplies; activations (gate, cell, out),
    input_forget (f = 1 - i), clip, reverse, masked, steps; outputs h and c; states h (P), c (H).

    peephole (3, H)?, in the order i f o: what i and f take from c, and o from c'.
    """

    name, kinds = "lstm", (14, 26)
    n_inputs = (1, 2, 3)
    n_gates, usual, form = 4, (SIGMOID, TANH, TANH), "input_forget"
    in_one = ("int16", "int8")
    attrs = (*_ATTRS, form)
    weights = (_W, _R, _B, Weight("peephole", Layout.ROWS), Weight("projection", Layout.MATRIX))
    stored = (_W, _B, _R, *weights[3:])

    def widths(self, node: Node) -> dict[str, int]:
        return {**super().widths(node), "c": node.weights["W"].shape[1]}

    def fed_back(self, node: Node, hidden: int) -> int:
        if "projection" not in node.weights:
            return hidden
        fed_back = len(node.weights["projection"])
        weight(node, "projection", (fed_back, hidden))
        return fed_back

    def check_own(self, node: Node, hidden: int) -> None:
        weight(node, "peephole", (3, hidden), optional=True)

    def stored_shapes(self, params: Params, frames: Frames) -> Shapes:
        _, hidden, fed_back = self.sizes(params, frames)
        return *super().stored_shapes(params, frames), (3, hidden), (fed_back, hidden)

    def written(self, node: Node, used: set[str]) -> tuple[str, ...]:
        h, c = node.outputs
        return node.outputs if c in used else (h,)  # c that nothing reads need not be computed into a frame

    def update(self, attrs: dict[str, Any], w: Weights, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> Arrays:
        gate, cell, out = attrs["activations"]
        a_i, a_f, a_g, a_o = times(w["W"], x, w.get("b", 0.0)) + times(w["R"], h)
        p_i, p_f, p_o = w.get("peephole", (0.0, 0.0, 0.0))
        i = activate(gate, clipped(attrs, a_i + p_i * c))
        f = 1.0 - i if attrs["input_forget"] else activate(gate, clipped(attrs, a_f + p_f * c))
        g = activate(cell, clipped(attrs, a_g))
        c = f * c + i * g
        o = activate(gate, clipped(attrs, a_o + p_o * c))
        h = o * activate(
            out, c
        )  # ONNX Runtime and OpenVINO clip the gates' inputs, and never the memory on its way out
        return (times(w["projection"], h) if "projection" in w else h), c

    def update_fixed(self, attrs: dict[str, Any], w: Weights, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> Arrays:
        a, q, known = _sums(w, x, h)
        i, f, g, o = a + q
        added = (fixed.sigmoid(i) * fixed.tanh(g) + 0x4000) >> 15
        after = (fixed.product(fixed.of_c(c), fixed.sigmoid(f)) + added).clip(-fixed.MOST_C, fixed.MOST_C)
        known &= np.isfinite(c)
        h_count = (fixed.tanh(after) * fixed.sigmoid(o) + 0x8000) >> 16
        return fixed.numbers(h_count, known, 15), fixed.numbers(after, known, 16)

    def own_words(self, node: Node) -> list[str]:
        words = ["peephole"] if "peephole" in node.weights else []
        if "projection" in node.weights:
            words.append(f"projection to {len(node.weights['projection'])}")
        return words + (["input_forget"] if node.attrs["input_forget"] else [])


OPS: tuple[Op, ...] = (Rnn(), Gru(), Lstm())
