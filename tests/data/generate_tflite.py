# SPDX-License-Identifier: MIT
"""Makes tests/data/tflite.npz: small TensorFlow Lite files, with what the interpreter computes for them.

    KERAS_BACKEND=tensorflow python tests/data/generate_tflite.py

Seed 20261129. Made with tensorflow 2.21.0, keras 3.15.1, tf_keras 2.21.0, ai_edge_litert 2.3.0, NumPy 2.4.6. Networks
are converted from Keras 2 and 3; files of one operator each are written with TensorFlow's own classes of the schema.
`index` says where in `files` and `numbers` what lies: NAME is the bytes of a file, NAME/CALL/in/INPUT and
NAME/CALL/out/OUTPUT what went into its calls and came out. NAME/plain/CALL/out/OUTPUT, of a file with weights in 8
bits, is the same with the float32 that these stand for: there the interpreter does not round frames.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import flatbuffers
import keras
import numpy as np
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers as L
from keras import ops as K
from tensorflow.lite.python import schema_py_generated as schema

SEED = 20261129
OUT = Path(__file__).parent / "tflite.npz"
T = 7
N_CALLS = 3
#: operators that the interpreter has not in their first version
VERSIONS = {"BROADCAST_TO": 2}

F, I, B = schema.TensorType.FLOAT32, schema.TensorType.INT32, schema.TensorType.BOOL
rng = np.random.default_rng(SEED)


def floats(*shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) * 0.6).astype(np.float32)


# -- networks of Keras ------------------------------------------------------------------------------------------------


def chain(shape: tuple[int | None, ...], *layers: Any) -> keras.Model:
    return keras.Sequential([L.Input(batch_shape=(1, *shape)), *layers])


def packed_states(n_in: int, units: int) -> keras.Model:
    """One frame, with the states of two LSTMs in one tensor."""
    x, states = L.Input(batch_shape=(1, 1, n_in), name="frame"), L.Input(batch_shape=(1, 2, units, 2), name="state")
    y, after = x, []
    for i in range(2):
        before = [states[:, i, :, 0], states[:, i, :, 1]]
        y, h, c = L.LSTM(units, return_sequences=True, unroll=True, return_state=True)(y, initial_state=before)
        after.append(K.stack([h, c], -1))
    mask = L.Dense(n_in + 2, activation="sigmoid")(y)
    return keras.Model([x, states], [mask, K.stack(after, 1)])


def gru_step() -> keras.Model:
    x, h = L.Input(batch_shape=(1, 5), name="x"), L.Input(batch_shape=(1, 6), name="h")
    y, (after,) = L.GRUCell(6)(x, [h])
    return keras.Model([x, h], [L.Dense(2)(y), after])


def networks() -> dict[str, keras.Model]:
    return {
        "wake_gru": chain(
            (12, 5), L.Conv1D(6, 3, padding="causal", activation="relu"), L.GRU(6, return_sequences=True), L.Dense(2)
        ),
        "wake_last": chain(
            (12, 6, 1),
            L.Conv2D(3, 3, strides=(1, 2), padding="same", activation="relu"),
            L.DepthwiseConv2D(3, padding="same"),
            L.BatchNormalization(),
            L.Reshape((12, -1)),
            L.LSTM(5),
            L.Dense(2, activation="softmax"),
        ),
        "wake_valid": chain((12, 5), L.Conv1D(4, 3), L.GRU(4), L.Dense(2, activation="sigmoid")),
        "open_lstm": chain((None, 5), L.LSTM(6, return_sequences=True), L.Dense(2)),
        "open_gru_last": chain((None, 5), L.GRU(6), L.Dense(2)),
        "rnn": chain((8, 4), L.SimpleRNN(5, return_sequences=True)),
        "unrolled": chain((5, 4), L.LSTM(4, unroll=True, return_sequences=True)),
        "both_ways": chain((8, 4), L.Bidirectional(L.GRU(3, return_sequences=True)), L.GlobalAveragePooling1D()),
        "convs": chain(
            (16, 8, 1),
            L.Conv2D(4, (5, 3), strides=(2, 2), padding="same", activation="relu6"),
            L.DepthwiseConv2D(3, padding="same", activation="relu"),
            L.AveragePooling2D(2),
            L.GlobalAveragePooling2D(),
            L.Dense(3, activation="softmax"),
        ),
        "stateful": keras.Sequential(
            [L.Input(batch_shape=(1, 4, 5)), L.LSTM(4, stateful=True, return_sequences=True), L.Dense(2)]
        ),
        "stateful_step": keras.Sequential([L.Input(batch_shape=(1, 1, 5)), L.GRU(4, stateful=True), L.Dense(2)]),
        "packed_states": packed_states(5, 4),
        "gru_step": gru_step(),
    }


def converted(model: keras.Model, how: str = "") -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if how:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if how == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def of_keras_2() -> dict[str, bytes]:
    """Networks of Keras 2, whose LSTMs the converter fuses into one operator, with a cell_clip of 10."""
    Old = tf_keras.layers
    nets = {
        "lstm": ((10, 5), Old.Conv1D(4, 3), Old.LSTM(4), Old.Dense(2, activation="softmax")),
        "lstms": ((6, 4), Old.LSTM(4, return_sequences=True), Old.LSTM(3, return_sequences=True)),
        "gru_before": ((6, 4), Old.GRU(4, reset_after=False, recurrent_activation="hard_sigmoid"), Old.Dense(2)),
        "masked": ((6, 4), Old.Masking(), Old.LSTM(4, return_sequences=True)),
        "both_ways": ((6, 4), Old.Bidirectional(Old.LSTM(3, return_sequences=True)), Old.Dense(2)),
    }
    files = {}
    for name, (shape, *layers) in nets.items():
        model = tf_keras.Sequential([Old.Input(shape), *layers])
        call = tf.function(model).get_concrete_function(tf.TensorSpec((1, *shape), tf.float32))
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder, save_format="tf", signatures=call)
            files[name] = bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
    return files


def dequantised(data: bytes) -> bytes:
    """The same file with weights as the float32 that they stand for."""
    model = schema.ModelT.InitFromPackedBuf(data)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            scale = tensor.quantization.scale if tensor.quantization else None
            if tensor.type == schema.TensorType.INT8 and scale is not None and len(scale):
                array = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int8).reshape(tensor.shape)
                along = [-1 if a == tensor.quantization.quantizedDimension else 1 for a in range(array.ndim)]
                wide = array.astype(np.float32) * np.asarray(scale, np.float32).reshape(along if len(scale) > 1 else 1)
                model.buffers.append(buffer(wide))
                tensor.buffer, tensor.type, tensor.quantization = len(model.buffers) - 1, F, None
    return packed(model)


# -- files of one operator --------------------------------------------------------------------------------------------


def buffer(array: np.ndarray) -> Any:
    filled = schema.BufferT()
    filled.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    return filled


def packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class Net:
    """A graph under construction. Tensors are made by `input`, `constant`, `variable` and `op`, which give numbers."""

    def __init__(self) -> None:
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.operatorCodes, self.model.subgraphs = 3, [], [self.graph]
        self.model.buffers = [schema.BufferT()]
        self.graph.tensors, self.graph.operators, self.graph.inputs, self.graph.outputs = [], [], [], []
        self.graph.name = b"main"

    def tensor(self, name: str, shape: Any, kind: int = F, data: np.ndarray | None = None) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.type = name.encode(), kind
        tensor.shape = [1 if n is None else n for n in shape]
        tensor.shapeSignature = [-1 if n is None else n for n in shape] if None in shape else None
        tensor.hasRank = True
        if data is not None:
            self.model.buffers.append(buffer(data))
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def input(self, name: str, shape: Any, kind: int = F) -> int:
        self.graph.inputs.append(self.tensor(name, shape, kind))
        return self.graph.inputs[-1]

    def constant(self, array: Any, kind: int | None = None) -> int:
        array = np.asarray(array)
        array = (
            array.astype({"i": np.int32, "f": np.float32, "b": np.bool_}[array.dtype.kind]) if kind is None else array
        )
        kind = {"i": I, "f": F, "b": B}[array.dtype.kind] if kind is None else kind
        return self.tensor(f"constant_{len(self.graph.tensors)}", array.shape, kind, array)

    def int8(self, array: np.ndarray) -> int:
        """Weights in 8 bits, one scale for all."""
        scale = float(np.abs(array).max()) / 127
        i = self.tensor("weights", array.shape, schema.TensorType.INT8, np.round(array / scale).astype(np.int8))
        quantisation = schema.QuantizationParametersT()
        quantisation.scale, quantisation.zeroPoint = np.float32([scale]), np.int64([0])
        self.graph.tensors[i].quantization = quantisation
        return i

    def variable(self, *shape: int) -> int:
        i = self.tensor(f"state_{len(self.graph.tensors)}", shape)
        self.graph.tensors[i].isVariable = True
        return i

    def op(self, name: str, inputs: list[int], shapes: Any, options: Any = None, kind: int = F, **values: Any) -> Any:
        """Add an operator; shapes: one, or a list of them for a list of outputs."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), VERSIONS.get(name, 1)
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs = len(self.model.operatorCodes) - 1, inputs
        several = isinstance(shapes, list)
        operator.outputs = [
            self.tensor(f"{name.lower()}_{i}", s, kind) for i, s in enumerate(shapes if several else [shapes])
        ]
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")()
            for key, value in values.items():
                assert hasattr(operator.builtinOptions, key), key
                setattr(operator.builtinOptions, key, value)
        self.graph.operators.append(operator)
        return operator.outputs if several else operator.outputs[0]

    def file(self, *outputs: int) -> bytes:
        self.graph.outputs = list(outputs)
        return packed(self.model)


