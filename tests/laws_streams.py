# SPDX-License-Identifier: MIT
"""Laws of streams: however a sequence is cut, carried, undone or written, the same bits."""

import numpy as np

from law_case import ISAS, Case
from undertow.model import Model


def advance(case: Case, stream, X, at: slice, rng, out: bool = False):
    """The rows of X[at] from a stream, by `run`, by steps or by proposals; with arrays to write to where `out`."""
    n = at.stop - at.start
    if n and rng.random() < 0.5:
        parts = []
        for t in range(at.start, at.stop):
            y = case.empty() if out else None
            call = stream.propose if rng.random() < 0.3 else stream.step
            made = call(case.one(case.cut(X, t)), **({"out": case.one(y)} if out else {}))
            if call == stream.propose:
                stream.commit()
            parts.append({name: row[None] for name, row in case.named(made if y is None else case.one(y)).items()})
        return case.joined(parts)
    if not out:
        return case.named(stream.run(case.one(case.cut(X, at))))
    y = case.empty(n)
    made = case.named(stream.run(case.one(case.cut(X, at)), out=case.one(y)))
    case.holds(all(made[name] is y[name] for name in y), "run(X, out) gives other arrays than out")
    return y


def ended(case: Case, stream, out: bool = False):
    if not out:
        return case.named(stream.flush())
    y = case.empty(case.latency)
    stream.flush(case.one(y))
    return y


def steps(case: Case, rng) -> None:
    """A loop of `step` gives what `run` does, and leaves the same state."""
    stream, (rows, state) = case.model.stream(), case.rows
    parts = [case.named(stream.step(case.one(case.cut(case.X, t)))) for t in range(case.T)]
    case.same_state(stream.snapshot(), state, "step by step")
    parts = [{name: y[None] for name, y in part.items()} for part in parts]
    case.same(case.joined([*parts, ended(case, stream)]), rows, "step by step")


def chunks(case: Case, rng, X=None, rows=None, state=None) -> None:
    """Any chunks, of `run`, `step` and `propose` mixed, in any block, whoever owns the output."""
    X, rows, state = (case.X, *case.rows) if X is None else (X, rows, state)
    for block in (None, 1, int(rng.integers(1, case.model.block + 1))):
        model, out = case.some_model(rng), bool(rng.random() < 0.5)
        stream = model.stream(block=block)
        parts = [advance(case, stream, X, slice(*at), rng, out) for at in case.cuts(rng, case.T)]
        what = f"in chunks, block {block}, {model.isa}{', into out' * out}"
        case.same_state(stream.snapshot(), state, what)
        case.same(case.joined([*parts, ended(case, stream, out)]), rows, what)


def isas(case: Case, rng) -> None:
    """The same bits on every instruction set, and the same snapshot."""
    rows, state = case.rows
    for isa in ISAS[1:]:
        got, reached = case.stream_rows(case.X, case.models[isa])
        case.same(got, rows, f"{isa}, not {ISAS[0]}")
        case.same_state(reached, state, isa)


def late(case: Case, rng) -> None:
    """Outputs begin with as many zeros as the model is late, and a flush ends the sequence wherever it is."""
    d = case.latency
    for name, y in case.rows[0].items():
        if case.model.outputs[name].dtype == "float32":
            case.holds(d == 0 or not y[:d].any(), f"{name} is not zero before the latency of {d} frames")
    n = int(rng.integers(0, case.T + 1))
    rows, _ = case.stream_rows(case.cut(case.X, slice(0, n)))
    whole = case.named(case.some_model(rng).run(case.one(case.cut(case.X, slice(0, n)))))
    case.same({name: y[d:] for name, y in rows.items()}, whole, f"{n} frames, run and flushed")


def undone(case: Case, rng) -> None:
    """A proposal that is rolled back leaves the state to the bit."""
    stream, other, (rows, state) = case.some_model(rng).stream(), case.hard_frames(rng, case.T), case.rows
    parts = []
    for at in case.cuts(rng, case.T):
        if at[0] < case.T:
            before = stream.snapshot()
            stream.propose(case.one(case.cut(other, at[0])))
            stream.rollback()
            case.holds(stream.snapshot() == before, f"frame {at[0]}: rollback leaves another state")
        parts.append(advance(case, stream, case.X, slice(*at), rng))
    case.same_state(stream.snapshot(), state, "with proposals undone")
    case.same(case.joined([*parts, ended(case, stream)]), rows, "with proposals undone")


