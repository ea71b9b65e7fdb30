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
    "cfc": undertow.CfC.from_torch,
    "ltc": undertow.LTC.from_torch,
    "lmu": undertow.LMU.from_torch,
    "esn": lambda w: undertow.ESN(**w, lr=0.3),
    "lif": undertow.LIF.from_torch,
    "conv_lstm": lambda w: undertow.ConvLSTM.from_torch(w, size=(4, 5)),
    "conv_gru": lambda w: undertow.ConvGRU.from_torch(w, size=(4, 5)),
    "layer_norm_lstm": undertow.LayerNormLSTM.from_torch,
    "bounded_lstm": lambda w: undertow.LSTM(
        w["weight_ih_l0"],
        w["weight_hh_l0"],
        w["bias_ih_l0"],
        recurrent_bias=w["bias_hh_l0"],
        projection=w["weight_hr_l0"],
        cell_clip=0.5,
        proj_clip=0.4,
    ),
    "attention": lambda w: undertow.Attention.from_torch(w, heads=2, window=4),
    "additive_attention": lambda w: undertow.Attention(**w, window=4),
    "transformer_block": lambda w: undertow.TransformerBlock.from_torch(w, heads=2, window=4),
    "transformer_block_norm_first": lambda w: undertow.TransformerBlock.from_torch(
        w, heads=2, window=4, norm_first=True, activation="gelu"
    ),
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
