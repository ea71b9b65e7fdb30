# SPDX-License-Identifier: MIT
"""Live PyTorch modules: what torch computes in float64, streamed."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_CELL, FLOAT32_MODEL
from undertow import UnsupportedError
from undertow.importers.torch import exporters

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")

T, I = 23, 4


def in_float64(module, *arguments):
    with torch.no_grad():
        return copy.deepcopy(module).double().eval()(*arguments)


def streamed(model, X):
    whole = model.run(X)
    stream = model.stream()
    np.testing.assert_array_equal(np.stack([stream.step(x) for x in X]), whole)
    return whole


class Head(torch.nn.Module):
    """A dense layer, a recurrent layer with dropout that evaluation ignores, a head."""

    def __init__(self, cell="GRU", batch_first=True, **options):
        super().__init__()
        self.front = torch.nn.Linear(4, 6)
        self.cell = getattr(torch.nn, cell)(6, 8, num_layers=2, dropout=0.5, batch_first=batch_first, **options)
        self.norm = torch.nn.LayerNorm(8)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, frames):
        y, _ = self.cell(torch.relu(self.front(frames)))
        return torch.sigmoid(self.head(self.norm(y)))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("cell", "op"), [("LSTM", "lstm"), ("GRU", "gru"), ("RNN", "rnn")])
def test_modules_stream(cell, op, batch_first):
    torch.manual_seed(5)
    module = Head(cell, batch_first)
    X = torch.randn(1, T, 4) if batch_first else torch.randn(T, 1, 4)
    model = undertow.from_torch(module, X[:, :3] if batch_first else X[:3])
    want = in_float64(module, X.double()).numpy().reshape(T, 3)
    np.testing.assert_allclose(streamed(model, X.numpy().reshape(T, 4)), want, rtol=0, atol=FLOAT32_MODEL)
    assert [line.split()[1] for line in str(model).splitlines() if f" {op} " in line] == [op, op]  # kept whole
    assert module.training


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_a_bare_layer(cell):
    torch.manual_seed(6)
    module = getattr(torch.nn, cell)(3, 5, batch_first=True)
    X = torch.randn(1, T, 3)
    model = undertow.from_torch(module, X)
    want = in_float64(module, X.double())[0].numpy()[0]
    got = streamed(model, X.numpy()[0])
    np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT32_CELL)


def test_the_instruction_set_can_be_forced(isa):
    torch.manual_seed(7)
    module = torch.nn.GRU(3, 5, batch_first=True)
    model = undertow.from_torch(module, torch.zeros(1, 4, 3), isa=isa)
    assert model.isa == isa
    X = torch.randn(1, T, 3)
    want = in_float64(module, X.double())[0].numpy()[0]
    np.testing.assert_allclose(streamed(model, X.numpy()[0]), want, rtol=0, atol=FLOAT32_CELL)


class Step(torch.nn.Module):
    """One timestep of its own making: the states are arguments and results."""

    def __init__(self):
        super().__init__()
        self.x, self.h, self.head = torch.nn.Linear(3, 6), torch.nn.Linear(6, 6, bias=False), torch.nn.Linear(6, 2)

    def forward(self, frame, memory):
        memory = 0.9 * memory + 0.1 * torch.tanh(self.x(frame) + self.h(memory))
        return self.head(memory), memory


def test_a_step_with_states():
    torch.manual_seed(8)
    module = Step()
    model = undertow.from_torch(module, (torch.zeros(1, 3), torch.zeros(1, 6)))
    X = torch.randn(T, 1, 3)
    memory, want = torch.zeros(1, 6, dtype=torch.float64), []
    for x in X.double():
        y, memory = in_float64(module, x, memory)
        want.append(y.numpy()[0])
    np.testing.assert_allclose(streamed(model, X.numpy()[:, 0]), np.array(want), rtol=0, atol=FLOAT32_CELL)


def test_ids():
    torch.manual_seed(9)
    module = torch.nn.Sequential(torch.nn.Embedding(11, 4), torch.nn.RNN(4, 5, batch_first=True))
    ids = torch.randint(0, 11, (1, T))
    want = in_float64(module, ids)[0].numpy()[0]
    model = undertow.from_torch(module, ids)
    np.testing.assert_allclose(streamed(model, ids.numpy()[0].astype(np.int32)), want, rtol=0, atol=FLOAT32_CELL)


class Branch(torch.nn.Module):
    def forward(self, frame):
        if frame.sum() > 0:
            return frame
        return -frame


class Broken(torch.nn.Module):
    """Runs, and is not to be traced."""

    def forward(self, frame):
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            raise KeyError("nothing works")
        return frame


def test_what_cannot_be_kept_is_refused():
    with pytest.raises(UnsupportedError, match=r"test_from_torch.py, line \d+: Converting a tensor"):
        undertow.from_torch(Branch(), torch.ones(1, 3))
    with pytest.raises(UnsupportedError, match="torch cannot export Broken: KeyError: 'nothing works'"):
        undertow.from_torch(Broken(), torch.ones(1, 3))
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module"):
        undertow.from_torch(lambda x: x, torch.ones(1, 3))
    with pytest.raises(TypeError, match="argument 'frame' is a float"):
        undertow.from_torch(Branch(), 1.0)
    with pytest.raises(ValueError, match="time_axis is 2"):
        undertow.from_torch(Branch(), torch.ones(1, 3), time_axis=2)


class CumulativeLayerNorm(torch.nn.Module):
    """Conv-TasNet's, behind what a frame adds to the one before, and a convolution that repeats the first frame."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.linspace(0.5, 2, 6).reshape(1, 6, 1))
        self.mix = torch.nn.Conv1d(3, 6, 3)

    def forward(self, x):
        x = torch.cat([x[..., :1], x[..., 1:] - x[..., :-1]], -1)
        x = self.mix(torch.nn.functional.pad(x, (2, 0), mode="replicate"))
        count = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype) * x.shape[1]
        mean = torch.cumsum(x.sum(1, keepdim=True), -1) / count
        power = torch.cumsum((x * x).sum(1, keepdim=True), -1) / count
        return (x - mean) / torch.sqrt(power - mean * mean + 1e-2) * self.scale


