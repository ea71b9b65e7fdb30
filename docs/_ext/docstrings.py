# SPDX-License-Identifier: MIT
"""What this project's docstrings write in their own way, as napoleon reads it, and links in what it gives."""

import re

INLINE = re.compile(r"^(\s*)(Returns|Yields): (.+)$")
#: the star of a shape such as (T, *frame), which is no emphasis
STAR = re.compile(r"(?<![\w*`])\*(?=\w)")
CODE = re.compile(r"(`+[^`]*`+)")
RAISED = re.compile(r"\*\*((?:\w+(?:Error|Interrupt)(?:, )?)+)\*\*")


def as_sections(app, what, name, obj, options, lines):
    """`Returns: a line.` is a section, and what stands before a colon in the first line of a property no type."""
    given, lines[:] = list(lines), []
    if what in ("property", "attribute"):
        lines += ["..", ""]
    indent = None
    for line in given:
        if not line.lstrip().startswith((">>>", "...")):
            line = "".join(p if p.startswith("`") else STAR.sub(r"\\*", p) for p in CODE.split(line))
        inline = INLINE.match(line)
        if inline:
            indent = inline[1] + "    "
            lines += [f"{inline[1]}{inline[2]}:", indent + inline[3]]
            continue
        if not line.strip():
            indent = None
        lines.append(line if indent is None else indent + line.strip())


def with_links(app, what, name, obj, options, lines):
    """Errors that are named in bold, as napoleon does, are links."""
    for i, line in enumerate(lines):
        lines[i] = RAISED.sub(lambda m: ", ".join(f"`{error}`" for error in m[1].split(", ")), line)


def setup(app):
    app.connect("autodoc-process-docstring", as_sections, priority=100)
    app.connect("autodoc-process-docstring", with_links, priority=900)  # napoleon stands between, at 500
    return {"parallel_read_safe": True}
