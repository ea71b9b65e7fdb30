# SPDX-License-Identifier: MIT
"""Laws of many streams, and of many threads for one: bits do not depend on company."""

import numpy as np

from law_case import Case
from random_cells import CELLS
from undertow.stream import Stream

#: streams in a pool: kernels take up to 12 rows at once, and a workspace up to 96
COMPANIES = (1, 2, 3, 7, 12, 13, 13, 25, 25, 100)
#: frames of all streams of a pool together, and of one at most
ALL_FRAMES, FRAMES = 300, 8


def pool(case: Case, rng) -> None:
    """Streams of a pool, at any age, in any order and company, on one thread or two, are as they are alone."""
    company(case, rng, case.frames)


def rewound(case: Case, rng) -> None:
    """Streams of a pool go back, each as far as it likes, to where they would be without those timesteps."""
    k, n = int(rng.choice([1, 3, 8])), int(rng.integers(1, 5))
    pool = case.some_model(rng).pool(n + 1, int(rng.integers(1, 3)), rewind=k)
    ids = pool.open(n)
    (twin,) = pool.open()
    for T in rng.integers(0, 2 * k + 1, size=4):
        X = case.frames(rng, n, int(T))
        before = [pool.snapshot(i) for i in ids]
        pool.run(ids, case.one(X))
        back = rng.integers(0, pool.kept(ids) + 1)
        pool.rewind(ids, back)
        for row, i in enumerate(ids):
            left = int(T) - int(back[row])
            if left >= 0:
                pool.restore(twin, before[row])
                cut = {name: x[row : row + 1, :left] for name, x in X.items()}
                pool.run([twin], case.one(case.cut(cut, slice(None))))
                case.same_state(pool.snapshot(i), pool.snapshot(twin), f"{back[row]} of {T} frames undone, of {k} kept")
    pool.shutdown()


def sick_pool(case: Case, rng) -> None:
    """The same where some streams are fed what is no number: it stays in them."""
    company(case, rng, lambda rng, *lead: (case.hard_frames if rng.random() < 0.5 else case.frames)(rng, *lead))


