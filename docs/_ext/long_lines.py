# SPDX-License-Identifier: MIT
"""Messages are one long line each: blocks of text that hold such lines, and no table, are wrapped when shown."""

import re

from docutils import nodes

#: characters of a line that fit into the column of text
WIDTH = 88
#: columns that stand below each other would not, wrapped
TABLE = re.compile(r"\S {2,}\S")


def mark(app, doctree):
    for block in doctree.findall(nodes.literal_block):
        long = [line for line in block.astext().split("\n") if len(line) > WIDTH]
        if long and block.get("language") in ("text", "console") and not any(map(TABLE.search, long)):
            block["classes"].append("message")


def setup(app):
    app.connect("doctree-read", mark)
    return {"parallel_read_safe": True}
