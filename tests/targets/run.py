# SPDX-License-Identifier: MIT
"""Builds the library for targets that are not this machine, and runs models there: the bits must be those of x86-64.

    python tests/targets/run.py [NAME ...] [--all] [--list] [--packages] [--models FOLDER] [--build FOLDER]

Without names, the targets that every change is tried on; --all: every one. The engine is compiled with CMake, as a
user's build would be, and linked with `program.cpp`, the models of tests/data/tow and a start for the target; it runs
under QEMU, node or wine. What it prints is held against tests/cpp/golden.txt, and for models of a folder that
embedded.py has made, against its `hashes.txt`.

Uses the standard library alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TOW, GOLDEN = ROOT / "tests/data/tow", ROOT / "tests/cpp/golden.txt"

ARM = ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "libstdc++-arm-none-eabi-newlib", "qemu-system-arm")
RISCV = ("gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf", "qemu-system-misc")
SEMIHOSTING = "-nographic -monitor none -serial none -semihosting-config enable=on,target=native -kernel"
BARE = "-ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections"


@dataclasses.dataclass(frozen=True)
class Target:
    """One target: how it is compiled, linked and run.

    Attributes:
        name: what the command line calls it.
        cxx, cc: compilers of C++ and C, with what they must always be given.
        flags: of the CPU.
        start: its file here.
        link: what comes behind the objects.
        run: the command before the program; "{}" is where that goes, at the end where there is none.
        packages: Debian's, of everything that is used.
        always: tried on every change, not only with --all.
        memory: of a Cortex-M's board: flash and RAM, where and how large.
        refuses: what it says instead of numbers.
        linker: links it, where that is not its C compiler.
        bare: has no operating system.
        most: bytes that the library and what it takes from that of C may have, of the smallest build; 0: not looked at.
            Without expressions, MOST_LEAN.
    """

    name: str
    cxx: str
    cc: str
    flags: str
    start: str
    link: str
    run: str
    packages: tuple[str, ...]
    always: bool = False
    memory: tuple[str, str, str, str] | None = None
    refuses: str = ""
    linker: str = ""
    bare: bool = True
    most: int = 0


def cortex_m(
    name, machine, flags, *, memory=("0x0", "4M", "0x20000000", "4M"), always=False, clang=False, fpu=True, most=0
):
    flags = f"-mthumb {flags} {'-mfloat-abi=hard' if fpu else '-mfloat-abi=soft'}"
    run = f"qemu-system-arm -M {machine} {SEMIHOSTING}"
    cxx, cc = "arm-none-eabi-g++", "arm-none-eabi-gcc"
    if clang:
        headers = "--target=arm-none-eabi -isystem /usr/lib/arm-none-eabi/include"
        cxx, cc = f"clang++ {headers}", f"clang {headers}"
    packages = (*ARM, "clang") if clang else ARM
    return Target(
        name + ("-clang" if clang else ""),
        cxx,
        cc,
        flags,
        "start_cortex_m.c",
        "-lgcc -lc",
        run,
        packages,
        always,
        memory,
        most=most,
    )


def riscv(name, bits, arch, abi, always=False, clang=False):
    gcc = f"riscv64-unknown-elf-gcc --specs=picolibc.specs -march={arch} -mabi={abi} -mcmodel=medany"
    cxx, cc, packages = gcc.replace("-gcc", "-g++", 1), gcc, RISCV
    if clang:
        headers = "-isystem /usr/lib/picolibc/riscv64-unknown-elf/include"
        flags = f"--target=riscv{bits}-unknown-elf -march={arch} -mabi={abi} -mcmodel=medany {headers}"
        name, cxx, cc, packages = f"{name}-clang", f"clang++ {flags}", f"clang {flags}", (*RISCV, "clang")
    run = f"qemu-system-riscv{bits} -M virt -bios none {SEMIHOSTING}"
    return Target(name, cxx, cc, "", "start_riscv.c", "-lgcc -lc", run, packages, always, linker=gcc)


def linux(name, triple, package, qemu, flags="", always=False, clang=False, refuses="", version=""):
    cxx, cc, packages = f"{triple}-g++", f"{triple}-gcc", (package, "qemu-user")
    if clang:
        name, packages = name if version else f"{name}-clang", (*packages, f"clang{version}")
        cxx, cc = f"clang++{version} --target={triple}", f"clang{version} --target={triple}"
    start = "start_hosted.c"
    return Target(name, cxx, cc, flags, start, "-static -lm", qemu, packages, always, refuses=refuses, bare=False)


def wasm(name, flags, always=False, version="", node=""):
    clang = "--target=wasm32 -nostdlib"
    link = "-Wl,--no-entry -Wl,--allow-undefined -Wl,-z,stack-size=262144"
    return Target(
        name, f"clang++{version} {clang}", f"clang{version} {clang}", flags, "start_wasm.c", link,
        f"node {node} {HERE / 'run.mjs'}", (f"clang{version}", f"lld{version}", "llvm", "nodejs"), always,
    )  # fmt: skip


MOST_LEAN = 40 * 1024
SINGLE = "-mcpu=cortex-m7 -mfpu=fpv5-sp-d16"
SSE200 = ("0x10000000", "4M", "0x38000000", "4M")  # boards of Armv8-M: secure aliases
TARGETS = [
    cortex_m("cortex-m0plus", "mps2-an386", "-mcpu=cortex-m0plus", always=True, fpu=False),
    cortex_m("cortex-m4f", "mps2-an386", "-mcpu=cortex-m4 -mfpu=fpv4-sp-d16", always=True, most=45 * 1024),
    cortex_m("cortex-m4f", "mps2-an386", "-mcpu=cortex-m4 -mfpu=fpv4-sp-d16", clang=True),
    cortex_m("cortex-m0plus", "mps2-an386", "-mcpu=cortex-m0plus", fpu=False, clang=True),
    cortex_m("cortex-m4-soft", "mps2-an386", "-mcpu=cortex-m4", fpu=False),
    cortex_m("cortex-m7", "mps2-an500", SINGLE),
    cortex_m("cortex-m7-double", "mps2-an500", "-mcpu=cortex-m7 -mfpu=fpv5-d16"),
    cortex_m("cortex-m33", "mps2-an505", "-mcpu=cortex-m33 -mfpu=fpv5-sp-d16", memory=SSE200),
    cortex_m("cortex-m55", "mps3-an547", "-mcpu=cortex-m55", memory=("0x0", "512K", "0x31000000", "4M")),
    cortex_m("cortex-m33", "mps2-an505", "-mcpu=cortex-m33 -mfpu=fpv5-sp-d16", memory=SSE200, clang=True),
    cortex_m("cortex-m55", "mps3-an547", "-mcpu=cortex-m55", memory=("0x0", "512K", "0x31000000", "4M"), clang=True),
    riscv("rv32imafc", 32, "rv32imafc", "ilp32f", clang=True),
    riscv("rv32imac", 32, "rv32imac", "ilp32"),
    riscv("rv32imafc", 32, "rv32imafc", "ilp32f", always=True),
    riscv("rv64gc-bare", 64, "rv64gc", "lp64d"),
    linux("rv64gc", "riscv64-linux-gnu", "g++-riscv64-linux-gnu", "qemu-riscv64"),
    *(
        linux(f"rv64gcv-{bits}", "riscv64-linux-gnu", "g++-riscv64-linux-gnu",
              f"qemu-riscv64 -cpu rv64,v=true,vext_spec=v1.0,vlen={bits}", clang=True, version="-19")
        for bits in (128, 256)
    ),
    linux("rv64gcv-without", "riscv64-linux-gnu", "g++-riscv64-linux-gnu", "qemu-riscv64", clang=True, version="-19"),
    linux("armhf", "arm-linux-gnueabihf", "g++-arm-linux-gnueabihf", "qemu-arm", always=True),
    linux("armhf-neon", "arm-linux-gnueabihf", "g++-arm-linux-gnueabihf", "qemu-arm", "-mfpu=neon-vfpv4"),
    linux("armhf", "arm-linux-gnueabihf", "g++-arm-linux-gnueabihf", "qemu-arm", clang=True),
    linux("aarch64", "aarch64-linux-gnu", "g++-aarch64-linux-gnu", "qemu-aarch64"),
    linux("aarch64", "aarch64-linux-gnu", "g++-aarch64-linux-gnu", "qemu-aarch64", clang=True),
    linux("i686", "i686-linux-gnu", "g++-i686-linux-gnu", "qemu-i386", "-msse2 -mfpmath=sse", always=True),
    linux("i686", "i686-linux-gnu", "g++-i686-linux-gnu", "qemu-i386", "-msse2 -mfpmath=sse", clang=True),
    linux("s390x", "s390x-linux-gnu", "g++-s390x-linux-gnu", "qemu-s390x", refuses="little-endian"),
    wasm("wasm32", "", always=True),
    wasm("wasm32-simd", "-msimd128", version="-19"),
    wasm("wasm32-relaxed", "-msimd128 -mrelaxed-simd", version="-19", node="--experimental-wasm-relaxed-simd"),
    Target("emscripten", "em++", "emcc", "", "start_hosted.c",
           "-sSINGLE_FILE=1 -sALLOW_MEMORY_GROWTH=1 -sEXIT_RUNTIME=1", "node", ("emscripten", "nodejs"), bare=False),
    Target("windows", "x86_64-w64-mingw32-g++", "x86_64-w64-mingw32-gcc", "", "start_hosted.c", "-static", "wine",
           ("g++-mingw-w64-x86-64", "wine64"), bare=False),
]  # fmt: skip

WINDOWS, APPLE = (
    "--target=x86_64-pc-windows-msvc -ffreestanding",
    "-isysroot /nonexistent -ffreestanding -Wno-everything",
)
AVX2, AVX512 = "-mavx2 -mfma -mf16c", "-mavx512f -mavx512bw -mavx512dq -mavx512vl"
#: what clang can only parse for want of headers or machines: name -> (flags, files of kernels with theirs)
SYNTAX = {
    "windows-clang-cl": (
        WINDOWS,
        {"avx2": AVX2, "avxvnni": f"{AVX2} -mavxvnni", "avx512vnni": f"{AVX512} -mavx512vnni"},
    ),
    "windows-cl": (f"{WINDOWS} -U__clang__ -isystem {HERE / 'msvc'}", {"avx2": AVX2, "avx512": AVX512}),
    "windows-arm64": (WINDOWS.replace("x86_64", "aarch64"), {"neon": ""}),
    "macos-universal": (
        f"--target=arm64-apple-macos11 -arch x86_64 -arch arm64 {APPLE}",
        {
            "avx2": " ".join(f"-Xarch_x86_64 {flag}" for flag in AVX2.split()),
            "neon": "",
            "neondot": "-Xarch_arm64 -march=armv8.2-a+dotprod",
        },
    ),
    "ios": (f"--target=arm64-apple-ios13 {APPLE}", {"neon": ""}),
}

#: what no compiler may make of the library: name -> (compiler, what it must say)
REFUSED = {
    "x87": ("i686-linux-gnu-g++ -mno-sse -mfpmath=387", "-msse2 -mfpmath=sse"),
    "fast-math": ("g++ -ffast-math", "-ffast-math changes results"),
    "associative-math": ("g++ -fassociative-math -fno-signed-zeros -fno-trapping-math", "-ffast-math changes results"),
    "finite-math": ("clang++ -ffinite-math-only", "-ffast-math changes results"),
}

#: how each stream is run
STREAMED = (
    "rnn",
    "gru_reset_after",
    "gru_reset_before",
    "lstm",
    "lstm_options",
    "text",
    "every_op",
    "float16",
    "bfloat16",
    "int8",
    "int4",
    "int16",
    "smoothed_int16",
    "smoothed_int8",
    "fixed8",
    "sparse",
    "rows",
    "framed",
    "ahead",
    "strides",
    "strides_1",
)


class Failed(Exception):
    """A target does not build, or does not compute what it must."""


def sh(command: list[str] | str, log: Path, **options) -> None:
    """Runs a command whose output goes to a file; raises Failed, with its end, where it fails."""
    words = command.split() if isinstance(command, str) else command
    with log.open("w") as out:
        status = subprocess.run(words, stdout=out, stderr=subprocess.STDOUT, **options).returncode
    if status:
        raise Failed(f"{' '.join(words)}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-25:]))


def expected_lines(folder: Path | None) -> dict[str, list[str]]:
    """For each model, what its line must begin with."""
    golden = dict(line.split() for line in GOLDEN.read_text().splitlines())
    lines = {name: [golden[name]] * 2 for name in STREAMED}
    lines["whole"] = [golden["whole_300"]]
    for line in (folder / "hashes.txt").read_text().splitlines() if folder else ():
        name, value = line.split()
        lines[name] = [value]
    return lines


def write_models(target: Target, folder: Path, names: list[str], more: Path | None) -> None:
    """The models as an assembler's file, and the table of them in C."""
    assembler, externs, rows = [], [], []
    is_wasm = target.start == "start_wasm.c" or target.name == "emscripten"
    for i, name in enumerate(names):
        golden = name in STREAMED or name == "whole"
        path = ((TOW if golden else more or TOW) / f"{name}.tow").resolve()
        what = (
            "kWhole"
            if name == "whole"
            else "kGolden"
            if golden
            else "kImpulse"
            if name.startswith("decay")
            else "kSteps"
        )
        n = path.stat().st_size
        about = f".type tow{i},@object\n.size tow{i},{n}\n" if is_wasm else ""
        assembler.append(f'{about}.globl tow{i}\n.balign 64\ntow{i}: .incbin "{path}"\n')
        externs.append(f"extern const unsigned char tow{i}[{n}];")
        rows.append(f'  {{"{name}", tow{i}, tow{i} + {n}, {what}}},')
    section = '.section .rodata.models,"",@\n' if is_wasm else '.section .rodata.models,"a"\n'
    (folder / "models.S").write_text(section + "".join(assembler))
    table = "\n".join(rows) + "\n  {0, 0, 0, 0},\n"
    (folder / "models.c").write_text(
        '#include "program.h"\n\n' + "\n".join(externs) + "\n\nconst struct Embedded embedded[] = {\n" + table + "};\n"
    )


