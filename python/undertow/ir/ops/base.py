# SPDX-License-Identifier: MIT
"""What an op is: `Op`, of which every op is a subclass, and the terms in which it says what is true of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from ...errors import UnsupportedError
from .. import precision
from ..nodes import Node, Scope
from .checks import Outputs, fail

Shape = tuple[int, ...]
Shapes = Sequence[Shape]
#: weights by key; of a formula in float64, matrices perhaps as `undertow.ir.products.Rounding`
Weights = Mapping[str, Any]
Arrays = tuple[np.ndarray, ...]
#: what a file stores of the weights of a node, None where it has no such weight; and its parameters
Stored = Sequence[np.ndarray | None]
Params = Sequence[int]

#: what a matrix multiplies: the last axis of the first input, or of the hidden state
INPUT, HIDDEN = "input", "hidden"


class Layout(Enum):
    """How the numbers of an array lie in a file (csrc/FORMAT.md, "Weights"). `undertow.tow.packing` has the bytes."""

    #: (rows, K) or (gates, rows, K)
    MATRIX = "matrix"
    #: (ids, width)
    TABLE = "table"
    #: (taps, channels), a filter for each channel
    FILTERS = "filters"
    #: any shape, one number after another
    VECTOR = "vector"
    #: (n, width), each row by itself
    ROWS = "rows"
    #: (gates, width), gates of the same units side by side
    GATES = "gates"


#: what weights may be stored as, where that is more than float32
_PRECISIONS = {
    Layout.MATRIX: (*precision.CODES, *precision.SPARSE_CODES),
    Layout.TABLE: (*precision.CODES,),
    Layout.FILTERS: ("float32", "int16"),
}


@dataclass(frozen=True)
class Weight:
    """An array of a node, or one that a file stores of it.

    Attributes:
        key: in `Node.weights`; of what a file stores, the weight that it is a part of, whose precision it has.
        multiplies: `INPUT` or `HIDDEN`; "" where it is no matrix, or what it multiplies is seen nowhere.
        integers: int32 instead of float32.
        fixed: it may be stored as fixed8, whose products are integers.
        part: what errors call it, where that is not its key.
    """

    key: str
    layout: Layout = Layout.VECTOR
    multiplies: str = ""
    integers: bool = False
    fixed: bool = False
    part: str = ""

    @property
    def name(self) -> str:
        return self.part or self.key

    @property
    def reducible(self) -> bool:
        """Whether it may be stored in less than float32."""
        return self.layout in _PRECISIONS

    @property
    def precisions(self) -> tuple[str, ...]:
        """What it may be stored as."""
        return (*_PRECISIONS.get(self.layout, ("float32",)), *([precision.FIXED] if self.fixed else ()))

    def as_rows(self, w: np.ndarray) -> np.ndarray:
        """The weight (..., K) whose last axis is the one that a product sums over; or back."""
        return w.T if self.layout is Layout.FILTERS else w

    @property
    def rows_name(self) -> str:
        """What errors call `as_rows` of it."""
        return f"{self.key}.T" if self.layout is Layout.FILTERS else self.key


@dataclass(frozen=True)
class Frames:
    """Shapes of the frames around a node."""

    inputs: Shapes
    outputs: Shapes
    states: Shapes


@dataclass(frozen=True)
class Span:
    """The frames that a formula is asked for.

    Attributes:
        n_present: how many of them, from the first on, are of the sequence; the others are of a flush.
        length: how many of them are valid, for what is masked.
    """

    n_frames: int = 1
    n_present: int = 1
    length: int = 1


class Op:
    """Everything that is true of one op, apart from how fast it is: the engine's half stands in csrc/ops.

    A subclass says what differs from what stands here, which is right for an op of one input that looks at one frame at
    a time and has neither weights nor attributes.
    """

    name: str
    #: what it takes: a number of inputs, one of several numbers, or None for one or more
    n_inputs: int | tuple[int, ...] | None = 1
    #: names of its attributes
    attrs: tuple[str, ...] = ()
    weights: tuple[Weight, ...] = ()

    # -- checks ---------------------------------------------------------------------------------------------------

    def infer(self, graph: Scope, node: Node) -> Outputs:
        """Check a node, fill the defaults of its attributes, and give a (suffix, value) for each of its outputs.

        Raises:
            ShapeError: an input, weight or attribute does not fit.
            UnsupportedError: an attribute or a weight that the op does not know, or a setting that it does not have.
        """
        n = len(node.inputs)
        allowed_counts = (self.n_inputs,) if isinstance(self.n_inputs, int) else self.n_inputs
        if n not in allowed_counts if allowed_counts is not None else n == 0:
            numbers = "one or more" if allowed_counts is None else " or ".join(map(str, allowed_counts))
            fail(node, f"takes {numbers} inputs, got {n}")
        for kind, given, allowed in (
            ("attribute", node.attrs, self.attrs),
            ("weight", node.weights, [weight.key for weight in self.weights]),
        ):
            unknown = sorted(key for key in given if key not in allowed)
            if unknown:
                known = f"it has {', '.join(map(repr, allowed))}" if allowed else "it has none"
                raise UnsupportedError(f"{node.op} {node.name!r}: this op has no {kind} {unknown[0]!r}; {known}")
        return self.outputs(graph, node)

    def outputs(self, graph: Scope, node: Node) -> Outputs:
        """As `infer`, which has seen to the number of inputs and the names of attributes and weights."""
        raise NotImplementedError(self.name)

    @property
    def reducible(self) -> tuple[str, ...]:
        """Keys of the weights that `Node.precisions` may name."""
        return tuple(weight.key for weight in self.weights if weight.reducible)

    def check_precisions(self, node: Node) -> None:
        """Refuse precisions that do not exist, or of weights that have none to choose; drop those that say float32."""
        for key in list(node.smoothing):
            if node.precisions.get(key) not in precision.SMOOTHED:
                del node.smoothing[key]
        if not node.precisions:
            return
        allowed = {weight.key: weight for weight in self.weights if weight.reducible and weight.key in node.weights}
        for key, name in list(node.precisions.items()):
            if key not in allowed:
                raise UnsupportedError(
                    f"{node.op} {node.name!r}: {key!r} cannot be stored as {name!r}; "
                    + (f"precisions are for {', '.join(allowed)}" if allowed else "it has no weight with a precision")
                )
            precision.check(name, f"{node.op} {node.name!r}: {key}")
            if name not in allowed[key].precisions:
                plural = {
                    Layout.TABLE: "a table",
                    Layout.FILTERS: "a filter for each channel",
                    Layout.MATRIX: "a matrix that is neither W nor R of a recurrent cell",
                }
                raise UnsupportedError(
                    f"{node.op} {node.name!r}: {plural[allowed[key].layout]} cannot be stored as {name!r}; expected "
                    f"{', '.join(allowed[key].precisions)}"
                )
            if name == "float32":
                del node.precisions[key]
            elif key in node.smoothing:
                what = f"{node.op} {node.name!r}: {key}"
                if allowed[key].layout is Layout.TABLE:
                    raise UnsupportedError(f"{what}: a table multiplies no frames, so it cannot be smoothed")
                if allowed[key].layout is not Layout.MATRIX:
                    raise UnsupportedError(f"{what} is no matrix, so it cannot be smoothed")
                node.smoothing[key] = precision.checked_smoothing(
                    node.smoothing[key], node.weights[key].shape[-1], what
                )

    def as_stored(self, node: Node, key: str) -> np.ndarray:
        """The numbers that a file of this node holds of a weight, in float32. Raises what `precision.stored` does."""
        (weight,) = (weight for weight in self.weights if weight.key == key)
        rows = weight.as_rows(node.weights[key])
        chosen, smoothing = node.precisions.get(key, "float32"), node.smoothing.get(key)
        return weight.as_rows(precision.stored(rows, chosen, f"{node.op} {node.name!r}: {weight.rows_name}", smoothing))

    # -- in a file (csrc/FORMAT.md) -------------------------------------------------------------------------------

    #: its numbers in a file, of which `kind` chooses one
    kinds: tuple[int, ...]
    #: in a family of ops that share their number, the first parameter says which one it is
    which: int | None = None

    @property
    def stored(self) -> tuple[Weight, ...]:
        """The arrays that a file stores, in order."""
        return self.weights

    def kind(self, node: Node, frames: Frames) -> int:
        return self.kinds[0]

    def split(self, node: Node) -> list[np.ndarray | None]:
        """The weights as a file stores them: an array for each of `stored`, or None."""
        return [node.weights.get(weight.key) for weight in self.stored]

    def params(self, node: Node, arrays: Stored, frames: Frames) -> list[int]:
        """The words that a file holds besides `arrays`, which `split` gave."""
        return [] if self.which is None else [self.which]

    def stored_shapes(self, params: Params, frames: Frames) -> Shapes:
        """Shapes of the arrays of `split`, those included that a node may lack; the rows of a table are -1."""
        return ()

    def join(self, arrays: Stored, params: Params, frames: Frames) -> dict[str, np.ndarray | None]:
        """Inverse of `split`.

        Raises:
            FormatError: the arrays say what no node can.
        """
        return {weight.key: array for weight, array in zip(self.stored, arrays, strict=True)}

    def attributes(self, params: Params, frames: Frames) -> dict[str, Any]:
        """Inverse of `params`."""
        return {}

    def written(self, node: Node, used: set[str]) -> tuple[str, ...]:
        """The outputs that a file must hold, where `used` are the values that are read."""
        return node.outputs

    # -- what it computes, in float64 (undertow.reference) --------------------------------------------------------

    #: formula(node, w, *inputs) -> the output, or outputs, of any number of frames (n, *frame)
    formula: Callable[..., np.ndarray | Arrays]

    def over_time(self, node: Node, w: Weights, xs: Sequence[np.ndarray], span: Span) -> Arrays:
        """The outputs over a whole sequence; inputs are (span.n_frames, *frame)."""
        result = self.formula(node, w, *xs)
        return result if isinstance(result, tuple) else (result,)

    def step(self, node: Node, w: Weights, xs: Sequence[np.ndarray], states: Arrays) -> tuple[Arrays, Arrays]:
        """The outputs of one timestep, and the states after it where they change; inputs are the frames so far."""
        return tuple(y[0] for y in self.over_time(node, w, [x[-1:] for x in xs], Span())), ()

    # -- how it is shown (undertow.inspect) -----------------------------------------------------------------------

    #: whether people look for it, as it has matrices or remembers: it has a line of its own in a long model too
    landmark = False

    def words(self, node: Node, shapes: Shapes) -> list[str]:
        """What tells a node from others of its op; `shapes`: of its inputs."""
        return []

    # -- space: elements of a frame -------------------------------------------------------------------------------

    #: whether element i of the output depends on element i of each input and weight alone, counted row by row
    elementwise = False
    #: whether it may be computed in an expression
    in_expressions = False
    #: whether its output has elements of its inputs, and nothing else: those of `taken`
    moves = False
    #: whether it has an attribute "activation", which comes last in what it computes
    applies_activation = False

    def taken(self, node: Node) -> np.ndarray | None:
        """Of an op that moves, the numbers of the elements that it gives among those of all inputs; None: all."""
        return None

    @property
    def is_view(self) -> bool:
        """Whether it shows all elements of its input in another shape, and does nothing else."""
        return self.moves and self.elementwise

    @property
    def input_matrix(self) -> str:
        """The weight whose columns multiply the last axis of the first input, if there is one."""
        return next((weight.key for weight in self.weights if weight.multiplies == INPUT), "")

    def inner_matrix(self, node: Node) -> str:
        """The matrix that multiplies what is made inside of the op, if there is one."""
        inner = (w.key for w in self.weights if w.layout is Layout.MATRIX and not w.multiplies)
        return next((key for key in inner if key in node.weights), "")

    def factors(self, node: Node, key: str, x: np.ndarray, h: np.ndarray) -> list[tuple[slice, np.ndarray]]:
        """(part of a matrix's first axis, what it multiplies), given rows of the input x and the hidden state h."""
        (of,) = (weight.multiplies for weight in self.weights if weight.key == key)
        return [(slice(None), x if of == INPUT else h)]

    def rescaled(self, w: Weights, frame: Shape, scale: np.ndarray, shift: np.ndarray) -> dict[str, np.ndarray] | None:
        """Weights, float64, that give what w gives times `scale` plus `shift`, before an activation. Both have a number
        for each element of the output's `frame`. None where there are no such weights.
        """
        return None

    # -- time -----------------------------------------------------------------------------------------------------

    #: whether it gives, or takes, a state that other nodes give or take too; else the states of a node are its own
    reads_register = writes_register = False
    #: where it stands within a timestep: 0 before all others, 2 behind them
    turn = 1
    #: whether it needs the end of a sequence; in a stream the end is now, so it gives what it is given
    whole_sequence = False
    #: whether it does nothing where its gate is 0: its state stays, its outputs are zeros. Else it takes zeros there.
    rests = True

    @property
    def is_register(self) -> bool:
        return self.reads_register or self.writes_register

    def may_be_gated(self, node: Node) -> bool:
        """Whether a gate may be its second input."""
        return False

    def is_gated(self, node: Node) -> bool:
        """Whether the second input of a node is a gate."""
        return len(node.inputs) == 2 and self.may_be_gated(node)

    def taps(self, node: Node) -> tuple[int, ...]:
        """The frames of its inputs that it takes, from its own; ascending. What a state remembers is not counted."""
        return (0,)

    def walks_back(self, node: Node) -> bool:
        """Whether it goes through time from the last frame to the first."""
        return False

    def needs_whole_sequence(self, node: Node) -> str:
        """Why a node cannot be streamed; "" if it can."""
        return ""
