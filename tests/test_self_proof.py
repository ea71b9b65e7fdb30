# SPDX-License-Identifier: MIT
"""Self-proving files: frames in a .tow and digests of what they give, which `load(check=True)` computes again."""

import hashlib
import importlib.util
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

import undertow
from networks import counter, framed, round_trip_graphs, single, zoo, zoo_input
from undertow import _core, _proof, tow
from undertow.compile import compile_graph
from undertow.model import Model
from undertow.tow import container
from undertow.tow import proof as files

KEPT = Path(__file__).parent / "data" / "proof.tow"
# by its path: a folder of data on sys.path would be taken for the packages that its own are called after, such as keras
_spec = importlib.util.spec_from_file_location("generate_proof", KEPT.with_name("generate_proof.py"))
generate_proof = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate_proof)


def proven(model, X, folder, name="model.tow"):
    path = folder / name
    model.save(path, proof=X)
    return path


def frames_for(model, n=5, seed=3):
    rng = np.random.default_rng(seed)
    return {
        name: rng.integers(0, v.n_ids or 1, (n, *v.shape)).astype(np.int32)
        if v.dtype == "int32"
        else rng.normal(size=(n, *v.shape)).astype(np.float32)
        for name, v in model.inputs.items()
    }


def changed(blob, model, change):
    """The file with other digests, whole in every other way."""
    proof = _proof.read(model, memoryview(blob))
    digests = proof.digests.copy()
    change(digests)
    return tow.attach(blob, files.Proof(proof.frames, digests))


# -- the file that is kept --------------------------------------------------------------------------------------------


def test_the_kept_file_is_proven_on_every_instruction_set(isa):
    model = undertow.load(KEPT, isa=isa, check=True)
    assert model.proof_frames == 12


def test_the_generator_gives_the_kept_bytes(tmp_path):
    path = proven(Model.from_graph(generate_proof.graph()), generate_proof.frames(), tmp_path)
    assert path.read_bytes() == KEPT.read_bytes()


def test_the_kept_file_is_what_the_format_document_says():
    """Read by the document alone: hashlib, struct, and the stream that every user has."""
    blob = KEPT.read_bytes()
    model = undertow.load(KEPT)
    at = len(compile_graph(generate_proof.graph()))  # which has no proof, and ends with its weights
    head = blob[at : at + 64]
    magic, version, n_frames, size, n_inputs, n_fields = struct.unpack_from("<8sIIQII", head)
    assert (magic, version, n_frames, n_inputs, n_fields) == (b"\x89TOWPF\r\n", 1, 12, 2, 5)
    assert size == len(blob) - at and struct.unpack_from("<Q", blob, 16) == (len(blob),)
    assert head[32:48] == hashlib.blake2b(blob[32:48] + head[:32] + blob[at + 64 :], digest_size=16).digest()
    assert head[48:] == bytes(16)
    x = np.frombuffer(blob, "<f4", 36, at + 64).reshape(12, 3)
    i = np.frombuffer(blob, "<i4", 12, at + 64 + 192)
    assert np.array_equal(x, generate_proof.frames()["x"], equal_nan=True)
    stream = model.stream()
    digests = at + 64 + 192 + 64
    for t in range(12):
        y = stream.step({"x": x[t], "i": i[t]})
        for k, field in enumerate([*y.values(), *(stream.state[name] for name in model.states)]):
            bits = np.where(np.isnan(field), np.uint32(0x7FC00000), np.array(field).view(np.uint32)).astype("<u4")
            stored = blob[digests + 8 * (5 * t + k) :][:8]
            assert stored == hashlib.blake2b(bits.tobytes(), digest_size=8).digest(), (t, k)


# -- what stays as it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [zoo(), counter(), framed(), *round_trip_graphs()], ids=lambda g: g.name)
def test_a_proof_changes_nothing_but_the_size(graph, tmp_path):
    model = Model.from_graph(graph)
    X = frames_for(model)
    loaded = undertow.load(proven(model, X, tmp_path), check=True)
    assert loaded.hash == model.hash and loaded.proof_frames == 5 and model.proof_frames == 0
    assert repr(loaded.graph) == repr(model.graph)
    plain, blob = compile_graph(graph), (tmp_path / "model.tow").read_bytes()
    differs = {i for i in range(len(plain)) if plain[i] != blob[i]}
    assert differs <= {*range(16, 24), *range(28, 32)}  # the size, and the sum that counts it
    if model.streamable:
        loaded.stream(model.stream().snapshot())


