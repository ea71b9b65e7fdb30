# SPDX-License-Identifier: MIT
"""Instructions per step on small targets, counted by QEMU: the difference of a run of 32 steps and one of 16.

    python tests/targets/embedded.py build/targets/embedded
    python bench/targets.py [TARGET ...] [--exported] [--models build/targets/embedded] [--names lstm_32 ...]
                            [--optimize=-Os]

Beside each model its size in flash and the code that was linked with it (a loader of any .tow, and the program of the
tests). --exported: of the model as C (`undertow export`), whose hash must be that of the engine; weights, code, RAM of
a stream and stack of a step, in bytes; and cycles where the maker of a CPU says what each instruction takes
(qemu_instructions.c). What the program itself takes, which makes inputs and hashes outputs, is then measured with a
step that does nothing, and subtracted; where a loader runs the model, it is counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/targets"))
import exported_models  # noqa: E402
import run as targets  # noqa: E402

import undertow  # noqa: E402
import undertow.export  # noqa: E402

NAMES = [
    f"{name}{p}"
    for name in ("lstm_32", "gru_64", "gru_10_dense")
    for p in ("", "_float16", "_int16", "_int8", "_fixed8")
]

#: instructions of a step of others, by the same QEMU: onnx2c and RTNeural (STL) at -O2, the GRU of RNNoise 0.1.1
#: with weights of int8, CMSIS-NN (s8, whose results are others); with what makes their inputs, as loaders here.
#: onnx2c refuses a GRU of 64 units, CMSIS-NN has none.
PEERS = {
    ("cortex-m4f", "lstm_32"): "onnx2c 42,500; RTNeural 55,600",
    ("cortex-m4f", "lstm_32_int8"): "CMSIS-NN 35,300",
    ("cortex-m4f", "gru_64"): "RTNeural 142,000",
    ("cortex-m4f", "gru_64_int8"): "RNNoise 250,000",
    ("cortex-m4f", "gru_10_dense"): "RTNeural 4,000",
    ("cortex-m0plus", "lstm_32"): "onnx2c 2,010,000",
    ("cortex-m0plus", "lstm_32_int8"): "CMSIS-NN 92,700",
    ("cortex-m0plus", "lstm_32_fixed8"): "CMSIS-NN 92,700",
}


def plugin(folder: Path) -> Path:
    """The compiled plugin."""
    out = folder / "qemu_instructions.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", ROOT / "bench/qemu_instructions.c", "-o", out], check=True)
    return out


#: targets whose cycles the plugin knows -> what it calls their CPU
CYCLES = {"cortex-m0plus": "cortex-m0plus", "cortex-m4f": "cortex-m4"}


def executed(target: targets.Target, program: Path, counter: Path, steps: int) -> tuple[int, int, str]:
    """How many instructions a program executes, and cycles, or 0 where these are not known; and what it prints."""
    words, cpu = target.run.split(), CYCLES.get(target.name)
    plugin_ = f"{counter},cpu={cpu}" if cpu else str(counter)
    if target.start == "start_hosted.c":
        command = [*words, "-plugin", plugin_, str(program), str(steps)]
    else:
        command = [words[0], "-plugin", plugin_, "-icount", "shift=0", *words[1:], str(program)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, timeout=600)
    found = dict(re.findall(r"(instructions|cycles) (\d+)", done.stdout))
    if not found:
        raise SystemExit(f"{target.name}: QEMU printed no count:\n{done.stdout[-2000:]}")
    return int(found["instructions"]), int(found.get("cycles", 0)), done.stdout


def measure(target: targets.Target, folder: Path, objects: list[Path], name: str, models: Path, counter: Path) -> str:
    """One row of the table."""
    targets.write_models(target, folder, [name], models)
    counts = {}
    for steps in (16, 32):
        program = targets.link(target, folder, objects, steps)
        counts[steps] = executed(target, program, counter, steps)[0]
    size = subprocess.run([binutil(target, "size"), program], capture_output=True, text=True, check=True).stdout
    text = int(size.splitlines()[1].split()[0])
    flash = (models / f"{name}.tow").stat().st_size
    return f"| {target.name} | {name} | {(counts[32] - counts[16]) / 16:,.0f} | {flash:,} | {text - flash:,} |"


@dataclasses.dataclass(frozen=True)
class Exported:
    """What a model as C takes on a target; counts are of a step alone, without what makes inputs and hashes outputs.

    Attributes:
        functions: bytes of the code of each.
        frames: bytes that each has on the stack.
        library: bytes of each file of the compiler's libraries that is linked with it.
    """

    source: undertow.export.Source
    hash: str
    code_bytes: int
    stack_bytes: int
    instructions: float
    cycles: float
    functions: dict[str, int]
    frames: dict[str, int]
    library: dict[str, int]


def exported(target: targets.Target, folder: Path, model: undertow.Model, counter: Path, optimize: str) -> Exported:
    """Compile a model as C, run it and count."""
    source = undertow.export.source(model, "m")
    objects = exported_models.objects_of(target, folder, source, f"{optimize} -fstack-usage")
    return Exported(source, **facts_of(target, folder, source, objects, counter))


def facts_of(
    target: targets.Target, folder: Path, source: undertow.export.Source, objects: list[Path], counter: Path
) -> dict[str, Any]:
    """What `Exported` says of a source that is compiled."""
    return compiled(target, folder, source, objects[0]) | ran(target, folder, source, objects, counter)


def compiled(target: targets.Target, folder: Path, source: undertow.export.Source, model: Path) -> dict[str, Any]:
    """What needs no run: code, frames, library."""
    size, symbols = (
        subprocess.run([*command, model], capture_output=True, text=True, check=True).stdout
        for command in ([binutil(target, "size")], [binutil(target, "nm"), "-S", "--defined-only"])
    )
    functions = re.findall(r"^\w+ (\w+) [tT] ([\w.]+)$", symbols, re.M)
    usage = re.findall(r"^\S+:(\w+)\S*\t(\d+)\t", model.with_suffix(".su").read_text(), re.M)
    return {
        "code_bytes": int(size.splitlines()[1].split()[0]) - source.facts.weight_bytes,
        "functions": {name.partition(".")[0]: int(n, 16) for n, name in functions},
        "frames": {name: int(n) for name, n in usage},
        "library": library(target, folder, model),
    }


def library(target: targets.Target, folder: Path, model: Path) -> dict[str, int]:
    """Bytes of the files of the compiler's libraries that a firmware takes for a model."""
    words, script = target.cc.split() + target.flags.split(), ["-T", str(targets.HERE / "riscv.ld")]
    if target.memory:
        words, script = [*words, "--specs=nano.specs"], []
    options = ["-nostartfiles", "-nostdlib", "-Wl,--gc-sections,-e,m_step,-u,m_reset"]
    options.append(f"-Wl,-Map={folder / 'library.map'}")
    link = [*words, *options, *script, str(model), "-o", str(folder / "library.elf"), "-lgcc", "-lc", "-lgcc"]
    targets.sh(link, folder / "library.log")
    text = (folder / "library.map").read_text()
    text = re.sub(r"^( \.\S+)\n", r"\1", text[text.index("Linker script and memory map") :], flags=re.MULTILINE)
    rows = re.findall(r"^ \.s?(?:text|rodata|data)\S*\s+0x\w+\s+0x(\w+) \S+\.a\((\S+)\.o\)$", text, re.MULTILINE)
    sizes: dict[str, int] = {}
    for n, file in rows:
        if int(n, 16):
            sizes[file] = sizes.get(file, 0) + int(n, 16)
    return sizes


