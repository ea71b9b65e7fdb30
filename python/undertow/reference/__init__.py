# SPDX-License-Identifier: MIT
"""The slow truth: a float64 evaluator of a Graph, on the formulas that stand with its ops (`undertow.ir.ops`)."""

from ..ir.activations import activate
from .evaluate import Evaluation, evaluate, run, trace

__all__ = ["Evaluation", "activate", "evaluate", "run", "trace"]
