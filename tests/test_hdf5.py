# SPDX-License-Identifier: MIT
"""The HDF5 reader against h5py, on files that h5py writes in many ways, and on damaged ones."""

from __future__ import annotations

import io
import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from undertow.errors import Error, FormatError, UnsupportedError
from undertow.weights.hdf5_reader import File, Group
from undertow.weights.hdf5_reader.filters import fletcher32
from undertow.weights.hdf5_reader.source import Fields, Source, lookup3

h5py = pytest.importorskip("h5py", reason="needs h5py: pip install h5py")

VERSIONS = [None, "earliest", ("v108", "v108"), ("v110", "v110"), "latest"]
DTYPES = ["<f4", ">f4", "<f2", ">f2", "<f8", "i1", "u1", "<i2", ">u2", "<i4", ">i4", "<u8", ">i8", "?", "<c8", ">c16"]
SHAPES: list[tuple[int, ...]] = [(), (0, 4), (1,), (7,), (40, 9), (3, 4, 5), (2, 1, 3, 2)]
OLD = (None, "earliest", ("v108", "v108"))  # formats in which h5py gives arrays that can grow the old index


def written(make: Callable[[Any], None], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **options) as file:
        make(file)
    return buffer.getvalue()


def arrays(data: bytes) -> dict[str, np.ndarray]:
    """Every array by path, by the reader under test."""
    found: dict[str, np.ndarray] = {}

    def walk(group: Group, depth: int) -> None:
        assert isinstance(group.attributes, dict)
        for key in group.members:
            item = group.get(key)
            if not isinstance(item, Group):
                found[item.name] = item.read()
            elif depth < 8:
                walk(item, depth + 1)

    walk(File(data).root, 0)
    return found


def check(data: bytes) -> int:
    """Compare with h5py, and say how many arrays there were."""
    ours = arrays(data)
    theirs: dict[str, np.ndarray] = {}

    def walk(group: Any) -> None:
        for item in group.values():
            if isinstance(item, h5py.Group):
                walk(item)
            else:
                theirs[item.name] = item[()]

    with h5py.File(io.BytesIO(data), "r") as file:
        walk(file)
    assert set(ours) == set(theirs)
    for name, want in theirs.items():
        want = np.asarray(want)
        assert ours[name].dtype == want.dtype.newbyteorder("="), name
        assert ours[name].flags.c_contiguous and ours[name].flags.writeable, name
        np.testing.assert_array_equal(ours[name], want, err_msg=name, strict=False)
        assert ours[name].shape == want.shape, name
    return len(ours)


