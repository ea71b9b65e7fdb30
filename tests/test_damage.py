# SPDX-License-Identifier: MIT
"""Damage is noticed: by the hash where it is asked for, and in integer weights always, for kernels count on them."""

import numpy as np
import pytest

import undertow
from networks import single
from tow_words import Words
from undertow import FormatError
from undertow.cli import main
from undertow.compile import compile_graph
from undertow.model import Model
from undertow.passes.precisions import with_weights
from undertow.passes.sparsify import with_blocks


@pytest.fixture
def blob():
    return compile_graph(single(np.random.default_rng(0), "gru", 5, 20))


def test_any_flipped_bit_is_found_by_the_hash(blob, tmp_path):
    path = tmp_path / "model.tow"
    path.write_bytes(blob)
    assert undertow.load(path, check=True).hash == blob[32:48]
    weights = 64 + int.from_bytes(blob[24:28], "little")
    for at in range(weights, len(blob), 7):
        flipped = bytearray(blob)
        flipped[at] ^= 1 << at % 8
        Model(flipped)  # float32 weights and gaps may hold anything
        path.write_bytes(flipped)
        with pytest.raises(
            FormatError, match=r"model\.tow: the file is damaged: the hash .* is [0-9a-f]{32}, its header says"
        ):
            undertow.load(path, check=True)


@pytest.mark.parametrize("mapped", [True, False])
def test_check_goes_with_every_other_option(blob, tmp_path, mapped):
    path = tmp_path / "model.tow"
    path.write_bytes(blob)
    undertow.load(path, check=True, mapped=mapped, weights="int8")
    path.write_bytes(Words(blob).sealed()[:-1] + b"\1")
    with pytest.raises(FormatError, match="damaged"):
        undertow.load(path, check=True, mapped=mapped, weights="int8")


def test_verify_compares_the_hash(blob, tmp_path, capsys):
    path = tmp_path / "model.tow"
    path.write_bytes(blob)
    assert main(["verify", str(path)]) == 0
    capsys.readouterr()
    path.write_bytes(blob[:-1] + b"\1")
    assert main(["verify", str(path)]) not in (0, 1)
    assert "damaged" in capsys.readouterr().err
    assert main(["info", str(path)]) == 0  # which reads no weights


def int8_blob(sparse):
    rng = np.random.default_rng(1)
    graph = single(rng, "gru", 64, 64)
    if sparse:
        for key in ("W", "R"):
            w = graph.nodes[0].weights[key].reshape(3, 4, 16, 16, 4)
            w[rng.random((3, 4, 1, 16, 1)).repeat(16, 2).repeat(4, 4) < 0.7] = 0
    return compile_graph(with_blocks(with_weights(graph, "int8"), bool(sparse)))


def first_int8(words):
    """Where the first int8 tensor of a file lies."""
    return words.weights(next(i for i in range(words.words[0]) if words.words[words.place("tensor", i)] in (4, 7)))


@pytest.mark.parametrize("sparse", [False, True])
def test_an_int8_weight_that_is_not_in_its_sum(sparse):
    words = Words(int8_blob(sparse))
    Model(words.sealed())
    # The weights of a sparse matrix end its tensor; a dense one begins with them.
    at = first_int8(words).stop - 5 if sparse else first_int8(words).start + 5
    words.blob[at] = 6 if words.blob[at] == 5 else 5
    with pytest.raises(FormatError, match="the sum of a row of int8 weights is not the one stored"):
        Model(words.sealed())


@pytest.mark.parametrize("sparse", [False, True])
def test_minus_128_is_no_int8_weight(sparse):
    words = Words(int8_blob(sparse))
    at = first_int8(words).stop - 5 if sparse else first_int8(words).start + 5
    before = np.frombuffer(words.blob, np.int8)[at]
    words.blob[at] = 0x80
    if not sparse:  # W of 64 columns and 3 gates: 16 quads of [3][16][4], scales [3][16], sums [3][16]
        sums = first_int8(words).start // 4 + 16 * 48 + 48
        np.frombuffer(words.blob, "<i4")[sums + 1] += -128 - before
    with pytest.raises(FormatError, match="an int8 weight is -128, below -127"):
        Model(words.sealed())


def test_int4_weights_may_hold_any_bits(rng):
    """No kernel counts on anything there: the same bits on every instruction set, whatever the file holds."""
    blob = compile_graph(with_weights(single(rng, "gru", 40, 33), "int4"))
    words = Words(blob)
    for i in range(words.words[0]):
        if words.words[words.place("tensor", i)] == 5:
            at = words.weights(i)
            words.blob[at] = rng.integers(0, 256, at.stop - at.start, np.uint8).tobytes()
    X = rng.standard_normal((20, 40)).astype(np.float32)
    ways = [Model(words.sealed(), isa).run(X) for isa, runs in undertow.isas().items() if runs]
    for got in ways:
        np.testing.assert_array_equal(got, ways[-1])