def company(case: Case, rng, frames) -> None:
    n, threads = int(rng.choice(COMPANIES)), int(rng.integers(1, 3))
    T = min(case.T, FRAMES, ALL_FRAMES // n)
    X = [frames(rng, T) for _ in range(n)]
    alone = [case.stream_rows(x) for x in X]
    model = case.some_model(rng)
    crowd, at = model.pool(n + 1, threads), np.zeros(n, int)
    ids, parts = crowd.open(n), [[] for _ in range(n)]
    what = f"a pool of {n}, {threads} threads, {model.isa}"

    def batch(chosen, pieces):
        return case.one({k: np.ascontiguousarray(np.stack([p[k] for p in pieces])) for k in X[0]}) if chosen else None

    def take(chosen, Y, axis):
        for row, i in enumerate(chosen):
            parts[i].append({k: y[row] if axis else y[row][None] for k, y in case.named(Y).items()})

    while (at < T).any():
        waiting = np.flatnonzero(at < T)
        chosen = list(rng.permutation(waiting)[: rng.integers(1, len(waiting) + 1)])
        who = ids[chosen]
        if rng.random() < 0.3:
            twin = crowd.fork(who[:1])
            crowd.step(twin, batch(chosen[:1], [case.cut(case.frames(rng, 1), 0)]))
            crowd.close(twin)
        if rng.random() < 0.3:
            crowd.propose(who, batch(chosen, [case.cut(case.frames(rng, 1), 0) for _ in chosen]))
            crowd.rollback(who)
        if rng.random() < 0.5:
            k = int(rng.integers(1, (T - at[chosen]).min() + 1))
            pieces = [case.cut(X[i], slice(at[i], at[i] + k)) for i in chosen]
            take(chosen, crowd.run(who, batch(chosen, pieces)), True)
        else:
            k, call = 1, crowd.propose if rng.random() < 0.4 else crowd.step
            out = case.empty(len(chosen)) if rng.random() < 0.5 else None
            Y = call(who, batch(chosen, [case.cut(X[i], at[i]) for i in chosen]), out=out and case.one(out))
            case.holds(
                out is None or all(y is out[k] for k, y in case.named(Y).items()), "out is not what is given back"
            )
            if call == crowd.propose:
                crowd.commit(who)
            take(chosen, Y, False)
        at[chosen] += k
    for i in range(n):
        case.same_state(crowd.snapshot(ids[i]), alone[i][1], f"stream {i} of {what}")
    order = list(rng.permutation(n))
    take(order, crowd.flush(ids[order]), True)
    for i in range(n):
        case.same(case.joined(parts[i]), alone[i][0], f"stream {i} of {what}")
    crowd.shutdown()


def abreast(case: Case, rng) -> None:
    """Whole sequences side by side, of any lengths, are as they are alone."""
    lengths = [int(n) for n in rng.integers(1, case.T + 1, rng.choice([4, 5, 13, 50]))]
    sequences = [case.frames(rng, n) for n in lengths]
    model, threads = case.some_model(rng), int(rng.integers(1, 3))
    many = model.run(
        {name: [x[name] for x in sequences] for name in model.inputs}
        if len(model.inputs) > 1
        else [next(iter(x.values())) for x in sequences],
        threads=threads,
    )
    for k, x in enumerate(sequences):
        got = {name: ys[k] for name, ys in case.named(many).items()}
        case.same(got, case.named(model.run(case.one(x))), f"sequence {k} of lengths {lengths}, {model.isa}")
    ordered = sorted(sequences, key=lambda x: -len(next(iter(x.values()))))
    rooms = [
        [np.empty(v.shape if v.once else (n, *v.shape), v.dtype) for v in model.outputs.values()]
        for n in sorted(lengths, reverse=True)
    ]
    side_by_side = model._core.run_sequences([list(x.values()) for x in ordered], sorted(lengths, reverse=True), rooms)
    case.notes["side by side" if side_by_side else "one by one"] += 1


def team(case: Case, rng) -> None:
    """Threads that share a stream give the bits of one."""
    threads, T = int(rng.integers(2, 4)), min(case.T, 16)
    model, X = case.some_model(rng), case.hard_frames(rng, T) if rng.random() < 0.3 else case.cut(case.X, slice(0, T))
    block = int(rng.choice([0, 1, model.block]))
    stream = Stream(model, block, threads, measure=False, least=0)
    if stream.threads == 1:
        case.holds(not any(is_shared(case, node) for node in case.lowered.nodes), "nothing is shared")
        return
    case.notes["teams"] += 1
    rows, state = case.stream_rows(X)
    n, parts = T // 2, []
    parts.append(case.named(stream.run(case.one(case.cut(X, slice(0, n))))))
    for t in range(n, min(n + 2, T)):
        stream.propose(case.one(case.cut(X, 0)))
        stream.rollback()
        parts.append({k: y[None] for k, y in case.named(stream.step(case.one(case.cut(X, t)))).items()})
    stream = stream.fork()
    case.holds(stream.threads == threads, "a fork has fewer threads")
    parts.append(case.named(stream.run(case.one(case.cut(X, slice(min(n + 2, T), T))))))
    what = f"{threads} threads, block {block}, {model.isa}"
    case.same_state(stream.snapshot(), state, what)
    case.same(case.joined([*parts, case.named(stream.flush())]), rows, what)


def is_shared(case: Case, node) -> bool:
    """Dense layers and ordinary cells are, unless a matrix is stored in blocks."""
    cell = node.op in CELLS and node.states and len(case.lowered.shape(node.inputs[0])) == 1
    return (node.op == "dense" or cell) and not any(p.startswith("sparse") for p in node.precisions.values())
