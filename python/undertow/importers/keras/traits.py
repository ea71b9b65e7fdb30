# SPDX-License-Identifier: MIT
"""One row for each layer of Keras: which function imports it, and what else is true of it.

Every question of the importer about classes of layers as such is a view of these rows; so are the layers in
OPERATORS.md and their number in README.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: how a layer treats a frame that holds several timesteps, its first axis: each row of its last axis alone, however
#: many axes are before it; each timestep alone, whatever axes it has; as windows over them, and may change how many
#: there are; as one window over all; as steps of a recurrence; as the layers in it do
EACH, TIMESTEPS, STRIDES, ALL, STEPS, LAYERS = "each", "timesteps", "strides", "all", "steps", "layers"
#: takes any number of inputs
MANY = 0
#: hides timesteps whatever its configuration says
ALWAYS = "*"

#: arguments of a call that are masks: they hide timesteps
MASKS = frozenset({"mask", "query_mask", "value_mask", "key_mask"})
#: arguments of a call that count as configuration: that of this call alone
SETTINGS = frozenset({"item", "slice_spec", "return_attention_scores", "use_causal_mask"})
#: arguments of a call that are further inputs
TENSORS = frozenset({"value", "key"})
#: keys of any layer that change nothing at inference
IGNORED = frozenset(
    {
        *("name", "trainable", "seed", "batch_size", "lora_alpha", "autocast"),
        *("batch_input_shape", "batch_shape", "input_shape"),
    }
)
IGNORED_ENDINGS = ("_initializer", "_regularizer", "_constraint")
#: keys of any layer -> what they may say
ONLY: dict[str, tuple[Any, ...]] = {"quantization_config": (None,), "lora_rank": (None,)}


@dataclass(frozen=True)
class LayerClass:
    """A class of layers of Keras.

    Attributes:
        converter: "module.function", which adds it to a graph; "" where a layer around it does, or nobody.
        of: what that function makes of it, where it serves several: an activation, an op, a kind of window.
        rank: axes of its window.
        inputs: how many it takes.
        unchanged: it gives what it takes: it does something in training alone.
        states: it owns states: takes an initial_state, and may give its final ones.
        cudnn: its arrays lie as cuDNN has them.
        inside: wrappers whose inner layer it may be, of those that do not take every layer.
        inner: key of the layers in it.
        ids: it takes ids, whole numbers that count rows of a table.
        masks: key that makes it hide timesteps from the layers behind it, or ALWAYS.
        padded: it uses what a ZeroPadding before it has added in time.
        rows: how it treats a frame of several timesteps (EACH ...); "": not at all.
        as_op: keras.ops has an operation of this name that computes the same.
        call: what a call of it may say behind its first input, in order: tensors, masks, and what `SETTINGS` lists.
        parts: objects in it have arrays, of roles that dense layers know.
        arrays: roles of its own arrays, in the order in which Keras makes them.
        ignored: keys, beside those of any layer, that change nothing at inference.
        only: key -> what it may say; the first is meant where it is missing.
        refused: why it is refused; "" where it is not.
    """

    name: str
    converter: str = ""
    of: str = ""
    rank: int = 0
    inputs: int = 1
    unchanged: bool = False
    states: bool = False
    cudnn: bool = False
    inside: tuple[str, ...] = ()
    inner: str = ""
    ids: bool = False
    masks: str = ""
    padded: bool = False
    rows: str = ""
    as_op: bool = False
    call: tuple[str, ...] = ()
    parts: bool = False
    arrays: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    refused: str = ""

    @property
    def group(self) -> str:
        """What its groups in a `.keras` archive are called; "" where it has no arrays."""
        if not (self.arrays or self.inner or self.parts):
            return ""
        words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", self.name)
        return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()

    def spec(self, **shapes: tuple[int, ...] | None) -> list[tuple[str, tuple[int, ...]]]:
        """(role, shape) of those of its arrays that there are, in order."""
        there = [(role, shape) for role, shape in shapes.items() if shape is not None]
        return sorted(there, key=lambda pair: self.arrays.index(pair[0]))


_NO_CONSTANTS = {"num_constants": (None, 0)}
#: of training, or of how Keras runs its loop
_OF_CELLS = (
    *("dropout", "recurrent_dropout", "implementation", "unit_forget_bias", "unroll", "zero_output_for_mask"),
    "use_cudnn",
)
_OF_LOOPS = (*_OF_CELLS, "input_dim", "input_length")
_OF_HALVES = ("stateful", "return_sequences", "return_state", "go_backwards")  # the layers inside say it
_OF_NORMS = ("momentum", "renorm_momentum", "fused", "synchronized", "beta_init", "gamma_init")
_OF_BATCHES = {
    "mode": (0,),
    "renorm": (False,),
    "renorm_clipping": (None,),
    "virtual_batch_size": (None,),
    "adjustment": (None,),
}
_CHANNELS = {"data_format": ("channels_last", None)}

_MODEL: dict[str, Any] = {"inputs": MANY, "inner": "layers", "rows": LAYERS, "call": ("training", "mask")}
_STATES: dict[str, Any] = {"states": True, "call": ("initial_state", "mask", "training")}
_LOOP: dict[str, Any] = {**_STATES, "inside": ("Bidirectional",), "rows": STEPS}
_GATED: dict[str, Any] = {"arrays": ("kernel", "recurrent_kernel", "bias"), "ignored": _OF_LOOPS}
_CONV_LSTM: dict[str, Any] = {
    **_STATES,
    **_GATED,
    "inside": ("Bidirectional",),
    "only": {**_NO_CONSTANTS, **_CHANNELS},
}
_CELL: dict[str, Any] = {**_GATED, "inside": ("RNN", "StackedRNNCells"), "ignored": _OF_CELLS}
_BATCH_NORM: dict[str, Any] = {
    "arrays": ("gamma", "beta", "moving_mean", "moving_variance"),
    "ignored": _OF_NORMS,
    "only": _OF_BATCHES,
    "call": ("training", "mask"),
}
_ATTENTION: dict[str, Any] = {
    "inputs": MANY,
    "call": ("mask", "training", "return_attention_scores", "use_causal_mask"),
    "ignored": ("dropout",),
}
_HEADS: dict[str, Any] = {
    "inputs": MANY,
    "call": (
        *("value", "key", "query_mask", "value_mask", "key_mask", "attention_mask"),
        *("return_attention_scores", "training", "use_causal_mask"),
    ),
    "parts": True,
    "ignored": ("dropout", "query_shape", "value_shape", "key_shape", "flash_attention", "softmax_robust_masking"),
    "only": {"use_gate": (False,)},
}
_MERGE: dict[str, Any] = {"inputs": MANY, "rows": TIMESTEPS, "as_op": True}
_CONV: dict[str, Any] = {"arrays": ("kernel", "bias"), "padded": True, "rows": STRIDES, "only": _CHANNELS}
_ONE_GROUP: dict[str, Any] = {**_CONV, "only": {**_CHANNELS, "groups": (1,)}}  # Keras 2 says it
_DEPTHWISE: dict[str, Any] = {**_ONE_GROUP, "arrays": ("kernel", "depthwise_kernel", "bias")}  # Keras 3, and before
_SEPARABLE: dict[str, Any] = {**_ONE_GROUP, "arrays": ("depthwise_kernel", "pointwise_kernel", "bias")}
_TRANSPOSED: dict[str, Any] = {
    **_CONV,
    "padded": False,
    "only": {**_CHANNELS, "groups": (1,), "output_padding": (None,)},
}
_OVER_ALL: dict[str, Any] = {"rows": ALL, "only": _CHANNELS}
_UP: dict[str, Any] = {"rows": STRIDES, "only": {**_CHANNELS, "interpolation": ("nearest",)}}
_DROPOUT: dict[str, Any] = {"unchanged": True, "rows": EACH, "ignored": ("rate", "noise_shape", "data_format")}

_ROWS = (
    # -- models, and layers around layers
    LayerClass("Sequential", "wiring.nested", "sequential", ignored=("dtype", "build_input_shape"), **_MODEL),
    LayerClass("Functional", "wiring.nested", "functional", ignored=("dtype",), **_MODEL),
    LayerClass("Model", "wiring.nested", "functional", ignored=("dtype",), **_MODEL),
    LayerClass(
        "InputLayer",
        inside=("Sequential", "Functional", "Model"),
        ignored=("dtype",),
        only={"sparse": (False,), "ragged": (False,), "optional": (False,)},
    ),
    LayerClass("TimeDistributed", "layers.time_distributed", inner="layer", rows=LAYERS, call=("training", "mask")),
    LayerClass(
        "Bidirectional",
        "recurrent.bidirectional",
        inner="layer",
        rows=STEPS,
        ignored=(*_OF_LOOPS, *_OF_HALVES),
        only=_NO_CONSTANTS,
        **_STATES,
    ),
    # -- recurrences
    LayerClass("LSTM", "recurrent.recurrent", "lstm", **_LOOP, **_GATED),
    LayerClass("GRU", "recurrent.recurrent", "gru", **_LOOP, **_GATED),
    LayerClass("SimpleRNN", "recurrent.recurrent", "rnn", **_LOOP, **_GATED),
    LayerClass("CuDNNLSTM", "recurrent.recurrent", "lstm", cudnn=True, **_LOOP, **_GATED),
    LayerClass("CuDNNGRU", "recurrent.recurrent", "gru", cudnn=True, **_LOOP, **_GATED),
    LayerClass(
        "RNN",
        "recurrent.recurrent",
        inner="cell",
        ignored=("input_dim", "input_length", "unroll", "zero_output_for_mask"),
        only=_NO_CONSTANTS,
        **_LOOP,
    ),
    LayerClass("ConvLSTM1D", "recurrent.recurrent", "lstm", 1, **_CONV_LSTM),
    LayerClass("ConvLSTM2D", "recurrent.recurrent", "lstm", 2, **_CONV_LSTM),
    LayerClass("StackedRNNCells", inside=("RNN",), inner="cells", only={"reverse_state_order": (False,)}),
    LayerClass("LSTMCell", of="lstm", **_CELL),
    LayerClass("GRUCell", of="gru", **_CELL),
    LayerClass("SimpleRNNCell", of="rnn", **_CELL),
    # -- frames
    LayerClass("Dense", "layers.dense", rows=EACH, arrays=("kernel", "bias"), ignored=("input_dim",)),
    LayerClass(
        "Embedding",
        "layers.embedding",
        ids=True,
        masks="mask_zero",
        rows=TIMESTEPS,
        arrays=("embeddings",),
        ignored=("input_length",),
        only={"sparse": (False,)},
    ),
    LayerClass("Flatten", "layers.flatten"),
    LayerClass("Reshape", "layers.reshape", rows=TIMESTEPS),
    LayerClass("RepeatVector", "layers.repeat_vector"),
    LayerClass("Permute", "layers.permute", rows=TIMESTEPS),
    LayerClass("Rescaling", "layers.rescaling", rows=EACH),
    LayerClass("GetItem", "slices.get_item", rows=STEPS, as_op=True, call=("item",)),
    LayerClass(
        "SlicingOpLambda",
        "slices.get_item",
        rows=STEPS,
        call=("slice_spec",),
        only={"function": ("__operators__.getitem",)},
    ),
    # -- norms
    LayerClass("BatchNormalization", "layers.batch_norm", rows=EACH, **_BATCH_NORM),
    LayerClass("BatchNormalizationV1", "layers.batch_norm", rows=EACH, **_BATCH_NORM),
    LayerClass(
        "LayerNormalization",
        "layers.layer_norm",
        rows=EACH,
        arrays=("gamma", "beta"),
        only={"rms_scaling": (False,)},
    ),
    LayerClass(
        "Normalization",
        "layers.normalization",
        rows=EACH,
        arrays=("mean", "variance", "count"),
        only={"invert": (False,)},
    ),
    # -- activations
    LayerClass("Activation", "layers.activation_layer", "given", rows=EACH),
    LayerClass("ReLU", "layers.activation_layer", "relu", rows=EACH),
    LayerClass("LeakyReLU", "layers.activation_layer", "leaky_relu", rows=EACH),
    LayerClass("ELU", "layers.activation_layer", "elu", rows=EACH),
    LayerClass("ThresholdedReLU", "layers.activation_layer", "thresholded_relu", rows=EACH),
    LayerClass("Softmax", "layers.activation_layer", "softmax", rows=EACH),
    LayerClass("PReLU", "layers.prelu", rows=TIMESTEPS, arrays=("alpha",)),
    # -- merging
    LayerClass("Add", "merging.arithmetic", "add", **_MERGE),
    LayerClass("Subtract", "merging.arithmetic", "sub", **{**_MERGE, "inputs": 2}),
    LayerClass("Multiply", "merging.arithmetic", "mul", **_MERGE),
    LayerClass("Maximum", "merging.arithmetic", "max", **_MERGE),
    LayerClass("Minimum", "merging.arithmetic", "min", **_MERGE),
    LayerClass("Average", "merging.average", "add", inputs=MANY, rows=TIMESTEPS),
    LayerClass("Concatenate", "merging.concatenate", **_MERGE),
    LayerClass("Dot", "attention.dot", inputs=2, only={"normalize": (False,)}),
    # -- attention
    LayerClass("Attention", "attention.attention", "dot", arrays=("scale", "concat_score_weight"), **_ATTENTION),
    LayerClass("AdditiveAttention", "attention.attention", "additive", arrays=("scale",), **_ATTENTION),
    LayerClass("MultiHeadAttention", "attention.multi_head", **_HEADS),
    LayerClass("GroupedQueryAttention", "attention.multi_head", "grouped", **_HEADS),
    # -- windows
    LayerClass("Conv1D", "grids.convolution", "full", 1, **_CONV),
    LayerClass("Conv2D", "grids.convolution", "full", 2, **_CONV),
    LayerClass("DepthwiseConv1D", "grids.convolution", "depthwise", 1, **_DEPTHWISE),
    LayerClass("DepthwiseConv2D", "grids.convolution", "depthwise", 2, **_DEPTHWISE),
    LayerClass("SeparableConv1D", "grids.convolution", "separable", 1, **_SEPARABLE),
    LayerClass("SeparableConv2D", "grids.convolution", "separable", 2, **_SEPARABLE),
    LayerClass("Conv1DTranspose", "transposed.transposed", rank=1, **_TRANSPOSED),
    LayerClass("Conv2DTranspose", "transposed.transposed", rank=2, **_TRANSPOSED),
    LayerClass("MaxPooling1D", "grids.pooling", "max", 1, rows=STRIDES, only=_CHANNELS),
    LayerClass("MaxPooling2D", "grids.pooling", "max", 2, rows=STRIDES, only=_CHANNELS),
    LayerClass("AveragePooling1D", "grids.pooling", "average", 1, rows=STRIDES, only=_CHANNELS),
    LayerClass("AveragePooling2D", "grids.pooling", "average", 2, rows=STRIDES, only=_CHANNELS),
    LayerClass("GlobalMaxPooling1D", "grids.global_pooling", "max", 1, **_OVER_ALL),
    LayerClass("GlobalMaxPooling2D", "grids.global_pooling", "max", 2, **_OVER_ALL),
    LayerClass("GlobalAveragePooling1D", "grids.global_pooling", "average", 1, **_OVER_ALL, call=("mask",)),
    LayerClass("GlobalAveragePooling2D", "grids.global_pooling", "average", 2, **_OVER_ALL),
    LayerClass("ZeroPadding1D", "grids.zero_padding", rank=1, only=_CHANNELS),
    LayerClass("ZeroPadding2D", "grids.zero_padding", rank=2, only=_CHANNELS),
    LayerClass("Cropping1D", "grids.cropping", rank=1, only=_CHANNELS),
    LayerClass("Cropping2D", "grids.cropping", rank=2, only=_CHANNELS),
    LayerClass("UpSampling1D", "grids.up_sampling", rank=1, **_UP),
    LayerClass("UpSampling2D", "grids.up_sampling", rank=2, **_UP),
    # -- of training
    LayerClass("Dropout", **_DROPOUT),
    LayerClass("SpatialDropout1D", **_DROPOUT),
    LayerClass("SpatialDropout2D", **_DROPOUT),
    LayerClass("SpatialDropout3D", **_DROPOUT),
    LayerClass("AlphaDropout", **_DROPOUT),
    LayerClass("GaussianDropout", **_DROPOUT),
    LayerClass("GaussianNoise", unchanged=True, rows=EACH, ignored=("stddev",)),
    LayerClass("ActivityRegularization", unchanged=True, rows=EACH, ignored=("l1", "l2")),
    LayerClass("Identity", unchanged=True, rows=EACH),
    LayerClass("Masking", unchanged=True, masks=ALWAYS, rows=EACH, ignored=("mask_value",)),
)

#: how files call a class -> how Keras does
ALIASES = {"GroupQueryAttention": "GroupedQueryAttention"}
#: why layers are refused -> which
_REFUSED: dict[str, list[str]] = {
    "It is a part of layers that convolve inside of a cell": ["ConvLSTM2DCell", "ConvRNN2D"],
    "Its window has three axes": [
        *("AdaptiveAveragePooling3D", "AdaptiveMaxPooling3D", "AveragePooling3D", "Conv3D", "Conv3DTranspose"),
        *("Cropping3D", "GlobalAveragePooling3D", "GlobalMaxPooling3D", "MaxPooling3D", "UpSampling3D"),
        *("ConvLSTM3D", "ZeroPadding3D"),
    ],
    "It takes a signal apart; give the model frames": ["MelSpectrogram", "STFTSpectrogram"],
    "It takes text or categories; give the model numbers or ids": [
        *("CategoryEncoding", "DenseFeatures", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup"),
        *("SequenceFeatures", "StringLookup", "TextVectorization"),
    ],
    "It prepares images; do that before the model": [
        *("AugMix", "AutoContrast", "CenterCrop", "ContrastLimitedAdaptiveHistogramEqualization", "CutMix"),
        *("Equalization", "MaxNumBoundingBoxes", "MixUp", "Pipeline", "RandAugment", "RandomBrightness"),
        *("RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomCrop", "RandomElasticTransform"),
        *("RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHeight", "RandomHue"),
        *("RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation"),
        *("RandomSharpness", "RandomShear", "RandomTranslation", "RandomWidth", "RandomZoom", "Resizing"),
        "Solarization",
    ],
    "It holds code, and code of files is never run; say it with layers of Keras's own": [
        *("ClassMethod", "FlaxLayer", "InstanceMethod", "JaxLayer", "Lambda", "TFOpLambda"),
        *("TFSMLayer", "TensorFlowOpLayer", "TorchModuleWrapper"),
    ],
    "It is a base of other layers and computes nothing": ["AbstractRNNCell", "Layer", "Wrapper"],
    "It is not computed yet": [
        *("AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D"),
        *("EinsumDense", "GroupNormalization", "LocallyConnected1D", "LocallyConnected2D"),
        *("PeepholeLSTMCell", "RMSNormalization", "RandomFourierFeatures", "ReversibleEmbedding"),
        *("SpectralNormalization", "SyncBatchNormalization", "UnitNormalization"),
    ],
}

#: class -> its row
CLASSES: dict[str, LayerClass] = {
    **{row.name: row for row in _ROWS},
    **{cls: LayerClass(cls, refused=reason) for reason, classes in _REFUSED.items() for cls in classes},
}
_UNKNOWN = LayerClass("")


def traits(cls: str) -> LayerClass:
    """The row of a class of layers; one of which nothing is true for what is none of Keras's own.

    >>> traits("Conv2D").rank
    2
    """
    return CLASSES.get(cls, _UNKNOWN)


def why_refused(cls: str, wrapper: str = "") -> str:
    """What to say behind "is not supported": of a layer, or of one that is inside of a wrapper.

    >>> why_refused("Dot")
    ': it is not computed yet'
    >>> why_refused("LSTMCell")
    ': expected inside of RNN or StackedRNNCells'
    """
    row = traits(cls)
    if row.refused:
        return f": {row.refused[0].lower()}{row.refused[1:]}"
    if row.inside and not wrapper and not row.converter:
        return f": expected inside of {' or '.join(row.inside)}"
    return f"; supported: {', '.join(sorted(inside(wrapper) if wrapper else SUPPORTED))}"


def inside(wrapper: str) -> frozenset[str]:
    """Classes that may be the inner layer of a wrapper."""
    return names(lambda row: wrapper in row.inside)


def names(holds: Callable[[LayerClass], object]) -> frozenset[str]:
    """Classes of which something is true."""
    return frozenset(row.name for row in CLASSES.values() if holds(row))


COMPUTED = names(lambda row: row.converter)
UNCHANGED = names(lambda row: row.unchanged)
SUPPORTED = COMPUTED | UNCHANGED
#: computed by a layer around them
PARTS = names(lambda row: row.inside and not row.converter)
#: they hide timesteps, whatever their configuration says
MASKED = names(lambda row: row.masks == ALWAYS)
#: class -> why it is refused
REFUSED: dict[str, str] = {row.name: row.refused for row in CLASSES.values() if row.refused}
#: they treat all timesteps of a frame alike
ALIKE = names(lambda row: row.rows in (EACH, TIMESTEPS))
MODELS = names(lambda row: row.of in ("functional", "sequential"))
COMPUTED_LAYERS = COMPUTED - MODELS
FUNCTIONAL = names(lambda row: row.of == "functional")
#: names of arrays; one of them in another's place is an error
ROLES = frozenset(role for row in CLASSES.values() for role in row.arrays)
