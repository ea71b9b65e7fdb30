# SPDX-License-Identifier: MIT
"""What a PyTorch module remembers from call to call: buffers and attributes that its forward changes.

A module is never changed: it is called on copies, and exported as one whose states come and go as arguments and
results.
"""

from __future__ import annotations

import copy
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import numpy as np

from ..._text import shown
from ...errors import Error, UnsupportedError
from .code import is_own
from .given import Given, copied, first_line
from .outside import Outside, same_numbers
from .structure import leaves, rebuilt

_PLAIN = (bool, int, float, str, bytes, type(None))


@dataclass(frozen=True)
class Remembered:
    """A tensor that calls change. path: as in `module.rnn.h`, without the module; in_place: maybe through a view."""

    path: str
    start: Any
    in_place: bool = False

    @property
    def name(self) -> str:
        """As an input; the output that returns it ends with "_next"."""
        return self.path.replace(".", "_")


def remembered(torch: Any, module: Any, arguments: tuple[Any, ...], outside: Outside) -> list[Remembered]:
    """The buffers and tensor attributes that a call changes.

    module: a copy, which is called. arguments: an example; floats in it are replaced, for zeros may change nothing.

    Raises:
        UnsupportedError: a call changes something that no stream can carry: a number, a list, a tensor of integers, one
            that is there only after the first call, or that grows. Names it.
    """
    before = dict(_contents(torch, module))
    kept = {path: value for path, value in before.items() if isinstance(value, torch.Tensor)}
    starts = {path: value.detach().clone() for path, value in kept.items()}
    marks = {path: _mark(value) for path, value in kept.items()}
    parameters = {name: _mark(value) for name, value in module.named_parameters()}
    plain = {path: copy.deepcopy(value) for path, value in before.items() if path not in kept}
    with torch.no_grad():
        first = [leaf.clone() for leaf in leaves(module(*_random(torch, arguments))) if isinstance(leaf, torch.Tensor)]
    after = dict(_contents(torch, module))
    for name, value in module.named_parameters():
        if parameters.get(name) != _mark(value):
            _refuse(name, "is a parameter, which no stream changes")
    changed, unseen = [], []
    for path in dict.fromkeys([*before, *after]):
        old, new = kept.get(path, plain.get(path)), after.get(path)
        if isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor):
            seen = old is not new or new._version != marks[path][1]
            if not seen and (marks[path] != _mark(new) or not same_numbers(torch, starts[path], new)):
                unseen.append(Remembered(path, starts[path]))
                continue
            if marks[path] == _mark(new):
                continue
            if old.shape != new.shape:
                _refuse(path, f"grows from shape {tuple(old.shape)} to {tuple(new.shape)}")
            if "[" in path:
                _refuse(path, "is inside of a list or dict; a stream carries buffers and attributes")
            if starts[path].dtype != torch.float32 or new.dtype != torch.float32:
                _refuse(path, f"is of {new.dtype}; a stream carries torch.float32")
            changed.append(Remembered(path, starts[path], old is new))
        elif isinstance(new, torch.Tensor):
            _refuse(path, "is a tensor only after the first call; give it its first value in __init__, as a buffer")
        elif isinstance(old, torch.Tensor) or not _same(torch, old, new):
            _refuse(path, f"was {shown(repr(old))} and is {shown(repr(new))}; a stream carries tensors, as buffers")
    _check_memory(kept, [*changed, *unseen])
    for state in unseen:
        raise UnsupportedError(
            f"from_torch: a call of the module changes its {shown(state.path)!r} through .data or NumPy, which torch "
            f"does not see when it exports; write self.{shown(state.path)} = ... instead"
        )
    if not changed:
        with torch.no_grad():
            second = [leaf for leaf in leaves(module(*_random(torch, arguments))) if isinstance(leaf, torch.Tensor)]
        if any(not torch.equal(a, b) and not bool(b.isnan().any()) for a, b in zip(first, second, strict=False)):
            if elsewhere := outside.changed():
                raise UnsupportedError(
                    f"from_torch: a call of the module changes {elsewhere}, which no stream carries; export one step "
                    "that takes it as an argument and returns it instead"
                )
            if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
                raise UnsupportedError(
                    "from_torch: the module gives something else when it is called again with the same input, and what "
                    "it keeps is hidden in a module of torch.jit.script; pass it as it was before torch.jit.script"
                )
            raise UnsupportedError(
                "from_torch: the module gives something else when it is called again with the same input, and none of "
                "its buffers and attributes changes: it keeps what it remembers elsewhere (a closure, a global, a "
                "default argument), or draws random numbers; export one step that takes it as an argument and "
                "returns it"
            )
    return changed


def _mark(tensor: Any) -> tuple[int, int, Any]:
    """What is another number after every assignment and every change in place."""
    return tensor.data_ptr(), tensor._version, tensor.shape


def _check_memory(tensors: Mapping[str, Any], changed: list[Remembered]) -> None:
    """Refuse states that share memory with another buffer: each would go on for itself."""
    owners: dict[int, str] = {}
    for path, tensor in tensors.items():
        owners.setdefault(tensor.untyped_storage().data_ptr(), path)
    for state in changed:
        first = owners[tensors[state.path].untyped_storage().data_ptr()]
        others = [p for p, t in tensors.items() if p != state.path and _same_memory(t, tensors[state.path])]
        if others:
            _refuse(state.path, f"shares memory with {shown(first if first != state.path else others[0])!r}")


def _same_memory(a: Any, b: Any) -> bool:
    return bool(a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr())


def _refuse(path: str, why: str) -> None:
    raise UnsupportedError(
        f"from_torch: a call of the module changes its {shown(path)!r}, which {why}; export one step that takes it as "
        "an argument and returns it instead"
    )


