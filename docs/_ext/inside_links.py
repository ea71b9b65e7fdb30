# SPDX-License-Identifier: MIT
"""Whether all links between the files of a built documentation lead somewhere: `python inside_links.py FOLDER`."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

#: attribute of an element that names another file
ATTRIBUTES = ("href", "src", "poster", "data")


class Page(HTMLParser):
    """What a page links to, and what may be linked to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.links, self.anchors = path, [], {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ATTRIBUTES and value:
                self.links.append((self.getpos()[0], value))
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def broken(folder: Path) -> list[str]:
    """A line for each link that leads to no file, or to no place in one."""
    pages = {path.resolve(): Page(path) for path in sorted(folder.rglob("*.html"))}
    lines = []
    for path, page in pages.items():
        for line, link in page.links:
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            target, anchor = urldefrag(link)
            target = target.partition("?")[0]
            other = (path.parent / unquote(target)).resolve() if target else path
            where = f"{path.relative_to(folder.resolve())}:{line}: {link}"
            if not other.is_file():
                lines.append(f"{where}: no such file")
            elif other in pages and unquote(anchor) not in pages[other].anchors:
                lines.append(f"{where}: no such place")
    return lines


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    lines = broken(folder)
    print(*lines, sep="\n", end="\n" if lines else "")
    print(f"{len(lines)} of the links inside {folder} are broken")
    sys.exit(bool(lines))
