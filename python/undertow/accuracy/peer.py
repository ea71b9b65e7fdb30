# SPDX-License-Identifier: MIT
"""ONNX Runtime as the other opinion on an .onnx file: fed with undertow's frames, answering in undertow's frames.

An ONNX model says neither which axis is time nor which outputs are its state. This module works that out from the
frames that undertow's importer found, and refuses (`CannotFeed`) rather than compare unlike things.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from typing import Any

import numpy as np

from .. import reference
from ..errors import Error
from ..importers.onnx.file.floats import in_float32
from ..importers.onnx.file.read import read_model
from ..importers.onnx.search.names import by_names

Arrays = dict[str, np.ndarray]
#: the axes of an input that are time and the batch
Layout = tuple[int | None, int | None]
_DTYPES = {"float": np.float32, "double": np.float64, "float16": np.float16, "int64": np.int64, "int32": np.int32}
#: Far above what float32 loses in a few frames, far below what frames in the wrong order do.
_AGREES = 1e-3
#: frames that are looked at where a call takes one, and how much nearer than a sequence they must come
_ALONE, _NEARER = 5, 100
_MAX_TRIALS = 200
_TIME_NAMES = ("time", "seq", "step", "len", "frame")


class CannotFeed(Error):
    """The session's inputs or outputs cannot be matched with the model's frames; says which and why."""


class NoItems(CannotFeed):
    """An output has no place for the items of a batch, though inputs were given several."""


class OnnxRuntime:
    """A session on one thread, over the same file as `model`.

    Attributes:
        version: of ONNX Runtime.
        n_steps: frames that one call must have, or None for any number.
        written_out: the file calls their number open.
        n_items: sequences that one call must have side by side, which the file fixes, or 1.
        open_batch: the file leaves their number open.
        carries_state: the caller hands the state from call to call, one frame at a time.
        states: state input -> output that is its next value, as names say, or else as far as the shapes allow.
        told: those of `states` that the file's names tell, or the caller. said: those of the caller.
        still: inputs without an axis of time beside others that have one: what stays the same in a sequence.

    Raises:
        ImportError: onnxruntime is missing.
        CannotFeed: see above.
    """

    def __init__(self, path: Any, model: Any, options: Mapping[str, Any] | None = None):
        """options: those of `undertow.load` that the model was imported with: `fixed`, `shapes`, `states`, `starts`."""
        try:
            import onnxruntime as ort
        except ImportError:
            raise ImportError("needs ONNX Runtime: pip install onnxruntime") from None
        self.version = ort.__version__
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.log_severity_level = 4  # layouts that do not fit are tried and raise: they need no log
        try:
            source, self.notes = _in_float32(path)
            self.session = ort.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base class of their own
            raise CannotFeed(f"ONNX Runtime does not load {path}: {first_line(error)}") from None
        self.model = model
        self._n_in, self._n_out = model.frames_in, model.frames_out  # timesteps of the file in one frame
        several = {name: self._n_in > 1 and v.shape[:1] == (self._n_in,) for name, v in model.inputs.items()}
        self._frames = {name: value.shape[several[name] :] for name, value in model.inputs.items()}
        self._inputs = {i.name: i for i in self.session.get_inputs()}
        self._outputs = [o.name for o in self.session.get_outputs()]
        options = options or {}
        self._shapes = {name: list(shape) for name, shape in (options.get("shapes") or {}).items()}
        self.said: dict[str, str] = dict(options.get("states") or {})
        self._starts = {name: np.asarray(x) for name, x in (options.get("starts") or {}).items()}
        self._fixed = {
            name: np.asarray(x, self._dtype(name)) for name, x in (options.get("fixed") or {}).items()
            if name in self._inputs
        }  # fmt: skip
        missing = [n for n in model.inputs if n not in self._inputs] + [
            n for n in model.outputs if n not in self._outputs
        ]
        if missing:
            raise CannotFeed(f"the ONNX graph has no input or output named {missing[0]!r}")
        others = [i for i in self._inputs.values() if i.name not in model.inputs and i.name not in self._fixed]
        self._lengths = [i.name for i in others if "int" in i.type and len(i.shape) <= 1]  # sequence_lens
        self._start = [i.name for i in others if i.name not in self._lengths]
        shapes = {i.name: [o.name for o in self.session.get_outputs() if _fits(self._shape(i.name), o.shape)]
                  for i in self._inputs.values() if i.name not in self._fixed}  # fmt: skip
        self.told = {**by_names(shapes), **self.said}
        self._match()

    def run(self, X: Mapping[str, np.ndarray]) -> Arrays:
        """Run T frames from the start. Outputs have T rows, or no time axis where only the last frame is given. Where
        the file fixes a batch of several, the others are sequences of their own.
        """
        n = len(next(iter(X.values())))
        rng = np.random.default_rng(1)
        return self.run_batch([X, *(self.inputs(n, rng) for _ in range(self.n_items - 1))])[0]

    def inputs(self, n_steps: int, rng: np.random.Generator) -> Arrays:
        """As `random_inputs`, with the first frame of `still` inputs in all."""
        X = random_inputs(self.model, n_steps, rng)
        return {name: np.repeat(x[:1], n_steps, axis=0) if name in self.still else x for name, x in X.items()}

    def run_batch(self, items: Sequence[Mapping[str, np.ndarray]]) -> list[Arrays]:
        """Run sequences of equal length side by side.

        Raises:
            NoItems: an output has no place for them.
        """
        n = len(next(iter(items[0].values())))
        if not self.carries_state:
            feed = self._feed(items, self._first_states(len(items)), n)
            return self._answers(self._call(feed), n, len(items))
        state, rows = self._first_states(len(items)), []
        for t in range(n):
            frame = [{name: x[t : t + 1] for name, x in item.items()} for item in items]
            results = self._call(self._feed(frame, state, 1))
            rows.append(self._answers(results, 1, len(items)))
            state = {i: results[o] for i, o in self.states.items()}
        return [
            {name: np.concatenate([row[i][name] for row in rows]) for name in self.model.outputs}
            for i in range(len(items))
        ]

    def unvaried(self) -> Iterator[tuple[str, int]]:
        """(input, axis) that the file leaves open, and of which no batch and no length shows another size."""
        for name, (time, batch) in self._time.items():
            for axis, size in enumerate(self._shape(name)):
                lengths = axis == time and not self.carries_state and (self.n_steps is None or self.written_out)
                if isinstance(size, str) and axis != batch and not lengths:
                    yield name, axis

    def depends_on_size(self, name: str, axis: int, X: Mapping[str, np.ndarray]) -> str:
        """An output whose first row, or all of it, is another one where more rows follow along an axis of an input; ""
        if there is none. X: as in `run`.

        Raises:
            Exception: ONNX Runtime does not run it with more rows.
        """
        n = len(next(iter(X.values())))
        feed = self._feed([X] * self.n_items, self._first_states(self.n_items), n)
        size = self._shape(name)[axis]
        more = dict(feed)
        for other in self._time if size else [name]:
            for at, length in enumerate(self._shape(other)):
                if (size and length == size) or (other == name and at == axis):
                    rows = np.roll(feed[other], 1, axis=-1)  # others than those before
                    more[other] = np.concatenate([feed[other], rows, rows], axis=at)
        before, after = self._call(feed), self._call(more)
        for output in self.model.outputs:
            a, b = before[output], after[output]
            if a.ndim == b.ndim:
                b = b[tuple(slice(length) for length in a.shape)]
            if a.shape != b.shape or _distance(a, b) > _AGREES:
                return output
        return ""

    def batch(self, n_items: int, n_steps: int, rng: np.random.Generator) -> list[Arrays]:
        """Sequences for `run_batch`: each its own, but of an input that the file has once for all."""
        items = [self.inputs(n_steps, rng) for _ in range(n_items)]
        return [{**item, **{name: items[0][name] for name in self._shared}} for item in items]

    def passes_on(self, name: str, output: str) -> bool:
        """Whether an output is the input itself, whatever else the inputs hold."""
        n = self.n_steps or 1
        items = [self.inputs(n, np.random.default_rng(1))] * self.n_items
        feed = self._feed(items, self._first_states(self.n_items), n)
        return np.array_equal(np.ravel(self._call(feed)[output]), np.ravel(feed[name]))

    def stepper(self, X: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """A call of one frame with the state handed on by the caller, as users of ONNX Runtime write it."""
        if self.n_steps not in (None, 1):
            raise CannotFeed(f"it takes {self.n_steps} frames a call, not one")
        return self._stepper(
            self._feed([{name: x[:1] for name, x in X.items()}] * self.n_items, self._first_states(1), 1)
        )

    def batch_stepper(self, X: Mapping[str, np.ndarray], n_streams: int) -> Callable[[], Any]:
        """A call of one frame of each of n streams (the first of X for all of them) along the batch axis."""
        if self.n_steps not in (None, 1):
            raise CannotFeed(f"it takes {self.n_steps} frames a call, not one")
        feed = self._feed([{name: x[:1] for name, x in X.items()}], self._first_states(n_streams), 1)
        for name, (_, batch) in self._time.items():
            if batch is None or isinstance(self._shape(name)[batch], int):
                raise CannotFeed(
                    f"input {name!r} has shape {self._shape(name)}, without a free axis for {n_streams} streams"
                )
            feed[name] = np.repeat(feed[name], n_streams, axis=batch)
        for name in self._lengths:
            feed[name] = np.repeat(feed[name], n_streams)
        step = self._stepper(feed)
        try:
            step()
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own
            raise CannotFeed(f"it does not run {n_streams} streams: {first_line(error)}") from None
        return step

    def _stepper(self, feed: Arrays) -> Callable[[], Any]:
        names = list(self.model.outputs) + list(self.states.values())
        states, n_outputs, session_run = list(self.states), len(self.model.outputs), self.session.run

        def step() -> Any:
            results = session_run(names, feed)
            for i, name in enumerate(states):
                feed[name] = results[n_outputs + i]
            return results

        return step

    def sequencer(self, X: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """A call for all frames of X: one `session.run`, or a loop of them where the caller carries the state."""
        n = len(next(iter(X.values())))
        if self.carries_state:
            step = self.stepper(X)
            return lambda: [step() for _ in range(n)]
        if self.n_steps not in (None, n):
            raise CannotFeed(f"it takes {self.n_steps} frames a call, not {n}")
        feed, names = self._feed([X] * self.n_items, self._first_states(1), n), list(self.model.outputs)
        return lambda: self.session.run(names, feed)

    # -- matching -----------------------------------------------------------------------------------------------

    def _match(self) -> None:
        """Take the first way of feeding the session whose first frames undertow agrees with, or else the nearest."""
        rng = np.random.default_rng(0)
        best, nearest, reason = None, (True, True, np.inf), "no layout of its inputs runs"
        for feeding in islice(self._feedings(), _MAX_TRIALS):
            self._use(feeding)
            if self.n_items > 1 and self.n_steps == 1 and not self.carries_state:
                continue  # one step of several items shows nothing of how it goes on
            distance = 0.0
            try:
                for _ in range(_ALONE if self.n_steps == 1 and not self.carries_state else 1):
                    X = self.inputs(self.n_steps or distinct_length(self.model, 5), rng)
                    answers = self.run(X)
                    expected = reference.evaluate(self.model.graph, X).outputs
                    distance = max(distance, *(_distance(expected[name], answers[name]) for name in answers))
            except Exception as error:  # wrong layouts fail in as many ways as there are models
                reason = first_line(error)
                continue
            alone = self.n_steps == 1 and not self.carries_state
            # Likely ways come first, and two can agree where an axis has size 1; of a model that is wrong by a little
            # frames alone come nearer than a sequence does.
            if distance < (min(_AGREES, nearest[-1] / _NEARER) if alone else _AGREES):
                best = feeding
                break
            likely = (self.n_items > 1, alone, distance)
            if best is None or likely < nearest:
                best, nearest = feeding, likely
        if best is None:
            raise CannotFeed(reason)
        self._use(best)

    def _use(self, feeding: tuple[dict[str, Any], dict[str, str]]) -> None:
        self._time, self.states = feeding
        timeless = {name for name, (time, _) in self._time.items() if time is None}
        self.still = timeless if len(timeless) < len(self._time) else set()
        batches = [self._shape(name)[batch] for name, (_, batch) in self._time.items() if batch is not None]
        self.n_items = next((size for size in batches if isinstance(size, int)), 1)
        self.open_batch = any(isinstance(size, str) for size in batches)
        self._shared = {
            name for name, (_, batch) in feeding[0].items() if self.open_batch and _size(self._shape(name), batch) == 1
        }
        sizes = {None if time is None else self._shape(name)[time] for name, (time, _) in self._time.items()}
        single = sizes <= {None, 1}
        self.carries_state = single and bool(self.states)
        fixed = 1 if single else next((size for size in sizes if isinstance(size, int)), None)
        self.n_steps = None if self.carries_state else fixed and fixed // self._n_in
        self.written_out = False
        if self.n_steps is None and not self.carries_state:
            self.n_steps = self._own_length()
            self.written_out = self.n_steps is not None

    def _own_length(self) -> int | None:
        """Frames of a file that calls time open and gives this many whatever it is fed, as where an exporter wrote a
        loop out for the length of its example; None where it takes any number.
        """
        for output in self.session.get_outputs():
            value = self.model.outputs.get(output.name)
            size = int(np.prod([n for n in output.shape if isinstance(n, int)]))
            rows = size // (value.size * self.n_items) if value is not None and value.size else 0
            if value is None or rows < 2 or rows * value.size * self.n_items != size:
                continue
            X = self.inputs(rows + 1, np.random.default_rng(0))
            try:
                results = self._call(self._feed([X] * self.n_items, self._first_states(self.n_items), rows + 1))
            except Exception:  # of ONNX Runtime, whose share no base class of their own: more do not fit
                return rows
            if results[output.name].size == size:
                return rows
        return None

    def _feedings(self) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
        """Ways of feeding: (input -> (time axis, batch axis), state input -> output that is its next value)."""
        layouts = {name: _layouts(self._shape(name), frame) for name, frame in self._frames.items()}
        for name, possible in layouts.items():
            if not possible:
                shape = self._shape(name)
                raise CannotFeed(f"input {name!r} has shape {shape}, no room for a frame of {self._frames[name]}")
        # Inputs that undertow has no frames for became state: each has a next value among the outputs, of its shape,
        # and more likely one that undertow does not give.
        outputs = sorted(self.session.get_outputs(), key=lambda o: o.name in self.model.outputs)
        partners = {
            i: [self.said[i]] if i in self.said else [o.name for o in outputs if _fits(self._shape(i), o.shape)]
            for i in self._start
        }
        # What names say goes first, whatever agrees with the model.
        partners = {i: [self.told[i]] if i in self.told else names for i, names in partners.items() if names}
        for choice in self._choices(layouts):
            for pairing in product(*partners.values()):
                if len(set(pairing)) == len(pairing):
                    yield dict(zip(layouts, choice, strict=True)), dict(zip(partners, pairing, strict=True))

    def _choices(self, layouts: Mapping[str, list[Layout]]) -> Iterator[tuple[Layout, ...]]:
        """A layout of each input: first where all have time, or none has; then any. Time of a fixed size goes with open
        time in a file of one step, whose caller carries states.
        """
        for mixed in (False, True):
            for choice in product(*layouts.values()):
                sizes = [_size(self._shape(name), time) for name, (time, _) in zip(layouts, choice, strict=True)]
                kinds = {size is None if self._start else type(size) for size in sizes}
                if mixed == (len(kinds) > 1):
                    yield choice

    def _shape(self, name: str) -> list[Any]:
        """Sizes of an input's axes; a str where the size is free, named or not."""
        declared = list(self._inputs[name].shape)
        given = self._shapes.get(name, declared)
        if len(declared) != len(given):  # the file declares no shape
            declared = given
        sizes = [d if size is None else size for size, d in zip(given, declared, strict=True)]
        return ["" if size is None else size for size in sizes]

    # -- feeding ------------------------------------------------------------------------------------------------

    def _first_states(self, batch: int) -> Arrays:
        """What states start with: zeros, or what the caller says of one sequence, for each of a batch."""
        states = {}
        for name in self._start:
            shape = [n if isinstance(n, int) else batch for n in self._shape(name)]
            states[name] = np.zeros(shape, self._dtype(name))
            states[name][...] = self._starts.get(name, 0)
        return states

    def _dtype(self, name: str) -> Any:
        kind = self._inputs[name].type[len("tensor(") : -1]
        if kind == "bool" and name in self._start:  # as an input random frames are none
            return np.bool_
        if kind not in _DTYPES:
            raise CannotFeed(f"input {name!r} is of type {self._inputs[name].type}")
        return _DTYPES[kind]

    def _feed(self, items: Sequence[Mapping[str, np.ndarray]], states: Arrays, n: int) -> Arrays:
        feed = {**states, **self._fixed}
        for name in items[0]:
            time, batch = self._time[name]
            laid = []
            for item in items if batch is not None and name not in self._shared else items[:1]:
                x = item[name]
                x = x.reshape(-1, *x.shape[2:]) if self._n_in > 1 and time is not None else x
                # Frames lie first; the batch axis, put in afterwards, may push them on.
                laid.append(x[0] if time is None else np.moveaxis(x, 0, time - (batch is not None and batch < time)))
            x = laid[0] if batch is None else np.stack(laid, axis=batch)
            feed[name] = np.ascontiguousarray(x, self._dtype(name))
        for name in self._lengths:
            shape = [len(items)] if self._shape(name) else []
            feed[name] = np.full(shape, n * self._n_in, self._dtype(name))
        return feed

    def _call(self, feed: Arrays) -> Arrays:
        return dict(zip(self._outputs, self.session.run(None, feed), strict=True))

    def _answers(self, results: Arrays, n: int, n_items: int) -> list[Arrays]:
        """The answer for each item of a batch."""
        if n_items == 1:
            return [self._answer(results, n)]
        parts = {name: self._parted(name, results[name], n, n_items) for name in self.model.outputs}
        return [self._answer({name: part[i] for name, part in parts.items()}, n) for i in range(n_items)]

    def _parted(self, name: str, y: np.ndarray, n: int, n_items: int) -> list[np.ndarray]:
        """An output's items, along the axis where the first input has them, or else any other that fits."""
        size = self.model.outputs[name].size
        first, (_, batch) = next(iter(self._time.items()))
        axes = [axis for axis, length in enumerate(y.shape) if length == n_items]
        if _rows(y.size, n_items * size, n) is None or not axes:
            raise NoItems(f"output {name!r} has shape {y.shape}, without a place for {n_items} items of a batch")
        alike = y.ndim == len(self._shape(first)) and batch in axes
        return list(np.moveaxis(y, batch if alike and batch is not None else axes[0], 0))

    def _answer(self, results: Arrays, n: int) -> Arrays:
        answer = {}
        for name, value in self.model.outputs.items():
            y = results[name]
            rows = _rows(y.size, value.size, n)
            axes = [axis for axis, size in enumerate(y.shape) if rows and size == rows * self._n_out]
            once = rows == 1 < n
            if rows is None or (rows < n and not (once or axes)):
                raise CannotFeed(f"output {name!r} has shape {y.shape}, which holds no {n} frames of {value.shape}")
            y = np.moveaxis(y, axes[0], 0) if axes and not once else y
            answer[name] = y.reshape(value.shape if once else (rows, *value.shape))
        return answer