def single(
    shape: Any, name: str, gives: Any, constants: Any = (), options: Any = None, kind: int = F, **values: Any
) -> bytes:
    """One operator on an input and constants."""
    net = Net()
    inputs = [net.input("x", shape), *(net.constant(c) for c in constants)]
    outputs = net.op(name, inputs, gives, options, kind, **values)
    return net.file(*(outputs if isinstance(outputs, list) else [outputs]))


def elements() -> dict[str, bytes]:
    s = (2, 3, 4)
    plain = {
        "LOGISTIC": None, "TANH": None, "RELU": None, "RELU6": None, "RELU_N1_TO_1": None, "ELU": None,
        "ABS": "AbsOptions", "NEG": "NegOptions", "EXP": "ExpOptions", "SIN": None, "COS": "CosOptions", "FLOOR": None,
        "CEIL": None, "SQUARE": "SquareOptions", "HARD_SWISH": "HardSwishOptions", "LOG_SOFTMAX": "LogSoftmaxOptions",
        "RELU_0_TO_1": None, "ROUND": None, "SIGN": None,
    }  # fmt: skip
    files = {name.lower(): single(s, name, s, (), options) for name, options in plain.items()}
    for name in ("Add", "Sub", "Mul", "Div"):
        for act in ("RELU", "NONE"):
            number = getattr(schema.ActivationFunctionType, act)
            files[f"{name.lower()}_{act.lower()}"] = single(
                s, name.upper(), s, [floats(4) + 2], f"{name}Options", fusedActivationFunction=number
            )
    files["maximum"] = single(s, "MAXIMUM", s, [floats(3, 1)], "MaximumMinimumOptions")
    files["minimum"] = single(s, "MINIMUM", s, [floats(3, 1)], "MaximumMinimumOptions")
    files["squared_difference"] = single(s, "SQUARED_DIFFERENCE", s, [floats(4)], "SquaredDifferenceOptions")
    files["leaky_relu"] = single(s, "LEAKY_RELU", s, (), "LeakyReluOptions", alpha=0.3)
    files["prelu"] = single(s, "PRELU", s, [floats(1, 1, 4)])
    files["gelu"] = single(s, "GELU", s, (), "GeluOptions", approximate=True)
    files["softmax"] = single(s, "SOFTMAX", s, (), "SoftmaxOptions", beta=0.5)
    for name in ("SQRT", "RSQRT", "LOG"):
        net = Net()
        positive = net.op("EXP", [net.input("x", s)], s, "ExpOptions")
        files[name.lower()] = net.file(net.op(name, [positive], s))
    for name, table in (("LESS", "Less"), ("LESS_EQUAL", "LessEqual"), ("GREATER", "Greater"),
                        ("GREATER_EQUAL", "GreaterEqual"), ("EQUAL", "Equal"), ("NOT_EQUAL", "NotEqual")):  # fmt: skip
        net = Net()
        x = net.input("x", s)
        chosen = net.op(name, [x, net.constant(floats(4))], s, f"{table}Options", B)
        other = net.op("LOGICAL_NOT", [chosen], s, "LogicalNotOptions", B)
        both = net.op("LOGICAL_OR", [chosen, other], s, "LogicalOrOptions", B)
        still = net.op("LOGICAL_AND", [chosen, both], s, "LogicalAndOptions", B)
        files[name.lower()] = net.file(net.op("SELECT_V2", [still, x, net.constant(floats(4))], s, "SelectV2Options"))
    net = Net()
    y = net.op("MUL", [net.input("x", s), net.constant(np.float32(0.4))], s, "MulOptions")
    y = net.op("MINIMUM", [y, net.constant(np.float32(0.5))], s, "MaximumMinimumOptions")
    y = net.op("MAXIMUM", [net.constant(np.float32([-0.25])), y], s, "MaximumMinimumOptions")
    higher = net.op("MAXIMUM", [y, net.constant(np.float32(0.75))], s, "MaximumMinimumOptions")
    files["bounds"] = net.file(net.op("SUB", [higher, y], s, "SubOptions"))
    net = Net()
    x = net.input("x", s)
    files["add_n"] = net.file(net.op("ADD_N", [x, x, net.constant(floats(*s))], s, "AddNOptions"))
    return files


