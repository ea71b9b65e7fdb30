# SPDX-License-Identifier: MIT
"""A `torch.nn.Module` whose forward goes on where the call before ended, over a stream of undertow's. Needs torch.

>>> import torch                                                                         # doctest: +SKIP
>>> from undertow.compat.torch import StreamingModule                                    # doctest: +SKIP
>>> net = StreamingModule(torch.nn.GRU(8, 16, batch_first=True), torch.zeros(1, 10, 8))  # doctest: +SKIP
>>> y = net(torch.zeros(8))                                                              # doctest: +SKIP
>>> Y = net(torch.zeros(100, 8))                                                         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

try:
    import torch
except ImportError as error:
    raise ImportError("undertow.compat.torch needs PyTorch: pip install torch") from error

from ..errors import ShapeError, UnsupportedError
from ..importers.torch import from_torch
from ..model import Model
from ..stream import Pool, Stream


class StreamingModule(torch.nn.Module):
    """A model that keeps its state between calls, as a module among others, for inference on the CPU.

    It has no parameters, so `state_dict` is empty and there is nothing to train; training and evaluation are the same
    to it. `copy.deepcopy` and `pickle` take it as it stands, and the copy goes on from there. It belongs to one thread
    at a time.

    Attributes:
        model: the `undertow.Model`.
        stream: the `Stream`, with its state and snapshots; a `Pool` where `batch_size` is given, with `ids` of its
            streams.
        batch_size: sequences side by side; None for one without an axis of its own.
    """

    def __init__(
        self,
        model: Model | torch.nn.Module,
        example: Any = None,
        *,
        batch_size: int | None = None,
        threads: int = 1,
        **options: Any,
    ) -> None:
        """
        Args:
            model: an `undertow.Model`, or a module, which `undertow.from_torch` takes with `example` and `options`.
            batch_size: with a number, forward takes so many sequences side by side; each has its own state.
            threads: as in `Model.stream`, or in `Model.pool`.

        Raises:
            UnsupportedError: the model needs whole sequences, or `from_torch` does not take the module.
        """
        super().__init__()
        if isinstance(model, torch.nn.Module):
            model = from_torch(model, example, **options)
        elif not isinstance(model, Model):
            raise TypeError(f"model is a {type(model).__name__}, expected an undertow.Model or a torch.nn.Module")
        elif example is not None or options:
            raise TypeError("example and options are for a torch.nn.Module, not for a Model")
        self.model, self.batch_size = model, batch_size
        self.ids: np.ndarray | None = None
        self.stream: Stream | Pool
        if batch_size is None:
            self.stream = model.stream(threads=threads)
        else:
            self.stream = model.pool(batch_size, threads=threads)
            self.ids = self.stream.open(batch_size)

    def forward(self, *frames: torch.Tensor, **named: torch.Tensor) -> Any:
        """Go on by one frame, or by T of them.

        Args:
            frames: for each input, in the order of `model.inputs` or by name, a frame of the shape that stands there,
                or (T, *frame): float32, of ids int64 or int32. With a `batch_size` of n, (n, *frame) or (n, T, *frame).

        Returns: a tensor of the output frame, or with the axes of the input before it; a dict by name of several.

        Raises:
            ShapeError, TypeError: an input has another shape or dtype.
            UnsupportedError: an input needs a gradient, or lies on another device than the CPU.
        """
        xs, several = self._arrays(frames, named)
        X: Any = xs if len(xs) > 1 else next(iter(xs.values()))
        if isinstance(self.stream, Pool):
            Y = self.stream.run(self.ids, X) if several else self.stream.step(self.ids, X)
        else:
            Y = self.stream.run(X) if several else self.stream.step(X)
        if isinstance(Y, Mapping):
            return {name: torch.from_numpy(y) for name, y in Y.items()}
        return torch.from_numpy(Y)

    def _arrays(
        self, frames: tuple[torch.Tensor, ...], named: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, np.ndarray], bool]:
        """The memory of the inputs, copied only where it is in pieces; and whether it holds several frames."""
        inputs = self.model.inputs
        if len(frames) + len(named) != len(inputs) or len(frames) > len(inputs):
            raise TypeError(f"forward was given {len(frames) + len(named)} inputs, expected {', '.join(inputs)}")
        given = {**dict(zip(inputs, frames, strict=False)), **named}
        if given.keys() != inputs.keys():
            raise TypeError(f"forward was given {', '.join(given)}, expected {', '.join(inputs)}")
        arrays, ranks = {}, set()
        for name, value in inputs.items():
            x = given[name]
            if not isinstance(x, torch.Tensor):
                raise TypeError(f"input {name!r} is a {type(x).__name__}, expected a tensor")
            if x.requires_grad and torch.is_grad_enabled():
                raise UnsupportedError(
                    f"input {name!r} needs a gradient, and none goes through a stream: call it under torch.no_grad(), "
                    "or with x.detach()"
                )
            if x.device.type != "cpu":
                raise UnsupportedError(f"input {name!r} lies on {x.device}, expected the CPU: x.cpu()")
            if (right := _dtype_error(x, value.dtype)) is not None:
                raise TypeError(f"input {name!r} is {x.dtype}, {right}")
            before = [] if self.batch_size is None else [self.batch_size]
            ranks.add(x.ndim - len(before) - len(value.shape))
            sizes = list(x.shape)
            fits = sizes[: len(before)] == before and sizes[len(sizes) - len(value.shape) :] == list(value.shape)
            if not fits or ranks - {0, 1} or len(ranks) > 1:
                expected = [(*before, *value.shape), (*before, "T", *value.shape)]
                raise ShapeError(
                    f"input {name!r} has shape {tuple(x.shape)}, expected {expected[0]}, or {expected[1]} for T frames"
                    + (", of all inputs alike" if len(inputs) > 1 else "")
                )
            arrays[name] = x.detach().contiguous().numpy()
        return arrays, ranks == {1}

    def reset(self, items: Iterable[int] | Iterable[bool] | int | None = None) -> None:
        """Begin anew: all sequences, those of these numbers, or those where a mask of `batch_size` flags is true.

        Raises:
            IndexError: there is no such sequence. TypeError: `items` are neither numbers of sequences nor a mask.
        """
        if isinstance(self.stream, Pool):
            assert self.ids is not None
            which = self.ids if items is None else self.ids[_chosen(items, len(self.ids))]
            if len(which):
                self.stream.reset(which)
        elif items is None:
            self.stream.reset()
        else:
            raise IndexError(f"reset({items!r}) of a module without batch_size, which has one sequence: reset()")

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> StreamingModule:
        """What `to`, `cuda`, `half` and their kin do: refused where it would change something.

        Raises:
            UnsupportedError: to another device than the CPU, or another dtype than float32.
        """
        moved = fn(torch.empty(0))
        if moved.device.type != "cpu" or moved.dtype != torch.float32:
            raise UnsupportedError(
                f"a stream computes in float32 on the CPU, and cannot be moved to {moved.dtype} on {moved.device}; "
                "weights in other precisions: model.with_weights('float16')"
            )
        return self

    def extra_repr(self) -> str:
        batch = "" if self.batch_size is None else f", batch_size={self.batch_size}"
        return f"{self.model.name!r}, {self.model.n_parameters} parameters{batch}"


def _dtype_error(x: torch.Tensor, dtype: str) -> str | None:
    """What was expected in place of a tensor's dtype, and what to write; None where it is right."""
    if dtype == "int32":
        if x.dtype in (torch.int64, torch.int32):
            return None
        return "expected ids, torch.int64 or torch.int32" + ("" if x.dtype.is_complex else ": x.long()")
    if x.dtype == torch.float32:
        return None
    if x.dtype.is_complex:
        return "expected torch.float32"
    scale = {torch.int16: 32768, torch.int32: 2147483648}.get(x.dtype)
    sound = f"x.float() / {scale} for sound, x.float() for other numbers" if scale else "x.float()"
    return f"expected torch.float32: {sound}"


def _chosen(items: Any, n: int) -> np.ndarray:
    """Numbers of sequences, from a mask of n or from numbers."""
    given = np.atleast_1d(np.asarray(items))
    if given.dtype == bool:
        if given.shape != (n,):
            raise IndexError(f"reset: a mask of shape {given.shape}, expected ({n},), a flag for each sequence")
        return np.flatnonzero(given)
    if given.size and given.dtype.kind not in "iu":
        raise TypeError(f"reset: items are {given.dtype}, expected numbers of sequences from 0 to {n - 1}, or a mask")
    if n > 1 and given.shape == (n,) and given.max() <= 1:
        raise TypeError(
            f"reset: {given.tolist()} may be flags for all {n} sequences, or numbers of some: write flags as bools, "
            "as in done.astype(bool); reset() begins all anew"
        )
    return np.unique(given.astype(np.int64))


__all__ = ["StreamingModule"]
