# SPDX-License-Identifier: MIT
"""One row for each ONNX operator: which function imports it, and what else is true of it.

Every question of the importer about operators as such is a view of these rows; so are OPERATORS.md and the number in
README.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: all slots of an operator that takes any number of inputs
EVERY: tuple[int, ...] = tuple(range(2**16))

#: how an operator treats rows that lie along time, several in a frame: each element alone, with operands broadcast;
#: each row of a matrix alone; each channel alone, which is axis 1; along its attribute axis; across its axes
EACH, COLUMNS, CHANNELS, ALONG, ACROSS = "each", "columns", "channels", "along", "across"


@dataclass(frozen=True)
class Operator:
    """An operator of ONNX.

    Attributes:
        handler: "module.function" in handlers/, which computes it on frames; "" where nothing needs to, or can.
        of: what that function makes of it, where it serves several: a kind of activation or an op of the Graph.
        pure: what it gives follows from its inputs and attributes; where they are known, it is computed while loading.
        moves: slots whose elements it moves, unchanged: of a table of where elements come from it makes another one.
        chosen_by: slots that say where to; they must be known while loading, for a frame cannot decide where it goes.
        whole: it moves all elements of one operand, each to one place.
        carries: what it gives is what it takes, moved or in another dtype.
        rows: how it treats rows along time (EACH ...), where a stride has put several into a frame; "": not at all.
        together: its operands belong to the same timesteps.
        exact: whole numbers below 2^24 are as exact in float32 as they are in integers.
        on_sizes: it may be computed on shapes of which some sizes are open.
        boolean: it gives booleans.
        asks_shape: it looks at the shape of its input only.
        cost: how much slower an element is than those of others, in onnx's evaluator.
        evaluated_from: the operator set from which that evaluator has it, where older ones define it alike.
        spreads: "module.function" in dependence/, which tells what its results depend on; "" where each element does on
            those in its place (rows=EACH), or no frame goes through it.
        expands: ONNX defines it by others, which take its place before the file is read.
        defined_in: so does "module.function" in file/: of ONNX Runtime's own operators, and of ONNX's where its own
            definition does not go with every operator set.
        carries_on: (input, output) slots of its states: what it gives is what it takes in the next call.
        refused: why it is refused; "" where it is not.
    """

    name: str
    handler: str = ""
    of: str = ""
    pure: bool = True
    moves: tuple[int, ...] | None = None
    chosen_by: tuple[int, ...] = ()
    whole: bool = False
    carries: bool = False
    rows: str = ""
    together: bool = False
    exact: bool = False
    on_sizes: bool = False
    boolean: bool = False
    asks_shape: bool = False
    cost: int = 1
    evaluated_from: int = 0
    spreads: str = ""
    expands: bool = False
    defined_in: str = ""
    carries_on: tuple[tuple[int, int], ...] = ()
    refused: str = ""

    @property
    def alone(self) -> bool:
        """Whether it computes each element from those in its place, and from constants, alone."""
        return self.rows == EACH or self.spreads == "elements.scaled"


_ROWS = (
    # -- activations and arithmetic of single elements
    Operator("Relu", "elementwise.plain", "relu", rows=EACH),
    Operator("Tanh", "elementwise.plain", "tanh", rows=EACH),
    Operator("Sigmoid", "elementwise.plain", "sigmoid", rows=EACH),
    Operator("Softsign", "elementwise.plain", "softsign", rows=EACH),
    Operator("Softplus", "elementwise.plain", "softplus", rows=EACH),
    Operator("Exp", "elementwise.plain", "exp", rows=EACH),
    Operator("Sqrt", "elementwise.plain", "sqrt", rows=EACH),
    Operator("Log", "elementwise.plain", "log", rows=EACH),
    Operator("Abs", "elementwise.plain", "abs", rows=EACH),
    Operator("Round", "elementwise.plain", "round", rows=EACH),
    Operator("Floor", "elementwise.plain", "floor", rows=EACH),
    Operator("Ceil", "elementwise.plain", "ceil", rows=EACH),
    Operator("Sign", "elementwise.plain", "sign", rows=EACH),
    Operator("Reciprocal", "elementwise.plain", "reciprocal", rows=EACH),
    Operator("Erf", "elementwise.plain", "erf", rows=EACH, cost=16),
    Operator("Sin", "elementwise.plain", "sin", rows=EACH),
    Operator("Cos", "elementwise.plain", "cos", rows=EACH),
    Operator("LeakyRelu", "elementwise.leaky_relu", rows=EACH),
    Operator("Elu", "elementwise.elu", rows=EACH),
    Operator("Selu", "elementwise.selu", rows=EACH),
    Operator("HardSigmoid", "elementwise.hard_sigmoid", rows=EACH),
    Operator("ThresholdedRelu", "elementwise.thresholded_relu", rows=EACH),
    Operator("Celu", "elementwise.celu", rows=EACH),
    Operator("HardSwish", "elementwise.hard_swish", rows=EACH),
    Operator("Swish", "elementwise.swish", rows=EACH),
    Operator("PRelu", "elementwise.prelu", rows=EACH),
    Operator("Clip", "elementwise.clip", rows=EACH),
    Operator("Mean", "elementwise.mean", rows=EACH, together=True),
    Operator("Neg", "elementwise.negate", rows=EACH, exact=True),
    Operator("BatchNormalization", "elementwise.batch_norm", rows=CHANNELS, spreads="elements.by_channel"),
    Operator("Dropout", "elementwise.dropout", rows=EACH, carries=True, whole=True),
    Operator("Add", "elementwise.arithmetic", "add", rows=EACH, together=True, exact=True, spreads="elements.added"),
    Operator("Sub", "elementwise.arithmetic", "sub", rows=EACH, together=True, exact=True),
    Operator("Mul", "elementwise.arithmetic", "mul", rows=EACH, together=True, exact=True),
    Operator("Div", "elementwise.arithmetic", "div", rows=EACH, together=True),
    Operator("Max", "elementwise.arithmetic", "max", rows=EACH, together=True),
    Operator("Min", "elementwise.arithmetic", "min", rows=EACH, together=True),
    Operator("Sum", "elementwise.arithmetic", "add", rows=EACH, together=True),
    Operator("Pow", "powers.power_of", rows=EACH, together=True),
    Operator("Gelu", "powers.gelu", rows=EACH, evaluated_from=20),
    Operator("Mish", "powers.mish", rows=EACH),
    Operator("Shrink", "powers.shrink", rows=EACH),
    # -- comparisons, logic, choices: booleans are frames of 0 and 1
    Operator("Equal", "logic.compare", "equal", rows=EACH, boolean=True),
    Operator("Less", "logic.compare", "less", rows=EACH, boolean=True),
    Operator("LessOrEqual", "logic.compare", "less_equal", rows=EACH, boolean=True),
    Operator("Greater", "logic.compare", "greater", rows=EACH, boolean=True),
    Operator("GreaterOrEqual", "logic.compare", "greater_equal", rows=EACH, boolean=True),
    Operator("And", "logic.connect", "mul", rows=EACH, boolean=True),
    Operator("Or", "logic.connect", "max", rows=EACH, boolean=True),
    Operator("Xor", "logic.connect", "equal", rows=EACH, boolean=True),
    Operator("Not", "logic.logical_not", rows=EACH, boolean=True),
    Operator("Where", "logic.where", moves=(1, 2), chosen_by=(0,), rows=EACH, spreads="elements.choice"),
    Operator("Cast", "logic.cast", rows=EACH, exact=True, carries=True, on_sizes=True),
    Operator("CastLike", "logic.cast_like", rows=EACH, exact=True, spreads="moves.identity"),
    # -- matrix products
    Operator("MatMul", "matrix.matrix_product", rows=COLUMNS, spreads="products.matmul"),
    Operator("Gemm", "matrix.gemm", rows=COLUMNS, spreads="products.gemm"),
    Operator("Einsum", "matrix.einsum", spreads="products.einsum"),
    # -- reductions and norms
    Operator("ReduceSum", "time_reductions.reduction", rows=ACROSS, spreads="along.reduce"),
    Operator("ReduceMean", "time_reductions.reduction", rows=ACROSS, spreads="along.reduce"),
    Operator("ReduceMax", "time_reductions.reduction", rows=ACROSS, spreads="along.reduce"),
    Operator("ReduceMin", "time_reductions.reduction", rows=ACROSS, spreads="along.reduce"),
    Operator("ReduceProd", "time_reductions.reduction", rows=ACROSS, spreads="along.reduce"),
    Operator("ReduceL1", "time_reductions.reduction", rows=ACROSS, spreads="along.reduce"),
    Operator("ReduceL2", "time_reductions.reduction", rows=ACROSS, spreads="along.reduce"),
    Operator("ReduceSumSquare", "time_reductions.reduction", rows=ACROSS, spreads="along.reduce"),
    Operator("ReduceLogSum", "time_reductions.reduction", rows=ACROSS, spreads="along.reduce"),
    Operator("ReduceLogSumExp", "time_reductions.reduction", rows=ACROSS, spreads="along.reduce"),
    Operator("LpNormalization", "reduce.lp_normal", rows=ALONG, spreads="along.one_axis"),
    Operator("RMSNormalization", "reduce.rms_norm", rows=ALONG, evaluated_from=23, spreads="along.from_axis"),
    Operator("CumSum", "cumulative.cumulative_sum", spreads="along.cumulative"),
    Operator("ArgMax", "argmax.arg", "max", spreads="along.arg"),
    Operator("ArgMin", "argmax.arg", "min", spreads="along.arg"),
    Operator("OneHot", "argmax.one_hot", spreads="along.one_hot"),
    Operator("Softmax", "normalise.softmax", "softmax", rows=ALONG, spreads="along.softmax"),
    Operator("LogSoftmax", "normalise.softmax", "log_softmax", rows=ALONG, spreads="along.softmax"),
    Operator("LayerNormalization", "normalise.layer_norm", rows=ALONG, evaluated_from=17, spreads="along.from_axis"),
    Operator("Gather", "normalise.gather", moves=(0,), chosen_by=(1,), on_sizes=True, spreads="moves.gather"),
    Operator("Shape", "normalise.shape", asks_shape=True, spreads="elements.shape"),
    Operator("Size", "normalise.size", asks_shape=True, spreads="elements.size"),
    # -- windows
    Operator("Conv", "convolution.conv", spreads="windows.conv"),
    Operator("ConvTranspose", "conv_transpose.conv_transpose", spreads="windows.conv_transpose"),
    Operator("MaxPool", "pooling.max_pool", spreads="windows.pool"),
    Operator("AveragePool", "pooling.average_pool", spreads="windows.pool"),
    Operator("LpPool", "pooling.lp_pool", spreads="windows.pool"),
    Operator("GlobalMaxPool", "time_reductions.global_pool", spreads="along.over_places"),
    Operator("GlobalAveragePool", "time_reductions.global_pool", spreads="along.over_places"),
    Operator("GlobalLpPool", "time_reductions.global_pool", spreads="along.over_places"),
    Operator("InstanceNormalization", "pooling.instance_norm", spreads="along.each_channel"),
    Operator("GroupNormalization", "pooling.group_norm", spreads="along.channel_groups"),
    Operator("Pad", "pooling.pad", spreads="moves.pad"),
    # -- integers
    Operator("DequantizeLinear", "quantized.dequantize", evaluated_from=19, spreads="elements.scaled"),
    Operator("QuantizeLinear", "quantized.quantize", evaluated_from=19, spreads="elements.scaled"),
    Operator("DynamicQuantizeLinear", "quantized.dynamic_quantize", spreads="elements.by_range"),
    Operator("QLinearMatMul", "quantized.qlinear_matmul", spreads="products.qlinear_matmul"),
    Operator("QLinearConv", "quantized.qlinear_conv", spreads="windows.qlinear_conv"),
    Operator("MatMulInteger", "quantized.matmul_integer", spreads="products.matmul_integer"),
    Operator("ConvInteger", "quantized.conv_integer", spreads="windows.conv"),
    # -- recurrences and graphs inside of nodes
    Operator("RNN", "recurrent.recurrent", "rnn", spreads="loops.recurrent"),
    Operator("GRU", "recurrent.recurrent", "gru", spreads="loops.recurrent"),
    Operator("LSTM", "recurrent.recurrent", "lstm", spreads="loops.recurrent"),
    Operator("If", "control_flow.if_", pure=False, spreads="loops.if_"),
    Operator("Loop", "control_flow.loop", pure=False, spreads="loops.loop"),
    Operator("Scan", "control_flow.scan", pure=False, spreads="loops.scan"),
    # -- what only moves
    Operator("Identity", moves=(0,), whole=True, on_sizes=True, spreads="moves.identity"),
    Operator("Transpose", moves=(0,), whole=True, spreads="moves.transpose"),
    Operator("Reshape", moves=(0,), chosen_by=(1, 2, 3, 4), whole=True, on_sizes=True, spreads="moves.reshape"),
    Operator("Flatten", moves=(0,), whole=True, spreads="moves.flatten"),
    Operator("Squeeze", moves=(0,), chosen_by=(1, 2, 3, 4), whole=True, on_sizes=True, spreads="moves.squeeze"),
    Operator("Unsqueeze", moves=(0,), chosen_by=(1, 2, 3, 4), whole=True, on_sizes=True, spreads="moves.unsqueeze"),
    Operator("Slice", moves=(0,), chosen_by=(1, 2, 3, 4), on_sizes=True, spreads="moves.cut"),
    Operator("Split", moves=(0,), chosen_by=(1, 2, 3, 4), spreads="moves.split"),
    Operator("Concat", moves=EVERY, together=True, on_sizes=True, spreads="moves.concat"),
    Operator("Expand", moves=(0,), chosen_by=(1, 2, 3, 4), spreads="moves.expand"),
    Operator("Tile", moves=(0,), chosen_by=(1, 2, 3, 4), spreads="moves.tile"),
    Operator("GatherElements", moves=(0,), chosen_by=(1,), spreads="moves.by_table"),
    Operator("GatherND", moves=(0,), chosen_by=(1,), spreads="moves.by_table"),
    Operator("ScatterElements", moves=(0, 2), chosen_by=(1,), spreads="moves.by_table"),
    Operator("ScatterND", moves=(0, 2), chosen_by=(1,), spreads="moves.by_table"),
    Operator("ReverseSequence", moves=(0,), chosen_by=(1,), spreads="moves.by_table"),
    Operator("DepthToSpace", moves=(0,), spreads="moves.by_table"),
    Operator("SpaceToDepth", moves=(0,), spreads="moves.by_table"),
    # -- computed while loading, refused on frames
    Operator("Constant"),
    Operator("ConstantOfShape"),
    Operator("EyeLike"),
    Operator("IsInf", boolean=True),
    Operator("IsNaN", boolean=True),
    Operator("Mod"),
    Operator("NonZero"),
    Operator("Range"),
    Operator("Trilu"),
    # -- taken apart as ONNX defines them
    Operator("Attention", pure=False, expands=True, carries_on=((4, 1), (5, 2))),
    Operator("CausalConvWithState", pure=False, defined_in="definitions_recurrent.causal_conv", carries_on=((3, 1),)),
    Operator("CenterCropPad", pure=False, expands=True),
    Operator("LinearAttention", pure=False, defined_in="definitions_recurrent.linear_attention", carries_on=((3, 1),)),
    Operator("MeanVarianceNormalization", pure=False, expands=True),
    Operator("RotaryEmbedding", pure=False, defined_in="definitions_positions.rotary_embedding"),
    Operator("SwiGLU", pure=False, expands=True),
    Operator("TensorScatter", pure=False, defined_in="definitions_positions.tensor_scatter", carries_on=((0, 0),)),
)

#: the domain of ONNX Runtime's own operators
RUNTIME = "com.microsoft"
#: what its optimiser and its quantiser write
_RUNTIME_ROWS = (
    Operator(f"{RUNTIME}.BiasGelu", pure=False, defined_in="definitions_float.bias_gelu"),
    Operator(
        f"{RUNTIME}.CausalConvWithState",
        pure=False,
        defined_in="definitions_recurrent.causal_conv",
        carries_on=((3, 1),),
    ),
    Operator(f"{RUNTIME}.DequantizeLinear", pure=False, defined_in="definitions_int8.quantize"),
    Operator(f"{RUNTIME}.DynamicQuantizeLSTM", pure=False, defined_in="definitions_int8.dynamic_quantize_lstm"),
    Operator(f"{RUNTIME}.DynamicQuantizeMatMul", pure=False, defined_in="definitions_int8.dynamic_quantize_matmul"),
    Operator(f"{RUNTIME}.FastGelu", pure=False, defined_in="definitions_float.fast_gelu"),
    Operator(f"{RUNTIME}.FusedConv", pure=False, defined_in="definitions_float.convolution"),
    Operator(f"{RUNTIME}.FusedGemm", pure=False, defined_in="definitions_float.gemm"),
    Operator(f"{RUNTIME}.FusedMatMul", pure=False, defined_in="definitions_float.matmul"),
    Operator(f"{RUNTIME}.Gelu", pure=False, defined_in="definitions_float.gelu"),
    Operator(f"{RUNTIME}.LayerNormalization", pure=False, defined_in="definitions_float.layer_norm"),
    Operator(
        f"{RUNTIME}.LinearAttention",
        pure=False,
        defined_in="definitions_recurrent.linear_attention",
        carries_on=((3, 1),),
    ),
    Operator(f"{RUNTIME}.MatMulIntegerToFloat", pure=False, defined_in="definitions_int8.matmul_integer_to_float"),
    Operator(f"{RUNTIME}.NhwcMaxPool", pure=False, defined_in="definitions_int8.max_pool"),
    Operator(f"{RUNTIME}.QGemm", pure=False, defined_in="definitions_int8.gemm"),
    Operator(f"{RUNTIME}.QLinearAdd", pure=False, defined_in="definitions_int8.add"),
    Operator(f"{RUNTIME}.QLinearAveragePool", pure=False, defined_in="definitions_int8.average_pool"),
    Operator(f"{RUNTIME}.QLinearConcat", pure=False, defined_in="definitions_int8.concat"),
    Operator(f"{RUNTIME}.QLinearConv", pure=False, defined_in="definitions_int8.convolution"),
    Operator(f"{RUNTIME}.QLinearGlobalAveragePool", pure=False, defined_in="definitions_int8.global_average_pool"),
    Operator(f"{RUNTIME}.QLinearLeakyRelu", pure=False, defined_in="definitions_int8.leaky_relu"),
    Operator(f"{RUNTIME}.QLinearMul", pure=False, defined_in="definitions_int8.multiply"),
    Operator(f"{RUNTIME}.QLinearSigmoid", pure=False, defined_in="definitions_int8.sigmoid"),
    Operator(f"{RUNTIME}.QLinearSoftmax", pure=False, defined_in="definitions_int8.softmax"),
    Operator(f"{RUNTIME}.QLinearWhere", pure=False, defined_in="definitions_int8.where"),
    Operator(f"{RUNTIME}.QuantizeLinear", pure=False, defined_in="definitions_int8.quantize"),
    Operator(f"{RUNTIME}.QuickGelu", pure=False, defined_in="definitions_float.quick_gelu"),
    Operator(f"{RUNTIME}.RotaryEmbedding", pure=False, defined_in="definitions_positions.rotary_embedding"),
    Operator(f"{RUNTIME}.SimplifiedLayerNormalization", pure=False, defined_in="definitions_positions.rms_norm"),
    Operator(f"{RUNTIME}.SkipLayerNormalization", pure=False, defined_in="definitions_float.skip_layer_norm"),
    Operator(f"{RUNTIME}.SkipSimplifiedLayerNormalization", pure=False, defined_in="definitions_float.skip_rms_norm"),
    Operator(f"{RUNTIME}.TransposeMatMul", pure=False, defined_in="definitions_float.matmul"),
)

#: why operators are refused -> which
_REFUSED: dict[str, list[str]] = {
    "It looks at the whole sequence": ["STFT"],
    "What it gives has no fixed size": [
        *("Compress", "ConcatFromSequence", "NonMaxSuppression", "Optional", "OptionalGetElement"),
        *("OptionalHasElement", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase"),
        *("SequenceInsert", "SequenceLength", "SequenceMap", "SplitToSequence", "Unique"),
    ],
    "It takes text or files": [
        *("ImageDecoder", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit", "TfIdfVectorizer"),
    ],
    "It draws random numbers": [
        *("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    ],
    "It serves training": ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"],
    "It works on the bits of integers": ["BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor"],
    "It picks by numbers that are computed": ["MaxUnpool", "TopK"],
    "It samples images": [
        *("AffineGrid", "Col2Im", "DeformConv", "GridSample", "MaxRoiPool", "Resize", "RoiAlign"),
        "Upsample",
    ],
    "It is not computed yet": [
        *("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Sinh", "Tan"),
        *("BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"),
        *("CumProd", "DFT", "Det", "Hardmax", "LRN", "Scatter"),
    ],
}

#: operator type -> its row, of ONNX Runtime's own domain
RUNTIME_OPERATORS: dict[str, Operator] = {operator.name: operator for operator in _RUNTIME_ROWS}
#: operator type -> its row
OPERATORS: dict[str, Operator] = {
    **{operator.name: operator for operator in _ROWS},
    **{op: Operator(op, pure=False, refused=reason) for reason, ops in _REFUSED.items() for op in ops},
}
_UNKNOWN = Operator("", pure=False)


def traits(op: str) -> Operator:
    """The row of an operator; one of which nothing is true for what is none of ONNX's own.

    >>> traits("Transpose").moves
    (0,)
    """
    return OPERATORS.get(op) or RUNTIME_OPERATORS.get(op, _UNKNOWN)


def why_refused(op: str) -> str:
    """What to say behind "not supported".

    >>> why_refused("TopK")
    ': it picks by numbers that are computed'
    """
    row = traits(op)
    if row.name and not row.refused:
        return ": it is computed from constants alone, and an input is computed at run time"
    return f": {row.refused[0].lower()}{row.refused[1:]}" if row.refused else ""


def _names(holds: Callable[[Operator], object]) -> frozenset[str]:
    return frozenset(op.name for op in OPERATORS.values() if holds(op))


MOVEMENT = _names(lambda op: op.moves is not None)
#: computed at run time, or nothing to compute because they only move elements
COMPUTED = _names(lambda op: op.handler or op.moves is not None or op.expands or op.defined_in)
#: computed while loading, refused when their inputs are frames
FOLDED_ONLY = _names(lambda op: op.pure and not op.handler and op.moves is None and not (op.expands or op.defined_in))
#: operator type -> why it is refused
REFUSED: dict[str, str] = {op.name: op.refused for op in OPERATORS.values() if op.refused}

__all__ = [
    "ACROSS",
    "ALONG",
    "CHANNELS",
    "COLUMNS",
    "COMPUTED",
    "EACH",
    "EVERY",
    "FOLDED_ONLY",
    "MOVEMENT",
    "OPERATORS",
    "REFUSED",
    "RUNTIME",
    "RUNTIME_OPERATORS",
    "Operator",
    "traits",
    "why_refused",
]
