# SPDX-License-Identifier: MIT
"""Exported models as shared libraries: compiled by the compiler of this machine and called from Python."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from undertow import export

WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wno-sign-conversion", "-Wshadow", "-Werror"]


def compiler():
    """A C compiler, or None."""
    return shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")


needs_compiler = pytest.mark.skipif(not compiler(), reason="needs a C compiler: apt install gcc")


class Exported:
    """A model in C, as a stream."""

    def __init__(self, model, source, name):
        self.model, self.source, self.name = model, source, name
        self.facts, self.program = source.facts, source.program

    def bind(self, library):
        """A fresh stream of it."""
        self.library = library
        self._step = getattr(library, f"{self.name}_step")
        self._reset = getattr(library, f"{self.name}_reset")
        self._step.restype = self._reset.restype = None
        self.state = (ctypes.c_uint8 * self.facts.state_bytes)()
        self._reset(self.state)

    def step(self, inputs):
        """Outputs of one frame by name; inputs are None for one behind the end."""
        given = []
        for p in self.facts.inputs:
            dtype = np.int32 if p.c_type == "int32_t" else np.float32
            given.append(None if inputs is None else np.ascontiguousarray(inputs[p.name], dtype))
        outputs = {
            p.name: np.zeros(p.shape, np.int32 if p.c_type == "int32_t" else np.float32) for p in self.facts.outputs
        }
        pointers = [None if a is None else ctypes.c_void_p(a.ctypes.data) for a in given]
        self._step(self.state, *pointers, *(ctypes.c_void_p(y.ctypes.data) for y in outputs.values()))
        return outputs

    def run(self, X):
        rows = [self.step({name: x[t] for name, x in X.items()}) for t in range(len(next(iter(X.values()))))]
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def states(self):
        """All states by name, as a stream gives them."""
        words = np.frombuffer(self.state, np.uint8)
        at, fields = 0, {}
        for name, (c_type, n, _) in self.program.fields.items():
            fields[name] = words[at : at + 4 * n].view(np.float32 if c_type == "float" else np.uint32)
            at += 4 * n
        states = {}
        for name, (field, before, ring) in self.program.state_fields().items():
            shape = self.model.states[name].shape
            value = fields[field][before:].reshape(shape)
            states[name] = np.roll(value, -int(fields[ring][0]), axis=0) if ring else value
        return states


def build(folder, models, flags=("-O1",), command=None):
    """name -> Exported, all of one library. models: name -> Model."""
    folder.mkdir(parents=True, exist_ok=True)
    streams = {}
    for name, model in models.items():
        source = export.source(model, name)
        (folder / f"{name}.h").write_text(source.header)
        (folder / f"{name}.c").write_text(source.code)
        streams[name] = Exported(model, source, name)
    library = folder / "models.so"
    files = [str(folder / f"{name}.c") for name in models]
    done = subprocess.run(
        [command or compiler(), *WARNINGS, *flags, "-shared", "-fPIC", "-o", str(library), *files],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    loaded = ctypes.CDLL(str(library))
    for stream in streams.values():
        stream.bind(loaded)
    return streams


def frames(model, T, seed=0, scale=1.0):
    """T frames for every input."""
    rng = np.random.default_rng(seed)
    X = {}
    for name, value in model.inputs.items():
        if value.dtype == "int32":
            X[name] = rng.integers(0, min(value.n_ids or 100, 2**31 - 1), (T, *value.shape)).astype(np.int32)
        else:
            X[name] = (scale * rng.normal(size=(T, *value.shape))).astype(np.float32)
    return X


def same(a, b, what=""):
    """To the bit, but for what bits a NaN has."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    assert a.shape == b.shape and a.dtype == b.dtype, f"{what}: {a.dtype} {a.shape}, {b.dtype} {b.shape}"
    nan = np.isnan(a) & np.isnan(b) if a.dtype.kind == "f" else np.zeros(a.shape, bool)
    equal = (a.view(np.uint32) == b.view(np.uint32)) | nan
    at = np.argwhere(~equal)
    assert equal.all(), (
        f"{what}: {len(at)} of {equal.size} differ, first {at[0]}: {a[tuple(at[0])]!r} {b[tuple(at[0])]!r}"
    )


def agree(exported, X):
    """All outputs and states of a stream and of what was exported are the same."""
    stream = exported.model.stream()
    expected = stream.run(X)
    expected = expected if isinstance(expected, dict) else {next(iter(exported.model.outputs)): expected}
    got = exported.run(X)
    for name, y in expected.items():
        same(got[name], np.asarray(y).reshape(got[name].shape), f"{exported.name}: output {name}")
    for name, state in exported.states().items():
        same(state, np.asarray(stream.state[name]), f"{exported.name}: state {name}")