def rewound(case: Case, rng) -> None:
    """A stream that goes back is one that never took those timesteps, however they were taken."""
    k, model, (rows, state), parts = int(rng.choice([1, 2, 5, 17])), case.some_model(rng), case.rows, []
    stream = model.stream(block=int(rng.integers(1, model.block + 1)), rewind=k)
    for start, stop in case.cuts(rng, case.T):
        parts.append(advance(case, stream, case.X, slice(start, stop), rng))
        before, n = stream.snapshot(), int(rng.integers(0, 2 * k + 2))
        advance(case, stream, case.hard_frames(rng, n), slice(0, n), rng)
        if n <= k:
            stream.rewind(n)
            case.same_state(stream.snapshot(), before, f"{n} of {k} frames undone before frame {stop}")
        else:
            case.holds(stream.kept == k, f"{stream.kept} frames are kept, not {k}")
            stream.restore(before)
        n = int(rng.integers(0, stream.kept + 1))
        stream.rewind(n)
        if n:
            cut = {name: y[len(y) - n :] for name, y in case.joined(parts).items()}
            case.same(advance(case, stream, case.X, slice(stop - n, stop), rng), cut, f"{n} frames again, to {stop}")
    case.same_state(stream.snapshot(), state, "with frames undone")
    case.same(case.joined([*parts, ended(case, stream)]), rows, "with frames undone")


def carried(case: Case, rng) -> None:
    """State is bytes: carried on by snapshots, forks, fields, resets, in and out of a pool, to any instruction set."""
    stream, (rows, state), parts, junk = case.some_model(rng).stream(), case.rows, [], case.frames(rng, 3)
    for at in case.cuts(rng, case.T):
        model, snapshot = case.some_model(rng), stream.snapshot()
        how = ("new", "restore", "fork", "reset", "fields", "pool")[int(rng.integers(6))]
        if how == "new":
            stream = model.stream(snapshot)
        elif how == "fork":
            stream, first = stream.fork(), stream
            first.run(case.one(junk))
        elif how in ("restore", "reset"):
            stream.run(case.one(junk))
            stream.restore(snapshot) if how == "restore" else stream.reset(to=snapshot)
        elif how == "fields":
            stream = model.stream(state={name: stream.state[name] for name in model.states})
        else:
            pool = model.pool(2)
            (i,) = pool.open(snapshot=snapshot)
            stream = model.stream(pool.snapshot(i))
            pool.restore(i, model.stream().snapshot())
            pool.reset(i, to=snapshot)
            case.holds(pool.snapshot(i) == snapshot, "a pool gives back another snapshot than it was given")
        case.same_state(stream.snapshot(), snapshot, how)
        parts.append(advance(case, stream, case.X, slice(*at), rng))
    case.same_state(stream.snapshot(), state, "carried on")
    case.same(case.joined([*parts, ended(case, stream)]), rows, "carried on")


def fresh(case: Case, rng) -> None:
    """A stream or a stream of a pool that is reset is a fresh one."""
    stream, (rows, state) = case.some_model(rng).stream(), case.rows
    start = stream.snapshot()
    stream.run(case.one(case.hard_frames(rng, 5)))
    stream.flush()
    stream.reset()
    case.holds(stream.snapshot() == start, "reset leaves another state than a fresh stream has")
    got = case.named(stream.run(case.one(case.X)))
    case.same_state(stream.snapshot(), state, "after reset")
    case.same(case.joined([got, ended(case, stream)]), rows, "after reset")
    pool = case.model.pool(2)
    (i,) = pool.open()
    pool.run([i], case.one(case.hard_frames(rng, 1, 5)))
    pool.reset(i)
    case.holds(pool.snapshot(i) == start, "a pool resets to another state than a fresh stream has")


def started(case: Case, rng) -> None:
    """States given by name start a stream, a pool, a reset and a whole sequence alike."""
    model = case.some_model(rng)
    state = {n: rng.normal(size=s.shape).astype(np.float32) for n, s in model.states.items() if rng.random() < 0.6}
    stream = model.stream(state=state)
    start = stream.snapshot()
    rows = case.joined([case.named(stream.run(case.one(case.X))), ended(case, stream)])
    stream.reset(to=state)
    case.same_state(stream.snapshot(), start, "reset(to=state)")
    pool = case.model.pool(1)
    (i,) = pool.open(state=state)
    case.same_state(pool.snapshot(i), start, "pool.open(state=state)")
    stream = case.model.stream()
    for name, value in state.items():
        stream.state[name] = value
    case.same_state(stream.snapshot(), start, "stream.state[name] = value")
    whole = case.named(case.model.run(case.one(case.X), state=state))
    case.same(whole, {name: y[case.latency :] for name, y in rows.items()}, "run(X, state=state)")


