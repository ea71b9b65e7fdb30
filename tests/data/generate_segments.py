# SPDX-License-Identifier: MIT
"""Makes tests/data/segments.npz: what silero-vad's own `get_speech_timestamps_from_probs` makes of probabilities.

    python tests/data/generate_segments.py

Seed 20261129. Made with silero-vad 6.2.3 and NumPy 2.4.6. `settings` is JSON, a list of the arguments of each case;
`probabilities` and `n_frames`, `found` and `n_found` are all cases after each other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20261129
N_CASES = 400
OUT = Path(__file__).parent / "segments.npz"


def probabilities(rng: np.random.Generator, n: int) -> np.ndarray:
    """As noise, as a walk, in steps, and as speech with pauses."""
    kind = rng.integers(0, 4)
    if kind == 0:
        p = rng.random(n)
    elif kind == 1:
        p = np.cumsum(rng.normal(size=n) * 0.15) % 1.0
    elif kind == 2:
        p = np.repeat(rng.random(n), rng.integers(1, 30, n))[:n]
    else:
        p = np.repeat((rng.random(n) < 0.7) * 0.9, rng.integers(1, 12, n))[:n] + rng.random(n) * 0.1
    return np.clip(np.rint(p * 1000) / 1000, 0, 1)


def setting(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Arguments, with each limit at times where it just decides."""
    rate = int(rng.choice([8000, 16000]))
    hop = 512 if rate == 16000 else 256
    threshold = float(rng.choice([0.1, 0.3, 0.5, 0.7, 0.9]))
    longest = rng.choice([0.05, 0.3, 1.0, 2.0, 5.0, -1.0])
    given = {
        "sampling_rate": rate,
        "threshold": threshold,
        "neg_threshold": None if rng.random() < 0.5 else min(threshold, float(rng.choice([0.05, 0.2, 0.4, 0.6]))),
        "min_speech_duration_ms": int(rng.choice([0, 1, 50, 250, 1000])),
        "max_speech_duration_s": None if longest < 0 else float(longest),
        "min_silence_duration_ms": int(rng.choice([0, 10, 32, 100, 150, 700])),
        "speech_pad_ms": int(rng.choice([0, 1, 10, 30, 100, 400])),
        "min_silence_at_max_speech": int(rng.choice([0, 32, 98, 300])),
        "use_max_poss_sil_at_max_speech": bool(rng.random() < 0.6),
        "audio_length_samples": None if rng.random() < 0.5 or n == 0 else n * hop - int(rng.integers(0, hop)),
    }
    if rng.random() < 0.1:
        given = {"sampling_rate": rate, "audio_length_samples": None}
    return given


def main() -> None:
    from silero_vad.utils_vad import get_speech_timestamps_from_probs

    rng = np.random.default_rng(SEED)
    settings, rows, found = [], [], []
    for _ in range(N_CASES):
        n = int(rng.integers(0, 300))
        p, given = probabilities(rng, n), setting(rng, n)
        call = {name: float("inf") if name.startswith("max") and v is None else v for name, v in given.items()}
        segments = get_speech_timestamps_from_probs(p.tolist(), **call)
        settings.append(given)
        rows.append(p)
        found.append(np.array([[s["start"], s["end"]] for s in segments], np.int64).reshape(-1, 2))
    np.savez_compressed(
        OUT,
        settings=json.dumps(settings),
        probabilities=(np.concatenate(rows) * 1000).round().astype(np.int16),
        n_frames=[len(p) for p in rows],
        found=np.concatenate(found).astype(np.int32),
        n_found=[len(s) for s in found],
    )


if __name__ == "__main__":
    main()
