# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""`undertow.compat.torch.StreamingModule` beside the module of torch's that it was made of, over whole sequences."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")

import undertow
import undertow.compat
from tolerances import FLOAT32_MODEL
from undertow.compat.torch import StreamingModule

T, I, O = 23, 4, 3


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = torch.nn.LSTM(I, 8, num_layers=2, dropout=0.3, batch_first=True)
        self.head = torch.nn.Linear(8, O)

    def forward(self, x):
        return torch.sigmoid(self.head(self.cell(x)[0]))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return Net()


@pytest.fixture(scope="module")
def model(net):
    return undertow.from_torch(net, torch.zeros(1, 5, I))


def frames(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(4))


def expected(net, X):
    """(n, T, O) of (n, T, I), in float64."""
    with torch.no_grad():
        return copy.deepcopy(net).double().eval()(X.double()).numpy()


def near(y, want):
    assert y.dtype == torch.float32 and tuple(y.shape) == want.shape
    np.testing.assert_allclose(y.numpy(), want, rtol=0, atol=FLOAT32_MODEL)


def test_forward_goes_on_where_it_ended(net):
    stream = StreamingModule(net, torch.zeros(1, 5, I))
    X = frames(1, T, I)
    want = expected(net, X)[0]
    for _ in range(2):
        near(stream(X[0, 0]), want[0])  # a frame
        near(stream(X[0, 1:9]), want[1:9])  # several
        near(stream(X[0, 9:9]), want[9:9])
        near(stream(X[0, 9:]), want[9:])
        assert float(np.abs(stream(X[0, 0]).numpy() - want[0]).max()) > 100 * FLOAT32_MODEL  # it remembers
        stream.reset()
    assert stream.train().eval().training is False


def test_a_batch_is_a_pool(net, model):
    stream, X = StreamingModule(model, batch_size=3), frames(3, T, I)
    want = expected(net, X)
    near(stream(X[:, 0]), want[:, 0])
    near(stream(X[:, 1:10]), want[:, 1:10])
    stream.reset([1])  # of which the others take no notice
    again = expected(net, torch.cat([X[:1, :T], X[1:2, 10:].repeat(1, 2, 1)[:, :T], X[2:, :T]]))
    y = stream(X[:, 10:])
    near(y[[0, 2]], want[[0, 2], 10:])
    near(y[1], again[1, : T - 10])
    stream.reset()
    near(stream(X), want)
    for number in (3, [0, 5], [True, False]):
        with pytest.raises(IndexError):
            stream.reset(number)
    with pytest.raises(TypeError, match="numbers of sequences from 0 to 2, or a mask"):
        stream.reset([1.7])
    with pytest.raises(TypeError, match="write flags as bools"):
        stream.reset(torch.tensor([0, 1, 1], dtype=torch.uint8))  # as `done` of many an environment


def test_a_mask_says_which_sequences_begin_anew(net, model):
    stream, X = StreamingModule(model, batch_size=3), frames(3, T, I)
    want = expected(net, X)
    near(stream(X[:, :9]), want[:, :9])
    stream.reset([False, False, False])
    stream.reset(torch.tensor([False, True, False]))
    y = stream(X[:, 9:])
    near(y[[0, 2]], want[[0, 2], 9:])
    near(y[1], expected(net, X[1:2, 9:])[0])


def test_a_module_among_others(net, model):
    chain = torch.nn.Sequential(torch.nn.Linear(I, I), StreamingModule(model), torch.nn.ReLU()).eval()
    X = frames(1, T, I)
    with torch.no_grad():
        want = expected(net, chain[0](X))[0]
        near(torch.cat([chain(X[0, :7]), chain(X[0, 7:])]), want)
    assert list(chain.state_dict()) == ["0.weight", "0.bias"]
    assert not list(chain[1].parameters()) and not list(chain[1].buffers())
    assert f"{model.n_parameters} parameters" in repr(chain)
    assert undertow.compat.StreamingModule is StreamingModule


@pytest.mark.parametrize("batch_size", [None, 2])
def test_copies_go_on_by_themselves(model, batch_size):
    stream = StreamingModule(model, batch_size=batch_size)
    X = frames(T, I) if batch_size is None else frames(batch_size, T, I)
    first, rest = (X[:9], X[9:]) if batch_size is None else (X[:, :9].contiguous(), X[:, 9:].contiguous())
    stream(first)
    copies = [copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))]
    want = stream(rest).numpy().tobytes()
    for other in copies:
        assert other(rest).numpy().tobytes() == want


def test_memory_is_read_where_it_lies(model):
    stream, X = StreamingModule(model), frames(T, I)
    arrays, _ = stream._arrays((X,), {})
    assert arrays[next(iter(arrays))].ctypes.data == X.data_ptr()
    want = stream(X).numpy()
    stream.reset()
    assert stream(X.t().contiguous().t()).numpy().tobytes() == want.tobytes()  # in pieces, which is copied
    with torch.inference_mode():
        stream.reset()
        assert stream(X * 1).numpy().tobytes() == want.tobytes()


