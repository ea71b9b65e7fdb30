# SPDX-License-Identifier: MIT
"""python -m bench.public_models FOLDER ...: public .onnx files in these folders, called as their users call them, by
undertow and by ONNX Runtime in turns; prints the table of docs/public-models.md.

The files belong to other projects and are in none of ours: `pip download --no-deps PACKAGE` and `unzip` bring those
that packages hold.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import models

models.single_thread()

import undertow  # noqa: E402
import undertow.compat.onnxruntime as ours  # noqa: E402

from . import clock  # noqa: E402
from .clock import Statement  # noqa: E402
from .report import Table, number  # noqa: E402

#: calls that both must agree on before any is timed
N_CHECKED = 50


@dataclass(frozen=True)
class Public:
    """A file, and how its users call it.

    Attributes:
        file: the end of its path.
        home: where it is published, and the licence.
        sizes: input -> shape of a call, where the file leaves any open.
        fixed: inputs that stay the same.
        states: input -> the output that is its next value.
        options: of `undertow.load`, for a stream of it; None where it is called as a whole.
        unit: what a call is.
    """

    name: str
    file: str
    home: str
    licence: str
    sizes: Mapping[str, list[int]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] | None = field(default_factory=dict)
    unit: str = "a frame"

    def feeds(self, session: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
        shapes = {i.name: self.sizes.get(i.name, i.shape) for i in session.get_inputs()}
        types = {i.name: i.type for i in session.get_inputs()}
        return {
            name: np.array(self.fixed[name], np.int64)
            if name in self.fixed
            else (0.1 * rng.standard_normal(shape)).astype(np.float16 if "16" in types[name] else np.float32)
            for name, shape in shapes.items()
        }

    def line(self) -> str:
        """What loads it."""
        said = "".join(f", {key}={value!r}" for key, value in (self.options or {}).items())
        if self.options is None:
            return "`InferenceSession(path)`"
        return f"`undertow.load(path{said})`"


SILERO, MIT = "PyPI silero-vad; github.com/snakers4/silero-vad", "MIT"
AT_16K = {"fixed": {"sr": 16000}, "shapes": {"input": [1, 576]}}
CHUNK = {"input": [1, 576], "state": [2, 1, 128]}
STATE = {"state": "stateN"}
PLC = "github.com/microsoft/PLC-Challenge"
MOS = "PyPI speechmos; github.com/microsoft"
PUBLIC = [
    Public("silero-vad 6", "silero_vad.onnx", SILERO, MIT, CHUNK, {"sr": 16000}, STATE, AT_16K),
    Public("silero-vad 6, without If", "silero_vad_op18_ifless.onnx", SILERO, MIT, CHUNK, {"sr": 16000}, STATE, AT_16K),
    Public("silero-vad 6, 16 kHz", "silero_vad_openvino_16k.onnx", SILERO, MIT, CHUNK, {}, STATE),
    Public("silero-vad 6, opset 15", "silero_vad_16k_op15.onnx", SILERO, MIT, CHUNK, {"sr": 16000}, STATE, AT_16K),
    Public(
        "silero-vad 6, half", "silero_vad_half.onnx", SILERO, MIT, CHUNK, {}, STATE, {"shapes": {"input": [1, 576]}}
    ),
    Public(
        "silero-vad 6, sequence", "silero_vad_16k_sequence.onnx", SILERO, MIT, {"input": [1, 576]}, {},
        {"h": "hn", "c": "cn"},
    ),
    Public(
        "faster-whisper's detector of voice", "silero_vad_v6.onnx", "PyPI faster-whisper", MIT, {"input": [1, 576]}, {},
        {"h": "hn", "c": "cn"},
    ),
    Public(
        "DTLN, first model", "model_1.onnx", "github.com/breizhn/DTLN", MIT, {}, {},
        {"input_3": "tf_op_layer_stack_2"},
    ),
    Public(
        "GTCRN", "gtcrn_simple.onnx", "github.com/Xiaobin-Rong/gtcrn", MIT, {}, {},
        {name: f"{name}_out" for name in ("conv_cache", "tra_cache", "inter_cache")},
    ),
    Public("NSNet2 for lost packets", "nsnetv2_converted.onnx", PLC, MIT,
           {"input": [1, 1, 805], "h01": [1, 1, 134], "h02": [1, 1, 100]}, {}, {"h01": "hn1", "h02": "hn2"}),
    Public("tract's int8 LSTM", "qlstm-scan/model.onnx", "github.com/sonos/tract", "MIT or Apache-2.0",
           {"input": [100, 3]}, unit="100 frames"),
    Public("PLCMOS 2", "plcmos_v2.onnx", PLC, MIT, {"degraded_audio": [1, 1, 100, 257], "rater_embed": [1, 64]},
           options=None, unit="a clip of 1 s"),
    *(
        Public(f"AECMOS {run}", f"Run_{run}_Stage_0.onnx", MOS, MIT, {"input": [1, 3, 100, 160]}, options=None,
               unit="a clip of 100 frames")
        for run in ("1663829550", "1663915512", "1668423760")
    ),
    Public("DNSMOS", "dnsmos_models/sig_bak_ovr.onnx", MOS, MIT, {"input_1": [1, 144160]}, options=None,
           unit="a clip of 9 s"),
    Public("basic-pitch", "icassp_2022/nmp.onnx", "PyPI basic-pitch; github.com/spotify/basic-pitch", "Apache-2.0",
           {"serving_default_input_2:0": [1, 43844, 1]}, options=None, unit="a clip of 2 s"),
    *(
        Public(f"ddddocr, {name}", f"ddddocr/{name}.onnx", "PyPI ddddocr; github.com/sml2h3/ddddocr", MIT,
               {"input1": [1, 1, 64, 128]}, options=None, unit="an image 64 x 128")
        for name in ("common", "common_old")
    ),
    Public("RapidOCR, recognition", "ch_PP-OCRv4_rec_infer.onnx", "PyPI rapidocr-onnxruntime", "Apache-2.0",
           {"x": [1, 3, 48, 160]}, options=None, unit="an image 48 x 160"),
]  # fmt: skip


def row(public: Public, path: Path, seconds: float) -> list[Any]:
    """Error and times of a file.

    Raises:
        undertow.Error: it is refused.
    """
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    theirs = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    mine = ours.InferenceSession(path)
    error, feeds = agreement(public, mine, theirs, N_CHECKED if public.options is not None else 3)
    statements = [
        Statement("run(None, feeds)", {"run": mine.run, "feeds": feeds}),
        Statement("run(None, feeds)", {"run": theirs.run, "feeds": feeds}),
    ]
    if public.options is not None:
        model = undertow.load(path, **public.options)
        stream, x = model.stream(), {n: np.zeros(v.shape, v.dtype) for n, v in model.inputs.items()}
        X = x if len(x) > 1 else next(iter(x.values()))
        statements.append(Statement("step(x)", {"step": stream.step, "x": X}))
    session, runtime, *step = clock.measure(statements, seconds)
    return [
        public.name,
        f"{public.home} ({public.licence})",
        public.line(),
        f"{error:.0e}",
        public.unit,
        step[0].median if step else None,
        session.median,
        runtime.times_slower_than(session),
    ]


def agreement(public: Public, mine: Any, theirs: Any, n_calls: int) -> tuple[float, dict[str, np.ndarray]]:
    """The largest difference between outputs of two sessions that carry their own states, as a share of the largest
    number there if that is above 1; and the feeds of the last call.
    """
    rng, names, largest = np.random.default_rng(0), [o.name for o in theirs.get_outputs()], 0.0
    carried: list[dict[str, np.ndarray]] = [{}, {}]
    feeds = public.feeds(theirs, rng)
    for name in public.states:
        feeds[name] = np.zeros_like(feeds[name])
    for _ in range(n_calls):
        frame = {n: a for n, a in public.feeds(theirs, rng).items() if n not in public.states}
        feeds = {**feeds, **frame}
        results = []
        for which, session in enumerate((mine, theirs)):
            made = dict(zip(names, session.run(None, {**feeds, **carried[which]}), strict=True))
            carried[which] = {name: made[output] for name, output in public.states.items()}
            results.append(made)
        for name, a in results[0].items():
            b = results[1][name]
            if a.shape != b.shape:
                raise SystemExit(f"{public.name}: output {name!r} has shape {a.shape}, ONNX Runtime gives {b.shape}")
            distance = np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0.0)
            largest = max(largest, float(distance / max(1.0, float(np.abs(b).max(initial=0.0)))))
    return largest, feeds


def table(folders: list[Path], seconds: float, only: str) -> Table:
    columns = ["model", "where (licence)", "the line that loads it", "error", "a call is"]
    columns += ["us: step", "us: session", "x ONNX Runtime"]
    result = Table("Public models", columns)
    for public, path in files(folders):
        if only not in public.name:
            continue
        print(f"{public.name} ...", file=sys.stderr)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", undertow.ModelWarning)
                result.rows.append(row(public, path, seconds))
        except undertow.Error as error:
            result.notes.append(f"{public.name} ({public.home}): refused. {error}".replace(str(path), path.name))
        print(
            " | ".join(number(c) if isinstance(c, float) else str(c) for c in (result.rows or [["-"]])[-1]),
            file=sys.stderr,
        )
    return result


def files(folders: list[Path]) -> Iterator[tuple[Public, Path]]:
    """The files of the list that lie in the folders."""
    paths = [path for folder in folders for path in sorted(folder.rglob("*.onnx"))]
    for public in PUBLIC:
        for path in paths:
            if f"/{path.as_posix()}".endswith(f"/{public.file}"):
                yield public, path
                break


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.public_models", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="where the files lie, at any depth")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each file (default: 1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="models whose name has this in it")
    parser.add_argument("--core", type=int, help="CPU to run on (default: the last one this process may use)")
    args = parser.parse_args()
    about = clock.machine(clock.pin(args.core))
    print("\n".join(f"- {key}: {value}" for key, value in about.items()), end="\n\n")
    print(table(args.folders, args.seconds, args.only).markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
