# SPDX-License-Identifier: MIT
"""Files are written whole or not at all, whatever has their name and whatever fails."""

import errno
import io
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import undertow
from undertow import _files

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

IS_ROOT = os.geteuid() == 0
OLD = b"what was there before"


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def bits(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


def refused(path, kind, words="", data=b"new"):
    """Writing there is an error of this kind that names the path as it was given."""
    with pytest.raises(kind) as caught:
        _files.write(path, data)
    assert caught.value.filename == os.fspath(path)
    assert caught.value.filename2 is None
    assert caught.value.errno
    assert words in str(caught.value)
    assert ".undertow-" not in str(caught.value)


# -- whole or nothing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [None, OLD])
def test_the_file_appears_when_the_block_ends(tmp_path, old):
    path = tmp_path / "x.bin"
    if old is not None:
        path.write_bytes(old)
    with _files.opened(path) as file:
        for i in range(3):
            file.write(bytes([i]) * 100_000)
            assert (path.read_bytes() if path.exists() else None) == old
    assert path.read_bytes() == b"".join(bytes([i]) * 100_000 for i in range(3))
    assert os.listdir(tmp_path) == ["x.bin"]
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")


@pytest.mark.parametrize("data", [b"bytes", "text \u2713\r\n", memoryview(np.arange(5)), b"", bytes(3_000_001)])
def test_bytes_and_text(tmp_path, data):
    _files.write(tmp_path / "x", data)
    assert (tmp_path / "x").read_bytes() == (data.encode() if isinstance(data, str) else bytes(data))


@pytest.mark.parametrize("how", [str, Path, os.fsencode])
def test_every_form_of_a_path(tmp_path, how, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _files.write(how("x"), b"new")
    _files.write(how(os.path.join(".", "y")), b"new")
    assert sorted(os.listdir()) == ["x", "y"]
    with pytest.raises(TypeError):
        _files.write(1, b"new")


@pytest.mark.parametrize("old", [None, OLD])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, FileExistsError])
def test_a_failure_inside_leaves_the_old_file(tmp_path, old, error):
    path = tmp_path / "x.bin"
    if old is not None:
        path.write_bytes(old)
    failure = error("inside")
    with pytest.raises(error) as caught, _files.opened(path) as file:
        file.write(b"new" * 10_000)
        raise failure
    assert caught.value is failure
    assert (path.read_bytes() if path.exists() else None) == old
    assert os.listdir(tmp_path) == ["x.bin"] * (old is not None)


@pytest.mark.parametrize("call", ["open", "write", "fsync", "close", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()], ids=["EIO", "interrupted"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_failure_of_the_system_leaves_nothing_behind(tmp_path, monkeypatch, call, error, late):
    path, real = tmp_path / "x.bin", getattr(os, call)
    path.write_bytes(OLD)
    descriptors = []

    def failing(*args, **kwargs):
        if call == "open" and ".undertow-" not in str(args[0]):
            return real(*args, **kwargs)
        if call == "close" and stat.S_ISDIR(os.fstat(args[0]).st_mode):
            return real(*args)
        if late:  # the system has done it when the signal arrives
            descriptors.append(real(*args, **kwargs))
        raise error

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(type(error)) as caught:
        _files.write(path, b"new")
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert caught.value.filename == str(path)
    assert path.read_bytes() == (b"new" if call == "replace" and late else OLD)
    assert os.listdir(tmp_path) == ["x.bin"]
    if call == "open" and late:
        os.close(descriptors[-1])


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    seen, fsync, replace = [], os.fsync, os.replace

    def noted(descriptor):
        seen.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "replace", lambda *a, **k: (seen.append("replace"), replace(*a, **k)))
    _files.write(tmp_path / "x", b"12345")
    assert seen == [5, "replace", "folder"]


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    fsync = os.fsync

    def refusing(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not on this file system")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    _files.write(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"


def test_a_write_that_failed_is_not_forgotten(tmp_path, monkeypatch):
    """Libraries may swallow the error of a write, or go on after it."""
    (tmp_path / "x").write_bytes(OLD)
    real, calls = os.write, []

    def full_once(descriptor, data):
        calls.append(len(data))
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full_once)
    with pytest.raises(OSError, match="No space") as caught, _files.opened(tmp_path / "x") as file:
        try:
            file.write(bytes(100_000))
        except OSError:
            file.write(b"on we go")
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "x").read_bytes() == OLD
    assert os.listdir(tmp_path) == ["x"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real, data = os.write, bytes(range(256)) * 1000
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7000]))
    _files.write(tmp_path / "x", data)
    assert (tmp_path / "x").read_bytes() == data


