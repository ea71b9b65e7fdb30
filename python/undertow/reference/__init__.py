# SPDX-License-Identifier: MIT
"""The slow truth: a float64 evaluator of a Graph, on formulas written to be read."""

from ..ir.activations import activate
from .evaluate import Evaluation, evaluate, run, trace

__all__ = ["Evaluation", "activate", "evaluate", "run", "trace"]