def _in_float32(path: Any) -> tuple[str | bytes, list[str]]:
    """What ONNX Runtime loads, and what to say of it: a file of other floating-point numbers with them in float32, for
    in its own a sum is rounded after every step.
    """
    model = read_model(path)
    said = in_float32(model)
    return (model.SerializeToString(), [f"{said}, by ONNX Runtime too"]) if said else (str(path), [])


def random_inputs(model: Any, n_steps: int, rng: np.random.Generator) -> Arrays:
    """Input name -> (n_steps, *frame): standard normal numbers, or valid ids."""
    X: Arrays = {}
    for name, value in model.inputs.items():
        shape = (n_steps, *value.shape)
        if value.dtype == "int32":
            X[name] = rng.integers(0, value.n_ids or 1, shape, dtype=np.int32)
        else:
            X[name] = rng.standard_normal(shape, dtype=np.float32)
    return X


def _rows(size: int, of_frame: int, n: int) -> int | None:
    """How many rows so many elements are: n, or fewer where the first frames have none (no padding), or one of all."""
    rows = size // of_frame if of_frame else n
    return rows if rows * of_frame == size and 1 <= rows <= n else None


def distinct_length(model: Any, n: int) -> int:
    """A number of frames from n upwards that no axis of a frame has, so that the time axis can be told from others."""
    sizes = {size for value in (*model.inputs.values(), *model.outputs.values()) for size in value.shape}
    while n in sizes:
        n += 1
    return n


