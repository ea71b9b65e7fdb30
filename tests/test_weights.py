# SPDX-License-Identifier: MIT
"""read_weights: every container and dtype that PyTorch, safetensors, NumPy and h5py write, and hostile ones."""

from __future__ import annotations

import json
import os
import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from undertow.errors import Error, FormatError, UnsupportedError
from undertow.weights import read_weights
from undertow.weights.limits import MAX_OPCODES

FORMATS = Path(__file__).parent / "data" / "formats"
FILES = sorted(path.name for path in FORMATS.iterdir())


def expected(file: str) -> dict[str, np.ndarray]:
    with np.load(FORMATS.parent / "formats_expected.npz") as arrays:
        return {key.removeprefix(f"{file}/"): arrays[key] for key in arrays if key.startswith(f"{file}/")}


def golden(file: str) -> Path:
    return FORMATS / file


# -- files that other programs wrote ------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
def test_golden_file(file):
    weights = read_weights(golden(file))
    want = expected(file)
    assert want
    if file == "checkpoint.pt":  # the optimiser's tensors are there too, under their own names
        assert {name.split(".")[0] for name in weights} == {"state_dict", "optimizer"}
        weights = {name: w for name, w in weights.items() if name.startswith("state_dict.")}
    if file.endswith(".safetensors"):  # its writer sorts by size of the elements
        want = {name: want[name] for name in weights}
    assert list(weights) == list(want)
    for name, w in weights.items():
        assert w.dtype == want[name].dtype and w.shape == want[name].shape, name
        assert w.flags.c_contiguous and w.dtype.isnative
        np.testing.assert_array_equal(w, want[name], err_msg=name)


def test_arrays_can_be_changed():
    weights = read_weights(FORMATS / "state_dict.pt")
    weights["head.bias"][0] = 7
    assert read_weights(FORMATS / "state_dict.pt")["head.bias"][0] != 7


def test_magic_decides_before_the_suffix(tmp_path):
    wrong = tmp_path / "weights.safetensors"
    wrong.write_bytes((FORMATS / "state_dict.pt").read_bytes())
    assert list(read_weights(wrong)) == list(expected("state_dict.pt"))


def test_pickled_dict_of_numpy_arrays(tmp_path):
    arrays = {"W": np.arange(6, dtype=np.float32).reshape(2, 3), "f": np.asfortranarray(np.eye(3)), "b": np.zeros(0)}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"p{protocol}.pkl"
        path.write_bytes(pickle.dumps(arrays, protocol))
        if protocol < 2:
            continue  # bytes travel as calls to copyreg there; such files are older than PyTorch
        got = read_weights(path)
        assert list(got) == list(arrays)
        for name in arrays:
            np.testing.assert_array_equal(got[name], arrays[name])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_gives_the_same_arrays(protocol, tmp_path):
    every_byte = np.frombuffer(bytes(range(256)), np.uint8)
    arrays = {"bytes": every_byte, "zeros": np.zeros((2, 3)), "f": np.linspace(-1, 1, 7, dtype=np.float32)}
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(arrays, protocol))
    read = read_weights(path)
    for key, array in arrays.items():
        assert read[key].dtype == array.dtype
        np.testing.assert_array_equal(read[key], array)


def python_2(array: np.ndarray, binary: bool) -> bytes:
    """What Python 2's pickle wrote for an array: its bytes as a str, either counted or printed with escapes."""
    raw = array.tobytes()
    text = b"T" + len(raw).to_bytes(4, "little") + raw if binary else b"S" + repr(raw)[1:].encode() + b"\n"
    shape = b"".join(b"I%d\n" % n for n in array.shape)
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(" + shape + b"tcnumpy\ndtype\n"
        b"(S'" + array.dtype.str[1:].encode() + b"'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\n" + text + b"tb."
    )


