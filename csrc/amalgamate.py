# SPDX-License-Identifier: MIT
"""Writes the engine as two files, undertow.cpp and undertow.h, to copy into another project.

    python csrc/amalgamate.py out/
    g++ -std=c++17 -O3 -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno -c out/undertow.cpp

They hold the portable kernels alone: each other instruction set has flags of its own, and one file is compiled with the
same flags throughout. So each that is asked for, `--isa avx2 --isa neon`, is one file more, undertow_avx2.cpp, compiled
with the flags that it names at its head; undertow.cpp then picks what the CPU has. Bits are those of the library.

Every source is written out, with what it includes in place of its `#include "..."`. Sources have names of their own, in
unnamed namespaces, that another one may have as well: such a name gets its file's in front (`plan_aligned`), and macros
end where their source does.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

CSRC = Path(__file__).resolve().parent

TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<number>\.?\d(?:[eEpP][+-]|'\w|[\w.])*)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<space>(?:\s|\\\n)+)
      | (?P<sign>::|->|[^\w\s])""",
    re.X | re.S,
)
DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(\w+)((?:\\\n|[^\n])*)\n?", re.M)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(?P<mark>["<])(?P<name>[^">]+)[">].*\n', re.M)
#: what stands before a parenthesis and is no name
KEYWORDS = {"alignas", "decltype", "noexcept", "static_assert", "sizeof", "operator", "void", "if", "while", "return"}

CLASSES = ("struct", "class", "union")


class Refused(Exception):
    """The sources cannot be joined; says why, and what to change."""


def words(text: str) -> list[str]:
    """Words, numbers, texts and signs of a source without its comments and preprocessor lines.

    All branches of a condition are there, unless a bracket that is opened outside of them is closed in each of them.
    """
    code = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.S)
    open_branches, at = [[""]], 0  # of each condition that the text is in, outermost first

    for match in DIRECTIVE.finditer(code):
        open_branches[-1][-1] += code[at : match.start()] + "\n"
        at = match.end()
        if match[1] in ("if", "ifdef", "ifndef"):
            open_branches.append([""])
        elif match[1] in ("else", "elif"):
            open_branches[-1].append("")
        elif match[1] == "endif":
            if len(open_branches) == 1:
                raise Refused("an #endif without its #if")
            first, *others = open_branches.pop()
            balanced = first.count("{") == first.count("}")
            open_branches[-1][-1] += "".join([first, *others]) if balanced else first
    if len(open_branches) != 1:
        raise Refused("an #if without its #endif")
    code = open_branches[0][0] + code[at:]
    return [match[0] for match in TOKEN.finditer(code) if match.lastgroup not in ("space", "comment")]


def is_word(token: str) -> bool:
    return re.fullmatch(r"[A-Za-z_]\w*", token) is not None


def skip(tokens: list[str], i: int) -> int:
    """Behind the bracket that closes the one at i."""
    closing = {"(": ")", "[": "]", "{": "}", "<": ">"}
    opened, depth = tokens[i], 0
    while i < len(tokens):
        depth += (tokens[i] == opened) - (tokens[i] == closing[opened])
        i += 1
        if depth == 0:
            return i
    raise Refused(f"no bracket closes the {opened!r} of: {' '.join(tokens[:12])}")


def is_function(head: list[str]) -> bool:
    """Whether braces behind this part of a declaration are a body, behind which nothing follows."""
    if "operator" in head:
        return True
    i = 0
    while i < len(head) and head[i] not in ("(", "="):
        i = skip(head, i) if head[i] in ("[", "<") else i + 1
    return i < len(head) and head[i] == "("