def moves() -> dict[str, bytes]:
    s = (2, 3, 4)
    files = {
        "reshape": single(s, "RESHAPE", (4, 6), [[4, 6]], "ReshapeOptions", newShape=[4, 6]),
        "reshape_rest": single(s, "RESHAPE", (6, 4), [[-1, 4]]),
        "expand_dims": single(s, "EXPAND_DIMS", (2, 1, 3, 4), [1], "ExpandDimsOptions"),
        "squeeze": single((2, 1, 3, 1), "SQUEEZE", (2, 3, 1), (), "SqueezeOptions", squeezeDims=[1]),
        "squeeze_all": single((2, 1, 3, 1), "SQUEEZE", (2, 3), (), "SqueezeOptions"),
        "transpose": single(s, "TRANSPOSE", (4, 2, 3), [[2, 0, 1]], "TransposeOptions"),
        "gather": single(s, "GATHER", (2, 2, 4), [[2, 0]], "GatherOptions", axis=1),
        "slice": single(s, "SLICE", (2, 2, 3), [[0, 1, 1], [2, -1, 3]], "SliceOptions"),
        "strided_slice": single(
            s, "STRIDED_SLICE", (2, 2), [[1, 2, 3], [0, 0, 0], [1, -2, -3]], "StridedSliceOptions",
            beginMask=4, endMask=6, shrinkAxisMask=1,
        ),
        "reverse": single(s, "REVERSE_V2", s, [[1]], "ReverseV2Options"),
        "pad": single(s, "PAD", (2, 5, 5), [[[0, 0], [2, 0], [0, 1]]], "PadOptions"),
        "padv2": single(s, "PADV2", (2, 5, 5), [[[0, 0], [2, 0], [0, 1]], np.float32(3.5)], "PadV2Options"),
        "mirror_pad": single(s, "MIRROR_PAD", (2, 5, 4), [[[0, 0], [1, 1], [0, 0]]], "MirrorPadOptions", mode=0),
        "tile": single(s, "TILE", (2, 6, 4), [[1, 2, 1]], "TileOptions"),
        "mean": single(s, "MEAN", (2, 4), [[1]], "ReducerOptions"),
        "sum": single(s, "SUM", (2, 3, 1), [[2]], "ReducerOptions", keepDims=True),
        "reduce_max": single(s, "REDUCE_MAX", (3, 4), [[0]], "ReducerOptions"),
        "reduce_min": single(s, "REDUCE_MIN", (2, 3), [[-1]], "ReducerOptions"),
        "reduce_prod": single(s, "REDUCE_PROD", (2, 3), [[2]], "ReducerOptions"),
        "cumsum": single(s, "CUMSUM", s, [1], "CumsumOptions", exclusive=True),
        "broadcast_to": single((2, 1, 4), "BROADCAST_TO", s, [[2, 3, 4]], "BroadcastToOptions"),

        "unpack": single(s, "UNPACK", [(2, 4)] * 3, (), "UnpackOptions", num=3, axis=1),
    }  # fmt: skip
    net = Net()
    x = net.input("x", s)
    parts = net.op("SPLIT", [net.constant(2), x], [(2, 3, 2)] * 2, "SplitOptions", numSplits=2)
    joined = net.op("CONCATENATION", parts[::-1], s, "ConcatenationOptions", axis=-1)
    files["split"] = net.file(joined)
    net = Net()
    x = net.input("x", s)
    parts = net.op(
        "SPLIT_V", [x, net.constant([1, -1]), net.constant(1)], [(2, 1, 4), (2, 2, 4)], "SplitVOptions", numSplits=2
    )
    files["split_v"] = net.file(*parts)
    net = Net()
    x = net.input("x", s)
    nothing = net.op("ZEROS_LIKE", [x], s, "ZerosLikeOptions")
    files["zeros_like"] = net.file(net.op("SUB", [nothing, x], s, "SubOptions"))
    net = Net()
    x = net.input("x", s)
    files["pack"] = net.file(net.op("PACK", [x, x], (2, 2, 3, 4), "PackOptions", valuesCount=2, axis=1))
    return files


