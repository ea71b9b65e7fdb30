# SPDX-License-Identifier: MIT
"""What there is to say for a file of evidence about one model on one machine: `certify` finds it, as plain data.

Errors are against a float64 evaluation of the same graph, and against ONNX Runtime where the model is an .onnx file,
on the data that is given. Bits are compared between instruction sets, and between whole sequences and single steps.
Times are those of single steps from Python, all of them recorded.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import reference
from .._progress import tell
from ..errors import ShapeError, UnsupportedError
from ..inspect import describe, machine
from ..passes.precisions import with_weights
from . import timing
from .bits import fingerprint, on_every_isa
from .comparison import SIZES, OutputErrors, output_errors
from .peer import CannotFeed, OnnxRuntime
from .verify import by_name, one_or_all

Arrays = Mapping[str, np.ndarray]

#: What weights may be stored as; the first is what errors of the others are set against.
PRECISIONS = ("float32", "float16", "bfloat16", "int16", "int8", "int4")
#: of the JSON; goes up when a key changes its meaning or goes
SCHEMA = 1
AS_STORED = "as in the file"
LAWS = (
    "every instruction set gives the same bits",
    "step by step gives the bits of the whole sequence",
    "every output is a finite number, and so is its error",
)


def certify(
    model: Any,
    path: Path,
    X: Arrays,
    data_path: Path | None = None,
    *,
    version: str,
    data_from: str = "given",
    options: Mapping[str, Any] | None = None,
    tolerance: float | None = None,
    seconds: float = 1.0,
    now: datetime.datetime | None = None,
) -> dict[str, Any]:
    """Measure a model, as its file stores it and in each precision.

    Args:
        model: a `Model`, loaded from `path`.
        X: input name -> (T, *frame), T at least 1.
        data_path: the file that X is from; its hash is noted. data_from: what to call X.
        version: of undertow.
        options: of `undertow.load`, for ONNX Runtime.
        tolerance: largest |output - float64 reference| of the model as it is stored with which `ok` is true.
        seconds: to spend on the steps of each precision.

    Raises:
        ShapeError: X has no frames.

    Returns:
        Plain data, as written to JSON. "ok": the laws hold, and the tolerance, if there is one; "laws" and
        "tolerance" say each.
    """
    if len(next(iter(X.values()))) == 0:
        raise ShapeError("there are no frames to measure on; at least one is needed")
    exact = with_weights(model.graph, "float32")
    expected = by_name(reference.run(exact, one_or_all(dict(X))), model.outputs)
    rows: list[dict[str, Any]] = []
    series: dict[str, timing.Series] = {}
    for i, name in enumerate((AS_STORED, *PRECISIONS)):
        tell(f"measuring: {name}", i, len(PRECISIONS) + 1)
        try:
            subject = model if name == AS_STORED else model.with_weights(name)
        except UnsupportedError as error:
            rows.append({"precision": name, "refused": str(error)})
            continue
        series[name] = _steps(subject, X, seconds)
        rows.append(_measured(name, subject, X, expected, series[name]))
    tell("")
    stored = rows[0]
    peer = _against_onnxruntime(model, path, X, options)
    laws = [{"law": law, "holds": all(row["laws"][i] for row in rows if "laws" in row)} for i, law in enumerate(LAWS)]
    worst = max((o["max"] for o in stored["outputs"]), default=0.0)
    within = tolerance is None or worst <= tolerance
    for row in rows:
        row.pop("laws", None)
    return {
        "schema": SCHEMA,
        "ok": within and all(law["holds"] for law in laws),
        "date": (now or datetime.datetime.now(datetime.timezone.utc)).isoformat(timespec="seconds"),
        "versions": machine.versions(version),
        "cpu_features": machine.cpu_features(),
        "model": {
            "file": path.name,
            "file_bytes": path.stat().st_size if path.is_file() else None,
            "file_sha256": sha256(path),
            "name": model.name,
            "hash": model.hash.hex(),
            "notes": list(model.graph.notes),
            "isa": model.isa,
            **{key: value for key, value in describe.describe(model).items() if key in _FACTS},
        },
        "data": {
            "from": data_from,
            "file_sha256": None if data_path is None else sha256(data_path),
            "frames": len(next(iter(X.values()))),
            "hash": fingerprint(X),
        },
        "tolerance": {"allowed": tolerance, "largest_error": worst, "holds": within},
        "laws": laws,
        "precisions": rows,
        "onnxruntime": peer,
        "memory": {key: getattr(model, key) for key in SIZES},
        "histogram": _histogram(series[AS_STORED]),
    }


#: of `describe`, what a certificate says of a model, too
_FACTS = (
    "inputs", "outputs", "layers", "state", "parameters", "multiply_adds", "streamable", "latency", "frames_in",
    "frames_out", "sample_rate", "proof_frames", "warnings",
)  # fmt: skip


def sha256(path: Path) -> str | None:
    """Of a file's bytes; None for a folder."""
    if not path.is_file():
        return None
    state = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            state.update(piece)
    return state.hexdigest()


