# SPDX-License-Identifier: MIT
"""Builds the demo page: a folder that any web server can serve.

    python src/js/demo/build.py [--out FOLDER]          # default: src/js/demo/dist
    python -m http.server -d src/js/demo/dist

Models come from the folder that the environment variable UNDERTOW_MODELS names, where it has them: silero-vad as the
detector, GTCRN as the denoiser, and GTCRN's recording. Without it, detector and recording are those of the example
"speech", and there is no denoiser.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import wave
from pathlib import Path
from typing import Any

import numpy as np

import undertow

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent


def wav_samples(path: Path) -> tuple[np.ndarray, int]:
    """The first channel of a WAV of 16 bits, and its rate."""
    with wave.open(str(path)) as file:
        if file.getsampwidth() != 2:
            raise SystemExit(f"{path}: expected samples of 16 bits, got {8 * file.getsampwidth()}")
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return frames.reshape(-1, file.getnchannels())[:, 0], file.getframerate()


def from_folder(models: Path, out: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Writes the models of UNDERTOW_MODELS; returns the recording and the manifest."""
    sound, rate = wav_samples(models / "stage2/gtcrn/mix.wav")
    detector = undertow.load(models / "stage2/silero-vad/silero_vad_openvino_16k.onnx", weights="int16")
    detector.save(out / "detector.tow")
    undertow.load(models / "stage2/gtcrn/gtcrn_simple.onnx").save(out / "denoiser.tow")
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)).tolist()
    return sound, {
        "rate": rate,
        "detector": {"file": "detector.tow", "name": "silero-vad", "kind": "samples", "context": 64, "hop": 512},
        "denoiser": {"file": "denoiser.tow", "kind": "bins", "size": 512, "hop": 256, "window": window},
        "about": "silero-vad (MIT) in int16, GTCRN (MIT).",
    }


def from_examples(out: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The same of what the package ships."""
    path = undertow.example("speech")
    data = dict(np.load(path.with_suffix(".npz")))
    coded = data["mu_law"] / np.float32(127)
    clean = np.sign(coded) * (256 ** np.abs(coded) - 1) / 255
    shutil.copy(path, out / "detector.tow")
    return np.rint(clean * 32767).astype("<i2"), {
        "rate": int(data["rate"]),
        "detector": {
            "file": "detector.tow",
            "name": "speech",
            "kind": "bands",
            "size": 256,
            "hop": 128,
            "window": undertow.audio.window(256).tolist(),
            "bands": data["bands"].tolist(),
        },
        "denoiser": None,
        "truth": np.asarray(data["segments"]).tolist() if "segments" in data else None,
        "about": 'the example "speech".',
    }


def build(out: Path) -> None:
    """Makes the folder anew."""
    if not list(PACKAGE.glob("dist/undertow-*.wasm")):
        subprocess.run([str(PACKAGE / "build.sh")], check=True)
    shutil.rmtree(out, ignore_errors=True)
    (out / "undertow/dist").mkdir(parents=True)
    for path in (*HERE.glob("*.js"), HERE / "index.html"):
        shutil.copy(path, out)
    for path in PACKAGE.glob("*.js"):
        shutil.copy(path, out / "undertow")
    for path in PACKAGE.glob("dist/*.wasm"):
        shutil.copy(path, out / "undertow/dist")
    models = os.environ.get("UNDERTOW_MODELS")
    sound, manifest = from_folder(Path(models), out) if models else from_examples(out)
    (out / "sound.s16").write_bytes(sound.astype("<i2").tobytes())
    (out / "manifest.json").write_text(json.dumps({**manifest, "sound": "sound.s16"}))
    heaviest = max((p.stat().st_size for p in out.rglob("*.wasm")), default=0)
    others = sum(p.stat().st_size for p in out.rglob("*") if p.is_file() and p.suffix != ".wasm")
    print(f"{out}: {(others + heaviest) / 1e6:.2f} MB for a browser; python -m http.server -d {out}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "dist", help="folder, made anew (default: src/js/demo/dist)")
    build(parser.parse_args().out)


if __name__ == "__main__":
    main()
