# SPDX-License-Identifier: MIT
"""The code behind a PyTorch module: the functions of the caller's own that a call may run, and what they name."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

#: functions that are looked at
_MOST = 1000


def is_own(value: Any) -> bool:
    """Whether a class, function or object is none that torch, NumPy or Python brought."""
    kind = value if isinstance(value, (type, FunctionType)) else type(value)
    room = (kind.__module__ or "").partition(".")[0]
    return room not in ("", "builtins", "torch", "numpy", "undertow") and room not in sys.stdlib_module_names


class Code:
    """What a module's forward may run and reach, as far as names tell.

    Attributes:
        functions: methods of the module's classes and of its submodules', hooks, and what these name.
        classes: classes of the caller's own among them.
        named: the variables of Python modules that functions name: (that dict, the name).
    """

    def __init__(self, torch: Any, module: Any) -> None:
        self.functions: list[FunctionType] = []
        self.classes: list[type] = []
        self.named: list[tuple[dict[str, Any], str]] = []
        self._torch = torch
        self._seen: set[int] = set()
        for owner in module.modules():
            self._add(owner)

    def _add(self, value: Any) -> None:
        """Whatever value: what it may run."""
        if id(value) in self._seen or len(self.functions) >= _MOST:
            return
        self._seen.add(id(value))
        value = getattr(value, "__func__", value)  # of a method
        if isinstance(value, property):
            for part in (value.fget, value.fset):
                self._add(part)
        elif isinstance(value, FunctionType):
            self._add_function(value)
        elif isinstance(value, type):
            self._add_class(value)
        elif isinstance(value, self._torch.nn.Module) or (is_own(value) and not isinstance(value, ModuleType)):
            self._add_class(type(value))
            for item in list(getattr(value, "__dict__", {}).values()):
                self._add_held(item)

    def _add_held(self, value: Any) -> None:
        """A value, and what a list or dict of it holds."""
        items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
        for item in list(items):
            if callable(item) or is_own(item):
                self._add(item)

    def _add_class(self, kind: type) -> None:
        for base in kind.__mro__:
            if is_own(base) and base not in self.classes:
                self.classes.append(base)
                for item in list(vars(base).values()):
                    self._add(item)
        if forward := getattr(kind, "forward", None):  # torch.fx writes it into a class of its own
            self._add(forward)

    def _add_function(self, function: FunctionType) -> None:
        if not is_own(function) and not function.__code__.co_filename.startswith("<eval_with_key>"):
            return
        self.functions.append(function)
        self._add(getattr(function, "__wrapped__", None))
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._add_held(value)
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # empty
                self._add_held(cell.cell_contents)
        names = {name for code in codes(function.__code__) for name in code.co_names}
        spaces = [function.__globals__]
        spaces += [vars(value) for name in names if isinstance(value := spaces[0].get(name), ModuleType)]
        for space in spaces:
            if not _is_theirs(space):
                continue
            for name in sorted(names & space.keys()):
                if not name.startswith("__") and not isinstance(space[name], ModuleType):
                    self.named.append((space, name))
                    self._add_held(space[name])


def _is_theirs(space: dict[str, Any]) -> bool:
    """Whether the variables of a Python module are the caller's."""
    room = str(space.get("__name__", "")).partition(".")[0]
    return room not in ("torch", "numpy", "undertow") and room not in sys.stdlib_module_names


def codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function, and of those that are defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def integers(torch: Any, module: Any) -> set[int]:
    """The integers that the code behind a module holds, or names, or its classes and attributes have."""
    code = Code(torch, module)
    values = [
        constant for function in code.functions for part in codes(function.__code__) for constant in part.co_consts
    ]
    for function in code.functions:
        values += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):
                values.append(cell.cell_contents)
    values += [space[name] for space, name in code.named]
    values += [value for kind in code.classes for value in vars(kind).values()]
    for owner in module.modules():
        if is_own(owner):
            values += vars(owner).values()
        elif isinstance(owner, torch.jit.ScriptModule):
            values += [int(digits) for digits in re.findall(r"\b\d{1,6}\b", getattr(owner, "code", ""))]
    values += [item for value in values if isinstance(value, (tuple, list, frozenset)) for item in value]
    return {value for value in values if type(value) is int}


__all__ = ["Code", "codes", "integers", "is_own"]
