# SPDX-License-Identifier: MIT
"""Layers from arrays: what a model is made of when the file holds weights but no wiring.

>>> from undertow.layers import RNN, build_sequential
>>> import numpy as np
>>> build_sequential([RNN(np.eye(2), np.zeros((2, 2)))], "lesson")    # h = tanh(W_x x + W_h h)
Graph 'lesson'
  input   input  (2,) float32
  state   rnn_1.h  (2,)
  rnn_1  rnn  input -> rnn_1.h  (2,) float32
  output  output = rnn_1.h
"""

from .attention import Attention, TransformerBlock
from .averages import AttentionAverage, Average, LargestSoFar
from .base import Layer, Stack
from .bidirectional import Bidirectional
from .cell import Cell, scan
from .continuous import ESN, LIF, LMU, LTC, CfC
from .convolution import Conv1D
from .diagonal import QRNN, SRU, IndRNN, MinGRU, MinLSTM
from .feedforward import Activate, Dense, Embedding, LayerNorm, LogSoftmax, Residual, ScaleShift, Softmax
from .frames import BatchNorm, Flatten, FrameAveragePool, FrameConv1D, FrameConv2D, FrameMaxPool, Permute, Reshape
from .gated import ConvGRU, ConvLSTM, LayerNormLSTM
from .matrix_states import GLA, DeltaNet, GatedDeltaNet, RetNet
from .recurrent import GRU, LSTM, RNN
from .rwkv import RWKV4, RWKV6, RWKV7
from .selective import Mamba, Mamba2
from .sequential import Sequential, build_sequential
from .state_spaces import LRU, RGLRU, S4D, S5
from .xlstm import MLSTM, SLSTM

__all__ = [
    "ESN",
    "GLA",
    "GRU",
    "LIF",
    "LMU",
    "LRU",
    "LSTM",
    "LTC",
    "MLSTM",
    "QRNN",
    "RGLRU",
    "RNN",
    "RWKV4",
    "RWKV6",
    "RWKV7",
    "S4D",
    "S5",
    "SLSTM",
    "SRU",
    "Activate",
    "Attention",
    "AttentionAverage",
    "Average",
    "BatchNorm",
    "Bidirectional",
    "Cell",
    "CfC",
    "Conv1D",
    "ConvGRU",
    "ConvLSTM",
    "DeltaNet",
    "Dense",
    "Embedding",
    "Flatten",
    "FrameAveragePool",
    "FrameConv1D",
    "FrameConv2D",
    "FrameMaxPool",
    "GatedDeltaNet",
    "IndRNN",
    "LargestSoFar",
    "Layer",
    "LayerNorm",
    "LayerNormLSTM",
    "LogSoftmax",
    "Mamba",
    "Mamba2",
    "MinGRU",
    "MinLSTM",
    "Permute",
    "Reshape",
    "Residual",
    "RetNet",
    "ScaleShift",
    "Sequential",
    "Softmax",
    "Stack",
    "TransformerBlock",
    "build_sequential",
    "scan",
]
