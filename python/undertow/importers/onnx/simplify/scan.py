# SPDX-License-Identifier: MIT
"""The attributes of a Scan."""

from __future__ import annotations

from collections.abc import Sequence

from ..file.nodes import OnnxNode


class ScanLayout:
    """How a Scan's inputs and outputs divide into carried and scanned ones; axes and directions of the latter."""

    def __init__(self, node: OnnxNode, n_outputs: int, ranks: Sequence[int | None]) -> None:
        node.allow(
            "num_scan_inputs",
            "scan_input_axes",
            "scan_input_directions",
            "scan_output_axes",
            "scan_output_directions",
        )
        n_scanned = int(node.attrs.get("num_scan_inputs", 0))
        self.n_carried = len(node.inputs) - n_scanned
        n_collected = n_outputs - self.n_carried
        if not 1 <= n_scanned <= len(node.inputs) or n_collected < 0:
            node.format_error(f"attribute num_scan_inputs={n_scanned} does not fit {len(node.inputs)} inputs")
        scanned = list(ranks)[self.n_carried :]
        self.input_axes = self._list(node, "scan_input_axes", n_scanned)
        for i, (axis, rank) in enumerate(zip(self.input_axes, scanned, strict=True)):
            if rank is not None:
                if not -rank <= axis < rank:
                    node.shape_error(f"attribute scan_input_axes has axis {axis}, its input has {rank} axes")
                self.input_axes[i] = axis % rank
        self.output_axes = self._list(node, "scan_output_axes", n_collected)
        self.input_backwards = [bool(d) for d in self._list(node, "scan_input_directions", n_scanned)]
        self.output_backwards = [bool(d) for d in self._list(node, "scan_output_directions", n_collected)]

    @staticmethod
    def _list(node: OnnxNode, key: str, n: int) -> list[int]:
        values = [int(v) for v in node.attrs.get(key, [0] * n)]
        if len(values) != n:
            node.format_error(f"attribute {key}={values} has {len(values)} values, expected {n}")
        return values


def scan_layout(node: OnnxNode, n_outputs: int, ranks: Sequence[int | None]) -> ScanLayout:
    """Read a Scan's attributes; `ranks`: of its inputs, where known."""
    return ScanLayout(node, n_outputs, ranks)


__all__ = ["ScanLayout", "scan_layout"]
