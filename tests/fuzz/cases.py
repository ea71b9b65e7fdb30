# SPDX-License-Identifier: MIT
"""What fuzzing is made of: a reader, the files that it starts from, and a damaged file with what lies beside it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Link:
    """A symbolic link beside the file."""

    target: str


class Pipe:
    """A named pipe that nobody writes to: opening it for reading waits for ever."""


Content = bytes | Link | Pipe


@dataclass
class Case:
    """Files to be written into an empty folder, of which the first one is read; `how` says what was done to it."""

    files: dict[str, Content]
    how: str

    @property
    def name(self) -> str:
        return next(iter(self.files))

    def write(self, folder: Path) -> Path:
        """Put the files into a folder; gives the path of the one that is read."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Link):
                path.symlink_to(content.target)
            elif isinstance(content, Pipe):
                os.mkfifo(path)
            else:
                path.write_bytes(content)
        return folder / self.name


Seeds = Mapping[str, bytes]


@dataclass(frozen=True)
class Reader:
    """One way into the package for bytes that nobody has vouched for.

    Attributes:
        seeds: gives right files by name, as bytes.
        damage: (right files, source of chance) -> what to read instead.
        read: reads a path and says how it went, in a word; raises what the package raises, and AssertionError where
            what was read breaks a law.
        allowed: exceptions beside `undertow.Error` that the documentation of what `read` calls names.
    """

    seeds: Callable[[], Seeds]
    damage: Callable[[Seeds, random.Random], Case]
    read: Callable[[Path], str]
    allowed: tuple[type[Exception], ...] = ()