def numbers(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    if np.dtype(dtype).kind in "iu":  # all bits
        return np.frombuffer(rng.bytes(size), dtype).reshape(shape)
    values = 100 * rng.normal(size=shape)
    return np.asarray(values > 0 if dtype == "?" else values).astype(dtype)


def storage(shape: tuple[int, ...], can_grow: bool, chance: random.Random) -> dict[str, Any]:
    """Random settings of `create_dataset`."""
    if shape == () or chance.random() < 0.2:
        return {}
    chosen: dict[str, Any] = {}
    kind = chance.choice(["auto", "one", "small", "odd"])
    if kind == "auto" or 0 in shape:
        chosen["chunks"] = True
    else:
        chosen["chunks"] = {"one": shape, "small": (1,) * len(shape)}.get(
            kind, tuple(chance.randint(1, n) for n in shape)
        )
    if chance.random() < 0.5:
        chosen |= {"compression": "gzip", "compression_opts": chance.randint(0, 9)}
    chosen["shuffle"] = chance.random() < 0.4
    chosen["fletcher32"] = chance.random() < 0.4
    if chance.random() < 0.3:
        chosen["maxshape"] = tuple(n + chance.randint(0, 9) for n in shape)
    if can_grow and chance.random() < 0.3:
        chosen["maxshape"] = (None, *shape[1:])
    return chosen


@pytest.mark.parametrize("track_order", [False, True])
@pytest.mark.parametrize("libver", VERSIONS, ids=str)
def test_random_files(libver: Any, track_order: bool) -> None:
    chance = random.Random(f"{libver}{track_order}")
    rng = np.random.default_rng(chance.randrange(2**32))

    def make(file: Any) -> None:
        for i, (dtype, shape) in enumerate(itertools.product(DTYPES, SHAPES)):
            kwargs = storage(shape, libver in OLD, chance)
            file.create_dataset(f"g{i % 5}/h{i % 3}/w{i}", data=numbers(dtype, shape, rng), **kwargs)

    assert check(written(make, libver=libver, track_order=track_order)) == len(DTYPES) * len(SHAPES)


@pytest.mark.parametrize("libver", VERSIONS, ids=str)
def test_ways_to_store(libver: Any) -> None:
    rng = np.random.default_rng(1)

    def raw(file: Any, name: str, shape: tuple[int, ...], set_up: Callable[[Any], None], fill: bool = True) -> None:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        set_up(plist)
        space = h5py.h5s.create_simple(shape)
        dataset = h5py.Dataset(h5py.h5d.create(file.id, name, h5py.h5t.IEEE_F32BE, space, plist))
        if fill:
            dataset[...] = rng.normal(size=shape)

    def early_chunks(plist: Any) -> None:  # the implicit index of newer files
        plist.set_chunk((3, 4))
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)

    def make(file: Any) -> None:
        raw(file, b"compact", (5, 4), lambda plist: plist.set_layout(h5py.h5d.COMPACT))
        raw(file, b"early", (10, 9), early_chunks)
        raw(file, b"never written", (3, 2), lambda plist: None, fill=False)
        file.create_dataset("filled", (4, 5), "i2", fillvalue=-7)
        part = file.create_dataset("partly filled", (30, 30), ">f8", chunks=(7, 8), fillvalue=2.5, compression="gzip")
        part[3:9, 20:] = rng.normal(size=(6, 10))
        file.create_dataset("nothing in chunks", (30, 30), "f4", chunks=(7, 8))
        file.create_dataset("all false", (9,), "?", chunks=(4,))
        file.create_dataset("many chunks", data=rng.normal(size=5000), chunks=(2,))  # a paged index, a deep tree
        file.create_dataset("many packed chunks", data=rng.normal(size=3000), chunks=(2,), compression="gzip")
        some = file.create_dataset("few of many chunks", (9000,), "f4", chunks=(2,))
        some[4000:4100] = 1
        direct = file.create_dataset("filter left out", (8,), "<f4", chunks=(4,), shuffle=True, compression="gzip")
        direct[:] = np.arange(8)
        direct.id.write_direct_chunk((4,), np.arange(4, dtype="<f4").tobytes(), filter_mask=3)
        shrunk = file.create_dataset("shrunk", data=rng.normal(size=(20, 20)), chunks=(3, 3), maxshape=(30, 30))
        shrunk.resize((8, 10))
        file.create_dataset("odd bytes", data=np.arange(7, dtype="i1"), chunks=(7,), fletcher32=True)
        file.create_dataset("big sums", data=np.full(3 << 20, 255, "u1"), chunks=(3 << 20,), fletcher32=True)
        file["again"] = file["compact"]  # a second name

    assert check(written(make, libver=libver)) == 15


