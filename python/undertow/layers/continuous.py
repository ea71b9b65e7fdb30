# SPDX-License-Identifier: MIT
"""Recurrences from differential equations, reservoirs and spiking neurons.

Letters: I inputs, H units, U units of a backbone, M numbers of a memory, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from ..errors import ShapeError
from ..ir.activations import Activation, as_activation
from .base import numbers
from .recurrence import Get, Making, Recurrence, Term, sigmoid, tanh

LECUN_TANH = Activation("scaled_tanh", 1.7159, 0.666)


class CfC(Recurrence):
    """A closed-form continuous-time cell: two candidates, mixed by a gate of the time that has passed.

    Equation::

        z = g(backbone [x, h]),  g(v) = 1.7159 tanh(0.666 v) unless given
        t = sigmoid(dt * (time_a z) + time_b z)
        h = tanh(ff1 z) * (1 - t) + tanh(ff2 z) * t

    State: h (H).
    Source: Hasani et al., Closed-form continuous-time neural networks, arXiv:2106.13898; names of the CfCCell of
    mlech26l/ncps (mode "default"): backbone.0, backbone.2 .., ff1, ff2, time_a, time_b.

    Args:
        ff1, ff2, time_a, time_b: (H, U), or (H, I + H) without a backbone.
        b_1, b_2, b_a, b_b: (H,) of these four, or None.
        backbone: (W, b) of each layer, W of the first (U, I + H); none unless given.
        activation: g of the backbone's layers.
        timespan: dt, from frame to frame.
        gated: False leaves out the factor 1 - t (mode "no_gate").
        name: as for `MinGRU`.

    Raises:
        ShapeError: an array has another shape; the message names it.

    >>> undertow.CfC(*np.ones((4, 2, 3)))
    CfC(1 -> 2)
    """

    def __init__(
        self,
        ff1: Any,
        ff2: Any,
        time_a: Any,
        time_b: Any,
        b_1: Any = None,
        b_2: Any = None,
        b_a: Any = None,
        b_b: Any = None,
        *,
        backbone: Iterable[tuple[Any, Any]] = (),
        activation: Activation | str = LECUN_TANH,
        timespan: float = 1.0,
        gated: bool = True,
        name: str | None = None,
    ) -> None:
        layers: dict[str, tuple[Any, str]] = {}
        below = letter = "J"
        backbone = list(backbone)
        for i, (W, b) in enumerate(backbone):
            letter = "U" if i == len(backbone) - 1 else "abcdefgh"[i % 8]
            layers |= {f"backbone {i}": (W, f"{letter} {below}"), f"bias {i}": (b, f"{letter}?")}
            below = letter
        heads = {"ff1": ff1, "ff2": ff2, "time_a": time_a, "time_b": time_b}
        biases = {"b_1": b_1, "b_2": b_2, "b_a": b_a, "b_b": b_b}
        layers |= {key: (W, f"H {below}") for key, W in heads.items()} | {k: (b, "H?") for k, b in biases.items()}
        self._take(name, **layers)
        self.depth, self.timespan, self.gated = len(backbone), float(timespan), bool(gated)
        self.activation = as_activation(activation)
        if self.n["J"] <= self.n["H"]:
            raise ShapeError(
                f"{self._what}: the first layer takes {self.n['J']} numbers, expected inputs and {self.n['H']} units"
            )
        self.input_shape = (self.n["J"] - self.n["H"],)

    def _step(self, making: Making, x: Term) -> Term:
        w, (n,) = self.w, self.input_shape or (0,)
        h = making.state("h", (self.n["H"],))
        # What stands before the first function is of the input, a block of frames at once, and of the state.
        firsts = ["backbone 0"] if self.depth else ["ff1", "ff2", "time_a", "time_b"]

        def first(key: str, bias: str) -> Term:
            return making.dense(x, w[key][:, :n], w.get(bias)) + making.dense(h, w[key][:, n:])

        if self.depth:
            z = first(firsts[0], "bias 0").apply(self.activation)
            for i in range(1, self.depth):
                z = making.dense(z, w[f"backbone {i}"], w.get(f"bias {i}")).apply(self.activation)
            one, two, a, b = (making.dense(z, w[k], w.get(bias)) for k, bias in self._heads())
        else:
            one, two, a, b = (first(k, bias) for k, bias in self._heads())
        t = sigmoid(a * self.timespan + b)
        return making.write("h", tanh(one) * (1.0 - t) + tanh(two) * t if self.gated else tanh(one) + tanh(two) * t)

    def _heads(self) -> tuple[tuple[str, str], ...]:
        return ("ff1", "b_1"), ("ff2", "b_2"), ("time_a", "b_a"), ("time_b", "b_b")

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        arrays = {k: get(f"{k}.weight") for k in ("ff1", "ff2", "time_a", "time_b")}
        for key, name in (("b_1", "ff1"), ("b_2", "ff2"), ("b_a", "time_a"), ("b_b", "time_b")):
            arrays[key] = get(f"{name}.bias?")
        if (mask := get("sparsity_mask?")) is not None:
            for key in ("ff1", "ff2"):
                if mask.shape != arrays[key].shape:
                    want = arrays[key].shape
                    raise ShapeError(f"CfC.from_torch: 'sparsity_mask' has shape {mask.shape}, expected {want}")
                arrays[key] = arrays[key] * mask
        # Functions, and where it was trained with them dropouts, stand between the layers and count.
        at = [i for i in range(64) if get(f"backbone.{i}.weight?") is not None]
        return arrays | {"backbone": [(get(f"backbone.{i}.weight"), get(f"backbone.{i}.bias?")) for i in at]}


class LTC(Recurrence):
    """A liquid time-constant cell: neurons with leaks and synapses, a differential equation solved half implicitly.

    Equation::

        v = (C v + g * v_leak + sum over synapses of w E s) / (C + g + sum of w s + epsilon),  `unfolds` times a frame
        s = sigmoid(sigma * (pre - mu)),  pre an input or a neuron,  C = cm * unfolds / dt,  g = gleak
        y = output_w v + output_b

    cm, gleak and w go through softplus first, unless told otherwise.

    State: v (H).
    Source: Hasani et al., Liquid Time-constant Networks, arXiv:2006.04439; names of the LTCCell of mlech26l/ncps, are
    those of the arguments.

    Args:
        gleak, vleak, cm: (H,).
        sigma, mu, w, erev: (H, H), from neuron to neuron.
        sensory_sigma, sensory_mu, sensory_w, sensory_erev: (I, H).
        sparsity_mask, sensory_sparsity_mask: (H, H) and (I, H), with 0 where there is no synapse; or None.
        input_w, input_b: (I,), or None.
        output_w, output_b: (O,), of the first O neurons, or None for all as they are.
        unfolds: steps of the solver in a frame.
        timespan: dt, from frame to frame.
        positive: "softplus" as of the package's LTC, or "as is" where the weights are clamped in training.
        epsilon: as in the equation.
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.LTC(*np.ones((3, 4)), *np.ones((4, 4, 4)), *np.ones((4, 2, 4)))
    LTC(2 -> 4)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        **{k: k for k in ("gleak", "vleak", "cm", "sigma", "mu", "w", "erev")},
        **{f"sensory_{k}": f"sensory_{k}" for k in ("sigma", "mu", "w", "erev")},
        **{k: f"{k}?" for k in ("sparsity_mask", "sensory_sparsity_mask")},
        **{k: f"{k}?" for k in ("input_w", "input_b", "output_w", "output_b")},
    }

    def __init__(
        self,
        gleak: Any,
        vleak: Any,
        cm: Any,
        sigma: Any,
        mu: Any,
        w: Any,
        erev: Any,
        sensory_sigma: Any,
        sensory_mu: Any,
        sensory_w: Any,
        sensory_erev: Any,
        *,
        sparsity_mask: Any = None,
        sensory_sparsity_mask: Any = None,
        input_w: Any = None,
        input_b: Any = None,
        output_w: Any = None,
        output_b: Any = None,
        unfolds: int = 6,
        timespan: float = 1.0,
        positive: str = "softplus",
        epsilon: float = 1e-8,
        name: str | None = None,
    ) -> None:
        arrays = {"gleak": (gleak, "H"), "vleak": (vleak, "H"), "cm": (cm, "H")}
        arrays |= {"sigma": (sigma, "H H"), "mu": (mu, "H H"), "w": (w, "H H"), "erev": (erev, "H H")}
        arrays |= {"sensory_sigma": (sensory_sigma, "I H"), "sensory_mu": (sensory_mu, "I H")}
        arrays |= {"sensory_w": (sensory_w, "I H"), "sensory_erev": (sensory_erev, "I H")}
        arrays |= {"sparsity_mask": (sparsity_mask, "H H?"), "sensory_sparsity_mask": (sensory_sparsity_mask, "I H?")}
        arrays |= {"input_w": (input_w, "I?"), "input_b": (input_b, "I?")}
        self._take(name, **arrays, output_w=(output_w, "O?"), output_b=(output_b, "O?"))
        if self.n.setdefault("O", self.n["H"]) > self.n["H"]:
            raise ShapeError(
                f"{self._what}: output_w has shape ({self.n['O']},), expected at most {self.n['H']} neurons"
            )
        if int(unfolds) < 1 or not timespan > 0:
            raise ValueError(f"{self._what}: unfolds is {unfolds} and timespan {timespan}, expected numbers above 0")
        if positive not in ("softplus", "as is"):
            raise ValueError(f"{self._what}: positive is {positive!r}, expected 'softplus' or 'as is'")
        self.unfolds, self.timespan, self.epsilon, self.positive = (
            int(unfolds),
            float(timespan),
            float(epsilon),
            positive,
        )

    def _positive(self, key: str) -> np.ndarray:
        array = np.logaddexp(0, self.w[key]) if self.positive == "softplus" else self.w[key]
        return array * self.w.get({"w": "sparsity_mask", "sensory_w": "sensory_sparsity_mask"}.get(key, ""), 1.0)

    def _synapses(self, making: Making, kind: str) -> Callable[[Term], tuple[Term, Term]]:
        """A function of what stands before all synapses of a kind. It gives what comes through them to each neuron,
        with their potentials and without. All calls share its constants.
        """
        sigma, strength = self.w[f"{kind}sigma"], self._positive(f"{kind}w")
        arrays = (sigma, -sigma * self.w[f"{kind}mu"], strength * self.w[f"{kind}erev"], strength)
        slope, shift, potentials, strengths = map(making.constant, arrays)

        def through(pre: Term) -> tuple[Term, Term]:
            s = sigmoid(pre[:, None] * slope + shift)
            with_potentials, without = ((s * a).sum(0).reshape(self.n["H"]) for a in (potentials, strengths))
            return with_potentials, without

        return through

    def _step(self, making: Making, x: Term) -> Term:
        w, leak, C = self.w, self._positive("gleak"), self._positive("cm") * self.unfolds / self.timespan
        x = x.affine(w.get("input_w", 1.0), w.get("input_b", 0.0))
        fed, fed_strength = self._synapses(making, "sensory_")(x)
        fed, fed_strength = fed + leak * w["vleak"], fed_strength + (C + leak + self.epsilon)
        v, inner = making.state("v", (self.n["H"],)), self._synapses(making, "")
        for _ in range(self.unfolds):
            added, strength = inner(v)
            v = (v * C + (fed + added)) / (fed_strength + strength)
        v = making.write("v", v)
        return v[: self.n["O"]].affine(w.get("output_w", 1.0), w.get("output_b", 0.0))


