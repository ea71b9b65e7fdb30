# SPDX-License-Identifier: MIT
"""Models that are fed what they say: undertow.decode beside plain loops over ONNX Runtime and `Stream.step`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import undertow
from undertow import decode

from .clock import Statement, measure
from .models import Weights, ort_session
from .report import Goal, Table

#: ids, embedding, units, and elements of an encoder's frame
V, E, H, F = 64, 32, 128, 64
N_IDS, N_FRAMES, MAX_SYMBOLS, WIDTH, TEMPERATURE = 200, 40, 5, 4, 0.8
#: times as fast as the loop over ONNX Runtime
GREEDY, BEAM = 5, 3
#: of scores, which the loops over ONNX Runtime sum up from its own logits
AGREE = 1e-3

Text = list[int]


class _File:
    """An ONNX file in the making, of random weights."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}

    def weight(self, *shape: int, scale: float = 1.0) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = (self.rng.normal(size=shape) * scale / np.sqrt(shape[0])).astype(np.float32)
        return name

    def add(self, op: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        from onnx import helper

        names = list(outputs) or [f"{op.lower()}{len(self.nodes)}"]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0]

    def lstm(self, x: str, n_inputs: int, number: int) -> str:
        """x (1, 1, n) -> y (1, 1, H), the state in h<number> and c<number>."""
        weights = Weights.random("lstm", n_inputs, H, number)
        bias = np.concatenate([weights.b, weights.rb])
        for letter, array in (("W", weights.W), ("R", weights.R), ("B", bias)):
            self.weights[f"{letter}{number}"] = array[None]
        h, c = f"h{number}", f"c{number}"
        inputs = [x, f"W{number}", f"R{number}", f"B{number}", "", h, c]
        self.add("LSTM", inputs, f"Y{number}", f"{h}_out", f"{c}_out", hidden_size=H)
        self.weights["axis"] = np.array([1])
        return self.add("Squeeze", [f"Y{number}", "axis"])

    def dense(self, x: str, columns: int, rows: int, scale: float, output: str) -> str:
        return self.add(
            "Add", [self.add("MatMul", [x, self.weight(columns, rows, scale=scale)]), self.weight(rows)], output
        )

    def bytes(self, inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]]) -> bytes:
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        def values(shapes: dict[str, tuple[int, ...]]) -> list[Any]:
            kinds = {name: TensorProto.INT64 if name == "id" else TensorProto.FLOAT for name in shapes}
            return [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in shapes.items()]

        initial = [numpy_helper.from_array(array, name) for name, array in self.weights.items()]
        graph = helper.make_graph(self.nodes, "bench", values(inputs), values(outputs), initial)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def _fed(seed: int, layers: int, outputs: int, scale: float, name: str) -> bytes:
    """id (1, 1) -> embedding -> LSTM layers -> dense, the states carried by the caller."""
    file = _File(seed)
    x = file.add("Gather", [file.weight(V, E, scale=8.0), "id"])
    for number in range(layers):
        x = file.lstm(x, H if number else E, number)
    file.dense(x, H, outputs, scale, name)
    states = {f"{letter}{number}": (1, 1, H) for number in range(layers) for letter in "hc"}
    return file.bytes({"id": (1, 1), **states}, {name: (1, 1, outputs), **{f"{s}_out": v for s, v in states.items()}})


def characters() -> bytes:
    return _fed(0, 2, V, 40.0, "logits")


def transducer() -> tuple[bytes, bytes]:
    """A predictor, and a joiner whose id 0 is blank."""
    file = _File(2)
    file.dense(file.add("Tanh", [file.add("Add", ["enc", "pred"])]), F, V, 6.0, "logits")
    file.weights["w1"][0] += 2
    return _fed(1, 1, F, 8.0, "p"), file.bytes({"enc": (1, F), "pred": (1, F)}, {"logits": (1, V)})