def _layouts(shape: list[Any], frame: tuple[int, ...]) -> list[Layout]:
    """(time axis, batch axis) by which frames of this shape can lie in the tensor, likely ones first."""
    layouts: list[Layout] = []
    extra = len(shape) - len(frame)
    if not 0 <= extra <= 2:
        return []
    for axes in combinations(range(len(shape)), extra):
        if not _fits([n for axis, n in enumerate(shape) if axis not in axes], frame):
            continue
        if extra == 0:
            layouts.append((None, None))
        for time, batch in (
            ((axes[0], None), (None, axes[0])) if extra == 1 else (axes, axes[::-1]) if extra == 2 else ()
        ):
            layouts.append((time, batch))

    def unlikeliness(layout: Layout) -> int:
        size = _size(shape, layout[0])
        if isinstance(size, str):
            return int(not any(word in size.lower() for word in _TIME_NAMES))
        return 2 * (size == 1)

    return sorted(layouts, key=unlikeliness)


def _size(shape: list[Any], axis: int | None) -> Any:
    return None if axis is None else shape[axis]


def _fits(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(
        m == n or not isinstance(m, int) or not isinstance(n, int) for m, n in zip(a, b, strict=True)
    )


def _distance(expected: np.ndarray, got: np.ndarray) -> float:
    expected = expected[-1] if expected.ndim > got.ndim else expected[-len(got) :] if got.ndim else expected
    return float(np.abs(expected - got).max(initial=0.0)) if expected.shape == got.shape else np.inf


def first_line(error: Exception) -> str:
    """What an error of ONNX Runtime's says first."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
