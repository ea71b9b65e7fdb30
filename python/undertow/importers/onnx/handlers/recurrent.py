# SPDX-License-Identifier: MIT
"""The ONNX operators RNN, GRU and LSTM, every attribute of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....ir.activations import Activation
from ....ir.ops.cells import BOUNDS, is_bound
from ..file.definitions_int8 import SCALES
from ..file.nodes import OnnxNode, float_constant
from ..frames import provenance
from ..frames.context import Binding, Forgets, Length, Walk
from ..frames.provenance import Layout, Mixed, Tensor
from ..frames.superframes import rate_of, rows
from ..traits import traits
from .rounded_cell import RoundedCell

#: operator -> order of its gates in ours: LSTM i o f c -> i f g o; GRU z r h and RNN as they are
_GATES = {"RNN": [0], "GRU": [0, 1, 2], "LSTM": [0, 2, 3, 1]}
#: per direction of a node, whether it runs backwards
_DIRECTIONS = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
_PEEPHOLES = [0, 2, 1]  # i o f -> i f o
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}

#: activation, in lower case -> (kind, how many of alpha, beta it consumes)
_ACTIVATIONS = {
    "relu": ("relu", 0),
    "tanh": ("tanh", 0),
    "sigmoid": ("sigmoid", 0),
    "affine": ("affine", 2),
    "leakyrelu": ("leaky_relu", 1),
    "thresholdedrelu": ("thresholded_relu", 1),
    "scaledtanh": ("scaled_tanh", 2),
    "hardsigmoid": ("hard_sigmoid", 2),
    "elu": ("elu", 1),
    "softsign": ("softsign", 0),
    "softplus": ("softplus", 0),
}


def activations(node: OnnxNode, n_directions: int) -> list[tuple[Activation, ...]]:
    """Per direction, the cell's activations; alpha and beta are consumed in order, by activations that take them."""
    defaults = _DEFAULTS[node.op]
    names = node.attrs.get("activations") or defaults * n_directions
    if len(names) != len(defaults) * n_directions:
        node.unsupported(
            f"attribute activations={names} has {len(names)} names, expected {len(defaults) * n_directions}"
        )
    alphas, betas = (list(node.attrs.get(key, [])) for key in ("activation_alpha", "activation_beta"))
    functions = []
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            node.unsupported(f"activation {name!r} is not supported; supported: {', '.join(sorted(_ACTIVATIONS))}")
        kind, takes = _ACTIVATIONS[name.lower()]
        alpha = alphas.pop(0) if takes >= 1 and alphas else None
        beta = betas.pop(0) if takes >= 2 and betas else None
        functions.append(Activation(kind, alpha, beta))
    for key, left in (("activation_alpha", alphas), ("activation_beta", betas)):
        if left:
            node.unsupported(
                f"attribute {key}={node.attrs[key]} has {len(left)} values more than activations={names} take"
            )
    n = len(defaults)
    return [tuple(functions[d * n : (d + 1) * n]) for d in range(n_directions)]


