# SPDX-License-Identifier: MIT
"""Models exported to C: every output and state has the bits of undertow's own stream, whatever compiles it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import random_models
import undertow
from exported import agree, build, compiler, frames, needs_compiler, same
from networks import GRAPHS, cell, single
from undertow import export, passes
from undertow.export.c import numerics, ops
from undertow.ir.activations import KINDS, Activation
from undertow.ir.graph import Graph
from undertow.ir.ops import OPS
from undertow.model import Model

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

DATA = Path(__file__).parent / "data" / "tow"
PRECISIONS = ("float16", "bfloat16", "int16", "int8", "int4", "fixed8")
#: flags of compilers that could change a bit
FLAGS = (
    ("-O0",),
    ("-O2", "-std=gnu99", "-mfma", "-ffp-contract=fast"),
    ("-O3", "-std=gnu99"),
    ("-O1", "-DUT_FMA=3", "-DUT_FLUSH=1"),  # as without an FPU
    ("-O1", "-DUT_FLUSH=1"),  # as without a switch for subnormal numbers
)


def streamable(path):
    model = undertow.load(path)
    return model if model.streamable else None


def name_of(path):
    return f"m_{path.stem}"


# -- bits ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    models = {name_of(path): model for path in sorted(DATA.glob("*.tow")) if (model := streamable(path))}
    return build(tmp_path_factory.mktemp("files"), models)


@needs_compiler
@pytest.mark.parametrize("path", sorted(DATA.glob("*.tow")), ids=lambda p: p.stem)
def test_every_file_of_the_collection(files, path):
    if name_of(path) not in files:
        with pytest.raises(undertow.UnsupportedError, match="cannot be exported to C"):
            export.source(undertow.load(path))
        return
    agree(files[name_of(path)], frames(files[name_of(path)].model, 30))


def lstms(rng):
    """One LSTM for each of its options."""
    options = [
        {"peephole": True},
        {"projection": 3},
        {"input_forget": True, "peephole": True},
        {"clip": 0.7, "bias": False},
        {"activations": (Activation("hard_sigmoid"), Activation("elu", 0.5, 2.0), Activation("affine", 2, 3))},
        {"start": True},
    ]
    return {f"lstm_{i}": single(rng, "lstm", 5, 7, **option) for i, option in enumerate(options)}


def built_by_hand():
    rng = np.random.default_rng(0)
    graphs = {name: make() for name, make in GRAPHS.items()} | lstms(rng)
    for op in ("rnn", "gru"):
        for n in (1, 2, 3, 8, 13):  # groups of rows, and what is left of them
            graphs[f"{op}_{n}"] = single(rng, op, n + 1, n, start=True)
    graphs["gru_after"] = single(rng, "gru", 3, 5, reset_after=True)
    graphs["gru_clip"] = single(rng, "gru", 3, 5, clip=0.5)
    return {f"g_{name}": Model.from_graph(graph) for name, graph in graphs.items()}


@needs_compiler
@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
def test_networks_built_by_hand(tmp_path, flags):
    models = built_by_hand()
    if "-mfma" in flags and not _runs(tmp_path, flags):
        pytest.skip("this CPU has no fused multiply-add, or its compiler no -mfma")
    for exported in build(tmp_path, models, flags).values():
        agree(exported, frames(exported.model, 20))


def _runs(folder, flags):
    """Whether programs compiled so run here."""
    (folder / "try.c").write_text(
        "int main(int n, char** v) { (void)v; return (int)__builtin_fmaf((float)n, 2.0f, -2.0f); }"
    )
    command = [compiler(), *flags, "-o", str(folder / "try"), str(folder / "try.c")]
    if subprocess.run(command, capture_output=True).returncode:
        return False
    return subprocess.run([str(folder / "try")]).returncode == 0


@needs_compiler
def test_every_precision(tmp_path):
    rng, models = np.random.default_rng(1), {}
    for op in ("lstm", "gru", "rnn"):
        g = Graph(op)
        ids = g.input("ids", (2,), "int32")
        e = g.add("embedding", [ids], weights={"table": rng.normal(size=(9, 35))})
        x = g.add("concat", [g.add("reshape", [e], attrs={"shape": (70,)}), g.input("x", 3)])
        (h, *_) = cell(g, rng, op, x, 37, **({"projection": 33} if op == "lstm" else {}))
        g.output("y", g.add("dense", [h], weights={"W": rng.normal(size=(6, g.shape(h)[0]))}))
        model = Model.from_graph(g)
        models |= {f"{op}_{precision}": model.with_weights(precision) for precision in PRECISIONS}
    wide = Model.from_graph(single(rng, "lstm", 600, 5))  # more columns than a stretch of sums has
    models |= {f"wide_{precision}": wide.with_weights(precision) for precision in ("int16", "int8", "fixed8")}
    for name, exported in build(tmp_path, models, ("-O1",)).items():
        agree(exported, frames(exported.model, 15, scale=3.0 if "int4" in name else 1.0))


@needs_compiler
def test_every_activation_on_numbers_of_all_kinds(tmp_path):
    g = Graph("activations")
    x = g.input("x", 64)
    for kind in KINDS:
        g.output(kind, g.add("activation", [x], attrs={"activation": Activation(kind)}))
    exported = build(tmp_path, {"acts": Model.from_graph(g)})["acts"]
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 2**32, (400, 64), dtype=np.uint32).view(np.float32)
    near = (rng.normal(size=(400, 64)) * 10.0 ** rng.integers(-3, 3, (400, 1))).astype(np.float32)
    with np.errstate(all="ignore"):
        agree(exported, {"x": np.concatenate([bits, near])})


@needs_compiler
@pytest.mark.parametrize("precision", ["float32", *PRECISIONS])
def test_inputs_that_are_no_numbers_or_nearly_none(tmp_path, precision):
    model = Model.from_graph(single(np.random.default_rng(3), "gru", 6, 9)).with_weights(precision)
    exported = build(tmp_path, {"odd": model})["odd"]
    X = frames(model, 60)
    odd = [np.nan, np.inf, -np.inf, 1e-42, -1e-42, 1e-38, 3e38, -0.0, 1e-32, 0.0]
    for t, number in enumerate(odd):
        X["x"][3 * t, t % 6] = number
    X["x"][40:44] = 0
    X["x"][44:48] *= np.float32(1e-40)
    for first, end in ((0, 3), (9, 60)):  # what is NaN once stays it: those before and those behind
        exported.bind(exported.library)
        agree(exported, {"x": X["x"][first:end]})
    agree_from_start(exported, X)


def agree_from_start(exported, X):
    exported.bind(exported.library)
    agree(exported, X)


@needs_compiler
def test_weights_of_all_kinds(tmp_path):
    """Literals are read back to the bit, those of infinity and NaN too."""
    rng = np.random.default_rng(6)
    W = rng.integers(0, 2**32, (40, 9), dtype=np.uint32).view(np.float32)
    W[0, :6] = np.nan, np.inf, -np.inf, 1e-45, -0.0, np.finfo(np.float32).max
    g = Graph("literals")
    x = g.input("x", 9)
    y = g.add("dense", [x], weights={"W": W, "b": rng.normal(size=40)})
    g.output("y", y)
    g.output("k", g.add("constant", weights={"value": W.reshape(-1)}))
    ones = g.add("constant", weights={"value": np.float32([1.0, -0.0])})
    few = g.add("select", [x], weights={"indices": np.array([1, 2])})
    for op in ("mul", "add", "sub", "div"):  # which a compiler may think do nothing
        g.output(op, g.add(op, [few, ones]))
    g.output("scaled", g.add("affine", [few], weights={"scale": [1.0, 1.0], "shift": [-0.0, 0.0]}))
    exported = build(tmp_path, {"literals": Model.from_graph(g)}, ("-O3",))["literals"]
    X = frames(exported.model, 12)
    X["x"][6:] *= np.float32(1e-39)
    with np.errstate(all="ignore"):
        agree(exported, X)


def test_what_a_header_says_of_time():
    header = export.source(undertow.load(DATA / "rated.tow"), "m").header
    assert f"#define M_SAMPLE_RATE {undertow.load(DATA / 'rated.tow').sample_rate} " in header
    model = undertow.load(DATA / "strides.tow")
    header = export.source(model, "m").header
    assert model.frames_in > 1 and f"#define M_FRAMES_IN {model.frames_in} " in header


SEEDS = range(60)


@needs_compiler
def test_random_models(tmp_path):
    """Every op and option in graphs of all shapes; more of them by hand."""
    models = {}
    for seed in SEEDS:
        model = Model.from_graph(random_models.make(seed).graph)
        if model.streamable:
            models[f"r{seed}"] = model
    assert len(models) > 40
    for seed, exported in enumerate(build(tmp_path, models).values()):
        agree(exported, frames(exported.model, 8, seed, 10.0 ** (seed % 5 - 2)))


@needs_compiler
def test_look_ahead_and_the_end_of_a_sequence(tmp_path):
    model = undertow.load(DATA / "ahead.tow")
    exported = build(tmp_path, {"ahead": model})["ahead"]
    assert model.latency > 0 and f"#define AHEAD_LATENCY {model.latency} " in exported.source.header
    X = frames(model, 9)
    stream = model.stream()
    stream.run(X)
    agree(exported, X)
    rest = stream.flush()
    rest = rest if isinstance(rest, dict) else {next(iter(model.outputs)): rest}
    for t in range(model.latency):
        outputs = exported.step(None)
        for name, y in rest.items():
            same(outputs[name], y[t], f"frame {t} of the end")


@needs_compiler
def test_under_sanitizers(tmp_path):
    """No access outside of an array, nothing that C leaves undefined: in programs, for sanitizers want that."""
    models = {"zoo": Model.from_graph(GRAPHS["zoo"]()), "ahead": undertow.load(DATA / "ahead.tow")}
    models |= {f"p_{p}": undertow.load(DATA / f"{p}.tow") for p in ("sparse", "int4", "int16", "framed", "rows")}
    for name, model in models.items():
        source = export.source(model, name)
        (tmp_path / f"{name}.h").write_text(source.header)
        (tmp_path / f"{name}.c").write_text(source.code)
        facts = source.facts
        arrays = "".join(
            f"static {p.c_type} {p.c_name}_[{facts.macro_of(p)}];\n" for p in (*facts.inputs, *facts.outputs)
        )
        call = ", ".join(f"{p.c_name}_" for p in (*facts.inputs, *facts.outputs))
        fill = "".join(
            f"for (i = 0; i < {facts.macro_of(p)}; ++i) {p.c_name}_[i] = "
            + ("(int32_t)(i + t) % 5 - 1;" if p.c_type == "int32_t" else "(float)((i * 7 + t * 3) % 11) - 5.0f;")
            for p in facts.inputs
        )
        (tmp_path / f"{name}_main.c").write_text(
            f'#include <stdlib.h>\n#include "{name}.h"\n{arrays}int main(void) {{ {name}_state* s = malloc(sizeof *s);'
            f"size_t t, i; {name}_reset(s); for (t = 0; t < 12; ++t) {{ {fill} {name}_step(s, {call}); }} free(s);"
            "return 0; }"
        )
        program = tmp_path / name
        sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
        files = [str(tmp_path / f"{name}.c"), str(tmp_path / f"{name}_main.c")]
        done = subprocess.run([compiler(), *sanitize, "-o", str(program), *files], capture_output=True, text=True)
        if done.returncode and "lasan" in done.stderr:
            pytest.skip("the compiler has no sanitizers: apt install libasan8 libubsan1")
        assert done.returncode == 0, done.stderr
        done = subprocess.run([str(program)], capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr}"


@needs_compiler
def test_other_compilers_take_it(tmp_path):
    """As C++, and by clang where there is one, without a warning."""
    model = Model.from_graph(GRAPHS["zoo"]())
    (header, code) = undertow.export_c(model, tmp_path, "zoo")
    commands = {"g++": ["-x", "c++", "-std=c++17", "-Wall", "-Wextra", "-Werror"]}
    commands["clang"] = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wno-sign-conversion", "-Werror"]
    for command, flags in commands.items():
        if shutil.which(command):
            done = subprocess.run([command, *flags, "-c", str(code), "-o", str(tmp_path / "o")], capture_output=True)
            assert done.returncode == 0, done.stderr.decode()
    done = subprocess.run([compiler(), "-Ofast", "-c", str(code), "-o", str(tmp_path / "o")], capture_output=True)
    assert done.returncode and b"-ffast-math" in done.stderr
    assert header.exists()


@needs_compiler
def test_numbers_that_stand_in_an_expression_are_no_array(tmp_path, rng):
    """(1 - z) h: the 1 is a literal, and an array that nothing reads would be a warning."""
    g = Graph("gate")
    z = g.add("dense", [g.input("x", 8)], weights={"W": rng.normal(size=(8, 8))})
    h = g.add("state_read", states=[g.state("h", 8)])
    rest = g.add("affine", [z], weights={"scale": -np.ones(8), "shift": np.ones(8)})
    new = g.add("add", [g.add("mul", [rest, h]), z])
    g.add("state_write", [new], states=["h"])
    g.output("y", new)
    passes.run(g)
    assert [n.op for n in g.nodes].count("constant") == 1
    model = Model.from_graph(g)
    source = export.source(model, "gate")
    assert source.facts.weight_bytes == 8 * 8 * 4
    (_, code) = undertow.export_c(model, tmp_path, "gate")
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wunused-const-variable=2"]
    done = subprocess.run(
        [compiler(), *flags, "-c", str(code), "-o", str(tmp_path / "o")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# -- what is written -------------------------------------------------------------------------------------------------


def test_a_header_says_what_there_is():
    model = undertow.load(undertow.example("digits"))
    source = export.source(model, "digits")
    header = source.header
    assert f'#define DIGITS_HASH "{model.hash.hex()}"' in header
    assert "#define DIGITS_INPUT_SIZE 8 " in header and "#define DIGITS_OUTPUT_SIZE 10 " in header
    assert "void digits_step(digits_state* state, const float* input, float* output);" in header
    assert "malloc" not in source.code and "printf" not in source.code
    assert {*re.findall(r"#include <(.+?)>", source.code)} == {
        "arm_mve.h", "float.h", "math.h", "stdbool.h", "stddef.h", "stdint.h", "string.h", "xmmintrin.h",
    }  # fmt: skip


def test_a_header_says_what_ids_and_gates_are():
    zoo = export.source(Model.from_graph(GRAPHS["zoo"]()), "m").header
    assert "#define M_IDS_SIZE 2 " in zoo and "/* ids of ids, (2,): 0 to 10, any other gives NaN */" in zoo
    assert "/* numbers of x, (7,) */" in zoo
    graph = single(np.random.default_rng(0), "gru", 3, 5)
    (node,) = graph.nodes
    node.inputs += (graph.input("valid", (1,)),)
    header = export.source(Model.from_graph(graph), "m").header
    assert "/* gate valid, (1,): 1, or 0 where the frame is none of the sequence */" in header


def test_weights_are_not_padded():
    model = Model.from_graph(single(np.random.default_rng(0), "lstm", 32, 32))
    facts = export.source(model, "m").facts
    assert facts.weight_bytes == 4 * 4 * 32 * (32 + 32 + 1)
    assert facts.state_bytes == 4 * 2 * 32  # of a model whose output the caller holds
    halved = export.source(model.with_weights("int8"), "m").facts
    assert halved.weight_bytes == 4 * 32 * (32 + 32) + 3 * 4 * 4 * 32  # and two scales and a bias for each row


def test_only_what_is_needed():
    code = export.source(Model.from_graph(single(np.random.default_rng(0), "rnn", 3, 4)), "m").code
    assert "vtanh" in code and "vsigmoid" not in code and "products_i" not in code and "verf" not in code
    assert "malloc" not in code and "(*" not in re.sub(r"/\*.*?\*/", "", code.split("/* -- weights")[1], flags=re.S)


def test_every_op_has_a_row():
    assert ops.EXPORTS.keys() == OPS.keys()


def test_the_headers_are_all_understood():
    """A definition that the scanner misses would be one that no exported model can have."""
    names = {name for chunk in numerics._chunks() for name in chunk.names}
    for file in numerics.HEADERS:
        text = numerics._header(file)
        text = re.sub(r"#if defined\(__cplusplus\)\n.*?#endif", "", text, flags=re.S)
        assert {*re.findall(r"^(?:UT_UNUSED )?static (?:inline |UT_NOINLINE )?\w+ (\w+)\(", text, re.M)} <= names, file
    for kind in KINDS:
        if kind != "identity":
            text, needs = numerics.activation(Activation(kind), "act")
            assert text and numerics.functions(needs)
            text, needs = numerics.activation(Activation(kind), "act", lanes=True)
            assert "act_4" in text and numerics.lanes(needs)
    text = numerics._header("float32x4.h")
    assert {*re.findall(r"^static inline \w+ (\w+)\(", text, re.M)} <= numerics.lane_names()


def test_names_that_c_would_not_take():
    g = Graph("*/ int main() { \n #error \\")
    x = g.input("float", 2)
    y = g.input("1 2/3", 2)
    g.output("float", g.add("add", [x, y], name="*/ evil \\"))
    g.output("größe", x)
    source = export.source(Model.from_graph(g), "m")
    assert "const float* float_, const float* v1_2_3, float* float__2, float* gr_e" in source.header
    assert source.code.isascii() and source.header.isascii()
    assert "*/ int main" not in source.code and "*/ evil" not in source.code
    if compiler():
        command = [compiler(), "-std=c99", "-pedantic", "-Wall", "-Werror", "-x", "c", "-c", "-", "-o", "/dev/null"]
        code = source.code.replace('#include "m.h"', source.header)
        done = subprocess.run(command, input=code, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_two_models_live_in_one_program(tmp_path):
    if not compiler():
        pytest.skip("needs a C compiler: apt install gcc")
    model = Model.from_graph(GRAPHS["gru"]())
    both = build(tmp_path, {"one": model, "two": model.with_weights("int8")})
    for exported in both.values():
        agree(exported, frames(exported.model, 5))


def test_a_path_is_loaded(tmp_path):
    paths = undertow.export_c(undertow.example("digits"), tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["model.h", "model.c"]
    again = undertow.export_c(undertow.load(undertow.example("digits")), tmp_path)
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]


# -- errors ----------------------------------------------------------------------------------------------------------


def test_only_what_undertow_wrote_is_replaced(tmp_path):
    first, second = (undertow.load(undertow.example("digits"), weights=w) for w in (None, "int8"))
    for model in (first, second):
        for path in undertow.export_c(model, tmp_path):
            assert export.hash_of(path) == model.hash.hex()
    assert export.hash_of(tmp_path / "other.h") is None
    for name in ("model.h", "model.c"):
        undertow.export_c(first, tmp_path)
        (tmp_path / name).write_text("int mine;")
        with pytest.raises(FileExistsError, match="undertow did not write"):
            undertow.export_c(second, tmp_path)
        assert (tmp_path / name).read_text() == "int mine;"
        (tmp_path / name).unlink()


def test_what_needs_the_whole_sequence_is_named():
    g = single(np.random.default_rng(0), "lstm", 2, 3, name="back", reverse=True)
    with pytest.raises(undertow.UnsupportedError, match="lstm 'back': cannot be exported to C, it runs backwards"):
        export.source(Model.from_graph(g))


@pytest.mark.parametrize("name", ["", "a b", "1a", "ü", "int", "a-b"])
def test_names_must_be_identifiers(tmp_path, name):
    with pytest.raises(ValueError, match="expected an identifier of C"):
        undertow.export_c(undertow.example("digits"), tmp_path, name)
    assert not [*tmp_path.iterdir()]


# -- firmware --------------------------------------------------------------------------------------------------------

_BOARD = """\
#include "m.h"
extern unsigned stack_top;
static int call(int op, const void* arg) {
  register int r0 __asm__("r0") = op;
  register const void* r1 __asm__("r1") = arg;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}
