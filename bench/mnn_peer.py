# SPDX-License-Identifier: MIT
"""MNN, in float32 on one thread: sessions that are written to and read in place, and modules for loops over time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .clock import Statement
from .models import Contender, Weights

NAME = "MNN"


def _converted(file: bytes, folder: str) -> str:
    """The file that its converter writes. The C++ of that is called here, for the Python around it (the command
    `mnnconvert`) installs a package with pip when it is imported, and wants to send home what was converted."""
    import _tools

    before, after = Path(folder) / "layer.onnx", Path(folder) / "layer.mnn"
    before.write_bytes(file)
    _tools.mnnconvert(
        ["mnnconvert", "-f", "ONNX", "--modelFile", f"{before}", "--MNNModel", f"{after}", "--bizCode", "bench"]
    )
    return str(after)


class Session:
    """The leaner of its two interfaces, for graphs without loops.

    Attributes:
        inputs, outputs: name -> tensor.
        arrays: name -> the memory of that tensor as float32 array, of whatever shape MNN gave it.
    """

    def __init__(self, file: bytes) -> None:
        import MNN

        with tempfile.TemporaryDirectory() as folder:
            self._interpreter = MNN.Interpreter(_converted(file, folder))
        self._session = self._interpreter.createSession({"backend": "CPU", "numThread": 1, "precision": "high"})
        self.inputs = self._interpreter.getSessionInputAll(self._session)
        self.outputs = self._interpreter.getSessionOutputAll(self._session)
        self.arrays = {name: tensor.getNumpyData() for name, tensor in (self.inputs | self.outputs).items()}

    @property
    def names(self) -> dict[str, Any]:
        """For a statement that says `run(session)`."""
        return {"run": self._interpreter.runSession, "session": self._session, "keep": self}

    def run(self) -> None:
        self._interpreter.runSession(self._session)


def runs(w: Weights, X: np.ndarray) -> list[Contender]:
    """All timesteps X (T, I), from a zero state: in one call, and as a loop of steps, which often is faster."""
    return [_session_run(w, X) if w.cell == "rnn" else _module_run(w, X), _loop(w, X)]


def _session_run(w: Weights, X: np.ndarray) -> Contender:
    session = Session(w.onnx(len(X), ("Y",)))
    session.arrays["x"].reshape(X.shape)[...] = X

    def answer(X: np.ndarray) -> np.ndarray:
        session.arrays["x"].reshape(X.shape)[...] = X
        session.run()
        return session.arrays["Y"].reshape(len(X), -1).copy()

    return Contender(NAME, Statement("run(session)", session.names), answer)


def _module_run(w: Weights, X: np.ndarray) -> Contender:
    """A GRU or LSTM over time is a loop to MNN, which its sessions do not run."""
    import MNN.expr
    import MNN.nn

    with tempfile.TemporaryDirectory() as folder:
        module = MNN.nn.load_module_from_file(
            _converted(w.onnx(len(X), ("Y",)), folder), ["x"], ["Y"],
            backend=MNN.expr.CPU, precision_mode=MNN.expr.High, thread_num=1,
        )  # fmt: skip

    def frames(X: np.ndarray) -> Any:
        return MNN.expr.const(X[:, None, :].copy(), [len(X), 1, w.n_inputs], MNN.expr.NCHW, MNN.expr.float)

    def answer(X: np.ndarray) -> np.ndarray:
        return np.array(module.forward([frames(X)])[0].read()).reshape(len(X), -1)

    return Contender(NAME, Statement("run([x])", {"run": module.forward, "x": frames(X)}), answer)


def _loop(w: Weights, X: np.ndarray) -> Contender:
    """Every frame is copied in and every output copied out, as one call over all of them does."""
    session, carry = _step_session(w, 1)
    x, y = (session.arrays[name].reshape(-1) for name in ("x", "Y_h"))
    states = [session.arrays[name] for name in w.states]
    out = np.empty((len(X), w.n_hidden), np.float32)
    code = f"for z in states: z.fill(0)\nfor frame, row in frames:\n    x[:] = frame; run(session); row[:] = y; {carry}"
    names = session.names | {"x": x, "y": y, "states": states, "frames": list(zip(X, out, strict=True))}
    names |= _ends(session, w)

    def answer(X: np.ndarray) -> np.ndarray:
        exec(code, names | {"frames": list(zip(X, out, strict=True))})
        return out.copy()

    return Contender(NAME, Statement(code, names), answer)


def steps(w: Weights, X: np.ndarray) -> list[Contender]:
    """One timestep of one stream X (I,) or of a batch of them X (batch, I): the frame lies in the input already, the
    state is copied from output to input."""
    batch = X.size // w.n_inputs
    session, carry = _step_session(w, batch)
    session.arrays["x"].reshape(X.shape)[...] = X
    code, names = f"run(session); {carry}", session.names | _ends(session, w)

    def answer(X: np.ndarray) -> np.ndarray:
        for name in w.states:
            session.arrays[name].fill(0)
        rows = []
        for row in X:
            session.arrays["x"].reshape(row.shape)[...] = row
            exec(code, names)
            rows.append(session.arrays["Y_h"].reshape(*row.shape[:-1], w.n_hidden).copy())
        return np.array(rows)

    return [Contender(NAME, Statement(code, names, per=batch), answer)]


def _step_session(w: Weights, batch: int) -> tuple[Session, str]:
    """And the statement that makes the state that came out the next one that goes in."""
    carry = "; ".join(f"take_{name}({name})" for name in w.states)
    return Session(w.onnx(1, tuple(f"Y_{s}" for s in w.states), batch)), carry


def _ends(session: Session, w: Weights) -> dict[str, Any]:
    takes = {f"take_{name}": session.inputs[name].copyFrom for name in w.states}
    return takes | {name: session.outputs[f"Y_{name}"] for name in w.states}