def test_the_file_may_be_closed_inside_and_can_seek(tmp_path):
    with _files.opened(tmp_path / "x") as file:
        assert file.seekable()
        file.write(b"...456")
        file.seek(0)
        file.write(b"123")
        assert file.tell() == 3
        file.close()
    assert (tmp_path / "x").read_bytes() == b"123456"


def test_nobody_writes_past_it(tmp_path):
    """np.save to a file with a `fileno` loses the last bytes on a full disk, and the error with them."""
    with _files.opened(tmp_path / "x") as file, pytest.raises(io.UnsupportedOperation):
        file.fileno()


# -- several at once --------------------------------------------------------------------------------------------------

_SAVER = """
import os, sys
import numpy as np, undertow
n_hidden, path, end = int(sys.argv[1]), sys.argv[2], sys.argv[3]
rng = np.random.default_rng(n_hidden)
W, R = rng.normal(size=(4 * n_hidden, 64)) * 0.1, rng.normal(size=(4 * n_hidden, n_hidden)) * 0.1
model = undertow.Sequential([undertow.LSTM(W=W, R=R)])
model.save(path)
print("saved", flush=True)
sys.stdin.readline()
while not os.path.exists(end):
    model.save(path)
"""


def test_two_savers_and_a_reader(tmp_path):
    folder, end = tmp_path / "models", tmp_path / "end"
    folder.mkdir()
    path = folder / "shared.tow"
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    savers, whole = [], []
    for n_hidden in ("64", "200"):
        command = [sys.executable, "-c", _SAVER, n_hidden, str(path), str(end)]
        savers.append(subprocess.Popen(command, text=True, **pipes))
        assert savers[-1].stdout.readline() == "saved\n"
        whole.append(path.read_bytes())
    assert whole[0] != whole[1]
    for saver in savers:
        saver.stdin.write("go\n")
        saver.stdin.flush()
    counts = [0, 0]
    try:
        while sum(counts) < 30_000 and (min(counts) < 200 or sum(counts) < 2000):
            counts[whole.index(path.read_bytes())] += 1
            undertow.load(path)
    finally:
        end.touch()
        results = [(*saver.communicate(timeout=60), saver.returncode) for saver in savers]
    assert results == [("", "", 0)] * 2
    assert min(counts) >= 200
    assert os.listdir(folder) == ["shared.tow"]


def test_threads_that_save_to_one_path(tmp_path):
    path, errors = tmp_path / "x", []
    whole = [bytes([i]) * 50_000 for i in range(4)]

    def work(data):
        try:
            for _ in range(30):
                _files.write(path, data)
                assert path.read_bytes() in whole
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(data,)) for data in whole]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert os.listdir(tmp_path) == ["x"]


def test_a_model_may_be_saved_over_its_own_file(tmp_path):
    path = tmp_path / "m.tow"
    undertow.load(undertow.example("digits")).save(path)
    model = undertow.load(path)
    y = model.run(np.ones((3, 8), np.float32))
    model.save(path)
    assert np.array_equal(model.run(np.ones((3, 8), np.float32)), y)
    assert np.array_equal(undertow.load(path).run(np.ones((3, 8), np.float32)), y)
    assert os.listdir(tmp_path) == ["m.tow"]


# -- permissions and names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077, 0o027])
def test_a_new_file_obeys_the_umask(tmp_path, umask, mask):
    umask(mask)
    (tmp_path / "as open does it").write_bytes(b"")
    _files.write(tmp_path / "x", b"new")
    assert bits(tmp_path / "x") == bits(tmp_path / "as open does it") == 0o666 & ~mask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664, 0o666, 0o755, 0o777, 0o200])
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_keeps_its_permission_bits(tmp_path, umask, mode, mask):
    umask(mask)
    path = tmp_path / "x"
    path.write_bytes(OLD)
    path.chmod(mode)
    with _files.opened(path) as file:
        (new,) = set(os.listdir(tmp_path)) - {"x"}
        assert bits(tmp_path / new) == mode
        file.write(b"new")
    assert bits(path) == mode


def test_nobody_else_can_open_the_new_file_of_a_private_one(tmp_path, umask, monkeypatch):
    """From its first moment on: who has it open could read what comes."""
    umask(0)
    (tmp_path / "x").write_bytes(OLD)
    (tmp_path / "x").chmod(0o600)
    real, modes = os.open, []

    def noted(name, *args, **kwargs):
        descriptor = real(name, *args, **kwargs)
        if ".undertow-" in name:
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", noted)
    _files.write(tmp_path / "x", b"new")
    assert modes == [0o600]