def layers() -> dict[str, bytes]:
    files, conv = {}, {"strideW": 1, "strideH": 1}
    for name, keep in (("fully_connected", False), ("fully_connected_kept", True)):
        files[name] = single(
            (2, 3, 4), "FULLY_CONNECTED", (2, 3, 5) if keep else (6, 5), [floats(5, 4), floats(5)],
            "FullyConnectedOptions", keepNumDims=keep, fusedActivationFunction=3,
        )  # fmt: skip
    files["batch_matmul"] = single(
        (2, 3, 4), "BATCH_MATMUL", (2, 3, 5), [floats(5, 4)[None]], "BatchMatMulOptions", adjY=True
    )
    s = (1, 6, 5, 4)
    files["conv_same"] = single(
        s, "CONV_2D", (1, 6, 5, 3), [floats(3, 3, 2, 4), floats(3)], "Conv2DOptions", padding=0, **conv
    )
    files["conv_strided"] = single(
        s, "CONV_2D", (1, 3, 3, 3), [floats(3, 3, 2, 4), floats(3)], "Conv2DOptions", padding=0, strideW=2, strideH=2
    )
    files["conv_dilated"] = single(
        s,
        "CONV_2D",
        (1, 2, 5, 3),
        [floats(3, 3, 1, 4), floats(3)],
        "Conv2DOptions",
        padding=1,
        dilationHFactor=2,
        **conv,
    )
    files["conv_grouped"] = single(
        s, "CONV_2D", (1, 6, 5, 6), [floats(6, 1, 1, 2), floats(6)], "Conv2DOptions", padding=1, **conv
    )
    files["depthwise"] = single(
        s, "DEPTHWISE_CONV_2D", (1, 6, 5, 8), [floats(1, 3, 3, 8), floats(8)], "DepthwiseConv2DOptions",
        padding=0, depthMultiplier=2, fusedActivationFunction=1, **conv,
    )  # fmt: skip
    for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        files[name.lower()] = single(
            s, name, (1, 3, 3, 4), (), "Pool2DOptions", padding=0, strideW=2, strideH=2, filterWidth=3, filterHeight=3
        )
    return files


