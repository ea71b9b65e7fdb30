# SPDX-License-Identifier: MIT
"""A layer of each recurrence, from the weights of data/recurrences.npz."""

from pathlib import Path

import numpy as np

import undertow

GOLDEN = Path(__file__).parent / "data" / "recurrences.npz"

#: case -> the layer, from its weights by name
LAYERS = {
    "min_gru": undertow.MinGRU.from_torch,
    "min_lstm": undertow.MinLSTM.from_torch,
    "sru": undertow.SRU.from_torch,
    "qrnn": lambda w: undertow.QRNN.from_torch(w, window=2),
    "ind_rnn": undertow.IndRNN.from_torch,
    "lru": undertow.LRU.from_torch,
    "s4d": undertow.S4D.from_torch,
    "s5": undertow.S5.from_torch,
    "rg_lru": undertow.RGLRU.from_torch,
    "mamba": undertow.Mamba.from_torch,
    "mamba2": lambda w: undertow.Mamba2.from_torch(w, groups=2),
    "ret_net": lambda w: undertow.RetNet.from_torch(w, heads=2),
    "gla": lambda w: undertow.GLA.from_torch(w, heads=2),
    "delta_net": undertow.DeltaNet.from_torch,
    "gated_delta_net": undertow.GatedDeltaNet.from_torch,
    "rwkv4": undertow.RWKV4.from_torch,
    "rwkv6": undertow.RWKV6.from_torch,
    "rwkv7": undertow.RWKV7.from_torch,
    "s_lstm": lambda w: undertow.SLSTM(**w),
    "m_lstm": undertow.MLSTM.from_torch,
}


def golden():
    """Case -> (weights, x, y)."""
    with np.load(GOLDEN) as file:
        arrays = dict(file)
    cases = {}
    for name in LAYERS:
        start = f"{name}/w/"
        weights = {key[len(start) :]: a for key, a in arrays.items() if key.startswith(start)}
        cases[name] = (weights, arrays[f"{name}/x"], arrays[f"{name}/y"])
    assert {key.split("/")[0] for key in arrays} - {"made_by"} == set(LAYERS)
    return cases