@pytest.mark.skipif(not IS_ROOT, reason="only root may give a file away")
def test_a_file_keeps_its_owner(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(OLD)
    os.chown(path, 12345, 23456)
    path.chmod(0o640)
    _files.write(path, b"new")
    found = os.stat(path)
    assert (found.st_uid, found.st_gid, bits(path)) == (12345, 23456, 0o640)


NAMES = [
    "x" * 255,
    "\u00e9" * 127,
    "\u6a21\u578b.tow",
    "\u00e9\n.tow",
    "\udcff.tow",
    "a b.tow",
    "-o",
    "--",
    " ",
    ".hidden",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_every_name(tmp_path, name):
    for data in (b"first", b"second"):
        _files.write(tmp_path / name, data)
        assert (tmp_path / name).read_bytes() == data
        assert os.listdir(tmp_path) == [name]


def test_a_name_that_is_too_long(tmp_path):
    refused(tmp_path / ("x" * 256), OSError, os.strerror(errno.ENAMETOOLONG))
    with pytest.raises(ValueError, match="null"):
        _files.write(tmp_path / "a\0b", b"new")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="this system opens files by their whole path alone")
def test_the_longest_path(tmp_path):
    """There is no room for a name that is longer than the target's."""
    longest = os.pathconf(tmp_path, "PC_PATH_MAX") - 1
    folder = str(tmp_path)
    while longest - len(folder) > 3:
        room = longest - len(folder) - 3  # for a slash and a name of one letter below
        folder += "/" + "d" * min(200, room if room <= 201 else room - 1)
        os.mkdir(folder)
    path = f"{folder}/x"
    assert longest - 1 <= len(path) <= longest
    _files.write(path, b"new")
    with open(path, "rb") as file:
        assert file.read() == b"new"
    assert os.listdir(folder) == ["x"]


# -- other systems ----------------------------------------------------------------------------------------------------

#: What Windows lacks, and what it does not do: open folders, take `dir_fd`, replace a file that is still open.
_ELSEWHERE = """
import os, sys
here = os.getcwd()
for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_NOCTTY", "O_DIRECTORY", "fchmod", "fchown", "geteuid", "mkfifo"):
    delattr(os, name)
real_open, real_close, real_replace, is_open = os.open, os.close, os.replace, set()
def opened(path, flags, mode=0o777, *, dir_fd=None):
    assert dir_fd is None and not os.path.isdir(path), (path, dir_fd)
    descriptor = real_open(path, flags, mode)
    is_open.add(descriptor)
    return descriptor
def closed(descriptor):
    is_open.discard(descriptor)
    real_close(descriptor)
def replaced(a, b, *, src_dir_fd=None, dst_dir_fd=None):
    assert src_dir_fd is None and dst_dir_fd is None and not is_open
    real_replace(a, b)
def unlinked(path, *, dir_fd=None):
    assert dir_fd is None and not is_open
    os.remove(path)
os.open, os.close, os.replace, os.unlink, os.supports_dir_fd = opened, closed, replaced, unlinked, set()
import importlib.util
spec = importlib.util.spec_from_file_location("files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
for _ in range(2):
    files.write("x", b"new")
    files.write(os.path.join(here, "y"), "text")
try:
    with files.opened("x") as file:
        file.write(b"newer")
        raise KeyError
except KeyError:
    pass
assert not is_open
print(sorted(os.listdir(here)), open("x", "rb").read(), open("y", "rb").read())
"""


def test_systems_without_half_of_the_calls(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, _files.__file__], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "['x', 'y'] b'new' b'text'\n"


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    """It may still be written, name by name."""
    monkeypatch.setattr(_files, "_opened_folder", lambda path: None)
    for data in (b"first", b"second"):
        _files.write(tmp_path / "x", data)
        assert (tmp_path / "x").read_bytes() == data
    monkeypatch.chdir(tmp_path)
    _files.write("y", b"new")
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]


def test_a_folder_that_is_renamed_meanwhile(tmp_path, monkeypatch):
    if os.open not in os.supports_dir_fd:
        pytest.skip("this system opens files by their whole path alone")
    (tmp_path / "a").mkdir()
    with _files.opened(tmp_path / "a" / "x") as file:
        file.write(b"new")
        (tmp_path / "a").rename(tmp_path / "b")
    assert (tmp_path / "b" / "x").read_bytes() == b"new"
    assert os.listdir(tmp_path / "b") == ["x"]