def ran(
    target: targets.Target, folder: Path, source: undertow.export.Source, objects: list[Path], counter: Path
) -> dict[str, Any]:
    """What a run says: hash, stack, and how much a step executes beyond one that does nothing."""
    at = {
        steps: executed(target, targets.link(target, folder, objects, steps, with_engine=False), counter, steps)
        for steps in (16, 32)
    }
    rest = idle(target, folder, source, counter)
    instructions, cycles = ((at[32][i] - at[16][i]) / 16 - rest[i] for i in range(2))
    stack, hashed = (re.search(of, at[16][2]) for of in (r"stack=(\d+)", r"hash=([0-9a-f]{8})"))
    if not stack or not hashed:
        raise SystemExit(f"{target.name}: the program printed neither stack nor hash:\n{at[16][2][-2000:]}")
    return {
        "hash": hashed[1],
        "stack_bytes": int(stack[1]),
        "instructions": instructions,
        "cycles": cycles,
    }


_IDLE: dict[tuple, tuple[float, float]] = {}


def idle(target: targets.Target, folder: Path, source: undertow.export.Source, counter: Path) -> tuple[float, float]:
    """Instructions and cycles of the program for each step, where the step does nothing."""
    facts = source.facts
    key = (target.name, *((p.c_type, p.size) for p in (*facts.inputs, None, *facts.outputs) if p))
    if key not in _IDLE:
        step = re.search(r"void m_step\([^)]*\);", source.header)[0].removesuffix(";")
        names = re.findall(r"(\w+)(?=[,)])", step[step.index("(") :])
        unused = "".join(f"  (void){name};\n" for name in names)
        nothing = dataclasses.replace(
            source, code=f'#include "m.h"\nvoid m_reset(m_state* s) {{ (void)s; }}\n{step} {{\n{unused}}}\n'
        )
        objects = exported_models.objects_of(target, folder / "idle", nothing, "-O2")
        less, more = (
            executed(target, targets.link(target, folder / "idle", objects, steps, with_engine=False), counter, steps)
            for steps in (16, 32)
        )
        _IDLE[key] = (more[0] - less[0]) / 16, (more[1] - less[1]) / 16
    return _IDLE[key]