def test_a_cumulative_layer_norm():
    torch.manual_seed(12)
    module = CumulativeLayerNorm()
    X = torch.randn(1, 3, T)
    model = undertow.from_torch(module, X, time_axis=2)
    want = in_float64(module, X.double())[0].T
    got = streamed(model, np.ascontiguousarray(X.numpy()[0].T))
    np.testing.assert_allclose(got, want, rtol=0, atol=FLOAT32_MODEL)


# -- which of torch's exporters -------------------------------------------------------------------------------------


def removed(torch, call, path):
    raise RuntimeError("TorchScript-based export has been removed")


def test_without_torchscript_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(exporters, "_by_torchscript", removed)
    monkeypatch.setattr(exporters, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"export has been removed.*pip install onnxscript"):
        undertow.from_torch(torch.nn.GRU(3, 5), torch.zeros(4, 1, 3))


def test_the_other_exporter_takes_its_place(monkeypatch):
    monkeypatch.setattr(exporters, "_by_export", exporters._by_torchscript)
    monkeypatch.setattr(exporters, "_by_torchscript", removed)
    monkeypatch.setattr(exporters, "find_spec", lambda name: name)
    model = undertow.from_torch(torch.nn.GRU(3, 5), torch.zeros(4, 1, 3))
    assert [node.op for node in model.graph.nodes] == ["gru"]
    with pytest.raises(UnsupportedError, match=r"removed; torch.export cannot either: Broken: KeyError"):
        undertow.from_torch(Broken(), torch.ones(1, 3))


def test_torch_export(monkeypatch):
    """The newer exporter alone: nn.RNN written out step by step, a loop in Python, a branch on values."""
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install onnxscript")
    monkeypatch.setattr(exporters, "_by_torchscript", removed)
    torch.manual_seed(13)
    module = torch.nn.RNN(3, 5, batch_first=True)
    X = torch.randn(1, T, 3)
    model = undertow.from_torch(module, X[:, :4])
    want = in_float64(module, X.double())[0].numpy()[0]
    np.testing.assert_allclose(streamed(model, X.numpy()[0]), want, rtol=0, atol=FLOAT32_CELL)
    with pytest.raises(UnsupportedError, match=r"torch\.export cannot either"):
        undertow.from_torch(Branch(), torch.ones(1, 3))


