# SPDX-License-Identifier: MIT
"""Live PyTorch modules that keep something: what torch computes, streamed; or a refusal that names what they keep."""

from __future__ import annotations

import collections
import copy

import numpy as np
import pytest

import undertow
from undertow import UnsupportedError
from undertow.importers.torch import exporters

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
pytest.importorskip("onnx", reason="needs ONNX: pip install onnx")

I = 4


class InPlace(torch.nn.Module):
    """The hidden state in buffers, written in place."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = torch.nn.LSTM(I, 8), torch.nn.Linear(8, 3)
        self.register_buffer("h", torch.zeros(1, 1, 8))
        self.register_buffer("c", torch.zeros(1, 1, 8))

    def forward(self, x):
        y, (h, c) = self.rnn(x.unsqueeze(0), (self.h, self.c))
        self.h[:] = h
        self.c.copy_(c)
        return self.head(y.squeeze(0))


class Assigned(torch.nn.Module):
    """A cell's buffer, assigned anew; the cell is inside of another module."""

    class Cell(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = torch.nn.GRUCell(I, 8)
            self.register_buffer("h", torch.full((1, 8), 0.3))

        def forward(self, x):
            self.h = self.cell(x, self.h)
            return self.h

    def __init__(self):
        super().__init__()
        self.inner = self.Cell()

    def forward(self, x):
        return torch.tanh(self.inner(x))


class Attribute(torch.nn.Module):
    """A running mean in an attribute that is no buffer, which zeros would not change."""

    def __init__(self):
        super().__init__()
        self.mean = torch.zeros(1, I)

    def forward(self, x):
        self.mean = 0.9 * self.mean + 0.1 * x
        return x - self.mean


class Cache(torch.nn.Module):
    """A convolution that keeps its last frames."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv1d(I, 3, 4)
        self.register_buffer("past", torch.zeros(1, I, 3), persistent=False)

    def forward(self, x):
        frames = torch.cat([self.past, x.unsqueeze(2)], 2)
        self.past = frames[:, :, 1:]
        return self.conv(frames).squeeze(2)


@pytest.mark.parametrize("exporter", ["torchscript", "export"])
@pytest.mark.parametrize("kind", [InPlace, Assigned, Attribute, Cache, "Biquad", "Latch"])
def test_states_that_a_module_keeps(kind, exporter, monkeypatch):
    if exporter == "export":
        pytest.importorskip("onnxscript", reason="needs torch's newer exporter: pip install onnxscript")
        monkeypatch.setattr(exporters, "_by_torchscript", exporters._by_export)
    torch.manual_seed(0)
    kind = globals()[kind] if isinstance(kind, str) else kind
    net = kind()
    truth = copy.deepcopy(net).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    model = undertow.from_torch(net, torch.zeros(1, I))
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    if kind is Attribute:
        assert not net.mean.any()
    assert len(model.states) == {InPlace: 2, Biquad: 4}.get(kind, 1)
    stream = model.stream()
    for _ in range(2):  # and again from the start
        truth = copy.deepcopy(net).eval()
        for x in 3 * torch.randn(6, 1, I):
            with torch.no_grad():
                expected = truth(x)[0].numpy()
            np.testing.assert_allclose(stream.step(x[0].numpy()).ravel(), expected, atol=1e-5)
        stream.reset()


class Biquad(torch.nn.Module):
    """A register is assigned from another one, so it changes with the second call alone."""

    def __init__(self):
        super().__init__()
        for name in ("x1", "x2", "y1", "y2"):
            self.register_buffer(name, torch.zeros(1, I))

    def forward(self, x):
        y = 0.2 * x + 0.1 * self.x1 + 0.05 * self.x2 + 0.6 * self.y1 - 0.2 * self.y2
        self.x2, self.x1 = self.x1, x
        self.y2, self.y1 = self.y1, y
        return y * 1.0


class Latch(torch.nn.Module):
    """What few inputs change."""

    def __init__(self):
        super().__init__()
        self.register_buffer("h", torch.zeros(1, I))

    def forward(self, x):
        self.h = torch.where(x > 4.0, self.h + 1, self.h)
        return x + self.h


class Forgetful(torch.nn.Module):
    def __init__(self, **attributes):
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


class Counts(Forgetful):
    def forward(self, x):
        self.n += 1
        return x


class CountsInIntegers(Forgetful):
    def forward(self, x):
        self.n = self.n + 1
        return x * self.n


class Late(Forgetful):
    def forward(self, x):
        self.h = x if self.h is None else self.h + x
        return self.h


class Grows(Forgetful):
    def forward(self, x):
        self.past = torch.cat([self.past, x])
        return self.past.mean(0, keepdim=True)


class Lists(Forgetful):
    def forward(self, x):
        self.past.append(x)
        return sum(self.past)


class Memory:
    """An object that is no module; its state shows where the input is large alone."""

    def __init__(self):
        self.h, self.n_seen = torch.zeros(1, I), 0

    def __call__(self, x):
        self.h = torch.where(x > 9.0, self.h + 1, self.h)
        return x + self.h


class Counter:
    __slots__ = ("n_seen",)

    def __init__(self):
        self.n_seen = 0


class Remembers(Forgetful):
    def forward(self, x):
        return self.memory(x)


class CountsInAnObject(Forgetful):
    def forward(self, x):
        self.memory.n_seen += 1
        return x


class RemembersInAList(Forgetful):
    def forward(self, x):
        return self.memories[0](x)


class RemembersInNumpy(Forgetful):
    def forward(self, x):
        self.h = self.h + float(x[0, 0] > 9.0) + 1e-9
        return x


def test_a_state_in_an_object_of_a_module_is_a_state():
    net = Remembers(memory=Memory())
    model = undertow.from_torch(net, torch.zeros(1, I))
    assert "state: input 'memory_h', output 'memory_h_next'" in model.source
    assert torch.equal(net.memory.h, torch.zeros(1, I))
    stream = model.stream()
    x = np.full(I, 10.0, np.float32)
    np.testing.assert_array_equal([stream.step(x), stream.step(x)], [x + 1, x + 2])


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (CountsInAnObject(memory=Memory()), r"'memory\.n_seen', which was 0 and is 1"),
        (CountsInAnObject(memory=Counter()), r"'memory\.n_seen', which was 0 and is 1"),
        (RemembersInAList(memories=[Memory()]), r"'memories\[0\]\.h', which is inside of a list"),
        (RemembersInNumpy(h=np.zeros(I)), "'h', which was"),
        (Counts(n=0), "'n', which was 0 and is 1"),
        (CountsInIntegers(n=torch.zeros(1, dtype=torch.int64)), r"'n', which is of torch\.int64"),
        (Late(h=None), "'h', which is a tensor only after the first call"),
        (Grows(past=torch.zeros(1, I)), r"'past', which grows from shape \(1, 4\) to \(2, 4\)"),
        (Lists(past=[]), "'past', which was"),
        (Lists(past=collections.deque(maxlen=3)), "'past', which was"),
    ],
)
def test_what_no_stream_carries_is_refused_by_name(net, message):
    with pytest.raises(UnsupportedError, match=message):
        undertow.from_torch(net, torch.zeros(1, I))


class Parameter(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.p = torch.nn.Parameter(torch.zeros(1, I))

    def forward(self, x):
        with torch.no_grad():
            self.p.add_(x)
        return x + self.p


class Shared(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("a", torch.zeros(1, I))
        self.register_buffer("b", self.a.view(1, I))

    def forward(self, x):
        self.a.add_(x)
        return self.b * 1.0


class Twins(torch.nn.Module):
    """One tensor under two names."""

    def __init__(self):
        super().__init__()
        h = torch.zeros(1, I)
        self.register_buffer("h", h)
        self.register_buffer("seen", h)

    def forward(self, x):
        self.h.mul_(0.5).add_(x)
        return self.seen * 1.0


class Default(torch.nn.Module):
    def forward(self, x, memory=[0.0]):  # noqa: B006
        memory[0] = 0.5 * memory[0] + x
        return memory[0]


class Elsewhere(torch.nn.Module):
    """The state is in a list that is no attribute."""

    def __init__(self):
        super().__init__()
        held = [torch.zeros(1, I)]

        def step(x):
            held[0] = 0.5 * held[0] + x
            return held[0]

        self.step = step

    def forward(self, x):
        return self.step(x)


class Hooked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("h", torch.zeros(1, I))
        self.register_forward_pre_hook(lambda *_: self.h.add_(1))

    def forward(self, x):
        return x + self.h


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Parameter, "'p', which is a parameter"),
        (Shared, "'[ab]', which shares memory with '[ab]'"),
        (Twins, "'h', which shares memory with 'seen'"),
        (Elsewhere, "changes 'held' in the closure of 'step', which no stream carries"),
        (Default, "changes a default argument of 'forward', which no stream carries"),
        (Hooked, "changes 'h' of the module that it was copied from"),
    ],
)
def test_states_that_are_no_buffers_of_their_own_are_refused(kind, message):
    net = kind()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(UnsupportedError, match=message):
        undertow.from_torch(net, torch.zeros(1, I))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


# -- states that are changed in place -----------------------------------------------------------------------------


class Kept(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(I, I)
        self.register_buffer("h", torch.zeros(1, I))


class ReturnsCopied(Kept):
    def forward(self, x):
        self.h.copy_(torch.tanh(self.linear(x) + self.h))
        return self.h


class ReturnsSum(Kept):
    def forward(self, x):
        self.h += x
        return self.h


class ReturnsChain(Kept):
    def forward(self, x):
        self.h.mul_(0.5).add_(self.linear(x))
        return self.h


class ReturnsElements(Kept):
    def forward(self, x):
        self.h[:] = torch.tanh(self.linear(x) + self.h)
        return self.h


class ReturnsView(Kept):
    def forward(self, x):
        self.h.copy_(torch.tanh(self.linear(x) + self.h))
        return self.h.view(-1)


class ThroughView(Kept):
    def forward(self, x):
        view = self.h.view(-1)
        view.mul_(0.5)
        view.add_(self.linear(x)[0])
        return self.h * 2


class ThroughHalves(Kept):
    def forward(self, x):
        left, right = self.h.chunk(2, 1)
        left.copy_(x[:, :2] + right)
        right.mul_(0.5).add_(x[:, 2:])
        return self.h * 2


class Detached(Kept):
    def forward(self, x):
        self.h.detach().mul_(0.5).add_(x)
        return self.h * 2


IN_PLACE = [ReturnsCopied, ReturnsSum, ReturnsChain, ReturnsElements, ReturnsView]
THROUGH_VIEWS = [ThroughView, ThroughHalves, Detached]


@pytest.mark.parametrize("kind", [*IN_PLACE, *THROUGH_VIEWS])
def test_a_buffer_that_is_changed_in_place(kind):
    if kind in THROUGH_VIEWS:
        pytest.importorskip("onnxscript", reason="needs torch's newer exporter: pip install onnxscript")
    torch.manual_seed(0)
    net = kind().eval()
    model = undertow.from_torch(net, torch.zeros(1, I))
    assert not net.h.any()
    stream = model.stream()
    for x in torch.randn(6, 1, I):
        with torch.no_grad():
            expected = net(x).numpy().ravel()
        np.testing.assert_allclose(stream.step(x[0].numpy()).ravel(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", THROUGH_VIEWS)
def test_without_the_exporter_that_sees_views_the_error_says_what_to_write(kind, monkeypatch):
    monkeypatch.setattr(exporters, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"changes its 'h' in place.*self\.h = \.\.\. instead.*onnxscript"):
        undertow.from_torch(kind(), torch.zeros(1, I))


class AssignsData(Kept):
    def forward(self, x):
        self.h.data = self.h * 0.5 + x
        return self.h * 2


class ChangesData(Kept):
    def forward(self, x):
        self.h.data.mul_(0.5).add_(x)
        return self.h * 2


class ThroughNumpy(Kept):
    def forward(self, x):
        self.h.numpy()[:] = 0.5 * self.h.numpy() + x.numpy()
        return self.h * 2


@pytest.mark.parametrize("kind", [AssignsData, ChangesData, ThroughNumpy])
def test_what_torch_does_not_see_of_a_change_is_refused(kind):
    net = kind()
    with pytest.raises(UnsupportedError, match=r"changes its 'h'.*\.data or NumPy.*write self\.h = \.\.\. instead"):
        undertow.from_torch(net, torch.zeros(1, I))
    assert not net.h.any()


# -- what code keeps outside of its module ----------------------------------------------------------------------------

KEPT_IN_DICT = {"h": torch.zeros(1, I)}
KEPT = torch.zeros(1, I)
COUNT = 0


class InGlobal(torch.nn.Module):
    def forward(self, x):
        global KEPT, COUNT
        KEPT, COUNT = KEPT * 0.5 + x, COUNT + 1
        return KEPT * 1


class InGlobalInPlace(torch.nn.Module):
    def forward(self, x):
        return KEPT.mul_(0.5).add_(x) * 1


def step_of(x):
    KEPT_IN_DICT["h"] = KEPT_IN_DICT["h"] * 0.5 + x
    return KEPT_IN_DICT["h"]


class InDict(torch.nn.Module):
    def forward(self, x):
        return step_of(x)


class InClass(torch.nn.Module):
    h = torch.zeros(1, I)

    def forward(self, x):
        InClass.h = InClass.h * 0.5 + x
        return InClass.h * 1


class InDefault(torch.nn.Module):
    def forward(self, x, memory=[torch.zeros(1, I)]):  # noqa: B006, B008
        memory[0] = memory[0] * 0.5 + x
        return memory[0] * 1


class InClosure(torch.nn.Module):
    def __init__(self):
        super().__init__()
        h = torch.zeros(1, I)

        def step(x):
            nonlocal h
            h = h * 0.5 + x
            return h

        self.step = step

    def forward(self, x):
        return self.step(x) * 1


class InNumpy(torch.nn.Module):
    def forward(self, x, total=np.zeros((1, I), np.float32)):  # noqa: B008
        total += x.numpy()
        return x + torch.from_numpy(total)


@pytest.mark.parametrize(
    ("kind", "where", "state"),
    [
        (InGlobal, "the global 'KEPT'", lambda net: KEPT),
        (InGlobalInPlace, "the global 'KEPT'", lambda net: KEPT),
        (InDict, "the global 'KEPT_IN_DICT'", lambda net: KEPT_IN_DICT["h"]),
        (InClass, "the class attribute 'InClass.h'", lambda net: InClass.h),
        (InDefault, "a default argument of 'forward'", lambda net: InDefault.forward.__defaults__[0][0]),
        (InClosure, "'h' in the closure of 'step'", lambda net: net.step.__closure__[0].cell_contents),
        (InNumpy, "a default argument of 'forward'", lambda net: torch.from_numpy(InNumpy.forward.__defaults__[0])),
    ],
)
def test_what_code_keeps_outside_is_named_and_put_back(kind, where, state):
    net = kind()
    before = state(net)
    with pytest.raises(UnsupportedError, match=f"a call of the module changes .*{where}.*, which no stream carries"):
        undertow.from_torch(net, torch.zeros(1, I))
    after = state(net)
    assert type(after) is torch.Tensor
    assert not after.any()
    assert kind is InNumpy or after is before
    assert COUNT == 0


SEEN: list[float] = []
MASKS: dict[int, object] = {}


class Masked(torch.nn.Module):
    """A cache and a diary that change no result."""

    n_calls = 0

    def forward(self, x):
        if x.shape[-1] not in MASKS:
            MASKS[x.shape[-1]] = torch.ones(x.shape[-1])
        SEEN.append(0.0)
        Masked.n_calls += 1
        return torch.tanh(x) * MASKS[x.shape[-1]]


@pytest.mark.parametrize("exporter", ["torchscript", "export"])
def test_what_changes_no_result_is_put_back_too(exporter, monkeypatch):
    if exporter == "export":
        pytest.importorskip("onnxscript", reason="needs torch's newer exporter: pip install onnxscript")
        monkeypatch.setattr(exporters, "_by_torchscript", exporters._by_export)
    model = undertow.from_torch(Masked(), torch.zeros(1, I))
    assert list(model.inputs) == ["x"]
    assert (SEEN, MASKS, Masked.n_calls) == ([], {}, 0)


class Chunks(torch.nn.Module):
    """A layer over chunks of several timesteps, whose state a buffer keeps from chunk to chunk."""

    def __init__(self, in_place):
        super().__init__()
        self.rnn, self.in_place = torch.nn.GRU(I, 8, batch_first=True), in_place
        self.register_buffer("h", torch.full((1, 1, 8), 0.2))

    def forward(self, x):
        y, h = self.rnn(x, self.h)
        if self.in_place:
            self.h.copy_(h)
        else:
            self.h = h
        return y


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("n_steps", [1, 4])
@pytest.mark.parametrize("options", [{}, {"time_axis": None}, {"time_axis": 1}], ids=str)
def test_a_layer_over_chunks(options, n_steps, in_place):
    module = Chunks(in_place).eval()
    X = torch.randn(1, 12, I)
    model = undertow.from_torch(module, X[:, :n_steps], **options)
    with torch.no_grad():
        expected = torch.cat(
            [copied(X[:, i : i + 4]) for copied in [copy.deepcopy(module)] for i in range(0, 12, 4)], 1
        )
    np.testing.assert_allclose(model.run(X[0].numpy()), expected[0], rtol=0, atol=1e-6)
