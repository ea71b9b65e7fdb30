# SPDX-License-Identifier: MIT
"""Live PyTorch modules: tuples, lists and dicts among arguments and results, the states in them, the axis of time."""

from __future__ import annotations

import collections
import contextlib
import re

import numpy as np
import pytest

import undertow
from tolerances import FLOAT32_PEER
from undertow import UnsupportedError
from undertow.importers.onnx.advice import Advice
from undertow.importers.torch import exporters, graph
from undertow.importers.torch.words import ModuleCaller

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")

I, H = 4, 6
Pair = collections.namedtuple("Pair", "h c")


def stepped(model, module, arguments, n_steps=5, place=1):
    """Holds a stream against the module that gets its result at `place` as its second argument, from zeros on."""
    stream, memory = model.stream(), arguments[1]
    torch.manual_seed(1)
    for _ in range(n_steps):
        x = torch.randn(arguments[0].shape)
        with torch.no_grad():
            results = module(x, memory, *arguments[2:])
        memory = results[place]
        y = stream.step(x.numpy().reshape(model.inputs["x"].shape))
        y = y["output"] if isinstance(y, dict) else y
        np.testing.assert_allclose(y.ravel(), results[0].numpy().ravel(), atol=1e-5)


class Cells(torch.nn.Module):
    """Two cells of one width, whose states are packed as `pack` says."""

    def __init__(self, pack, unpack):
        super().__init__()
        self.first, self.second = torch.nn.GRUCell(I, H), torch.nn.GRUCell(H, H)
        self.pack, self.unpack = pack, unpack

    def forward(self, x, state):
        a, b = self.unpack(state)
        a = self.first(x, a)
        b = self.second(a, b)
        return b * 2, self.pack(a, b)


def zeros():
    return torch.zeros(1, H)


PACKED = {
    "tuple": (lambda a, b: (a, b), tuple),
    "list": (lambda a, b: [a, b], tuple),
    "dict": (lambda a, b: {"a": a, "b": b}, lambda s: (s["a"], s["b"])),
    "dict in another order": (lambda a, b: {"b": b, "a": a}, lambda s: (s["a"], s["b"])),
    "namedtuple": (Pair, tuple),
    "nested": (lambda a, b: {"low": (a,), "high": [b]}, lambda s: (s["low"][0], s["high"][0])),
}


@pytest.mark.parametrize("exporter", ["torchscript", "export"])
@pytest.mark.parametrize("packed", PACKED)
def test_states_that_come_and_go_in_one_structure(packed, exporter, monkeypatch):
    if exporter == "export":
        pytest.importorskip("onnxscript", reason="needs torch's newer exporter: pip install onnxscript")
        monkeypatch.setattr(exporters, "_by_torchscript", exporters._by_export)
    torch.manual_seed(0)
    module = Cells(*PACKED[packed]).eval()
    state = module.pack(zeros(), zeros())
    arguments = (torch.zeros(1, I), dict(sorted(state.items())) if isinstance(state, dict) else state)
    model = undertow.from_torch(module, arguments)
    assert list(model.inputs) == ["x"]
    assert model.source.count("as it comes in and goes out in one structure") == 2
    stepped(model, module, arguments)


def test_tensors_in_a_dict_are_called_by_their_keys():
    class Gains(torch.nn.Module):
        def forward(self, x, gains):
            return x * gains["left"] + gains["rest"][1] * gains["rest"][0]

    example = {"left": torch.zeros(1, I), "rest": (torch.zeros(1, I), torch.zeros(1, 1))}
    model = undertow.from_torch(Gains(), (torch.zeros(1, I), example))
    assert list(model.inputs) == ["x", "gains_left", "gains_rest_0", "gains_rest_1"]

    class Alike(torch.nn.Module):
        def forward(self, x, gains, gains_left):
            return x * gains["left"] + gains_left

    with pytest.raises(UnsupportedError, match="two arguments are called 'gains_left'"):
        undertow.from_torch(Alike(), (torch.zeros(1, I), {"left": torch.zeros(1, I)}, torch.zeros(1, I)))