def declared_by(head: list[str]) -> set[str]:
    """The names that a declaration gives, of its tokens up to its body or semicolon; bodies in it are left out."""
    while head[:1] == ["template"]:
        head = head[skip(head, 1) :]
    head = [token for token in head if token not in ("static", "inline", "constexpr", "const", "extern")]
    for mark in ("__attribute__", "alignas"):
        while mark in head:
            i = head.index(mark)
            head = head[:i] + head[skip(head, i + 1) :]
    if not head or head[0] in ("static_assert", "friend"):
        return set()
    if head[0] == "using":
        return {head[1]} if "=" in head else set()
    if head[0] in (*CLASSES, "enum") and not ("(" in head or "=" in head):
        names = [token for token in head[1:] if is_word(token) and token not in ("class", "struct", "final")]
        return {*names[:1]}
    names, i, depth = set(), 0, 0
    while i < len(head):
        token, after = head[i], head[i + 1] if i + 1 < len(head) else ";"
        depth += (token == "<") - (token == ">" and depth > 0)
        if depth == 0 and is_word(token) and head[i - 1 : i] != ["::"] and after in ("(", "=", "[", ",", ";", "{"):
            if token not in KEYWORDS and "operator" not in head[:i]:
                names.add(token)
            if after == "(":  # parameters are not the namespace's
                break
            if after == "=":
                while i < len(head) and head[i] != ",":
                    i = skip(head, i) if head[i] in ("(", "[", "{") else i + 1
        i = skip(head, i) if i < len(head) and head[i] in ("(", "[", "{") else i + 1
    return names


@dataclass
class Names:
    """What a file declares in namespaces, for itself alone or for whoever is linked with it, and in classes."""

    own: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)


def members_in(body: list[str]) -> set[str]:
    """What a class of this body may call its own: every word that a declaration could end with."""
    names, i = set(), 0
    while i < len(body):
        if is_word(body[i]) and body[i + 1 : i + 2] and body[i + 1] in ("(", "=", "[", ",", ";", "{", ":"):
            names.add(body[i])
        i = skip(body, i) if body[i] in ("(", "[", "{") else i + 1
    return names - KEYWORDS


def names_of(text: str) -> Names:
    tokens, names = words(text), Names()

    def walk(i: int, unnamed: bool) -> int:
        while i < len(tokens) and tokens[i] != "}":
            start, is_namespace = i, "namespace" in (tokens[i], *tokens[i + 1 : i + 2])
            if tokens[i] == "extern" and tokens[i + 1].startswith('"') and tokens[i + 2] == "{":
                i = walk(i + 3, unnamed)
                continue
            if tokens[i] != "using" and is_namespace:
                i = tokens.index("{", i)
                i = walk(i + 1, unnamed or tokens[i - 1] == "namespace")
                continue
            head: list[str] = []
            ended = False
            while i < len(tokens) and tokens[i] != ";":
                if tokens[i] == "{":
                    end = skip(tokens, i)
                    if head[:1] == ["enum"] and "class" not in head:
                        inside = tokens[i + 1 : end - 1]
                        listed = [w for k, w in enumerate(inside) if is_word(w) and (k == 0 or inside[k - 1] == ",")]
                        (names.own if unnamed else names.shared).update(listed)
                    elif head[:1] and head[0] in ("template", *CLASSES):
                        names.members |= members_in(tokens[i + 1 : end - 1])
                    i = end
                    ended = not head or is_function(head)  # no head: a body behind members that braces initialise
                    if ended:
                        break
                else:
                    head.append(tokens[i])
                    i += 1
            given = declared_by(head)
            (names.own if unnamed or tokens[start] == "static" else names.shared).update(given)
            i += not ended
        return i + 1

    if walk(0, False) != len(tokens) + 1:
        raise Refused(f"no bracket opens the }} or closes the {{ of: {' '.join(tokens[:12])}")
    return names


def sources() -> list[Path]:
    """What is compiled, portable kernels first: nothing else can then be mistaken for what they name."""
    return [CSRC / "kernels" / "isa_scalar.cpp", *sorted(CSRC.glob("*.cpp")), *sorted(CSRC.glob("ops/*.cpp"))]


