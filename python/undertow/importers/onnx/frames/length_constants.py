# SPDX-License-Identifier: MIT
"""Constants that grow with the number of timesteps: arange(1, T + 1), ones of a tensor's length, what is made of them.

While loading they are arrays for the number of timesteps that is tried. Where one meets frames and is not the same at
every timestep, it becomes a frame: the number of the timestep is a register that counts. That an array is such a
progression is never read off its numbers. `Shape` says which sizes are so many timesteps times a coefficient plus
something, the coefficients go through integer arithmetic and movement, and a Range up to such a size, or a constant
expanded to it, is one by its formula. What follows is computed again from frames. Where a number that grows with the
length meets what is known with the last timestep (a sum, of which it makes a mean), it is the count so far: by how much
it grows with one frame more, its nodes say.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....errors import Error
from ..file.nodes import OnnxNode
from ..retry import Retry
from ..traits import MOVEMENT, traits
from . import provenance
from .context import Pairs, Walk, Weighed
from .moves import data_slots
from .provenance import Tensor
from .superframes import rate_of

#: numbers from there on mean "to the end"; an array of more numbers than that is a table
_NO_END, _TABLE = 2**20, 64
#: where a number of any dtype may say how far something goes
_MOVES_BOUNDS = frozenset(
    [*("Add", "Sub", "Range", "Mod", "Min", "Max", "Clip", "Trilu", "Floor", "Ceil", "Round"),
     *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Gather", "Slice", "Concat", "Expand")]
)  # fmt: skip
_NUMBERS = ("float32", "int32", "int64")


@dataclass(eq=False)
class Recipe:
    """How a constant was made: `operands` are arrays, None or recipes; `coefficients` those of its operands, `array` is
    what it is with as many timesteps as are tried."""

    node: OnnxNode
    operands: list[Any]
    coefficients: list[np.ndarray | None]
    array: np.ndarray
    slot: int


class Growing:
    """Notes which constants of a walk depend on the number of timesteps, and makes frames of them where asked."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        #: constant -> for each element, how much it is more with one frame more; a linear function of their number
        self.coefficients: dict[str, np.ndarray] = {}
        self.recipes: dict[str, Recipe] = {}
        #: those, and numbers that are made of coefficients otherwise
        self._numbers: dict[str, Recipe] = {}
        self._frames: dict[Recipe, Tensor | None] = {}

    # -- what depends on it ---------------------------------------------------------------------------------------

    def note(self, node: OnnxNode, operands: list[Any], results: list[Any]) -> None:
        """Look at a node that was walked. A file that fixes its length is never generalised."""
        for name in node.outputs:
            self.coefficients.pop(name, None)
            self.recipes.pop(name, None)
            self._numbers.pop(name, None)
        if not self.walk.builder.sequence or self.walk.reading.fixed_time or not results:
            return
        if node.op == "Shape" and isinstance(operands[0], Tensor | Pairs | Weighed):
            coefficients = self._of_shape(node, operands[0])
        elif node.op == "Shape" and node.inputs[0] in self._numbers:
            coefficients = self._of_grown(node, operands[0])
        elif all(o is None or isinstance(o, np.ndarray) for o in operands):
            given = [self.coefficients.get(name) for name in node.inputs]
            coefficients = self._through(node, operands, given) if any(c is not None for c in given) else None
            self._recipe(node, operands, given, results)
        else:
            return
        if coefficients is not None and coefficients.any():
            self.coefficients[node.outputs[0]] = coefficients

    def _of_shape(self, node: OnnxNode, x: Tensor | Pairs | Weighed) -> np.ndarray | None:
        if not isinstance(x, Tensor):
            of_pairs = np.array([*[0] * (len(x.shape) - 2), 1, 1], np.int64)
            return of_pairs[node.attrs.get("start", 0) : node.attrs.get("end", None)]
        steps = x.steps
        axes = [a for a in range(steps.ndim) if x.codes.size and (steps != steps.take([0], a)).any()]
        if len(axes) != 1:
            return None
        axis_and_rate = rate_of(self.walk, x)
        coefficients = np.zeros(len(x.shape), np.int64)
        coefficients[axes[0]] = 1 if axis_and_rate is None else axis_and_rate[1]
        return coefficients[node.attrs.get("start", 0) : node.attrs.get("end", None)]

    def _of_grown(self, node: OnnxNode, array: np.ndarray) -> np.ndarray | None:
        """The coefficients of the shape of a constant; None where it does not grow by as much with each frame."""
        one, two = (self.longer(node.inputs[0], n) for n in (1, 2))
        if one is None or two is None or not array.ndim == one.ndim == two.ndim:
            return None
        first, second = np.subtract(one.shape, array.shape), np.subtract(two.shape, one.shape)
        rows = slice(node.attrs.get("start", 0), node.attrs.get("end", None))
        return first.astype(np.int64)[rows] if np.array_equal(first, second) else None

    def _through(self, node: OnnxNode, operands: list[Any], given: list[np.ndarray | None]) -> np.ndarray | None:
        """The coefficients after a node, where they are linear."""
        if any(o is not None and o.dtype.kind not in "if" for o in operands):
            return None
        spread = [
            o if o is None or i not in data_slots(node) else np.zeros(o.shape, np.int64) if c is None else c
            for i, (o, c) in enumerate(zip(operands, given, strict=True))
        ]
        if node.op in MOVEMENT:
            if any(c is not None and i not in data_slots(node) for i, c in enumerate(given)):
                return None
            return np.asarray(self.walk.evaluator.run(node, spread)[0])
        if node.op == "Cast":
            return given[0]
        if node.op in ("Add", "Sub"):
            a, b = (np.zeros(o.shape, np.int64) if c is None else c for o, c in zip(operands, given, strict=True))
            return np.asarray(a + b if node.op == "Add" else a - b)
        if node.op == "Mul" and (given[0] is None) != (given[1] is None):
            coefficients, factor = (given[1], operands[0]) if given[0] is None else (given[0], operands[1])
            return np.asarray(coefficients * factor) if (factor == np.round(factor)).all() else None
        return None

    def _recipe(self, node: OnnxNode, operands: list[Any], given: list[np.ndarray | None], results: list[Any]) -> None:
        starts = {"Range": 1, "ConstantOfShape": 0, "Expand": 1}.get(node.op)
        is_root = starts is not None and any(c is not None for c in given[starts:])
        is_recipe = is_root or any(name in self.recipes for name in node.inputs)
        is_number = any(c is not None for c in given) or any(name in self._numbers for name in node.inputs)
        if not traits(node.op).pure or not (is_recipe or is_number):
            return
        for slot, (name, result) in enumerate(zip(node.outputs, results, strict=False)):
            if not name or not isinstance(result, np.ndarray):
                continue
            if is_recipe:
                known = [self.recipes.get(input_name, o) for input_name, o in zip(node.inputs, operands, strict=True)]
                self.recipes[name] = Recipe(node, known, given, result, slot)
            known = [self._numbers.get(input_name, o) for input_name, o in zip(node.inputs, operands, strict=True)]
            self._numbers[name] = Recipe(node, known, given, result, slot)

    def longer(self, name: str, n: int) -> np.ndarray | None:
        """What a constant is with n frames more, n below 0 with fewer; None where its nodes do not tell."""
        return self._with_more(self._numbers[name], n, {}) if name in self._numbers else None

    def made_with(self, name: str) -> set[int]:
        """The numbers that a constant is made with, and the sizes of its tables."""
        numbers: set[int] = set()
        left, seen = [self._numbers.get(name)], set()
        while left:
            recipe = left.pop()
            if recipe is None or recipe in seen:
                continue
            seen.add(recipe)
            kinds = "if" if recipe.node.op in _MOVES_BOUNDS else "i"  # a factor, or what is chosen, is no length
            for operand, coefficients in zip(recipe.operands, recipe.coefficients, strict=True):
                if isinstance(operand, Recipe):
                    left.append(operand)
                elif isinstance(operand, np.ndarray) and coefficients is None and operand.dtype.kind in kinds:
                    whole = np.abs(operand[np.abs(operand) < _NO_END]) if operand.size <= _TABLE else np.zeros(0)
                    numbers |= {int(np.ceil(n)) for n in whole.ravel().tolist()}
                    numbers |= set(operand.shape) if operand.size > _TABLE else set()
        return numbers

    # -- as numbers -----------------------------------------------------------------------------------------------

    def _growth(self, name: str, array: np.ndarray) -> np.ndarray | None:
        """How much more a constant is with one frame more, as its nodes compute it; None where that is not always as
        much, or it has more elements then.
        """
        if array.dtype != np.float32:
            return None
        if name in self.coefficients:
            return self.coefficients[name].astype(np.float32)
        if name not in self._numbers:
            return None
        one, two = (self._with_more(self._numbers[name], n, {}) for n in (1, 2))
        if one is None or two is None or one.shape != array.shape or two.shape != array.shape:
            return None
        growth = one - array
        return growth if growth.any() and np.array_equal(two - one, growth) else None

    def _with_more(self, recipe: Recipe, n: int, known: dict[Recipe, np.ndarray | None]) -> np.ndarray | None:
        """What a constant is with n frames more."""
        if recipe not in known:
            operands = []
            for operand, coefficients in zip(recipe.operands, recipe.coefficients, strict=True):
                if coefficients is not None:  # which says it exactly
                    array = operand.array if isinstance(operand, Recipe) else operand
                    operand = (array + n * coefficients).astype(array.dtype)
                elif isinstance(operand, Recipe):
                    operand = self._with_more(operand, n, known)
                    if operand is None:
                        break
                operands.append(operand)
            known[recipe] = None
            if len(operands) == len(recipe.operands):
                with suppress(Error):
                    known[recipe] = self.walk.evaluator.run(recipe.node, operands)[recipe.slot]
        return known[recipe]

    def _so_far(self, name: str, array: np.ndarray) -> Tensor | None:
        """A constant that grows with the length, for the timesteps so far, known with the last one."""
        growth = self._growth(name, array)
        if growth is None or (growth != np.round(growth)).any() or (array != np.round(array)).any():
            return None
        builder = self.walk.builder
        elements = self.walk.counters.counted(growth, array - growth * (builder.n_steps - 1))
        if elements is None:
            return None
        return Tensor(provenance.encode(-1, -1, builder.derive("last", elements)), ("",) * array.ndim)

    # -- as frames ------------------------------------------------------------------------------------------------

    def meet(self, node: OnnxNode, operands: list[Any]) -> list[Any]:
        """The operands of a node that computes, constants as frames where they differ between timesteps."""
        tensors = [o for o in operands if isinstance(o, Tensor)]
        mine = [i for i, name in enumerate(node.inputs) if name in self._numbers or name in self.coefficients]
        if not mine or not tensors or not traits(node.op).together or not self.walk.builder.sequence:
            return operands
        if all(self.walk.builder.is_final(t.elements) and (t.steps < 0).all() for t in tensors):
            return self._meet_final(node, operands)
        rank = max(len(o.shape) for o in operands if o is not None)
        over_time = {
            a - len(t.shape)
            for t in tensors
            for a in range(len(t.shape))
            if t.codes.size and (t.steps != t.steps.take([0], a)).any()
        }
        met = list(operands)
        for i in (i for i in mine if node.inputs[i] in self.recipes):
            array = operands[i]
            if not isinstance(array, np.ndarray) or array.dtype != np.float32:
                continue
            whole = array.reshape((1,) * (rank - array.ndim) + array.shape)
            if any((whole != whole.take([0], a)).any() for a in over_time):
                met[i] = self._frame(self.recipes[node.inputs[i]]) or array
        return met

    def _meet_final(self, node: OnnxNode, operands: list[Any]) -> list[Any]:
        """The operands of a node that computes what is known with the last timestep, numbers of timesteps counted."""
        met = list(operands)
        for i, (name, operand) in enumerate(zip(node.inputs, operands, strict=True)):
            if isinstance(operand, np.ndarray):
                so_far = self._so_far(name, operand)
                met[i] = operand if so_far is None else so_far
        return met

    def _frame(self, recipe: Recipe) -> Tensor | None:
        """The frames of a constant; None where it cannot be told frame by frame, or not exactly."""
        if recipe not in self._frames:
            try:
                self._frames[recipe] = self._made(recipe)
            except (Error, Retry):  # whoever meets the constant says what is wrong with it
                self._frames[recipe] = None
        return self._frames[recipe]

    def _made(self, recipe: Recipe) -> Tensor | None:
        node, operands = recipe.node, list(recipe.operands)
        whole = recipe.array.dtype.kind == "i"
        if str(recipe.array.dtype) not in _NUMBERS:
            return None
        if node.op == "Range":
            return self._range(recipe)
        shape_slot = {"ConstantOfShape": 0, "Expand": 1}.get(node.op)
        if shape_slot is not None and not isinstance(operands[0], Recipe):
            return self._spread(recipe, recipe.coefficients[shape_slot])
        if node.op == "CumSum" and isinstance(operands[0], Recipe):
            return self._sums(recipe, operands[0])
        if whole and not traits(node.op).exact and node.op not in MOVEMENT:
            return None
        moves = data_slots(node) if node.op in MOVEMENT else tuple(range(len(operands)))
        for i, operand in enumerate(operands):
            if isinstance(operand, Recipe):
                frame = self._frame(operand) if i in moves else None
                operand = operand.array if frame is None else frame
            if isinstance(operand, np.ndarray) and i in moves and operand.dtype.kind == "i":
                if (np.abs(operand) >= 2**24).any():
                    return None
                operand = operand.astype(np.float32)
            operands[i] = operand
        if not isinstance(operands[0], Tensor) and not any(isinstance(operands[i], Tensor) for i in moves):
            return None
        if node.op in ("Cast", "CastLike"):
            given = recipe.operands[0]
            exact = not whole or given.array.dtype.kind == "i"
            return operands[0] if exact and isinstance(operands[0], Tensor) else None
        results = self.walk.apply(node, operands)
        result = results[recipe.slot]
        return result if isinstance(result, Tensor) and result.shape == recipe.array.shape else None

    def _over_time(self, shape: tuple[int, ...], axis: int, per_frame: int) -> tuple[np.ndarray, np.ndarray] | None:
        """For rows along an axis of `per_frame` rows for every frame, the first ones missing where there are fewer: the
        timestep of each, and its number, in the shape to broadcast."""
        late = per_frame * self.walk.builder.n_steps - shape[axis]
        if per_frame < 1 or late < 0:
            return None
        row = (np.arange(shape[axis]) + late).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        return row // per_frame, row

    def _range(self, recipe: Recipe) -> Tensor | None:
        """start + i * delta, i up to the number of timesteps."""
        start, limit, delta = (o.array if isinstance(o, Recipe) else o for o in recipe.operands)
        per_start, per_limit, per_delta = recipe.coefficients
        if per_start is not None or per_delta is not None or per_limit is None:
            return None
        first, step, grows = (float(np.asarray(a).reshape(())) for a in (start, delta, per_limit))
        if step != round(step) or first != round(first) or step == 0 or grows % step:
            return None
        per_frame, n = int(grows / step), recipe.array.shape[0]
        along = self._over_time((n,), 0, per_frame)
        if along is None or n != round((float(np.asarray(limit).reshape(())) - first) / step):
            return None
        steps, rows = along
        late = int(rows.ravel()[0])
        offsets = first + step * (np.arange(per_frame) - late)
        elements = self.walk.counters.counted(np.full(per_frame, grows), offsets)
        return None if elements is None else Tensor(provenance.encode(steps, -1, elements[rows % per_frame]), ("",))

    def _spread(self, recipe: Recipe, per_frame: np.ndarray | None) -> Tensor | None:
        """A constant along time."""
        shape = recipe.array.shape
        if per_frame is None or np.count_nonzero(per_frame) != 1:
            return None
        axis = int(np.flatnonzero(per_frame)[0]) + len(shape) - per_frame.size
        along = self._over_time(shape, axis, int(per_frame[np.flatnonzero(per_frame)[0]]))
        array = recipe.array
        if along is None or (array != array.take([0], axis)).any():
            return None
        elements = self.walk.builder.constant(array.take([0], axis).astype(np.float32))
        table = np.broadcast_to(provenance.encode(along[0], -1, elements), shape)
        return Tensor(table, ("",) * len(shape))

    def _sums(self, recipe: Recipe, of: Recipe) -> Tensor | None:
        """Sums along time of what is the same at every timestep: a multiple of its number, if it is whole."""
        node, frame, axis = recipe.node, self._frame(of), recipe.operands[1]
        if frame is None or not isinstance(axis, np.ndarray) or node.attrs.get("reverse", 0):
            return None
        at = int(axis.reshape(())) % len(frame.shape)
        values = of.array.take([0], at)
        steps = frame.steps
        if (steps == steps.take([0], at)).all() or (of.array != values).any() or (values != np.round(values)).any():
            return self.walk.apply(node, [frame, axis])[0] if of.array.dtype == np.float32 else None
        moved = np.moveaxis(steps, at, 0).reshape(len(np.moveaxis(steps, at, 0)), -1)[:, 0]
        per_frame = int((moved == moved[-1]).sum())
        along = self._over_time(frame.shape, at, per_frame)
        if along is None or (along[0].ravel() != moved).any():
            return None
        late = int(along[1].ravel()[0])
        numbers = np.arange(per_frame) - late + (0 if node.attrs.get("exclusive", 0) else 1)
        place = numbers.reshape([-1 if a == at else 1 for a in range(len(frame.shape))])
        elements = self.walk.counters.counted(
            np.broadcast_to(values * per_frame, (values * place).shape), values * place
        )
        if elements is None:
            return None
        table = provenance.encode(along[0], -1, elements.take(along[1].ravel() % per_frame, at))
        return Tensor(np.broadcast_to(table, frame.shape), ("",) * len(frame.shape))


__all__ = ["Growing", "Recipe"]
