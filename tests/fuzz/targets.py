# SPDX-License-Identifier: MIT
"""Every reader of the package, with the files to damage, the ways to damage them, and what reading must come to."""

from __future__ import annotations

import argparse
import contextlib
import io
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

import undertow
from fuzz import onnx_seeds, seeds
from fuzz.cases import Case, Pipe, Reader, Seeds
from fuzz.damage import Change, change_number, change_zip, flip
from fuzz.format_damage import (
    NAM,
    RTNEURAL,
    change_hdf5,
    change_safetensors,
    change_text,
    change_wav,
    in_frames,
    in_keras,
    in_keras_h5,
    in_npz,
    in_torch,
)
from fuzz.laws import is_plain, obeys, restores, runs
from fuzz.onnx_damage import change_onnx, outside
from fuzz.pickle_damage import change_pickle
from fuzz.tflite_damage import change_tables
from fuzz.tow_damage import change_tow
from undertow import audio
from undertow.tow import MAGIC, digest

# -- what reads -------------------------------------------------------------------------------------------------------


def load(path: Path) -> str:
    model = undertow.load(path)
    return (runs if path.read_bytes().startswith(MAGIC) else obeys)(model, path.parent)


def weights(path: Path) -> str:
    """The arrays of a file, and the model that they make where their wiring is clear."""
    read = "no arrays"
    with contextlib.suppress(undertow.Error):
        arrays = undertow.read_weights(path)
        assert arrays and all(type(a) is np.ndarray and a.flags.writeable for a in arrays.values())
        assert all(type(name) is str for name in arrays)
        read = "arrays"
    try:
        return load(path)
    except undertow.Error:
        if read == "arrays":
            return read
        raise


def tow(path: Path) -> str:
    """The file mapped, copied, and as bytes that lie anywhere."""
    blob = path.read_bytes()
    try:
        model = undertow.Model(blob)
    except undertow.Error:
        with contextlib.suppress(undertow.Error):
            undertow.load(path)
            raise AssertionError("Model refuses what load takes") from None
        raise
    assert undertow.load(path).hash == undertow.load(path, mapped=False).hash == model.hash
    with contextlib.suppress(undertow.FormatError):
        undertow.load(path, check=True)
        assert digest(blob) == model.hash, "what `check` takes is damaged"
    with contextlib.suppress(undertow.Error):
        model.with_weights("int8")
    return runs(model, path.parent)


def snapshot(path: Path) -> str:
    return restores(undertow.load(path.with_suffix(".tow")), path.read_bytes())


def wav(path: Path) -> str:
    samples, rate = audio.read(path)
    assert samples.dtype == np.float32 and samples.ndim == 2 and samples.shape[1] and rate > 0
    assert audio.load(path, rate, 0).shape == samples[:, 0].shape
    return "read"


def command_line(path: Path) -> str:
    """`undertow run` of the example on the file, without the net of `main` for what is no error of undertow's own."""
    from undertow.cli import run

    parser = argparse.ArgumentParser()
    run.add(parser.add_subparsers())
    args = parser.parse_args(["run", str(undertow.example("digits")), str(path)])
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = args.function(args)
    assert code == 0 and is_plain(out.getvalue()), f"exit code {code}"
    return "run"


def secret(path: Path) -> str:
    """As `load`, and nothing from outside of the folder is in the model."""
    model = undertow.load(path)
    held = [w for node in model.graph.nodes for w in node.weights.values() if w is not None]
    assert not any(np.any(np.asarray(w) == 12345.0) for w in held), "a weight was read from outside of the folder"
    return obeys(model, path.parent)


# -- what damages -----------------------------------------------------------------------------------------------------


def each(*changes: Change) -> Callable[[Seeds, random.Random], Case]:
    """Any of the right files, changed by any of the functions, under its own name."""

    def damage(files: Seeds, rng: random.Random) -> Case:
        name = rng.choice(sorted(files))
        change = rng.choice(changes)
        return Case({name: change(files[name], rng)}, f"{name}: {change.__name__}")

    return damage


