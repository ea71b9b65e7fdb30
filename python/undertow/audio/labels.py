# SPDX-License-Identifier: MIT
"""Segments as the files that other programs read, one line (or entry) for each as soon as it is known."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .. import _files
from ..errors import UnsupportedError
from .segmentation import Segment


def write_segments(
    path: str | os.PathLike[str], segments: Iterable[Segment], *, label: str = "speech", name: str | None = None
) -> None:
    """Write segments; the suffix says the format.

    Args:
        path: .rttm (NIST; `label` is the speaker), .srt or .vtt (subtitles), .json (a list of objects), .csv, or
            .txt (labels of Audacity: start, end and label, between tabs).
        segments: of `audio.segments`, or any iterable of them.
        label: what they are of.
        name: of the recording, in a .rttm; the file's own without its suffix when omitted.

    Raises:
        UnsupportedError: another suffix.
        TypeError: `segments` are none.
        OSError: it cannot be written; what was there before stays as it is.

    >>> write_segments("speech.srt", audio.segments(probabilities))             # doctest: +SKIP
    """
    suffix = suffix_of(path)
    with _files.opened(path) as file:
        for text in texts(suffix, segments, label, Path(os.fsdecode(path)).stem if name is None else name):
            file.write(text.encode())


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Of a file of segments.

    Raises:
        UnsupportedError: it is none of theirs.
    """
    suffix = Path(os.fsdecode(path)).suffix.lower()
    if suffix not in FORMATS:
        raise UnsupportedError(f"{os.fsdecode(path)}: expected a name that ends in {', '.join(FORMATS)}")
    return suffix


def texts(suffix: str, segments: Iterable[Segment], label: str, name: str) -> Iterator[str]:
    """The pieces of a file of them."""
    return FORMATS[suffix](_checked(segments), _one_line(label), _one_line(name))


def _checked(segments: Iterable[Segment]) -> Iterator[Segment]:
    for segment in segments:
        if not isinstance(segment, Segment):
            raise TypeError(
                f"segments has {segment!r:.80}, expected a Segment: of `segments`, or "
                "undertow.audio.Segment(start, end, rate), in samples"
            )
        yield segment


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _rttm(segments: Iterable[Segment], label: str, name: str) -> Iterator[str]:
    # Fields are parted by spaces, so names have none.
    words = [re.sub(r"\s+", "_", text) or "<NA>" for text in (name, label)]
    for s in segments:
        yield f"SPEAKER {words[0]} 1 {s.start_s:.3f} {s.duration_s:.3f} <NA> <NA> {words[1]} <NA> <NA>\n"


def _clock(samples: int, rate: int, point: str) -> str:
    total = round(samples * 1000 / rate)
    hours, rest = divmod(total, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _srt(segments: Iterable[Segment], label: str, _: str) -> Iterator[str]:
    for n, s in enumerate(segments, 1):
        yield f"{n}\n{_clock(s.start, s.rate, ',')} --> {_clock(s.end, s.rate, ',')}\n{label}\n\n"


def _vtt(segments: Iterable[Segment], label: str, _: str) -> Iterator[str]:
    yield "WEBVTT\n\n"
    for s in segments:
        yield f"{_clock(s.start, s.rate, '.')} --> {_clock(s.end, s.rate, '.')}\n{label.replace('-->', '->')}\n\n"


def _json(segments: Iterable[Segment], label: str, _: str) -> Iterator[str]:
    before = "[\n"
    for s in segments:
        entry = {"start": round(s.start_s, 6), "end": round(s.end_s, 6), "label": label}
        yield before + "  " + json.dumps(entry)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def _csv(segments: Iterable[Segment], label: str, _: str) -> Iterator[str]:
    yield "start,end,label\n"
    quoted = '"' + label.replace('"', '""') + '"' if re.search('[",]', label) else label
    for s in segments:
        yield f"{s.start_s:.6f},{s.end_s:.6f},{quoted}\n"


def _audacity(segments: Iterable[Segment], label: str, _: str) -> Iterator[str]:
    for s in segments:
        yield f"{s.start_s:.6f}\t{s.end_s:.6f}\t{label}\n"


#: suffix -> what makes its pieces of segments, a label and the recording's name
FORMATS: dict[str, Callable[[Iterable[Segment], str, str], Iterator[str]]] = {
    ".rttm": _rttm,
    ".srt": _srt,
    ".vtt": _vtt,
    ".json": _json,
    ".csv": _csv,
    ".txt": _audacity,
}
