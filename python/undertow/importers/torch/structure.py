# SPDX-License-Identifier: MIT
"""Tensors inside of tuples, lists and dicts: the arguments and results of a PyTorch module, and their names."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any


def leaves(value: Any) -> Iterator[Any]:
    """The tensors of arguments or results, in order."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def rebuilt(value: Any, items: Iterator[Any]) -> Any:
    """`value` with the next of `items` in place of each of its leaves."""
    if isinstance(value, dict):
        filled = copy.copy(value)
        for key, item in value.items():
            filled[key] = rebuilt(item, items)
        return filled
    if isinstance(value, (tuple, list)):
        parts = [rebuilt(item, items) for item in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return next(items)


def has_dict(value: Any) -> bool:
    items = value if isinstance(value, (tuple, list)) else ()
    return isinstance(value, dict) or any(map(has_dict, items))


def leaf_names(name: str, value: Any) -> list[str]:
    """What the tensors of an argument are called: by the keys of a dict, numbered in a tuple."""
    if isinstance(value, dict):
        return [part for key, item in value.items() for part in leaf_names(f"{name}_{key}", item)]
    n = sum(1 for _ in leaves(value))
    return [f"{name}_{k}" for k in range(n)] if isinstance(value, (tuple, list)) else [name]


def result_names(n: int) -> list[str]:
    """What the tensors of results are called."""
    return ["output", *(f"output_{i}" for i in range(1, n))][:n]


def flat(torch: Any, module: Any, arguments: tuple[Any, ...]) -> Any:
    """A module that takes the tensors in `arguments` one by one, and gives those of the results so."""

    class Flat(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *values: Any) -> tuple[Any, ...]:
            return tuple(leaves(self.inner(*rebuilt(arguments, iter(values)))))

    return Flat()


__all__ = ["flat", "has_dict", "leaf_names", "leaves", "rebuilt", "result_names"]