def gates(
    net: Net,
    n_in: int,
    units: int,
    coupled: bool = False,
    peephole: bool = False,
    int8: bool = False,
    fed_back: int = 0,
) -> list[int]:
    """Inputs 1 to 15 of an LSTM operator."""
    weights, n_back = net.int8 if int8 else net.constant, fed_back or units
    numbers = [weights(floats(units, n_in)) for _ in range(4)] + [weights(floats(units, n_back)) for _ in range(4)]
    numbers += [net.constant(floats(units)) if peephole else -1 for _ in range(3)]
    numbers += [net.constant(floats(units)) for _ in range(4)]
    for gone in (0, 4, 8, 11) if coupled else ():
        numbers[gone] = -1
    return numbers


def lstm(time_major: bool = False, projected: int = 0, bounds: tuple[float, float] = (0, 0), **kinds: bool) -> bytes:
    net, units = Net(), 4
    n_out = projected or units
    x = net.input("x", (None, 1, 3) if time_major else (1, None, 3))
    projection = [net.constant(floats(projected, units)), net.constant(floats(projected))] if projected else [-1, -1]
    inputs = [x, *gates(net, 3, units, fed_back=projected, **kinds), *projection]
    inputs += [net.variable(1, n_out), net.variable(1, units), -1, -1, -1, -1]
    gives = (None, 1, n_out) if time_major else (1, None, n_out)
    options = {"fusedActivationFunction": 4, "timeMajor": time_major, "cellClip": bounds[0], "projClip": bounds[1]}
    return net.file(
        net.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, gives, "UnidirectionalSequenceLSTMOptions", **options)
    )


