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

from .averages import AttentionAverage, Average, LargestSoFar
from .base import Layer, Stack
from .bidirectional import Bidirectional
from .cell import Cell, scan
from .convolution import Conv1D
from .feedforward import Activate, Dense, Embedding, LayerNorm, LogSoftmax, Residual, ScaleShift, Softmax
from .frames import BatchNorm, Flatten, FrameAveragePool, FrameConv1D, FrameConv2D, FrameMaxPool, Permute, Reshape
from .recurrent import GRU, LSTM, RNN
from .sequential import Sequential, build_sequential

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activate",
    "AttentionAverage",
    "Average",
    "BatchNorm",
    "Bidirectional",
    "Cell",
    "Conv1D",
    "Dense",
    "Embedding",
    "Flatten",
    "FrameAveragePool",
    "FrameConv1D",
    "FrameConv2D",
    "FrameMaxPool",
    "LargestSoFar",
    "Layer",
    "LayerNorm",
    "LogSoftmax",
    "Permute",
    "Reshape",
    "Residual",
    "ScaleShift",
    "Sequential",
    "Softmax",
    "Stack",
    "build_sequential",
    "scan",
]
