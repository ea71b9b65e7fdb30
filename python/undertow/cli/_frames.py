# SPDX-License-Identifier: MIT
"""Frames from files and lines, and back. A line holds one frame: the numbers of all inputs, in order, flattened."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from .._text import shown
from ..audio.reading import reading
from ..errors import FormatError, ShapeError
from ..ir import superframes
from ..weights.contents import open_file
from . import _sound
from ._common import UsageError, say
from ._hearing import hearing_of, tell_of_rate

Arrays = dict[str, np.ndarray]

#: Files of numbers.
SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".txt")


def read(path: str, model: Any, args: argparse.Namespace, several: bool = False) -> Arrays:
    """All frames of a file: input name -> (T, *frame); several: or sequences of a NumPy file, (N, T, *frame)."""
    if Path(path).suffix.lower() not in _sound.SUFFIXES:
        return read_arrays(path, model, args, several)
    with reading(path) as sound:
        hearing = hearing_of(path, sound.channels, sound.rate, model, args)
        tell_of_rate(path, hearing, model, args)
        pieces = []
        while len(samples := sound.read(1 << 16)):
            pieces.append(hearing.push(samples))
        return {hearing.name: np.concatenate([*pieces, hearing.flush()])}


def read_arrays(path: str, model: Any, args: argparse.Namespace, several: bool = False) -> Arrays:
    """All frames of a file that holds them as numbers."""
    suffix = Path(path).suffix.lower()
    refuse_sound_options(path, args)
    if suffix == ".npy":
        return _from_arrays(path, {"": _numpy(path)}, model, several)
    if suffix == ".npz":
        return _from_arrays(path, _numpy(path), model, several)
    if suffix in SUFFIXES:
        with open(path, encoding="utf-8", errors="replace") as file:
            return stack(list(lines(file, path, model)), model)
    raise UsageError(f"{path}: cannot tell what is in it; expected .npy, .npz, .csv, .tsv, .txt, .wav, or - for lines")


def refuse_sound_options(path: str, args: argparse.Namespace) -> None:
    """Options that say how to cut sound mean nothing where frames come as they are."""
    if given := _sound.options_given(args):
        raise UsageError(f"{given[0]}: {path} is no sound file; its frames are taken as they are")


def lines(file: TextIO, name: str, model: Any) -> Iterator[Arrays]:
    """One frame per line of numbers; empty lines, comments (#) and a first line of names are passed over."""
    n_numbers = sum(value.size for value in model.inputs.values())
    first = True
    for n, line in enumerate(file, 1):
        words = line.split("#", 1)[0].replace(",", " ").replace(";", " ").split()
        if not words:
            continue
        try:
            numbers = [float(word) for word in words]
        except ValueError:
            if first and not any(_is_number(word) for word in words):
                first = False
                continue
            bad = next(word for word in words if not _is_number(word))
            raise FormatError(f"{name}: line {n}: {bad[:40]!r} is not a number") from None
        first = False
        if len(numbers) != n_numbers:
            wanted = " + ".join(f"{value.size} ({shown(key)})" for key, value in model.inputs.items())
            raise FormatError(f"{name}: line {n}: {len(numbers)} numbers, expected {wanted}, one frame per line")
        yield _split(numbers, f"{name}: line {n}", model)


def stack(frames: list[Arrays], model: Any) -> Arrays:
    """Frames as arrays over time."""
    return {
        key: np.array([frame[key] for frame in frames], value.dtype).reshape(len(frames), *value.shape)
        for key, value in model.inputs.items()
    }


def as_line(frame: Mapping[str, np.ndarray]) -> str:
    """The numbers of all outputs, each with the fewest digits that give the same float32."""
    return ",".join(str(number) for y in frame.values() for number in np.ravel(y))


def as_lines(Y: Arrays, model: Any) -> Iterator[str]:
    """A line per frame; outputs that are given once per sequence make one line."""
    n_rows = {len(y) for name, y in Y.items() if y.ndim > len(model.outputs[name].shape)}
    for t in range(max(n_rows, default=1)):
        yield as_line({name: y[t] if y.ndim > len(model.outputs[name].shape) else y for name, y in Y.items()})


def _numpy(path: str) -> Any:
    with open_file(path) as file:
        try:
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
        except Exception as error:  # numpy and zipfile raise a dozen kinds on damaged files, OSError among them
            raise FormatError(f"{path}: not a readable NumPy file: {' '.join(str(error).split())[:160]}") from None


def _from_arrays(path: str, arrays: Arrays, model: Any, several: bool = False) -> Arrays:
    names = list(model.inputs)
    contents = "one array without a name" if "" in arrays else f"arrays {sorted(arrays)}"
    if len(names) == 1 and names[0] not in arrays:
        likely: list[str] = [key for key in ("input", "x", "X") if key in arrays]
        if not likely and len(arrays) == 1:
            likely = list(arrays)
        arrays = {names[0]: arrays[likely[0]]} if likely else {}
    for name in names:
        if name not in arrays:
            raise ShapeError(
                f"{path}: has {contents}, expected a .npz with an array for each input of the model: {names}"
            )
    fitting = {}
    for name, value in model.inputs.items():
        as_frames = superframes.as_sequences if several else superframes.as_frames
        x = as_frames(arrays[name], value, model.frames_in)
        fitting[name] = _fit(f"{path}: {shown(name)}", x, value, several)
    ranks = {x.ndim - len(model.inputs[name].shape) for name, x in fitting.items()}
    if len(ranks) > 1:
        shapes = {name: x.shape for name, x in fitting.items()}
        raise ShapeError(f"{path}: holds sequences for some inputs and one stream for others: {shapes}")
    return fitting


def _fit(what: str, x: np.ndarray, value: Any, several: bool) -> np.ndarray:
    """Numbers from a file as the model takes them: any real dtype, and frames of one number without their axis."""
    if x.dtype.kind not in "fiub":
        raise FormatError(f"{what}: dtype {x.dtype} is not made of real numbers")
    if x.ndim == 1 and value.size == 1:
        x = x.reshape(len(x), *value.shape)
    n_axes = x.ndim - len(value.shape)
    if n_axes not in ((1, 2) if several else (1,)) or x.shape[n_axes:] != value.shape:
        shape = ", ".join(["T", *map(str, value.shape)])
        more = f"; or (N, {shape}): N sequences" if several else ""
        raise ShapeError(f"{what}: has shape {x.shape}, expected ({shape}): T frames of shape {value.shape}{more}")
    if value.dtype == "int32":
        if not np.array_equal(x, np.rint(x)):
            raise FormatError(f"{what}: expected ids, whole numbers")
        return np.ascontiguousarray(x, np.int32)
    return np.ascontiguousarray(x, np.float32)


def _split(numbers: list[float], where: str, model: Any) -> Arrays:
    frame, at = {}, 0
    for name, value in model.inputs.items():
        part = np.array(numbers[at : at + value.size])
        at += value.size
        if value.dtype == "int32" and not np.array_equal(part, np.rint(part)):
            raise FormatError(f"{where}: {shown(name)}: expected ids, whole numbers")
        frame[name] = part.astype(value.dtype).reshape(value.shape)
    return frame


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def standard_input() -> TextIO:
    """Standard input, with a word to a person who sits at it."""
    if sys.stdin.isatty():
        say("undertow: reading frames from the keyboard, one line of numbers each; end with Ctrl-D", file=sys.stderr)
    return sys.stdin