def _measured(name: str, model: Any, X: Arrays, expected: Arrays, series: timing.Series) -> dict[str, Any]:
    """A row of the certificate: one precision."""
    Y = by_name(model.run(one_or_all(dict(X))), model.outputs)
    outputs = [_error(model, key, want, Y[key]).data() for key, want in expected.items()]
    bits = on_every_isa(model, X)
    finite = all(np.isfinite(o["max"]) for o in outputs) and all(np.isfinite(y).all() for y in Y.values())
    us = {f"p{q:g}": series.percentile(q) for q in timing.PERCENTILES}
    return {
        "precision": name,
        "file_bytes": model.file_bytes,
        "outputs": outputs,
        "bits": bits,
        "laws": [len(set(bits.values())) == 1, _same_in_steps(model, X, Y), finite],
        "us": {"what": series.what, "n_calls": len(series.times), **us, "max": series.max},
    }


def _error(model: Any, name: str, want: np.ndarray, got: np.ndarray) -> OutputErrors:
    """Errors against another program, which may give the last row alone, or none of the first frames."""
    want = np.asarray(want)
    if want.ndim < got.ndim:
        got = got[-1]
    elif want.ndim == got.ndim and want.size < got.size:
        got = got[len(got) - len(want) :]
    return output_errors(name, name, want.reshape(got.shape), got, model.outputs[name].shape)


def _same_in_steps(model: Any, X: Arrays, whole: Arrays) -> bool:
    """Whether a loop of steps gives the bits of the whole sequence; True where nothing can be stepped."""
    if not model.streamable:
        return True
    stream = model.stream()
    rows: dict[str, list[np.ndarray]] = {name: [] for name in model.outputs}
    for t in range(len(next(iter(X.values())))):
        y = by_name(stream.step(one_or_all({name: x[t, ...] for name, x in X.items()})), model.outputs)
        for name in rows:
            rows[name].append(np.array(y[name])[None])
    late = by_name(stream.flush(), model.outputs)
    return all(
        np.concatenate([*rows[name], late[name]])[model.latency :].tobytes() == np.ascontiguousarray(y).tobytes()
        for name, y in whole.items()
    )


def _steps(model: Any, X: Arrays, seconds: float) -> timing.Series:
    if model.streamable:
        frame = one_or_all({name: np.array(x[0, ...]) for name, x in X.items()})
        what, call = "step", partial(model.stream().step, frame)
    else:
        what, call = "run of all frames", partial(model.run, one_or_all(dict(X)))
    (times,) = timing.record([call], [timing.calls_in(call, seconds)])
    return timing.Series(what, "undertow", "warm", times)


def _histogram(series: timing.Series) -> dict[str, Any]:
    edges, counts = series.histogram()
    return {"edges_us": [round(float(edge), 6) for edge in edges], "n_calls": counts.tolist()}


def _against_onnxruntime(model: Any, path: Path, X: Arrays, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Errors of the model as it is stored, against ONNX Runtime on the same file and frames; or why there are none."""
    if path.suffix.lower() != ".onnx":
        return {"version": None, "outputs": [], "notes": ["not an .onnx file, which is all that ONNX Runtime reads"]}
    try:
        peer = OnnxRuntime(path, model, options)
        n = len(next(iter(X.values())))
        if peer.n_steps not in (None, n):
            raise CannotFeed(f"it takes sequences of {peer.n_steps} frames, the data has {n}")
        if still := [name for name in peer.still if np.ptp(X[name], axis=0).any()]:
            raise CannotFeed(f"it takes one {still[0]!r} for all frames, of which the data has several")
        given = peer.run(X)
    except (CannotFeed, ImportError) as error:
        return {"version": None, "outputs": [], "notes": [str(error)]}
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
        return {"version": peer.version, "outputs": [], "notes": [f"it does not run these frames: {error}"]}
    Y = by_name(model.run(one_or_all(dict(X))), model.outputs)
    outputs = [_error(model, name, want, Y[name]).data() for name, want in given.items()]
    return {"version": peer.version, "outputs": outputs, "notes": list(peer.notes)}


__all__ = ["AS_STORED", "LAWS", "PRECISIONS", "SCHEMA", "certify", "sha256"]
