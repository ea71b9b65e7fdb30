# SPDX-License-Identifier: MIT
"""What is written to a name that something has already: a link, a folder, a pipe, a device."""

import io
import os
import pty
import socket
import stat
import tempfile
import threading
import wave
from pathlib import Path

import numpy as np
import pytest

import undertow
from test_files import OLD, bits, refused
from undertow import _files

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

IS_ROOT = os.geteuid() == 0


def test_a_link_is_replaced_and_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "x"
    victim.write_bytes(OLD)
    victim.chmod(0o600)
    path.symlink_to(victim)
    _files.write(path, b"new")
    assert not path.is_symlink()
    assert path.read_bytes() == b"new"
    assert victim.read_bytes() == OLD
    assert bits(victim) == 0o600


@pytest.mark.parametrize("to", ["nowhere", "x", "file/below"], ids=["nothing", "itself", "below a file"])
def test_a_link_to_nothing_is_replaced(tmp_path, to):
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "x").symlink_to(tmp_path / to)
    _files.write(tmp_path / "x", b"new")
    assert not (tmp_path / "x").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["file", "x"]
    assert (tmp_path / "file").read_bytes() == OLD


def test_a_link_in_the_place_of_the_new_file_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_bytes(OLD)
    for name in ("x.partial", "x.tmp", ".x.tmp", "x~"):
        (tmp_path / name).symlink_to(victim)
    _files.write(tmp_path / "x", b"new")
    # Nobody can know the name; if somebody did, nothing would be gained by it.
    monkeypatch.setattr(_files.secrets, "token_hex", lambda n: "guessed")
    (tmp_path / ".undertow-guessed").symlink_to(victim)
    refused(tmp_path / "x", FileExistsError, data=b"newer")
    assert (tmp_path / ".undertow-guessed").is_symlink()
    assert victim.read_bytes() == OLD
    assert (tmp_path / "x").read_bytes() == b"new"


def test_names_of_new_files_cannot_be_guessed(tmp_path):
    names = set()
    for _ in range(3):
        with _files.opened(tmp_path / "x"), _files.opened(tmp_path / "y"):
            names.update(os.listdir(tmp_path))
    assert len({name for name in names if len(name) >= 20}) == 6


def test_a_folder(tmp_path):
    (tmp_path / "x").mkdir()
    refused(tmp_path / "x", IsADirectoryError)
    refused(f"{tmp_path}/x/", IsADirectoryError)
    refused(f"{tmp_path}/x/.", IsADirectoryError)
    assert os.listdir(tmp_path) == ["x"]
    assert os.listdir(tmp_path / "x") == []
    with pytest.raises(IsADirectoryError, match="x"):
        undertow.load(undertow.example("digits")).save(tmp_path / "x")


def test_no_such_folder(tmp_path):
    refused(tmp_path / "no" / "x", FileNotFoundError)
    refused("", FileNotFoundError)
    refused(f"{tmp_path}/no/", FileNotFoundError)
    (tmp_path / "file").write_bytes(OLD)
    refused(tmp_path / "file" / "x", NotADirectoryError)
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_takes_the_name_meanwhile(tmp_path):
    with pytest.raises(IsADirectoryError) as caught, _files.opened(tmp_path / "x") as file:
        file.write(b"new")
        (tmp_path / "x").mkdir()
    assert caught.value.filename == str(tmp_path / "x")
    assert os.listdir(tmp_path) == ["x"]
    assert os.listdir(tmp_path / "x") == []


