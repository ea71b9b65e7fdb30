# SPDX-License-Identifier: MIT
"""What a caller of `from_torch` gives: a module of any making that can be called and copied, and an example."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass
from typing import Any

from ...errors import UnsupportedError


@dataclass
class Given:
    """A module that can be called and copied, as the caller has given it; with the program that it is of."""

    name: str
    module: Any
    arguments: tuple[Any, ...]
    program: Any = None


def given_of(torch: Any, module: Any, example: Any) -> Given:
    """What can be called of what was given: a program's module, a compiled module as it was before."""
    name, program = type(module).__name__, None
    if {"keras", "tf_keras"} & {cls.__module__.partition(".")[0] for cls in type(module).__mro__}:
        # with torch as its backend it is a module as well, which torch's exporters do not take
        raise TypeError(
            f"from_torch: {name} is of Keras: save the keras.Model with model.save('model.keras'), and load that with "
            "undertow.load"
        )
    exported = getattr(getattr(torch, "export", None), "ExportedProgram", None)
    if exported is not None and isinstance(module, exported):
        program, module = module, module.module()
        if example is None and program.example_inputs is not None:
            example = tuple(program.example_inputs[0])
    original = getattr(module, "_orig_mod", None)
    if isinstance(original, torch.nn.Module):
        module, name = original, type(original).__name__
    if not isinstance(module, torch.nn.Module):
        raise TypeError(
            f"from_torch: the module is a {name}, expected a torch.nn.Module or torch.export.ExportedProgram"
        )
    if example is None:
        raise TypeError("from_torch: an example of what the module takes is missing: from_torch(module, example)")
    name = str(getattr(module, "original_name", name))
    return Given(name, module, example if isinstance(example, tuple) else (example,), program)


def copied(module: Any, share: bool = True) -> Any:
    """A copy, in evaluation mode. share: the weights, which are not to be changed then."""
    try:
        duplicate = copy.deepcopy(module, {id(p): p for p in module.parameters()} if share else {})
    except Exception as error:  # anybody's code
        raise UnsupportedError(
            f"from_torch: the module {type(module).__name__} cannot be copied, and it is not to be changed: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    with contextlib.suppress(NotImplementedError):  # what torch.export made is of one mode
        duplicate.eval()
    return duplicate


def refuse_lazy(torch: Any, given: Given) -> None:
    """Refuse parameters whose shapes the first call decides: it would change the module."""
    for name, parameter in given.module.named_parameters():
        if torch.nn.parameter.is_lazy(parameter):
            raise UnsupportedError(
                f"from_torch: parameter {name!r} of {given.name} has no shape yet; call the module once before"
            )


def first_line(error: Exception) -> str:
    """What an error of torch's says first; the rest is of its own insides."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")


__all__ = ["Given", "copied", "first_line", "given_of", "refuse_lazy"]
