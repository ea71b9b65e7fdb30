# SPDX-License-Identifier: MIT
"""RNN, GRU and LSTM from arrays in any gate order.

Letters: I inputs, H hidden units, G gates, P width of what is fed back (H unless an LSTM has a projection).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..ir.activations import SIGMOID, TANH, Activation, as_activation
from ..ir.graph import Graph
from ..ir.ops.cells import BOUNDS, is_bound
from .base import Layer, node_name, numbers, vector

# Letters that people write for a gate -> ours.
_LSTM_GATES = {"i": "i", "f": "f", "g": "g", "c": "g", "j": "g", "o": "o"}
_GRU_GATES = {"z": "z", "u": "z", "r": "r", "n": "n", "h": "n", "c": "n", "g": "n"}


def _order(given: str, gates: dict[str, str], ours: str, what: str) -> list[int]:
    """Where each of our gates stands in the caller's arrays."""
    letters = "".join(gates.get(letter, "?") for letter in given)
    if sorted(letters) != sorted(ours):
        known = " ".join(f"{'/'.join(k for k, v in gates.items() if v == gate)}" for gate in ours)
        raise ValueError(f"{what}: gate_order is {given!r}, expected each of {known} once")
    return [letters.index(gate) for gate in ours]


class Cell(Layer):
    """What RNN, GRU and LSTM share: weights as (G, H, I) in our gate order, the node, its states."""

    kind = ""
    letters: tuple[str, ...] = ("h",)

    def _take(self, W: Any, R: Any, order: list[int], fed_back: int | None, name: str | None) -> None:
        """Check W and R, given as (G*H, columns) or (G, H, columns), and put their gates into our order."""
        self.name = name
        n_gates = len(order)
        w, r = numbers(W, f"{self._what}: W"), numbers(R, f"{self._what}: R")
        for letter, a in (("W", w), ("R", r)):
            if a.ndim == 3 and a.shape[0] == n_gates:
                continue
            if a.ndim != 2 or a.shape[0] % n_gates or not a.size:
                raise ShapeError(
                    f"{self._what}: {letter} has shape {a.shape}, expected ({n_gates} * hidden, columns) or "
                    f"({n_gates}, hidden, columns)"
                )
        w, r = (a.reshape(n_gates, -1, a.shape[-1]) for a in (w, r))
        hidden = w.shape[1]
        self.hidden, self.fed_back = hidden, fed_back or hidden
        if r.shape[1:] != (hidden, self.fed_back):
            raise ShapeError(
                f"{self._what}: W {np.shape(W)} means {hidden} hidden units, so R must be "
                f"{(n_gates * hidden, self.fed_back)}, got {np.shape(R)}{self._guess(np.shape(R))}"
            )
        self.input_shape = (w.shape[2],)
        self.attrs: dict[str, Any] = {}
        self.weights = {"W": w[order], "R": r[order]}
        self.initial: dict[str, np.ndarray | None] = {}

    def _guess(self, shape: tuple[int, ...]) -> str:
        if len(shape) == 2 and shape[1] and shape[0] % shape[1] == 0 and shape[0] // shape[1] in (1, 3, 4):
            looks = {1: "an RNN", 3: "a GRU", 4: "an LSTM"}[shape[0] // shape[1]]
            return f" (which looks like {looks} of {shape[1]} units)"
        return ""

    def _biases(self, b: Any, recurrent: Any, order: list[int]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Both biases as (G, H) in our gate order, in float64."""
        n, shape = len(order) * self.hidden, (len(order), self.hidden)
        both = []
        for what, bias in (("b", b), ("recurrent_bias", recurrent)):
            if bias is not None:
                array = numbers(bias, f"{self._what}: {what}")
                if array.shape not in ((n,), shape):
                    raise ShapeError(f"{self._what}: {what} has shape {array.shape}, expected ({n},) or {shape}")
                bias = array.reshape(shape)[order]
            both.append(bias)
        return both[0], both[1]

    def _settings(self, clip: float | None, reverse: bool, return_sequences: bool) -> None:
        if clip is not None and not is_bound(float(clip)):
            raise ValueError(f"{self._what}: clip is {clip}, {BOUNDS}")
        self.reverse, self.return_sequences = bool(reverse), bool(return_sequences)
        self.attrs |= {"clip": None if clip is None else float(clip), "reverse": self.reverse}

    @property
    def _what(self) -> str:
        return f"{type(self).__name__} {self.name!r}" if self.name else type(self).__name__

    @property
    def output_size(self) -> int:
        """Width of the frames that this layer gives.

        >>> undertow.GRU(np.zeros((6, 3)), np.zeros((6, 2)), reset_after=True).output_size
        2
        """
        return self.fed_back

    def _all_outputs(self, graph: Graph, x: str) -> tuple[str, str]:
        """Add the cell; gives its name and its h."""
        name = node_name(graph, self.name, self.kind)
        states = [
            graph.state(f"{name}.{letter}", (self._width(letter),), self.initial.get(letter)) for letter in self.letters
        ]
        out = graph.add(self.kind, [x], name=name, attrs=self.attrs, weights=self.weights, states=states)
        return name, out if isinstance(out, str) else out[0]

    def _width(self, letter: str) -> int:
        return self.hidden if letter == "c" else self.fed_back

    def add_to(self, graph: Graph, x: str) -> str:
        name, h = self._all_outputs(graph, x)
        if self.return_sequences:
            return h
        return graph.add("last", [h], name=f"{name}_last", attrs={"reverse": self.reverse})

    def __repr__(self) -> str:
        (n_in,) = self.input_shape or (0,)
        return f"{self._what}({n_in} -> {self.output_size}{', reverse' if self.reverse else ''})"


def _sum(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
    return b if a is None else a if b is None else a + b


class RNN(Cell):
    """A simple recurrent layer: h = f(W x + R h + b).

    Args:
        W, R: (H, I) and (H, H); any array of numbers.
        b, recurrent_bias: (H,); the two are summed.
        activation: f; "tanh" unless given. `Activation("clip", -2, 2)` makes a state that clamps.
        clip: bounds the input of f to [-clip, clip].
        reverse: run from the end of the sequence to its beginning; outputs keep the order of time.
        return_sequences: False gives only the output that is computed last (in a stream: the one so far).
        h0: (H,), where a fresh stream starts; zeros unless given.
        name: of the layer; its node and states are named after it. Numbered by its kind unless given.

    Raises:
        ShapeError: shapes that do not go together; the message names the layer and guesses what the arrays are of.
        TypeError, ValueError: what is no array of numbers; a setting that makes no sense.

    >>> RNN([[1.0]], [[0.5]], activation=Activation("clip", -2, 2))     # h = clip(0.5 h + x, -2, 2)
    RNN(1 -> 1)
    """

    kind = "rnn"

    def __init__(
        self,
        W: Any,
        R: Any,
        b: Any = None,
        *,
        recurrent_bias: Any = None,
        activation: Activation | str = TANH,
        clip: float | None = None,
        reverse: bool = False,
        return_sequences: bool = True,
        h0: Any = None,
        name: str | None = None,
    ) -> None:
        self._take(W, R, [0], None, name)
        self.weights["b"] = _sum(*self._biases(b, recurrent_bias, [0]))  # type: ignore[assignment]
        self._settings(clip, reverse, return_sequences)
        self.attrs["activations"] = (as_activation(activation),)
        self.initial["h"] = None if h0 is None else vector(h0, f"{self._what}: h0", self.hidden)

    @classmethod
    def from_torch(cls, weights: Any, prefix: str = "", *, nonlinearity: str | None = None, **options: Any) -> Layer:
        """torch.nn.RNN (all layers, directions) or RNNCell; `nonlinearity` is "tanh" (the default) or "relu".

        `weights` maps names to arrays (`read_weights`, or a state_dict), `prefix` is the module's name in it. See
        `LSTM.from_torch` for the `options`, and for its ShapeError.

        >>> w = {"weight_ih_l0": np.ones((2, 3)), "weight_hh_l0": np.eye(2)}
        >>> undertow.RNN.from_torch(w, nonlinearity="relu")
        RNN(3 -> 2)
        """
        from .from_torch import recurrent

        activation = {None: "tanh", "tanh": "tanh", "relu": "relu"}.get(nonlinearity)
        if activation is None:
            raise UnsupportedError(
                f"RNN.from_torch: nonlinearity {nonlinearity!r} is not one of torch's; expected 'tanh' or 'relu'"
            )
        return recurrent(cls, weights, prefix, options, activation=activation)

    @classmethod
    def from_keras(
        cls, weights: Any, prefix: str | None = None, *, activation: Activation | str = "tanh", **options: Any
    ) -> RNN:
        """keras.layers.SimpleRNN: kernel (I, H), recurrent_kernel (H, H), bias (H,).

        Arguments as of `LSTM.from_keras`.

        >>> undertow.RNN.from_keras([np.ones((3, 2)), np.eye(2), np.zeros(2)], activation="relu")
        RNN(3 -> 2)
        """
        from .from_keras import rnn

        return rnn(cls, weights, prefix, activation, options)

    @classmethod
    def from_tf(
        cls, weights: Any, prefix: str | None = None, *, activation: Activation | str = "tanh", **options: Any
    ) -> RNN:
        """TensorFlow's BasicRNNCell: kernel [inputs + hidden, hidden], bias. Arguments as of `LSTM.from_tf`.

        >>> undertow.RNN.from_tf([np.ones((3 + 2, 2)), np.zeros(2)])
        RNN(3 -> 2)
        """
        from .from_tf import rnn

        return rnn(cls, weights, prefix, activation, options)


class GRU(Cell):
    """A gated recurrent unit: h = (1 - z) * n + z * h.

    Args:
        W, R: (3 * H, I) and (3 * H, H), or with the gates as an axis of their own, in front.
        b, recurrent_bias: (3 * H,) or (3, H): added to W x and to R h.
        gate_order: the order of the gates in all four; z (or u) update, r reset, n (or h, c) candidate.
        reset_after: True multiplies R_n h by r (PyTorch, Keras, cuDNN); False multiplies h by r before R_n (the
            original paper, ONNX's default, TensorFlow's GRUCell). The same weights mean different networks, so there
            is no default.
        activations: (gate, candidate); ("sigmoid", "tanh") unless given.
        clip, reverse, return_sequences, h0, name: as for `RNN`; so are the errors.

    >>> undertow.GRU(np.zeros((6, 3)), np.zeros((6, 2)), reset_after=True, gate_order="rzn")  # as PyTorch has them
    GRU(3 -> 2)
    """

    kind = "gru"

    def __init__(
        self,
        W: Any,
        R: Any,
        b: Any = None,
        *,
        reset_after: bool,
        gate_order: str = "zrn",
        recurrent_bias: Any = None,
        activations: Sequence[Activation | str] = (SIGMOID, TANH),
        clip: float | None = None,
        reverse: bool = False,
        return_sequences: bool = True,
        h0: Any = None,
        name: str | None = None,
    ) -> None:
        self.name = name
        order = _order(gate_order, _GRU_GATES, "zrn", self._what)
        self._take(W, R, order, None, name)
        bias, rb = self._biases(b, recurrent_bias, order)
        if reset_after and rb is not None:
            self.weights["rb_n"] = rb[2]
            rb = np.vstack([rb[:2], np.zeros((1, self.hidden))])
        self.weights["b"] = _sum(bias, rb)  # type: ignore[assignment]
        self._settings(clip, reverse, return_sequences)
        self.attrs["reset_after"] = bool(reset_after)
        self.attrs["activations"] = _activations(activations, 2, self._what)
        self.initial["h"] = None if h0 is None else vector(h0, f"{self._what}: h0", self.hidden)

    @classmethod
    def from_torch(cls, weights: Any, prefix: str = "", **options: Any) -> Layer:
        """torch.nn.GRU (all its layers and directions) or GRUCell. Arguments as of `LSTM.from_torch`.

        >>> w = {"memory.weight_ih_l0": np.ones((6, 3)), "memory.weight_hh_l0": np.ones((6, 2))}
        >>> undertow.GRU.from_torch(w, "memory")
        GRU 'memory'(3 -> 2)
        """
        from .from_torch import recurrent

        return recurrent(cls, weights, prefix, options)

    @classmethod
    def from_keras(
        cls, weights: Any, prefix: str | None = None, *, reset_after: bool | None = None, **options: Any
    ) -> GRU:
        """keras.layers.GRU. `reset_after` shows in the shape of the bias; say it for a layer without one.

        A bias of (6H,) tells a CuDNNGRU, whose kernels lie in cuDNN's layout; it is read as such.

        Further arguments and `options` as for `LSTM.from_keras`; so is the ShapeError.

        >>> undertow.GRU.from_keras([np.ones((3, 6)), np.ones((2, 6)), np.zeros((2, 6))])
        GRU(3 -> 2)
        """
        from .from_keras import gru

        return gru(cls, weights, prefix, reset_after, options)

    @classmethod
    def from_tf(
        cls, weights: Any, prefix: str | None = None, *, activation: Activation | str = "tanh", **options: Any
    ) -> GRU:
        """TensorFlow's GRUCell: gates/kernel [inputs + hidden, 2 * hidden] (r, u), candidate/kernel, and their biases.

        `weights` is a dict with these names (under `prefix`), or the list [gates kernel, gates bias, candidate
        kernel, candidate bias]. `prefix`, `activation` and `options` are as for `LSTM.from_tf`, and the ShapeError.

        >>> undertow.GRU.from_tf([np.ones((3 + 2, 4)), np.zeros(4), np.ones((3 + 2, 2)), np.zeros(2)])
        GRU(3 -> 2)
        """
        from .from_tf import gru

        return gru(cls, weights, prefix, activation, options)


class LSTM(Cell):
    """A long short-term memory: c = f * c + i * g, h = o * tanh(c).

    Args:
        W, R: (4 * H, I) and (4 * H, P), or with the gates as an axis of their own, in front.
        b, recurrent_bias: (4 * H,) or (4, H); the two are summed.
        gate_order: the order of the gates in all four; i input, f forget, g (or c, j) candidate, o output. PyTorch
            "ifgo", Keras "ifco", TensorFlow "ijfo", ONNX "iofc".
        peephole: (3, H) in the order i, f, o: weights of c in these gates (o sees the new c).
        projection: (P, H): h = projection @ (o * tanh(c)).
        activations: (gate, candidate, output); ("sigmoid", "tanh", "tanh") unless given.
        input_forget: the forget gate is 1 - i.
        cell_clip: bounds c to [-cell_clip, cell_clip] at each timestep, as in TensorFlow; not with `reverse`.
        proj_clip: bounds h likewise, behind the projection.
        clip, reverse, return_sequences, h0, name: as for `RNN`; h0 is (P,). So are the errors.
        c0: (H,), the cell where a fresh stream starts.

    >>> rng = np.random.default_rng(0)
    >>> undertow.LSTM(rng.normal(size=(8, 3)), rng.normal(size=(8, 2)), b=np.zeros(8), name="memory")
    LSTM 'memory'(3 -> 2)
    """

    kind = "lstm"
    letters = ("h", "c")

    def __init__(
        self,
        W: Any,
        R: Any,
        b: Any = None,
        *,
        gate_order: str = "ifgo",
        recurrent_bias: Any = None,
        peephole: Any = None,
        projection: Any = None,
        activations: Sequence[Activation | str] = (SIGMOID, TANH, TANH),
        clip: float | None = None,
        input_forget: bool = False,
        cell_clip: float | None = None,
        proj_clip: float | None = None,
        reverse: bool = False,
        return_sequences: bool = True,
        h0: Any = None,
        c0: Any = None,
        name: str | None = None,
    ) -> None:
        self.name = name
        order = _order(gate_order, _LSTM_GATES, "ifgo", self._what)
        fed_back = None
        if projection is not None:
            projection = numbers(projection, f"{self._what}: projection")
            if projection.ndim != 2:
                raise ShapeError(f"{self._what}: projection has shape {projection.shape}, expected (projected, hidden)")
            fed_back = projection.shape[0]
        self._take(W, R, order, fed_back, name)
        self.weights["b"] = _sum(*self._biases(b, recurrent_bias, order))  # type: ignore[assignment]
        if projection is not None:
            if projection.shape[1] != self.hidden:
                raise ShapeError(
                    f"{self._what}: projection has shape {projection.shape}, expected (projected, {self.hidden})"
                )
            self.weights["projection"] = projection
        if peephole is not None:
            peephole = numbers(peephole, f"{self._what}: peephole")
            if peephole.shape not in ((3, self.hidden), (3 * self.hidden,)):
                raise ShapeError(
                    f"{self._what}: peephole has shape {peephole.shape}, expected (3, {self.hidden}), order i, f, o"
                )
            self.weights["peephole"] = peephole.reshape(3, self.hidden)
        self._settings(clip, reverse, return_sequences)
        self.attrs["input_forget"] = bool(input_forget)
        self.attrs["activations"] = _activations(activations, 3, self._what)
        self.initial["h"] = None if h0 is None else vector(h0, f"{self._what}: h0", self.fed_back)
        self.initial["c"] = None if c0 is None else vector(c0, f"{self._what}: c0", self.hidden)
        self.cell_clip, self.proj_clip = self._bound(cell_clip, "cell_clip"), self._bound(proj_clip, "proj_clip")

    def _bound(self, most: float | None, what: str) -> float | None:
        if most is None:
            return None
        if not is_bound(float(most)):
            raise ValueError(f"{self._what}: {what} is {most}, {BOUNDS}")
        if self.reverse:
            raise UnsupportedError(f"{self._what}: {what} is not supported with reverse=True")
        return float(most)

    def _all_outputs(self, graph: Graph, x: str) -> tuple[str, str]:
        if self.cell_clip is None and self.proj_clip is None:
            return super()._all_outputs(graph, x)
        from .gated import bounded_lstm
        from .recurrence import Making, Term

        making = Making(graph, node_name(graph, self.name, self.kind))
        return making.name, bounded_lstm(self, making, Term(making, x)).value

    @classmethod
    def from_torch(cls, weights: Any, prefix: str = "", **options: Any) -> Layer:
        """torch.nn.LSTM (all its layers, both directions, with or without biases and projection) or LSTMCell.

        >>> w = {"memory.weight_ih_l0": np.ones((8, 3)), "memory.weight_hh_l0": np.ones((8, 2))}    # or read_weights
        >>> undertow.LSTM.from_torch(w, "memory")
        LSTM 'memory'(3 -> 2)

        Args:
            weights: name -> array: from `read_weights`, or a state_dict.
            prefix: the module's name in it: "memory" for memory.weight_ih_l0; "" when the names stand alone.
            options: keyword arguments: `h0`, `c0`, initial states, one row per layer and direction in torch's order;
                `return_sequences`, False for the last output of the top layer alone (torch's h_n, directions joined);
                `name` of the node, the prefix unless given.
            name: of layers that take it as an argument of their own; the prefix unless given.

        Raises:
            ShapeError: a tensor is missing, or its shape does not fit; the message names it. A GRU or RNN given for an
                LSTM is told apart by its shape.
        """
        from .from_torch import recurrent

        return recurrent(cls, weights, prefix, options)

    @classmethod
    def from_keras(
        cls,
        weights: Any,
        prefix: str | None = None,
        *,
        activation: Activation | str = "tanh",
        recurrent_activation: Activation | str = "sigmoid",
        **options: Any,
    ) -> LSTM:
        """keras.layers.LSTM: kernel (I, 4H), recurrent_kernel (H, 4H), bias (4H,), gates i f c o.

        A bias of (8H,) tells a CuDNNLSTM, whose kernels lie in cuDNN's layout; it is read as such.

        Args:
            weights: the list of `layer.get_weights()`, or name -> array as from `read_weights`.
            prefix: in a dict, the path in front of the three names: "lstm/lstm/lstm_cell"; needed when the dict holds
                several layers.
            activation, recurrent_activation: as in the layer's config; Keras's defaults unless given.
            name: of layers that take it as an argument of their own.
            options: further arguments of `LSTM`. Keras's ``go_backwards`` is ``reverse=True``, except that Keras
                gives the outputs of a sequence in reversed order and we in the order of time.

        Raises:
            ShapeError: an array is missing, or its shape does not fit; the message names it.

        >>> undertow.LSTM.from_keras([np.ones((3, 8)), np.ones((2, 8)), np.zeros(8)], name="memory")
        LSTM 'memory'(3 -> 2)
        """
        from .from_keras import lstm

        return lstm(cls, weights, prefix, activation, recurrent_activation, options)

    @classmethod
    def from_tf(
        cls,
        weights: Any,
        prefix: str | None = None,
        *,
        forget_bias: float = 1.0,
        activation: Activation | str = "tanh",
        **options: Any,
    ) -> LSTM:
        """TensorFlow's BasicLSTMCell or LSTMCell: kernel [inputs + hidden, 4H], gates i j f o, bias (4H,).

        Args:
            weights: the list [kernel, bias], or name -> array with the names kernel (or weights) and bias (or biases)
                and, for LSTMCell, w_i_diag w_f_diag w_o_diag (peepholes) and projection/kernel.
            prefix: in a dict, the path in front of these names: "rnn/multi_rnn_cell/cell_0/basic_lstm_cell".
            forget_bias: TensorFlow adds it to the forget gate at run time, so it is not in the file.
            activation: of candidate and output, as the cell was made with; TensorFlow's default unless given.
            options: further arguments of the layer, such as `return_sequences` and `name`.

        Raises:
            ShapeError: an array is missing, or its shape does not fit; the message names it.

        >>> undertow.LSTM.from_tf([np.ones((3 + 2, 8)), np.zeros(8)])
        LSTM(3 -> 2)
        """
        from .from_tf import lstm

        return lstm(cls, weights, prefix, forget_bias, activation, options)


def _activations(given: Sequence[Activation | str], n: int, what: str) -> tuple[Activation, ...]:
    if isinstance(given, (str, Activation)) or len(given) != n:
        raise ValueError(f"{what}: activations are {given!r}, expected {n} of them")
    return tuple(as_activation(a) for a in given)
