# SPDX-License-Identifier: MIT
"""Documents of the repository as pages: links between them lead to the pages, links to other files to nothing."""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: file of the repository -> page
PAGES = {
    "ARCHITECTURE.md": "architecture",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    "OPERATORS.md": "operators",
    "README.md": "index",
    "SECURITY.md": "security",
    "bench/README.md": "benchmarks",
    "bench/results.md": "results",
    "csrc/FORMAT.md": "file-format",
}
LINK = re.compile(r"\[([^][]+)\]\((?!\w+:|#)([^()\s#]+)(#[^()\s]*)?\)")


def with_links(text, path):
    """The text of a file of the repository with its links as those of a page in docs/."""

    def link(match):
        words, target, anchor = match[1], match[2], match[3] or ""
        inside = Path(os.path.normpath(path.parent / target)).relative_to(ROOT)
        if not (ROOT / inside).exists():
            raise ValueError(f"{path.relative_to(ROOT)}: {target} does not exist")
        page = PAGES.get(inside.as_posix())
        return f"[{words}](/{page}.md{anchor})" if page else f"{words} (`{inside}`)"

    return LINK.sub(link, text)


def read(app, docname, content):
    """A page that only says `<!-- page: FILE -->` is that file of the repository."""
    named = re.fullmatch(r"<!-- page: (\S+) -->\s*", content[0])
    if named:
        path = ROOT / named[1]
        assert PAGES.get(named[1]) == docname, f"{docname}: say in docs/_ext/repository.py that it is {named[1]}"
        app.env.note_dependency(str(path), docname=docname)
        content[0] = with_links(path.read_text(encoding="utf-8"), path)


def setup(app):
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
