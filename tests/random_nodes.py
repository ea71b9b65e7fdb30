# SPDX-License-Identifier: MIT
"""Random nodes for `random_models`: each method of `Builder` adds one op, and whatever it needs, to a growing graph.

Graphs are valid by construction: shapes are made to fit, loops over a state do not look ahead, and nothing is tried
and taken back. A smooth graph has no ops that jump and none near the edge of its domain, so that its outputs are
known to some digits; any other has everything.
"""

from math import prod

import numpy as np

from programs import random_program
from undertow.ir.activations import KINDS, Activation
from undertow.ir.graph import Graph
from undertow.ir.ops import elementwise, frames
from undertow.ir.precision import CODES, SPARSE_CODES

#: widths at which panels, tiles and blocks begin and end
SIZES = (1, 15, 16, 17, 31, 32, 33, 64, 65, 127, 128, 129, 130)
PRECISIONS = (*CODES, *SPARSE_CODES)
BINARY, REDUCTIONS = tuple(elementwise.BINARY), tuple(frames.REDUCTIONS)
COMPARISONS = BINARY[6:]
#: activations that jump
JUMPS = ("thresholded_relu", "round", "floor", "ceil", "sign")
#: activations that are NaN or infinite somewhere -> where the input of a gate lies, so that it seldom is there
CENTRES = {"log": 2.5, "sqrt": 1.5, "reciprocal": 2.5, "exp": -1.0}
SMOOTH = tuple(kind for kind in KINDS if kind not in JUMPS and kind not in CENTRES)
#: activations whose results stay near 1 whatever they are given
TAME = ("tanh", "sigmoid", "softsign", "clip", "hard_sigmoid", "erf", "sin", "cos")
#: parameters away from the defaults
PARAMETERS = {
    "affine": (0.7, 0.1),
    "leaky_relu": (0.3,),
    "thresholded_relu": (0.2,),
    "scaled_tanh": (1.5, 0.7),
    "hard_sigmoid": (0.3, 0.4),
    "elu": (0.8, 1.2),
    "clip": (-0.7, 1.1),
}
PLACES = {"rnn": ("input",), "gru": ("gate", "candidate"), "lstm": ("gate", "cell", "output")}
#: elements of the largest frame
MOST = 300