def build_library(
    target: Target, folder: Path, optimize: str = "-Os", more_options: dict[str, str] | None = None
) -> list[Path]:
    """Compiles the library with CMake; returns its objects."""
    cxx, *more = target.cxx.split()
    cc, *more_c = target.cc.split()
    flags = f"{' '.join(more)} {target.flags}"
    definitions = {
        "CMAKE_SYSTEM_NAME": "Generic" if target.bare else "Windows" if target.name == "windows" else "Linux",
        "CMAKE_SYSTEM_PROCESSOR": target.name.split("-")[0].replace("windows", "x86_64"),
        "CMAKE_CXX_COMPILER": cxx,
        "CMAKE_C_COMPILER": cc,
        "CMAKE_CXX_FLAGS": flags,
        "CMAKE_C_FLAGS": f"{' '.join(more_c)} {target.flags}",
        "CMAKE_TRY_COMPILE_TARGET_TYPE": "STATIC_LIBRARY",
        "CMAKE_POSITION_INDEPENDENT_CODE": "OFF",
        "CMAKE_BUILD_TYPE": "MinSizeRel",
        "UT_THREADS": "OFF" if target.bare else "ON",
        "UT_SMALL": "ON" if target.bare and target.start != "start_wasm.c" else "OFF",
        "UT_TEXTS": "OFF" if target.bare and target.start != "start_wasm.c" else "ON",
        "UT_WERROR": "ON",
        "UT_FLAGS": BARE.replace(" ", ";") if target.bare else "",
    }
    if target.most:
        definitions["CMAKE_INTERPROCEDURAL_OPTIMIZATION"] = "ON"
    if optimize != "-Os":
        definitions["CMAKE_BUILD_TYPE"] = "Release"
    definitions |= more_options or {}
    command = ["cmake", "--fresh", "-S", str(ROOT), "-B", str(folder / "library"), "-G", "Ninja"]
    command += [f"-D{key}={value}" for key, value in definitions.items()]
    sh(command, folder / "configure.log")
    sh(["cmake", "--build", str(folder / "library"), "--target", "undertow"], folder / "build.log")
    return sorted((folder / "library/csrc").rglob("*.o*"))


