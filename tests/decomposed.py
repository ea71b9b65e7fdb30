# SPDX-License-Identifier: MIT
"""Cells of ONNX models that were taken apart into plain nodes, and the comparison that test_structure_*.py share."""

from __future__ import annotations

import numpy as np

from onnx_files import node, peer, random
from tolerances import FLOAT32_PEER
from undertow import reference
from undertow.importers.onnx import load

#: timesteps, batch, inputs, units
T, N, I, H = 9, 1, 5, 4


def gates(names, width=H, hidden="h"):
    """Pre-activations x W_k + h R_k + b_k, called p_k."""
    made = []
    for k in names:
        made += [
            node("MatMul", f"x W_{k}", f"xw_{k}"),
            node("MatMul", f"{hidden} R_{k}", f"hr_{k}"),
            node("Add", f"xw_{k} hr_{k}", f"s_{k}"),
            node("Add", f"s_{k} b_{k}", f"p_{k}"),
        ]
    return made


def gate_weights(rng, names, hidden=H, fed_back=None):
    return {
        key: value
        for k in names
        for key, value in (
            (f"W_{k}", random(rng, I, hidden) * 0.5),
            (f"R_{k}", random(rng, fed_back or hidden, hidden) * 0.5),
            (f"b_{k}", random(rng, hidden)),
        )
    }


LSTM_END = [
    node("Mul", "f c", "fc"),
    node("Mul", "i g", "ig"),
    node("Add", "fc ig", "c_next"),
    node("Tanh", "c_next", "t"),
    node("Mul", "o t", "h_next"),
]


def lstm_body(rng, extra=()):
    acts = [node("Sigmoid" if k != "g" else "Tanh", f"p_{k}", k) for k in "ifgo"]
    return [*gates("ifgo"), *extra, *acts, *LSTM_END], gate_weights(rng, "ifgo"), ["h", "c"]


def peephole_body(rng):
    nodes, weights, states = lstm_body(rng)
    for k, cell in (("i", "c"), ("f", "c"), ("o", "c_next")):
        weights[f"P_{k}"] = random(rng, H)
        at = next(j for j, n in enumerate(nodes) if n.output[0] == k)
        gate = nodes.pop(at)
        gate.input[0] = f"pp_{k}"
        after = [node("Mul", f"{cell} P_{k}", f"cp_{k}"), node("Add", f"p_{k} cp_{k}", f"pp_{k}"), gate]
        place = at if k != "o" else next(j for j, n in enumerate(nodes) if n.output[0] == "c_next") + 1
        nodes[place:place] = after
    return nodes, weights, states


def coupled_body(rng):
    nodes, weights, states = lstm_body(rng)
    nodes = [n for n in nodes if not set(n.output) & {"f", "p_f", "s_f", "xw_f", "hr_f"}]
    at = next(j for j, n in enumerate(nodes) if n.output[0] == "fc")
    nodes.insert(at, node("Sub", "one i", "f"))
    weights = {k: w for k, w in weights.items() if not k.endswith("_f")} | {"one": np.float32(1)}
    return nodes, weights, states


def combined(a, b):
    """h_next = (1 - z) a + z b."""
    return [
        node("Sub", "one z", "y"),
        node("Mul", f"y {a}", "ya"),
        node("Mul", f"z {b}", "zb"),
        node("Add", "ya zb", "h_next"),
    ]


def gru_body(rng, after, form):
    weights = gate_weights(rng, "zrn")
    nodes = [*gates("zr"), node("Sigmoid", "p_z", "z"), node("Sigmoid", "p_r", "r"), node("MatMul", "x W_n", "xw_n")]
    if after:
        weights["rb"] = random(rng, H)
        nodes += [node("MatMul", "h R_n", "hr_n"), node("Add", "hr_n rb", "u"), node("Mul", "r u", "ru")]
    else:
        nodes += [node("Mul", "h r", "rh"), node("MatMul", "rh R_n", "ru")]
    nodes += [node("Add", "ru xw_n", "s_n"), node("Add", "s_n b_n", "p_n"), node("Tanh", "p_n", "n")]
    nodes += {
        "onnx": [*combined("n", "h")],
        "torch": [node("Sub", "h n", "d"), node("Mul", "d z", "dz"), node("Add", "dz n", "h_next")],
        "flipped": [*combined("h", "n")],
    }[form]
    return nodes, weights | {"one": np.float32(1)}, ["h"]


def rnn_body(rng):
    return [*gates("a"), node("Tanh", "p_a", "h_next")], gate_weights(rng, "a"), ["h"]


def min_gru_body(rng):
    """h' = (1 - z) h + z n with gates that do not see h."""
    nodes = [node("MatMul", "x W_z", "p_z"), node("Sigmoid", "p_z", "z"), node("MatMul", "x W_n", "n")]
    nodes += [node("Sub", "n h", "d"), node("Mul", "z d", "zd"), node("Add", "h zd", "h_next")]
    return nodes, {k: w for k, w in gate_weights(rng, "zn").items() if k[0] == "W"}, ["h"]