static m_state s;
static float x[M_X_SIZE], y[M_Y_SIZE];
__attribute__((noinline)) static void run(void) {
  unsigned rng = 1, hash = 2166136261u;
  char text[10];
  int i, t;
  m_reset(&s);
  for (t = 0; t < 20; ++t) {
    for (i = 0; i < M_X_SIZE; ++i) {
      rng = rng * 1664525u + 1013904223u;
      x[i] = (float)(int)(rng >> 16) * (1.0f / 32768.0f) - 1.0f;
    }
    m_step(&s, x, y);
    for (i = 0; i < (int)sizeof y; ++i) hash = (hash ^ ((unsigned char*)y)[i]) * 16777619u;
  }
  for (i = 0; i < 8; ++i) text[i] = "0123456789abcdef"[hash >> (28 - 4 * i) & 15];
  text[8] = '\\n';
  text[9] = 0;
  call(4, text);
}
void reset(void) {
#if defined(__ARM_FP)
  *(volatile unsigned*)0xE000ED88 |= 0xf << 20; /* the FPU, before anything keeps its registers */
  __asm__ volatile("dsb\\n isb");
#endif
  run();
  call(0x18, (void*)0x20026);
  for (;;) {
  }
}
__attribute__((section(".vectors"), used)) void* const vectors[] = {&stack_top, (void*)reset};
"""
_LAYOUT = """\
MEMORY { FLASH (rx) : ORIGIN = @flash, LENGTH = 512K  RAM (rwx) : ORIGIN = @ram, LENGTH = 256K }
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) } > FLASH
  .bss : { *(.data*) *(.bss*) *(COMMON) } > RAM
  stack_top = ORIGIN(RAM) + LENGTH(RAM);
}
"""
#: core -> flags, board, where its flash and its RAM begin
_CORES = {
    "cortex-m4f": ("-mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16", "mps2-an386", "0", "0x20000000"),
    "cortex-m0plus": ("-mcpu=cortex-m0plus -mfloat-abi=soft", "mps2-an386", "0", "0x20000000"),
    "cortex-m55": ("-mcpu=cortex-m55 -mfloat-abi=hard", "mps3-an547", "0x10000000", "0x31000000"),
}


def _hash(model, T=20):
    """What the program above prints."""
    rng, h, stream = 1, 2166136261, model.stream()
    for _ in range(T):
        x = np.zeros(model.inputs["x"].shape, np.float32)
        for i in range(x.size):
            rng = (rng * 1664525 + 1013904223) % 2**32
            x[i] = np.float32(rng >> 16) * np.float32(1 / 32768) - np.float32(1)
        for byte in stream.step(x).tobytes():
            h = (h ^ byte) * 16777619 % 2**32
    return f"{h:08x}"


@pytest.mark.skipif(
    not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")),
    reason="needs arm-none-eabi-gcc and qemu-system-arm: apt install gcc-arm-none-eabi qemu-system-arm",
)
@pytest.mark.parametrize("level", ["-O2", "-Os"])  # where GCC may use other registers
@pytest.mark.parametrize("core", _CORES)
@pytest.mark.parametrize("precision", ["float32", "float16", "int16", "int8", "int4", "fixed8"])
def test_firmware(tmp_path, core, precision, level):
    """One program on an emulated board, with the kernels that only such a core has."""
    rng = np.random.default_rng(4)
    g = Graph("m")
    h = cell(g, rng, "gru", g.input("x", 7), 13, reset_after=True)[0]
    c = cell(g, rng, "lstm", h, 10, "second")[0]
    more = g.add("dense", [c], weights={"W": rng.normal(size=(520, 10)) / 9}, attrs={"activation": Activation("erf")})
    g.output("y", g.add("dense", [more], weights={"W": rng.normal(size=(5, 520)), "b": rng.normal(size=5)}))
    model = Model.from_graph(g).with_weights(precision)
    _, code = undertow.export_c(model, tmp_path, "m")
    (tmp_path / "board.c").write_text(_BOARD)
    options, machine, flash, ram = _CORES[core]
    (tmp_path / "board.ld").write_text(_LAYOUT.replace("@flash", flash).replace("@ram", ram))
    flags = [*options.split(), "-mthumb", level, "-Wall", "-Wextra", "-Werror", "-nostartfiles", "--specs=nano.specs"]
    linked = ["-T", str(tmp_path / "board.ld"), "-o", str(tmp_path / "fw.elf"), str(tmp_path / "board.c"), str(code)]
    done = subprocess.run(["arm-none-eabi-gcc", *flags, *linked], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    board = ["-M", machine, "-nographic", "-monitor", "none", "-serial", "none", "-semihosting"]
    board += ["-semihosting-config", "enable=on,target=native", "-kernel", str(tmp_path / "fw.elf")]
    done = subprocess.run(["qemu-system-arm", *board], capture_output=True, text=True, timeout=60)
    assert (done.stdout + done.stderr).split()[-1] == _hash(model)


if __name__ == "__main__":  # more random models: python tests/test_export_c.py FIRST END
    SEEDS = range(*map(int, sys.argv[1:3]))
    test_random_models(Path("build") / "exported")