class LMU(Recurrence):
    """A Legendre memory unit: a linear memory of one number's past, beside a nonlinear layer.

    Equation::

        u = e_x x + e_h h + e_m m
        m = A m + B u
        h = tanh(W_x x + W_h h + W_m m)

    State: h (H), m (M).
    Source: Voelker et al., Legendre Memory Units, NeurIPS 2019; names of the LMUCell of hrshtv/pytorch-lmu, are those
    of the arguments.

    Args:
        e_x, e_h, e_m: (1, I), (1, H), (1, M).
        W_x, W_h, W_m: (H, I), (H, H), (H, M).
        A, B: (M, M) and (M, 1), discrete.
        name: as for `MinGRU`; so is the ShapeError.

    >>> encoders = [np.ones((1, 1)), np.ones((1, 2)), np.ones((1, 3))]
    >>> undertow.LMU(*encoders, np.ones((2, 1)), np.ones((2, 2)), np.ones((2, 3)), np.eye(3), [1, 0, 0])
    LMU(1 -> 2)
    """

    tensors: ClassVar[Mapping[str, str]] = {k: k for k in ("e_x", "e_h", "e_m", "W_x", "W_h", "W_m", "A", "B")}

    def __init__(
        self,
        e_x: Any,
        e_h: Any,
        e_m: Any,
        W_x: Any,
        W_h: Any,
        W_m: Any,
        A: Any,
        B: Any,
        *,
        name: str | None = None,
    ) -> None:
        encoders = {"e_x": (e_x, "I"), "e_h": (e_h, "H"), "e_m": (e_m, "M"), "A": (A, "M M"), "B": (B, "M")}
        self._take(name, W_x=(W_x, "H I"), W_h=(W_h, "H H"), W_m=(W_m, "H M"), **encoders)

    def _step(self, making: Making, x: Term) -> Term:
        w, h, m = self.w, making.state("h", (self.n["H"],)), making.state("m", (self.n["M"],))
        # m = (A + B e_m) m + B (e_x x + e_h h): products with B are parts of the layers.
        fed = making.dense(x, np.outer(w["B"], w["e_x"])) + making.dense(h, np.outer(w["B"], w["e_h"]))
        m = making.write("m", making.dense(m, w["A"] + np.outer(w["B"], w["e_m"])) + fed)
        return making.write(
            "h", tanh(making.dense(x, w["W_x"]) + making.dense(h, w["W_h"]) + making.dense(m, w["W_m"]))
        )


