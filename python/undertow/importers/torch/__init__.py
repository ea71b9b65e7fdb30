# SPDX-License-Identifier: MIT
"""PyTorch modules, live: exported to ONNX by torch itself, and read from there. Needs torch and onnx.

In the order in which a load walks them:

    given             what the caller gives: a module of any making that can be called and copied, and an example
    arguments         the tensors in the example: their names, as forward has them, and their axes of time
    outside           what the module's code keeps in globals, closures and classes, to be put back
    kept_states       buffers and attributes that a call changes: the module as one that takes and returns them
    passed_states     states among the arguments, by the structure in which they come in and go out
    projected_lstm    LSTMs that torch's exporters get wrong, written out
    exporters         torch's two exporters to ONNX, in turn, until the file of one can be read
    words             what the importer of ONNX files says, as `from_torch` has it
    check             the graph held against the module

`graph` is the way through them. Below them are `structure`, tensors in tuples, lists and dicts, and `code`, the
functions that a call may run, and what they name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...model import Model


def from_torch(
    module: Any,
    example: Any = None,
    *,
    time_axis: int | str | Mapping[str, int | None] | None = "auto",
    isa: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    states: Mapping[str, str] | None = None,
    max_frames: int | None = None,
) -> Model:
    """A model of a PyTorch module: its forward, in evaluation mode. The module itself stays as it is.

    Buffers, and tensors in attributes, that forward changes are states of the stream: a module that keeps its hidden
    state in itself computes one step, and begins with what they hold now.

    >>> net = torch.nn.GRU(8, 16, batch_first=True)                                   # doctest: +SKIP
    >>> undertow.from_torch(net, torch.zeros(1, 10, 8)).stream()                      # doctest: +SKIP

    Args:
        module: a `torch.nn.Module`, scripted, traced or compiled ones included, or a `torch.export.ExportedProgram`.
        example: what forward takes: a tensor, or a tuple of its positional arguments, each a tensor or a tuple,
            list or dict of tensors, of batch size 1. Values do not matter, shapes and dtypes do. An ExportedProgram has
            its own.
        time_axis: the axis of time in the first argument (and in every further one of the same length there, unless
            it is only the initial state of a cell); a negative one counts from the end of each. Or name of
            an argument -> its axis, None for one without. None when the module
            computes one step, with its states as arguments, results or buffers. "auto": as the recurrent layers of the
            module say (batch_first); a module without one, or that keeps states itself, computes a step. What is open
            in an ExportedProgram its dynamic shapes say, and time_axis which axis is time; "auto": as it is found.
        isa: as in `undertow.load`.
        fixed, states: as in `undertow.load` of an .onnx file. Inputs are named as in the signature of forward, with _0,
            _1 ... behind the name for the parts of a tuple, or _ and the key in a dict; outputs "output", "output_1",
            "output_2" ... Of a model that streams, outputs behind the first that give a recurrent layer's final state
            (h_n, c_n) are left out: read `stream.state`. States that are not given are found as there; a tuple, list
            or dict of several tensors that a step takes, behind its first argument, and returns in one structure and
            with equal shapes, is states too.
        max_frames: as in `undertow.load` of an .onnx file.

    Raises:
        ImportError: torch or onnx is not installed.
        UnsupportedError: something in the module cannot be exported, or is not computed exactly; a branch or loop that
            depends on values counts, since an export would fix it to what it did for `example`. Some modules need
            torch's newer exporter, which needs onnxscript; where that is missing, the message says so.
        ShapeError: shapes that do not fit together.
    """
    from ...ir.most import checked_bound
    from ...model import Model
    from .graph import graph_of

    most = checked_bound("from_torch", max_frames)
    graph = graph_of(module, example, time_axis=time_axis, fixed=fixed, states=states, max_frames=most)
    return Model.from_graph(graph, isa)


__all__ = ["from_torch"]