def exported_row(target: targets.Target, name: str, models: Path, made: Exported) -> str:
    """One row of the table of models as C, whose bits must be those of the engine."""
    expected = dict(line.split() for line in (models / "hashes.txt").read_text().splitlines())[name]
    if made.hash != expected:
        raise SystemExit(f"{target.name}, {name}: the exported model gives {made.hash}, expected {expected}")
    facts = made.source.facts
    cycles = f"{made.cycles:,.0f}" if made.cycles else "-"
    sizes_row = f"{facts.weight_bytes:,} | {made.code_bytes:,} | {facts.state_bytes:,} | {made.stack_bytes}"
    peers = PEERS.get((target.name, name), "")
    return f"| {target.name} | {name} | {made.instructions:,.0f} | {cycles} | {sizes_row} | {peers} |"


def binutil(target: targets.Target, name: str) -> str:
    """A tool that comes with its compiler."""
    words = target.cc.split()[0]
    return words.removesuffix("gcc") + name if words.endswith("-gcc") else name


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=["cortex-m4f", "cortex-m0plus"])
    parser.add_argument("--models", type=Path, default=ROOT / "build/targets/embedded")
    parser.add_argument("--names", nargs="+", default=NAMES)
    parser.add_argument("--exported", action="store_true", help="of models as C, compiled with --optimize, or -O2")
    parser.add_argument("--optimize", help="-Os (default), or another for what CMake calls Release")
    parser.add_argument("--build", type=Path, default=ROOT / "build/targets/bench")
    options = parser.parse_args()
    options.build.mkdir(parents=True, exist_ok=True)
    counter = plugin(options.build)
    known = {t.name: t for t in targets.TARGETS}
    rest = "cycles | weights | code | state | stack | instructions of others |\n|---|---|---|---|---|---|---|---|---|"
    rest = rest if options.exported else "model, bytes | code, bytes |\n|---|---|---|---|---|"
    print(f"| target | model | instructions per step | {rest}")
    for name in options.targets:
        target = dataclasses.replace(known[name])
        folder = options.build / name
        folder.mkdir(exist_ok=True)
        if options.exported:
            optimize = options.optimize or "-O2"
            for model in options.names:
                made = exported(target, folder, undertow.load(options.models / f"{model}.tow"), counter, optimize)
                print(exported_row(target, model, options.models, made), flush=True)
            continue
        objects = targets.build_library(target, folder, options.optimize or "-Os")
        for model in options.names:
            print(measure(target, folder, objects, model, options.models, counter), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
