# SPDX-License-Identifier: MIT
"""What of TensorFlow Lite files is not computed is refused by operator, tensor and value; damaged ones are told so."""

from __future__ import annotations

import builtins
import contextlib
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from onnx_files import onnx  # skips where it is not installed
from tflite_files import Build, files, packed
from undertow import FormatError, UnsupportedError
from undertow.importers.tflite import limits, schema
from undertow.importers.tflite.traits import ROWS

assert onnx


def single(
    op: str, options: str = "", constants: Any = (), shape: Any = (1, None, 4), gives: Any = None, **values: Any
) -> bytes:
    build = Build()
    inputs = [build.input("x", shape), *(build.constant(array) for array in constants)]
    return build.file(build.op(op, inputs, gives or shape, options, **values))


def refused(data: bytes, match: str, kind: type[Exception] = UnsupportedError, **options: Any) -> None:
    with pytest.raises(kind, match=match) as caught:
        undertow.load(data, **options)
    assert str(caught.value).startswith("<bytes>: ")
    assert " node '" not in str(caught.value)


def test_what_a_test_builds_is_read() -> None:
    model = undertow.load(single("TANH"))
    x = np.float32([[0.5, -1, 2, 0]])
    np.testing.assert_allclose(model.run(x), np.tanh(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("op", [op for op in schema.OPERATORS if op not in ROWS])
def test_every_other_operator_is_refused_by_name(op: str) -> None:
    if op == "CUSTOM":
        refused(
            single("CUSTOM FlexErf"),
            "CUSTOM FlexErf operator 'y0': operator CUSTOM FlexErf is not supported: it is Tensor",
        )
        refused(single("CUSTOM mine\x1b[2J"), r"CUSTOM mine\\x1b\[2J operator 'y0'")
    else:
        refused(single(op), f"{op} operator 'y0': operator {op} is not supported")


#: options that change what is computed, and are not: (operator, table, constants, value of the option)
OPTIONS: list[tuple[str, str, Any, dict[str, Any], str]] = [
    ("ADD", "AddOptions", [np.ones(4)], {"fused_activation_function": 5}, "fused_activation_function=SIGN_BIT"),
    ("ADD", "AddOptions", [np.ones(4)], {"fused_activation_function": 9}, "fused_activation_function=9"),
    ("FULLY_CONNECTED", "FullyConnectedOptions", [np.ones((4, 4))], {"weights_format": 1}, "weights_format=1"),
    (
        "CONCATENATION",
        "ConcatenationOptions",
        [np.ones((1, 1, 4))],
        {"fused_activation_function": 1},
        "fused_activation",
    ),
    ("SOFTMAX", "SoftmaxOptions", [], {}, "beta=0.0 is not supported"),
    ("SOFTMAX", "SoftmaxOptions", [], {"beta": float("nan")}, "beta=nan is not supported"),
    ("GATHER", "GatherOptions", [[0]], {"batch_dims": 1}, "batch_dims=1"),
    ("STRIDED_SLICE", "StridedSliceOptions", [[0], [1], [1]], {"ellipsis_mask": 1}, "ellipsis_mask=1"),
    ("STRIDED_SLICE", "StridedSliceOptions", [[0], [1], [1]], {"new_axis_mask": 1}, "new_axis_mask=1"),
    ("STRIDED_SLICE", "StridedSliceOptions", [[0], [1], [1]], {"offset": True}, "offset=True"),
    ("MIRROR_PAD", "MirrorPadOptions", [[[0, 0]] * 3], {"mode": 1}, "mode=1 is not supported"),
    ("SQUEEZE", "SqueezeOptions", [], {}, "has open sizes"),
    ("SPLIT_V", "SplitVOptions", [[1, -1], 1], {}, "with 1 outputs"),
    ("TANH", "AddOptions", [], {"fused_activation_function": 1}, "fused_activation_function=1 is not supported"),
    ("ADD", "SubOptions", [np.ones(4)], {}, "its options are SubOptions, expected AddOptions"),
]


@pytest.mark.parametrize(("op", "table", "constants", "values", "match"), OPTIONS)
def test_options_are_refused_by_value(op: str, table: str, constants: Any, values: dict[str, Any], match: str) -> None:
    kind = FormatError if "outputs" in match else UnsupportedError
    refused(single(op, table, constants, **values), f"{op} operator 'y0': .*{match}", kind)


def test_an_option_that_is_not_known() -> None:
    fields = schema.TABLES["AddOptions"]
    fields[7] = schema.Field("later", "i4")
    try:
        data = single("ADD", "AddOptions", [np.ones(4)], later=1)
    finally:
        del fields[7]
    refused(data, "AddOptions has a field 7, which is not known")


@pytest.mark.parametrize("kind", ["INT8", "UINT8", "INT16", "FLOAT16", "FLOAT64", "STRING", "COMPLEX64", "INT4"])
def test_types_are_refused_by_tensor(kind: str) -> None:
    build = Build()
    x = build.input("x", (1, None, 4), kind)
    integers = "models that compute with integers are not supported; convert with weights alone quantised"
    why = integers if "INT" in kind else "not supported; expected one of FLOAT32, INT32, INT64, BOOL"
    refused(build.file(build.op("RELU", [x], (1, None, 4), kind=kind)), f"input 'x' is {kind}: {why}")
    build = Build()
    y = build.op("RELU", [build.input("x", (1, None, 4))], (1, None, 4), kind=kind)
    refused(build.file(y), f"RELU operator 'y0': tensor 'y0' is {kind}, and computed: {why}")
    build = Build()
    x, c = build.input("x", (1, None, 4)), build.tensor("c", (4,), kind, bytes(4 * 16))
    refused(build.file(build.op("ADD", [x, c], (1, None, 4), "AddOptions")), "tensor 'c'", undertow.Error)


def recurrence(**changes: Any) -> bytes:
    """An LSTM over a sequence; changes: number of an input -> what it is in place of what is right."""
    build, n, options = Build(), 3, {"fused_activation_function": 4}
    x = build.input("x", (1, None, 2))
    inputs = [
        x,
        *(build.constant(np.ones((n, 2))) for _ in range(4)),
        *(build.constant(np.ones((n, n))) for _ in range(4)),
    ]
    inputs += [-1, -1, -1, *(build.constant(np.ones(n)) for _ in range(4)), -1, -1]
    inputs += [build.tensor(name, (1, n), is_variable=True) for name in ("h", "c")] + [-1] * 4
    for key, value in changes.items():
        if key[0] == "i":
            inputs[int(key[1:])] = value if isinstance(value, int) else build.constant(value, "given")
        else:
            options[key] = value
    return build.file(
        build.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, (1, None, n), "UnidirectionalSequenceLSTMOptions", **options)
    )


@pytest.mark.parametrize(
    ("changes", "match", "kind"),
    [
        ({"cell_clip": -3.0}, "cell_clip=-3.0, proj_clip=0.0: expected numbers above 0", UnsupportedError),
        ({"proj_clip": float("inf")}, "cell_clip=0.0, proj_clip=inf: expected numbers above 0", UnsupportedError),
        ({"diagonal_recurrent_tensors": True}, "diagonal_recurrent_tensors=True", UnsupportedError),
        ({"fused_activation_function": 3}, "fused_activation_function=RELU6", UnsupportedError),
        ({"i16": np.ones((2, 3))}, r"recurrent weights, tensor .*have shape \[3, 3\], expected \[3, 2\]", FormatError),
        ({"i16": np.ones((3, 2))}, r"its projection, tensor 'given', has shape \[3, 2\], expected", FormatError),
        ({"i17": np.ones(3)}, "it has a projection bias and no projection", FormatError),
        ({"i20": np.ones(3)}, "input 20, tensor 'given', is layer normalisation", UnsupportedError),
        ({"i18": np.ones((1, 3))}, "its hidden state is no variable", UnsupportedError),
        ({"i19": -1}, "its cell state is no variable", UnsupportedError),
        ({"i1": -1}, "some weights of the input gate are given and some are not", FormatError),
        ({"i2": -1}, "its forget gate has no weights", FormatError),
        ({"i3": np.ones((2, 2))}, r"weights of the inputs, tensor 'given', have shape \[2, 2\]", FormatError),
        ({"i10": np.ones(3)}, "peephole weights are missing", FormatError),
        ({"i13": -1}, "biases are missing", FormatError),
    ],
)  # fmt: skip
def test_an_lstm_is_refused_by_its_inputs(changes: dict[str, Any], match: str, kind: type[Exception]) -> None:
    assert [node.op for node in undertow.load(recurrence()).graph.nodes] == ["lstm"]
    refused(recurrence(**changes), f"UNIDIRECTIONAL_SEQUENCE_LSTM operator 'y0': {match}", kind)


def test_variables_that_hold_nothing() -> None:
    build = Build()
    handle = build.tensor("v", (), "RESOURCE")
    build.operator("VAR_HANDLE", [], [handle], "VarHandleOptions", shared_name="weights")
    held = build.op("READ_VARIABLE", [handle], (4,))
    y = build.op("ADD", [build.input("x", (1, None, 4)), held], (1, None, 4), "AddOptions")
    refused(build.file(y), "READ_VARIABLE operator 'y1': variable 'weights' holds nothing: no CALL_ONCE")


def nested(depth: int) -> bytes:
    """Branches in branches; of depth 0, one that is its own."""
    build = Build()
    chooses, x = build.input("b", (), "BOOL"), build.input("x", (1, None, 4))
    graphs = [build, *(Build(build) for _ in range(max(depth, 1)))]
    for i, graph in enumerate(graphs[1:], 1):
        b, v = graph.input("b", (), "BOOL"), graph.input("x", (1, None, 4))
        inside = min(i + 1, depth) or 1
        y = graph.op("TANH", [v], (1, None, 4))
        if not depth or inside > i:
            options = {"then_subgraph_index": inside, "else_subgraph_index": inside}
            y = graph.op("IF", [b, b, y], (1, None, 4), "IfOptions", **options)
        graph.graph["outputs"] = [y]
    options = {"then_subgraph_index": 1, "else_subgraph_index": 1}
    return build.file(build.op("IF", [chooses, chooses, x], (1, None, 4), "IfOptions", **options))


def test_graphs_that_run_themselves_end() -> None:
    deep = f"graphs inside of graphs, more than {limits.MAX_NESTING} deep"
    refused(nested(0), deep)
    refused(nested(limits.MAX_NESTING + 1), deep)


def test_graphs_that_are_run_often_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_TRANSLATED", 40)
    refused(nested(6), "more than 40 operators, each where it runs, are not read")


def test_what_is_larger_than_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = single("ADD", "AddOptions", [np.ones(4)])
    for name, what in (("MAX_GRAPHS", "graphs"), ("MAX_TENSORS", "tensors"), ("MAX_OPERATORS", "operators"),
                       ("MAX_PORTS", "operator_codes"), ("MAX_RANK", "axes"), ("MAX_FILE_BYTES", "bytes")):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(limits, name, 0)
            refused(data, f"{what}, at most 0 are read")


# -- damage -----------------------------------------------------------------------------------------------------------


def test_truncated_files(tmp_path: Path) -> None:
    data = files()["net_wake_gru"]
    for n in [*range(64), *range(64, len(data), 97)]:
        (tmp_path / "m.tflite").write_bytes(data[:n])
        with pytest.raises(FormatError, match="empty" if not n else "not a TensorFlow Lite file|damaged"):
            undertow.load(tmp_path / "m.tflite")


def test_flipped_bytes_end_in_a_model_or_an_error() -> None:
    data, rng = files()["op_svdf_1"], np.random.default_rng(4)
    read = 0
    for at in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[at] ^= int(rng.integers(1, 256))
        try:
            undertow.load(bytes(damaged))
            read += 1
        except undertow.Error:
            pass
    assert 0 < read < len(data) // 3


@pytest.mark.parametrize("number", [0, 1, 4, 2**15, 2**31 - 1, 2**31, 2**32 - 4, 2**32 - 1])
def test_offsets_and_sizes_that_lead_nowhere(number: int) -> None:
    data = files()["op_softmax"]
    for at in range(0, len(data), 4):
        if data[at : at + 4] == b"TFL3":
            continue
        damaged = data[:at] + struct.pack("<I", number) + data[at + 4 :]
        with contextlib.suppress(undertow.Error):
            undertow.load(damaged)


def test_a_table_in_itself_is_no_graph() -> None:
    """An offset of 0 leads to itself: what stands there is no table that fits."""
    data = bytearray(single("TANH"))
    struct.pack_into("<I", data, 0, 0)
    refused(bytes(data), "damaged|version 0 of the schema", undertow.Error)


def test_a_table_of_many_fields() -> None:
    """A layout of 30,000 fields, none of which is there, is not looked through for each table that has it."""
    data = bytearray(single("TANH"))
    at = struct.unpack_from("<I", data, 0)[0]
    data += bytes(-len(data) % 8)
    struct.pack_into("<i", data, at, at - len(data))
    data += struct.pack("<HH", 60_004, 8) + bytes(60_000)
    refused(bytes(data), "Model has 30000 fields, at most 64 are read")


def test_loops_of_many_values_end() -> None:
    """A loop that carries 700 values, each of which could be a list, in a body of long chains."""
    build = Build()
    inside = [Build(build), Build(build)]
    n = 700
    start = [build.constant(0), *(build.input(f"x{i}", (1, 4)) for i in range(4))]
    carried = [start[i % 5] if i else start[0] for i in range(n)]
    for graph in inside:
        ports = [
            graph.input(f"c{i}", () if i % 5 == 0 else (1, 4), "INT32" if i % 5 == 0 else "FLOAT32") for i in range(n)
        ]
        if graph is inside[0]:
            graph.graph["outputs"] = [graph.op("LESS", [ports[0], graph.constant(3)], (), "LessOptions", "BOOL")]
            continue
        one, chain = graph.constant(1), ports[1]
        for _ in range(2000):
            chain = graph.op("TANH", [chain], (1, 4))
        step = graph.op("ADD", [ports[0], one], (), "AddOptions", "INT32")
        graph.graph["outputs"] = [step if i % 5 == 0 else chain for i in range(n)]
    outputs = [
        build.tensor(f"o{i}", () if i % 5 == 0 else (1, 4), "INT32" if i % 5 == 0 else "FLOAT32") for i in range(n)
    ]
    build.operator("WHILE", carried, outputs, "WhileOptions", cond_subgraph_index=1, body_subgraph_index=2)
    before = time.process_time()
    with contextlib.suppress(undertow.Error):
        undertow.load(build.file(outputs[1]))
    assert time.process_time() - before < 30


def test_many_offsets_to_one_table_are_counted() -> None:
    """40 KB that ask for 60,000 tensors, or as many operators, of which each would be made."""
    for key, n in (("tensors", 60_000), ("operators", 16_000)):
        data = bytearray(single("TANH"))
        fields = {"version": 3, "operator_codes": [{"builtin_code": 28}], "buffers": [{}]}
        data = bytearray(packed("Model", fields | {"subgraphs": [{key: [{}]}]}))
        at = data.rindex(struct.pack("<I", 1), 0, len(data))  # the vector's length, in front of its one offset
        offset = struct.unpack_from("<I", data, at + 4)[0]
        assert offset < 100
        table = data[at + 4 + offset - 8 :]
        start = len(data) + (-len(data)) % 8
        vector = struct.pack("<I", n) + b"".join(struct.pack("<I", 4 * (n - i) + 8) for i in range(n))
        data += bytes(start - len(data)) + vector + table
        where = next(i for i in range(0, at, 4) if i + struct.unpack_from("<I", data, i)[0] == at and i > 8)
        struct.pack_into("<I", data, where, start - where)
        refused(bytes(data), "its graph takes more memory|it has 0 inputs", undertow.Error)


def test_constants_that_share_bytes_are_counted() -> None:
    """1 MB of weights that a hundred tensors stand for is a hundred MB."""
    build = Build()
    y = build.input("x", (1, None, 512))
    shared = build.tensor("w0", (512, 512), data=np.zeros((512, 512), np.float32))
    for i in range(100):
        weights = (
            shared if not i else build.tensor(f"w{i}", (512, 512), buffer=build.graph["tensors"][shared]["buffer"])
        )
        y = build.op("FULLY_CONNECTED", [y, weights, -1], (1, None, 512), "FullyConnectedOptions", keep_num_dims=True)
    refused(build.file(y), "takes more memory, with what is there already, than the 46 MiB")


def test_constants_that_do_not_fit() -> None:
    build = Build()
    x, c = build.input("x", (1, None, 4)), build.tensor("c", (4,), data=bytes(12))
    refused(
        build.file(build.op("ADD", [x, c], (1, None, 4))),
        "tensor 'c': FLOAT32 of shape .4. needs 16 bytes, found 12",
        FormatError,
    )
    for scale, zero, axis, match in (
        ([1.0, 2.0], [0, 0], 0, "2 scales along axis 0, which has 4 places"),
        ([1.0, 2.0], [0], 0, "2 scales along axis 0 with 1 zero points"),
        ([1.0] * 4, [0] * 4, 3, "4 scales along axis 3"),
        ([float("inf")], [0], 0, "a scale is inf"),
        ([1.0], [2**40], 0, "a zero point is 1099511627776"),
    ):
        build = Build()
        quantised = {"scale": scale, "zero_point": zero, "quantized_dimension": axis}
        x, c = build.input("x", (1, None, 4)), build.tensor("c", (4,), "INT8", bytes(4), quantization=quantised)
        refused(build.file(build.op("ADD", [x, c], (1, None, 4))), f"tensor 'c': {match}", FormatError)


def test_graphs_that_do_not_fit_together() -> None:
    build = Build()
    build.input("x", (1, None, 4))
    refused(
        build.file(build.tensor("y", (1, None, 4))), "tensor 'y' is used, but nothing computes it before", FormatError
    )
    build = Build()
    x = build.input("x", (1, None, 4))
    y = build.op("TANH", [x], (1, None, 4))
    build.operator("TANH", [x], [y])
    refused(build.file(y), "tensor 'y0' is computed twice", FormatError)
    build = Build()
    build.input("x", (1, None, 4))
    refused(build.file(build.op("TANH", [77], (1, 4))), "inputs hold tensor 77, but there are 2", FormatError)
    refused(single("ADD"), "ADD operator 'y0': it has 1 inputs, expected 2 to 2", FormatError)
    refused(single("TANH").replace(b"TFL3", b"TFL2"), "not known|first bytes|is not", undertow.Error)
    refused(packed("Model", {"version": 4}), "version 4 of the schema, expected 3")
    refused(packed("Model", {"version": 3}), "it holds no graph", FormatError)


def test_a_sparse_tensor() -> None:
    build = Build()
    x, c = build.input("x", (1, None, 4)), build.tensor("c", (4,), data=bytes(16), sparsity={})
    refused(build.file(build.op("ADD", [x, c], (1, None, 4))), "tensor 'c': it is stored sparse")


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imports = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "onnx":
            raise ImportError(name)
        return imports(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        ImportError, match=r'reading \.tflite files needs the onnx package: pip install "undertow\[tflite\]"'
    ):
        undertow.load(single("TANH"))
