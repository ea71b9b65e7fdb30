# SPDX-License-Identifier: MIT
"""What layers of Keras compute, as formulas in float64 over whole tensors (batch, time, ...), to be judged by Keras.

Shares no code with the package. `compute` takes a layer as a file describes it, its arrays in Keras's order, and what
the layer takes; tests/test_keras_traits.py holds it to Keras, and the importer to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from math import erf
from typing import Any

import numpy as np

Array = np.ndarray
Take = Iterator[np.ndarray]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


#: as Keras 3 has them
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "exponential": np.exp,
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "celu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "gelu": lambda x: x * (0.5 + 0.5 * np.vectorize(erf)(x / 2**0.5)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "log_sigmoid": lambda x: -np.log1p(np.exp(-x)),
    "tanh_shrink": lambda x: x - np.tanh(x),
    "softmax": softmax,
    "log_softmax": lambda x: np.log(softmax(x)),
}


def activate(config: dict[str, Any], x: Array, key: str = "activation") -> Array:
    value = config.get(key, "linear")
    if isinstance(value, dict) and value["class_name"] != "function":
        return compute(value["class_name"], value["config"], iter(()), x)
    return ACTIVATIONS[value["config"] if isinstance(value, dict) else value](x)


def several(value: Any, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


# -- windows ----------------------------------------------------------------------------------------------------------


def pads(padding: str, n: int, k: int, s: int = 1, d: int = 1) -> tuple[int, int]:
    reach = (k - 1) * d + 1
    if padding == "causal":
        return reach - 1, 0
    total = max((-(-n // s) - 1) * s + reach - n, 0) if padding == "same" else 0
    return total // 2, total - total // 2


def windows(
    x: Array, kernel: tuple[int, ...], steps: tuple[int, ...], dilations: tuple[int, ...], padding: str, fill: float = 0
) -> dict[tuple[int, ...], Array]:
    """Place in the window -> what lies there, for every position of it."""
    sides = [pads(padding, *sizes) for sizes in zip(x.shape[1:-1], kernel, steps, dilations, strict=True)]
    x = np.pad(x, [(0, 0), *sides, (0, 0)], constant_values=fill)
    found = {}
    for place in product(*map(range, kernel)):
        cuts = []
        for n, k, s, d, at in zip(x.shape[1:-1], kernel, steps, dilations, place, strict=True):
            n_out = (n - (k - 1) * d - 1) // s + 1
            cuts.append(slice(at * d, at * d + (n_out - 1) * s + 1, s))
        found[place] = x[(slice(None), *cuts)]
    return found


def convolve(config: dict[str, Any], x: Array, W: Array, groups: int = 1) -> Array:
    """W is (*window, channels / groups, outputs)."""
    rank = x.ndim - 2
    steps, dilations = (several(config.get(key, 1), rank) for key in ("strides", "dilation_rate"))
    total: Any = 0
    for place, part in windows(x, W.shape[:rank], steps, dilations, config.get("padding", "valid")).items():
        pieces = zip(np.split(part, groups, -1), np.split(W[place], groups, -1), strict=True)
        total = total + np.concatenate([a @ b for a, b in pieces], -1)
    return total


def with_bias(config: dict[str, Any], y: Array, take: Take) -> Array:
    return activate(config, y + next(take) if config.get("use_bias", True) else y)


def conv(config: dict[str, Any], take: Take, x: Array) -> Array:
    return with_bias(config, convolve(config, x, next(take), config.get("groups", 1)), take)


def depthwise(config: dict[str, Any], take: Take, x: Array) -> Array:
    W = next(take)
    return with_bias(config, convolve(config, x, W.reshape(*W.shape[:-2], 1, -1), x.shape[-1]), take)


def separable(config: dict[str, Any], take: Take, x: Array) -> Array:
    W, P = next(take), next(take)
    y = convolve(config, x, W.reshape(*W.shape[:-2], 1, -1), x.shape[-1])
    return with_bias(config, convolve({}, y, P), take)


def transposed(config: dict[str, Any], take: Take, x: Array) -> Array:
    W = next(take)
    rank = x.ndim - 2
    steps, kernel = several(config.get("strides", 1), rank), W.shape[:rank]
    sizes = [n * s + max(k - s, 0) for n, k, s in zip(x.shape[1:-1], kernel, steps, strict=True)]
    y = np.zeros((len(x), *sizes, W.shape[-2]))
    for place in product(*map(range, kernel)):
        cuts = [slice(at, at + (n - 1) * s + 1, s) for at, n, s in zip(place, x.shape[1:-1], steps, strict=True)]
        y[(slice(None), *cuts)] += x @ W[place].T
    if config.get("padding") == "same":
        starts = [max(k - s, 0) // 2 for k, s in zip(kernel, steps, strict=True)]
        cuts = [slice(a, a + n * s) for a, n, s in zip(starts, x.shape[1:-1], steps, strict=True)]
        y = y[(slice(None), *cuts)]
    return with_bias(config, y, take)


def pool(config: dict[str, Any], x: Array, largest: bool) -> Array:
    rank = x.ndim - 2
    size = several(config.get("pool_size", 2), rank)
    given = config.get("strides")
    steps = size if given is None else several(given, rank)
    where = size, steps, (1,) * rank, config.get("padding", "valid")
    if largest:
        return np.maximum.reduce(list(windows(x, *where, fill=-np.inf).values()))
    inside = sum(windows(np.ones_like(x), *where).values())
    return sum(windows(x, *where).values()) / inside


def over_places(config: dict[str, Any], x: Array, reduce: Callable[..., Array]) -> Array:
    return reduce(x, axis=tuple(range(1, x.ndim - 1)), keepdims=config.get("keepdims", False))


def sides(config: dict[str, Any], key: str, rank: int) -> list[tuple[int, int]]:
    got = config[key]
    if isinstance(got, int):
        return [(got, got)] * rank
    if rank == 1:
        return [(got[0], got[1])]
    return [(n, n) if isinstance(n, int) else (n[0], n[1]) for n in got]


def zero_padding(config: dict[str, Any], take: Take, x: Array) -> Array:
    return np.pad(x, [(0, 0), *sides(config, "padding", x.ndim - 2), (0, 0)])


def cropping(config: dict[str, Any], take: Take, x: Array) -> Array:
    cuts = [slice(a, n - b) for (a, b), n in zip(sides(config, "cropping", x.ndim - 2), x.shape[1:-1], strict=True)]
    return x[(slice(None), *cuts)]


def up_sampling(config: dict[str, Any], take: Take, x: Array) -> Array:
    for axis, n in enumerate(several(config.get("size", 2), x.ndim - 2)):
        x = np.repeat(x, n, axis + 1)
    return x


# -- recurrences ------------------------------------------------------------------------------------------------------


def step(cls: str, config: dict[str, Any], arrays: list[Array], x: Array, state: list[Array]) -> list[Array]:
    """The next state of a cell, its output first."""
    K, R, *b = arrays
    h, units = state[0], R.shape[0]
    bias = b[0] if b else np.zeros((2, K.shape[1]) if config.get("reset_after") else K.shape[1])
    if "LSTM" in cls:
        i, f, g, o = np.split(x @ K + h @ R + bias, 4, -1)
        i, f, o = (activate(config, gate, "recurrent_activation") for gate in (i, f, o))
        c = f * state[1] + i * activate(config, g)
        return [o * activate(config, c), c]
    if "GRU" in cls:
        outer, inner = bias if config.get("reset_after") else (bias, np.zeros_like(bias))
        x_gates, h_gates = np.split(x @ K + outer, 3, -1), np.split(h @ R + inner, 3, -1)
        z, r = (activate(config, a + b, "recurrent_activation") for a, b in zip(x_gates[:2], h_gates, strict=False))
        hidden = r * h_gates[2] if config.get("reset_after") else (r * h) @ R[:, 2 * units :]
        return [z * h + (1 - z) * activate(config, x_gates[2] + hidden)]
    return [activate(config, x @ K + h @ R + bias)]


def loop(cls: str, config: dict[str, Any], take: Take, x: Array) -> Array | list[Array]:
    cells = [(cls, config)]
    if cls == "RNN":
        cell = config["cell"]
        inner = cell["config"]["cells"] if cell["class_name"] == "StackedRNNCells" else [cell]
        cells = [(c["class_name"], c["config"]) for c in inner]
    arrays = [[next(take) for _ in range(2 + c.get("use_bias", True))] for _, c in cells]
    states = [[np.zeros((len(x), c["units"])) for _ in range(2 if "LSTM" in name else 1)] for name, c in cells]
    outputs = []
    for t in range(x.shape[1])[:: -1 if config.get("go_backwards") else 1]:
        value = x[:, t]
        for i, (name, c) in enumerate(cells):
            states[i] = step(name, c, arrays[i], value, states[i])
            value = states[i][0]
        outputs.append(value)
    first = np.stack(outputs, 1) if config.get("return_sequences") else outputs[-1]
    return [first, *(s for state in states for s in state)] if config.get("return_state") else first


def conv_loop(config: dict[str, Any], take: Take, x: Array) -> Array | list[Array]:
    K, R = next(take), next(take)
    b = next(take) if config.get("use_bias", True) else 0
    outputs: list[Array] = []
    for t in range(x.shape[1])[:: -1 if config.get("go_backwards") else 1]:
        gates = convolve(config, x[:, t], K) + b
        if not outputs:
            h = c = np.zeros((*gates.shape[:-1], R.shape[-2]))
        i, f, g, o = np.split(gates + convolve({"padding": "same"}, h, R), 4, -1)
        i, f, o = (activate(config, gate, "recurrent_activation") for gate in (i, f, o))
        c = f * c + i * activate(config, g)
        h = o * activate(config, c)
        outputs.append(h)
    first = np.stack(outputs, 1) if config.get("return_sequences") else h
    return [first, h, c] if config.get("return_state") else first


def plain(cls: str, config: dict[str, Any], take: Take, x: Array) -> Array | list[Array]:
    """A layer of cuDNN as the one whose arrays lie in its place."""
    K, R, b = (np.asarray(a) for a in (next(take), next(take), next(take)))
    n = {"CuDNNLSTM": 4, "CuDNNGRU": 3}[cls]
    kernel = np.hstack([k.reshape(k.shape[::-1]).T for k in np.hsplit(K, n)])
    recurrent = np.hstack([r.T for r in np.hsplit(R, n)])
    halves = b.reshape(2, -1)
    gates = {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": n == 3}
    bias = halves if n == 3 else halves.sum(0)
    return loop(cls.removeprefix("CuDNN"), {**config, **gates}, iter((kernel, recurrent, bias)), x)


def bidirectional(config: dict[str, Any], take: Take, x: Array) -> Array | list[Array]:
    ahead = config["layer"]
    turned = {**ahead["config"], "go_backwards": not ahead["config"].get("go_backwards", False)}
    back = config.get("backward_layer") or {**ahead, "config": turned}
    found = [compute(part["class_name"], part["config"], take, x) for part in (ahead, back)]
    (a, *more), (b, *behind) = (y if isinstance(y, list) else [y] for y in found)
    if ahead["config"].get("return_sequences"):
        b = b[:, ::-1]
    merged = {
        "concat": lambda: [np.concatenate([a, b], -1)],
        "sum": lambda: [a + b],
        "mul": lambda: [a * b],
        "ave": lambda: [(a + b) / 2],
        None: lambda: [a, b],
    }[config.get("merge_mode", "concat")]()
    outputs = [*merged, *more, *behind]
    return outputs if len(outputs) > 1 else outputs[0]


# -- the rest ---------------------------------------------------------------------------------------------------------


def dense(config: dict[str, Any], take: Take, x: Array) -> Array:
    return with_bias(config, x @ next(take), take)


def batch_norm(config: dict[str, Any], take: Take, x: Array) -> Array:
    gamma = next(take) if config.get("scale", True) else 1
    beta = next(take) if config.get("center", True) else 0
    mean, variance = next(take), next(take)
    return (x - mean) / np.sqrt(variance + config["epsilon"]) * gamma + beta


def layer_norm(config: dict[str, Any], take: Take, x: Array) -> Array:
    gamma = next(take) if config.get("scale", True) else 1
    beta = next(take) if config.get("center", True) else 0
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(x.var(-1, keepdims=True) + config["epsilon"]) * gamma + beta


def normalization(config: dict[str, Any], take: Take, x: Array) -> Array:
    given = config.get("mean") is not None
    mean, variance = (config["mean"], config["variance"]) if given else (next(take), next(take))
    return (x - np.asarray(mean)) / np.maximum(np.sqrt(np.asarray(variance)), 1e-7)


def relu(config: dict[str, Any], take: Take, x: Array) -> Array:
    top, slope, threshold = config.get("max_value"), config.get("negative_slope", 0), config.get("threshold", 0)
    y = np.where(x > threshold, x, slope * (x - threshold))
    return y if top is None else np.minimum(y, top)


def elu(config: dict[str, Any], take: Take, x: Array) -> Array:
    return np.where(x > 0, x, config.get("alpha", 1.0) * np.expm1(np.minimum(x, 0)))


def leaky_relu(config: dict[str, Any], take: Take, x: Array) -> Array:
    return np.where(x > 0, x, config.get("negative_slope", config.get("alpha", 0.3)) * x)


def prelu(config: dict[str, Any], take: Take, x: Array) -> Array:
    return np.where(x > 0, x, next(take) * x)


def attention(config: dict[str, Any], take: Take, query: Array, value: Array, key: Array | None = None) -> Any:
    key = value if key is None else key
    scale = next(take) if config.get("use_scale") else 1
    if config.get("score_mode", "dot") == "dot":
        return shared(config, scale * (query @ key.swapaxes(1, 2)), value)
    pairs = np.tanh(scale * (query[:, :, None] + key[:, None]))
    return shared(config, next(take) * pairs.sum(-1), value)


def additive(config: dict[str, Any], take: Take, query: Array, value: Array, key: Array | None = None) -> Any:
    pairs = np.tanh(query[:, :, None] + (value if key is None else key)[:, None])
    return shared(config, (pairs * (next(take) if config.get("use_scale", True) else 1)).sum(-1), value)


def shared(config: dict[str, Any], scores: Array, value: Array) -> Any:
    """The last two axes: queries and keys."""
    i, j = np.indices(scores.shape[-2:])
    hidden = (j > i) & config.get("use_causal_mask", False)
    if config.get("sliding_window"):
        hidden |= abs(i - j) >= config["sliding_window"]
    shares = softmax(np.where(hidden, -np.inf, scores))
    return [shares @ value, shares] if config.get("return_attention_scores") else shares @ value


def multi_head(config: dict[str, Any], take: Take, query: Array, value: Array, key: Array | None = None) -> Any:
    kinds = ("num_query_heads", "head_dim") if "num_query_heads" in config else ("num_heads", "key_dim")
    heads, width = (config[kind] for kind in kinds)
    projected = []
    for x in (query, value if key is None else key, value):
        W = next(take)
        y = np.einsum("btd,dhk->bhtk", x, W) + (next(take)[:, None] if config.get("use_bias", True) else 0)
        projected.append(y.repeat(heads // y.shape[1], axis=1))
    q, k, v = projected
    mixed = shared(config, q @ k.swapaxes(2, 3) / np.sqrt(width), v)
    y, *scores = mixed if isinstance(mixed, list) else [mixed]
    y = np.einsum("bhtv,hvo->bto", y, next(take)) + (next(take) if config.get("use_bias", True) else 0)
    return [y, *scores] if scores else y


def dot(config: dict[str, Any], take: Take, x: Array, y: Array) -> Array:
    a, b = config["axes"] if isinstance(config["axes"], list) else [config["axes"]] * 2
    found = np.stack([np.tensordot(m, n, (a - (a > 0), b - (b > 0))) for m, n in zip(x, y, strict=True)])
    return found.reshape(len(x), -1) if found.ndim == 1 else found


def get_item(config: dict[str, Any], take: Take, x: Array) -> Array:
    found: list[Any] = []
    for item in config["item" if "item" in config else "slice_spec"]:
        if isinstance(item, dict):
            ends = item.get("config") or item
            item = slice(ends["start"], ends["stop"], ends["step"]) if "start" in ends else ...
        found.append(item)
    return x[tuple(found)]


def permute(config: dict[str, Any], take: Take, x: Array) -> Array:
    return x.transpose(0, *config["dims"])


def time_distributed(config: dict[str, Any], take: Take, x: Array) -> Array:
    inner = config["layer"]
    y = compute(inner["class_name"], inner["config"], take, x.reshape(-1, *x.shape[2:]))
    return y.reshape(*x.shape[:2], *y.shape[1:])


def sequential(config: dict[str, Any], take: Take, x: Array) -> Array:
    for table in config["layers"]:
        x = compute(table["class_name"], table["config"], take, x)
    return x


def merged(op: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    def merge(config: dict[str, Any], take: Take, first: Array, *more: Array) -> Array:
        for x in more:
            first = op(first, x)
        return first

    return merge


#: layers that do something in training alone
UNCHANGED = [
    *("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity"),
    *("InputLayer", "Masking", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
]
#: class -> its formula
FORMULAS: dict[str, Callable[..., Any]] = {
    **{f"{kind}{rank}D": f for kind, f in (("Conv", conv), ("DepthwiseConv", depthwise), ("SeparableConv", separable),
       ("ZeroPadding", zero_padding), ("Cropping", cropping), ("UpSampling", up_sampling)) for rank in (1, 2)},
    **{f"Conv{rank}DTranspose": transposed for rank in (1, 2)},
    **{f"MaxPooling{rank}D": lambda c, take, x: pool(c, x, True) for rank in (1, 2)},
    **{f"AveragePooling{rank}D": lambda c, take, x: pool(c, x, False) for rank in (1, 2)},
    **{f"GlobalMaxPooling{rank}D": lambda c, take, x: over_places(c, x, np.max) for rank in (1, 2)},
    **{f"GlobalAveragePooling{rank}D": lambda c, take, x: over_places(c, x, np.mean) for rank in (1, 2)},
    **{cls: lambda c, take, x, cls=cls: loop(cls, c, take, x) for cls in ("LSTM", "GRU", "SimpleRNN", "RNN")},
    **{cls: lambda c, take, x, cls=cls: plain(cls, c, take, x) for cls in ("CuDNNLSTM", "CuDNNGRU")},
    **dict.fromkeys(("ConvLSTM1D", "ConvLSTM2D"), conv_loop),
    "Bidirectional": bidirectional,
    "TimeDistributed": time_distributed,
    **dict.fromkeys(("Sequential", "Functional", "Model"), sequential),
    **dict.fromkeys(UNCHANGED, lambda config, take, x: x),
    "Dense": dense,
    "Embedding": lambda config, take, x: next(take)[x.astype(int)],
    "Flatten": lambda config, take, x: x.reshape(len(x), -1),
    "Reshape": lambda config, take, x: x.reshape(len(x), *config["target_shape"]),
    **dict.fromkeys(("GetItem", "SlicingOpLambda"), get_item),
    "RepeatVector": lambda config, take, x: np.repeat(x[:, None], config["n"], axis=1),
    "Attention": attention,
    "AdditiveAttention": additive,
    **dict.fromkeys(("MultiHeadAttention", "GroupedQueryAttention"), multi_head),
    "Dot": dot,
    "Permute": permute,
    "Rescaling": lambda config, take, x: x * config["scale"] + config.get("offset", 0),
    **dict.fromkeys(("BatchNormalization", "BatchNormalizationV1"), batch_norm),
    "LayerNormalization": layer_norm,
    "Normalization": normalization,
    "Activation": lambda config, take, x: activate(config, x),
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "ELU": elu,
    "ThresholdedReLU": lambda config, take, x: np.where(x > config.get("theta", 1.0), x, 0),
    "Softmax": lambda config, take, x: softmax(x, config.get("axis", -1)),
    "PReLU": prelu,
    "Add": merged(np.add),
    "Subtract": merged(np.subtract),
    "Multiply": merged(np.multiply),
    "Maximum": merged(np.maximum),
    "Minimum": merged(np.minimum),
    "Average": lambda config, take, *inputs: sum(inputs) / len(inputs),
    "Concatenate": lambda config, take, *inputs: np.concatenate(inputs, config.get("axis", -1)),
}  # fmt: skip


def compute(cls: str, config: dict[str, Any], take: Take, *inputs: Array) -> Any:
    """What a layer gives: (batch, ...), or a list where it has several outputs.

    Args:
        take: the layer's arrays in Keras's order, of which the layers in it take theirs.
    """
    return FORMULAS[cls](config, take, *inputs)
