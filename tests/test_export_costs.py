# SPDX-License-Identifier: MIT
"""What an exported model costs on a target: counted in its C, priced by what QEMU measured, held against budgets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import random_models
import undertow
from undertow import export
from undertow.export import costs
from undertow.ir.graph import Graph
from undertow.layers import GRU, LSTM, Dense, LayerNorm, Sequential, Softmax
from undertow.model import Model

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data" / "tow"


def lstm(n_in, n, precision="float32"):
    rng = np.random.default_rng(n)
    w = lambda *shape: rng.uniform(-0.3, 0.3, shape).astype(np.float32)  # noqa: E731
    layers = [LSTM(w(4 * n, n_in), w(4 * n, n), w(4 * n)), Dense(w(1, n), w(1))]
    return Sequential(layers).with_weights(precision)


def counts_of(model):
    return costs.counts(export.source(model, "m").program)


@pytest.mark.parametrize("n_in, n", [(32, 32), (1, 10), (7, 13), (3, 1), (5, 17)])
@pytest.mark.parametrize("precision, words, family", [
    ("float32", 1, "chains_f32"), ("float16", 1, "chains_f16"), ("bfloat16", 1, "chains_bf16"),
    ("int16", 2, "products_i16"), ("int8", 4, "products_i8"), ("int4", 8, "products_i4"),
])  # fmt: skip
def test_products_of_a_step_are_all_counted(n_in, n, precision, words, family):
    """Rows and their columns, whatever groups they are multiplied in, and one activation for each gate."""
    found = counts_of(lstm(n_in, n, precision))
    of_family = {key: number for key, number in found.items() if key.startswith(family) and key.endswith(" row")}
    turns = sum(number for key, number in of_family.items() if key.endswith(" turn row"))
    rows = sum(of_family.values()) - turns
    assert rows == 4 * n + 4 * n + 1
    assert turns == 4 * n * -(-n_in // words) + (4 * n + 1) * -(-n // words)
    assert found["act_sigmoid"] == 3 * n and found["act_tanh"] == 2 * n
    if words > 1:
        quantised = [
            sum(found.get(f"{name}{end}", 0) for name in ("quantise", "quantise_smoothed")) for end in ("", " turn")
        ]
        assert quantised == [3, n_in + 2 * n]


def test_loops_and_copies():
    """A window of past frames, rows of a frame, a sparse matrix and gathered elements."""
    rng = np.random.default_rng(0)
    w = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    conv = Sequential([undertow.Conv1D(w(5, 4, 6), w(6))])
    found = counts_of(conv)
    assert found["chains_f32 turn row"] == 5 * 4 * 6
    spectrum = Sequential([undertow.FrameConv2D(w(3, 3, 2, 8), w(8), padding="same")], input_shape=(5, 12, 2))
    found = counts_of(spectrum)
    assert found["chains_f32 turn row"] == 5 * 12 * 3 * 3 * 2 * 8
    assert found["copy_runs_of_inputs_16 element"] == 5 * 12 * 3 * 3 * 2
    graph = Graph("ids")  # rows of a table, of which one that is not there is NaN: the rare way
    rows = graph.add("embedding", [graph.input("ids", (2,), "int32")], weights={"table": w(9, 8)})
    graph.output("y", rows)
    found = counts_of(Model.from_graph(graph).with_weights("int8"))
    assert found["mul"] == 2 * 8 and found["turn"] == 2 + 2 * 8
    zeros = np.zeros((64, 64), np.float32)
    zeros[:16, :4] = zeros[32:48, 8:12] = 1
    sparse = Sequential([Dense(zeros)]).with_weights("int8", sparse=True)
    blocks = sum(value for key, value in counts_of(sparse).items() if key == "sparse_i8 element")
    assert blocks == 2 * 4


def test_every_model_can_be_counted():
    """No loop whose turns are not known, and nothing without a price."""
    seen = 0
    models = [undertow.load(path) for path in sorted(DATA.glob("*.tow"))]
    models += [Model.from_graph(random_models.make(seed).graph) for seed in range(200, 260)]
    for model in models:
        if not model.streamable:
            continue
        source = export.source(model, "m")
        for target in costs.targets():
            found = costs.estimate(source, target)
            assert found.instructions > 0 and found.code_bytes > 0 and found.stack_bytes > 0
            assert (found.cycles is not None) == (target in costs.timed())
            assert found.cycles is None or found.cycles >= found.instructions
        assert found.weight_bytes == source.facts.weight_bytes and found.ram_bytes == source.facts.state_bytes
        seen += 1
    assert seen > 60


def small_models():
    rng = np.random.default_rng(3)
    w = lambda *shape: rng.uniform(-0.3, 0.3, shape).astype(np.float32)  # noqa: E731
    cell = lambda k, n: LSTM(w(4 * n, k), w(4 * n, n), w(4 * n))  # noqa: E731
    return {
        "softmax": Sequential([Softmax()], input_shape=4),
        "layer_norm": Sequential([LayerNorm(w(64), w(64))], input_shape=64),
        "dense": Sequential([Dense(w(1, 1), w(1))]),
        "least": Sequential([cell(1, 1)]).with_weights("fixed8"),
        "stacked": Sequential([cell(4, 4) for _ in range(8)]).with_weights("fixed8"),
        "lstm": Sequential([cell(4, 8)]),
    }


@pytest.mark.parametrize("name", small_models())
def test_no_instruction_takes_less_than_a_cycle(name):
    source = export.source(small_models()[name], "m")
    for target in costs.timed():
        found = costs.estimate(source, target)
        assert found.cycles > found.instructions


@pytest.mark.parametrize("target, name, instructions, code, stack", [
    ("cortex-m4f", "softmax", 412, 448, 108), ("cortex-m4f", "dense", 28, 128, 12),
    ("cortex-m0plus", "dense", 198, 1096, 60),
    ("cortex-m0plus", "softmax", 10_325, 1940, 164), ("cortex-m4f", "layer_norm", 2458, 376, 108),
    ("cortex-m0plus", "layer_norm", 55_275, 2324, 208),
])  # fmt: skip
def test_small_models_are_priced_alone(target, name, instructions, code, stack):
    """As QEMU counted steps, without the loops over inputs and outputs of the program around them."""
    found = costs.estimate(export.source(small_models()[name], "m"), target)
    assert found.instructions == pytest.approx(instructions, rel=0.2)
    assert found.code_bytes == pytest.approx(code, rel=0.2)
    assert found.stack_bytes == pytest.approx(stack, abs=64)


def test_flash_has_the_library():
    """The linked firmware of such an LSTM has 8812 bytes on a Cortex-M0+, of which start and vectors are some 300."""
    source = export.source(small_models()["lstm"], "m")
    found = costs.estimate(source, "cortex-m0plus")
    assert 3000 < found.library_bytes < 4500 and 8000 < found.flash_bytes < 9000
    assert found.flash_bytes == found.weight_bytes + found.code_bytes + found.library_bytes
    assert costs.estimate(source, "cortex-m4f").library_bytes < 600
    fixed = export.source(small_models()["least"], "m")
    assert costs.estimate(fixed, "cortex-m0plus").library_bytes < 1500


def test_functions_of_layers_are_code_once():
    code = costs.estimate(export.source(small_models()["stacked"], "m"), "cortex-m0plus").code_bytes
    assert 5000 < code < 8000


@pytest.mark.skipif(
    not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")),
    reason="needs arm-none-eabi-gcc and qemu-system-arm: apt install gcc-arm-none-eabi qemu-system-arm",
)
@pytest.mark.parametrize("target", ["cortex-m4f", "cortex-m0plus"])
@pytest.mark.parametrize("precision", ["float32", "int16", "int8"])
def test_prices_are_those_of_today(tmp_path, target, precision, monkeypatch):
    """A model that no price was fitted to, counted under QEMU. When this fails, bench/costs.py has new prices."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    bench = __import__("targets")
    known = {t.name: t for t in bench.targets.TARGETS}
    made = bench.exported(known[target], tmp_path, lstm(9, 28, precision), bench.plugin(tmp_path), "-O2")
    found = costs.estimate(made.source, target)
    assert found.instructions == pytest.approx(made.instructions, rel=0.12)
    assert found.cycles == pytest.approx(made.cycles, rel=0.12)
    assert found.code_bytes == pytest.approx(made.code_bytes, rel=0.25)
    assert found.library_bytes == pytest.approx(sum(made.library.values()), abs=400)
    assert found.stack_bytes == pytest.approx(made.stack_bytes, rel=0.4)


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("costs") / "m.tow"
    lstm(32, 32).save(path)
    return path