def test_several_inputs_and_outputs(rng):
    graph = undertow.Graph("several")
    a, b = graph.input("a", 2), graph.input("b", 2)
    h = undertow.RNN(np.eye(2), 0.5 * np.eye(2)).add_to(graph, graph.add("add", [a, b]))
    graph.output("h", h)
    graph.output("s", graph.add("sub", [a, b]))
    model = undertow.Model.from_graph(graph)
    stream, A, B = StreamingModule(model), frames(T, 2), frames(T, 2) * 2
    want = model.run({"a": A.numpy(), "b": B.numpy()})
    y = stream(A, B)
    assert list(y) == ["h", "s"] and all(y[n].numpy().tobytes() == want[n].tobytes() for n in y)
    stream.reset()
    assert stream(A[0], b=B[0])["h"].numpy().tobytes() == want["h"][0].tobytes()
    for wrong in ((A,), (A, B, A)):
        with pytest.raises(TypeError, match="expected a, b"):
            stream(*wrong)
    with pytest.raises(TypeError, match="expected a, b"):
        stream(A, c=B)
    with pytest.raises(undertow.ShapeError, match="of all inputs alike"):
        stream(A, B[0])


def test_ids(rng):
    model = undertow.Sequential([undertow.Embedding(rng.standard_normal((9, 2))), undertow.RNN(np.eye(2), np.eye(2))])
    ids = torch.tensor([1, 8, 3])
    want = model.run(ids.numpy())
    for dtype in (torch.int64, torch.int32):
        assert StreamingModule(model)(ids.to(dtype)).numpy().tobytes() == want.tobytes()
    with pytest.raises(TypeError, match=r"is torch.float32, expected ids, torch.int64 or torch.int32: x\.long\(\)"):
        StreamingModule(model)(ids.float())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int16, torch.int64, torch.uint8, torch.bool])
def test_the_advice_on_a_dtype_is_torchs_and_works(dtype, net, model):
    x = (frames(T, I) * 100).to(dtype)
    with pytest.raises(TypeError, match=rf"'.+' is {dtype}, expected torch.float32: x\.float\(\)") as error:
        StreamingModule(model)(x)
    lines = str(error.value).partition("float32: ")[2].split(", ")
    assert len(lines) == (2 if dtype == torch.int16 else 1)
    for line in lines:
        advised = eval(line.partition(" for ")[0], {"x": x})
        near(StreamingModule(model)(advised), expected(net, advised[None])[0])


def test_without_torch():
    code = "import sys; sys.modules['torch'] = None\nimport undertow.compat as c; c.StreamingModule"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "needs PyTorch: pip install torch" in done.stderr


def test_what_is_refused(net, model):
    stream, x = StreamingModule(model), frames(I)
    with pytest.raises(undertow.UnsupportedError, match=r"needs a gradient.*x\.detach\(\)"):
        stream(x.clone().requires_grad_())
    with torch.no_grad():
        stream(x.clone().requires_grad_())
    for move in (lambda m: m.half(), lambda m: m.double(), lambda m: m.to("meta")):
        with pytest.raises(undertow.UnsupportedError, match="float32 on the CPU"):
            move(stream)
        with pytest.raises(undertow.UnsupportedError, match="float32 on the CPU"):
            move(torch.nn.Sequential(stream))
    assert stream.float().cpu().to("cpu") is stream
    with pytest.raises(undertow.UnsupportedError, match="meta"):
        stream(torch.empty(I, device="meta"))
    with pytest.raises(undertow.ShapeError, match=r"\(5,\), expected \(4,\), or \('T', 4\)"):
        stream(frames(5))
    with pytest.raises(undertow.ShapeError, match="for T frames"):
        stream(frames(1, T, I))
    with pytest.raises(undertow.ShapeError, match=r"expected \(2, 4\)"):
        StreamingModule(model, batch_size=2)(frames(3, I))
    with pytest.raises(TypeError, match=r"complex64, expected torch\.float32$"):
        stream(x.to(torch.complex64))
    with pytest.raises(TypeError, match="expected a tensor"):
        stream(x.numpy())
    with pytest.raises(IndexError, match="batch_size"):
        stream.reset([0])
    with pytest.raises(TypeError, match="expected an undertow"):
        StreamingModule("model.onnx")
    with pytest.raises(TypeError, match="example"):
        StreamingModule(model, torch.zeros(1, 5, I))
    whole = undertow.from_torch(torch.nn.GRU(I, 8, bidirectional=True, batch_first=True), torch.zeros(1, 5, I))
    with pytest.raises(undertow.UnsupportedError, match="whole sequence"):
        StreamingModule(whole)
