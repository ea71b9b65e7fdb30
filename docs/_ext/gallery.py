# SPDX-License-Identifier: MIT
"""The examples as sphinx-gallery gets them: in the order of `undertow demo --list`, where they may write."""

import shutil
from pathlib import Path

from undertow.cli import _examples


def copied(folder):
    """`folder`, made anew with the examples in it: each is run where its script lies, and some write files."""
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(parents=True)
    for path in [*map(_examples.script, _examples.names()), _examples.FOLDER / "GALLERY_HEADER.txt"]:
        shutil.copy(path, folder)
    return str(folder)


class ForLearners:
    """Sort key of sphinx-gallery."""

    def __init__(self, src_dir):
        pass

    def __call__(self, filename):
        return _examples.place(filename.removesuffix(".py"))