def damaged_snapshot(files: Seeds, rng: random.Random) -> Case:
    """A snapshot of one of the models, or of another."""
    model, of = rng.choice(sorted(files)), rng.choice(sorted(files))
    data = snapshot_of(files[model if rng.random() < 0.9 else of])
    dice = rng.random()
    if dice < 0.3:
        data = data[: rng.randrange(len(data) + 1)] + rng.randbytes(rng.choice([0, 1, 4, 1000]))
    elif dice < 0.95:
        made = bytearray(data)
        at = rng.randrange(len(made)) if rng.random() < 0.6 else rng.randrange(min(32, len(made)))
        made[at : at + 4] = rng.choice([b"\xff" * 4, b"\0\0\xc0\x7f", b"\0" * 4, rng.randbytes(4), b"\xff\xff\x7f\x7f"])
        data = bytes(made[: len(data)])
    return Case({"snapshot.bin": data, "snapshot.tow": files[model]}, f"a snapshot for {model}")


@cache
def snapshot_of(blob: bytes) -> bytes:
    """A stream of a model, some frames old."""
    from frames import frames

    model = undertow.Model(blob)
    stream = model.stream()
    stream.run(frames(model, 3))
    return bytes(stream.snapshot())


def damaged_onnx(files: Seeds, rng: random.Random) -> Case:
    """Of networks, which are fewer, as often as of ONNX's node tests."""
    return each(*[change_onnx] * 4, flip)(onnx_seeds.networks() if rng.random() < 0.5 else files, rng)


def outside_of(files: Seeds, rng: random.Random) -> Case:
    return outside(files[rng.choice(["dense", "dense", "step", "words", "enhancer"])], rng)


_SUFFIXES = [
    *(".onnx", ".keras", ".h5", ".hdf5", ".json", ".aidax", ".nam", ".rnnn", ".c", ".pt", ".pth", ".safetensors"),
    *(".npz", ".pkl", ".pickle", ".tow", ".bin", ".zip", ".jit", ".ckpt", "", ".onnx.data", ".tflite", ".PT"),
    *(".weights.h5", ".npy", ".wav", ".py"),
]


def any_suffix(_: Seeds, rng: random.Random) -> Case:
    """A file of any reader under the name of another, damaged or not; or a pipe that nobody writes to, beside it."""
    reader = rng.choice([n for n in sorted(READERS) if n not in ("names", "snapshot", "frames", "onnx outside")])
    files = READERS[reader].seeds()
    name = rng.choice(sorted(files))
    data = files[name] if rng.random() < 0.3 else flip(files[name], rng)
    if rng.random() < 0.2:
        data = data[: rng.choice([0, 1, 2, 4, 8, 12, 64, 512])]
    suffix = rng.choice(_SUFFIXES)
    return Case({f"m{suffix}": data, "m.onnx.data.pipe": Pipe()}, f"{name} as m{suffix}")


READERS: dict[str, Reader] = {
    "onnx": Reader(onnx_seeds.seeds, damaged_onnx, load),
    "onnx outside": Reader(onnx_seeds.networks, outside_of, secret),
    "tflite": Reader(seeds.tflite, each(change_tables, change_tables, change_tables, flip), load),
    "keras": Reader(seeds.keras, each(in_keras, in_keras, in_keras, change_zip, flip), load),
    "keras h5": Reader(seeds.keras_h5, each(in_keras_h5, in_keras_h5, change_hdf5), load),
    "hdf5": Reader(seeds.hdf5, each(change_hdf5, change_hdf5, change_hdf5, flip), weights),
    "torch": Reader(seeds.torch, each(in_torch, in_torch, in_torch, in_torch, change_zip, flip), weights),
    "pickle": Reader(seeds.pickles, each(change_pickle, change_pickle, flip), weights),
    "safetensors": Reader(seeds.safetensors, each(change_safetensors, change_safetensors, flip), weights),
    "npz": Reader(seeds.npz, each(in_npz, in_npz, change_zip, flip), weights),
    "rtneural": Reader(seeds.rtneural, each(RTNEURAL, RTNEURAL, flip), weights),
    "nam": Reader(seeds.nam, each(NAM, NAM, flip), load),
    "rnnoise": Reader(seeds.rnnoise, each(change_number, change_text, flip), weights),
    "tow": Reader(seeds.tow, each(change_tow), tow),
    "snapshot": Reader(seeds.streamable, damaged_snapshot, snapshot),
    "wav": Reader(seeds.wav, each(change_wav, change_wav, flip), wav),
    "frames": Reader(seeds.frames, each(in_frames, in_frames, flip), command_line),
    "names": Reader(dict, any_suffix, weights),
}
