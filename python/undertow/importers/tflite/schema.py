# SPDX-License-Identifier: MIT
"""What the schema of TensorFlow Lite says: numbers of fields, operators and types. They stand here alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Field:
    """A field of a table: its name, and how it is stored.

    kind: a NumPy dtype of one number; "text"; "bytes"; the name of a table; in brackets, a vector of these; "union", a
    table of which another field tells which; "" of what is not looked at.
    """

    name: str
    kind: str
    default: float = 0


#: table -> its fields, each with its number: what stands behind "=" is the value of a field that is not there
_TEXT = {
    "Model": "0 version u4, 1 operator_codes [OperatorCode], 2 subgraphs [SubGraph], 3 description, 4 buffers "
    "[Buffer], 5 metadata_buffer, 6 metadata, 7 signature_defs [SignatureDef], 8 external_buffer_groups, 9 "
    "external_buffers",
    "OperatorCode": "0 deprecated_builtin_code i1, 1 custom_code text, 2 version i4 =1, 3 builtin_code i4",
    "SubGraph": "0 tensors [Tensor], 1 inputs [i4], 2 outputs [i4], 3 operators [Operator], 4 name text, 5 "
    "debug_metadata",
    "Tensor": "0 shape [i4], 1 type i1, 2 buffer u4, 3 name text, 4 quantization QuantizationParameters, 5 "
    "is_variable ?, 6 sparsity Sparsity, 7 shape_signature [i4], 8 has_rank, 9 variant_tensors, 10 "
    "external_buffer u4",
    "QuantizationParameters": "0 min, 1 max, 2 scale [f4], 3 zero_point [i8], 4 details_type u1, 5 details, 6 "
    "quantized_dimension i4",
    "Sparsity": "0 traversal_order, 1 block_map, 2 dim_metadata",
    "Operator": "0 opcode_index u4, 1 inputs [i4], 2 outputs [i4], 3 builtin_options_type u1, 4 builtin_options "
    "union, 5 custom_options, 6 custom_options_format, 7 mutating_variable_inputs, 8 intermediates, 9 "
    "large_custom_options_offset, 10 large_custom_options_size, 11 builtin_options_2_type u1, 12 "
    "builtin_options_2, 13 debug_metadata",
    "Buffer": "0 data bytes, 1 offset u8, 2 size u8",
    "SignatureDef": "0 inputs [TensorMap], 1 outputs [TensorMap], 2 signature_key text, 4 subgraph_index u4",
    "TensorMap": "0 name text, 1 tensor_index u4",
    # -- options of operators
    "Conv2DOptions": "0 padding i1, 1 stride_w i4, 2 stride_h i4, 3 fused_activation_function i1, 4 "
    "dilation_w_factor i4 =1, 5 dilation_h_factor i4 =1, 6 quantized_bias_type",
    "DepthwiseConv2DOptions": "0 padding i1, 1 stride_w i4, 2 stride_h i4, 3 depth_multiplier, 4 "
    "fused_activation_function i1, 5 dilation_w_factor i4 =1, 6 dilation_h_factor i4 =1",
    "Pool2DOptions": "0 padding i1, 1 stride_w i4, 2 stride_h i4, 3 filter_width i4, 4 filter_height i4, 5 "
    "fused_activation_function i1",
    "SVDFOptions": "0 rank i4, 1 fused_activation_function i1, 2 asymmetric_quantize_inputs",
    "RNNOptions": "0 fused_activation_function i1, 1 asymmetric_quantize_inputs",
    "SequenceRNNOptions": "0 time_major ?, 1 fused_activation_function i1, 2 asymmetric_quantize_inputs",
    "BidirectionalSequenceRNNOptions": "0 time_major ?, 1 fused_activation_function i1, 2 merge_outputs ?, 3 "
    "asymmetric_quantize_inputs",
    "FullyConnectedOptions": "0 fused_activation_function i1, 1 weights_format i1, 2 keep_num_dims ?, 3 "
    "asymmetric_quantize_inputs, 4 quantized_bias_type",
    "SoftmaxOptions": "0 beta f4",
    "ConcatenationOptions": "0 axis i4, 1 fused_activation_function i1",
    "AddOptions": "0 fused_activation_function i1, 1 pot_scale_int16",
    "SubOptions": "0 fused_activation_function i1, 1 pot_scale_int16",
    "MulOptions": "0 fused_activation_function i1",
    "DivOptions": "0 fused_activation_function i1",
    "LSTMOptions": "0 fused_activation_function i1, 1 cell_clip f4, 2 proj_clip f4, 3 kernel_type i1, 4 "
    "asymmetric_quantize_inputs",
    "UnidirectionalSequenceLSTMOptions": "0 fused_activation_function i1, 1 cell_clip f4, 2 proj_clip f4, 3 "
    "time_major ?, 4 asymmetric_quantize_inputs, 5 diagonal_recurrent_tensors ?",
    "BidirectionalSequenceLSTMOptions": "0 fused_activation_function i1, 1 cell_clip f4, 2 proj_clip f4, 3 "
    "merge_outputs ?, 4 time_major ? =1, 5 asymmetric_quantize_inputs",
    "ReshapeOptions": "0 new_shape [i4]",
    "GatherOptions": "0 axis i4, 1 batch_dims i4",
    "ReducerOptions": "0 keep_dims ?",
    "SqueezeOptions": "0 squeeze_dims [i4]",
    "StridedSliceOptions": "0 begin_mask i4, 1 end_mask i4, 2 ellipsis_mask i4, 3 new_axis_mask i4, 4 "
    "shrink_axis_mask i4, 5 offset ?",
    "SplitOptions": "0 num_splits i4",
    "SplitVOptions": "0 num_splits i4",
    "CastOptions": "0 in_data_type, 1 out_data_type",
    "ArgMaxOptions": "0 output_type",
    "ArgMinOptions": "0 output_type",
    "ShapeOptions": "0 out_type",
    "PackOptions": "0 values_count, 1 axis i4",
    "UnpackOptions": "0 num i4, 1 axis i4",
    "OneHotOptions": "0 axis i4",
    "LeakyReluOptions": "0 alpha f4",
    "MirrorPadOptions": "0 mode i1",
    "IfOptions": "0 then_subgraph_index i4, 1 else_subgraph_index i4",
    "WhileOptions": "0 cond_subgraph_index i4, 1 body_subgraph_index i4",
    "BatchMatMulOptions": "0 adj_x ?, 1 adj_y ?, 2 asymmetric_quantize_inputs",
    "CumsumOptions": "0 exclusive ?, 1 reverse ?",
    "CallOnceOptions": "0 init_subgraph_index i4",
    "VarHandleOptions": "0 container text, 1 shared_name text",
    "GeluOptions": "0 approximate ?",
}


def _fields(text: str) -> dict[int, Field]:
    fields = {}
    for part in text.split(", ") if text else ():
        number, name, *rest = part.split(" ")
        default = float(rest.pop()[1:]) if rest and rest[-1][0] == "=" else 0
        fields[int(number)] = Field(name, rest[0] if rest else "", default)
    return fields


#: table -> number of a field -> the field
TABLES = {name: _fields(text) for name, text in _TEXT.items()}

#: number of the union of options -> its table
OPTIONS = {
    1: "Conv2DOptions", 2: "DepthwiseConv2DOptions", 5: "Pool2DOptions", 6: "SVDFOptions", 7: "RNNOptions",
    8: "FullyConnectedOptions", 9: "SoftmaxOptions", 10: "ConcatenationOptions", 11: "AddOptions", 14: "LSTMOptions",
    17: "ReshapeOptions", 21: "MulOptions", 22: "PadOptions", 23: "GatherOptions", 26: "TransposeOptions",
    27: "ReducerOptions", 28: "SubOptions", 29: "DivOptions", 30: "SqueezeOptions", 31: "SequenceRNNOptions",
    32: "StridedSliceOptions", 33: "ExpOptions", 35: "SplitOptions", 36: "LogSoftmaxOptions", 37: "CastOptions",
    38: "DequantizeOptions", 39: "MaximumMinimumOptions", 40: "ArgMaxOptions", 41: "LessOptions", 42: "NegOptions",
    43: "PadV2Options", 44: "GreaterOptions", 45: "GreaterEqualOptions", 46: "LessEqualOptions", 47: "SelectOptions",
    48: "SliceOptions", 51: "TileOptions", 52: "ExpandDimsOptions", 53: "EqualOptions", 54: "NotEqualOptions",
    55: "ShapeOptions", 56: "PowOptions", 57: "ArgMinOptions", 59: "PackOptions", 60: "LogicalOrOptions",
    62: "LogicalAndOptions", 63: "LogicalNotOptions", 64: "UnpackOptions", 66: "SquareOptions",
    67: "ZerosLikeOptions", 68: "FillOptions", 69: "BidirectionalSequenceLSTMOptions",
    70: "BidirectionalSequenceRNNOptions", 71: "UnidirectionalSequenceLSTMOptions", 73: "RangeOptions",
    75: "LeakyReluOptions", 76: "SquaredDifferenceOptions", 77: "MirrorPadOptions", 78: "AbsOptions",
    79: "SplitVOptions", 81: "ReverseV2Options", 82: "AddNOptions", 84: "CosOptions", 86: "RankOptions",
    91: "HardSwishOptions", 92: "IfOptions", 93: "WhileOptions", 98: "SelectV2Options", 101: "BatchMatMulOptions",
    102: "CumsumOptions", 103: "CallOnceOptions", 104: "BroadcastToOptions", 111: "VarHandleOptions",
    112: "ReadVariableOptions", 113: "AssignVariableOptions", 116: "GeluOptions", 117: "DynamicUpdateSliceOptions",
    123: "SignOptions",
}  # fmt: skip
for _name in OPTIONS.values():
    TABLES.setdefault(_name, {})

_OPERATORS = (
    "ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR "
    "FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC "
    "LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX "
    "SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD "
    "UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE "
    "UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE "
    "BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL "
    "LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT "
    "RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT "
    "UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR "
    "LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK "
    "ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 "
    "NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL "
    "PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS "
    "HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE "
    "READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL "
    "GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 "
    "UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC STABLEHLO_ADD STABLEHLO_DIVIDE "
    "STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE "
    "STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE "
    "STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG "
    "STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT "
    "STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE STABLEHLO_CONVERT "
    "STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA STABLEHLO_DOT_GENERAL "
    "STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER STABLEHLO_TRANSPOSE DILATE "
    "STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT STABLEHLO_CBRT "
    "STABLEHLO_CASE"
)
#: operators by number: from 0 on, without a gap
OPERATORS = _OPERATORS.split()

_TYPES = (
    "FLOAT32 FLOAT16 INT32 UINT8 INT64 STRING BOOL INT16 COMPLEX64 INT8 FLOAT64 COMPLEX128 UINT64 RESOURCE "
    "VARIANT UINT32 UINT16 INT4 BFLOAT16 INT2 UINT4"
)
#: types of tensors by number
TYPES = _TYPES.split()
#: type of a tensor -> dtype of its constants, of those that are read
DTYPES: dict[str, np.dtype[Any]] = {
    "FLOAT32": np.dtype("<f4"), "FLOAT16": np.dtype("<f2"), "INT32": np.dtype("<i4"), "UINT8": np.dtype("u1"),
    "INT64": np.dtype("<i8"), "BOOL": np.dtype("?"), "INT16": np.dtype("<i2"), "INT8": np.dtype("i1"),
}  # fmt: skip
#: types whose constants stand for real numbers, by a scale
QUANTISED = ("INT8", "UINT8", "INT16")

#: fused activations by number
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
PADDINGS = ("SAME", "VALID")