def test_the_engine_takes_it_as_it_is(tmp_path):
    """The C library knows nothing of proofs; nor did the readers before."""
    blob = proven(Model.from_graph(zoo()), zoo_input(4), tmp_path).read_bytes()
    assert _core.Model(blob, None, False).info["hash"] == Model.from_graph(zoo()).hash


def test_saved_again_and_pickled_it_goes_along(tmp_path):
    model = Model.from_graph(zoo())
    first = proven(model, zoo_input(4), tmp_path)
    loaded = undertow.load(first)
    loaded.save(tmp_path / "again.tow")
    assert (tmp_path / "again.tow").read_bytes() == first.read_bytes()
    assert pickle.loads(pickle.dumps(loaded)).proof_frames == 4
    loaded.save(tmp_path / "other.tow", proof=zoo_input(2))
    assert undertow.load(tmp_path / "other.tow", check=True).proof_frames == 2
    assert loaded.with_weights("float16").proof_frames == 0  # another model


def test_a_model_of_whole_sequences(tmp_path, isa):
    graph = single(np.random.default_rng(0), "gru", 3, 5)
    graph.nodes[0].attrs["reverse"] = True
    model = Model.from_graph(graph)
    assert not model.streamable
    assert undertow.load(proven(model, frames_for(model, 7), tmp_path), isa=isa, check=True).proof_frames == 7


# -- what is found ----------------------------------------------------------------------------------------------------


def test_every_flipped_bit_of_a_proof_is_found():
    blob = KEPT.read_bytes()
    at = len(compile_graph(generate_proof.graph()))
    for i in range(at, len(blob)):
        flipped = bytearray(blob)
        flipped[i] ^= 1 << i % 8
        with pytest.raises(undertow.FormatError):
            Model(bytes(flipped), check=True)
        assert Model(bytes(flipped)).n_parameters  # the model itself is whole


def test_every_truncation_of_a_proof_is_refused():
    blob = KEPT.read_bytes()
    for n in range(len(compile_graph(generate_proof.graph())), len(blob)):
        with pytest.raises(undertow.FormatError, match="header says"):
            Model(blob[:n], check=True)


def test_a_proof_of_another_model_is_refused():
    other = generate_proof.graph()
    other.nodes[0].weights["table"][0, 0] += 1
    blob, proof = compile_graph(other), KEPT.read_bytes()[len(compile_graph(generate_proof.graph())) :]
    moved = bytearray(tow.attach(blob, _proof.read(undertow.load(KEPT), memoryview(KEPT.read_bytes()))))
    moved[len(blob) :] = proof
    with pytest.raises(undertow.FormatError, match="of another model"):
        Model(bytes(moved), check=True)


def test_a_damaged_proof_is_a_warning_where_nobody_asked(cli, tmp_path):
    """The model is whole: it is described, and says so."""
    blob = bytearray(KEPT.read_bytes())
    blob[-1] ^= 1
    (tmp_path / "m.tow").write_bytes(blob)
    model = undertow.load(tmp_path / "m.tow")
    assert "proof  " not in str(model) and "its proof is damaged" in model._repr_html_()
    code, _, err = cli("info", tmp_path / "m.tow")
    assert code == 0 and "warning: its proof is damaged" in err


def test_bytes_behind_the_weights_that_are_no_proof(tmp_path):
    """Readers have always taken such files; a proof would not be found behind them."""
    blob = bytearray(compile_graph(zoo())) + bytes(64)
    blob[16:24] = struct.pack("<Q", len(blob))
    blob[32:48] = tow.digest(blob)
    container.checksum(blob)
    model = Model(bytes(blob), check=True)
    assert model.proof_frames == 0
    with pytest.raises(undertow.FormatError, match="64 bytes stand behind the last tensor"):
        model.save(tmp_path / "m.tow", proof=zoo_input(2))
    Model.from_graph(model.graph).save(tmp_path / "m.tow", proof=zoo_input(2))
    assert undertow.load(tmp_path / "m.tow", check=True).proof_frames == 2


def test_a_later_version_is_named():
    blob = bytearray(KEPT.read_bytes())
    blob[len(compile_graph(generate_proof.graph())) + 8] = 2
    with pytest.raises(undertow.FormatError, match=r"version 2.*without a check"):
        Model(bytes(blob), check=True)
    assert Model(bytes(blob)).name == "proof"