def instruction_sets() -> list[str]:
    """Those that have a file of their own."""
    return sorted({path.stem.removeprefix("isa_") for path in CSRC.glob("kernels/isa_*.cpp")} - {"scalar"})


def with_needed(names: list[str]) -> list[str]:
    """Instruction sets, and those whose kernels they use."""
    all_names = dict.fromkeys(names)
    for name in names:
        text = (CSRC / "kernels" / f"isa_{name}.cpp").read_text()
        all_names |= dict.fromkeys(with_needed(re.findall(r"^#define UT_ISA_(?:EXTENDS|NARROW) (\w+)", text, re.M)))
    return sorted(all_names)


def title(path: Path) -> str:
    return path.relative_to(CSRC).as_posix()


def guard_of(text: str) -> str | None:
    """The macro that keeps a header from being read twice; "once" for the pragma; None without either."""
    directives = [(match[1], match[2].split()) for match in DIRECTIVE.finditer(text)][:2]
    if directives[:1] and directives[0] == ("pragma", ["once"]):
        return "once"
    if len(directives) == 2 and directives[1][0] == "define" and directives[1][1][0] in " ".join(directives[0][1]):
        return directives[1][1][0] if directives[0][0] in ("ifndef", "if") else None
    return None


class Amalgam:
    """The text of several sources as one, under construction."""

    def __init__(self, paths: list[Path]) -> None:
        self.sections = {path: self.reached(path) for path in paths}
        self.users: dict[Path, set[Path]] = {}
        for source, paths in self.sections.items():
            for path in paths:
                self.users.setdefault(path, set()).add(source)
        self.names = {path: self.read(path) for path in self.users}
        self.done: set[Path | str] = set()  # headers that everything below has read

    def read(self, path: Path) -> Names:
        try:
            return names_of(path.read_text())
        except (Refused, IndexError, ValueError) as error:
            raise Refused(f"cannot tell what {title(path)} declares: {error}") from error

    def target(self, included: str, by: Path) -> Path:
        for folder in (by.parent, CSRC, CSRC / "include"):
            if (folder / included).exists():
                return (folder / included).resolve()
        raise Refused(f'{title(by)} includes "{included}", and there is no such file')

    def reached(self, path: Path) -> list[Path]:
        """A source, and all of csrc/ that it includes, but undertow.h."""
        paths = [path]
        for at in paths:
            for match in INCLUDE.finditer(at.read_text()):
                other = self.target(match["name"], at) if match["mark"] == '"' else None
                if other and other.name != "undertow.h" and other not in paths:
                    paths.append(other)
        return paths

    def is_private(self, path: Path) -> bool:
        return len(self.users[path]) == 1

    def renamed(self, source: Path) -> dict[str, str]:
        """New names for what a source has for itself and others have too."""
        mine = [path for path in self.sections[source] if self.is_private(path)]
        own = set().union(*(self.names[path].own for path in mine))
        others = [names for path, names in self.names.items() if path not in mine]
        taken = set().union(*(names.own | names.shared for names in others))
        return {name: f"{source.stem}_{name}" for name in own & taken}

    def members(self, source: Path) -> set[str]:
        """Those of classes of a source's own, which change their names with what is called alike outside of classes."""
        mine = set().union(*(self.names[path].members for path in self.sections[source] if self.is_private(path)))
        header = names_of((CSRC / "include" / "undertow.h").read_text())
        others = header.members.union(*(self.names[p].members for p in self.users if not self.is_private(p)))
        for name in sorted(mine & others & self.renamed(source).keys()):
            raise Refused(
                f"what does x.{name} mean in {title(source)}? Its own class has that member, so has one of a header, "
                f"and {name} stands in the namespaces of several sources: rename one of them"
            )
        return mine

    def rewritten(self, text: str, new_names: dict[str, str], members: set[str]) -> str:
        """A text with new names, but for members of others' classes and what others qualify."""
        tokens = [(match.lastgroup, match[0]) for match in TOKEN.finditer(text)]
        before = ["", ""]  # the two tokens before this one that count
        out = []
        for kind, token in tokens:
            qualified = before[1] == "::" and is_word(before[0]) and before[0] not in ("undertow", "case", *KEYWORDS)
            of_another = qualified or before[1] in (".", "->")
            if kind == "word" and token in new_names and (not of_another or token in members):
                out.append(new_names[token])
            else:
                out.append(token)
            if kind not in ("space", "comment"):
                before = [before[1], token]
        return "".join(out)

    def expanded(self, path: Path, source: Path, conditional: bool) -> str:
        """A file with what it includes, and for the macros of private files the lines that end them."""
        text = path.read_text()
        guard = guard_of(text)
        if guard is None and not self.is_private(path):
            raise Refused(f"{title(path)} is included by several sources and has no include guard: give it one")
        if path in self.done:
            return ""
        if guard and not conditional:
            self.done.add(path)
        if guard == "once":
            text = text.replace("#pragma once\n", "", 1)
            if conditional:
                raise Refused(f"{title(path)} has `#pragma once` and is included under a condition: give it a guard")
        own_depth = int(guard is not None and guard != "once")
        depth, at, out = 0, 0, []
        new_names, members = self.renamed(source), self.members(source)

        def put(piece: str) -> None:
            out.append(self.rewritten(piece, new_names, members) if self.is_private(path) else piece)

        for match in DIRECTIVE.finditer(text):
            depth += (match[1] in ("if", "ifdef", "ifndef")) - (match[1] == "endif")
            if match[1] != "include":
                continue
            put(text[at : match.start()])
            at = match.end()
            below = conditional or depth > own_depth
            include = INCLUDE.match(match[0])
            if include is None:
                raise Refused(f"{title(path)}: cannot read {match[0].strip()!r}")
            other = self.target(include["name"], path) if include["mark"] == '"' else None
            if other and other.name != "undertow.h":
                out.append(self.expanded(other, source, below))
                continue
            line = '#include "undertow.h"\n' if other else match[0]
            if line not in self.done:
                out.append(line)
                if not below:
                    self.done.add(line)
        put(text[at:])
        lines = "".join(out).replace("// SPDX-License-Identifier: MIT\n", "").strip("\n")
        return f"// ---- {title(path)}\n{lines}\n"

    def macros(self, source: Path) -> list[str]:
        """Those that nothing but this source may see."""

        def defined(path: Path) -> set[str]:
            text = path.read_text()
            found = {m[2].split("(")[0].split()[0] for m in DIRECTIVE.finditer(text) if m[1] == "define"}
            return found - {guard_of(text)}

        private = set().union(*(defined(path) for path in self.sections[source] if self.is_private(path)))
        shared = set().union(*(defined(path) for path in self.users if not self.is_private(path)))
        return sorted(private - shared)

    def text(self) -> str:
        parts = []
        for source in self.sections:
            part = self.expanded(source, source, False)
            parts.append(part + "".join(f"#undef {name}\n" for name in self.macros(source)))
        return "\n".join(parts)