class Gained(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.GRU(I, H, batch_first=True)

    def forward(self, x, knobs: dict[str, torch.Tensor]):
        return self.rnn(x)[0] * knobs["gain"]


class Outer(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, knobs: dict[str, torch.Tensor]):
        return self.inner(x, knobs)


@pytest.mark.parametrize("kind", ["traced", "scripted", "traced inside"])
@pytest.mark.filterwarnings("ignore")  # of torch about torch
def test_a_dict_that_a_traced_module_takes(kind, monkeypatch):
    monkeypatch.setattr(exporters, "find_spec", lambda name: None)
    torch.manual_seed(0)
    module, arguments = Gained().eval(), (torch.randn(1, 7, I), {"gain": torch.randn(1, 7, 1)})
    with torch.no_grad():
        expected = module(*arguments)[0].numpy()
    given = torch.jit.script(module) if kind == "scripted" else torch.jit.trace(module, arguments, strict=False)
    model = undertow.from_torch(Outer(given) if kind == "traced inside" else given, arguments)
    X = {"x": arguments[0][0].numpy(), "knobs_gain": arguments[1]["gain"][0].numpy()}
    np.testing.assert_allclose(model.run(X), expected, atol=1e-5)


class Lstm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = torch.nn.LSTMCell(I, H)

    def forward(self, x, state):
        h, c = self.cell(x, state)
        return h * 2, (h, c)


class LstmAndCache(Lstm):
    def forward(self, x, state, last):
        h, c = self.cell(x + last, state)
        return h * 2, (h, c), torch.tanh(x)


class OnlyState(Lstm):
    def forward(self, x, state):
        return self.cell(x, state)


def advised(module, arguments):
    """What a refusal says to paste, line by line."""
    with pytest.raises(UnsupportedError, match="cannot tell which inputs are states") as refused:
        undertow.from_torch(module, arguments)
    lines = re.findall(r"states=(\{[^{}]*\})", str(refused.value))
    return [dict(re.findall(r"'(\w+)': '(\w+)'", line)) for line in lines]


def test_a_tuple_beside_a_single_tensor_is_asked_about():
    torch.manual_seed(0)
    module, arguments = LstmAndCache().eval(), (torch.zeros(1, I), (zeros(), zeros()), torch.zeros(1, I))
    pair = {"state_0": "output_1", "state_1": "output_2"}
    both, without = advised(module, arguments)[:2]
    assert (both, without) == ({**pair, "last": "output_3"}, pair)
    assert list(undertow.from_torch(module, arguments, states=both).inputs) == ["x"]
    assert list(undertow.from_torch(module, arguments, states=without).inputs) == ["x", "last"]


def test_a_tuple_that_is_all_that_is_returned_is_asked_about_in_order():
    torch.manual_seed(0)
    module, arguments = OnlyState().eval(), (torch.zeros(1, I), (zeros(), zeros()))
    states, none = advised(module, arguments)
    assert (states, none) == ({"state_0": "output", "state_1": "output_1"}, {})
    model = undertow.from_torch(module, arguments, states=states)
    stream, memory = model.stream(), arguments[1]
    for x in torch.randn(5, 1, I):
        with torch.no_grad():
            memory = module(x, memory)
        y = stream.step(x[0].numpy())
        np.testing.assert_allclose(y["output"], memory[0][0].numpy(), atol=1e-5)


def test_what_the_caller_says_of_states_holds():
    module, arguments = Lstm().eval(), (torch.zeros(1, I), (zeros(), zeros()))
    model = undertow.from_torch(module, arguments, states={})
    assert list(model.inputs) == ["x", "state_0", "state_1"]


class Registers(torch.nn.Module):
    """A state whose first tensor becomes the input, as in filters: nothing of itself is in what returns it."""

    def forward(self, x, past):
        return x + 0.5 * past[0] - 0.3 * past[1], (x, past[0])


def test_registers_that_shift():
    module, arguments = Registers(), (torch.zeros(1, I), (torch.zeros(1, I), torch.zeros(1, I)))
    model = undertow.from_torch(module, arguments)
    assert list(model.inputs) == ["x"]
    stepped(model, module, arguments)


def test_the_final_states_of_a_sequence_are_read_as_before():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.LSTM(I, H)

        def forward(self, x, state):
            return self.rnn(x, state)

    for options in ({}, {"time_axis": None}):
        example = (torch.zeros(7, 1, I), (torch.zeros(1, 1, H), torch.zeros(1, 1, H)))
        model = undertow.from_torch(Net(), example, **options)
        assert model.inputs["x"].shape == (I,)
        assert "time: axis 0 of 'x'" in model.source


@pytest.mark.parametrize("options", [{}, {"states": {"state_0": "output_1", "state_1": "output_2"}}])
def test_a_step_is_held_against_calls_that_hand_their_states_on(options, monkeypatch):
    """An export that goes wrong where states are no zeros."""
    module, arguments = Lstm().eval(), (torch.zeros(1, I), (zeros(), zeros()))
    by_torchscript = exporters._by_torchscript

    def forgetful(torch, call, path):
        class Forgets(Lstm):
            def forward(self, x, state):
                return super().forward(x, (state[0] * 0.5, state[1]))

        call.module = Forgets()
        call.module.load_state_dict(module.state_dict())
        by_torchscript(torch, call, path)

    monkeypatch.setattr(exporters, "_by_torchscript", forgetful)
    monkeypatch.setattr(exporters, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="gives another 'output' than the module"):
        undertow.from_torch(module, arguments, **options)


# -- the axis of time -----------------------------------------------------------------------------------------------


class Causal(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(I, 3, 3)

    def forward(self, x, gain=None):
        y = self.conv(torch.nn.functional.pad(x, (2, 0)))
        return y if gain is None else y * gain.unsqueeze(1)


def test_an_axis_of_time_that_counts_from_the_end():
    torch.manual_seed(0)
    module, x, gain = Causal().eval(), torch.randn(1, I, 9), torch.randn(1, 9)
    with torch.no_grad():
        expected, louder = module(x)[0].T, module(x, gain)[0].T
    model = undertow.from_torch(module, x, time_axis=-1)
    assert model.inputs["x"].shape == (I,)
    np.testing.assert_allclose(model.run(x[0].numpy().T), expected, atol=1e-5)
    model = undertow.from_torch(module, (x, gain), time_axis=-1)
    X = {"x": x[0].numpy().T, "gain": gain[0].numpy().reshape(9, *model.inputs["gain"].shape)}
    np.testing.assert_allclose(model.run(X), louder, atol=1e-5)
    with pytest.raises(ValueError, match=r"time_axis is -4, expected -3 to 2, None or 'auto'"):
        undertow.from_torch(module, x, time_axis=-4)


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.filterwarnings("ignore")  # of torch about torch
def test_the_axis_of_time_of_a_program(is_open):
    """What is open its export has said; which axis is time the caller may."""
    pytest.importorskip("onnxscript", reason="needs torch's newer exporter: pip install onnxscript")
    torch.manual_seed(0)
    net, x, time, other = torch.nn.GRU(I, H, batch_first=True), torch.randn(1, 9, I), 1, 2
    if is_open:
        net, x, time, other = torch.nn.Conv1d(I, 3, 3), x.transpose(1, 2), 2, 1
    net.eval()
    opened = ({time: torch.export.Dim("time", min=4)},) if is_open else None
    program = torch.export.export(net, (x,), dynamic_shapes=opened)
    with torch.no_grad():
        expected = net(x)[0].numpy().T if is_open else net(x)[0][0].numpy()
    frames = x[0].numpy().T if is_open else x[0].numpy()
    for axis in (time, time - 3, {"input": time}, "auto"):
        y = undertow.from_torch(program, time_axis=axis).run(frames)
        np.testing.assert_allclose(y[-len(expected) :], expected, atol=1e-5)
    for wrong in (other, {"input": other}):
        with pytest.raises(UnsupportedError, match=rf"time_axis=\{{'input': {other}\}} does not go with the inputs"):
            undertow.from_torch(program, time_axis=wrong)
    with pytest.raises(ValueError, match="time_axis is 3, expected -3 to 2"):
        undertow.from_torch(program, time_axis=3)
    if is_open:
        with pytest.raises(ValueError, match="time_axis is None, but the program was exported with open sizes"):
            undertow.from_torch(program, time_axis=None)


# -- what is said --------------------------------------------------------------------------------------------------


class Middle(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.GRU(I, H, batch_first=True)

    def forward(self, x):
        y = self.rnn(x)[0]
        return y[:, y.shape[1] // 2]


class Backwards(torch.nn.Module):
    """A loop of Python from the last timestep on."""

    def __init__(self):
        super().__init__()
        self.cell = torch.nn.GRUCell(I, H)

    def forward(self, x):
        h, rows = x.new_zeros(1, H), []
        for t in reversed(range(x.size(1))):
            h = self.cell(x[:, t], h)
            rows.insert(0, h)
        return torch.stack(rows, 1)


@pytest.mark.parametrize(("kind", "options"), [(Middle, {}), (Backwards, {"time_axis": 1})])
def test_a_frame_of_the_example_s_size_is_advised_where_it_loads(kind, options, monkeypatch):
    monkeypatch.setattr(exporters, "find_spec", lambda name: None)
    with pytest.raises(undertow.Error, match=r"an example with time_axis=None is read as one frame") as refused:
        undertow.from_torch(kind(), torch.zeros(1, 7, I), **options)
    assert "shapes=" not in str(refused.value)
    assert "outputs are declared" not in str(refused.value)
    with pytest.warns(undertow.ModelWarning) if kind is Middle else contextlib.nullcontext() as warned:
        model = undertow.from_torch(kind(), torch.zeros(1, 7, I), time_axis=None)
    assert model.inputs["x"].shape == (7, I)
    if warned:
        for said in (str(warned[0].message), model.source):
            assert "say which axis they are along with time_axis=" in said
            assert "shapes=" not in said
            assert "dynamic_axes" not in said
        assert warned[0].filename == __file__


def test_no_frame_of_the_example_s_size_is_advised_where_it_does_not_load(monkeypatch):
    real = graph._graph_of
    monkeypatch.setattr(exporters, "find_spec", lambda name: None)

    def only_sequences(torch, given, outside, time_axis, *rest):
        if time_axis is None:
            raise UnsupportedError("not this way")
        return real(torch, given, outside, time_axis, *rest)

    monkeypatch.setattr(graph, "_graph_of", only_sequences)
    with pytest.raises(undertow.Error, match="takes timestep 3 of 7 alone") as refused:
        undertow.from_torch(Middle(), torch.zeros(1, 7, I))
    assert "time_axis=None" not in str(refused.value)


class Forgetful(torch.nn.Module):
    """A step of two cells, the second of which begins anew in every call."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.GRU(I, H, batch_first=True), torch.nn.GRU(I, H, batch_first=True)

    def forward(self, x, h):
        y, h = self.first(x, h)
        return y, self.second(x)[0], h


def test_an_axis_to_open_is_told_as_the_axis_of_time(monkeypatch):
    monkeypatch.setattr(exporters, "find_spec", lambda name: None)
    module, example = Forgetful(), (torch.zeros(1, 1, I), torch.zeros(1, 1, H))
    with pytest.raises(UnsupportedError, match="initial_h is no input of the model") as refused:
        undertow.from_torch(module, example, time_axis=None)
    said = str(refused.value)
    assert said.endswith("; or open the time axis with time_axis={'x': 1}")
    model = undertow.from_torch(module, example, time_axis={"x": 1})
    assert "time: axis 1 of 'x'" in model.source


SIZED = {
    "all are given": ({"x": [1, "N", I], "y": [1, "N", H]}, 16, None),
    "one is given": ({"y": [1, "N", H]}, 16, {"x": 1}),
    "one is opened": ({"z": [None, 1, H]}, 16, {"x": 1, "y": 1, "z": 0}),
    "nothing is else": ({"x": [1, None, I]}, 16, "nothing"),
}


@pytest.mark.parametrize("case", SIZED)
def test_sizes_are_told_as_axes_of_time_once_they_were_tried(case):
    shapes, size, expected = SIZED[case]
    caller = ModuleCaller(axes={"x": 1, "y": 1})
    assert caller.told(Advice("give it", shapes=shapes), size) == ""
    for helps in (True, False):
        tries = []

        def load(axes, helps=helps, tries=tries):
            tries.append(axes)
            if not helps:
                raise UnsupportedError("not this way")

        told = caller.tried(load)
        assert tries == ([] if expected == "nothing" else [expected])
        assert told == [words for words in told if f"time_axis={expected}" in words]
        assert len(told) == (len(tries) if helps else 0)


def test_sizes_of_a_program_are_those_of_its_export(monkeypatch):
    pytest.importorskip("onnxscript", reason="needs torch's newer exporter: pip install onnxscript")

    def removed(torch, call, path):
        raise RuntimeError("TorchScript-based export has been removed")

    monkeypatch.setattr(exporters, "_by_torchscript", removed)
    module, x = torch.nn.Softmax(1), torch.zeros(1, 7, I)
    program = torch.export.export(module, (x,), dynamic_shapes=({1: torch.export.Dim.AUTO},))
    with pytest.raises(undertow.Error, match=r"it loads as a program of sizes \{'input': \[1, \w+, 4\]\}") as refused:
        undertow.from_torch(program)
    assert "shapes=" not in str(refused.value)
    assert undertow.from_torch(torch.export.export(module, (x,))).inputs["input"].shape == (7, I)


def test_the_axes_that_a_refusal_says_can_be_pasted():
    module = torch.nn.Linear(4, 2)
    with pytest.raises(UnsupportedError, match="cannot tell time from batch") as refused:
        undertow.from_torch(module, torch.zeros(3, 5, 4))
    axes = re.findall(r"time_axis=\{'(\w+)': (\d)\}", str(refused.value))
    assert axes == [("input", "0"), ("input", "1")]
    for name, axis in axes:
        model = undertow.from_torch(module, torch.zeros(3, 5, 4), time_axis={name: int(axis)})
        assert model.inputs["input"].shape == ((5, 4), (3, 4))[int(axis)]
    for wrong in ({"x": 0}, {"input": 3}):
        with pytest.raises(ValueError, match=r"time_axis has \d for '\w+'; numbers of axes: \{'input': 3\}"):
            undertow.from_torch(module, torch.zeros(3, 5, 4), time_axis=wrong)


class Projected(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.LSTM(I, H, proj_size=3, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]


@pytest.mark.filterwarnings("ignore")  # of torch about torch
def test_scripted_parts_that_torch_does_not_export_are_named():
    """Of the module itself an LSTM with projections loads."""
    net, x = Projected().eval(), torch.zeros(1, 5, I)
    assert undertow.from_torch(net, (x,)).state_bytes
    with pytest.raises(UnsupportedError, match=r"Projected \(its scripted parts; pass it as it was before torch\.jit"):
        undertow.from_torch(torch.jit.script(net), (x,))


def test_channels_before_time_are_told_with_the_axis_that_helps():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.rnn = torch.nn.Conv1d(3, 8, 1), torch.nn.GRU(8, 5, batch_first=True)

        def forward(self, x):
            return self.rnn(self.conv(x).transpose(1, 2))[0]

    example = torch.zeros(1, 3, 12)
    with pytest.raises(undertow.ShapeError, match=r"if its axis 2 is time, with time_axis=\{'x': 2\}$"):
        undertow.from_torch(Net(), example)
    assert undertow.from_torch(Net(), example, time_axis={"x": 2}).inputs["x"].shape == (3,)


class WithMean(torch.nn.Module):
    """A step with two states, of which one changes once in a call."""

    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(I, H, batch_first=True)

    def forward(self, x, mean, h):
        mean = 0.9 * mean + 0.1 * x[:, 0]
        y, h = self.gru(x - mean[:, None], h)
        return y, mean, h


def test_one_step_with_a_state_of_its_own_is_told_how_it_loads():
    torch.manual_seed(0)
    net, example = WithMean().eval(), (torch.zeros(1, 1, I), torch.zeros(1, I), torch.zeros(1, 1, H))
    with pytest.raises(UnsupportedError, match=r"time_axis=None, states=\{'mean': 'output_1'\}, if that is so$"):
        undertow.from_torch(net, example)
    model = undertow.from_torch(net, example, time_axis=None, states={"mean": "output_1"})
    x, states = torch.randn(5, 1, 1, I), example[1:]
    stream = model.stream()
    with torch.no_grad():
        for row in x:
            y, *states = net(row, *states)
            np.testing.assert_allclose(stream.step(row[0, 0].numpy()), y[0, 0].numpy(), rtol=0, atol=FLOAT32_PEER)


def test_a_live_model_of_keras_is_told_to_be_saved():
    of_keras = type("Sequential", (torch.nn.Module,), {"__module__": "keras.src.models.sequential"})
    with pytest.raises(TypeError, match=r"Sequential is of Keras: save .* model\.save\('model\.keras'\)"):
        undertow.from_torch(of_keras(), torch.zeros(1, 10, 4))