@pytest.mark.parametrize(
    ("t", "field", "words"),
    [(0, 0, "output 'hidden' after frame 0 of 12"), (7, 3, "state 'lstm.c' after frame 7"), (11, 4, "state 'gru.h'")],
)
def test_other_numbers_are_named(isa, t, field, words):
    def change(digests):
        digests[t, field, 5] ^= 1

    blob = changed(KEPT.read_bytes(), undertow.load(KEPT), change)
    assert Model(blob, isa)  # nothing is asked for
    with pytest.raises(undertow.InternalError) as error:
        Model(blob, isa, check=True)
    assert words in str(error.value) and f"on {isa}" in str(error.value) and "undertow doctor" in str(error.value)


@pytest.mark.parametrize("way", ["_at_once", "_in_a_pool"])
def test_ways_that_differ_from_single_steps_are_found(monkeypatch, way):
    """A kernel for many frames, or many streams, that is wrong in one bit of the last row."""
    right = getattr(_proof, way)

    def wrong(model, xs):
        digests = right(model, xs)
        digests[-1, 0, 0] ^= 1
        return digests

    monkeypatch.setattr(_proof, way, wrong)
    with pytest.raises(undertow.InternalError, match=r"output 'hidden' after frame 11 .*, in (one call|a pool of 3)"):
        undertow.load(KEPT, check=True)


def test_frames_that_do_not_fit_are_refused(tmp_path):
    model = Model.from_graph(zoo())
    path = tmp_path / "model.tow"
    with pytest.raises(undertow.ShapeError, match=r"0 frames, expected 1 to 256"):
        model.save(path, proof=zoo_input(0))
    with pytest.raises(undertow.ShapeError, match=r"257 frames, expected 1 to 256"):
        model.save(path, proof=zoo_input(257))
    with pytest.raises((undertow.ShapeError, TypeError)):
        model.save(path, proof=np.zeros((3, 99)))
    with pytest.raises(KeyError, match="proof: expected x, ids, got nobody"):
        model.save(path, proof={"nobody": zoo_input(3)})
    assert not path.exists()


def test_frames_of_which_nothing_is_a_number_prove_nothing(tmp_path):
    model = undertow.load(undertow.example("digits"))
    X = np.ones((5, 8), np.float32)
    X[0, 3] = np.nan  # from which on the hidden state is
    with pytest.raises(undertow.ShapeError, match=r"NaN in output 'output' in every frame.*these hold NaN themselves"):
        model.save(tmp_path / "model.tow", proof=X)
    model.save(tmp_path / "model.tow", proof=X[::-1])
    assert undertow.load(tmp_path / "model.tow", check=True).proof_frames == 5


# -- from the shell ---------------------------------------------------------------------------------------------------


def test_convert_and_verify(cli, tmp_path):
    X = generate_proof.frames(40)
    np.savez(tmp_path / "x.npz", x=np.nan_to_num(X["x"]), i=X["i"])
    Model.from_graph(generate_proof.graph()).save(tmp_path / "model.tow")
    out = tmp_path / "proven.tow"
    code, text, _ = cli("convert", tmp_path / "model.tow", "-o", out, "--proof", tmp_path / "x.npz")
    assert code == 0 and "proof: the first 32 of 40 frames" in text
    assert cli("verify", out)[0] == 0
    assert "32 frames" in cli("info", out)[1]

    def change(digests):
        digests[3, 1, 0] ^= 1

    out.write_bytes(changed(out.read_bytes(), undertow.load(out, mapped=False), change))
    code, _, err = cli("verify", out)
    assert code == 3 and "output 'y' after frame 3 of 32" in err


def test_convert_takes_no_damaged_file_and_says_when_a_proof_is_lost(cli, tmp_path):
    path = proven(undertow.load(undertow.example("digits")), np.zeros((4, 8), np.float32), tmp_path)
    code, _, said = cli("convert", path, "-o", tmp_path / "small.tow", "--weights", "int8")
    assert code == 0 and "its proof, of 4 frames, is of the file as it was" in said
    assert undertow.load(tmp_path / "small.tow").proof_frames == 0
    code, _, said = cli("convert", path, "-o", tmp_path / "same.tow")
    assert code == 0 and not said and undertow.load(tmp_path / "same.tow").proof_frames == 4
    data = bytearray(path.read_bytes())
    data[20_064] ^= 0x40  # of a weight
    path.write_bytes(data)
    for argv in (
        ("convert", path, "-o", tmp_path / "other.tow"),
        ("convert", path, "-o", tmp_path / "other.tow", "--weights", "int8"),
        ("compare", path, tmp_path / "small.tow"),
    ):
        code, _, said = cli(*argv)
        assert code == 3 and "hash" in said, said
    assert not (tmp_path / "other.tow").exists()
