# SPDX-License-Identifier: MIT
"""What a model gives for a few frames, kept in its file to be asked for again: `Model.save(proof=)`, `load(check=)`.

Frames go one by one, all at once, and in a pool, because each of these ways has kernels of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._text import quoted
from .errors import InternalError, ShapeError
from .tow import proof as files

#: streams of the pool: enough for kernels that take several rows
_STREAMS = 3

Digests = np.ndarray


def make(model: Any, xs: Sequence[np.ndarray]) -> files.Proof:
    """The proof of a model with frames of each of its inputs, (T, *frame).

    Raises:
        ShapeError: there are none, or more than `files.MAX_FRAMES`; or all lead to NaN.
    """
    n_frames = len(xs[0])
    if not 1 <= n_frames <= files.MAX_FRAMES:
        raise ShapeError(f"proof has {n_frames} frames, expected 1 to {files.MAX_FRAMES}: a few, such as X[:16]")
    _check_numbers(model, xs)
    digests = _one_by_one(model, xs) if model.streamable else _whole(model, xs)
    proof = files.Proof([x.reshape(n_frames, -1) for x in xs], digests)
    check(model, proof)  # the other ways, too: what is kept holds
    return proof


def _check_numbers(model: Any, xs: Sequence[np.ndarray]) -> None:
    """Refuse frames all of which lead to NaN in an output: that is NaN whatever a kernel computes.

    Raises:
        ShapeError: names the output.
    """
    for name, y in _outputs(model, model.run(_frames(model, list(xs)))).items():
        rows = np.isnan(y.reshape(len(y) if y.ndim > len(model.outputs[name].shape) else 1, -1))
        if rows.any(axis=1).all():
            given = any(np.isnan(x).any() for x in xs)
            raise ShapeError(
                f"proof leads to NaN in output {quoted(name)} in every frame, which proves nothing; expected frames "
                "that give numbers" + (": these hold NaN themselves" if given else "")
            )


def read(model: Any, blob: memoryview) -> files.Proof | None:
    """The proof that the file of a model holds, or None. Raises FormatError: it is damaged."""
    sizes = [(value.size, value.dtype) for value in model.inputs.values()]
    return files.read(blob, sizes, len(model.outputs) + len(model.states))


def check(model: Any, proof: files.Proof) -> None:
    """Let a model compute its proof, in every way that there is.

    Raises:
        InternalError: it gives other bits; says in which frame and field, and on which instruction set.
    """
    xs = [x.reshape(proof.n_frames, *v.shape) for x, v in zip(proof.frames, model.inputs.values(), strict=True)]
    if not model.streamable:
        _compare(model, "whole", proof.digests, _whole(model, xs))
        return
    _compare(model, "frame by frame", proof.digests, _one_by_one(model, xs))
    _compare(model, "in one call", proof.digests, _at_once(model, xs))
    _compare(model, f"in a pool of {_STREAMS}", proof.digests, _in_a_pool(model, xs))


def _compare(model: Any, how: str, expected: Digests, got: Digests) -> None:
    differs = (expected != got).any(axis=-1) & got.any(axis=-1)  # digests of zero: not looked at in this way
    if not differs.any():
        return
    t, field = (int(i) for i in np.argwhere(differs)[0])
    names = [*(("output", name) for name in model.outputs), *(("state", name) for name in model.states)]
    kind, name = names[field]
    raise InternalError(
        f"{quoted(model.name)} does not give what its file proves: {kind} {quoted(name)} after frame {t} of "
        f"{len(expected)} has other bits on {model.isa}, {how}. The file is whole, so this instruction set computes "
        "something else on this CPU than on the one that wrote the proof: UT_ISA=scalar in the environment takes plain "
        "arithmetic instead; please report it with what `undertow doctor` says"
    )


def _one_by_one(model: Any, xs: Sequence[np.ndarray]) -> Digests:
    stream, rows = model.stream(), []
    for t in range(len(xs[0])):
        y = stream.step(_frames(model, [x[t, ...] for x in xs]))
        rows.append(_fields(model, _outputs(model, y), stream.state))
    return np.array(rows)


def _at_once(model: Any, xs: Sequence[np.ndarray]) -> Digests:
    stream = model.stream()
    ys = _outputs(model, stream.run(_frames(model, list(xs))))
    return _rows(model, len(xs[0]), ys, stream.state)


def _in_a_pool(model: Any, xs: Sequence[np.ndarray]) -> Digests:
    with model.pool(_STREAMS) as pool:
        ids = pool.open(_STREAMS)
        X = _frames(model, [np.ascontiguousarray(np.repeat(x[None], _STREAMS, axis=0)) for x in xs])
        ys = _outputs(model, pool.run(ids, X))
        got = [
            _rows(model, len(xs[0]), {name: y[i] for name, y in ys.items()}, pool.state(int(id)))
            for i, id in enumerate(ids)
        ]
    odd = next((rows for rows in got if not np.array_equal(rows, got[0])), got[0])
    return odd


def _whole(model: Any, xs: Sequence[np.ndarray]) -> Digests:
    ys, states = model.run_with_state(_frames(model, list(xs)))
    return _rows(model, len(xs[0]), _outputs(model, ys), states)


def _rows(model: Any, n_frames: int, ys: Mapping[str, np.ndarray], states: Mapping[str, np.ndarray]) -> Digests:
    """Outputs after each frame; what there is once, and states, after the last."""
    digests = np.zeros((n_frames, len(model.outputs) + len(model.states), files.FIELD), np.uint8)
    for i, (name, value) in enumerate(model.outputs.items()):
        y = ys[name]
        if y.ndim == len(value.shape):
            digests[-1, i] = files.field_digest(y)
        else:
            digests[:, i] = [files.field_digest(row) for row in y]
    for i, name in enumerate(model.states, len(model.outputs)):
        digests[-1, i] = files.field_digest(states[name])
    return digests


def _fields(model: Any, ys: Mapping[str, np.ndarray], states: Mapping[str, np.ndarray]) -> Digests:
    fields = [*(ys[name] for name in model.outputs), *(states[name] for name in model.states)]
    return np.array([files.field_digest(field) for field in fields])


def _frames(model: Any, xs: list[np.ndarray]) -> Any:
    return xs[0] if len(xs) == 1 else dict(zip(model.inputs, xs, strict=True))


def _outputs(model: Any, ys: Any) -> Mapping[str, np.ndarray]:
    return ys if isinstance(ys, dict) else {next(iter(model.outputs)): ys}


__all__ = ["check", "make", "read"]