class Builder:
    """A graph that grows. `pool` holds the float32 values that further nodes may take."""

    def __init__(self, seed: int, *, smooth: bool, precision: str, ahead: bool, whole: bool) -> None:
        self.seed, self.rng = seed, np.random.default_rng([seed, 1])
        self.smooth, self.precision, self.ahead, self.whole = smooth, precision, ahead, whole
        self.graph = Graph(f"random_{seed}")
        self.pool: list[str] = []
        self.looped: set[str] = set()  # values that depend on a state register: no window may look ahead of them
        self.registers: list[str] = []  # read, and to be written at the end

    # -- drawing ------------------------------------------------------------------------------------------------------

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def one_of(self, items):
        return items[int(self.rng.integers(len(items)))]

    def size(self, most: int = MOST) -> int:
        if self.chance(0.5):
            return self.one_of([n for n in SIZES if n <= most])
        return int(self.rng.integers(1, min(most, 24) + 1))

    def activation(self, kinds=None) -> Activation:
        kind = self.one_of(kinds or (SMOOTH if self.smooth else tuple(KINDS)))
        return Activation(kind, *(PARAMETERS.get(kind, ()) if self.chance(0.5) else ()))

    def precisions(self, keys) -> dict[str, str]:
        found = {}
        for key in keys:
            name = self.one_of(PRECISIONS) if self.precision == "mixed" else self.precision
            if name != "float32" and self.chance(0.9):
                found[key] = name.removeprefix("sparse ") if key == "table" else name
        return {key: name for key, name in found.items() if name != "float32"}

    def matrix(self, *shape: int, precision: str = "float32") -> np.ndarray:
        """Weights under which sums neither vanish nor explode; pruned in blocks where they are to be stored so."""
        W = self.rng.normal(size=shape) / np.sqrt(shape[-1])
        if not self.smooth and self.chance(0.15):
            W *= 10.0 ** self.rng.integers(-3, 2, (*shape[:-1], 1))
            W[..., 0, :] = 0
        if precision in SPARSE_CODES:
            rows, columns = shape[-2:]
            blocks = (*shape[:-2], -(-rows // 8), -(-columns // 4))
            kept = self.rng.random(blocks) < self.one_of((0, 0.15, 0.35, 0.7))
            kept = np.kron(kept, np.ones((8, 4), bool))[..., :rows, :columns]
            W = W * (kept | np.eye(rows, columns, dtype=bool) if self.chance(0.5) else kept)
        return W.astype(np.float32)

    def vector(self, *shape: int, centre: float = 0.0) -> np.ndarray:
        """Biases and the like; now and then, where anything may be, with what is no number or hardly one."""
        w = np.asarray(centre + 0.5 * self.rng.normal(size=shape), np.float32)
        if not self.smooth and self.chance(0.04):
            odd = self.one_of(((0.0, -0.0, 1e-40, -1e-45), (1e30, 1e-30, -3e38), (np.nan, np.inf, -np.inf)))
            w[self.rng.random(shape) < 0.2] = self.one_of(odd)
        return w

    # -- values -------------------------------------------------------------------------------------------------------

    def shape(self, value: str) -> tuple[int, ...]:
        return self.graph.shape(value)

    def n(self, value: str) -> int:
        return self.graph.values[value].size

    def add(self, op: str, inputs=(), **more):
        """A node; gives its first output. What it makes of looped values is looped."""
        made = self.graph.add(op, inputs, **more)
        outputs = made if isinstance(made, tuple) else () if made is None else (made,)
        if op == "state_read" or self.looped.intersection(inputs):
            self.looped.update(outputs)
        return outputs[0] if outputs else None

    def keep(self, value: str) -> str:
        self.pool.append(value)
        return value

    def pick(self, most: int = MOST) -> str:
        """A value of at most so many elements, more likely one that was made late."""
        able = [v for v in self.pool if self.n(v) <= most]
        if not able:
            return self.fit(self.pool[0], (most,))
        return able[-1 - min(int(self.rng.exponential(2.0)), len(able) - 1)]

    def flat(self, value: str) -> str:
        return self.fit(value, (self.n(value),))

    def fit(self, value: str, shape: tuple[int, ...]) -> str:
        """`value` in another shape: its elements, some of them, or a dense layer of them."""
        have, want = self.n(value), prod(shape)
        if self.shape(value) == shape:
            return value
        if have == want:
            return self.add("reshape", [value], attrs={"shape": shape})
        if self.chance(0.4):
            return self.fit(self.dense(self.flat(value), want), shape)
        return self.add("select", [value], weights={"indices": self.indices(have, want).reshape(shape)})

    def indices(self, have: int, want: int) -> np.ndarray:
        """Which elements a select takes: a piece, every so many, back to front, windows, or any."""
        kind = self.one_of(("piece", "stride", "back", "windows", "any"))
        if kind == "any":
            return self.rng.integers(0, have, want)
        if kind == "windows":
            return np.add.outer(np.arange(-(-want // 3)), np.arange(3)).reshape(-1)[:want] % have
        step = {"piece": 1, "stride": int(self.rng.integers(2, 5)), "back": -1}[kind]
        return (int(self.rng.integers(have)) + step * np.arange(want)) % have

    def tame(self, value: str) -> str:
        """`value` within a few units."""
        return self.add("activation", [value], attrs={"activation": self.activation(TAME)})

    def positive(self, value: str) -> str:
        """`value` above one half."""
        above = self.add("activation", [value], attrs={"activation": Activation("softplus")})
        return self.add("activation", [above], attrs={"activation": Activation("affine", 1.0, 0.5)})

    def often_tame(self, value: str) -> str:
        return self.tame(value) if self.smooth or self.chance(0.7) else value

    def gate(self) -> str:
        """A value (1,) that opens and shuts: of an input of zeros and ones, or where any jump may be, anything."""
        if self.smooth or self.chance(0.3):
            if "gate" not in self.graph.inputs:
                self.graph.input("gate", 1)
            return "gate"
        x = self.fit(self.pick(), (1,))
        if self.chance(0.6):
            other = self.add("constant", weights={"value": self.vector(1)})
            return self.add(self.one_of(COMPARISONS), [x, other])
        return self.add("activation", [x], attrs={"activation": self.activation(("relu", "reciprocal", "sign", "log"))})

    # -- frame ops ----------------------------------------------------------------------------------------------------

    def dense(self, x: str, n_out: int) -> str:
        precisions = self.precisions(["W"])
        W = self.matrix(n_out, self.shape(x)[-1], precision=precisions.get("W", "float32"))
        weights = {"W": W, **({"b": self.vector(n_out)} if self.chance(0.8) else {})}
        attrs = {"activation": self.activation() if self.chance(0.7) else Activation("identity")}
        return self.add("dense", [x], weights=weights, attrs=attrs, precisions=precisions)

    def op_dense(self) -> None:
        x = self.pick()
        if self.chance(0.4):
            x = self.fit(x, self.one_of(((2, self.size(65)), (7, self.size(33)), (16, 17), (49, 5))))
        elif not self.shape(x):
            x = self.fit(x, (1,))
        self.keep(self.often_tame(self.dense(x, self.size(33 if len(self.shape(x)) > 1 else MOST))))

    def op_depthwise(self) -> None:
        shape = (int(self.rng.integers(1, 13)), int(self.rng.integers(1, 6)), self.size(17))
        weights = {"W": self.vector(*shape[1:]), **({"b": self.vector(shape[2])} if self.chance(0.7) else {})}
        x = self.fit(self.pick(), shape)
        in_int16 = self.precision == "int16" or (self.precision != "float32" and self.chance(0.5))
        precisions = {"W": "int16"} if in_int16 and np.isfinite(weights["W"]).all() else {}
        attrs = {"activation": self.activation()}
        self.keep(self.add("depthwise", [x], weights=weights, attrs=attrs, precisions=precisions))

    def op_matmul(self) -> None:
        I, K, J = (self.one_of((1, 2, 3, 7, 16, 17)) for _ in range(3))
        lead = (2,) if self.chance(0.3) else ()
        pair = [self.fit(self.pick(), (*lead, *shape)) for shape in ((I, K), (K, J))]
        self.keep(self.often_tame(self.add("matmul", pair)))

    def op_attend(self) -> None:
        """Heads that share keys and values or do not, which lie in one value or in two."""
        shared, each = (self.one_of((1, 1, 2, 3)) for _ in range(2))
        rows, key_width, value_width = (self.one_of((1, 2, 3, 7, 16, 17)) for _ in range(3))
        heads, places, sources = shared * each, [], []
        for width in (key_width, value_width):
            between, by_row = int(self.rng.integers(0, 3)), self.chance(0.5)
            row, head = (shared * width + between, width) if by_row else (width, rows * width + between)
            offset = int(self.rng.integers(0, 4))
            places.append((offset, row, head))
            sources.append(offset + (rows - 1) * row + (shared - 1) * head + width)
        if self.chance(0.4):
            keys = values = self.fit(self.pick(), (max(sources),))
        else:
            keys, values = (self.fit(self.pick(), (size,)) for size in sources)
        inputs = [self.tame(self.fit(self.pick(), (heads, key_width))), self.tame(keys), values]
        if self.chance(0.5):
            inputs.append(self.tame(self.fit(self.pick(), self.one_of(((rows,), (heads, rows))))))
        attrs = {
            "heads": heads,
            "shared": shared,
            "rows": rows,
            "key_width": key_width,
            "value_width": value_width,
            "scale": self.one_of((1.0, 0.25, key_width**-0.5)),
            "cap": self.one_of((0.0, 0.0, 3.0)),
            "key_places": places[0],
            "value_places": places[1],
        }
        self.keep(self.often_tame(self.add("attend", inputs, attrs=attrs)))

    def op_activation(self, kind: str = "") -> None:
        kind = kind or self.one_of(tuple(k for k in KINDS if not self.smooth or k not in JUMPS))
        x = self.pick()
        if kind in CENTRES and (self.smooth or self.chance(0.6)):
            x = self.positive(x) if kind != "exp" else self.tame(x)
        y = self.add("activation", [x], attrs={"activation": self.activation((kind,))})
        self.keep(self.often_tame(y) if kind in CENTRES else y)

    def binary(self, op: str) -> None:
        a = self.pick()
        b = self.fit(self.pick(), self.shape(a))
        if op == "div" and (self.smooth or self.chance(0.6)):
            b = self.positive(b)
        y = self.add(op, [a, b])
        self.keep(self.often_tame(y) if op in ("mul", "div") else y)

    def op_where(self) -> None:
        a = self.pick()
        b = self.fit(self.pick(), self.shape(a))
        if self.smooth:
            mask = self.add("constant", weights={"value": self.rng.integers(0, 2, self.shape(a)).astype(np.float32)})
        else:
            mask = self.add(self.one_of(COMPARISONS), [a, b])
        self.keep(self.add("where", [mask, *(a, b)[:: self.one_of((1, -1))]]))

    def op_reduce(self) -> None:
        kind = self.one_of(REDUCTIONS)
        A, N, B = (self.one_of((1, 2, 3, 7, 16, 17, 33)) for _ in range(3))
        N, B = (min(N, 7) if kind == "prod" else N), min(B, MOST // (A * min(N, 17)) + 1)
        y = self.add("reduce", [self.fit(self.pick(), (A, N, B))], attrs={"kind": kind})
        self.keep(y if kind in ("max", "min") else self.often_tame(y))

    def op_affine(self) -> None:
        x = self.pick()
        weights = {"scale": self.vector(*self.shape(x), centre=1.0), "shift": self.vector(*self.shape(x))}
        self.keep(self.add("affine", [x], weights=weights))

    def in_rows(self, x: str) -> str:
        """`x`, perhaps in rows: softmax and layer norm go over the last axis."""
        rows = [r for r in (2, 3, 4, 5, 8) if self.n(x) % r == 0 and self.n(x) > r]
        if rows and self.chance(0.5):
            r = self.one_of(rows)
            return self.fit(x, (r, self.n(x) // r))
        return x if self.shape(x) else self.fit(x, (1,))

    def op_softmax(self) -> None:
        self.keep(self.add("softmax", [self.in_rows(self.pick())]))

    def op_log_softmax(self) -> None:
        self.keep(self.add("log_softmax", [self.in_rows(self.pick())]))

    def op_layer_norm(self) -> None:
        x = self.in_rows(self.pick())
        n = self.shape(x)[-1]
        both = {"scale": self.vector(n, centre=1.0), "shift": self.vector(n)}
        weights = {key: w for key, w in both.items() if self.chance(0.7)}
        self.keep(self.add("layer_norm", [x], weights=weights, attrs={"eps": self.one_of((1e-5, 1e-3, 0.1))}))

    def op_concat(self) -> None:
        parts = [self.pick(100) for _ in range(int(self.rng.integers(1, 4)))]
        self.keep(self.add("concat", parts))

    def op_select(self) -> None:
        parts = [self.pick() for _ in range(int(self.rng.integers(1, 4)))]
        want = self.size(130)
        indices = self.indices(sum(map(self.n, parts)), want)
        self.keep(self.add("select", parts, weights={"indices": indices.reshape(self.factors(want))}))

    def factors(self, n: int) -> tuple[int, ...]:
        shapes = [(n,), *((r, n // r) for r in (2, 3, 5) if n % r == 0), *(((2, 2, n // 4),) if n % 4 == 0 else ())]
        return self.one_of(shapes)

    def op_reshape(self) -> None:
        x = self.pick()
        self.keep(self.add("reshape", [x], attrs={"shape": self.factors(self.n(x)) if self.n(x) > 1 else ()}))

    def op_constant(self) -> None:
        self.keep(self.add("constant", weights={"value": self.vector(*self.factors(self.size(64)))}))

    def op_embedding(self) -> None:
        shape = self.one_of(((), (1,), (3,), (2, 2)))
        name = self.graph.unique_name("ids")
        ids = self.graph.input(name, shape, "int32")
        if self.chance(0.3):
            ids = self.add("reshape", [ids], attrs={"shape": (prod(shape),)})
        precisions = self.precisions(["table"])
        if not precisions and self.chance(0.5):  # one layer among many, which each precision shall meet
            precisions = {"table": self.one_of(("int16", "int8", "int4", "float16", "bfloat16"))}
        table = self.matrix(int(self.rng.integers(1, 40)), self.size(65))
        self.keep(self.add("embedding", [ids], weights={"table": table}, precisions=precisions))

    # -- time ---------------------------------------------------------------------------------------------------------

    def taps(self, first: int, last: int) -> tuple[int, ...]:
        n = int(self.rng.integers(1, min(4, last - first + 1) + 1))
        return tuple(sorted(int(t) for t in self.rng.choice(np.arange(first, last + 1), n, replace=False)))

    def op_window(self) -> None:
        """A window that looks back, or to both sides."""
        x, gate = self.pick(65), [self.gate()] if self.chance(0.25) else []
        far = self.chance(0.1) and self.n(x) <= 17
        if self.whole or (self.ahead and not self.looped.intersection([x, *gate])):
            taps = self.one_of(((-60, 55), (-3, 0, 50))) if far else self.taps(*self.one_of(((-4, 3), (0, 2), (1, 5))))
        else:
            taps = (-70, -1) if far else self.taps(*self.one_of(((-5, 0), (-3, -1), (0, 0))))
        self.looked(x, taps, gate)

    def looked(self, x: str, taps: tuple[int, ...], gate: list[str], states=()) -> None:
        y = self.add("window", [x, *gate], attrs={"taps": taps}, states=states)
        self.keep(y if self.n(y) <= MOST else self.fit(y, (self.size(65),)))

    def op_past(self) -> None:
        """A window with a state of its own, which only a model that does not look ahead can have."""
        if self.ahead:
            return self.op_window()
        x, span = self.pick(40), int(self.rng.integers(1, 6))
        name, shape = f"past{len(self.graph.states)}", (span, *self.shape(x))
        state = self.graph.state(f"{name}.past", shape, self.vector(*shape) if self.chance(0.5) else None)
        taps = (-span, *self.taps(1 - span, 0)) if self.chance(0.8) else (-span,)
        self.looked(x, taps, [self.gate()] if self.chance(0.3) else [], [state])

    def op_register(self) -> None:
        """A state that is read now, and written when the graph ends."""
        name, shape = f"held{len(self.graph.states)}", self.factors(self.size(65))
        state = self.graph.state(f"{name}.value", shape, self.vector(*shape) if self.chance(0.5) else None)
        self.registers.append(state)
        self.keep(self.add("state_read", states=[state]))

    def op_loop(self) -> None:
        """A state that is read and written at once: what lies between goes frame by frame, all else may need the whole
        sequence.
        """
        name, shape = f"loop{len(self.graph.states)}", self.factors(self.size(65))
        state = self.graph.state(f"{name}.value", shape, self.vector(*shape) if self.chance(0.5) else None)
        before, x = self.add("state_read", states=[state]), self.fit(self.pick(), shape)
        if self.chance(0.3):
            x = self.add("max", [x, before])
        mixed = self.add("add", [self.add("mul", [before, x]) if self.chance(0.5) else before, x])
        after = self.tame(self.fit(self.dense(self.flat(mixed), self.size(65)), shape) if self.chance(0.5) else mixed)
        self.add("state_write", [after, *([self.gate()] if self.chance(0.2) else [])], states=[state])
        self.keep(self.one_of((before, mixed, after)))

    def write_registers(self) -> None:
        for state in self.registers:
            if self.chance(0.9):
                value = self.tame(self.fit(self.pick(), self.graph.states[state].shape))
                self.add("state_write", [value, *([self.gate()] if self.chance(0.3) else [])], states=[state])
        if self.registers and self.chance(0.3):
            value = self.pick()
            state = self.graph.state("seen.value", self.shape(value))
            self.add("state_write", [value], states=[state])

    def op_expression(self) -> None:
        """A program over a space, with states of its own now and then."""
        xs = [self.pick(90) for _ in range(int(self.rng.integers(1, 4)))]
        n_states = int(self.rng.integers(0, 3)) if self.chance(0.5) else 0
        program, states, shapes = random_program(self.rng, [self.n(x) for x in xs], n_states, smooth=self.smooth)
        name = f"program{len(self.graph.states)}"
        names = [
            self.graph.state(f"{name}.s{i}", n, self.vector(n) if self.chance(0.5) else None)
            for i, n in enumerate(states)
        ]
        gate = [self.gate()] if names and self.chance(0.3) else []
        made = self.graph.add("expression", [*xs, *gate], attrs={"program": program, "shapes": shapes}, states=names)
        outputs = made if isinstance(made, tuple) else (made,)
        if self.looped.intersection([*xs, *gate]):
            self.looped.update(outputs)
        for y in outputs:
            self.keep(self.often_tame(y))

    def op_last(self) -> None:
        x = self.pick()
        attrs = {"reverse": self.whole and self.chance(0.4), "masked": self.chance(0.3)}
        self.keep(self.add("last", [x], attrs=attrs))

    def op_flip(self) -> None:
        self.keep(self.add("flip", [self.pick()]))