@pytest.mark.parametrize("binary", [True, False], ids=["counted", "printed"])
@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3), np.float32),  # bytes that are ASCII, and so look like text
        np.frombuffer(b"text" * 4, np.int32),
        np.frombuffer(b"\\'\"\n\r\t\\x41\\n-", np.int8),
        np.frombuffer(bytes(range(256)), np.int16),
        np.linspace(-3, 3, 90_000).reshape(300, 300),  # its line is longer than a megabyte
    ],
    ids=["zeros", "text", "escapes", "every byte", "long"],
)
def test_arrays_of_python_2(array, binary, tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(python_2(array, binary))
    (read,) = read_weights(path).values()
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_torch_writes_what_we_read(tmp_path):
    """With PyTorch at hand: whatever its version, containers in which source code would be committed, and odd views."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    module = torch.nn.ModuleDict({"rnn": torch.nn.LSTM(3, 4, 2, bidirectional=True), "head": torch.nn.Linear(8, 2)})
    state = {name: w.numpy() for name, w in module.state_dict().items()}
    torch.save(module, tmp_path / "module.pt")
    torch.save(module, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions call it deprecated; its files stay
        torch.jit.script(torch.nn.LSTM(3, 4)).save(str(tmp_path / "scripted.pt"))
    for file in ("module.pt", "legacy.pt"):
        weights = read_weights(tmp_path / file)
        assert set(weights) == set(state)
        for name in state:
            np.testing.assert_array_equal(weights[name], state[name])
    assert set(read_weights(tmp_path / "scripted.pt")) == {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"}
    torch.save(torch.ones(3), tmp_path / "bare.pt")
    assert read_weights(tmp_path / "bare.pt")["tensor"].tolist() == [1, 1, 1]


def test_tensors_that_numpy_cannot_hold_are_named(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
    path = tmp_path / "sparse.pt"
    torch.save({"ok": torch.ones(1), "s": torch.eye(3).to_sparse()}, path)
    with pytest.raises(UnsupportedError, match=r"'s'.*_rebuild_sparse_tensor"):
        read_weights(path)
    torch.save({"c": torch.ones(1, dtype=torch.complex64).conj()}, path)
    with pytest.raises(UnsupportedError, match=r"'c'.*conjugation"):
        read_weights(path)


# -- damage -------------------------------------------------------------------------------------------------------


def reads_or_refuses(path: Path) -> bool:
    """True when read; a typed error is as good. Anything else fails the test that calls this."""
    try:
        weights = read_weights(path)
    except Error as error:
        assert path.name in str(error)
        return False
    assert all(isinstance(w, np.ndarray) for w in weights.values())
    return True


@pytest.mark.parametrize("file", FILES)
def test_every_truncation_is_refused(file, tmp_path):
    data = golden(file).read_bytes()
    path = tmp_path / file
    step = 1 if len(data) < 1000 else 17
    for n in range(0, len(data), step):
        path.write_bytes(data[:n])
        with pytest.raises(Error, match=file):
            read_weights(path)


@pytest.mark.parametrize("file", FILES)
def test_flipped_bytes(file, tmp_path):
    data = bytearray(golden(file).read_bytes())
    path = tmp_path / file
    rng = np.random.default_rng(1)
    for at in range(0, len(data), max(1, len(data) // 500)):
        old = data[at]
        data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        reads_or_refuses(path)
        data[at] = old


def test_wrong_files(tmp_path):
    for name, content in {
        "empty.pt": b"",
        "text.pt": b"hello world, this is not a model",
        "text.bin": b"hello world, this is not a model",
        "zip.pt": None,
        "magic.h5": b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
    }.items():
        path = tmp_path / name
        if content is None:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("readme.txt", "x")
        else:
            path.write_bytes(content)
        with pytest.raises(FormatError, match=name):
            read_weights(path)
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "none.pt")


# -- hostile pickles ----------------------------------------------------------------------------------------------


def torch_zip(path: Path, data_pkl: bytes, storages: dict[str, bytes] | None = None, **extra: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", data_pkl)
        for key, raw in (storages or {}).items():
            archive.writestr(f"a/data/{key}", raw)
        for key, raw in extra.items():
            archive.writestr(f"a/{key}", raw)
    return path


def tensor_pkl(size=(2,), stride=(1,), offset=0, n=2, storage="FloatStorage", key="0") -> bytes:
    """The pickle of {"w": tensor}, each number free to lie."""

    def dump(value: object) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    pid = b"(" + dump("storage") + f"ctorch\n{storage}\n".encode() + dump(key) + dump("cpu") + dump(n) + b"tQ"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + dump(offset) + dump(size) + dump(stride) + b"\x89}tR"
    return b"\x80\x02}" + dump("w") + call + b"s."


def test_honest_tensor_pickle(tmp_path):
    path = torch_zip(tmp_path / "w.pt", tensor_pkl(), {"0": struct.pack("<2f", 3, 4)})
    assert read_weights(path)["w"].tolist() == [3, 4]


@pytest.mark.parametrize(
    "lie",
    [
        {"size": (3,)},
        {"size": (2**62,)},
        {"size": (2**31, 2**31)},
        {"size": (2**39, 2**39, 0), "stride": (1, 1, 1)},
        {"size": (-1,)},
        {"size": (True,)},
        {"size": (1.5,)},
        {"size": [2]},
        {"size": (1,) * 100, "stride": (1,) * 100},
        {"stride": (2,)},
        {"stride": (-1,)},
        {"stride": (2**70,)},
        {"stride": ()},
        {"size": (2**34,), "stride": (0,)},
        {"offset": 1},
        {"offset": -1},
        {"offset": 2**64},
        {"offset": None},
        {"n": 3},
        {"n": -2},
        {"n": 2**61},
        {"n": "2"},
        {"key": "../0"},
        {"key": "missing"},
        {"storage": "DoubleStorage"},
        {"storage": "QInt8Storage"},
        {"storage": "UntypedStorage"},
        {"storage": "Nonsense"},
    ],
    ids=str,
)
def test_lies_about_a_tensor(lie, tmp_path):
    path = torch_zip(tmp_path / "lie.pt", tensor_pkl(**lie), {"0": struct.pack("<2f", 3, 4)})
    with pytest.raises(Error, match=r"lie\.pt"):
        read_weights(path)


@pytest.mark.parametrize("container", ["plain", "zip"])
@pytest.mark.parametrize(
    "attack",
    [
        b"cos\nsystem\n(X%b\x00\x00\x00%btR.",
        b"(cos\nsystem\nX%b\x00\x00\x00%bo.",
        b"(X%b\x00\x00\x00%bios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93X%b\x00\x00\x00%b\x85R.",
        b"cbuiltins\nexec\n(X%b\x00\x00\x00%btR.",
    ],
    ids=["reduce", "obj", "inst", "stack_global", "exec"],
)
def test_code_is_never_run(attack, container, tmp_path):
    flag = tmp_path / "owned"
    command = f"touch {flag}".encode()
    data = attack % (bytes([len(command)]), command)
    path = tmp_path / "evil.pkl"
    if container == "plain":
        path.write_bytes(data)
    else:
        torch_zip(path, data)
    with pytest.raises(FormatError, match="no tensors"):
        read_weights(path)
    assert not flag.exists()


def test_evil_beside_a_tensor(tmp_path):
    """What would have been an object is inert, and the weights next to it are read."""

    class Evil:
        def __reduce__(self):
            return os.system, ("exit 1",)

    path = tmp_path / "beside.pkl"
    path.write_bytes(pickle.dumps({"evil": Evil(), "w": np.ones(2)}))
    assert list(read_weights(path)) == ["w"]


def nested(opener: bytes, closer: bytes, depth: int) -> bytes:
    return opener * depth + closer * depth


@pytest.mark.parametrize(
    "bomb",
    {
        "deep tuples": b")" + b"\x85" * 500_000 + b".",
        "deep key": b"}" + b")" + b"\x85" * 500_000 + b"Ns.",
        "deep lists": b"]" * 100_000 + b"a" * 99_999 + b".",
        # x = [x9, x9 ...], each level ten references to the one below
        "laughs": b"]q\x00" + b"".join(b"](" + b"h\x00" * 10 + b"eq\x00" for _ in range(30)) + b".",
        "itself": b"]q\x00h\x00a.",
        "too many opcodes": b"N0" * (MAX_OPCODES // 2 + 1) + b"N.",
        "huge integer": b"\x8b\xff\xff\xff\x7f.",
        "huge text": b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "negative length": b"T\xff\xff\xff\xff.",
        "long digits": b"L" + b"9" * 100_000 + b"\n.",
        "huge memo": b"N" + b"r\xff\xff\xff\xff" + b".",
        "no stop": b"N",
        "empty stack": b".",
        "mark as value": b"(.",
        "mark as key": b"}((s.",
        "odd items": b"}(Nu.",
        "append to text": b"U\x01aNa.",
        "extension": b"\x82\x01.",
        "buffer": b"\x97.",
        "protocol": b"\x80\x09N.",
        "persistent": b"NQ.",
        "ordered dict of an int": b"ccollections\nOrderedDict\n(K\x01tR.",
        "ordered dict again and again": b"(" + b"(K\x01K\x02t" * 1000 + b"lq\x000" + b"("
        + b"ccollections\nOrderedDict\n(h\x00tR" * 2000 + b"l.",
        "merged again and again": b"(" + b"".join(b"K%cN" % (i,) for i in range(256) if i != 10) + b"dq\x000"
        + b"(" + b"cm\nC\n)\x81" + b"h\x00b" * 20000 + b"l.",
        "tensor without storage": b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.",
        "tensor with one argument": b"ctorch._utils\n_rebuild_tensor_v2\n(NtR.",
        "wrapped for ever": b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00(h\x00N(NtNtR.",
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
@pytest.mark.parametrize("container", ["plain", "zip"])
def test_bombs(bomb, container, tmp_path):
    path = tmp_path / "bomb.pkl"
    if container == "plain":
        path.write_bytes(b"\x80\x02" + bomb[1])
    else:
        torch_zip(path, bomb[1])
    with pytest.raises(Error, match=r"bomb\.pkl"):
        read_weights(path)


def test_zip_bomb(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", tensor_pkl(size=(1 << 26,), n=1 << 26))
        with archive.open("a/data/0", "w") as member:
            for _ in range(256):
                member.write(b"\0" * (1 << 20))
    with pytest.raises(FormatError, match="max_bytes"):
        read_weights(path)


def test_expanded_tensor_counts(tmp_path):
    path = torch_zip(tmp_path / "wide.pt", tensor_pkl(size=(1 << 25,), stride=(0,)), {"0": b"\0" * 8})
    with pytest.raises(FormatError, match="max_bytes"):
        read_weights(path)
    assert read_weights(path, max_bytes=1 << 28)["w"].shape == (1 << 25,)


def test_byte_order_and_doubles(tmp_path):
    storage = {"0": struct.pack("<2f", 3, 4)}
    with pytest.raises(UnsupportedError, match="byte order"):
        read_weights(torch_zip(tmp_path / "big.pt", tensor_pkl(), storage, byteorder=b"big"))
    path = torch_zip(tmp_path / "two.pt", tensor_pkl(), storage)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b/data.pkl", tensor_pkl())
    with pytest.raises(FormatError, match=r"one data\.pkl"):
        read_weights(path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/data.pkl", tensor_pkl())
    with pytest.raises(FormatError, match="two entries"):
        read_weights(path)


def test_two_tensors_of_one_name(tmp_path):
    path = tmp_path / "twice.pkl"
    path.write_bytes(pickle.dumps({"a.b": np.ones(1), "a": {"b": np.zeros(1)}}))
    with pytest.raises(FormatError, match=r"two tensors are named 'a\.b'"):
        read_weights(path)


# -- hostile safetensors, npz, HDF5 --------------------------------------------------------------------------------


def write_safetensors(path: Path, header: object, body: bytes, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


def entry(begin=0, end=8, shape=(2,), dtype="F32", **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


@pytest.mark.parametrize(
    "header",
    [
        {"w": entry(0, 4)},
        {"w": entry(0, 16)},
        {"w": entry(-8, 0)},
        {"w": entry(8, 0)},
        {"w": entry(shape=(3,))},
        {"w": entry(shape=(2**61, 2**61))},
        {"w": entry(shape=(-2,))},
        {"w": entry(shape=(2.0,))},
        {"w": entry(shape=(True, 2))},
        {"w": entry(dtype="F8_E4M3")},
        {"w": entry(dtype=7)},
        {"w": entry(extra=1)},
        {"w": {"dtype": "F32", "shape": [2]}},
        {"w": 5},
        {"w": entry(), "v": entry()},  # the same bytes twice
        {"w": entry(0, 4, (1,))},  # bytes left at the end
        {"w": entry(4, 8, (1,))},  # a hole at the beginning
        {"w": {**entry(), "shape": 2}},
        {"w": {**entry(), "data_offsets": [0]}},
        {"w": {**entry(), "data_offsets": [0, "8"]}},
        {"w": entry(), "__metadata__": {"a": 1}},
        {"w": entry(), "__metadata__": 1},
        {},
        b'{"w":' + json.dumps(entry()).encode() + b',"w":' + json.dumps(entry()).encode() + b"}",
        b"{" + b'"a":{' * 100_000,
        b'{"w": ' + b"9" * 10_000 + b"}",
        b"{\xff}",
        b"[]",
        b"{",
    ],
    ids=lambda h: (h if isinstance(h, bytes) else json.dumps(h).encode())[:60].decode("latin1"),
)
def test_bad_safetensors(header, tmp_path):
    path = write_safetensors(tmp_path / "bad.safetensors", header, b"\0" * 8)
    with pytest.raises(Error, match=r"bad\.safetensors"):
        read_weights(path)


def test_safetensors_header_length(tmp_path):
    for length in (0, 1, 10**6, 2**63, 2**64 - 1):
        path = write_safetensors(tmp_path / "bad.safetensors", {"w": entry()}, b"\0" * 8, length)
        with pytest.raises(FormatError, match=r"bad\.safetensors"):
            read_weights(path)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
        b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
        b"{'descr': '<q9', 'fortran_order': False, 'shape': (2,), }",
        b"{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': __import__('os').system('exit 1'), 'fortran_order': False, 'shape': (2,), }",
        b"(" * 5000,
        b"",
    ],
)
def test_bad_npz(header, tmp_path):
    path = tmp_path / "bad.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\0" * 8)
    with pytest.raises(Error, match=r"bad\.npz"):
        read_weights(path)


def test_npz_with_objects_or_strangers(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, w=np.array([{}], dtype=object))
    with pytest.raises(UnsupportedError, match=r"'w\.npy'.*objects"):
        read_weights(path)
    np.savez(path, w=np.ones(2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(UnsupportedError, match=r"notes\.txt"):
        read_weights(path)


def test_hdf5_does_not_leave_the_file(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["w"] = np.ones(2)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"\1" * 8)

    def soft(file):
        file["b"] = h5py.SoftLink("/a")

    def external_link(file):
        file["b"] = h5py.ExternalLink(str(other), "/w")

    def external_storage(file):
        file.create_dataset("b", (2,), "f4", external=[(str(secret), 0, 8)])

    def virtual(file):
        layout = h5py.VirtualLayout((2,), "f8")
        layout[:] = h5py.VirtualSource(str(other), "w", (2,))
        file.create_virtual_dataset("b", layout)

    def text(file):
        file["b"] = "hello"

    def empty(file):
        file["b"] = h5py.Empty("f4")

    def named_type(file):
        file["b"] = np.dtype("f4")

    for make in (soft, external_link, external_storage, virtual, text, empty, named_type):
        path = tmp_path / f"{make.__name__}.h5"
        with h5py.File(path, "w") as file:
            file["a"] = np.ones(2)
            make(file)
        with pytest.raises(UnsupportedError, match=rf"{make.__name__}\.h5: .*'b'"):
            read_weights(path)


def test_hdf5_bombs(tmp_path):
    h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("w", (1 << 30,), "f8", chunks=(1 << 16,), compression="gzip")
    with pytest.raises(FormatError, match="max_bytes"):
        read_weights(path)
    with h5py.File(path, "w") as file:
        group = file
        for _ in range(100):
            group = group.create_group("g")
        group["w"] = np.ones(1)
    with pytest.raises(FormatError, match="deeper"):
        read_weights(path)
    with h5py.File(path, "w") as file:
        file["g/w"] = np.ones(1)
        file["g/again"] = file["/"]  # a hard link back to the root: a cycle
    with pytest.raises(FormatError, match="deeper"):
        read_weights(path)


# -- real files ---------------------------------------------------------------------------------------------------

REAL = {
    "stage1/unitree-g1/g1_motion.pt": {
        "memory.weight_ih_l0": (256, 47),
        "actor.2.weight": (12, 32),
        "hidden_state": (1, 1, 64),
    },
    "stage1/anydrive/anydrive_v3_lstm.pt": {"lstm.weight_ih_l1": (32, 8), "in_scale": (1, 1, 2), "out_scale": (1,)},
    "stage1/noaa-sugar-creek/sugar_creek_trained.pt": {"lstm.weight_ih_l0": (256, 11), "head.weight": (1, 64)},
    "stage1/g2p-en/checkpoint20.npz": {"enc_w_ih": (768, 256), "fc_b": (74,)},
    "stage1/ethnicolr/census2010_ln_lstm.h5": {"model_weights/lstm/lstm/lstm_cell/kernel:0": (32, 512)},
    "stage2/beatnet/model_1_weights.pt": {"conv1.weight": (2, 1, 10), "lstm.weight_hh_l1": (600, 150)},
    "stage2/textgenrnn/textgenrnn_weights.hdf5": {"rnn_1/rnn_1/bias:0": (1024,)},
}


@pytest.mark.parametrize("file", REAL)
def test_real_file(file, models_dir):
    weights = read_weights(models_dir / file)
    for name, shape in REAL[file].items():
        assert weights[name].shape == shape
        assert weights[name].dtype == np.float32 and np.isfinite(weights[name]).all()
