# SPDX-License-Identifier: MIT
"""Bidirectional layers over chunks with look-ahead: against the layers' own definitions, chunk by chunk in float64."""

import numpy as np
import pytest

import oracle
import undertow
from exported import agree, build, needs_compiler
from tolerances import FLOAT32_CELL

pytest.importorskip("undertow._core", reason="needs the compiled engine: pip install .")

I, H = 3, 4
#: chunk, look-ahead: less than a chunk, as much, more, several whole ones; chunks of one timestep
SIZES = [(4, 1), (4, 3), (4, 4), (4, 6), (2, 6), (1, 1), (1, 3), (6, 2)]
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def arrays(kind, rng):
    """W (1, G H, I), R and B (1, 2 G H) in ONNX's order of gates, of both ways."""
    rows = GATES[kind] * H
    return [[rng.normal(size=n).astype(np.float32) for n in ((1, rows, I), (1, rows, H), (1, 2 * rows))] for _ in "fb"]


def layer_of(kind, W, R, B, reverse, **starts):
    rows = GATES[kind] * H
    settings = {"b": B[0, :rows], "recurrent_bias": B[0, rows:], "reverse": reverse, **starts}
    if kind == "rnn":
        return undertow.RNN(W[0], R[0], **settings)
    if kind == "gru":
        return undertow.GRU(W[0], R[0], reset_after=True, gate_order="zrn", **settings)
    return undertow.LSTM(W[0], R[0], gate_order="iofg", **settings)


def along(kind, weights, x, starts=()):
    """One way over timesteps (T, I), from zeros or from `starts`."""
    more = {"linear_before_reset": 1} if kind == "gru" else {}
    begin = {f"{letter}0": np.reshape(s, (1, 1, H)) for letter, s in zip("hc", starts, strict=False)}
    return getattr(oracle, kind)(x[:, None], *weights, **begin, **more)[0][:, 0, 0]


def expected(kind, ways, x, chunk, ahead, starts=()):
    forth = along(kind, ways[0], x)
    back = [along(kind, ways[1], x[t : t + chunk + ahead][::-1], starts)[::-1][:chunk] for t in range(0, len(x), chunk)]
    return forth, np.concatenate(back)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("chunk, ahead", SIZES)
def test_chunks_are_what_their_definition_says(kind, chunk, ahead, rng):
    ways = arrays(kind, rng)
    layers = [layer_of(kind, *w, reverse) for w, reverse in zip(ways, (False, True), strict=True)]
    model = undertow.Sequential([undertow.Bidirectional(*layers, lookahead=ahead, chunk=chunk)])
    assert model.streamable and model.latency == -(-ahead // chunk) and model.frames_in == chunk
    for n in (1, 2, 5):
        x = rng.normal(size=(n * chunk, I)).astype(np.float32)
        want = np.concatenate(expected(kind, ways, x.astype(np.float64), chunk, ahead), axis=1)
        np.testing.assert_allclose(model.run(x), want, atol=FLOAT32_CELL * 4)
        stream = model.stream()
        frames = x if chunk == 1 else x.reshape(n, chunk, I)
        rows = np.concatenate([*(stream.step(frame)[None] for frame in frames), stream.flush()])[model.latency :]
        np.testing.assert_array_equal(rows.reshape(len(x), 2 * H), model.run(x))


@pytest.mark.parametrize("merge", ["sum", "mul", "ave"])
def test_merges_starts_and_what_stands_behind(merge, rng):
    ways, start = arrays("lstm", rng), rng.normal(size=(2, H)).astype(np.float32) / 2
    layers = [layer_of("lstm", *ways[0], False), layer_of("lstm", *ways[1], True, h0=start[0], c0=start[1])]
    head = rng.normal(size=(2, H)).astype(np.float32)
    x = rng.normal(size=(12, I)).astype(np.float32)
    both = expected("lstm", ways, x.astype(np.float64), 3, 4, start)
    want = {"sum": both[0] + both[1], "mul": both[0] * both[1], "ave": (both[0] + both[1]) / 2}[merge]
    chunks = undertow.Bidirectional(*layers, merge, lookahead=4, chunk=3)
    model = undertow.Sequential([chunks, undertow.Dense(head)])
    np.testing.assert_allclose(model.run(x), want @ head.T, atol=FLOAT32_CELL * 8)
    pool, stream = model.pool(2), model.stream()
    ids = pool.open(2)
    for frame in x.reshape(4, 3, I):
        y = stream.step(frame)
        np.testing.assert_array_equal(pool.step(ids, np.stack([frame, frame])), np.stack([y, y]))
    assert chunks.output_size == H and "lookahead=4, chunk=3" in repr(chunks)


def test_enough_of_the_future_is_the_whole_sequence(rng):
    ways = arrays("gru", rng)
    layers = [layer_of("gru", *w, reverse) for w, reverse in zip(ways, (False, True), strict=True)]
    whole = undertow.Sequential([undertow.Bidirectional(*layers)])
    chunked = undertow.Sequential([undertow.Bidirectional(*layers, lookahead=12, chunk=4)])
    x = rng.normal(size=(12, I)).astype(np.float32)
    np.testing.assert_allclose(chunked.run(x), whole.run(x), atol=FLOAT32_CELL)


@needs_compiler
def test_exported_c_has_the_same_bits(tmp_path, rng):
    ways = arrays("lstm", rng)
    layers = [layer_of("lstm", *w, reverse) for w, reverse in zip(ways, (False, True), strict=True)]
    model = undertow.Sequential([undertow.Bidirectional(*layers, lookahead=3, chunk=2)])
    (exported,) = build(tmp_path / "c", {"chunks": model}).values()
    agree(exported, {"input": rng.normal(size=(6, 2, I)).astype(np.float32)})


def test_settings_that_make_no_sense(rng):
    ways = arrays("lstm", rng)
    f, b = (layer_of("lstm", *w, reverse) for w, reverse in zip(ways, (False, True), strict=True))
    for settings, words in (
        ({"lookahead": 0}, "lookahead is 0 and chunk 0"),
        ({"lookahead": 2, "chunk": 0}, "lookahead is 2 and chunk 0"),
        ({"chunk": 2}, "chunk is given without lookahead"),
    ):
        with pytest.raises(ValueError, match=words):
            undertow.Bidirectional(f, b, **settings)
    last = [layer_of("lstm", *w, r, return_sequences=False) for w, r in zip(ways, (False, True), strict=True)]
    with pytest.raises(ValueError, match="return_sequences must be True"):
        undertow.Bidirectional(*last, lookahead=2)
    bounded = layer_of("lstm", *ways[0], False, cell_clip=1.0)
    with pytest.raises(undertow.UnsupportedError, match="cell_clip"):
        undertow.Bidirectional(bounded, b, lookahead=2)
    with pytest.raises(undertow.ShapeError, match="multiple of 2"):
        undertow.Sequential([undertow.Bidirectional(f, b, lookahead=2)]).run(np.zeros((3, I), np.float32))