class ESN(Recurrence):
    """An echo state network: a reservoir that leaks, and a linear layer that reads it.

    Equation::

        h = (1 - lr) * h + lr * g(W h + Win x + bias)
        y = Wout h + b_out

    State: h (H).
    Source: Jaeger, The echo state approach, 2001; reservoirpy's Reservoir and Ridge, whose arrays have these names.

    Args:
        W: (H, H), an array or a sparse matrix of SciPy.
        Win: (H, I), likewise.
        bias: (H,), or None.
        Wout, b_out: (O, H) and (O,), or None to give h.
        lr: how much of a frame comes in, above 0 and at most 1.
        activation: g; "tanh" unless given.
        name: as for `MinGRU`; so is the ShapeError.

    >>> undertow.ESN(np.eye(4), np.ones((4, 2)), lr=0.3)
    ESN(2 -> 4)
    """

    def __init__(
        self,
        W: Any,
        Win: Any,
        bias: Any = None,
        Wout: Any = None,
        b_out: Any = None,
        *,
        lr: float = 1.0,
        activation: Activation | str = "tanh",
        name: str | None = None,
    ) -> None:
        W, Win, bias = (a.toarray() if hasattr(a, "toarray") else a for a in (W, Win, bias))
        self._take(name, W=(W, "H H"), Win=(Win, "H I"), bias=(bias, "H?"), Wout=(Wout, "O H?"), b_out=(b_out, "O?"))
        self.lr, self.activation = float(lr), as_activation(activation)
        if not 0 < self.lr <= 1:
            raise ValueError(f"{self._what}: lr is {lr}, expected a number above 0 and at most 1")
        if "b_out" in self.w and "Wout" not in self.w:
            raise ShapeError(f"{self._what}: b_out is given without Wout")

    def _step(self, making: Making, x: Term) -> Term:
        w, h = self.w, making.state("h", (self.n["H"],))
        new = (making.dense(x, w["Win"], w.get("bias")) + making.dense(h, w["W"])).apply(self.activation)
        h = making.write("h", new if self.lr == 1 else (1 - self.lr) * h + self.lr * new)
        return making.dense(h, w["Wout"], w.get("b_out")) if "Wout" in w else h