@pytest.mark.skipif(IS_ROOT, reason="root may write everywhere")
def test_what_may_not_be_written(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(OLD)
    path.chmod(0o444)
    refused(path, PermissionError)
    path.chmod(0o644)
    tmp_path.chmod(0o555)
    refused(path, PermissionError)
    refused(tmp_path / "y", PermissionError)
    tmp_path.chmod(0o755)
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["x"]


def test_a_protected_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(OLD)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(tmp_path / "x", PermissionError)
    assert (tmp_path / "x").read_bytes() == OLD


def through(fifo, write):
    """Let `write` write to a pipe; gives what came out of it."""
    os.mkfifo(fifo)
    got = []
    thread = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    thread.start()
    write(fifo)
    thread.join()
    assert stat.S_ISFIFO(os.lstat(fifo).st_mode)
    assert os.listdir(fifo.parent) == [fifo.name]
    return got[0]


def test_a_pipe_is_written_straight(tmp_path):
    assert through(tmp_path / "pipe", lambda path: _files.write(path, b"new")) == b"new"


def test_a_pipe_takes_what_libraries_write(tmp_path):
    y = np.arange(12, dtype=np.float32).reshape(3, 4)

    def npz(path):
        with _files.opened(path) as file:
            assert not file.seekable()
            np.savez(file, y=y)

    def npy(path):
        with _files.opened(path) as file:
            np.save(file, y)

    for name in "abc":
        (tmp_path / name).mkdir()
    with np.load(io.BytesIO(through(tmp_path / "a" / "pipe", npz))) as data:
        assert np.array_equal(data["y"], y)
    assert np.array_equal(np.load(io.BytesIO(through(tmp_path / "b" / "pipe", npy))), y)
    sound = through(tmp_path / "c" / "pipe.wav", lambda path: undertow.audio.write(path, y[0] / 16, 8000))
    with wave.open(io.BytesIO(sound)) as file:
        assert file.getnframes() == 4
        assert file.readframes(4) == np.int16([0, 2048, 4096, 6144]).tobytes()


def test_a_pipe_that_nobody_reads_any_more(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(BrokenPipeError) as caught, _files.opened(fifo) as file:
        os.close(reader)
        file.write(b"new")
    assert caught.value.filename == str(fifo)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_device_is_written_straight_and_stays():
    """A terminal, for tests that are wrong must not replace /dev/null."""
    ours, theirs = pty.openpty()
    try:
        path = os.ttyname(theirs)
        before = os.lstat(path)
        _files.write(path, b"new")
        assert os.read(ours, 10) == b"new"
        assert (os.lstat(path).st_ino, os.lstat(path).st_rdev) == (before.st_ino, before.st_rdev)
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_null_device_takes_an_archive(tmp_path):
    null = tmp_path / "null"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        null.write_bytes(b"")
    except OSError:
        pytest.skip("needs the right to make a device")
    with _files.opened(null) as file:
        np.savez(file, y=np.ones(3))
    undertow.load(undertow.example("digits")).save(null)
    assert stat.S_ISCHR(os.lstat(null).st_mode)
    assert os.listdir(tmp_path) == ["null"]


def test_a_pipe_that_became_a_file_is_not_written_in_place(tmp_path, monkeypatch):
    path, real = tmp_path / "x", os.lstat
    os.mkfifo(path)
    pipe = real(path)
    path.unlink()
    path.write_bytes(OLD)
    monkeypatch.setattr(os, "lstat", lambda name: pipe if name == str(path) else real(name))
    refused(path, OSError, "replaced by another file")
    assert path.read_bytes() == OLD


@pytest.mark.parametrize("to", ["folder", "pipe", "socket", "device"])
def test_a_link_to_something_else_is_refused(tmp_path, to):
    end = tmp_path / to
    if to == "folder":
        end.mkdir()
    elif to == "pipe":
        os.mkfifo(end)
    elif to == "socket":
        with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
            server.bind(f"{short}/socket")
            os.rename(f"{short}/socket", end)
    else:
        end = Path(os.devnull)
    (tmp_path / "x").symlink_to(end)
    (tmp_path / "y").symlink_to(tmp_path / "x")
    for name in ("x", "y"):
        refused(
            tmp_path / name, OSError, f"a symbolic link to a {'folder' if to == 'folder' else 'pipe or device'}, which"
        )
        assert (tmp_path / name).is_symlink()
    if to == "socket":
        refused(end, OSError, "a socket or disk, which is not replaced")
    assert sorted(os.listdir(tmp_path)) == sorted(["x", "y"] + [to] * (to != "device"))


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs Linux's /proc")
def test_standard_output_is_no_name_to_replace_even_where_it_is_a_file(tmp_path):
    with open(tmp_path / "out", "w+b") as file:
        (tmp_path / "x").symlink_to(f"/proc/self/fd/{file.fileno()}")
        (tmp_path / "y").symlink_to("x")
        for path in (tmp_path / "x", tmp_path / "y", f"/dev/fd/{file.fileno()}", f"/proc/self/fd/{file.fileno()}"):
            refused(path, OSError, "a symbolic link to what a program has open")
        assert (tmp_path / "x").is_symlink()
        assert (tmp_path / "y").is_symlink()
        assert file.read() == b""