# -- format version 4 -------------------------------------------------------------------------------------------------


def version_4(name, columns=48):
    """The words of a smoothed model whose first tensor is a matrix of that many columns."""
    graph = single(np.random.default_rng(2), "lstm", columns, 20)
    graph.nodes[0].smoothing = {key: np.arange(n) % 7 for key, n in (("W", columns), ("R", 20))}
    words = Words(compile_graph(with_weights(graph, name)))
    assert words.blob[8] == 4 and words.words[words.place("tensor", 0, 1)] == 1
    return words


@pytest.mark.parametrize("name", ["int16", "int8"])
def test_a_truncated_file(name):
    blob = version_4(name).sealed()
    Model(blob)
    for n in (0, 7, 63, 64, 200, len(blob) // 2, len(blob) - 64, len(blob) - 1):
        with pytest.raises(FormatError):
            Model(blob[:n])
        cut = Words(blob)
        cut.blob = bytearray(blob[:n])
        if n >= 64 + cut.n_metadata:  # whole tables, and a header that says how long the file is
            cut.blob[16:24] = n.to_bytes(8, "little")
            with pytest.raises(FormatError, match="do not lie in the file's"):
                Model(cut.sealed())


@pytest.mark.parametrize("name", ["int16", "int8"])
@pytest.mark.parametrize("factor", [0.0, -0.0, -1.0, 3.0, 0.75, 2.0, 2.0**-41, 2.0**-140, np.nan, np.inf])
def test_a_factor_that_is_none(name, factor):
    words = version_4(name)
    at = words.weights(0).start + 4 * 47
    for right in (1.0, 2.0**-40):
        words.blob[at : at + 4] = np.float32(right).tobytes()
        Model(words.sealed())
    words.blob[at : at + 4] = np.float32(factor).tobytes()
    refused = r"tensor 0 has a factor for column 47 that is no power of two from 2\^-40 to 1"
    with pytest.raises(FormatError, match=refused):
        Model(words.sealed())


@pytest.mark.parametrize("name", ["int16", "int8"])
@pytest.mark.parametrize("factor", [1.0, -0.0, 2.0**-140, np.nan, np.inf])
def test_factors_behind_the_last_column_are_zeros(name, factor):
    """Instruction sets that multiply whole vectors gave NaN everywhere where others gave numbers."""
    words = version_4(name, columns=5)
    Model(words.sealed())
    for column in (5, 15):
        at = words.weights(0).start + 4 * column
        words.blob[at : at + 4] = np.float32(factor).tobytes()
        with pytest.raises(FormatError, match=f"tensor 0 has a factor for column {column} that is not 0"):
            Model(words.sealed())
        words.blob[at : at + 4] = bytes(4)


def test_flags_where_there_are_none():
    for name, chosen in (("float32", 0), ("float16", 2), ("bfloat16", 3), ("int4", 5), ("int8", 4), ("int16", 8)):
        words = Words(compile_graph(with_weights(single(np.random.default_rng(0), "gru", 8, 16), name)))
        if words.blob[8] < 4:  # versions below 4 have no flags
            words.words[words.place("tensor", 0, 1)] = 1
            with pytest.raises(FormatError, match=f"tensor 0: unknown dtype {chosen}, or flags 1"):
                Model(words.sealed())
        words.blob[8], words.blob[48], words.blob[52] = 4, 1, 1
        for flags in (0, 1, 2, 3, 2**31):
            words.words[words.place("tensor", 0, 1)] = flags
            if flags == 0:
                Model(words.sealed())
                continue
            may = name in ("int8", "int16") and flags == 1  # but the file has no factors
            message = "wrong number of elements" if may else f"unknown dtype {chosen}, or flags {flags}"
            with pytest.raises(FormatError, match=message):
                Model(words.sealed())


@pytest.mark.parametrize("name", ["int16", "int8"])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_what_versions_before_4_do_not_have(name, version):
    words = version_4(name)
    words.blob[8] = version
    if version == 1:
        words.blob[48:56] = bytes(8)
    with pytest.raises(FormatError, match=f"tensor 0: unknown dtype {8 if name == 'int16' else 4}, or flags 1"):
        Model(words.sealed())


def test_an_int16_weight_that_its_columns_do_not_allow():
    """48 columns: 6688^2 times 48 fits an int32. In the first and the last row, of padding too."""
    words = version_4("int16")
    start = words.weights(0).start + 4 * 48
    q = np.frombuffer(words.blob, "<i2")
    row_of_panel = 48 * 4 * 16  # numbers of a panel of four gates
    for at in (0, row_of_panel - 1, row_of_panel + 2 * 4 * 16 + 1):
        place = start // 2 + at
        before = q[place]
        for value in (6688, -6688, before):
            q[place] = value
            Model(words.sealed())
        for value in (6689, -6689, 32767, -32768):
            q[place] = value
            with pytest.raises(FormatError, match="an int16 weight is larger than its number of columns allows"):
                Model(words.sealed())
        q[place] = before
