# SPDX-License-Identifier: MIT
"""Which of ONNX's own node tests must pass: all but those that a rule or a line of this page excludes, with its reason.

Operators that are refused stand in `undertow.importers.onnx.traits`; here are dtypes without frames, and inputs and
attributes of supported operators that are refused by name.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx

from undertow.importers.onnx.file import limits
from undertow.importers.onnx.traits import COMPUTED, FOLDED_ONLY, REFUSED

#: dtypes that float32 frames do not hold, or whose shape is not a tensor's
FRAMES = {"float32", "float16", "bfloat16", "float64", "bool", "int8", "uint8", "int16", "uint16", "int32", "int64"}
INTEGERS = {"int8", "uint8", "int16", "uint16", "int32", "int64"}
#: operators that take integers as integers: they count, compare, convert or quantise; all others compute in float32
OF_INTEGERS = {
    *(
        "Cast",
        "CastLike",
        "ConvInteger",
        "DequantizeLinear",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
    ),
    *("Loop", "If", "MatMulInteger", "MaxPool", "QLinearConv", "QLinearMatMul", "ReduceMax", "ReduceMin", "ReduceSum"),
    *("Shape", "Size", "Where"),
}

#: names of cases (without test_), and what of them is refused
EXCEPTIONS = {
    r"batchnorm_\w*training_mode": "training mode",
    r"training_dropout\w*": "training mode",
    r"dropout_default_mask\w*": "the mask of what was dropped",
    r"maxpool_with_argmax\w*": "the output Indices",
    r"(de)?quantizelinear_blocked\w*": "scales for blocks of an axis",
    r"reduce_\w+_empty_set\w*": "a tensor without elements, which no frame is",
    r"split_zero_size\w*": "a tensor without elements, which no frame is",
    r"slice_start_out_of_bounds": "a tensor without elements, which no frame is",
    r"reshape_allowzero_reordered": "a tensor without elements, which no frame is",
    r"shape_start_greater_than_end": "a tensor without elements, which no frame is",
    r"scatter(nd|_elements)_\w*(add|multiply|mul|max|min|duplicate_indices)\w*": "a reduction of what is scattered",
    r"(max|min)_\w*int64": "arithmetic on integers",
    r"equal(_bcast)?": "a comparison of ids",
    r"(blackman|hamming|hann)window_\w*expanded": "ids as numbers",
    r"range_\w+_expanded": "a Loop whose number of rounds is computed",
    r"affine_grid_3d_align_corners_expanded": "an If whose condition is computed",
    "attention_local_window_gqa_rank4_mask": "a conversion to float64",
    r"causal_conv_with_state_kernel_size_one(_expanded)?": "a computed kernel",
    r"dynamicquantizelinear\w*_expanded": "a conversion to uint8 that wraps around",
    r"einsum_batch_diagonal": "a diagonal, of which a letter stands twice in a term",
}


def dtype_of(value: Any) -> str:
    """The dtype of a graph input or output; of anything but a tensor, its kind."""
    if not value.type.HasField("tensor_type"):
        return str(value.type.WhichOneof("value"))
    element = value.type.tensor_type.elem_type
    try:
        return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element)))
    except (KeyError, TypeError):
        return "undefined"


def excluded(case: Any) -> str:
    """Why a case is left out; empty when it must pass."""
    model = case.model
    domains = {o.domain: o.version for o in model.opset_import}
    own = domains.get("", domains.get("ai.onnx"))
    if any(node.domain not in ("", "ai.onnx") for node in model.graph.node) or own is None:
        return "operators of another domain than ONNX's own"
    if own < limits.MIN_OPSET:
        return f"an operator set before {limits.MIN_OPSET}"
    ops = [node.op_type for node in model.graph.node]
    for op in ops:
        if op in REFUSED:
            return f"{op}: {REFUSED[op]}"
        assert op in COMPUTED | FOLDED_ONLY, f"{op} is neither computed, nor folded, nor refused"
    dtypes = [dtype_of(v) for v in [*model.graph.input, *model.graph.output]]
    for dtype in dtypes:
        if dtype not in FRAMES:
            return f"dtype {dtype}"
    if model.graph.input and dtypes[0] in INTEGERS and not set(ops) & (OF_INTEGERS | FOLDED_ONLY):
        return "integers as numbers, for an operator of float32"
    for pattern, reason in EXCEPTIONS.items():
        if re.fullmatch(pattern, case.name.removeprefix("test_")):
            return reason
    return ""