# -- how long a sequence is -------------------------------------------------------------------------------------------


class Divided(torch.nn.Module):
    """Python computes with the number of timesteps."""

    def __init__(self, n_steps):
        super().__init__()
        self.gru, self.n_steps = torch.nn.GRU(I, 6, batch_first=True), n_steps

    def forward(self, x):
        y = self.gru(x)[0]
        return y if x.shape[1] > self.n_steps else y / x.shape[1]


@pytest.mark.parametrize("n_steps", [5, 100])
def test_what_python_makes_of_the_length_is_refused(n_steps):
    with pytest.raises(UnsupportedError, match=r"timesteps|Python boolean"):
        undertow.from_torch(Divided(n_steps).eval(), torch.zeros(1, 7, I))


#: as far as any of these modules looks
MOST = 27


def at_most(n_steps):
    return min(n_steps, MOST)


class Loop(torch.nn.Module):
    """A cell in a loop of Python, as far as a subclass says."""

    def __init__(self, limit=None):
        super().__init__()
        self.cell, self.limit = torch.nn.GRUCell(I, 6), limit

    def n_steps(self, x):
        return x.size(1)

    def forward(self, x):
        h, rows = x.new_zeros(x.size(0), 6), []
        for t in range(self.n_steps(x)):
            h = self.cell(x[:, t], h)
            rows.append(h)
        return torch.stack(rows, 1)


class CappedInCode(Loop):
    def n_steps(self, x):
        return min(int(x.size(1)), 120)


class CappedByAttribute(Loop):
    def n_steps(self, x):
        return min(int(x.size(1)), self.limit)


class CappedByGlobal(Loop):
    def n_steps(self, x):
        return at_most(int(x.size(1)))


class Forgets(Loop):
    """At one timestep the state is gone."""

    def forward(self, x):
        h, rows = x.new_zeros(x.size(0), 6), []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h * 0 if t == 77 else h)
            rows.append(h)
        return torch.stack(rows, 1)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (CappedInCode, {}),
        (CappedInCode, {"time_axis": 1}),
        (CappedByAttribute, {}),
        (CappedByGlobal, {"time_axis": -2}),
        (Forgets, {"time_axis": 1}),
    ],
)
def test_a_number_in_the_code_is_a_length_to_try(kind, options, monkeypatch):
    pytest.importorskip("onnxscript", reason="needs torch's newer exporter: pip install onnxscript")
    monkeypatch.setattr(exporters, "_by_torchscript", exporters._by_export)
    monkeypatch.setattr(exporters, "find_spec", lambda name: None)
    torch.manual_seed(0)
    with pytest.raises(UnsupportedError, match=r"gives another 'output' for \d+ timesteps than the module"):
        undertow.from_torch(kind(50).eval(), torch.zeros(1, 8, I), **options)


@pytest.mark.parametrize("options", [{}, {"time_axis": 1}])
def test_a_loop_as_long_as_the_sequence_is_taken(options):
    torch.manual_seed(0)
    module, x = Loop().eval(), torch.randn(1, 130, I)
    model = undertow.from_torch(module, x[:, :8], **options)
    with torch.no_grad():
        np.testing.assert_allclose(model.run(x[0].numpy()), module(x)[0].numpy(), atol=1e-5)


class Window(torch.nn.Module):
    """Fewer rows than frames, as many for every length; the last of a sequence alone."""

    def __init__(self, n_last):
        super().__init__()
        self.conv, self.rnn, self.n_last = torch.nn.Conv1d(I, 3, 30), torch.nn.GRU(3, 5, batch_first=True), n_last

    def forward(self, x):
        y = self.rnn(self.conv(x.transpose(1, 2)).transpose(1, 2))[0]
        return y[:, -1] if self.n_last else y


