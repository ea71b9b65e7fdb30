# SPDX-License-Identifier: MIT
"""What the code behind a PyTorch module keeps outside of it: in globals, attributes of classes, default arguments and
closures. A call of a copy changes it all the same; here it is told, and put back.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from ..._text import shown
from .code import Code, is_own

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
#: how much of what has changed is told
_TOLD = 3
#: things that are looked at, and numbers in tensors that are copied
_MOST, _MOST_NUMBERS = 100_000, 2**26


@dataclass
class _Kept:
    """What was somewhere before. where: in words; is_changed: whether it is there no more; put_back: the remedy."""

    where: str
    is_changed: Callable[[], bool]
    put_back: Callable[[], None]


class Outside:
    """What a module's code reaches outside of the module, as it is when this is made, and again behind `with`."""

    def __init__(self, torch: Any, module: Any) -> None:
        self._torch = torch
        self._kept: list[_Kept] = []
        self._n_numbers = 0
        self._seen = {id(owner) for owner in module.modules()}
        code = Code(torch, module)
        for space, name in code.named:
            self._keep_item(f"the global {shown(name)!r}", space, name)
        for kind in code.classes:
            for name in [name for name in vars(kind) if not name.startswith("__")]:
                self._keep_attribute(kind, name)
        for function in code.functions:
            where = f"a default argument of {shown(function.__name__)!r}"
            for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
                self._keep(where, value)
            names = function.__code__.co_freevars
            for name, cell in zip(names, function.__closure__ or (), strict=True):
                with contextlib.suppress(ValueError):  # empty
                    self._keep_cell(f"{shown(name)!r} in the closure of {shown(function.__name__)!r}", cell)

    def changed(self) -> str:
        """What has changed, in words; "" where nothing has."""
        return " and ".join(list(dict.fromkeys(kept.where for kept in self._kept if kept.is_changed()))[:_TOLD])

    def __enter__(self) -> Outside:
        return self

    def __exit__(self, *error: object) -> None:
        """Put everything back."""
        with self._torch.no_grad():
            for kept in self._kept:
                if kept.is_changed():
                    kept.put_back()

    def _keep_item(self, where: str, space: dict[Any, Any], name: Any) -> None:
        value = space[name]
        if self._is_data(value):
            is_other = lambda: not _same(space.get(name), value)  # noqa: E731
            self._kept.append(_Kept(where, is_other, lambda: space.__setitem__(name, value)))
            self._keep(where, value)

    def _keep_attribute(self, kind: type, name: str) -> None:
        value = vars(kind)[name]
        if self._is_data(value):
            where = f"the class attribute '{shown(kind.__name__)}.{shown(name)}'"
            is_other = lambda: not _same(vars(kind).get(name), value)  # noqa: E731
            self._kept.append(_Kept(where, is_other, lambda: setattr(kind, name, value)))
            self._keep(where, value)

    def _keep_cell(self, where: str, cell: Any) -> None:
        value = cell.cell_contents
        if self._is_data(value):
            is_other = lambda: not _same(cell.cell_contents, value)  # noqa: E731
            self._kept.append(_Kept(where, is_other, lambda: setattr(cell, "cell_contents", value)))
            self._keep(where, value)

    def _is_data(self, value: Any) -> bool:
        if isinstance(value, (FunctionType, type, ModuleType)):
            return False
        return isinstance(value, (self._torch.Tensor, np.ndarray, list, tuple, dict, deque, *_PLAIN)) or is_own(value)

    def _keep(self, where: str, value: Any) -> None:
        """What a value holds, without the place where it stands."""
        if id(value) in self._seen or isinstance(value, _PLAIN) or len(self._kept) >= _MOST:
            return
        self._seen.add(id(value))
        if isinstance(value, self._torch.nn.Parameter):
            return
        if isinstance(value, self._torch.Tensor):
            self._keep_tensor(where, value)
        elif isinstance(value, np.ndarray):
            self._keep_array(where, value)
        elif isinstance(value, (list, deque)):
            items = list(value)
            self._kept.append(_Kept(where, lambda: not _all_same(list(value), items), lambda: _refill(value, items)))
        elif isinstance(value, dict) or hasattr(value, "__dict__"):
            self._keep_dict(where, value if isinstance(value, dict) else vars(value))
        for item in _held(value):
            if self._is_data(item):
                self._keep(where, item)

    def _keep_dict(self, where: str, space: dict[Any, Any]) -> None:
        items = dict(space)

        def is_changed() -> bool:
            return space.keys() != items.keys() or not all(_same(space[key], value) for key, value in items.items())

        def put_back() -> None:
            space.clear()
            space.update(items)

        self._kept.append(_Kept(where, is_changed, put_back))

    def _keep_tensor(self, where: str, tensor: Any) -> None:
        self._n_numbers += tensor.numel()
        if self._n_numbers > _MOST_NUMBERS or tensor.layout != self._torch.strided:
            return
        memory, numbers = tensor.data, tensor.detach().clone()

        def is_changed() -> bool:
            moved = tensor.data_ptr() != memory.data_ptr() or tensor.shape != numbers.shape
            return moved or not same_numbers(self._torch, tensor, numbers)

        def put_back() -> None:
            tensor.data = memory
            tensor.data.copy_(numbers)

        self._kept.append(_Kept(where, is_changed, put_back))

    def _keep_array(self, where: str, array: np.ndarray) -> None:
        self._n_numbers += array.size
        if self._n_numbers <= _MOST_NUMBERS and array.flags.writeable and not array.dtype.hasobject:
            numbers = array.copy()
            is_changed = lambda: array.tobytes() != numbers.tobytes()  # noqa: E731
            self._kept.append(_Kept(where, is_changed, lambda: np.copyto(array, numbers)))


def _held(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple, deque)):
        yield from list(value)
    elif isinstance(value, dict) or hasattr(value, "__dict__"):
        yield from list((value if isinstance(value, dict) else vars(value)).values())


def _refill(value: Any, items: list[Any]) -> None:
    value.clear()
    value.extend(items)


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, _PLAIN) and (a == b or a != a))


def _all_same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(map(_same, a, b))


def same_numbers(torch: Any, a: Any, b: Any) -> bool:
    """Whether tensors of one shape are equal; NaN is NaN."""
    return a.layout != torch.strided or bool(torch.equal(a, b) or ((a == b) | ((a != a) & (b != b))).all())


__all__ = ["Outside", "same_numbers"]
