# SPDX-License-Identifier: MIT
"""At least one example of every layer of Keras that is computed; together they change every key that is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_files import layer

Shapes = dict[str, tuple[int, ...]]
Case = tuple[dict[str, Any], Shapes]


@dataclass
class Example:
    """A layer and what it takes.

    Attributes:
        config: its configuration, without the name.
        shape: of each input, without the batch; None is the axis of time.
        arrays: name -> shape, in Keras's order.
        keras: today's Keras has the class and these keys.
        clip: it can be computed on a whole clip, as one frame.
    """

    cls: str
    config: dict[str, Any]
    shape: tuple[int | None, ...]
    arrays: Shapes
    n_inputs: int = 1
    keras: bool = True
    clip: bool = True

    @property
    def ids(self) -> bool:
        return len(self.shape) == 1 and self.shape[0] is None

    @property
    def table(self) -> dict[str, Any]:
        return layer(self.cls, "it", **self.config)

    def values(self) -> list[np.ndarray]:
        """Numbers for its arrays: those of variances are positive."""
        rng = np.random.default_rng(7)
        arrays = [(name, np.asarray(rng.normal(0, 0.5, shape))) for name, shape in self.arrays.items()]
        return [(abs(a) + 0.5 if "variance" in name else a).astype(np.float32) for name, a in arrays]


def of(cls: str, shape: tuple[int | None, ...], *cases: Case, **more: Any) -> list[Example]:
    """An example for each (configuration, arrays)."""
    return [Example(cls, config, shape, arrays, **more) for config, arrays in cases]


def items(*slices: list[Any]) -> list[dict[str, Any]]:
    return [{"item": [_item(part) for part in parts]} for parts in slices]


def specs(*slices: list[Any]) -> list[dict[str, Any]]:
    """As Keras 2 says it."""
    plain = [
        [item.get("config") or item if isinstance(item, dict) else item for item in i["item"]] for i in items(*slices)
    ]
    return [{"slice_spec": parts, "function": "__operators__.getitem"} for parts in plain]


def _item(text: Any) -> Any:
    """What a file says for "1:3", "..." and numbers in a slice."""
    if text == "...":
        return {"class_name": "__ellipsis__", "config": {}}
    if not isinstance(text, str):
        return text
    parts = [int(part) if part else None for part in text.split(":")]
    ends = dict(zip(("start", "stop", "step"), [*parts, None, None], strict=False))
    return {"class_name": "__slice__", "config": ends}


def plain(cls: str, *configs: dict[str, Any], shape: tuple[int | None, ...] = (None, 4), **more: Any) -> list[Example]:
    """Layers without arrays."""
    return of(cls, shape, *((config, {}) for config in configs), **more)


# -- arrays -----------------------------------------------------------------------------------------------------------


def kernel(*shape: int, bias: int = 0, of: str = "") -> Shapes:
    return {f"{of}kernel": shape, **({f"{of}bias": (bias,)} if bias else {})}


def gated(gates: int, units: int = 3, n_in: int = 4, bias: bool = True, twice: bool = False, of: str = "") -> Shapes:
    width = gates * units
    shapes: Shapes = {f"{of}kernel": (n_in, width), f"{of}recurrent_kernel": (units, width)}
    return {**shapes, **({f"{of}bias": (2, width) if twice else (width,)} if bias else {})}


def both(gates: int, **more: Any) -> Shapes:
    return {**gated(gates, of="forward_it/", **more), **gated(gates, of="backward_it/", **more)}


def vectors(*names: str) -> Shapes:
    return dict.fromkeys(names, (4,))


# -- families ---------------------------------------------------------------------------------------------------------

FRAMES, GRID, IDS = (None, 4), (None, 6, 2), (None,)
LSTM = {"units": 3, "activation": "tanh", "recurrent_activation": "sigmoid"}
HARD = {"units": 3, "activation": "softsign", "recurrent_activation": "hard_sigmoid", "use_bias": False}
SEQ = {"return_sequences": True}


def loops(cls: str, gates: int, **settings: Any) -> list[Example]:
    """A recurrent layer with everything that it may say."""
    config = {key: value for key, value in {**LSTM, **settings}.items() if gates > 1 or key != "recurrent_activation"}
    hard = {key: value for key, value in HARD.items() if key in config or key == "use_bias"}
    twice = settings.get("reset_after", False)
    arrays = gated(gates, twice=twice)
    cases: list[Case] = [
        ({**config, **SEQ, "go_backwards": False, "use_bias": True}, arrays),
        ({**config, "stateful": False}, arrays),
        ({**config, **hard, **SEQ}, gated(gates, bias=False)),
        ({**config, **SEQ, "go_backwards": True}, arrays),
        ({**config, **SEQ, "return_state": True}, arrays),
        ({**config, "units": 2}, gated(gates, 2, twice=twice)),
    ]
    return [
        *of(cls, FRAMES, *cases),
        *of(cls, FRAMES, ({**config, "time_major": False}, arrays), keras=False),
        *of(cls, FRAMES, ({**config, "stateful": True}, arrays), keras=False, clip=False),
    ]


def cudnn(cls: str, gates: int) -> list[Example]:
    arrays = gated(gates, bias=False) | {"bias": (6 * gates,)}
    small = gated(gates, 2, bias=False) | {"bias": (4 * gates,)}
    more = [SEQ, {"go_backwards": True, "time_major": False}, {**SEQ, "return_state": True}, {"stateful": False}]
    cases = [({"units": 3, **settings}, arrays) for settings in more]
    return [
        *of(cls, FRAMES, *cases, keras=False),
        *of(cls, FRAMES, ({"units": 2, "stateful": True}, small), keras=False, clip=False),
    ]


def cell(cls: str, **config: Any) -> dict[str, Any]:
    return layer(cls, f"inner_{cls.lower()}", **config)


def in_rnn(*cases: tuple[dict[str, Any], Shapes]) -> list[Example]:
    """Cells, each in an RNN."""
    return of("RNN", FRAMES, *(({"cell": inner, **SEQ}, arrays) for inner, arrays in cases))


def merge(cls: str, *more: Example) -> list[Example]:
    three = of(cls, (None, 3, 4), ({}, {}), n_inputs=3) if cls != "Subtract" else []
    return [*of(cls, FRAMES, ({}, {}), n_inputs=2), *three, *more]


def convolutions(cls: str, rank: int) -> list[Example]:
    """With every padding, stride, dilation, number of groups and of filters."""
    shape, channels = (FRAMES, 4) if rank == 1 else (GRID, 2)
    kind = cls.partition("Conv")[0]
    base: dict[str, Any] = {"kernel_size": [3, 2][:rank], "padding": "same"}
    base |= {} if kind == "Depthwise" else {"filters": 4}
    base |= {} if kind == "" else {"depth_multiplier": 2}
    cases: list[dict[str, Any]] = [
        {"activation": "linear", "use_bias": True},
        {"activation": "tanh", "use_bias": False, "padding": "valid"},
        {"activation": "softmax", "dilation_rate": [2] * rank},
        {"strides": [2] * rank},
        {"kernel_size": 2},
        *([{"padding": "causal", "dilation_rate": 2}] if cls == "Conv1D" else []),
        *([{"groups": 2}] if kind == "" else [{"depth_multiplier": 1}]),
        *([{"filters": 6}] if kind != "Depthwise" else []),
    ]
    configs = [{**base, **case} for case in cases]
    return of(cls, shape, *((config, _of_convolution(kind, rank, channels, config)) for config in configs))


def _of_convolution(kind: str, rank: int, channels: int, config: dict[str, Any]) -> Shapes:
    k = config["kernel_size"]
    window = (k,) * rank if isinstance(k, int) else tuple(k)
    inner = channels * config.get("depth_multiplier", 1)
    filters = config.get("filters", inner)
    shapes: Shapes = {"depthwise_kernel": (*window, channels, inner // channels)}
    if kind == "":
        shapes = {"kernel": (*window, channels // config.get("groups", 1), filters)}
    elif kind == "Separable":
        shapes["pointwise_kernel"] = (*[1] * rank, inner, filters)
    return {**shapes, **({"bias": (filters,)} if config.get("use_bias", True) else {})}


def up(cls: str, rank: int) -> list[Example]:
    """Transposed convolutions."""
    shape, channels, k, s = (FRAMES, 4, (4,), (2,)) if rank == 1 else (GRID, 2, (4, 3), (2, 3))
    base = {"filters": 3, "kernel_size": [*k], "strides": [*s], "padding": "same"}
    valid = {**base, "kernel_size": [*s], "padding": "valid", "activation": "relu", "use_bias": False}
    cases: list[Case] = [
        ({**base, "activation": "linear", "use_bias": True}, kernel(*k, 3, channels, bias=3)),
        (valid, kernel(*s, 3, channels)),
        ({**base, "strides": [1] * rank}, kernel(*k, 3, channels, bias=3)),
        ({**base, "filters": 2, "dilation_rate": [1] * rank}, kernel(*k, 2, channels, bias=2)),
    ]
    return of(cls, shape, *cases)


def pools(cls: str, rank: int) -> list[Example]:
    two = [2] * rank
    return plain(
        cls,
        {"pool_size": two, "strides": None, "padding": "valid"},
        {"pool_size": [3, 2][:rank], "strides": [3, 1][:rank], "padding": "same"},
        {"pool_size": 2, "strides": two, "padding": "same"},
        {"pool_size": [3, 2][:rank], "strides": [1, 2][:rank], "padding": "same"},
        {"pool_size": [3, 2][:rank], "strides": 1, "padding": "valid"},
        shape=FRAMES if rank == 1 else GRID,
    )


def over_all(cls: str, rank: int) -> list[Example]:
    return plain(cls, {"keepdims": False}, {"keepdims": True}, shape=FRAMES if rank == 1 else GRID)


def batch_norms(cls: str, **more: Any) -> list[Example]:
    all_four = vectors("gamma", "beta", "moving_mean", "moving_variance")
    three = [vectors(name, "moving_mean", "moving_variance") for name in ("gamma", "beta")]
    return [
        *of(cls, FRAMES, ({"axis": -1, "epsilon": 0.001, "center": True, "scale": True}, all_four), **more),
        *of(cls, FRAMES, ({"axis": 2, "epsilon": 0.01, "center": False}, three[0]), **more),
        *of(cls, FRAMES, ({"axis": [2], "epsilon": 0.1, "scale": False}, three[1]), keras=False),
    ]


def convolved_loops(cls: str, rank: int) -> list[Example]:
    """LSTMs whose products are convolutions: a grid of 5 or of 5 by 4 places, 2 channels, 2 filters."""
    shape, k, gates = (None, 5, 4)[: 1 + rank], (3, 2)[:rank], {"recurrent_activation": "sigmoid", "activation": "tanh"}
    base = {"filters": 2, "kernel_size": [*k], "padding": "same", **gates}

    def arrays(filters: int = 2, bias: bool = True, size: tuple[int, ...] = k) -> Shapes:
        shapes: Shapes = {"kernel": (*size, 2, 4 * filters), "recurrent_kernel": (*size, filters, 4 * filters)}
        return {**shapes, **({"bias": (4 * filters,)} if bias else {})}

    hard = {"recurrent_activation": "hard_sigmoid", "activation": "softsign"}
    cases: list[Case] = [
        ({**base, **SEQ, "go_backwards": False, "use_bias": True, "stateful": False}, arrays()),
        ({**base, "padding": "valid", "strides": [2] * rank}, arrays()),
        ({**base, **SEQ, **hard, "use_bias": False, "dilation_rate": [2] * rank}, arrays(bias=False)),
        ({**base, **SEQ, "go_backwards": True, "filters": 1, "return_state": True}, arrays(1)),
        ({**base, "kernel_size": 2, "return_state": False}, arrays(size=(2,) * rank)),
    ]
    return [
        *of(cls, (*shape, 2), *cases, clip=False),
        *of(cls, (*shape, 2), ({**base, "stateful": True, "time_major": False}, arrays()), keras=False, clip=False),
    ]


# -- layers in layers -------------------------------------------------------------------------------------------------

_INNER = layer("LSTM", "inner", **LSTM, **SEQ)
_BACK = layer("LSTM", "back", **{**LSTM, "activation": "relu"}, **SEQ, go_backwards=True)
_TWO_CELLS = [cell("LSTMCell", **LSTM), cell("SimpleRNNCell", units=2, activation="relu")]
_STACK = layer("StackedRNNCells", "stack", cells=_TWO_CELLS)
_OF_STACK = gated(4) | gated(1, 2, 3, of="second/")
_ROWS = layer("Dense", "rows", units=2, activation="tanh", use_bias=False)
_LAYERS = [
    layer("InputLayer", "of_inner", batch_input_shape=[None, None, 4], dtype="float32"),
    layer("Dense", "in_dense", units=2, activation="tanh", use_bias=False),
    layer("Dropout", "in_dropout", rate=0.5),
]
_NODES = [[], [[["of_inner", 0, 0, {}]]], [[["in_dense", 0, 0, {}]]]]
_GRAPH = {
    "layers": [{**t, "name": t["config"]["name"], "inbound_nodes": n} for t, n in zip(_LAYERS, _NODES, strict=True)],
    "input_layers": [["of_inner", 0, 0]],
    "output_layers": [["in_dropout", 0, 0]],
}
_OF_MODEL = kernel(4, 2, of="in_dense/")

ROWS = (5, 4)
#: what a call of attention may say
PAIRS = [{"use_causal_mask": True}, {"return_attention_scores": True}]
_HEADS = {"num_heads": 2, "key_dim": 3}
_GROUPS = {"num_query_heads": 4, "num_key_value_heads": 2, "head_dim": 3}


def heads(queries: int, keys: int, width: int, of_value: int, n_out: int, bias: bool = True) -> Shapes:
    sizes = {"query": (queries, width), "key": (keys, width), "value": (keys, of_value)}
    shapes: Shapes = {}
    for part, size in sizes.items():
        shapes |= {f"{part}/kernel": (4, *size), **({f"{part}/bias": size} if bias else {})}
    return {**shapes, "out/kernel": (queries, of_value, n_out), **({"out/bias": (n_out,)} if bias else {})}


#: class -> examples of it, or of what it is a part of
EXAMPLES: dict[str, list[Example]] = {
    "Sequential": [
        *of("Sequential", FRAMES, ({"layers": _LAYERS[1:]}, _OF_MODEL)),
        *of("Sequential", FRAMES, ({"layers": _LAYERS}, _OF_MODEL), keras=False),
    ],
    "Functional": of("Functional", FRAMES, (_GRAPH, _OF_MODEL), keras=False),
    "Model": of("Model", FRAMES, (_GRAPH, _OF_MODEL), keras=False),
    "InputLayer": of("Sequential", FRAMES, ({"layers": _LAYERS}, _OF_MODEL), keras=False),
    "TimeDistributed": [
        *of("TimeDistributed", (None, 3, 4), ({"layer": _ROWS}, kernel(4, 2))),
        *of("TimeDistributed", GRID, ({"layer": layer("Flatten", "flat")}, {}), clip=False),
        *of("TimeDistributed", (None, 5, 4), ({"layer": _INNER}, gated(4)), clip=False),
    ],
    "Bidirectional": [
        *of("Bidirectional", FRAMES, ({"layer": _INNER, "merge_mode": "concat"}, both(4))),
        *of("Bidirectional", FRAMES, ({"layer": _INNER, "merge_mode": "sum"}, both(4))),
        *of("Bidirectional", FRAMES, ({"layer": _INNER, "backward_layer": _BACK}, both(4))),
        *of("Bidirectional", FRAMES, ({"layer": _INNER, "merge_mode": None}, both(4))),
        *of(
            "Bidirectional", FRAMES, ({"layer": layer("GRU", "g", **HARD), "merge_mode": "ave"}, both(3, bias=False)),
            keras=False,
        ),
        *of(
            "Bidirectional", FRAMES, ({"layer": _INNER, "merge_mode": "mul", "time_major": False}, both(4)),
            keras=False,
        ),
    ],
    "LSTM": loops("LSTM", 4),
    "GRU": [
        *loops("GRU", 3, reset_after=True),
        *of("GRU", FRAMES, ({**LSTM, **SEQ, "reset_after": False}, gated(3))),
        *of("GRU", FRAMES, ({**LSTM, **SEQ}, gated(3)), keras=False),
    ],
    "SimpleRNN": loops("SimpleRNN", 1),
    "CuDNNLSTM": cudnn("CuDNNLSTM", 4),
    "CuDNNGRU": cudnn("CuDNNGRU", 3),
    "RNN": [
        *of("RNN", FRAMES, ({"cell": cell("LSTMCell", **LSTM), **SEQ}, gated(4))),
        *of("RNN", FRAMES, ({"cell": cell("LSTMCell", **LSTM), **SEQ, "go_backwards": True}, gated(4))),
        *of("RNN", FRAMES, ({"cell": cell("LSTMCell", **LSTM), "return_state": True}, gated(4))),
        *of("RNN", FRAMES, ({"cell": _STACK, "time_major": False, "stateful": False}, _OF_STACK), keras=False),
        *of("RNN", FRAMES, ({"cell": _STACK, "stateful": True}, _OF_STACK), keras=False, clip=False),
    ],
    "ConvLSTM1D": convolved_loops("ConvLSTM1D", 1),
    "ConvLSTM2D": convolved_loops("ConvLSTM2D", 2),
    "StackedRNNCells": in_rnn((_STACK, _OF_STACK), (layer("StackedRNNCells", "s", cells=_TWO_CELLS[:1]), gated(4))),
    "LSTMCell": in_rnn(
        (cell("LSTMCell", **LSTM, use_bias=True), gated(4)),
        (cell("LSTMCell", **HARD), gated(4, bias=False)),
        (cell("LSTMCell", **{**LSTM, "units": 2}), gated(4, 2)),
    ),
    "GRUCell": in_rnn(
        (cell("GRUCell", **LSTM, use_bias=True, reset_after=True), gated(3, twice=True)),
        (cell("GRUCell", **HARD, reset_after=False), gated(3, bias=False)),
        (cell("GRUCell", **{**LSTM, "units": 2}, reset_after=False), gated(3, 2)),
    ),
    "SimpleRNNCell": in_rnn(
        (cell("SimpleRNNCell", units=3, activation="tanh", use_bias=True), gated(1)),
        (cell("SimpleRNNCell", units=2, activation="softsign", use_bias=False), gated(1, 2, bias=False)),
    ),
    "Dense": [
        *of("Dense", FRAMES, ({"units": 3, "activation": "tanh", "use_bias": True}, kernel(4, 3, bias=3))),
        *of("Dense", (None, 3, 4), ({"units": 2, "activation": "softmax", "use_bias": False}, kernel(4, 2))),
    ],
    "Embedding": [
        *of("Embedding", IDS, ({"input_dim": 7, "output_dim": 4, "mask_zero": False}, {"embeddings": (7, 4)})),
        *of("Embedding", IDS, ({"input_dim": 5, "output_dim": 3, "mask_zero": True}, {"embeddings": (5, 3)})),
    ],
    "Flatten": [
        *plain("Flatten", {"data_format": "channels_first"}, shape=(4,)),
        *plain("Flatten", {"data_format": "channels_last"}, {}, shape=(3, 4)),
    ],
    "Reshape": [
        *plain("Reshape", {"target_shape": [-1, 2, 2]}),
        *plain("Reshape", {"target_shape": [2, -1]}, shape=(4, 3)),
    ],
    "GetItem": [
        *plain("GetItem", *items(["...", "1:3"], [":", -1], [":", "2:"], [":", 0, "::2"]), keras=False),
        *plain("GetItem", *items([":", "-1:", 3]), keras=False),
        *plain("GetItem", *items([":", ":", None, 1]), shape=(None, 3, 4), keras=False),
    ],
    "SlicingOpLambda": [
        *plain("SlicingOpLambda", *specs([":", ":", "1:3"], [":", -1], [":", "2:", None, "::2"]), keras=False),
        *plain("SlicingOpLambda", *specs(["...", 1], [":", 0]), shape=(None, 3, 4), keras=False),
    ],
    "RepeatVector": plain("RepeatVector", {"n": 3}, {"n": 1}, shape=(4,)),
    "Attention": [
        *of("Attention", ROWS, ({"use_scale": True, "score_mode": "dot"}, {"scale": ()}), n_inputs=2),
        *of(
            "Attention", ROWS, ({"use_scale": True, "score_mode": "concat"}, {"scale": (), "concat_score_weight": ()}),
            n_inputs=2,
        ),
        *of("Attention", ROWS, ({"score_mode": "concat"}, {"concat_score_weight": ()}), n_inputs=2),
        *plain("Attention", {"use_scale": False, "dropout": 0.5}, shape=ROWS, n_inputs=3),
        *plain("Attention", *PAIRS, shape=ROWS, n_inputs=2, keras=False),
    ],
    "AdditiveAttention": [
        *of("AdditiveAttention", ROWS, ({"use_scale": True}, {"scale": (4,)}), n_inputs=2),
        *plain("AdditiveAttention", {"use_scale": False}, shape=ROWS, n_inputs=3),
        *plain(
            *("AdditiveAttention", *({**pair, "use_scale": False} for pair in PAIRS)),
            shape=ROWS, n_inputs=2, keras=False,
        ),
    ],
    "MultiHeadAttention": [
        *of("MultiHeadAttention", ROWS, (_HEADS, heads(2, 2, 3, 3, 4)), n_inputs=3),
        *of(
            "MultiHeadAttention", ROWS,
            ({**_HEADS, "use_bias": True, "value_dim": 2, "output_shape": [3]}, heads(2, 2, 3, 2, 3)),
            ({**_HEADS, "num_heads": 1, "key_dim": 2, "use_bias": False}, heads(1, 1, 2, 2, 4, bias=False)),
            ({**_HEADS, "value_dim": 5, "attention_axes": [1], "sliding_window": 2}, heads(2, 2, 3, 5, 4)),
            n_inputs=2,
        ),
        *of("MultiHeadAttention", ROWS, ({**_HEADS, "output_shape": 2}, heads(2, 2, 3, 3, 2)), n_inputs=2, keras=False),
        *of(
            "MultiHeadAttention", ROWS, *(({**_HEADS, **pair}, heads(2, 2, 3, 3, 4)) for pair in PAIRS),
            n_inputs=2, keras=False,
        ),
    ],
    "GroupedQueryAttention": [
        *of("GroupedQueryAttention", ROWS, (_GROUPS, heads(4, 2, 3, 3, 4)), n_inputs=3),
        *of(
            "GroupedQueryAttention", ROWS,
            ({**_GROUPS, "head_dim": 2, "use_bias": True, "sliding_window": 3}, heads(4, 2, 2, 2, 4)),
            ({**_GROUPS, "num_query_heads": 2, "use_bias": False}, heads(2, 2, 3, 3, 4, bias=False)),
            ({**_GROUPS, "num_key_value_heads": 1}, heads(4, 1, 3, 3, 4)),
            n_inputs=2,
        ),
        *of(
            "GroupedQueryAttention", ROWS, *(({**_GROUPS, **pair}, heads(4, 2, 3, 3, 4)) for pair in PAIRS),
            n_inputs=2, keras=False,
        ),
    ],
    "Dot": [
        *plain("Dot", {"axes": [2, 2], "normalize": False}, {"axes": 1}, {"axes": -1}, shape=ROWS, n_inputs=2),
        *plain("Dot", {"axes": 1}, shape=(4,), n_inputs=2),
        *plain("Dot", {"axes": [3, 3]}, {"axes": 2}, shape=(2, 3, 4), n_inputs=2),
    ],
    "Permute": [
        *plain("Permute", {"dims": [1, 3, 2]}, shape=(None, 3, 4)),
        *plain("Permute", {"dims": [2, 1]}, shape=(4, 3)),
    ],
    "Rescaling": plain("Rescaling", {"scale": 2.5, "offset": 0.25}) + plain("Rescaling", {"scale": 0.5}, keras=False),
    "BatchNormalization": batch_norms("BatchNormalization"),
    "BatchNormalizationV1": batch_norms("BatchNormalizationV1", keras=False),
    "LayerNormalization": [
        *of("LayerNormalization", FRAMES, ({"axis": -1, "epsilon": 0.001}, vectors("gamma", "beta"))),
        *of("LayerNormalization", FRAMES, ({"axis": 2, "epsilon": 0.1, "center": False}, vectors("gamma"))),
        *of("LayerNormalization", FRAMES, ({"axis": [2], "epsilon": 1, "scale": False}, vectors("beta")), keras=False),
    ],
    "Normalization": [
        *of("Normalization", FRAMES, ({"axis": [-1]}, {**vectors("mean", "variance"), "count": ()})),
        *of("Normalization", FRAMES, ({"axis": -1}, vectors("mean", "variance")), keras=False),
        *plain("Normalization", {"axis": [2], "mean": [0.5, 1.0, -1.0, 2.0], "variance": [0.5, 1.0, 4.0, 2.0]}),
    ],
    "Activation": plain(
        "Activation",
        *({"activation": name} for name in ("relu", "hard_sigmoid", "log_softmax", "celu", "gelu", "mish")),
        *({"activation": name} for name in ("hard_silu", "log_sigmoid", "tanh_shrink")),
    ),
    "ReLU": plain(
        *("ReLU", {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}),
        *({"max_value": 0.5}, {"negative_slope": 0.25}, {"threshold": 0.5}),
    ),
    "LeakyReLU": [
        *plain("LeakyReLU", {"negative_slope": 0.125}, {"negative_slope": 0.5}, {}),
        *plain("LeakyReLU", {"alpha": 0.5}, keras=False),
    ],
    "ELU": plain("ELU", {"alpha": 1.0}, {"alpha": 0.5}),
    "ThresholdedReLU": plain("ThresholdedReLU", {"theta": 1.0}, {"theta": 0.5}, keras=False),
    "Softmax": [
        *plain("Softmax", {"axis": -1}, {"axis": 2}),
        *plain("Softmax", {"axis": 2}, {"axis": -2}, shape=(None, 3, 4)),
        *plain("Softmax", {"axis": 1}, shape=ROWS),
    ],
    "PReLU": [
        *of("PReLU", FRAMES, ({"shared_axes": [1]}, {"alpha": (1, 4)})),
        *of("PReLU", (None, 3, 4), ({"shared_axes": [1, 3]}, {"alpha": (1, 3, 1)})),
        *of("PReLU", (4,), ({"shared_axes": None}, {"alpha": (4,)})),
    ],
    **{cls: merge(cls) for cls in ("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average")},
    "Concatenate": merge("Concatenate", *of("Concatenate", (None, 3, 4), ({"axis": 2}, {}), n_inputs=2)),
    **{f"{k}Conv{n}D": convolutions(f"{k}Conv{n}D", n) for k in ("", "Depthwise", "Separable") for n in (1, 2)},
    **{f"Conv{n}DTranspose": up(f"Conv{n}DTranspose", n) for n in (1, 2)},
    **{f"{kind}Pooling{n}D": pools(f"{kind}Pooling{n}D", n) for kind in ("Max", "Average") for n in (1, 2)},
    **{f"Global{k}Pooling{n}D": over_all(f"Global{k}Pooling{n}D", n) for k in ("Max", "Average") for n in (1, 2)},
    "ZeroPadding1D": plain("ZeroPadding1D", {"padding": 1}, {"padding": [2, 1]}, shape=(5, 4)),
    "ZeroPadding2D": plain("ZeroPadding2D", {"padding": [[0, 0], [2, 1]]}, {"padding": [0, 1]}, shape=GRID),
    "Cropping1D": plain("Cropping1D", {"cropping": [1, 0]}, {"cropping": [2, 0]}),
    "Cropping2D": plain("Cropping2D", {"cropping": [[1, 0], [2, 1]]}, {"cropping": [0, 1]}, shape=GRID),
    "UpSampling1D": plain("UpSampling1D", {"size": 2}, {"size": 3}),
    "UpSampling2D": plain("UpSampling2D", {"size": 2}, {"size": [1, 3]}, shape=GRID),
    "Dropout": plain("Dropout", {"rate": 0.5}),
    "SpatialDropout1D": plain("SpatialDropout1D", {"rate": 0.5}),
    "SpatialDropout2D": plain("SpatialDropout2D", {"rate": 0.5}, shape=GRID, keras=False),
    "SpatialDropout3D": plain("SpatialDropout3D", {"rate": 0.5}, shape=(None, 2, 3, 4)),
    "AlphaDropout": plain("AlphaDropout", {"rate": 0.5}),
    "GaussianDropout": plain("GaussianDropout", {"rate": 0.5}),
    "GaussianNoise": plain("GaussianNoise", {"stddev": 0.5}),
    "ActivityRegularization": plain("ActivityRegularization", {"l1": 0.5}),
    "Identity": plain("Identity", {}),
    "Masking": plain("Masking", {"mask_value": -9.0}),
}  # fmt: skip
