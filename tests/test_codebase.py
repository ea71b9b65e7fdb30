# SPDX-License-Identifier: MIT
"""The shape of the code: who may include or import whom, lengths, characters, facts that stand in several places."""

import ast
import re
import symtable
from pathlib import Path

import pytest

import undertow
from undertow import _core, support
from undertow.ir import activations
from undertow.ir.ops import OPS

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "csrc").exists(), reason="needs the source tree")

C_FILES = sorted(
    p
    for folder in ("csrc", "src")
    for p in (ROOT / folder).rglob("*")
    if p.suffix in {".h", ".hpp", ".cpp", ".c", ".pyx", ".pxi", ".pxd"}
)
PY_FILES = sorted((ROOT / "python").rglob("*.py"))
ALL = [*C_FILES, *PY_FILES]
KERNELS = {
    f"{name}-inl.h"
    for name in (
        "kernels",
        "chunks",
        "fixed",
        "math",
        "frames",
        "rows",
        "quantize",
        "flushing",
        "weights",
        "matvec",
        "convolution",
        "expression",
        "attend",
        "sparse",
        "cells",
        "reduced-step",
        "small",
        "step",
        "tiny",
    )
}

#: file (or folder) of csrc -> own headers it may include; the system headers of C++ are free outside kernels/
MAY_INCLUDE = {
    "include/": {"undertow.h", "undertow_values.hpp"},
    "format": {"format.h", "undertow.h"},
    "attention.h": set(),
    "expression.h": set(),
    "kernels.h": {"attention.h", "expression.h"},
    "cpu": {"cpu.h"},
    "dispatch": {"cpu.h", "dispatch.h", "kernels.h"},
    "plan": {"plan.h", "format.h", "kernels.h", "op.h", "ring.h"},
    "compiler.h": set(),
    "ops/": {"op.h", "plan.h", "recurrent.h", "ring.h", "team.h"},
    "run": {"run.h", "op.h", "cpu.h"},
    "team": set(),
    "stream": {"undertow.h", "op.h", "plan.h"},
    "api_check": {"format.h"},
    "api_history": {"ring.h", "run.h", "stream.h"},
    "api_states": {"ring.h", "run.h", "stream.h"},
    "api": {"undertow.h", "cpu.h", "dispatch.h", "plan.h", "run.h", "stream.h", "team.h"},
    "kernels/": {
        *KERNELS,
        "cpu.h",
        "kernels.h",
        "float32.h",
        "fixed.h",
        "float32x4.h",
        "vec_scalar.h",
        "vec_avx2.h",
        "vec_avx512.h",
        "vec_neon.h",
        "vec_rvv.h",
        "vec_wasm.h",
        "flushing_lanes.h",
    },
    "examples/": {"undertow.h", "undertow.hpp", "model.inc"},
}


