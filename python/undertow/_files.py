# SPDX-License-Identifier: MIT
"""Files are written whole or not at all. Every module of the package that writes one does it here.

The bytes go to a new file in the folder of the target, which takes the target's name in one step once they are all on
the disk. A reader finds the old file or the new one; several writers do not disturb each other, and the last one wins;
what fails, be it on a full disk, leaves the old file as it was. A process that is killed outright may leave a file
`.undertow-...` behind, and nothing else.

What already has the target's name:
    a regular file is replaced by one with its permission bits, and with its owner and group where the system allows it.
        Hard links to it keep the old bytes. A file that may not be written is refused, as `open` would.
    nothing: the new file has the permission bits that `open` would give it.
    a symbolic link to a regular file or to nothing is replaced as if it were nothing, and what it leads to stays as it
        is. A link to anything else, such as /dev/stdout, is refused.
    a pipe or a character device, such as /dev/null, is written straight and stays.
    a folder, a socket or a disk is refused.
"""

from __future__ import annotations

import errno
import filecmp
import io
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, BinaryIO

# Not every system has them all. Without O_BINARY, Windows would write \r\n for \n.
_FLAGS = os.O_WRONLY
for _flag in ("O_NOFOLLOW", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
    _FLAGS |= getattr(os, _flag, 0)

#: Links in a row that a system follows at most.
_MAX_LINKS = 40


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary file to write to, which becomes `path` when the block ends without an exception.

    It has no `fileno`: NumPy and Pillow write past Python where there is one, and what then fails, as on a full disk,
    goes unnoticed. It can `seek` unless `path` is a pipe or a device.

    Raises:
        OSError: it cannot be written, or must not be replaced; names `path`. Nothing is left behind.

    >>> with opened("weights.npz") as file:             # doctest: +SKIP
    ...     np.savez(file, **arrays)
    """
    target = os.fsdecode(path)
    with _naming(target):
        before = _look(target)
    straight = before is not None and not stat.S_ISREG(before.st_mode)
    with _straight(target) if straight else _beside(target, before) as file:
        yield file


def write(path: str | os.PathLike[str], data: str | bytes | memoryview) -> None:
    """Make `path` a file of these bytes; text as UTF-8.

    Raises:
        OSError: as `opened`.
    """
    with opened(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def workshop(target: Path) -> Path:
    """A new folder inside of `target`, which is made if need be: for programs whose files go to `target` by `move_all`.

    Raises:
        OSError: it cannot be made there.
    """
    target.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=".undertow-", dir=target))


def move_all(folder: Path, target: Path) -> tuple[list[Path], list[Path]]:
    """Move the files of a `workshop` to `target`, each in one step.

    Returns: (where they are, those of these places where a file with other bytes was).
    """
    files, replaced = [], []
    for path in sorted(path for path in folder.rglob("*") if not path.is_dir()):
        place = target / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() and not filecmp.cmp(path, place, shallow=False):
            replaced.append(place)
        os.replace(path, place)
        files.append(place)
    return files, replaced


def write_all(target: Path, contents: dict[str, bytes]) -> list[Path]:
    """Write files by their paths in a folder, made if need be: what can fail does so before the first is there.

    Returns: where they are.

    Raises:
        OSError: one cannot be written.
    """
    folder = workshop(target)
    try:
        for name, content in contents.items():
            if (target / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target / name))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write(folder / name, content)
        move_all(folder, target)
    finally:
        remove_folder(folder)
    return [target / name for name in contents]


def remove_folder(folder: Path) -> None:
    """Remove a `workshop` and what is left in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _look(target: str) -> os.stat_result | None:
    """What has this name: a regular file, a pipe or a character device. None: nothing, or a link to be replaced.

    Raises:
        OSError: something else, or a file that may not be written.
    """
    try:
        status = os.lstat(target)
    except FileNotFoundError:
        if not os.path.basename(target):
            raise
        return None
    if stat.S_ISLNK(status.st_mode):
        if what := _leads_to(target):
            text = f"a symbolic link to {what}, which is neither followed nor replaced; expected the name of a file"
            raise OSError(errno.EINVAL, text, target)
        return None
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), target)
    if stat.S_ISREG(status.st_mode):
        if not os.access(target, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), target)
    elif not _takes_bytes(status.st_mode):
        raise OSError(errno.EINVAL, "a socket or disk, which is not replaced; expected the name of a file", target)
    return status


