# SPDX-License-Identifier: MIT
"""What this project's docstrings write in their own way, as napoleon reads it, and links in what it gives."""

import re

import undertow.errors

#: what begins as a section would, and is a sentence; its further lines are indented
SENTENCE = re.compile(r"^(\s*)(Args|Raises)\b[^:`]*: \S")
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
        sentence = SENTENCE.match(line)
        if sentence:
            indent = sentence[1]
            lines.append(line)
            continue
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

    def link(error):
        return f":py:exc:`~undertow.errors.{error}`" if hasattr(undertow.errors, error) else f"``{error}``"

    for i, line in enumerate(lines):
        lines[i] = RAISED.sub(lambda m: ", ".join(map(link, m[1].split(", "))), line)


def without_silent(app, what, name, obj, options, signature, gives):
    """Without parameters that nobody gives: self of compiled classes, and one that takes the unknown to refuse it."""
    return (signature and re.sub(r",\s*\*\*unknown: NoReturn|(?<=^\()self(, )?", "", signature)), gives


def setup(app):
    app.connect("autodoc-process-signature", without_silent)
    app.connect("autodoc-process-docstring", as_sections, priority=100)
    app.connect("autodoc-process-docstring", with_links, priority=900)  # napoleon stands between, at 500
    return {"parallel_read_safe": True}
