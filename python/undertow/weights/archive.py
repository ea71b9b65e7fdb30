# SPDX-License-Identifier: MIT
"""A zip archive whose members are read whole, within a budget. Every damage is a FormatError."""

from __future__ import annotations

import io
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ..errors import FormatError, UnsupportedError
from .contents import open_file
from .in_memory import InMemory
from .limits import MAX_ENTRIES, Budget

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError, KeyError)


def members(path: Path) -> list[zipfile.ZipInfo]:
    """What is in an archive; nothing where it cannot be read."""
    unreadable = (zipfile.BadZipFile, OSError, ValueError, NotImplementedError)
    with suppress(*unreadable), open_file(path) as file, zipfile.ZipFile(file) as archive:
        return archive.infolist()
    return []


class Archive:
    """Open `path` (or `data`, its bytes) as a zip file; use as a context manager."""

    def __init__(self, path: Path, budget: Budget, data: bytes | None = None) -> None:
        self.path, self.budget = path, budget
        try:
            if data is None and isinstance(path, InMemory):
                data = path.data
            self._zip = zipfile.ZipFile(path if data is None else io.BytesIO(data))
        except _DAMAGE as error:
            raise FormatError(f"{path}: damaged zip archive: {error}") from error
        self._infos: dict[str, zipfile.ZipInfo] = {}
        try:
            infos = self._zip.infolist()
            if len(infos) > MAX_ENTRIES:
                raise FormatError(f"{path}: {len(infos)} entries, expected at most {MAX_ENTRIES}")
            for info in infos:
                if info.filename in self._infos:
                    raise FormatError(f"{path}: two entries are named {info.filename!r}")
                self._infos[info.filename] = info
        except FormatError:
            self._zip.close()
            raise

    @property
    def names(self) -> list[str]:
        return list(self._infos)

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def size(self, name: str) -> int:
        return self._infos[name].file_size

    def read(self, name: str) -> bytes:
        """The bytes of one member, charged to the budget before they are unpacked."""
        if name not in self._infos:
            raise FormatError(f"{self.path}: entry {name!r} is missing")
        info = self._infos[name]
        if info.flag_bits & 1:
            raise UnsupportedError(f"{self.path}: entry {name!r} is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UnsupportedError(
                f"{self.path}: entry {name!r} uses zip compression {info.compress_type}, expected stored or deflate"
            )
        self.budget.take(info.file_size, f"entry {name!r}")
        try:
            with self._zip.open(info) as member:
                data = member.read(info.file_size + 1)
        except _DAMAGE as error:
            raise FormatError(f"{self.path}: entry {name!r} is damaged: {error}") from error
        if len(data) != info.file_size:
            raise FormatError(f"{self.path}: entry {name!r} holds {len(data)} bytes, expected {info.file_size}")
        return data

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()