def test_info_says_what_a_target_needs(path, capsys):
    code, said, _ = run_info(capsys, path, "--target", "cortex-m4f")
    assert code == 0
    for word in ("flash", "RAM", "instructions", "cycles", "33,", "of weights", "of stack", "compiler's library"):
        assert word in said
    assert said.startswith("m.tow in float32 on cortex-m4f") and "code and library" in said.splitlines()[-1]
    facts = json.loads(run_info(capsys, path, "--target", "cortex-m4f", "--json")[1])
    model = undertow.load(path)
    assert (facts["model"], facts["hash"], facts["dtype"]) == (model.name, model.hash.hex(), "float32")
    assert {*facts["errors"]} == {"instructions", "cycles", "code", "stack"}
    assert "budget" not in said


@pytest.mark.parametrize("budget, code", [
    (("--flash", "64k"), 0), (("--flash", "33k"), 1), (("--ram", "8KiB"), 0), (("--ram", "500"), 1),
    (("--cycles", "60k"), 0), (("--cycles", "10,000"), 1), (("--instructions", "10000"), 1), (("--stack", "1K"), 0),
    (("--stack", "64"), 1), (("--flash", "1M", "--ram", "500"), 1),
])  # fmt: skip
def test_budgets_have_an_exit_code(path, capsys, budget, code):
    got, said, _ = run_info(capsys, path, "--target", "cortex-m4f", *budget)
    assert got == code
    assert ("too much" in said) == (code == 1)
    got, said, _ = run_info(capsys, path, "--target", "cortex-m4f", "--json", *budget)
    facts = json.loads(said)
    assert got == code and facts["fits"] == (code == 0)
    limits = facts["budgets"][budget[-2].removeprefix("--")]
    assert limits["fits"] == (limits["needed"] <= limits["limit"])


