# SPDX-License-Identifier: MIT
"""One row for each operator of TensorFlow Lite: what translates it, and what its options may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What is true of an operator.

    handler: "module.function" that translates it. of: what that is given beside the operator. options: the table of its
    options, "" where it has none that count. inputs: how many it takes at least and at most; None for any number.
    reads: options that the handler computes; any other must have its default.
    """

    name: str
    handler: str
    of: str = ""
    options: str = ""
    reads: tuple[str, ...] = ()
    inputs: tuple[int, int | None] = (1, 1)

    @property
    def needs(self) -> int:
        """How many of the first inputs must be given."""
        return {"recurrent": 1, "layers": 2}.get(self.handler.partition(".")[0], self.inputs[0])


_FUSED = ("fused_activation_function",)
_PLACES = ("padding", "stride_w", "stride_h", "fused_activation_function")
_DILATED = (*_PLACES, "dilation_w_factor", "dilation_h_factor")

_ROWS = (
    # -- elements
    *(Row(f"{op.upper()}", "elements.binary", op, f"{op.capitalize()}Options", _FUSED, (2, 2)) for op in
      ("Add", "Sub", "Mul", "Div")),
    Row("MAXIMUM", "elements.bound", "Max", "MaximumMinimumOptions", (), (2, 2)),
    Row("MINIMUM", "elements.bound", "Min", "MaximumMinimumOptions", (), (2, 2)),
    Row("POW", "elements.binary", "Pow", "PowOptions", (), (2, 2)),
    Row("SQUARED_DIFFERENCE", "elements.squared_difference", "", "SquaredDifferenceOptions", (), (2, 2)),
    Row("ADD_N", "elements.add_n", "", "AddNOptions", (), (1, None)),
    Row("LESS", "elements.compare", "Less", "LessOptions", (), (2, 2)),
    Row("LESS_EQUAL", "elements.compare", "LessOrEqual", "LessEqualOptions", (), (2, 2)),
    Row("GREATER", "elements.compare", "Greater", "GreaterOptions", (), (2, 2)),
    Row("GREATER_EQUAL", "elements.compare", "GreaterOrEqual", "GreaterEqualOptions", (), (2, 2)),
    Row("EQUAL", "elements.compare", "Equal", "EqualOptions", (), (2, 2)),
    Row("NOT_EQUAL", "elements.not_equal", "", "NotEqualOptions", (), (2, 2)),
    Row("LOGICAL_AND", "elements.compare", "And", "LogicalAndOptions", (), (2, 2)),
    Row("LOGICAL_OR", "elements.compare", "Or", "LogicalOrOptions", (), (2, 2)),
    Row("LOGICAL_NOT", "elements.unary", "Not", "LogicalNotOptions"),
    Row("SELECT", "elements.select", "", "SelectOptions", (), (3, 3)),
    Row("SELECT_V2", "elements.select", "", "SelectV2Options", (), (3, 3)),
    Row("LOGISTIC", "elements.unary", "Sigmoid"),
    Row("TANH", "elements.unary", "Tanh"),
    Row("RELU", "elements.unary", "Relu"),
    Row("ELU", "elements.unary", "Elu"),
    Row("EXP", "elements.unary", "Exp", "ExpOptions"),
    Row("LOG", "elements.unary", "Log"),
    Row("SQRT", "elements.unary", "Sqrt"),
    Row("ABS", "elements.unary", "Abs", "AbsOptions"),
    Row("NEG", "elements.unary", "Neg", "NegOptions"),
    Row("FLOOR", "elements.unary", "Floor"),
    Row("CEIL", "elements.unary", "Ceil"),
    Row("ROUND", "elements.unary", "Round"),
    Row("SIN", "elements.unary", "Sin"),
    Row("COS", "elements.unary", "Cos", "CosOptions"),
    Row("SIGN", "elements.unary", "Sign", "SignOptions"),
    Row("HARD_SWISH", "elements.unary", "HardSwish", "HardSwishOptions"),
    Row("RELU6", "elements.bounded", "0 6"),
    Row("RELU_N1_TO_1", "elements.bounded", "-1 1"),
    Row("RELU_0_TO_1", "elements.bounded", "0 1"),
    Row("RSQRT", "elements.rsqrt"),
    Row("SQUARE", "elements.square", "", "SquareOptions"),
    Row("LEAKY_RELU", "elements.leaky_relu", "", "LeakyReluOptions", ("alpha",)),
    Row("PRELU", "elements.prelu", "", "", (), (2, 2)),
    Row("GELU", "elements.gelu", "", "GeluOptions", ("approximate",)),
    Row("CAST", "elements.cast", "", "CastOptions"),
    Row("DEQUANTIZE", "elements.dequantize", "", "DequantizeOptions"),
    Row("SOFTMAX", "elements.softmax", "", "SoftmaxOptions", ("beta",)),
    Row("LOG_SOFTMAX", "elements.log_softmax", "", "LogSoftmaxOptions"),
    # -- matrices and windows
    Row("FULLY_CONNECTED", "layers.fully_connected", "", "FullyConnectedOptions", (*_FUSED, "keep_num_dims"), (2, 3)),
    Row("BATCH_MATMUL", "layers.batch_matmul", "", "BatchMatMulOptions", ("adj_x", "adj_y"), (2, 2)),
    Row("CONV_2D", "layers.conv", "", "Conv2DOptions", _DILATED, (2, 3)),
    Row("DEPTHWISE_CONV_2D", "layers.depthwise", "", "DepthwiseConv2DOptions", _DILATED, (2, 3)),
    Row("AVERAGE_POOL_2D", "layers.pool", "AveragePool", "Pool2DOptions", (*_PLACES, "filter_width", "filter_height")),
    Row("MAX_POOL_2D", "layers.pool", "MaxPool", "Pool2DOptions", (*_PLACES, "filter_width", "filter_height")),
    Row("SVDF", "recurrent.svdf", "", "SVDFOptions", ("rank", *_FUSED), (4, 5)),
    # -- reductions
    Row("MEAN", "moves.reduce", "ReduceMean", "ReducerOptions", ("keep_dims",), (2, 2)),
    Row("SUM", "moves.reduce", "ReduceSum", "ReducerOptions", ("keep_dims",), (2, 2)),
    Row("REDUCE_PROD", "moves.reduce", "ReduceProd", "ReducerOptions", ("keep_dims",), (2, 2)),
    Row("REDUCE_MAX", "moves.reduce", "ReduceMax", "ReducerOptions", ("keep_dims",), (2, 2)),
    Row("REDUCE_MIN", "moves.reduce", "ReduceMin", "ReducerOptions", ("keep_dims",), (2, 2)),
    Row("REDUCE_ANY", "moves.any_", "ReduceMax", "ReducerOptions", ("keep_dims",), (2, 2)),
    Row("REDUCE_ALL", "moves.any_", "ReduceMin", "ReducerOptions", ("keep_dims",), (2, 2)),
    Row("ARG_MAX", "moves.arg", "ArgMax", "ArgMaxOptions", (), (2, 2)),
    Row("ARG_MIN", "moves.arg", "ArgMin", "ArgMinOptions", (), (2, 2)),
    Row("CUMSUM", "moves.cumsum", "", "CumsumOptions", ("exclusive", "reverse"), (2, 2)),
    # -- what moves
    Row("RESHAPE", "moves.reshape", "", "ReshapeOptions", ("new_shape",), (1, 2)),
    Row("EXPAND_DIMS", "moves.expand_dims", "", "ExpandDimsOptions", (), (2, 2)),
    Row("SQUEEZE", "moves.squeeze", "", "SqueezeOptions", ("squeeze_dims",)),
    Row("TRANSPOSE", "moves.transpose", "", "TransposeOptions", (), (2, 2)),
    Row("CONCATENATION", "moves.concatenation", "", "ConcatenationOptions", ("axis",), (1, None)),
    Row("SPLIT", "moves.split", "", "SplitOptions", ("num_splits",), (2, 2)),
    Row("SPLIT_V", "moves.split_v", "", "SplitVOptions", ("num_splits",), (3, 3)),
    Row("PACK", "moves.pack", "", "PackOptions", ("axis",), (1, None)),
    Row("UNPACK", "moves.unpack", "", "UnpackOptions", ("num", "axis")),
    Row("GATHER", "moves.gather", "", "GatherOptions", ("axis",), (2, 2)),
    Row("EMBEDDING_LOOKUP", "moves.embedding", "", "", (), (2, 2)),
    Row("SLICE", "moves.slice_", "", "SliceOptions", (), (3, 3)),
    Row("STRIDED_SLICE", "moves.strided_slice", "", "StridedSliceOptions",
        ("begin_mask", "end_mask", "shrink_axis_mask"), (4, 4)),
    Row("REVERSE_V2", "moves.reverse", "", "ReverseV2Options", (), (2, 2)),
    Row("PAD", "moves.pad", "", "PadOptions", (), (2, 2)),
    Row("PADV2", "moves.pad", "", "PadV2Options", (), (3, 3)),
    Row("MIRROR_PAD", "moves.mirror_pad", "", "MirrorPadOptions", ("mode",), (2, 2)),
    Row("TILE", "moves.tile", "", "TileOptions", (), (2, 2)),
    Row("SHAPE", "moves.shape_", "", "ShapeOptions"),
    Row("FILL", "moves.fill", "", "FillOptions", (), (2, 2)),
    Row("BROADCAST_TO", "moves.broadcast_to", "", "BroadcastToOptions", (), (2, 2)),
    Row("ZEROS_LIKE", "moves.zeros_like", "", "ZerosLikeOptions"),
    Row("RANGE", "moves.range_", "", "RangeOptions", (), (3, 3)),
    # -- recurrences, graphs inside of operators, variables
    Row("UNIDIRECTIONAL_SEQUENCE_LSTM", "recurrent.lstm", "sequence", "UnidirectionalSequenceLSTMOptions",
        (*_FUSED, "time_major", "cell_clip", "proj_clip"), (20, 24)),
    Row("LSTM", "recurrent.lstm", "step", "LSTMOptions", (*_FUSED, "cell_clip", "proj_clip"), (20, 24)),
    Row("BIDIRECTIONAL_SEQUENCE_LSTM", "recurrent.bidirectional_lstm", "", "BidirectionalSequenceLSTMOptions",
        (*_FUSED, "time_major", "merge_outputs"), (39, 48)),
    Row("UNIDIRECTIONAL_SEQUENCE_RNN", "recurrent.rnn", "sequence", "SequenceRNNOptions", (*_FUSED, "time_major"),
        (5, 5)),
    Row("RNN", "recurrent.rnn", "step", "RNNOptions", _FUSED, (5, 5)),
    Row("BIDIRECTIONAL_SEQUENCE_RNN", "recurrent.bidirectional_rnn", "", "BidirectionalSequenceRNNOptions",
        (*_FUSED, "time_major", "merge_outputs"), (9, 12)),
    Row("WHILE", "loops.while_", "", "WhileOptions", ("cond_subgraph_index", "body_subgraph_index"), (1, None)),
    Row("IF", "loops.if_", "", "IfOptions", ("then_subgraph_index", "else_subgraph_index"), (1, None)),
    Row("CALL_ONCE", "variables.call_once", "", "CallOnceOptions", ("init_subgraph_index",), (0, 0)),
    Row("VAR_HANDLE", "variables.handle", "", "VarHandleOptions", ("container", "shared_name"), (0, 0)),
    Row("READ_VARIABLE", "variables.read", "", "ReadVariableOptions"),
    Row("ASSIGN_VARIABLE", "variables.assign", "", "AssignVariableOptions", (), (2, 2)),
)  # fmt: skip

#: operator -> its row
ROWS = {row.name: row for row in _ROWS}

#: why others are refused -> which
_REFUSED = {
    "it computes with integers: convert with weights alone quantised (Optimize.DEFAULT without a representative "
    "dataset), or as float16": ("QUANTIZE", "FAKE_QUANT"),
    "it works on images": ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "NON_MAX_SUPPRESSION_V4"),
    "it draws random numbers": ("RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "MULTINOMIAL"),
    "it computes complex numbers: compute the spectrum outside of the model": ("RFFT2D", "IMAG", "REAL", "COMPLEX_ABS"),
}
WHY = {op: why for why, ops in _REFUSED.items() for op in ops}


def why_refused(op: str) -> str:
    """What to say behind "is not supported".

    >>> why_refused("RANDOM_UNIFORM")
    ': it draws random numbers'
    """
    if op.startswith("CUSTOM Flex"):
        return (
            ": it is TensorFlow's own, of a conversion with SELECT_TF_OPS; convert with a batch of 1 "
            "(keras.Input(batch_shape=(1, ...))) and TFLITE_BUILTINS alone"
        )
    return f": {WHY[op]}" if op in WHY else ""


__all__ = ["ROWS", "Row", "why_refused"]