def goes_on(case: Case, rng) -> None:
    """The final state of a sequence starts what follows it."""
    n = int(rng.integers(0, case.T + 1))
    if case.latency or not case.model.streamable:
        return
    first, state = case.model.run_with_state(case.one(case.cut(case.X, slice(0, n))))
    then, end = case.model.run_with_state(case.one(case.cut(case.X, slice(n, case.T))), state=state)
    rows = case.joined([case.named(first), case.named(then)])
    case.same(rows, case.rows[0], f"{n} frames, and the others from their state")
    case.same(end, case.model.run_with_state(case.one(case.X))[1], "state at the end")


def sequence(case: Case, rng) -> None:
    """`Model.run` and the whole sequence of the C interface are what a stream gives, less what is late."""
    for model in case.models.values():
        Y, state = model.run_with_state(case.one(case.X))
        case.same(case.named(Y), {n: y[case.latency :] for n, y in case.rows[0].items()}, f"Model.run on {model.isa}")
        of_c(case, model, case.X, case.named(Y), state)


def of_c(case: Case, model: Model, X, Y, state) -> None:
    ys, finals = model._core.run_sequence(list(X.values()), case.T, case.T, [None] * len(model.states))
    case.same(dict(zip(model.outputs, ys, strict=True)), Y, f"ut_sequence_run on {model.isa}")
    case.same(dict(zip(model.states, finals, strict=True)), state, f"finals of ut_sequence_run on {model.isa}")


def in_place(case: Case, rng) -> None:
    """Outputs may be written where an input stands, frame on frame."""
    for given, value in case.model.inputs.items():
        for made, other in case.model.outputs.items():
            if "int32" in (value.dtype, other.dtype) or other.size > value.size:
                continue
            X = case.cut(case.X, slice(None))
            out = X[given].reshape(-1)[: case.T * other.size].reshape(case.T, *other.shape)
            got = case.named(case.some_model(rng).stream().run(case.one(X), out=to(case, made, out)))
            want = {name: y[: case.T] for name, y in case.rows[0].items()}
            case.same(got, want, f"{made} written over {given}")
            frame = case.cut(case.X, 0)
            out = frame[given].reshape(-1)[: other.size].reshape(other.shape)
            got = case.named(case.some_model(rng).stream().step(case.one(frame), out=to(case, made, out)))
            case.same(got, {name: y[0] for name, y in want.items()}, f"{made} written over {given} in a step")


def to(case: Case, name: str, out: np.ndarray):
    return {name: out} if len(case.model.outputs) > 1 else out


def traced(case: Case, rng) -> None:
    """A trace is a loop of steps that looks at the states."""
    stream = case.some_model(rng).stream()
    trace, plain = stream.trace(case.one(case.X)), case.model.stream()
    for t in range(min(case.T, 5)):
        plain.step(case.one(case.cut(case.X, t)))
        case.same({n: trace[n][t] for n in plain.state}, {n: plain.state[n] for n in plain.state}, f"after frame {t}")
    case.same(dict(trace.outputs), {name: y[: case.T] for name, y in case.rows[0].items()}, "outputs of a trace")


def hard(case: Case, rng) -> None:
    """NaN, infinity, subnormal and huge numbers: the same bits by every way, a NaN being a NaN."""
    X = case.hard_frames(rng, case.T)
    if not case.model.streamable:
        Y, state = case.model.run_with_state(case.one(X))
        for model in case.models.values():
            of_c(case, model, X, case.named(Y), state)
        return
    rows, state = case.stream_rows(X)
    for isa in ISAS[1:]:
        got, reached = case.stream_rows(X, case.models[isa])
        case.same(got, rows, f"{isa}, not {ISAS[0]}")
        case.same_state(reached, state, isa)
    chunks(case, rng, X, rows, state)
    whole = {name: y[case.latency :] for name, y in rows.items()}
    Y, final = case.model.run_with_state(case.one(X))
    case.same(case.named(Y), whole, "Model.run")
    of_c(case, case.model, X, whole, final)