def recurrences() -> dict[str, bytes]:
    files = {
        "lstm": lstm(),
        "lstm_time_major": lstm(time_major=True),
        "lstm_peephole": lstm(peephole=True),
        "lstm_coupled": lstm(coupled=True),
        "lstm_int8": lstm(int8=True),
        "lstm_bounded": lstm(bounds=(0.4, 0)),
        "lstm_bounded_peephole": lstm(bounds=(0.4, 0), peephole=True, coupled=True),
        "lstm_projected": lstm(projected=3),
        "lstm_projected_bounded": lstm(projected=3, bounds=(0.6, 0.3), time_major=True),
    }
    net = Net()
    inputs = [net.input("x", (1, 3)), *gates(net, 3, 4), -1, -1, net.variable(1, 4), net.variable(1, 4), -1, -1, -1, -1]
    files["lstm_step"] = net.file(
        net.op("LSTM", inputs, (1, 4), "LSTMOptions", fusedActivationFunction=4, cellClip=0.5)
    )
    for name, shape, gives, table in (
        ("UNIDIRECTIONAL_SEQUENCE_RNN", (1, None, 3), (1, None, 4), "SequenceRNNOptions"),
        ("RNN", (1, 3), (1, 4), "RNNOptions"),
    ):
        net = Net()
        weights = [net.constant(a) for a in (floats(4, 3), floats(4, 4), floats(4))]
        inputs = [net.input("x", shape), *weights, net.variable(1, 4)]
        files[name.lower()] = net.file(net.op(name, inputs, gives, table, fusedActivationFunction=4))
    for merged in (True, False):
        net, units = Net(), 3
        inputs = [net.input("x", (1, T, 3))]
        for _ in range(2):
            inputs += [*gates(net, 3, units), -1, -1]
        inputs += [*(net.variable(1, units) for _ in range(4)), *[-1] * 9]
        gives: Any = (1, T, 2 * units) if merged else [(1, T, units)] * 2
        options = {"fusedActivationFunction": 4, "timeMajor": False, "mergeOutputs": merged}
        y = net.op("BIDIRECTIONAL_SEQUENCE_LSTM", inputs, gives, "BidirectionalSequenceLSTMOptions", **options)
        files[f"lstm_both_ways{'_merged' * merged}"] = net.file(*([y] if merged else y))
    for rank in (1, 2):
        net, filters, memory = Net(), 4, 5
        inputs = [net.input("x", (1, 3)), net.constant(floats(filters, 3)), net.constant(floats(filters, memory))]
        inputs += [net.constant(floats(filters // rank)), net.variable(1, filters * memory)]
        y = net.op("SVDF", inputs, (1, filters // rank), "SVDFOptions", rank=rank, fusedActivationFunction=1)
        weights = net.constant(floats(2, filters // rank))
        files[f"svdf_{rank}"] = net.file(net.op("FULLY_CONNECTED", [y, weights, -1], (1, 2), "FullyConnectedOptions"))
    return files


# -- what the interpreter computes ------------------------------------------------------------------------------------


#: network -> its inputs that each call is given from an output of the one before, from zeros on
CARRIED = {"net_packed_states": {"state": "output_1"}, "net_gru_step": {"h": "output_1"}}


def computed(data: bytes, n_calls: int, carried: dict[str, str]) -> dict[str, np.ndarray]:
    """Inputs and outputs of calls that follow each other, what is open being T timesteps."""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter, arrays = Interpreter(model_content=data, experimental_op_resolver_type=plain), {}
    draws = np.random.default_rng(SEED)
    sizes = {}
    for port in interpreter.get_input_details():
        sizes[port["index"]] = [T if n < 0 else int(n) for n in port["shape_signature"]]
        interpreter.resize_tensor_input(port["index"], sizes[port["index"]])
    interpreter.allocate_tensors()
    names = [{}, {}]
    for signature in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(signature)
        for known, details in zip(names, (runner.get_input_details(), runner.get_output_details()), strict=True):
            known.update({port["index"]: name for name, port in details.items()})
        del runner
    for call in range(n_calls):
        for port in interpreter.get_input_details():
            name = names[0].get(port["index"], port["name"])
            array = draws.standard_normal(sizes[port["index"]]).astype(np.float32)
            if name in carried:
                array = arrays[f"{call - 1}/out/{carried[name]}"] if call else np.zeros_like(array)
            interpreter.set_tensor(port["index"], array)
            arrays[f"{call}/in/{name}"] = array
        interpreter.invoke()
        for port in interpreter.get_output_details():
            name = names[1].get(port["index"], port["name"])
            arrays[f"{call}/out/{name}"] = interpreter.get_tensor(port["index"]).copy()
    return arrays


def check_schema() -> None:
    """That undertow's table of the schema says what TensorFlow's does."""
    codes = {number: name for name, number in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    spec = spec_from_file_location("ours", Path(__file__).parents[2] / "python/undertow/importers/tflite/schema.py")
    ours = module_from_spec(spec)
    sys.modules["ours"] = ours
    spec.loader.exec_module(ours)
    assert [codes[i] for i in range(len(codes))] == ours.OPERATORS
    options = {number: name for name, number in vars(schema.BuiltinOptions).items() if name[0] != "_"}
    assert all(options[number] == name for number, name in ours.OPTIONS.items())


def main() -> None:
    check_schema()
    keras.utils.set_random_seed(SEED)
    tf_keras.utils.set_random_seed(SEED)
    nets = networks()
    files = {f"net_{name}": converted(model) for name, model in nets.items()}
    wide = chain(
        (8, 6), L.Conv1D(35, 5, padding="causal", activation="relu"), L.GRU(20, return_sequences=True), L.Dense(2)
    )
    for how in ("int8", "float16"):
        files[f"net_{how}"] = converted(wide, how)
    files |= {f"net_keras_2_{name}": data for name, data in of_keras_2().items()}
    for several in (elements(), moves(), layers(), recurrences()):
        files |= {f"op_{name}": data for name, data in several.items()}
    arrays: dict[str, np.ndarray] = {}
    for name, data in files.items():
        carried = CARRIED.get(name, {})
        keeps = name.startswith("net_") or any(key in name for key in ("lstm", "rnn", "svdf"))
        starts_anew = not any(key in name for key in ("both_ways", "keras_2"))
        n_calls = N_CALLS if keeps and starts_anew else 1  # of others a second call is not at its start
        arrays[name] = np.frombuffer(data, np.uint8)
        outputs = computed(data, n_calls, carried)
        if "int8" in name:
            outputs |= {
                f"plain/{key}": array
                for key, array in computed(dequantised(data), n_calls, carried).items()
                if "/out/" in key
            }
        arrays |= {f"{name}/{key}": array for key, array in outputs.items()}
    index: dict[str, Any] = {}
    flat: dict[str, list[np.ndarray]] = {"files": [], "numbers": []}
    for name, array in arrays.items():
        parts = flat["files" if array.dtype == np.uint8 else "numbers"]
        index[name] = [sum(part.size for part in parts), array.shape]
        parts.append(array.ravel() if array.dtype == np.uint8 else array.ravel().astype(np.float32))
    text = np.frombuffer(json.dumps(index).encode(), np.uint8)
    np.savez_compressed(OUT, index=text, **{name: np.concatenate(parts) for name, parts in flat.items()})
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes, packed to {OUT.stat().st_size}")


if __name__ == "__main__":
    main()