def link(target: Target, folder: Path, objects: list[Path], steps: int = 16, with_engine: bool = True) -> Path:
    """Links the program; returns it. Without the engine, objects are a program that has `run` (exported.c)."""
    includes = [f"-I{HERE}", f"-I{ROOT / 'csrc/include'}", f"-I{folder}"]
    flags = (
        target.flags.split()
        + (BARE.split() if target.bare else [])
        + ["-Os", "-Wall", "-Wextra", "-Werror", f"-DUT_STEPS={steps}"]
    )
    if target.start == "start_wasm.c":
        flags += ["-isystem", str(HERE / "wasm")]
    made = []
    of_engine = [HERE / "program.cpp", folder / "models.c", folder / "models.S"] if with_engine else []
    for source in (HERE / target.start, *of_engine):
        compiler = (
            [*target.cxx.split(), "-std=c++17", "-fno-exceptions", "-fno-rtti"]
            if source.suffix == ".cpp"
            else target.cc.split()
        )
        out = folder / (source.name + ".o")
        sh([*compiler, *flags, *includes, "-c", str(source), "-o", str(out)], folder / "program.log")
        made.append(out)
    out = (
        folder
        / f"program.{'wasm' if target.start == 'start_wasm.c' else 'js' if target.name == 'emscripten' else 'exe'}"
    )
    command = target.cc.split() + target.flags.split()
    if target.start == "start_cortex_m.c":
        script = (HERE / "cortex_m.ld").read_text()
        for word, value in zip(("@FLASH@", "@FLASH_BYTES@", "@RAM@", "@RAM_BYTES@"), target.memory or (), strict=True):
            script = script.replace(word, value)
        small = target.memory is not None and target.memory[1].endswith("K")
        (folder / "cortex_m.ld").write_text(script.replace("@MODELS@", "RAM" if small else "FLASH"))
        command = [
            "arm-none-eabi-gcc",
            *target.flags.split(),
            "-nostartfiles",
            "--specs=nano.specs",
            "-Wl,--gc-sections",
        ]
        command += ["-T", str(folder / "cortex_m.ld"), f"-Wl,-Map={folder / 'map'}", "-flto-partition=one"]
    elif target.start == "start_riscv.c":
        command = [*target.linker.split(), "-nostartfiles", "-Wl,--gc-sections", "-T", str(HERE / "riscv.ld")]
    sh([*command, *map(str, made), *map(str, objects), "-o", str(out), *target.link.split()], folder / "link.log")
    return out