@pytest.mark.parametrize("track_order", [False, True])
@pytest.mark.parametrize("libver", VERSIONS, ids=str)
def test_many_members_and_attributes(libver: Any, track_order: bool) -> None:
    texts = {f"text{i}": "x" * i for i in range(30)}

    def make(file: Any) -> None:
        for i in reversed(range(800)):  # long names: the heap of newer groups grows tables in tables
            file[f"{'n' * 900}{i}"] = np.int16(i)
        for key, text in texts.items():
            file.attrs[key] = text
        file.attrs["list"] = [b"a", b"bc"]
        file.attrs["none"] = np.array([], "S1")
        file.attrs["number"] = 7.0
        file.attrs["long"] = np.array([b"abcdefgh" * 5] * 1000)  # beyond what a newer heap manages itself

    data = written(make, libver=libver, track_order=track_order)
    root = File(data).root
    with h5py.File(io.BytesIO(data), "r") as file:
        assert list(root.members) == list(file)
        for key in list(file)[::50]:
            assert root.get(key).read() == file[key][()]
    long = ["abcdefgh" * 5] * 1000
    assert root.attributes == {k: [v] for k, v in texts.items()} | {"list": ["a", "bc"], "none": [], "long": long}


def test_checksums() -> None:
    assert lookup3(b"") == 0xDEADBEEF  # values from the author's own test program
    assert lookup3(b"Four score and seven years ago") == 0x17770551
    data = written(lambda f: f.create_dataset("w", data=np.arange(500.0), chunks=(500,), fletcher32=True))
    at = data.index(np.arange(500.0).tobytes())
    assert fletcher32(data[at : at + 4000]) == int.from_bytes(data[at + 4000 : at + 4004], "little")
    damaged = bytearray(data)
    damaged[at + 77] ^= 4
    with pytest.raises(FormatError, match=r"/w, chunk at \(0,\).*checksum"):
        arrays(bytes(damaged))


def test_what_is_refused() -> None:
    growing = {"data": np.ones((4, 4)), "chunks": (2, 2), "maxshape": (None, 4)}
    virtual = h5py.VirtualLayout((2,), "f8")
    virtual[:] = h5py.VirtualSource("other.h5", "w", (2,))
    for says, make, options in (
        ("link", lambda f: f.__setitem__("w", h5py.SoftLink("/a")), {}),
        ("link", lambda f: f.__setitem__("w", h5py.ExternalLink("x.h5", "/k")), {"libver": "latest"}),
        ("another file", lambda f: f.create_dataset("w", (2,), "f4", external=[("secret", 0, 8)]), {}),
        ("virtual", lambda f: f.create_virtual_dataset("w", virtual), {}),
        ("LZF", lambda f: f.create_dataset("w", data=np.ones(9), compression="lzf"), {}),
        ("scale-offset", lambda f: f.create_dataset("w", data=np.ones(9), scaleoffset=2), {}),
        ("named type", lambda f: f.__setitem__("w", np.dtype("f4")), {}),
        ("named types", lambda f: (f.__setitem__("t", np.dtype("f4")), f.create_dataset("w", (2,), f["t"])), {}),
        ("text", lambda f: f.__setitem__("w", "hello"), {}),
        ("compound", lambda f: f.__setitem__("w", np.zeros(2, [("a", "f4"), ("b", "f4")])), {}),
        ("array", lambda f: f.create_dataset("w", (2,), np.dtype(("f4", (3,)))), {}),
        ("reference", lambda f: f.create_dataset("w", data=f.ref, dtype=h5py.ref_dtype), {}),
        ("floats of their own", lambda f: f.__setitem__("w", np.ones(2, np.longdouble)), {}),
        ("empty", lambda f: f.__setitem__("w", h5py.Empty("f4")), {}),
        ("can grow.*save it again", lambda f: f.create_dataset("w", **growing), {"libver": "latest"}),
    ):
        root = File(written(make, **options)).root
        with pytest.raises(UnsupportedError, match=f"/w .*{says}|/w: .*{says}"):
            root.get("w").read()
    with pytest.raises(FormatError, match="not an HDF5 file"):
        File(b"hello, this is not an HDF5 file")