def _takes_bytes(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _leads_to(link: str) -> str | None:
    """What a symbolic link leads to, if that forbids to replace it; None for a regular file or nothing."""
    try:
        mode = os.stat(link).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return None
    if stat.S_ISDIR(mode):
        return "a folder"
    if not stat.S_ISREG(mode):
        return "a pipe or device"
    # With standard output redirected, /dev/stdout leads to a regular file, and is still no name to replace.
    for _ in range(_MAX_LINKS):
        folder = os.path.realpath(os.path.dirname(link))
        if folder in ("/dev", "/proc") or folder.startswith("/proc/"):
            return "what a program has open"
        link = os.path.join(folder, os.path.basename(link))
        if not os.path.islink(link):
            break
        link = os.path.join(folder, os.readlink(link))
    return None


@contextmanager
def _straight(target: str) -> Iterator[BinaryIO]:
    with _naming(target):
        descriptor = os.open(target, _FLAGS)
        # A file that took the name since would be written in place.
        if not _takes_bytes(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EBUSY, "replaced by another file while it was opened; try again", target)
    with _written(descriptor, target) as file:
        yield file


@contextmanager
def _beside(target: str, before: os.stat_result | None) -> Iterator[BinaryIO]:
    """A new file in the target's folder, in its place at the end. before: the file whose permissions it takes over."""
    head, name = os.path.split(target)
    folder = _opened_folder(head)
    # Relative to the folder itself: it may be renamed meanwhile, and the longest path has no room for a longer name.
    within = head if folder is None else ""
    temporary = os.path.join(within, f".undertow-{secrets.token_hex(8)}")
    # Nobody else may open it before its group is the right one.
    mode = 0o666 if before is None else before.st_mode & 0o700
    ours = True
    try:
        try:
            with _naming(target):
                descriptor = os.open(temporary, _FLAGS | os.O_CREAT | os.O_EXCL, mode, dir_fd=folder)
        except FileExistsError:
            ours = False
            raise
        with _written(descriptor, target, before) as file:
            yield file
        with _naming(target):
            os.replace(temporary, os.path.join(within, name), src_dir_fd=folder, dst_dir_fd=folder)
        if folder is not None:
            with suppress(OSError):  # the file is whole either way, and some file systems cannot do it
                os.fsync(folder)
    except BaseException:
        if ours:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        if folder is not None:
            os.close(folder)


def _opened_folder(path: str) -> int | None:
    """None where the system has no such thing, or this folder may be written but not read."""
    if not {os.open, os.rename, os.unlink} <= os.supports_dir_fd:
        return None
    try:
        return os.open(path or os.curdir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None


@contextmanager
def _written(descriptor: int, target: str, before: os.stat_result | None = None) -> Iterator[BinaryIO]:
    """A buffered file over an open descriptor, which is closed at the end, its bytes on the disk."""
    raw = _Raw(descriptor, target)
    file = io.BufferedWriter(raw)
    try:
        with _naming(target):
            if before is not None:
                _take_over(descriptor, before)
        yield file
        if not file.closed:
            file.flush()
        if raw.failure is not None:
            raise raw.failure
        with _naming(target):
            if raw.seekable():
                os.fsync(descriptor)
            raw.descriptor = None
            os.close(descriptor)
    except BaseException as error:
        if raw.descriptor is not None:
            raw.descriptor = None
            with suppress(OSError):
                os.close(descriptor)
        if raw.failure is not None and raw.failure is not error and isinstance(error, Exception):
            raise raw.failure from None
        raise
    finally:
        file.close()


def _take_over(descriptor: int, before: os.stat_result) -> None:
    """Give a file the permission bits, and where it is allowed the owner and group, of the one that it replaces."""
    if hasattr(os, "fchown"):
        now = os.fstat(descriptor)
        for have, want, ids in (
            (now.st_gid, before.st_gid, (-1, before.st_gid)),
            (now.st_uid, before.st_uid, (before.st_uid, -1)),
        ):
            if have != want:
                with suppress(OSError):
                    os.fchown(descriptor, *ids)
    mode = before.st_mode & 0o777
    if hasattr(os, "fchmod") and os.fstat(descriptor).st_mode & 0o777 != mode:
        os.fchmod(descriptor, mode)


class _Raw(io.RawIOBase):
    """The bytes of one descriptor, which it does not close. Once `descriptor` is None, what is written is dropped.

    Attributes:
        failure: the first error of a write. Libraries may swallow it, or stumble over it while they clean up.
    """

    def __init__(self, descriptor: int, target: str) -> None:
        self.descriptor: int | None = descriptor
        self.failure: OSError | None = None
        self._target = target
        self._seekable = stat.S_ISREG(os.fstat(descriptor).st_mode)

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def write(self, data: Any) -> int:
        if self.descriptor is None:
            return len(data)
        try:
            with _naming(self._target):
                return os.write(self.descriptor, data)
        except OSError as error:
            self.failure = self.failure or error
            raise

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if self.descriptor is None or not self._seekable:
            raise io.UnsupportedOperation("seek")
        return os.lseek(self.descriptor, offset, whence)


@contextmanager
def _naming(target: str) -> Iterator[None]:
    """Errors of the system name the file that the user knows."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, target, getattr(error, "winerror", None)) from None


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what is printed meanwhile, by Python or by C++, off the screen."""
    kept: list[tuple[int, int]] = []
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            for number in (1, 2):
                with suppress(OSError):  # a program without a screen
                    kept.append((number, os.dup(number)))
                    os.dup2(nowhere, number)
            yield
        finally:
            os.close(nowhere)
            for number, saved in kept:
                os.dup2(saved, number)
                os.close(saved)
