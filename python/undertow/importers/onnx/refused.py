# SPDX-License-Identifier: MIT
"""The ONNX operators that are refused, each with the reason. The one place that says so: OPERATORS.md and the choice of
ONNX's own node tests are made from it.
"""

from __future__ import annotations

_GROUPS = {
    "It looks at the whole sequence": ["Attention", "LinearAttention", "ReverseSequence", "STFT"],
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
    "It picks by numbers that are computed": ["MaxUnpool", "TensorScatter", "TopK"],
    "It samples images": [
        *("AffineGrid", "CenterCropPad", "Col2Im", "DeformConv", "GridSample", "MaxRoiPool", "Resize", "RoiAlign"),
        "Upsample",
    ],
    "It is not computed yet": [
        *("Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Sinh", "Tan"),
        *("BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"),
        *("CausalConvWithState", "CumProd", "DFT", "Det", "Hardmax", "LRN", "MeanVarianceNormalization"),
        *("RotaryEmbedding", "Scatter", "SwiGLU"),
    ],
}

#: operator type -> why it is refused
REFUSED: dict[str, str] = {op: reason for reason, ops in _GROUPS.items() for op in ops}
