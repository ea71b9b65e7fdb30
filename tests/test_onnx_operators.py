# SPDX-License-Identifier: MIT
"""Random graphs of ONNX operators against ONNX Runtime, integers to the bit, and what the handlers refuse."""

from __future__ import annotations

import numpy as np
import pytest

import undertow
from onnx_files import FLOAT, TensorProto, helper, model_of, onnx, session_of
from onnx_files import peer as outputs_of
from undertow import onnx_backend as backend
from undertow.errors import FormatError, UnsupportedError
from undertow.importers.onnx import load

#: a peer that computes in float32 in another order; relative to the largest number
CLOSE = 1e-5


def make(nodes, inputs, weights=None, dtypes=None, opset=18, output="y", kind=FLOAT):
    inputs = {name: (shape, (dtypes or {}).get(name, FLOAT)) for name, shape in inputs.items()}
    return model_of(nodes, inputs, {output: (None, kind)}, weights, opset)


def peer(model, arrays):
    """ONNX Runtime without its optimisations, some of which change numbers."""
    return next(iter(outputs_of(model, arrays, optimise=False).values()))


def compare(model, arrays, exact=False):
    expected = peer(model, arrays)
    (made,) = backend.prepare(model).run(arrays)
    assert made.shape == expected.shape and made.dtype == expected.dtype
    if exact:
        np.testing.assert_array_equal(made, expected)
    else:
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(made, expected, atol=CLOSE * scale, rtol=CLOSE)


# -- random graphs ---------------------------------------------------------------------------------------------------