def version(header: str) -> str:
    numbers = (re.search(rf"#define UT_VERSION_{part} (\d+)", header) for part in ("MAJOR", "MINOR", "PATCH"))
    return ".".join(match[1] for match in numbers if match)


def licence() -> str:
    """As comments, for it must go with every copy."""
    path = CSRC.parent / "LICENSE"
    lines = path.read_text().splitlines() if path.exists() else []
    return "".join(f"// {line}".rstrip() + "\n" for line in ["", *lines]) if lines else ""


HEAD = """\
// SPDX-License-Identifier: MIT
// undertow {version}, {what}, made by csrc/amalgamate.py: change the sources, not this.
//
//     g++ -std=c++17 -O3 -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno -c {name}
//
{more}
// -ffp-contract=off keeps the numbers what they are on CPUs with fused multiply-add, -fno-math-errno keeps libm out;
// kernels need -O3 where time matters.
{licence}#if !defined(__cplusplus) || __cplusplus < 201703L && !(defined(_MSVC_LANG) && _MSVC_LANG >= 201703L)
#error "compile {name} as C++17"
#endif

#if defined(__clang__)  // headers have what not every source needs, and clang minds where they are none
#pragma clang diagnostic ignored "-Wunneeded-internal-declaration"
#pragma clang diagnostic ignored "-Wunused-const-variable"
#pragma clang diagnostic ignored "-Wunused-function"
#endif

"""
ALONE = """\
// Portable kernels alone (ut_isa says "scalar"): each other instruction set is compiled with flags of its own, and one
// file is compiled with the same ones throughout. `amalgamate.py --isa avx2` writes a set to a file beside it."""
BESIDE = """\
// Portable kernels; those of other instruction sets stand in files beside this one, each with flags of its own, and a
// model gets the best that the CPU has. Leave out a file, and the line below that says that it is there."""
#: where an instruction set is, by how its name begins; x86-64 otherwise
AARCH64, X86_64 = "defined(__aarch64__) || defined(_M_ARM64)", "defined(__x86_64__) || defined(_M_X64)"
RISCV = "defined(__riscv)"


