# SPDX-License-Identifier: MIT
"""Columns that several tables share: float32 and smaller weights beside OpenVINO, in float32 and on its defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import models, openvino_peer
from .clock import Times
from .report import Goal, Table

PRECISIONS = models.known("int16", "int8")
#: The precision that the targets are set for.
AIMED = "int16"


@dataclass(frozen=True)
class Targets:
    """How many times faster int16 is than our float32, than OpenVINO on its defaults, and than OpenVINO in float32."""

    float32: float | None = None
    default: float | None = None
    openvino: float | None = None


def table(title: str, first: str) -> Table:
    """first: what the rows are."""
    columns = [first, "float32", *PRECISIONS, "OpenVINO float32", "OpenVINO default", "float32 vs OpenVINO default"]
    for name in PRECISIONS:
        columns += [f"{name} vs float32", f"{name} vs OpenVINO default", f"{name} vs OpenVINO float32"]
    return Table(title, columns)


def row(name: str, times: Mapping[str, Times], targets: Targets) -> list[Any]:
    """times: of `models.ours(precision)`, and of "OpenVINO" and "OpenVINO default" where they are."""
    one, ours = times[models.ours("float32")], [times[models.ours(precision)] for precision in PRECISIONS]
    cells: list[Any] = [name, one.median, *(t.median for t in ours)]
    peers = [one, times.get("OpenVINO default"), times.get("OpenVINO")]
    cells += [*(t and t.median for t in (peers[2], peers[1])), peers[1] and peers[1].times_slower_than(one)]
    if os.environ.get("UT_ISA"):  # no peer can be held to a lesser instruction set
        targets = Targets(float32=targets.float32)
    for precision, t in zip(PRECISIONS, ours, strict=True):
        goals = (targets.float32, targets.default, targets.openvino) if precision == AIMED else (None, None, None)
        cells += [peer and _goal(peer.times_slower_than(t), goal) for peer, goal in zip(peers, goals, strict=True)]
    return cells


def _goal(ratio: float, target: float | None) -> float | Goal:
    return ratio if target is None else Goal(ratio, target)


def notes(missing: Sequence[str]) -> list[str]:
    """What has to be said under such a table."""
    said = list(missing)
    unsaid: list[str] = []
    with models.optional("", unsaid):
        said.append(f"OpenVINO on its defaults computes in {openvino_peer.default_precision()} on this CPU")
    if os.environ.get("ONEDNN_MAX_CPU_ISA"):
        said.append(
            f"OpenVINO and PyTorch are held to {os.environ['ONEDNN_MAX_CPU_ISA']}, in what oneDNN computes for them"
        )
    if os.environ.get("UT_ISA"):
        said.append(f"only undertow is held to {os.environ['UT_ISA']}: the others take all that this CPU has")
    if AIMED not in PRECISIONS:
        said.append(f"this undertow has no {AIMED}, for which the targets are")
    return said