class Peer:
    """A file in ONNX Runtime, the state given with each call, as its users write it."""

    def __init__(self, blob: bytes) -> None:
        self.session = ort_session(blob)
        self.names = [value.name for value in self.session.get_inputs() if value.name != "id"]
        self.start = [np.zeros((1, 1, H), np.float32)] * len(self.names)

    def step(self, id: int, states: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        y, *after = self.session.run(None, {"id": np.array([[id]]), **dict(zip(self.names, states, strict=True))})
        return y[0, 0], after


def log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max()
    return z - np.log(np.exp(z).sum())


def greedy(peer: Peer) -> Text:
    ids, states = [0], peer.start
    for _ in range(N_IDS):
        y, states = peer.step(ids[-1], states)
        ids.append(int(y.argmax()))
    return ids[1:]


def stepped(model: undertow.Model) -> Text:
    """The same loop over `Stream.step`."""
    stream, ids, y = model.stream(), [0], np.empty(model.outputs["logits"].shape, np.float32)
    id = np.zeros(model.inputs["id"].shape, np.int32)
    for _ in range(N_IDS):
        id[...] = ids[-1]
        ids.append(int(stream.step(id, out=y).argmax()))
    return ids[1:]


def sampled(peer: Peer) -> Text:
    ids, states, rng = [0], peer.start, np.random.default_rng(0)
    for _ in range(N_IDS):
        y, states = peer.step(ids[-1], states)
        w = np.cumsum(np.exp((y - y.max()).astype(np.float64) / TEMPERATURE))
        ids.append(int(np.searchsorted(w, rng.random() * w[-1], side="right")))
    return ids[1:]


def beam(peer: Peer) -> tuple[Text, float]:
    beams = [(0.0, [0], peer.start)]
    for _ in range(N_IDS // 2):
        candidates = []
        for score, ids, states in beams:
            y, after = peer.step(ids[-1], states)
            d = log_softmax(y)
            candidates += [(score + d[k], [*ids, int(k)], after) for k in np.argpartition(-d, WIDTH)[:WIDTH]]
        beams = sorted(candidates, key=lambda c: -c[0])[:WIDTH]
    return beams[0][1][1:], float(beams[0][0])


def transduced(predictor: Peer, joiner: Any, X: np.ndarray) -> Text:
    p, states = predictor.step(0, predictor.start)
    ids: Text = []
    for x in X:
        for _ in range(MAX_SYMBOLS):
            id = int(joiner.run(None, {"enc": x[None], "pred": p[None]})[0].argmax())
            if id == 0:
                break
            ids.append(id)
            p, states = predictor.step(id, states)
    return ids


def transduced_by_beam(predictor: Peer, joiner: Any, X: np.ndarray) -> tuple[Text, float]:
    """A blank or one symbol for each frame."""
    p, states = predictor.step(0, predictor.start)
    beams: list[Any] = [(0.0, [], states, p)]
    for x in X:
        candidates: list[Any] = []
        for score, ids, states, p in beams:
            d = log_softmax(joiner.run(None, {"enc": x[None], "pred": p[None]})[0][0])
            candidates.append((score + d[0], ids, states, p, 0))
            best = np.argpartition(-d[1:], WIDTH)[:WIDTH] + 1
            candidates += [(score + d[k], [*ids, int(k)], states, p, int(k)) for k in best]
        beams = []
        for score, ids, states, p, id in sorted(candidates, key=lambda c: -c[0])[:WIDTH]:
            if id:
                p, states = predictor.step(id, states)
            beams.append((score, ids, states, p))
    return beams[0][1], float(beams[0][0])


def best_of(hypotheses: list[decode.Hypothesis]) -> tuple[Text, float]:
    return hypotheses[0].ids.tolist(), hypotheses[0].score


def contests() -> list[tuple[str, int, float | None, list[Callable[[], Any]]]]:
    """Name, what a time is divided by, the target beside ONNX Runtime, and who takes part: undertow, ONNX Runtime, and
    the loop over `Stream.step` where there is one."""
    text, (predictor, joiner) = characters(), transducer()
    model, peer = undertow.load(text), Peer(text)
    P, J = undertow.load(predictor), undertow.load(joiner, states={})
    p, j = Peer(predictor), ort_session(joiner)
    X = (np.random.default_rng(1).standard_normal((N_FRAMES, F)) * 1.5).astype(np.float32)

    def push(width: int, max_symbols: int) -> list[decode.Hypothesis]:
        decoder = decode.Transducer(P, J, width=width, max_symbols=max_symbols)
        decoder.push(X)
        return decoder.hypotheses

    def as_they_come() -> Text:
        decoder = decode.Transducer(P, J, max_symbols=MAX_SYMBOLS)
        return [int(id) for x in X for id in decoder.push(x)]

    def drawn() -> Text:
        ids: Text = decode.sample(model, 0, N_IDS, temperature=TEMPERATURE, seed=0).tolist()
        return ids

    ours_greedy: Callable[[], Text] = lambda: decode.greedy(model, 0, N_IDS).tolist()  # noqa: E731
    return [
        ("characters, greedy", N_IDS, GREEDY, [ours_greedy, lambda: greedy(peer), lambda: stepped(model)]),
        ("characters, sampled", N_IDS, None, [drawn, lambda: sampled(peer)]),
        ("characters, beam 4", N_IDS // 2, BEAM, [
            lambda: best_of(decode.beam(model, 0, None, WIDTH, N_IDS // 2)), lambda: beam(peer),
        ]),
        ("transducer, greedy", N_FRAMES, GREEDY, [
            lambda: push(1, MAX_SYMBOLS)[0].ids.tolist(), lambda: transduced(p, j, X),
        ]),
        ("transducer, frame by frame", N_FRAMES, GREEDY, [as_they_come, lambda: transduced(p, j, X)]),
        ("transducer, beam 4", N_FRAMES, BEAM, [
            lambda: best_of(push(WIDTH, 1)), lambda: transduced_by_beam(p, j, X),
        ]),
    ]  # fmt: skip


def check(name: str, ways: list[Callable[[], Any]]) -> None:
    """Raise SystemExit unless all give one text."""
    expected = ways[0]()
    for way in ways[1:]:
        answer = way()
        if isinstance(answer, tuple):
            same = answer[0] == expected[0] and abs(answer[1] - expected[1]) <= AGREE * abs(expected[1])
        else:
            same = answer == expected
        if not same:
            raise SystemExit(f"{name}: not the same text: {expected} and {answer}")


def table(seconds: float) -> Table:
    columns = ["what", "us an id or frame", "plain loop over step us", "ONNX Runtime us", "vs ONNX Runtime"]
    result = Table(f"Models that are fed what they say: LSTM {H}, {V} ids (medians)", columns)
    for name, per, target, ways in contests():
        check(name, ways)
        ours, peer, *rest = measure([Statement("f()", {"f": way}, per=per) for way in ways], seconds)
        ratio = peer.times_slower_than(ours)
        plain = rest[0].median if rest else None
        result.rows.append([name, ours.median, plain, peer.median, Goal(ratio, target) if target else ratio])
        result.mark_noise(name, [ours.spread, peer.spread])
    return result