@pytest.mark.parametrize("n_last", [0, 1])
def test_fewer_rows_than_frames_are_what_the_module_gives(n_last):
    torch.manual_seed(0)
    module, x = Window(n_last).eval(), torch.randn(1, 50, I)
    model = undertow.from_torch(module, x[:, :35])
    with torch.no_grad():
        expected = module(x)[0].numpy()
    np.testing.assert_allclose(model.run(x[0].numpy())[-1], expected if n_last else expected[-1], atol=1e-5)


# -- projections, and modules that torch has made something of --------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{}, {"num_layers": 2}, {"batch_first": True}, {"bias": False}, {"bidirectional": True}]
)
def test_projections(settings):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.LSTM(I, 12, proj_size=5, **settings)

        def forward(self, x):
            return self.rnn(x)[0]

    torch.manual_seed(0)
    net = Net().eval()
    batch = 0 if settings.get("batch_first") else 1
    x = torch.randn(17, I).unsqueeze(batch)
    model = undertow.from_torch(net, x[:, :5] if batch == 0 else x[:5])
    assert [node.op for node in model.graph.nodes].count("lstm") == settings.get("num_layers", 1) * (
        2 if settings.get("bidirectional") else 1
    )
    with torch.no_grad():
        expected = net(x).squeeze(batch).numpy()
    np.testing.assert_allclose(model.run(x.squeeze(batch).numpy()), expected, atol=1e-5)


def made_of(net, x, kind):
    if kind == "traced":
        return torch.jit.trace(net, x)
    if kind == "scripted":
        return torch.jit.script(net)
    if kind == "compiled":
        return torch.compile(net)
    program = torch.export.export(net, (x,))
    return program if kind == "program" else program.module()


@pytest.mark.parametrize("kind", ["traced", "scripted", "compiled", "program", "module of a program"])
@pytest.mark.filterwarnings("ignore")  # of torch about torch
def test_what_torch_has_made_of_a_module(kind, capfd):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.GRU(I, 8, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0]

    if "program" in kind:
        pytest.importorskip("onnxscript", reason="needs torch's newer exporter: pip install onnxscript")
    torch.manual_seed(0)
    net = Net().eval()
    x = torch.randn(1, 9, I)
    with torch.no_grad():
        expected = net(x)[0].numpy()
    made = made_of(net, x, kind)
    capfd.readouterr()
    model = undertow.from_torch(made) if kind == "program" else undertow.from_torch(made, x)
    said = capfd.readouterr()
    assert not said.out
    assert not said.err
    stream = model.stream()
    np.testing.assert_allclose(np.stack([stream.step(frame) for frame in x[0].numpy()]), expected, atol=1e-5)


def test_a_program_of_open_length():
    pytest.importorskip("onnxscript", reason="needs torch's newer exporter: pip install onnxscript")
    net = torch.nn.Sequential(torch.nn.Conv1d(I, 3, 3), torch.nn.Tanh())
    x = torch.randn(1, I, 12)
    program = torch.export.export(net, (x,), dynamic_shapes=({2: torch.export.Dim("time", min=4)},))
    model = undertow.from_torch(program)
    long = torch.randn(1, I, 31)
    with torch.no_grad():
        expected = net(long)[0].numpy().T
    np.testing.assert_allclose(model.run(long[0].numpy().T)[-29:], expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # of torch about torch
def test_a_file_of_a_program_says_what_to_call(tmp_path):
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(torch.nn.Linear(I, 3).eval(), (torch.zeros(1, I),)), path)
    with pytest.raises(UnsupportedError, match=r"undertow\.from_torch\(torch\.export\.load\(path\)\)"):
        undertow.load(path)
    pytest.importorskip("onnxscript", reason="needs torch's newer exporter: pip install onnxscript")
    assert undertow.from_torch(torch.export.load(path)).inputs["input"].shape == (I,)


def test_what_is_no_module_is_named():
    with pytest.raises(TypeError, match=r"the module is a dict, expected a torch\.nn\.Module or torch\.export"):
        undertow.from_torch({}, torch.zeros(1, I))
    with pytest.raises(TypeError, match="an example of what the module takes is missing"):
        undertow.from_torch(torch.nn.Linear(I, 3))
    with pytest.raises(UnsupportedError, match="Linear does not run on the example: RuntimeError"):
        undertow.from_torch(torch.nn.Linear(I, 3), torch.zeros(1, I + 1))