def code(path):
    """The text of a C or C++ file without its comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.S)


def includes(path):
    return re.findall(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', path.read_text(), re.M)


@pytest.mark.parametrize("path", [p for p in C_FILES if "csrc" in p.parts], ids=lambda p: p.name)
def test_no_include_points_upward(path):
    relative = str(path.relative_to(ROOT / "csrc"))
    allowed = next((names for prefix, names in MAY_INCLUDE.items() if relative.startswith(prefix)), None)
    assert allowed is not None, f"{relative}: say in MAY_INCLUDE what it may know"
    own = {Path(name).name for quote, name in includes(path) if quote == '"'}
    assert own <= allowed | {path.name, "compiler.h"}, f"{relative} includes {own - allowed}"
    if relative.startswith("kernels/"):
        system = {name for quote, name in includes(path) if quote == "<"}
        assert system <= {
            "stddef.h",
            "stdint.h",
            "immintrin.h",
            "arm_neon.h",
            "arm_mve.h",
            "arm_acle.h",
            "wasm_simd128.h",
        }, f"{relative}: a C++ header would emit code"


def test_bindings_use_the_public_header_only():
    for path in (ROOT / "src").iterdir():
        if path.suffix in {".cpp", ".h"}:
            own = {name for quote, name in includes(path) if quote == '"'}
            assert own <= {"undertow.h", "errors.h", "crew.h", "helpers.h", "system.h", "logits.h"}, path.name


#: the package from the ground up: a module may import what stands on lower floors, and the rest of its own room
FLOORS = [
    {"_text", "_files", "_progress", "_threads", "budget", "_core"},
    {"errors"},
    {"ir", "weights", "states"},
    {"tow", "reference", "_inputs", "_batches", "audio", "graph"},
    {"passes", "inspect", "_proof"},
    {"compile"},
    {"stream"},
    {"model"},
    {"decode"},
    {"layers"},
    {"importers"},
    {"accuracy", "support", "onnx_backend"},
    {"loading"},
    {"export"},
    {"undertow"},
    {"compat", "examples"},
    {"cli"},
    {"__main__"},
]
#: room of several floors -> these
INNER_FLOORS = {
    "decode": [{"given"}, {"text"}, {"transducer"}],
    "export": [{"c"}, {"costs"}, {"projects"}],
    "export.c": [
        {"mode", "text"},
        {"numerics"},
        {"program"},
        {"helium"},
        {"base", "kernels"},
        {"page"},
        {"sparse"},
        {"products"},
        {"elementwise", "fixed", "moves", "time"},
        {"cells", "frames"},
        {"attention", "expressions"},
        {"ops"},
        {"emit"},
    ],
    "export.projects": [{"parts"}, {"arduino", "cortex_m", "daisy", "esp_idf", "pico", "platformio", "zephyr"}],
    "importers": [
        {"_blocks", "_memory", "_rates", "state_dict_groups", "state_dict_modules"},
        {"nam_wavenet", "state_dict_lines"},
        {"state_dict"},
        {"nam", "onnx", "rnnoise"},
        {"keras", "rtneural", "tflite", "torch"},
        {"operators_page"},
    ],
    "importers.keras": [
        {"traits"},
        {"config", "weights"},
        {"activations", "files", "tables"},
        {"builder"},
        {"registers", "sizes", "strides"},
        {"convolved"},
        {"attention", "grids", "layers", "merging", "recurrent", "slices", "transposed", "wiring"},
        {"driver"},
    ],
    "importers.onnx": [
        {"advice"},
        {"retry", "traits"},
        {"file"},
        {"simplify"},
        {"dependence", "frames"},
        {"handlers"},
        {"operators"},
        {"driver"},
        {"search"},
        {"caches"},
        {"tensors"},
    ],
    "importers.tflite": [
        {"limits", "schema", "traits"},
        {"flat"},
        {"file"},
        {"scope"},
        {"elements", "layers", "loops", "moves", "recurrent", "variables"},
        {"translate"},
    ],
    "importers.torch": [
        {"code", "given", "structure", "words"},
        {"arguments", "outside", "projected_lstm"},
        {"check", "kept_states", "passed_states"},
        {"exporters"},
        {"graph"},
    ],
    "weights": [{"limits", "in_memory"}, {"others"}, {"contents", "hdf5_reader", "json_text"}],
}
#: rooms whose modules may know each other in a circle: a layer has `from_torch`, which makes layers
FACADES = {"layers"}


def module_name(path):
    parts = path.relative_to(ROOT / "python" / "undertow").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in PY_FILES}


def imported(name):
    """Modules of the package that one imports, at its top, inside of functions, or for types only."""
    path, found = MODULES[name], set()
    here = name.split(".") if name else []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not (node.level or (node.module or "").startswith("undertow")):
            continue
        base = here[: len(here) - node.level + (path.name == "__init__.py")] if node.level else []
        source = [*base, *(node.module or "").removeprefix("undertow" if not node.level else "").strip(".").split(".")]
        source = [part for part in source if part]
        for alias in node.names:
            whole = ".".join([*source, alias.name])
            if whole in MODULES or whole in ("_core", "stream"):
                found.add(whole)
            else:
                found.add(".".join(source))
    return found - {name}


def floor_of(floors, room):
    return next((i for i, rooms in enumerate(floors) if room in rooms), None)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    for other in imported(name):
        room, of_other = name.split(".")[0] or "undertow", other.split(".")[0] or "undertow"
        here, there = floor_of(FLOORS, room), floor_of(FLOORS, of_other)
        assert here is not None and there is not None, f"{name or room}, {other}: say in FLOORS where they stand"
        assert room == of_other or there < here, f"{name} imports {other}, which stands on the same floor or above"
        for inside, floors in INNER_FLOORS.items():
            if name.startswith(f"{inside}.") and other.startswith(f"{inside}."):
                rooms = [module.removeprefix(f"{inside}.").split(".")[0] for module in (name, other)]
                here, there = (floor_of(floors, room) for room in rooms)
                if here is None and inside == "weights":
                    continue  # readers stand above what is named
                assert here is not None and there is not None, f"{name}, {other}: say in INNER_FLOORS where they stand"
                assert rooms[0] == rooms[1] or there < here, f"{name} imports {other}, on the same floor or above"


def test_no_modules_import_each_other_in_a_circle():
    arrows = {}
    for name in MODULES:
        arrows[name] = set()
        for other in imported(name) & MODULES.keys():
            rooms = [".".join(other.split(".")[:n]) for n in range(1, other.count(".") + 1)]
            # whoever imports a module runs the packages that it is in, but for those that are being imported already
            arrows[name] |= {other, *(room for room in rooms if not f"{name}.".startswith(f"{room}."))}
    order, seen = [], set()

    def visit(name, way):
        assert name not in way or {n.split(".")[0] for n in way[way.index(name) :]} <= FACADES, way[way.index(name) :]
        if name in seen or name in way:
            return
        for other in sorted(arrows[name]):
            visit(other, [*way, name])
        seen.add(name)
        order.append(name)

    for name in MODULES:
        visit(name, [])
    assert len(order) == len(MODULES)


#: rooms that ask the class of an op (ir/ops) for what is true of it -> who may name one in a comparison all the same
ASK_OPS = {
    **dict.fromkeys(("ir", "tow", "reference", "inspect", "accuracy", "compile"), frozenset()),
    "ir.graph": {"present"},  # which holds the latency of its graph
    "passes": OPS.keys(),  # whose formulas they look for
}


@pytest.mark.parametrize("name", [m for m in MODULES if m.split(".")[0] in ASK_OPS and not m.startswith("ir.ops")])
def test_what_is_true_of_an_op_stands_in_its_class(name):
    """A chain of comparisons, or a list of names, is one that a new op would have to be added to."""
    allowed = ASK_OPS.get(name, ASK_OPS[name.split(".")[0]])
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Compare) and re.search(r"\bop$", ast.unparse(node.left)):
            named = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant)} & OPS.keys()
            assert named <= allowed, f"{name}, line {node.lineno}: give Op a trait or a method in place of {named}"
        members = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
        listed = [m.value for m in members if isinstance(m, ast.Constant) and m.value in OPS]
        assert len(listed) < 3, f"{name}, line {node.lineno}: give Op a trait in place of {listed}"


@pytest.mark.parametrize("path", ALL, ids=lambda p: str(p.relative_to(ROOT)))
def test_length_licence_and_characters(path):
    text = path.read_text()
    assert text.count("\n") <= 600, "a file must fit in a head: 600 lines at the most"
    assert not text.strip() or "SPDX-License-Identifier: MIT" in "\n".join(text.splitlines()[:2])
    assert "\t" not in text
    if path in C_FILES:
        assert text.isascii()


#: words that fit whatever a function has in hand; an attribute may have them, where its class says of what
FIT_ANYTHING = {"found", "made", "thing", "stuff", "tmp", "res", "ret"}


def local_names(table):
    own = [] if table.get_type() == "class" else [s.get_name() for s in table.get_symbols() if s.is_local()]
    return {*own}.union(*map(local_names, table.get_children()))


@pytest.mark.parametrize("name", MODULES)
def test_local_names_say_what_they_hold(name):
    said = local_names(symtable.symtable(MODULES[name].read_text(), name, "exec"))
    assert not said & FIT_ANYTHING, f"{name}: name what {said & FIT_ANYTHING} holds"


def test_versions_agree():
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]
    header = (ROOT / "csrc/include/undertow.h").read_text()
    numbers = [re.search(rf"UT_VERSION_{part} (\d+)", header)[1] for part in ("MAJOR", "MINOR", "PATCH")]
    assert {project, ".".join(numbers), undertow.__version__, _core.version, _core.package_version} == {project}
    for path in (ROOT / "CMakeLists.txt", ROOT / "csrc/CMakeLists.txt"):  # which read the header
        assert "project(undertow VERSION ${UT_VERSION} " in path.read_text(), path


def test_format_document_agrees_with_the_code():
    text = (ROOT / "csrc/FORMAT.md").read_text()
    for kind, (code, *_) in activations.KINDS.items():
        assert f"| {code} | {kind} |" in text
    for name, op in OPS.items():
        for kind in op.kinds:
            assert any(line.startswith(f"| {kind} |") and name in line for line in text.splitlines()), (name, kind)
    kernels = (ROOT / "csrc/kernels.h").read_text()
    enum = re.findall(r"^  kAct(\w+),$", kernels, re.M)
    assert [re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in enum] == list(activations.KINDS)


def test_the_recipe_of_a_cell_names_every_file_of_the_engine_that_knows_one():
    cells = re.search(r"enum CellKind : uint32_t \{ (.+?), kNumCells \}", (ROOT / "csrc/kernels.h").read_text())[1]
    recipe = re.search(r"\* \*\*a cell\*\*:.+?(?=\n\* )", (ROOT / "ARCHITECTURE.md").read_text(), re.S)[0]
    named = {name for name in re.findall(r"csrc/[\w/-]+\.\w+", recipe)}
    for cell in cells.removeprefix("kCell").split(", kCell"):
        word = re.compile(rf"\bk?(Cell)?{cell}(?![a-z])")
        knowing = {str(path.relative_to(ROOT)) for path in C_FILES if word.search(code(path))}
        assert knowing == named, f"{cell}: the recipe names other files than those that know it"


def test_no_op_is_told_by_its_name_and_no_cell_by_what_it_has():
    for path in C_FILES:
        if "csrc" in path.parts:
            told = re.compile(r"\bkind [!=]= \d|\bname [!=]= \"|\bn_(gates|recurrent_gates|acts) [!=<>]=? \d")
            assert not (found := told.search(code(path))), f"{path.name}: {found[0]}"


def test_every_instruction_set_says_where_it_was_run():
    built = {path.stem.removeprefix("isa_") for path in (ROOT / "csrc/kernels").glob("isa_*.cpp")}
    assert built == set(support.TESTED_ON)
    assert set(undertow.isas()) <= built


def test_only_isa_cmake_sets_machine_flags():
    for path in [*ROOT.rglob("CMakeLists.txt"), *(ROOT / "csrc").rglob("*.cmake")]:
        if (
            "build" not in path.parts
            and ".venv" not in path.parts
            and path.name != "isa.cmake"
            and "bench" not in path.parts
        ):
            assert not re.search(r"-m(avx|fma|sse|arch|tune)", path.read_text()), path


def test_what_skips_says_what_to_install():
    for path in [*(ROOT / "tests").glob("*.py"), *(ROOT / "bench").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "importorskip":
                reasons = [ast.unparse(k.value) for k in node.keywords if k.arg == "reason"]
                assert reasons and "pip install" in reasons[0], f"{path.name}, line {node.lineno}"


def test_no_fast_math():
    for path in [
        *ROOT.glob("CMakeLists.txt"),
        *(ROOT / "csrc").rglob("*.cmake"),
        *(ROOT / "csrc").rglob("CMakeLists.txt"),
    ]:
        assert "fast-math" not in path.read_text()


def test_the_engine_has_nothing_to_wait_for():
    """undertow.h, "Time": no lock, and nothing that one could be built of. Heap and system calls: test_noalloc.cpp.

    Only a team waits (team.h), and a block of frames has one only if its stream was given one.
    """
    waits = re.compile(r"\b(\w*atomic\w*|\w*mutex\w*|pthread\w*|volatile|futex|spin\w*|yield|_mm_pause|__sync\w*)\b")
    for path in C_FILES:
        if "csrc" in path.parts and path.name != "team.h":
            assert not (found := waits.search(code(path).replace("__asm__ volatile", ""))), f"{path.name}: {found[0]}"