def test_bombs() -> None:
    def zeros(shape: tuple[int, ...], chunks: tuple[int, ...], write: bool) -> bytes:
        def make(file: Any) -> None:
            dataset = file.create_dataset("w", shape, "f8", chunks=chunks, compression="gzip", maxshape=(None,))
            if write:
                dataset[...] = 0

        return written(make)

    for data in (
        zeros((1 << 40,), (1 << 16,), False),  # a shape without numbers
        zeros((1 << 24,), (1 << 22,), True),  # numbers that deflate to nothing
        zeros((1,), (1 << 25,), True),  # a chunk far beyond the array
    ):
        with pytest.raises(FormatError, match=r"more than .* bytes of arrays"):
            arrays(data)
    with pytest.raises(FormatError, match="more than 100 bytes"):
        File(written(lambda f: f.__setitem__("w", np.ones(13))), max_array_bytes=100).root.get("w").read()

    def doubling(file: Any) -> None:  # 2^40 ways from top to bottom
        for i in range(40):
            file.create_group(str(i))
        for i in range(39):
            file[f"{i}/a"] = file[f"{i}/b"] = file[str(i + 1)]

    def walk(group: Group) -> None:
        for key in group.members:
            walk(group.get(key))

    with pytest.raises(FormatError, match="without end"):
        walk(File(written(doubling)).root)


# -- damage -------------------------------------------------------------------------------------------------------


def old_file(file: Any) -> None:
    file["g/kernel:0"] = np.arange(6, dtype="f4").reshape(2, 3)
    file["g/bias:0"] = np.arange(3, dtype=">f2")
    file.attrs["model_config"] = "{}" * 20
    file["g"].attrs["weight_names"] = [b"g/kernel:0", b"g/bias:0"]


def chunked_file(file: Any) -> None:
    file.create_dataset("w", data=np.arange(30.0), chunks=(7,), compression="gzip", shuffle=True, fletcher32=True)
    file.create_dataset("v", data=np.arange(4) > 1, chunks=(2,), fillvalue=True)
    file["c"] = np.complex64(1j)


def many_file(file: Any) -> None:
    for i in range(12):
        file[f"w{i}"] = np.int8(i)
        file.attrs[f"a{i}"] = "x" * i


KINDS: dict[str, bytes] = {
    f"{make.__name__}-{label}": written(make, libver=libver)
    for make in (old_file, chunked_file, many_file)
    for label, libver in (("old", "earliest"), ("v108", ("v108", "v108")), ("latest", "latest"))
}


def survives(data: bytes) -> bool:
    """True when the damage was noticed."""
    start = time.process_time()
    try:
        arrays(data)
        noticed = False
    except Error:
        noticed = True
    assert time.process_time() - start < 30  # it takes a millisecond; what loops for ever takes longer on any machine
    return noticed


@pytest.mark.parametrize("kind", KINDS)
def test_truncated(kind: str) -> None:
    data = KINDS[kind]
    assert not survives(data)
    chance = random.Random(kind)
    assert all(survives(data[: chance.randrange(len(data))]) for _ in range(100))


def unsealed(source: Source, offset: int, size: int, magic: bytes = b"") -> Fields:
    """`Source.sealed` for one who mends the checksums after the damage."""
    raw = source.at(offset, size)
    if not raw.startswith(magic) or size < len(magic) + 4:
        raise FormatError("damaged")
    return Fields(raw[len(magic) : -4])


@pytest.mark.parametrize("mended", [False, True], ids=["", "mended"])
@pytest.mark.parametrize("kind", KINDS)
def test_flipped(kind: str, mended: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if mended:
        monkeypatch.setattr(Source, "sealed", unsealed)
    data = KINDS[kind]
    chance = random.Random(kind)
    used = [i for i, byte in enumerate(data) if byte] or [0]  # most of a file is empty room
    for n in range(1200):
        damaged = bytearray(data)
        for _ in range(1 + n % 2):
            at = (
                chance.choice(used) + chance.choice((0, 0, 1)) if chance.random() < 0.9 else chance.randrange(len(data))
            )
            damaged[at % len(data)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        survives(bytes(damaged))