def sru_body(rng):
    """c' = f c + (1 - f) u, h = r c' + (1 - r) x W."""
    weights = {k: w for k, w in gate_weights(rng, "ufr").items() if k[0] == "W"}
    weights |= {"v_f": random(rng, H), "one": np.float32(1)}
    nodes = [node("MatMul", f"x W_{k}", f"p_{k}") for k in "ufr"]
    nodes += [
        node("Mul", "v_f c", "vc"),
        node("Add", "p_f vc", "q_f"),
        node("Sigmoid", "q_f", "f"),
        node("Sigmoid", "p_r", "r"),
    ]
    nodes += [
        node("Mul", "f c", "fc"),
        node("Sub", "one f", "nf"),
        node("Mul", "nf p_u", "fu"),
        node("Add", "fc fu", "c_next"),
    ]
    nodes += [
        node("Mul", "r c_next", "rc"),
        node("Sub", "one r", "nr"),
        node("Mul", "nr p_u", "ru"),
        node("Add", "rc ru", "h_next"),
    ]
    return nodes, weights, ["h", "c"]


def ind_rnn_body(rng):
    """h' = relu(x W + r * h): units that do not see each other."""
    nodes = [
        node("MatMul", "x W_a", "xw"),
        node("Mul", "h r", "rh"),
        node("Add", "xw rh", "p"),
        node("Relu", "p", "h_next"),
    ]
    return nodes, {"W_a": random(rng, I, H), "r": random(rng, H) * 0.3}, ["h"]


def clamped_body(rng):
    """An LSTM whose c is clipped, which no cell does."""
    nodes, weights, states = lstm_body(rng)
    at = next(j for j, n in enumerate(nodes) if n.output[0] == "c_next")
    nodes[at] = node("Add", "fc ig", "c_free")
    nodes.insert(at + 1, node("Clip", "c_free low high", "c_next"))
    return nodes, weights | {"low": np.float32(-0.3), "high": np.float32(0.3)}, states


def altered(body, nodes, **weights):
    """A body with other nodes in place of some; `nodes`: output -> what stands where it is made."""
    old, held, states = body
    return [new for n in old for new in nodes.get(n.output[0], [n])], held | weights, states


def hard(gate):
    """HardSigmoid, for which 1 - s(x) is not s(-x)."""
    return {gate: [node("HardSigmoid", f"p_{gate}", gate, alpha=0.3, beta=0.4)]}


#: no cell computes these, though all but one node of each is a cell's
NEARLY = {
    "lstm_hard_output": lambda rng: altered(lstm_body(rng), hard("o")),
    "lstm_candidate_sees_c": lambda rng: altered(
        lstm_body(rng),
        {"g": [node("Mul", "c P", "cp"), node("Add", "p_g cp", "q_g"), node("Tanh", "q_g", "g")]},
        P=random(rng, H),
    ),
    "lstm_full_peephole": lambda rng: altered(
        lstm_body(rng),
        {"i": [node("MatMul", "c V", "cv"), node("Add", "p_i cv", "q_i"), node("Sigmoid", "q_i", "i")]},
        V=random(rng, H, H),
    ),
    "lstm_doubled": lambda rng: altered(
        lstm_body(rng), {"h_next": [node("Mul", "o t", "ot"), node("Mul", "ot two", "h_next")]}, two=np.float32(2)
    ),
    "lstm_forgets_apart": lambda rng: altered(
        lstm_body(rng), {"fc": [node("Mul", "f c", "gone"), node("Sub", "c gone", "fc")]}
    ),
    "lstm_output_sees_tanh": lambda rng: altered(
        lstm_body(rng),
        {
            "o": [],
            "h_next": [
                node("MatMul", "t V", "tv"),
                node("Add", "p_o tv", "q_o"),
                node("Sigmoid", "q_o", "o"),
                node("Mul", "o t", "h_next"),
            ],
        },
        V=random(rng, H, H),
    ),
    "gru_hard_flipped": lambda rng: altered(gru_body(rng, False, "flipped"), hard("z") | hard("r")),
    "gru_hard_reset": lambda rng: altered(gru_body(rng, True, "onnx"), hard("r")),
    "gru_state_beside_reset": lambda rng: altered(
        gru_body(rng, False, "onnx"),
        {"s_n": [node("MatMul", "h U", "hu"), node("Add", "ru hu", "rhu"), node("Add", "rhu xw_n", "s_n")]},
        U=random(rng, H, H),
    ),
}

BODIES = {
    "lstm": (lstm_body, "lstm"),
    "lstm_peephole": (peephole_body, "lstm"),
    "lstm_coupled": (coupled_body, "lstm"),
    **{
        f"gru_{'after' if after else 'before'}_{form}": (lambda rng, a=after, f=form: gru_body(rng, a, f), "gru")
        for after in (False, True)
        for form in ("onnx", "torch", "flipped")
    },
    "rnn": (rnn_body, "rnn"),
    "min_gru": (min_gru_body, None),
    "sru": (sru_body, None),
    "ind_rnn": (ind_rnn_body, None),
    "clamped": (clamped_body, None),
    **{name: (body, None) for name, body in NEARLY.items()},
}


def sequence_agrees(path, X, output="Y", batch_axis=1, **options):
    """The Graph of a file against ONNX Runtime, one item of the batch after the other."""
    graph = load(path, **options)
    expected = peer(path, {"X": X})[output]
    for n in range(X.shape[batch_axis]):
        made = reference.run(graph, X.take(n, batch_axis))
        np.testing.assert_allclose(made, expected.take(n, batch_axis), rtol=0, atol=FLOAT32_PEER)
    return graph


def ops(graph):
    return [n.op for n in graph.nodes]
