# SPDX-License-Identifier: MIT
"""silero-vad's model object: called with a chunk of sound and its rate, it says how likely somebody speaks in it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ShapeError, UnsupportedError
from ..importers.onnx.file.read import read_model
from ..loading import load
from ..model import Model
from ..stream import Pool, Stream

#: rate -> samples of a chunk, and those before it that the network hears again
RATES = {16000: (512, 64), 8000: (256, 32)}


class SileroVAD:
    """silero-vad's model, as `load_silero_vad` gives it: that package's own functions take it.

    Chunks are torch tensors or arrays, and so is what comes back. It goes on where the chunk before ended, until
    `reset_states`, another rate or another number of sequences begins anew. One object belongs to one thread at a time.

    Attributes:
        sample_rates: those that it takes; multiples of 16000 are thinned out to that, as silero-vad does.
    """

    def __init__(self, models: dict[int, Model] | Path) -> None:
        """models: rate -> model, or a file of which there is one for each rate."""
        self._models: dict[int, Model] = {} if isinstance(models, Path) else models
        self._file = (models, _inputs(models)) if isinstance(models, Path) else None
        self.sample_rates = _rates(*self._file) if self._file else list(models)  # type: ignore[arg-type]
        self._rate = self._n_items = 0
        self._stream: Stream | None = None
        self._pool: tuple[Pool, np.ndarray] | None = None

    def reset_states(self, batch_size: int = 1) -> None:
        """Begin anew, with so many sequences side by side (the next chunk has the last word on that)."""
        self._rate = self._n_items = 0

    def __call__(self, x: Any, sr: int) -> Any:
        """
        Args:
            x: (512,) or (n, 512) float32 in [-1, 1] at 16000 samples per second, 256 of them at 8000; tensor or array.
            sr: samples per second: 8000, 16000 or a multiple of that.

        Returns: (n, 1), the likelihood that somebody speaks, of the kind that x is.

        Raises:
            ValueError: another number of samples, another rate.
            TypeError: x is not float32.
        """
        chunks, rate = self._checked(x, sr)
        n_samples = RATES[rate][0]
        if chunks.shape[1] != n_samples:
            raise ShapeError(
                f"Provided number of samples is {chunks.shape[1]} (Supported values: 256 for 8000 sample rate, 512 for "
                f"16000), expected {n_samples}"
            )
        if rate != self._rate or len(chunks) != self._n_items:
            self._begin(rate, len(chunks))
        context = RATES[rate][1]
        self._frames[:, :context] = self._frames[:, -context:]
        self._frames[:, context:] = chunks
        if self._stream is not None:
            return _like(x, self._stream.step(self._frames[0]).reshape(1, 1))
        assert self._pool is not None
        pool, ids = self._pool
        return _like(x, pool.step(ids, self._frames).reshape(-1, 1))

    def audio_forward(self, x: Any, sr: int) -> Any:
        """All chunks of a sound, from the start, in one call: (n, chunks); the last chunk is filled up with zeros."""
        sound, rate = self._checked(x, sr)
        n_samples, context = RATES[rate]
        n_chunks = -(-sound.shape[1] // n_samples)
        self._begin(rate, len(sound))
        padded = np.zeros((len(sound), context + n_chunks * n_samples), np.float32)
        padded[:, context : context + sound.shape[1]] = sound
        windows = np.lib.stride_tricks.sliding_window_view(padded, context + n_samples, axis=1)[:, ::n_samples]
        frames = np.ascontiguousarray(windows)
        if self._stream is not None:
            y = self._stream.run(frames[0])
        else:
            assert self._pool is not None
            y = self._pool[0].run(self._pool[1], frames)
        self._frames[:] = frames[:, -1]
        return _like(x, y.reshape(len(sound), n_chunks))

    def _begin(self, rate: int, n_items: int) -> None:
        """Fresh states, and silence before the first chunk."""
        if rate not in self._models:
            assert self._file is not None
            self._models[rate] = _loaded(*self._file, rate)
        model = self._models[rate]
        self._stream = self._pool = None
        if n_items == 1:
            self._stream = model.stream()
        else:
            pool = model.pool(n_items)
            self._pool = (pool, pool.open(n_items))
        self._frames = np.zeros((n_items, sum(RATES[rate])), np.float32)
        self._rate, self._n_items = rate, n_items

    def _checked(self, x: Any, sr: int) -> tuple[np.ndarray, int]:
        """The sound as an array (n, samples), and its rate."""
        array = x.detach().numpy() if _is_tensor(x) else np.asarray(x)
        if array.dtype != np.float32:
            scale = " / 32768" if array.dtype == np.int16 else ""
            raise TypeError(
                f"x is {array.dtype}, expected float32 in [-1, 1]: "
                + (f"x.float(){scale}" if _is_tensor(x) else f"x.astype(np.float32){scale}")
            )
        if array.ndim > 2 or array.ndim == 0:
            raise ShapeError(f"Too many dimensions for input audio chunk {array.ndim}, expected 1 or 2")
        array = array[None] if array.ndim == 1 else array
        if sr != 16000 and sr % 16000 == 0:
            array, sr = array[:, :: sr // 16000], 16000
        if sr not in self.sample_rates:
            raise ValueError(f"Supported sampling rates: {self.sample_rates} (or multiply of 16000), got {sr}")
        if not len(array):
            raise ShapeError(f"x has shape {array.shape}, expected one sequence at least")
        if not array.size or sr / array.shape[1] > 31.25:
            raise ShapeError(f"Input audio chunk is too short: {array.shape[1]} samples")
        return array, int(sr)


def silero_vad(model: str | os.PathLike[str] | Model | None = None) -> SileroVAD:
    """silero-vad's model object, of versions 5 and 6, over undertow.

    Args:
        model: an .onnx file of silero-vad's, or a `Model` of one that was loaded for a rate; None for the file that the
            package silero-vad ships, if it is installed. (It need not be imported, nor torch, for arrays.)

    Raises:
        UnsupportedError: it is no such model.
        ImportError: the package is not installed.

    >>> import undertow.compat, silero_vad                                               # doctest: +SKIP
    >>> vad = undertow.compat.silero_vad()                                               # doctest: +SKIP
    >>> silero_vad.get_speech_timestamps(sound, vad, return_seconds=True)                # doctest: +SKIP
    [{'start': 0.4, 'end': 2.1}]
    """
    if isinstance(model, Model):
        sizes = [value.shape[-1] for value in model.inputs.values()]
        rate = next((rate for rate, parts in RATES.items() if sizes == [sum(parts)]), None)
        if rate is None or [value.size for value in model.outputs.values()] != [1] or not model.states:
            raise UnsupportedError(
                f"{model.name!r} takes frames of {sizes} samples, expected 576 (at 16000 per second) or 288 (at 8000), "
                "and one likelihood: load silero_vad.onnx with fixed={'sr': 16000}, shapes={'input': [1, 576]}"
            )
        return SileroVAD({rate: model})
    return SileroVAD(Path(model) if model is not None else _shipped())


def _shipped() -> Path:
    """The file in the package silero-vad, which is not imported."""
    spec = find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("needs the package silero-vad (pip install silero-vad), or the path of its silero_vad.onnx")
    return Path(spec.submodule_search_locations[0]) / "data" / "silero_vad.onnx"


def _inputs(path: Path) -> dict[str, list[int]]:
    """Input -> declared sizes, 0 for one that is open, of a file of silero-vad's."""
    inputs = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in read_model(path).graph.input}
    if "input" not in inputs or not ("state" in inputs or inputs["input"][-1:] in ([576], [288])):
        raise UnsupportedError(
            f"{path}: inputs {sorted(inputs)}: no voice detector of silero-vad's versions 5 and 6, whose inputs are "
            "'input', 'state' and 'sr'"
        )
    return inputs


def _rates(path: Path, inputs: dict[str, list[int]]) -> list[int]:
    size = inputs["input"][-1] if inputs["input"] else 0
    if size:
        return [rate for rate, parts in RATES.items() if sum(parts) == size]
    return sorted(RATES) if "16k" not in path.name else [16000]


def _loaded(path: Path, inputs: dict[str, list[int]], rate: int) -> Model:
    fixed = {"sr": np.array(rate)} if "sr" in inputs else None
    return load(path, fixed=fixed, shapes={"input": [1, sum(RATES[rate])]})


def _is_tensor(x: Any) -> bool:
    return type(x).__module__.partition(".")[0] == "torch"


def _like(x: Any, y: np.ndarray) -> Any:
    """y as a tensor, sharing memory, if x is one."""
    if _is_tensor(x):
        import torch

        return torch.from_numpy(y)
    return y


__all__ = ["SileroVAD", "silero_vad"]