class _Cell:
    """One RNN, GRU or LSTM node with its operands checked; `run` adds it to the Graph."""

    def __init__(self, walk: Walk, node: OnnxNode, operands: list[Any]) -> None:
        self.walk, self.node, self.builder = walk, node, walk.builder
        operands = [*operands, *[None] * (8 - len(operands))]
        X, W, R, B, self.lengths, self.h0, self.c0, P = operands
        attrs = node.attrs
        known = ["activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "layout"]
        node.allow(*known, *{"GRU": ["linear_before_reset"], "LSTM": ["input_forget", *SCALES]}.get(node.op, []))

        direction = attrs.get("direction", "forward")
        if direction not in _DIRECTIONS:
            node.unsupported(f"attribute direction={direction!r} is not supported, expected one of {list(_DIRECTIONS)}")
        self.backwards = _DIRECTIONS[direction]
        self.layout = int(attrs.get("layout", 0))
        if self.layout not in (0, 1):
            node.unsupported(f"attribute layout={self.layout} is not supported, expected 0 or 1")
        self.clip = float(attrs["clip"]) if "clip" in attrs else None
        if self.clip is not None and not is_bound(self.clip):
            node.unsupported(f"attribute clip={self.clip} is not supported, {BOUNDS}")
        self.op, self.order = traits(node.op).of, _GATES[node.op]
        self.activations = activations(node, len(self.backwards))
        self._read_weights(W, R, B, P)
        self._read_input(X)
        self._read_lengths()

    # -- operands -------------------------------------------------------------------------------------------------

    def _read_weights(self, W: Any, R: Any, B: Any, P: Any) -> None:
        node, D, G = self.node, len(self.backwards), len(self.order)
        self.W, self.R = float_constant(node, W, "W"), float_constant(node, R, "R")
        if self.R.ndim != 3:
            node.shape_error(f"R has shape {self.R.shape}, expected [directions, gates * hidden, hidden]")
        H = self.n_hidden = self.R.shape[2]
        if node.attrs.get("hidden_size", H) != H:
            node.shape_error(f"attribute hidden_size={node.attrs['hidden_size']}, but R has shape {self.R.shape}")
        self.B = None if B is None else float_constant(node, B, "B")
        self.P = None if P is None else float_constant(node, P, "P")
        if self.P is not None and node.op != "LSTM":
            node.format_error("has an input P, which only LSTM takes")
        n_in = self.W.shape[-1] if self.W.ndim == 3 else 0
        for name, array, shape in (
            ("W", self.W, (D, G * H, n_in)),
            ("R", self.R, (D, G * H, H)),
            ("B", self.B, (D, 2 * G * H)),
            ("P", self.P, (D, 3 * H)),
        ):
            if array is not None and (array.shape != shape or 0 in shape):
                node.shape_error(
                    f"{name} has shape {array.shape}, expected {shape} for {D} direction{'s' if D > 1 else ''}"
                )

    def _read_input(self, X: Any) -> None:
        node = self.node
        if isinstance(X, Length) or not isinstance(X, Tensor):
            node.unsupported("X is a constant, expected a sequence that is computed from an input")
        if X.dtype != "float32":
            node.unsupported("X holds ids (integers), expected float32 numbers")
        if len(X.shape) != 3 or X.shape[2] != self.W.shape[2]:
            node.shape_error(
                f"X has shape {X.shape}, expected [time, batch, {self.W.shape[2]}] (W has shape {self.W.shape})"
            )
        codes_, labels = X.codes, X.labels
        if self.layout == 1:
            codes_, labels = codes_.swapaxes(0, 1), (labels[1], labels[0], labels[2])
        rate = rate_of(self.walk, Tensor(codes_, labels))
        self.rate = 1
        if rate is None:
            layout, elements = provenance.split(codes_, labels)
        else:
            if rate[0] != 0:
                raise Mixed("axis 0 of X is not its time, which has several rows in a frame")
            self.rate = rate[1]
            layout, parts = rows(Tensor(codes_, labels), *rate)
            elements, codes_ = np.stack(parts), codes_[:: self.rate]
        n_steps, n_items, n_in = codes_.shape
        if 2 in layout.outer:
            raise Mixed("the last axis of X is time (or the batch), expected features")
        self.origin = np.zeros((n_steps, n_items), np.int64) + layout.origin.reshape(
            [n if a in layout.outer else 1 for a, n in enumerate(codes_.shape[:2])]
        )
        plan = Layout((n_steps, n_items), (0, 1), self.origin, ("", ""))
        self.items = plan.items[0]
        self.inside = self._is_inside(0 in layout.outer, n_steps)
        self.late = 0
        self.rows = n_items > 1 and 1 not in layout.outer
        if labels[0] == "N":
            raise Mixed(f"X has time and batch the other way round than layout={self.layout} says")
        if self.inside and n_steps == 1 and not self.walk.reading.clip:
            raise Mixed(f"X has shape {X.shape} with layout={self.layout}, so it takes one step alone in every frame")
        if not self.inside:
            # Frames at the start that a convolution without padding left out are none of the cell's sequence.
            self.late = self.builder.n_steps - n_steps if self.builder.sequence else 0
            if self.builder.sequence and (
                not 0 <= self.late <= self.walk.left_out
                or (plan.steps != np.arange(self.late, self.builder.n_steps)[:, None]).any()
            ):
                raise Mixed(f"X has shape {X.shape} with layout={self.layout}, and its time axis is not the model's")
            if not self.builder.sequence and n_steps != 1:
                raise Mixed(f"X has shape {X.shape} with layout={self.layout}, and it walks over the batch")
            if labels[1] == "T":
                raise Mixed(f"X has time and batch the other way round than layout={self.layout} says")
            if n_items != 1 and not self.rows and (np.unique(self.items).size != n_items or self.items.min() < 0):
                raise Mixed(f"axis {1 - self.layout} of X has {n_items} rows that are not the batch")
        self.beside = labels[1]
        if (self.inside or self.rows) and not self.walk.reading.inside:
            self.walk.wants_inside = True
            raise Mixed(
                f"X has shape {X.shape} with layout={self.layout}: a recurrence inside of one frame, or rows of one "
                "side by side, which is not how time and batch are read here"
            )
        self.n_rows = (n_items,) if self.rows else ()
        steps = n_steps if self.inside else self.rate
        shape = (*((steps,) if self.inside or self.rate > 1 else ()), *self.n_rows, n_in)
        self.x = self.builder.value(elements.reshape(-1), shape)
        if self.builder.is_final(elements):
            raise Mixed("X is known only at the end of another sequence")

    def _is_inside(self, outer: bool, n_steps: int) -> bool:
        """Whether the axis that the cell walks lies inside of one frame, and is not the time of the model."""
        if outer:
            return False
        return n_steps != 1 or self.builder.sequence or self.walk.reading.clip

    def _read_lengths(self) -> None:
        self.masked = isinstance(self.lengths, Length)
        if self.masked and (self.inside or self.rows):
            self.node.unsupported("sequence_lens is an input, while it walks rows or steps inside of one frame")
        if self.masked and self.walk.has_rates:
            self.node.unsupported("sequence_lens is an input, in a model whose frames are several timesteps")
        if self.lengths is None or self.masked:
            return
        if not isinstance(self.lengths, np.ndarray):
            self.node.unsupported("sequence_lens is computed from frames, expected a graph input or a constant")
        n_steps = self.origin.shape[0] * self.rate
        if (self.lengths != n_steps).any():
            self.node.unsupported(
                f"sequence_lens is the constant {self.lengths.tolist()} for {n_steps} timesteps; "
                "expected a graph input, or the number of timesteps"
            )

    # -- building -------------------------------------------------------------------------------------------------

    def run(self) -> list[Tensor]:
        builder, D = self.builder, len(self.backwards)
        base = builder.name(self.op)
        outputs: list[list[np.ndarray]] = []  # per letter, per direction: elements
        finals: list[list[np.ndarray]] = []
        for d, backwards in enumerate(self.backwards):
            name = builder.graph.unique_name(f"{base}_reverse") if D == 2 and backwards else base
            # A step is a sequence of one frame, in which a backward cell does what a forward one does.
            reverse = backwards and (self.inside or not self.walk.reading.carried)
            if reverse and self.rate > 1:
                self.node.unsupported(
                    f"attribute direction={self.node.attrs['direction']!r} over time of which {self.rate} "
                    "steps are in a frame (strides along time), expected forward"
                )
            if reverse and self.late:
                self.node.unsupported(
                    f"attribute direction={self.node.attrs['direction']!r} over a sequence whose first {self.late} "
                    "frames are missing (an earlier convolution along time has no padding), expected forward"
                )
            states, starts, waiting = self._start(name, d)
            if SCALES[0] in self.node.attrs and waiting and not builder.sequence and self.rate == 1:
                elements = self._rounded_step(d, states)
                self._bind(waiting, elements)
                outputs.append(elements)
                finals.append(elements)
                continue
            if SCALES[0] in self.node.attrs:
                builder.unrounded.append(self.node.where)
            gate = [builder.exists(-self.late)] if self.late else []
            attrs: dict[str, Any] = {
                "activations": self.activations[d],
                "clip": self.clip,
                "reverse": reverse,
                "masked": self.masked,
                "steps": self.inside or self.rate > 1,
            }
            if self.op == "gru":
                attrs["reset_after"] = bool(self.node.attrs.get("linear_before_reset", 0))
            if self.op == "lstm":
                attrs["input_forget"] = bool(self.node.attrs.get("input_forget", 0))
            names = builder.graph.add(
                self.op, [self.x, *starts, *gate], name=name, attrs=attrs, weights=self._weights(d), states=states
            )
            values = [names] if isinstance(names, str) else list(names)
            elements = [builder.elements(v) for v in values]
            final = [self._final(e, reverse) for e in elements]
            self._bind(waiting, final)
            outputs.append(elements)
            finals.append(final)
        n_steps, n_items = self.origin.shape
        inner = (n_steps if self.inside else self.rate, n_items if self.rows else 1)
        h = np.stack([o[0].reshape(*inner, -1) for o in outputs], axis=1)  # (T or 1, D, N or 1, H)
        if self.rate > 1:
            Y = (self.origin[:, None, None, :, None] | h).reshape(n_steps * self.rate, D, n_items, -1)
        else:
            Y = self.origin[:, None, :, None] | h  # (T, D, N, H)
        # A cell inside of a frame ends with every timestep of the model, any other with the sequence.
        origin = self.origin[0] if self.inside else provenance.encode(-1, self.items, 0)
        ends = [
            origin[None, :, None] | np.stack([f[i].reshape(inner[1], -1) for f in finals])
            for i in range(len(finals[0]))
        ]  # (D, N, H)
        time = "T" if n_steps == 1 and not self.inside else ""
        batch = "" if n_items != 1 else self.beside if self.inside else "N"
        if self.layout == 1:
            return [
                Tensor(Y.transpose(2, 0, 1, 3), (batch, time, "", "")),
                *(Tensor(e.transpose(1, 0, 2), (batch, "", "")) for e in ends),
            ]
        return [Tensor(Y, (time, "", batch, "")), *(Tensor(e, ("", batch, "")) for e in ends)]

    def _bind(self, waiting: list[tuple[str, np.ndarray | None]], final: list[np.ndarray]) -> None:
        """Note which states start from a state input, and what they end with."""
        for (state, start), end in zip(waiting, final, strict=bool(waiting)):
            if start is not None:
                self.walk.bindings.append(Binding(state, start, end, self.node))

    def _rounded_step(self, d: int, states: list[str]) -> list[np.ndarray]:
        """h and c of one step that rounds x and h to bytes (DynamicQuantizeLinear) for products of integers."""
        weights, shape = self._weights(d), (len(self.backwards), len(self.order), self.n_hidden)
        W_scale, R_scale = (
            np.array(self.node.attrs[name], np.float32).reshape(shape)[d][self.order] for name in SCALES
        )
        cell = RoundedCell(
            weights["W"],
            weights["R"],
            W_scale,
            R_scale,
            weights.get("b", np.zeros(shape[1:], np.float32)),
            weights.get("peephole"),
            self.activations[d],
            self.clip,
            bool(self.node.attrs.get("input_forget", 0)),
        )
        return cell.step(self.builder, self.builder.elements(self.x), states)

    def _final(self, elements: np.ndarray, reverse: bool) -> np.ndarray:
        """Elements of what the cell ends with, from those of what it gives."""
        if self.inside:
            return elements[0 if reverse else -1]
        elements = elements[-1] if self.rate > 1 else elements
        return self.builder.derive("last", elements, reverse, self.masked) if self.builder.sequence else elements

    def _weights(self, d: int) -> dict[str, np.ndarray]:
        G, H = len(self.order), self.n_hidden
        weights = {
            "W": self.W[d].reshape(G, H, -1)[self.order],
            "R": self.R[d].reshape(G, H, H)[self.order],
        }
        if self.B is not None:
            wb, rb = self.B[d].astype(np.float64).reshape(2, G, H)[:, self.order]
            if self.op == "gru" and self.node.attrs.get("linear_before_reset", 0):
                weights["b"] = np.stack([wb[0] + rb[0], wb[1] + rb[1], wb[2]])
                weights["rb_n"] = rb[2]
            else:
                weights["b"] = wb + rb
            with np.errstate(over="ignore"):
                weights = {key: w.astype(np.float32) for key, w in weights.items()}
        if self.P is not None:
            weights["peephole"] = self.P[d].reshape(3, H)[_PEEPHOLES]
        return weights

    def _start(self, name: str, d: int) -> tuple[list[str], list[str], list[tuple[str, np.ndarray | None]]]:
        """What direction d starts from: (states, or else inputs h0 and c0; per state the elements of a state input)."""
        letters = [("h", self.h0, "initial_h"), ("c", self.c0, "initial_c")][: 2 if self.op == "lstm" else 1]
        initials = [(letter, *self._initial(operand, d, what)) for letter, operand, what in letters]
        shape = (*self.n_rows, self.n_hidden)
        carried = [start is not None and self._is_state(start) for _, _, start in initials]
        computed = [
            start is not None and not is_state for (_, _, start), is_state in zip(initials, carried, strict=True)
        ]
        if any(computed) or (self.inside and not all(carried)):
            if all(init is None and start is None for _, init, start in initials):
                return [], [], []  # zeros
            builder = self.builder
            arrays = [builder.constant(np.zeros(shape) if i is None else i) if s is None else s for _, i, s in initials]
            return [], [builder.value(array, shape) for array in arrays], []
        names, waiting = [], []
        for letter, init, start in initials:
            state = self.builder.graph.state(f"{name}.{letter}", shape, init)
            names.append(state)
            waiting.append((state, start))
        return names, [], waiting

    def _is_state(self, elements: np.ndarray) -> bool:
        return all(s.is_state for s in self.builder.sources_of(elements))

    def _initial(self, operand: Any, d: int, what: str) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(learned start or None, elements that it starts from or None) of direction d."""
        node, H, n_items = self.node, self.n_hidden, self.origin.shape[1]
        if self.walk.reading.carried and not self.inside and not isinstance(operand, Tensor):
            raise Forgets(
                f"{node.where}: {what} is no input of the model, while other states are: in a model of "
                "one step it would forget at every step, which is not supported; export its state as input and output "
                "as well"
            )
        if operand is None:
            return None, None
        shape = (len(self.backwards), n_items, H)
        if self.layout == 1:
            shape = (n_items, len(self.backwards), H)
        if operand.shape != shape:
            node.shape_error(f"{what} has shape {operand.shape}, expected {shape}")
        if isinstance(operand, np.ndarray):
            array = float_constant(node, operand, what)
            rows = (array if self.layout == 0 else array.swapaxes(0, 1))[d]
            if self.rows:
                return (rows if rows.any() else None), None
            if (rows != rows[:1]).any() and not np.array_equal(
                rows, np.broadcast_to(rows[:1], rows.shape), equal_nan=True
            ):
                node.unsupported(f"{what} is a constant that differs between the {n_items} items of the batch")
            return (rows[0] if rows[0].any() else None), None
        table = operand.codes if self.layout == 0 else operand.codes.swapaxes(0, 1)
        layout, elements = provenance.split(table, ("", "", ""))
        if (layout.steps >= 0).any() and not self.inside:
            node.unsupported(f"{what} has a time axis, expected a constant or an input of the model")
        if self.builder.sequence and not self.inside and not self._is_state(elements):
            node.unsupported(f"{what} is computed from other values, expected a constant or an input of the model")
        if 0 in layout.outer or 2 in layout.outer or (n_items > 1 and not self.rows and 1 not in layout.outer):
            raise Mixed(f"{what} has shape {operand.shape}, whose batch axis is not where layout={self.layout} says")
        mine = self.origin[0] if self.inside else provenance.encode(-1, self.items, 0)
        if 1 in layout.outer and (layout.origin != mine).any():
            raise Mixed(f"{what} has shape {operand.shape}, whose batch is not that of X")
        return None, elements.reshape(len(self.backwards), *self.n_rows, H)[d]


def recurrent(walk: Walk, node: OnnxNode, operands: list[Any]) -> list[Any]:
    results = _Cell(walk, node, operands).run()
    return results[: len(node.outputs)]