def machine(isa: str) -> str:
    return AARCH64 if isa.startswith("neon") else RISCV if isa.startswith("rvv") else X86_64


def whole(header: str, isas: list[str]) -> str:
    """undertow.cpp."""
    head = HEAD.format(
        version=version(header),
        what="all of the engine in one file",
        name="undertow.cpp",
        more=BESIDE if isas else ALONE,
        licence=licence(),
    )
    there = "".join(f"#if {machine(isa)}\n#define UT_HAVE_{isa} 1  // undertow_{isa}.cpp\n#endif\n" for isa in isas)
    there += "#define UT_VECTORS 1\n" if isas else ""
    return head + there + Amalgam(sources()).text()


def kernels(header: str, isa: str) -> str:
    """The file of one instruction set."""
    text = re.sub(r"\bisa_(\w+)\.cpp", r"undertow_\1.cpp", Amalgam([CSRC / "kernels" / f"isa_{isa}.cpp"]).text())
    asked = re.search(r'#error "compile [\w.]+ (?:for AArch64 )?(with [^"]+)"', text)
    head = HEAD.format(
        version=version(header),
        what=f"the kernels of {isa}",
        name=f"undertow_{isa}.cpp",
        more=f"// {asked[1]}, which are for no other file." if asked else "// It needs no flags of its own.",
        licence=licence(),
    )
    # GCC 12 does not see that a tile writes all that it reads, nor what its own headers of AVX-512 read.
    quiet = "".join(f'#pragma GCC diagnostic ignored "-W{name}"\n' for name in ("maybe-uninitialized", "uninitialized"))
    gcc = f"#if defined(__GNUC__) && !defined(__clang__)\n{quiet}#endif\n"
    return f"{head}#if {machine(isa)}\n{gcc}{text}#endif  // of the machine\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "folder", type=Path, help="where undertow.cpp and undertow.h are written; made if it is not there"
    )
    parser.add_argument(
        "--isa",
        action="append",
        default=[],
        choices=instruction_sets(),
        help="one more instruction set; may be repeated",
    )
    args = parser.parse_args()
    header = (CSRC / "include" / "undertow.h").read_text()
    isas = with_needed(args.isa)
    try:
        files = {"undertow.h": header, "undertow.cpp": whole(header, isas)}
        files |= {f"undertow_{isa}.cpp": kernels(header, isa) for isa in isas}
    except Refused as error:
        print(f"amalgamate.py: {error}", file=sys.stderr)
        return 1
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (args.folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