def run(target: Target, program: Path, timeout: int = 600) -> str:
    """What the program prints."""
    words = target.run.split()
    if words[:1] == ["wine"]:
        words = [shutil.which("wine64") or shutil.which("wine") or "/usr/lib/wine/wine64"]
    done = subprocess.run(
        [*words, str(program)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
    )
    if done.returncode:
        raise Failed(f"{target.name}: the program ended with {done.returncode}\n{done.stdout[-2000:]}")
    return done.stdout


def loader_bytes(folder: Path) -> int:
    """Flash that the linked library takes, with the functions of C's library that it calls."""
    text = (folder / "map").read_text()
    text = re.sub(r"^( \.\S+)\n", r"\1", text[text.index("Linker script and memory map") :], flags=re.MULTILINE)
    rows = re.findall(r"^ \.(?:text|rodata|data)\S*\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) (\S+)$", text, re.MULTILINE)
    ours = (str(folder / "library"), ".ltrans", "/libc")
    return sum(int(n, 16) for at, n, file in rows if int(at, 16) and any(word in file for word in ours))


def check(target: Target, printed: str, lines: dict[str, list[str]]) -> int:
    """Holds what a program printed against what it must; returns how many models that were."""
    got = {words[0].rstrip(":"): words[1:] for words in (line.split() for line in printed.splitlines()) if words}
    wrong = []
    for name, hashes in lines.items():
        said = got.get(name, ["nothing"])
        if target.refuses:
            if target.refuses not in " ".join(said):
                wrong.append(f"{name}: expected a refusal that speaks of {target.refuses!r}, got {' '.join(said)}")
        elif said[: len(hashes)] != hashes:
            wrong.append(f"{name}: expected {' '.join(hashes)}, got {' '.join(said)}")
    if wrong:
        raise Failed(f"{target.name}:\n  " + "\n  ".join(wrong))
    return len(lines)


def check_syntax(name: str, folder: Path) -> int:
    """Parses the library for a target; returns how many files that were."""
    flags, kernels = SYNTAX[name]
    csrc = ROOT / "csrc"
    files = {path: "" for path in [*sorted(csrc.glob("*.cpp")), *sorted((csrc / "ops").glob("*.cpp"))]}
    files |= {csrc / f"kernels/isa_{isa}.cpp": more for isa, more in ({"scalar": ""} | kernels).items()}
    common = ["-std=c++17", "-fsyntax-only", "-DUT_THREADS=0", f"-I{csrc}", f"-I{csrc / 'include'}"]
    for path, more in files.items():
        sh(["clang++", *common, *flags.split(), *more.split(), str(path)], folder / "syntax.log")
    return len(files)


def check_refused(name: str) -> None:
    """Compiles a file as it must not be compiled."""
    compiler, words = REFUSED[name]
    source = ROOT / "csrc/kernels/isa_scalar.cpp"
    command = [*compiler.split(), "-std=c++17", "-fsyntax-only", f"-I{ROOT / 'csrc'}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0 or words not in done.stderr:
        raise Failed(f"{name}: expected an error that says {words!r}, got {done.returncode} and {done.stderr[:500]!r}")


def missing(target: Target) -> list[str]:
    """Which of its packages dpkg does not know as installed."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${Status}\n", *target.packages], capture_output=True, text=True
    )
    installed = {line.split()[0] for line in done.stdout.splitlines() if line.endswith("install ok installed")}
    known = {"nodejs": "node", "wine64": "wine64", "llvm": "llvm-ar"}  # also where they come from elsewhere
    return [p for p in target.packages if p not in installed and not shutil.which(known.get(p, p))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="targets")
    parser.add_argument("--all", action="store_true", help="every target")
    parser.add_argument("--list", action="store_true", help="list targets and packages, and do nothing")
    parser.add_argument(
        "--packages", action="store_true", help="print the Debian packages that are missing, and do nothing"
    )
    parser.add_argument(
        "--build", type=Path, default=ROOT / "build/targets", help="where to build (default: build/targets)"
    )
    parser.add_argument(
        "--models", type=Path, help="a folder of embedded.py: models that are tried besides those of tests/data/tow"
    )
    options = parser.parse_args()
    known = {t.name: t for t in TARGETS}
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no target {unknown[0]!r}; known: {', '.join(known)}")
    chosen = [known[n] for n in options.names] or [t for t in TARGETS if t.always or options.all]
    if options.list:
        for t in chosen:
            print(f"{t.name:18} {'' if t.always else '--all':6} {t.run.split()[0]:22} {' '.join(t.packages)}")
        return 0
    if options.packages:
        print(" ".join(dict.fromkeys(p for t in chosen for p in missing(t))))
        return 0
    lines = expected_lines(options.models)
    failures = 0
    for target in chosen:
        folder = (options.build / target.name).resolve()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        begin = time.monotonic()
        try:
            if lacking := missing(target):
                raise Failed(f"{target.name}: missing packages: {' '.join(lacking)}")
            write_models(target, folder, list(lines), options.models)
            program = link(target, folder, build_library(target, folder))
            n = check(target, run(target, program), lines)
            if target.most and (size := loader_bytes(folder)) > target.most:
                raise Failed(f"{target.name}: the library takes {size} bytes of flash, expected at most {target.most}")
            said = f", a library of {loader_bytes(folder):,} bytes" if target.most else ""
            if target.most:
                lean = folder / "lean"
                lean.mkdir()
                for name in ("models.c", "models.S"):
                    shutil.copy(folder / name, lean)
                link(target, lean, build_library(target, lean, more_options={"UT_EXPRESSIONS": "OFF"}))
                if (size := loader_bytes(lean)) > MOST_LEAN:
                    raise Failed(
                        f"{target.name}: without expressions it takes {size} bytes, expected at most {MOST_LEAN}"
                    )
                said += f" ({size:,} without expressions)"
            print(f"{target.name}: {n} models, the same bits{said}  [{time.monotonic() - begin:.0f} s]", flush=True)
        except Failed as failed:
            failures += 1
            print(f"!!! {failed}", flush=True)
    for name in () if options.names else SYNTAX:
        folder = options.build / name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            print(f"{name}: {check_syntax(name, folder)} files parse (neither linked nor run)", flush=True)
        except Failed as failed:
            failures += 1
            print(f"!!! {name}: {failed}", flush=True)
    for name in () if options.names else REFUSED:
        try:
            check_refused(name)
            print(f"{name}: refused", flush=True)
        except Failed as failed:
            failures += 1
            print(f"!!! {failed}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