def _contents(torch: Any, module: Any) -> Iterator[tuple[str, Any]]:
    """Everything that forward could change, by its path: buffers, tensors, and plain values in attributes; those of
    objects in attributes too, but for what torch or Python brought.
    """
    seen = {id(owner) for owner in module.modules()}
    for prefix, owner in module.named_modules():
        for name, value in _attributes(torch, owner):
            yield from _inside(torch, f"{prefix}.{name}".lstrip("."), value, seen)


def _attributes(torch: Any, owner: Any) -> Iterator[tuple[str, Any]]:
    """The buffers of a module, and what its attributes hold; of another object these."""
    if not isinstance(owner, torch.nn.Module):
        yield from list(getattr(owner, "__dict__", {}).items())
        yield from [(name, getattr(owner, name)) for name in _slots(type(owner)) if hasattr(owner, name)]
        return
    yield from list(owner.named_buffers(recurse=False, remove_duplicate=False))
    if not isinstance(owner, torch.jit.ScriptModule):
        own = vars(torch.nn.Module()).keys()
        yield from [(name, value) for name, value in vars(owner).items() if name not in own]


def _slots(kind: type) -> list[str]:
    slots = [getattr(base, "__slots__", ()) for base in kind.__mro__]
    return [name for names in slots for name in ([names] if isinstance(names, str) else names) if name[:2] != "__"]


def _inside(torch: Any, path: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (torch.Tensor, np.ndarray, *_PLAIN)):
        yield path, value
        return
    if id(value) in seen:
        return
    if isinstance(value, (list, tuple, dict, deque)):
        yield path, value
        seen.add(id(value))
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if not isinstance(item, (torch.Tensor, np.ndarray, *_PLAIN)):
                yield from _inside(torch, f"{path}[{key!r}]", item, seen)
    elif _is_own(torch, value):
        seen.add(id(value))
        for name, item in _attributes(torch, value):
            yield from _inside(torch, f"{path}.{name}", item, seen)


def _is_own(torch: Any, value: Any) -> bool:
    """Whether it is an object of the caller's own classes, or a module that no module has as its child."""
    return isinstance(value, torch.nn.Module) or (is_own(value) and not isinstance(value, (type, FunctionType)))


def _same(torch: Any, a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) and a.shape == b.shape and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_same(torch, a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple, deque)):
        mine, theirs = list(a), list(b)
        return len(mine) == len(theirs) and all(_same(torch, x, y) for x, y in zip(mine, theirs, strict=True))
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return not isinstance(a, _PLAIN) or a == b or a != a


def _random(torch: Any, arguments: tuple[Any, ...]) -> Any:
    def drawn(tensor: Any) -> Any:
        if not (isinstance(tensor, torch.Tensor) and tensor.is_floating_point()):
            return tensor
        generator = torch.Generator().manual_seed(0)
        return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)

    return rebuilt(arguments, map(drawn, leaves(arguments)))


def stateless(torch: Any, module: Any, states: list[Remembered]) -> Any:
    """A module that takes the states behind the arguments, and returns them behind the results; `module` stays as it is
    after every call.
    """

    class Stateless(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *values: Any) -> tuple[Any, ...]:
            n = len(values) - len(states)
            places = [_place(self.inner, state.path) for state in states]
            originals = [place[name] for place, name in places]
            try:
                for (place, name), value in zip(places, values[n:], strict=True):
                    place[name] = value.clone()
                result = self.inner(*values[:n])
                after = [place[name] for place, name in places]
            finally:
                for (place, name), original in zip(places, originals, strict=True):
                    place[name] = original
            return (*leaves(result), *(value.clone() for value in after))

    return Stateless()


def _place(module: Any, path: str) -> tuple[dict[str, Any], str]:
    """Where a tensor stands, and its name there."""
    *owners, name = path.split(".")
    for owner in owners:
        module = getattr(module, owner)
    buffers = getattr(module, "_buffers", {})
    return (buffers if name in buffers else vars(module)), name


def memories(torch: Any, given: Given, outside: Outside) -> list[Remembered]:
    """What calls change, found on a copy."""
    before: list[tuple[Any, ...]] = [
        (owner._buffers, name, tensor, tensor._version, tensor.detach().clone())
        for owner in given.module.modules()
        if not isinstance(owner, torch.jit.ScriptModule)
        for name, tensor in owner._buffers.items()
        if tensor is not None
    ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return remembered(torch, copied(given.module, False), given.arguments, outside)
    except Error:
        raise
    except Exception as error:  # anybody's code
        raise UnsupportedError(
            f"from_torch: {given.name} does not run on the example: {type(error).__name__}: {first_line(error)}"
        ) from error
    finally:
        _restore(torch, given, before)


def _restore(torch: Any, given: Given, before: list[tuple[Any, ...]]) -> None:
    """Undo what a copy has done to the module itself, and refuse it.

    Raises:
        UnsupportedError: a hook or closure of the copy still knows the module.
    """
    changed = [
        (buffers, name, tensor, value)
        for buffers, name, tensor, version, value in before
        if buffers.get(name) is not tensor or tensor._version != version
    ]
    with torch.no_grad():
        for buffers, name, tensor, value in changed:
            buffers[name] = tensor
            if not torch.equal(tensor, value):
                tensor.copy_(value)
    if changed:
        raise UnsupportedError(
            f"from_torch: a copy of {given.name} changes {changed[0][1]!r} of the module that it was copied from, "
            "which a hook or closure knows; export one step that takes it as an argument and returns it"
        )


__all__ = ["Remembered", "memories", "remembered", "stateless"]