def test_a_budget_within_the_error_says_so(path, capsys):
    facts = json.loads(run_info(capsys, path, "--target", "cortex-m4f", "--json", "--cycles", "1M")[1])
    limit = str(facts["budgets"]["cycles"]["needed"] + 1)
    code, said, _ = run_info(capsys, path, "--target", "cortex-m4f", "--cycles", limit)
    assert code == 0 and "fits, but may need" in said
    at_most = str(facts["budgets"]["cycles"]["at_most"])
    assert "may need" not in run_info(capsys, path, "--target", "cortex-m4f", "--cycles", at_most)[1]
    said = run_info(capsys, path, "--target", "cortex-m4f", "--stack", "1k")[1]
    rows = [line.split()[0] for line in said.splitlines() if line]
    assert rows.index("RAM") < rows.index("stack") < rows.index("instructions")


@pytest.mark.parametrize("arguments, said", [
    (("--flash", "64k"), "--flash is a budget on a --target, which is missing"),
    (("--target", "cortex-m4f", "--costs"), "leave one of them out"),
    (("--target", "cortex-m33", "--cycles", "5"), "or a --target whose cycles are known: cortex-m4f, cortex-m0plus"),
    (("--target", "cortex-m4f", "--flash", "0"), "expected bytes above 0, such as 65536, 64k or 1M"),
    (("--target", "cortex-m4f", "--cycles", "-3"), "expected a whole number above 0"),
    (("--target", "cortex-m5"), "invalid choice: 'cortex-m5'"),
])  # fmt: skip
def test_options_that_do_not_go_together(path, capsys, arguments, said):
    code, _, error = run_info(capsys, path, *arguments)
    assert code == 2 and said in error


def test_a_model_that_cannot_be_exported_is_named(capsys, tmp_path):
    rng = np.random.default_rng(0)
    backwards = GRU(rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 4, 4)), reset_after=False, reverse=True)
    Sequential([backwards]).save(tmp_path / "b.tow")
    code, _, error = run_info(capsys, tmp_path / "b.tow", "--target", "cortex-m4f")
    assert code == 3 and "gru" in error and "cannot be exported to C" in error


def run_info(capsys, *arguments):
    from undertow.cli import main

    try:
        code = main(["info", *map(str, arguments)])
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()