class LIF(Recurrence):
    """Leaky integrate-and-fire neurons, element by element: what they are fed leaks away, or reaches a threshold.

    Equation::

        v = beta * v + x - reset,  reset = threshold where the v before was above it
        y = graded_spikes_factor where v > threshold, else 0

    State: v (the frame's shape).
    Source: Eshraghian et al., Training Spiking Neural Networks, arXiv:2109.12894; names of snntorch's Leaky, written
    from knowledge of it, are those of the arguments.

    Args:
        beta: a number, or an array of the frame's shape, bounded to 0 to 1.
        threshold: likewise, of any size.
        reset: "subtract", as in the equation; "zero", which empties what was above the threshold; or "none".
        membrane: give v in place of y.
        graded_spikes_factor: a number, what a spike is; 1 unless given.
        name: as for `MinGRU`.

    Raises:
        ShapeError: beta or threshold do not fit the frame. ValueError: `reset` is none of these.

    >>> undertow.Sequential([undertow.LIF(0.5)], input_shape=1).run(np.float32([[0.8], [0.8], [0.8]])).ravel()
    array([0., 1., 0.], dtype=float32)
    """

    tensors: ClassVar[Mapping[str, str]] = {
        "beta": "beta",
        "threshold": "threshold?",
        "graded_spikes_factor": "graded_spikes_factor?",
    }

    def __init__(
        self,
        beta: Any,
        threshold: Any = None,
        *,
        reset: str = "subtract",
        membrane: bool = False,
        graded_spikes_factor: Any = None,
        name: str | None = None,
    ) -> None:
        self.name, self.reset, self.membrane, self.n = name, reset, bool(membrane), {}
        factor = numbers(
            1.0 if graded_spikes_factor is None else graded_spikes_factor, f"{self._what}: graded_spikes_factor"
        )
        if factor.size != 1:
            raise ShapeError(f"{self._what}: graded_spikes_factor has shape {factor.shape}, expected one number")
        self.factor = factor.item()
        given = {"beta": beta, "threshold": 1.0 if threshold is None else threshold}
        self.w = {key: numbers(value, f"{self._what}: {key}") for key, value in given.items()}
        if reset not in ("subtract", "zero", "none"):
            raise ValueError(f"{self._what}: reset is {reset!r}, expected 'subtract', 'zero' or 'none'")
        self.w = {key: array.reshape(()) if array.size == 1 else array for key, array in self.w.items()}
        shapes = {array.shape for array in self.w.values()} - {()}
        if len(shapes) > 1:
            raise ShapeError(
                f"{self._what}: threshold has shape {self.w['threshold'].shape}, expected {self.w['beta'].shape}"
            )
        self.input_shape = shapes.pop() if shapes else None

    def _step(self, making: Making, x: Term) -> Term:
        threshold, before = self.w["threshold"], making.state("v", x.shape)
        level = making.constant(np.broadcast_to(threshold, x.shape))
        v = before * np.clip(self.w["beta"], 0, 1) + x
        if self.reset == "subtract":
            v = v - (before > level) * threshold
        elif self.reset == "zero":
            v = v * (1.0 - (before > level))
        v = making.write("v", v)
        return v if self.membrane else (v > level) * self.factor

    @classmethod
    def _arrays(cls, get: Get) -> dict[str, Any]:
        arrays, mechanism = super()._arrays(get), get("reset_mechanism_val?")
        if mechanism is not None:
            arrays["reset"] = {0: "subtract", 1: "zero", 2: "none"}.get(int(mechanism), f"mechanism {mechanism}")
        return arrays

    def __repr__(self) -> str:
        return f"{self._what}({'any shape' if self.input_shape is None else self.input_shape})"
