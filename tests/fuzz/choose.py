# SPDX-License-Identifier: MIT
"""Choose files for a corpus: the most edges of the library in the fewest bytes.

    python choose.py MERGE FOLDER [--keep FOLDER ...] [--bytes N]

MERGE is the control file of -merge=1 of libFuzzer, which says what each file reached. What is chosen replaces those
files of FOLDER whose names are hashes; the others, one for each past defect, stay and count first, as those of --keep.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path


def read_merge(path: Path) -> dict[Path, tuple[set[int], set[int]]]:
    """Edges, and features (edges with how often each was taken), of each file."""
    lines = path.read_text().splitlines()
    files = [Path(line) for line in lines[2 : 2 + int(lines[0])]]
    reached: dict[Path, tuple[set[int], set[int]]] = {file: (set(), set()) for file in files}
    for line in lines[2 + len(files) :]:
        what, number, *values = line.split()
        if what in ("COV", "FT"):
            reached[files[int(number)]][what == "FT"].update(map(int, values))
    return reached


def choose(reached: dict[Path, tuple[set[int], set[int]]], first: list[Path], n_bytes: int, which: int) -> list[Path]:
    """Files that add the most for their size, until nothing is added or n_bytes are full."""
    have = set().union(*(reached[path][which] for path in first))
    size = {path: path.stat().st_size for path in reached}
    chosen: list[Path] = []
    left = {path: sets[which] - have for path, sets in reached.items() if path not in first}
    while True:
        left = {path: more for path, rest in left.items() if (more := rest - have) and size[path] <= n_bytes}
        if not left:
            return chosen
        best = max(left, key=lambda path: len(left[path]) / (size[path] + 64))
        chosen.append(best)
        have |= left[best]
        n_bytes -= size[best]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("merge", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keep", type=Path, nargs="*", default=[])
    parser.add_argument("--bytes", type=int, default=300_000)
    args = parser.parse_args()
    reached = read_merge(args.merge)
    is_hash = re.compile(r"[0-9a-f]{12,}(\.\w+)?").fullmatch
    named = [path for path in reached if path.parent == args.folder and not is_hash(path.name)]
    first = [*named, *(path for path in reached if path.parent in args.keep)]
    left = args.bytes - sum(path.stat().st_size for path in named)
    chosen = choose(reached, first, left, which=0)
    left -= sum(path.stat().st_size for path in chosen)
    chosen += choose(reached, [*first, *chosen], left, which=1)

    edges = [set().union(*(reached[path][0] for path in some)) for some in ([*first, *chosen], reached)]
    data = [path.read_bytes() for path in chosen]
    for path in args.folder.iterdir():
        if is_hash(path.name):
            path.unlink()
    for content in data:
        (args.folder / hashlib.sha1(content).hexdigest()[:12]).write_bytes(content)
    total = sum(path.stat().st_size for path in args.folder.iterdir())
    print(f"{args.folder}: {len(named)} + {len(chosen)} files, {total} bytes, {len(edges[0])} of {len(edges[1])} edges")


if __name__ == "__main__":
    main()