class Maker:
    """Grows a graph of one input node by node; every value is a tensor of known shape with numbers of moderate size."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights = [], {}
        shape = [(1, 4, 9), (1, 3, 5, 6), (2, 3), (1, 2, 3, 3, 4)][seed % 4]
        self.shapes = {"x": shape}
        self.input_shape = shape

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def weight(self, *shape, low=None):
        name = f"w{len(self.weights)}"
        array = self.rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))
        self.weights[name] = (np.abs(array) + low if low is not None else array).astype(np.float32)
        return name

    def ints(self, values):
        name = f"w{len(self.weights)}"
        self.weights[name] = np.array(values, np.int64)
        return name

    def add(self, op, inputs, **attrs):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attrs))
        single = onnx.shape_inference.infer_shapes(self.model(name), data_prop=True)
        dims = single.graph.output[0].type.tensor_type.shape.dim
        self.shapes[name] = tuple(d.dim_value for d in dims)
        return name

    def model(self, output):
        return make(self.nodes, {"x": self.input_shape}, self.weights, output=output)

    def grow(self):
        x = self.pick([*self.shapes][-3:])
        shape = self.shapes[x]
        steps = [self.elementwise, self.reduce, self.move, self.compare]
        if len(shape) >= 3:
            steps += [self.convolve, self.convolve, self.transposed, self.pool, self.norm, self.pad]
        if len(shape) >= 2:
            steps += [self.product, self.softmax]
        return self.pick(steps)(x, shape)

    def elementwise(self, x, shape):
        kind = int(self.rng.integers(9))
        if kind == 0:
            return self.add(self.pick(["Relu", "Tanh", "Sigmoid", "Erf", "Abs", "Sign", "Neg", "Sin", "Cos"]), [x])
        if kind == 1:
            return self.add("Sqrt", [self.add("Abs", [x])])
        if kind == 2:
            return self.add("Log", [self.add("Add", [self.add("Mul", [x, x]), self.weight(1, low=0.5)])])
        if kind == 3:
            return self.add("PRelu", [x, self.weight(*[1] * (len(shape) - 1), shape[-1])])
        if kind == 4:
            return self.add("Div", [x, self.weight(*shape[-1:], low=0.7)])
        if kind == 5:
            exponent = self.pick([2.0, 3.0, 0.5, -1.0, 0.3])
            self.weights[name := f"w{len(self.weights)}"] = np.float32(exponent)
            base = self.add("Add", [self.add("Abs", [x]), self.weight(1, low=0.5)])
            return self.add("Pow", [base, name])
        if kind == 6:
            other = self.pick([n for n, s in self.shapes.items() if s == shape])
            return self.add(self.pick(["Add", "Sub", "Mul", "Max", "Min"]), [x, other])
        if kind == 7:
            return self.add("Sub", [self.weight(*shape[-1:]), x])
        return self.add("Clip", [x, *(self.scalar(v) for v in (-0.5, 0.8))])

    def scalar(self, value):
        name = f"w{len(self.weights)}"
        self.weights[name] = np.float32(value)
        return name

    def reduce(self, x, shape):
        axes = sorted(set(self.rng.integers(0, len(shape), 2).tolist()) - ({0} if len(shape) > 2 else set())) or [1]
        op = self.pick(["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSumExp"])
        return self.add(op, [x, self.ints(axes)], keepdims=1)

    def move(self, x, shape):
        kind = int(self.rng.integers(4))
        if kind == 0:
            return self.add("Transpose", [x], perm=[0, *(1 + self.rng.permutation(len(shape) - 1)).tolist()])
        if kind == 1:
            axis = int(self.rng.integers(len(shape)))
            return self.add("Concat", [x, x], axis=axis) if np.prod(shape) < 300 else self.add("Identity", [x])
        if kind == 2:
            axis = len(shape) - 1
            return self.add("Slice", [x, self.ints([max(0, shape[axis] - 3)]), self.ints([99]), self.ints([axis])])
        order = self.rng.permutation(shape[-1])
        return self.add("Gather", [x, self.ints(order.tolist())], axis=-1)

    def compare(self, x, shape):
        condition = self.add(self.pick(["Less", "Greater", "GreaterOrEqual"]), [x, self.scalar(0.1)])
        if self.rng.random() < 0.5:
            condition = self.add("Not", [condition])
        chosen = self.add("Where", [condition, x, self.weight(*shape[-1:])])
        del self.shapes[condition]
        self.shapes = {n: s for n, s in self.shapes.items() if not self.is_bool(n)}
        return chosen

    def is_bool(self, name):
        ops = {n.output[0]: n.op_type for n in self.nodes}
        return ops.get(name) in ("Less", "Greater", "GreaterOrEqual", "Not")

    def window(self, shape):
        n = len(shape) - 2
        kernel = [int(self.rng.integers(1, min(3, s) + 1)) for s in shape[2:]]
        settings = {"strides": self.rng.integers(1, 3, n).tolist(), "dilations": [1] * n}
        fits = [d for d in (1, 2) if all((k - 1) * d + 1 <= s for k, s in zip(kernel, shape[2:], strict=True))]
        settings["dilations"] = [int(self.pick(fits))] * n
        return kernel, settings

    def convolve(self, x, shape):
        kernel, settings = self.window(shape)
        pads = [int(self.rng.integers(0, k + 1)) for k in kernel * 2]
        groups = self.pick([1, shape[1], *([2] if shape[1] % 2 == 0 else [])])
        n_out = groups * int(self.rng.integers(1, 3))
        W = self.weight(n_out, shape[1] // groups, *kernel)
        return self.add("Conv", [x, W, self.weight(n_out)], group=groups, pads=pads, kernel_shape=kernel, **settings)

    def transposed(self, x, shape):
        if np.prod(shape) > 400:
            return self.add("Identity", [x])
        kernel, settings = self.window(shape)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, settings["dilations"], strict=True)]
        pads = [int(self.rng.integers(0, (r - 1) // 2 + 1)) for r in reach * 2]
        groups = self.pick([1, shape[1]])
        W = self.weight(shape[1], int(self.rng.integers(1, 3)), *kernel)
        extra = [int(self.rng.integers(0, s)) for s in settings["strides"]]
        return self.add("ConvTranspose", [x, W], group=groups, pads=pads, output_padding=extra, **settings)

    def pool(self, x, shape):
        kernel, settings = self.window(shape)
        pads = [int(self.rng.integers(0, (k + 1) // 2)) for k in kernel * 2]
        op = self.pick(["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"])
        if op.startswith("Global"):
            return self.add(op, [x])
        if op == "AveragePool":
            settings = {"strides": settings["strides"], "count_include_pad": int(self.rng.integers(2))}
        return self.add(op, [x], kernel_shape=kernel, pads=pads, **settings)

    def norm(self, x, shape):
        channels = shape[1]
        if self.rng.random() < 0.5:
            parts = [
                self.weight(channels, low=0.5),
                *(self.weight(channels) for _ in "bm"),
                self.weight(channels, low=0.5),
            ]
            return self.add("BatchNormalization", [x, *parts])
        # A small epsilon would magnify the rounding of rows that are nearly constant.
        weights = [self.weight(shape[-1], low=0.5), self.weight(shape[-1])]
        return self.add("LayerNormalization", [x, *weights], axis=-1, epsilon=0.1)

    def pad(self, x, shape):
        n = len(shape) - 2
        mode = self.pick(["constant", "reflect", "edge"])
        widths = [0, 0, *[1 if s > 1 else 0 for s in shape[2:]]]
        return self.add("Pad", [x, self.ints([*widths, 0, 0, *[0] * n])], mode=mode)

    def product(self, x, shape):
        if self.rng.random() < 0.3:
            order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            return self.add("MatMul", [x, self.add("Transpose", [x], perm=order)])
        return self.add("MatMul", [x, self.weight(shape[-1], int(self.rng.integers(1, 6)))])

    def softmax(self, x, shape):
        return self.add("Softmax", [x], axis=int(self.rng.integers(1, len(shape))))


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs(seed):
    maker = Maker(seed)
    for _ in range(6):
        last = maker.grow()
    model = maker.model(last)
    x = maker.rng.standard_normal(maker.input_shape).astype(np.float32)
    compare(model, {"x": x})


# -- integers and booleans -------------------------------------------------------------------------------------------


def quantised(rng, *shape, dtype=np.int8):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def seven_bits(rng, *shape):
    """int8 weights of which ONNX Runtime is sure: without VNNI it adds two products in 16 bits, which may saturate."""
    return quantised(rng, *shape) // 2


@pytest.mark.parametrize("zero", [0, 17])
@pytest.mark.parametrize("groups", [1, 3])
def test_qlinear_conv_to_the_bit(zero, groups):
    rng = np.random.default_rng(zero + groups)
    weights = {
        "xs": np.float32(0.02),
        "xz": np.uint8(zero),
        "W": seven_bits(rng, 6, 6 // groups, 3, 2),
        "ws": rng.uniform(0.01, 0.05, 6).astype(np.float32),
        "wz": np.zeros(6, np.int8),
        "ys": np.float32(0.11),
        "yz": np.uint8(101),
        "b": rng.integers(-4000, 4000, 6).astype(np.int32),
    }
    node = helper.make_node(
        "QLinearConv", ["x", *weights], ["y"], group=groups, pads=[1, 0, 0, 1], strides=[2, 1], kernel_shape=[3, 2]
    )
    dtypes = {"x": TensorProto.UINT8}
    model = make([node], {"x": [1, 6, 7, 5]}, weights, dtypes, kind=TensorProto.UINT8)
    compare(model, {"x": quantised(rng, 1, 6, 7, 5, dtype=np.uint8)}, exact=True)


def test_quantise_and_back_to_the_bit():
    rng = np.random.default_rng(5)
    weights = {
        "s": rng.uniform(0.01, 0.2, 4).astype(np.float32),
        "z": quantised(rng, 4),
        "zero": np.int8(-3),
        "one": np.float32(0.07),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["f"], axis=1),
        helper.make_node("QuantizeLinear", ["f", "one", "zero"], ["y"]),
    ]
    x = (rng.standard_normal((3, 4, 5)) * 6).astype(np.float32)
    compare(make(nodes, {"x": [3, 4, 5]}, weights, kind=TensorProto.INT8), {"x": x}, exact=True)
    halves = np.float32(0.07) * (np.arange(60, dtype=np.float32).reshape(3, 4, 5) - 30.5)
    compare(make(nodes, {"x": [3, 4, 5]}, weights, kind=TensorProto.INT8), {"x": halves}, exact=True)


def test_dynamic_quantisation_as_pytorch_exports_it():
    rng = np.random.default_rng(6)
    weights = {"W": seven_bits(rng, 40, 8), "wz": np.int8(0), "ws": np.float32(0.013)}
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "W", "z", "wz"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "ws"], ["scale"]),
        helper.make_node("Mul", ["f", "scale"], ["y"]),
    ]
    model = make(nodes, {"x": [1, 40]}, weights)
    for factor in (1.0, 30.0, 0.0):
        compare(model, {"x": (factor * rng.standard_normal((1, 40))).astype(np.float32)})


def test_integers_beyond_what_float32_holds_are_refused():
    weights = {"W": np.full((600, 2), 127, np.int8), "z": np.uint8(0)}
    node = helper.make_node("MatMulInteger", ["x", "W", "z"], ["y"])
    model = make([node], {"x": [1, 600]}, weights, {"x": TensorProto.UINT8}, kind=TensorProto.INT32)
    with pytest.raises(UnsupportedError, match=r"MatMulInteger node .*can reach 19431000.*2\^24"):
        backend.prepare(model).run({"x": np.zeros((1, 600), np.uint8)})


def test_booleans_are_computed_and_cast():
    nodes = [
        helper.make_node("Greater", ["x", "a"], ["p"]),
        helper.make_node("Less", ["x", "b"], ["q"]),
        helper.make_node("Not", ["q"], ["n"]),
        helper.make_node("Xor", ["p", "n"], ["r"]),
        helper.make_node("Cast", ["r"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Where", ["r", "x", "f"], ["w"]),
        helper.make_node("Cast", ["w"], ["i"], to=TensorProto.INT32),
        helper.make_node("Cast", ["i"], ["t"], to=TensorProto.FLOAT),
        helper.make_node("Sum", ["t", "w", "f"], ["y"]),
    ]
    weights = {"a": np.float32(-0.5), "b": np.float32(1.5)}
    x = np.linspace(-4, 4, 24, dtype=np.float32).reshape(2, 12)
    compare(make(nodes, {"x": [2, 12]}, weights), {"x": x}, exact=True)


# -- in streams ------------------------------------------------------------------------------------------------------


def test_a_convolution_over_features_streams(tmp_path):
    """Time beside the other spatial axis, with a kernel of one timestep."""
    rng = np.random.default_rng(8)
    weights = {"W": rng.standard_normal((4, 2, 1, 5)).astype(np.float32), "shape": np.array([0, -1, 24])}
    nodes = [
        helper.make_node("Conv", ["x", "W"], ["c"], strides=[1, 2], pads=[0, 1, 0, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "shape"], ["y"]),
    ]
    model = make(nodes, {"x": [1, 2, "T", 13]}, weights)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    loaded = undertow.load(path)
    x = rng.standard_normal((1, 2, 9, 13)).astype(np.float32)
    made = loaded.stream().run(np.ascontiguousarray(x[0].swapaxes(0, 1)).reshape(9, *loaded.graph.shape("x")))
    np.testing.assert_allclose(made.reshape(9, 24), peer(model, {"x": x})[0], atol=CLOSE)


REFUSED = {
    "scattered sums": (
        [helper.make_node("ScatterND", ["x", "i", "u"], ["y"], reduction="add")],
        {"i": np.array([[1]]), "u": np.ones((1, 3), np.float32)},
        r"ScatterND node .*reduction='add'",
    ),
    "places of a maximum": (
        [helper.make_node("MaxPool", ["x4"], ["y", "where"], kernel_shape=[2, 2])],
        {},
        r"MaxPool node .*Indices",
    ),
    "two computed powers": ([helper.make_node("Pow", ["x", "x"], ["y"])], {}, r"Pow node .*one must be a constant"),
    "a kernel from data": (
        [helper.make_node("Conv", ["x4", "x4"], ["y"])],
        {},
        r"Conv node .*W is computed at run time",
    ),
    "int8 that wraps": (
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("Add", ["q", "q"], ["y"]),
        ],
        {"s": np.float32(1), "z": np.int8(0)},
        r"Add node .*holds int8",
    ),
    "a narrow integer from data": (
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT8)],
        {},
        r"Cast node .*to=INT8.*wrap around",
    ),
    "padding with infinity": (
        [helper.make_node("Pad", ["x", "p", "v"], ["y"])],
        {"p": np.array([0, 0, 0, 1]), "v": np.float32(np.inf)},
        r"Pad node .*inf",
    ),
    "a mode of padding": (
        [helper.make_node("Pad", ["x", "p"], ["y"], mode="mirror")],
        {"p": np.array([0, 0, 0, 1])},
        r"Pad node .*mode='mirror'",
    ),
    "an equation of three": (
        [helper.make_node("Einsum", ["x", "x", "x"], ["y"], equation="ab,ab,ab->a")],
        {},
        r"Einsum node .*equation='ab,ab,ab->a'",
    ),
}


@pytest.mark.parametrize("name", [*REFUSED])
def test_refused_by_name(name):
    nodes, weights, message = REFUSED[name]
    wide = any("x4" in n.input for n in nodes)
    shape = [1, 1, 4, 4] if wide else [2, 3]
    model = make(nodes, {"x4" if wide else "x": shape}, weights)
    with pytest.raises(UnsupportedError, match=message):
        backend.prepare(model).run([np.ones(shape, np.float32)])


@pytest.mark.parametrize("equation", ["a!b", "a.b", "a-b", "ab>a", "ab->a->b", "a....b", "\xe4b"])
def test_what_is_no_equation(equation):
    """From some of these onnx's shape inference does not come back."""
    model = make([helper.make_node("Einsum", ["x"], ["y"], equation=equation)], {"x": [2, 3]}, {})
    with pytest.raises(FormatError, match=r"Einsum node .*equation=.* is not letters for each operand"):
        backend.prepare(model).run([np.ones((2, 3), np.float32)])


def test_windows_along_time_are_computed(tmp_path):
    """Never taken for an axis of the frame: with another number of timesteps the Graph would be another one."""
    W = np.ones((2, 3, 2, 1), np.float32)
    node = helper.make_node("GlobalAveragePool", ["c"], ["y"])
    conv = helper.make_node("Conv", ["x", "W"], ["c"])
    onnx.save(make([conv, node], {"x": [1, 3, "T", 5]}, {"W": W}), tmp_path / "pooled.onnx")
    model = undertow.Model.from_graph(load(tmp_path / "pooled.onnx"))
    for n in (2, 3, 12):
        x = np.random.default_rng(n).normal(size=(1, 3, n, 5)).astype(np.float32)
        expected = session_of(tmp_path / "pooled.onnx").run(None, {"x": x})[0]
        np.testing.assert_allclose(model.run(np.moveaxis(x[0], 1, 0).copy())[-1].ravel(), expected.ravel(), atol=1e-5)
