# SPDX-License-Identifier: MIT
"""Random ONNX files of one Loop over time, in every form that exporters give to counters, picks, ends and results.

python tests/random_loops.py 0 500      tries these seeds, and says which are refused or wrong, and what they are
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import undertow
from onnx_files import BOOL, FLOAT, INT64, TensorProto, graph_of, helper, info, model_of, node, session_of
from tolerances import FLOAT32_MODEL

I, H = 3, 4
#: the length of files that fix it, and lengths that the others are tried with
FIXED, LENGTHS = 9, (1, 5, 23)
#: items of a batch that is open
ITEMS = 3
COUNTERS = {"int64": INT64, "int32": TensorProto.INT32}
LARGEST = np.int64(2**63 - 1)

PICKS = (
    "gather",
    "gather one",
    "slice",
    "from the end",
    "counting down",
    "counting from",
    "of a list",
    "of a list of ones",
)
CELLS = (
    "rnn", "gate", "decay", "largest", "two states", "branch", "inner loop",
    "branch by the round", "branch by a remainder", "branch by frames", "mean",
)  # fmt: skip
ENDS = ("always", "less", "less or equal", "greater", "not at the end", "own")
RESULTS = ("rows", "two rows", "final", "list", "list from the front", "joined", "joined from the front")


def sequence(name: str) -> Any:
    """A list of tensors."""
    return helper.make_value_info(name, helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None)))


@dataclass
class RandomLoop:
    """One file: `model` of a loop that `kind` describes."""

    seed: int
    kind: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    before: list[Any] = field(default_factory=list)
    body: list[Any] = field(default_factory=list)
    behind: list[Any] = field(default_factory=list)
    #: of what is carried: what it starts with, how it is called in a round, and behind it
    carried: list[tuple[str, Any, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.batch_first = self.choose("batch first", (False, True))
        self.open_batch = self.choose("open batch", (False, False, True))
        self.fixed = self.choose("fixed", (False, False, False, True))
        moved = self.batch_first and self.choose("transposed", (False, True))
        self.x, self.axis = ("x_t" if moved else "x"), int(self.batch_first and not moved)
        if moved:
            self.before.append(node("Transpose", "x", "x_t", perm=[1, 0, 2]))
        self.model = self.made()

    def choose(self, what: str, among: tuple[Any, ...]) -> Any:
        self.kind[what] = among[self.rng.integers(len(among))]
        return self.kind[what]

    def const(self, name: str, array: Any) -> str:
        self.weights[name] = np.asarray(array)
        return name

    def random(self, name: str, *shape: int) -> str:
        return self.const(name, (self.rng.standard_normal(shape) / 2).astype(np.float32))

    def carry(self, start: str, name: str, after: str, kind: int | None = FLOAT) -> None:
        made = sequence if kind is None else lambda n: info(n, [] if kind != FLOAT else None, kind)
        self.carried.append((start, made(name), made(after)))

    # -- the parts ------------------------------------------------------------------------------------------------

    def made(self) -> Any:
        self.const("zeros", np.array([0])), self.const("one", np.int64(1)), self.const("axis", np.array([self.axis]))
        self.length()
        self.number()
        self.pick()
        self.cell()
        end = self.end()
        rows = self.result()
        trips = "count" if self.kind["end"] == "always" else self.choose("trips", ("count", "largest", ""))
        going = self.choose("going", ("", "true"))
        self.const("true", np.array(True)), self.const("largest", LARGEST)
        inputs = [info("i", [], INT64), info("on", [], BOOL), *(inside for _, inside, _ in self.carried)]
        outputs = [info(end, [], BOOL), *(after for _, _, after in self.carried), *map(info, rows)]
        body = graph_of(self.body, inputs, outputs)
        results = [f"end_{after.name}" for _, _, after in self.carried] + [f"all_{row}" for row in rows]
        starts = [start for start, _, _ in self.carried]
        loop = helper.make_node("Loop", [trips, going, *starts], results, name="loop", body=body)
        sizes: list[Any] = [FIXED if self.fixed else "T", "N" if self.open_batch else 1]
        x = {"x": [*(sizes[::-1] if self.batch_first else sizes), I]}
        names = [name for one in self.behind for name in one.output if name.startswith("y")]
        return model_of([*self.before, loop, *self.behind], x, names, self.weights)

    def length(self) -> None:
        how = self.choose("length", ("gather", "slice", "shape", "of a list"))
        if how == "of a list":
            split = node("SplitToSequence", self.x, "frames", axis=self.axis, keepdims=0)
            self.before += [split, node("SequenceLength", "frames", "count")]
            return
        shape = node("Shape", self.x, "shape")
        self.before += {
            "gather": [shape, node("Gather", f"shape {self.const('at', np.int64(self.axis))}", "count")],
            "slice": [
                shape,
                node("Slice", f"shape axis {self.const('behind_axis', np.array([self.axis + 1]))} zeros", "sizes"),
                node("Squeeze", "sizes zeros", "count"),
            ],
            "shape": [
                node("Shape", self.x, "sizes", start=self.axis, end=self.axis + 1),
                node("Squeeze", "sizes zeros", "count"),
            ],
        }[how]

    def number(self) -> None:
        """A counter of the file's own, or the number of the round; `next`: it, behind the round."""
        counter = self.choose("counter", ("round", *COUNTERS))
        self.counter = counter if counter != "round" else "int64"
        if counter == "round":
            self.index = "i"
            self.body.append(node("Add", "i one", "next"))
            return
        self.index = "n"
        self.carry(self.const("n_0", np.dtype(counter).type(0)), "n", "next", COUNTERS[counter])
        self.body.append(node("Add", f"n {self.const('n_1', np.dtype(counter).type(1))}", "next"))

    def pick(self) -> None:
        """The frame of a round, `now`."""
        how, x, axis = self.choose("pick", PICKS), self.x, self.axis
        wide = node("Cast", self.index, "wide", to=INT64)
        if how == "gather":
            self.body.append(node("Gather", f"{x} {self.index}", "now", axis=axis))
        elif how == "gather one":
            self.body.append(node("Unsqueeze", f"{self.index} zeros", "places"))
            self.body.append(node("Gather", f"{x} places", "kept", axis=axis))
            self.body.append(node("Squeeze", "kept axis", "now"))
        elif how == "slice":
            self.body += [wide, node("Unsqueeze", "wide zeros", "from"), node("Add", "from one", "to")]
            self.body += [node("Slice", f"{x} from to axis", "kept"), node("Squeeze", "kept axis", "now")]
        elif how == "from the end":
            self.body += [wide, node("Sub", "count one", "last"), node("Sub", "last wide", "place")]
            self.body.append(node("Gather", f"{x} place", "now", axis=axis))
        elif how == "counting down":
            self.before.append(node("Sub", "count one", "down_0"))
            self.carry("down_0", "down", "down_next", INT64)
            self.body += [node("Sub", "down one", "down_next"), node("Gather", f"{x} down", "now", axis=axis)]
        elif how == "counting from":
            first = self.const("up_0", np.int64(self.rng.integers(1, 5)))
            self.carry(first, "up", "up_next", INT64)
            self.body += [node("Add", "up one", "up_next"), node("Sub", f"up {first}", "place")]
            self.body.append(node("Gather", f"{x} place", "now", axis=axis))
        else:
            sizes = self.const("ones", np.int64(1)) if how == "of a list of ones" else ""
            self.before.append(node("SplitToSequence", f"{x} {sizes}", "parts", axis=axis, keepdims=0))
            self.body.append(node("SequenceAt", f"parts {self.index}", "now"))

    def cell(self) -> None:
        """h of a round, from `now` and h of the one before."""
        kind = self.choose("cell", CELLS)
        if self.open_batch:
            at = int(self.axis == 0)
            sizes = node("Concat", f"items {self.const('units', np.array([H]))}", "state", axis=0)
            self.before += [node("Shape", self.x, "items", start=at, end=at + 1), sizes]
            self.before.append(node("ConstantOfShape", "state", "h_0"))
        else:
            self.random("h_0", 1, H)
        self.carry("h_0", "h", "h_next")
        if kind == "branch by frames" and self.open_batch:
            kind = self.kind["cell"] = "rnn"  # which of its items would decide?
        self.random("W", I, H), self.random("R", H, H)
        if kind in ("branch by the round", "branch by a remainder", "mean"):
            self.body.append(node("Identity", self.index, "number"))
        if kind == "branch by a remainder":
            by = int(self.rng.integers(1, 5))
            for name, n in (("ahead", self.rng.integers(0, 7)), ("divisor", by), ("remainder", self.rng.integers(by))):
                self.const(name, self.whole(n))
        self.body += [node("MatMul", "now W", "a"), node("MatMul", "h R", "b"), node("Add", "a b", "s")]
        self.body += {
            "rnn": [node("Tanh", "s", "h_next")],
            "gate": [
                node("Sigmoid", "a", "z"),
                node("Tanh", "s", "candidate"),
                node("Sub", "candidate h", "more"),
                node("Mul", "z more", "gated"),
                node("Add", "h gated", "h_next"),
            ],
            "decay": [node("Mul", f"h {self.random('decay', H)}", "less"), node("Add", "less a", "h_next")],
            "largest": [node("Max", "h a", "h_next")],
            "two states": [
                node("Sigmoid", "s", "forget"),
                node("Mul", "forget c", "kept_c"),
                node("Add", "kept_c a", "c_next"),
                node("Tanh", "c_next", "h_next"),
            ],
            "branch": [self.branch(self.const("yes", np.array(bool(self.rng.integers(2)))))],
            "inner loop": [self.inner()],
            "branch by the round": [*self.by_round("number"), self.branch("picks")],
            "branch by a remainder": [
                node("Add", "number ahead", "sum_of_rounds"),
                node("Mod", "sum_of_rounds divisor", "rest"),
                node("Equal", "rest remainder", "picks"),
                self.branch("picks"),
            ],
            "branch by frames": [
                node("ReduceMean", "now", "level", keepdims=0),
                node("Less", f"level {self.const('quiet', np.float32(0))}", "picks"),
                self.branch("picks"),
            ],
            "mean": [
                node("Cast", "number", "rounds", to=FLOAT),
                node("Add", f"rounds {self.const('one_f', np.float32(self.rng.choice([1, 1.5])))}", "n_f"),
                node("Sub", "a h", "off"),
                node("Div", "off n_f", "off_mean"),
                node("Add", "h off_mean", "h_next"),
            ],
        }[kind]
        if kind == "two states":
            self.carry("h_0", "c", "c_next")

    def branch(self, picks: str) -> Any:
        then, other = (graph_of([node(op, "s", op)], [], [op]) for op in ("Tanh", "Relu"))
        return helper.make_node("If", [picks], ["h_next"], then_branch=then, else_branch=other)

    def by_round(self, number: str) -> list[Any]:
        op = self.choose("compared", ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"))
        return [node(op, f"{number} {self.const('bound', self.whole(self.rng.integers(0, 4)))}", "picks")]

    def whole(self, n: Any) -> Any:
        return np.dtype(self.counter).type(n)

    def inner(self) -> Any:
        """A few rounds that are no timesteps."""
        nodes = [node("MatMul", "g R", "g_r"), node("Tanh", "g_r", "g_next"), node("Identity", "inner_on", "on_still")]
        inputs = [info("j", [], INT64), info("inner_on", [], BOOL), info("g")]
        body = graph_of(nodes, inputs, [info("on_still", [], BOOL), "g_next"])
        few = self.const("few", np.int64(self.rng.integers(1, 4)))
        return helper.make_node("Loop", [few, self.const("yes", np.array(True)), "s"], ["h_next"], body=body)

    def end(self) -> str:
        """The condition of a round: whether there is another."""
        how = self.choose("end", ENDS)
        own = {"counting down": ["GreaterOrEqual", "down_next least"], "counting from": ["Less", "up_next most"]}
        if how == "own" and self.kind["pick"] not in own:
            how = self.kind["end"] = "less"
        if how == "always":
            self.body.append(node("Identity", "on", "still"))
        elif how == "own":
            self.const("least", np.int64(0))
            if self.kind["pick"] == "counting from":
                self.before.append(node("Add", "count up_0", "most"))
            op, inputs = own[self.kind["pick"]]
            self.body.append(node(op, inputs, "still"))
        else:
            kind = self.choose("compared as", (COUNTERS[self.counter], FLOAT))
            self.body += [node("Cast", "next", "there", to=kind), node("Cast", "count", "limit", to=kind)]
            one = self.const("unit", np.ones((), helper.tensor_dtype_to_np_dtype(kind)))
            self.body += {
                "less": [node("Less", "there limit", "still")],
                "less or equal": [node("Add", f"there {one}", "after"), node("LessOrEqual", "after limit", "still")],
                "greater": [node("Greater", "limit there", "still")],
                "not at the end": [node("GreaterOrEqual", "there limit", "ended"), node("Not", "ended", "still")],
            }[how]
        return "still"

    def result(self) -> list[str]:
        """What the file gives; the names of what the loop collects."""
        how, rows = self.choose("result", RESULTS), []
        front = how.endswith("front")
        if how in ("rows", "two rows"):
            rows = ["row", "other"][: 1 + (how == "two rows")]
            self.body += [node("Identity", "h_next", "row"), node("Relu", "a", "other")][: len(rows)]
            perm = [1, 0, 2] if self.batch_first else [0, 1, 2]
            self.behind += [node("Transpose", f"all_{row}", f"y_{row}", perm=perm) for row in rows]
        elif how == "final":
            self.behind.append(node("Identity", "end_h_next", "y"))
        elif how.startswith("list"):
            self.before.append(node("SequenceEmpty", "", "none"))
            del self.before[-1].input[:]
            self.carry("none", "list", "list_next", None)
            place = f" {self.const('place_0', np.int64(0))}" if front else ""
            self.body.append(node("SequenceInsert", f"list h_next{place}", "list_next"))
            stacked = node("ConcatFromSequence", "end_list_next", "y", axis=0, new_axis=1)
            last = node("SequenceAt", f"end_list_next {self.const('last_0', np.int64(-1))}", "y")
            self.behind.append((stacked, last)[self.choose("last of the list", (False, True))])
        else:
            if self.open_batch:
                self.before += [
                    node("Concat", "zeros state", "empty", axis=0),
                    node("ConstantOfShape", "empty", "none"),
                ]
            else:
                self.const("none", np.zeros((0, 1, H), np.float32))
            self.carry("none", "so_far", "so_far_next")
            self.body.append(node("Unsqueeze", "h_next zeros", "part"))
            self.body.append(node("Concat", "part so_far" if front else "so_far part", "so_far_next", axis=0))
            self.behind.append(node("Identity", "end_so_far_next", "y"))
        return rows

    # -- judged ---------------------------------------------------------------------------------------------------

    def check(self) -> undertow.Model:
        """Load the file, and hold every item of a batch, at other lengths, against ONNX Runtime.

        Raises:
            Error: it is refused. AssertionError: it gives other numbers.
        """
        model, session = undertow.load(self.model.SerializeToString()), session_of(self.model)
        items = ITEMS if self.open_batch else 1
        for length in (FIXED,) if self.fixed else LENGTHS:
            X = self.rng.standard_normal((items, length, I)).astype(np.float32)
            feed = X if self.batch_first else X.swapaxes(0, 1)
            expected = session.run(None, {"x": np.ascontiguousarray(feed)})
            for item, x in enumerate(X):
                made = model.run(x)
                found = list(made.values()) if isinstance(made, dict) else [made]
                assert len(found) == len(expected)
                for array, whole in zip(found, expected, strict=True):
                    mine = [axis for axis, n in enumerate(whole.shape[:-1]) if n == items and items > 1]
                    want = whole.take(item, mine[0]) if mine else whole
                    last = array if array.size == want.size else array[-1]
                    np.testing.assert_allclose(last.ravel(), want.ravel(), atol=FLOAT32_MODEL, rtol=FLOAT32_MODEL)
        return model


def main() -> None:
    first, end = (int(number) for number in sys.argv[1:3])
    for seed in range(first, end):
        loop = RandomLoop(seed)
        try:
            loop.check()
        except (undertow.Error, AssertionError) as error:
            print(seed, loop.kind, f"{type(error).__name__}: {error}"[:300], sep="\n    ")


if __name__ == "__main__":
    main()
