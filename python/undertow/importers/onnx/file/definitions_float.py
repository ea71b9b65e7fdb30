# SPDX-License-Identifier: MIT
"""What the operators of ONNX Runtime's optimiser compute, each said in ONNX's."""

from __future__ import annotations

from typing import Any

import numpy as np

from .definitions import Parts

_CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
#: activation of a fused operator -> the attributes of ONNX's that its numbers are, in order, with their defaults
_ACTIVATIONS: dict[str, dict[str, float | None]] = {
    "Relu": {},
    "Tanh": {},
    "Sigmoid": {},
    "Softplus": {},
    "Softsign": {},
    "LeakyRelu": {"alpha": 0.01},
    "Elu": {"alpha": 1.0},
    "ThresholdedRelu": {"alpha": 1.0},
    "Selu": {"alpha": 1.6732632, "gamma": 1.050701},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Clip": {"min": None, "max": None},
}


def _activated(parts: Parts, x: str, kind: str, numbers: list[float]) -> None:
    """The result: an activation of x."""
    if kind not in _ACTIVATIONS:
        parts.node.unsupported(
            f"attribute activation={kind!r} is not supported; supported: {', '.join(sorted(_ACTIVATIONS))}"
        )
    names, result = _ACTIVATIONS[kind], parts.node.outputs[0]
    if len(numbers) > len(names):
        parts.node.unsupported(f"activation {kind} has the numbers {numbers}, expected {len(names)} at most")
    settings = {**names, **dict(zip(names, map(float, numbers), strict=False))}
    if kind == "Clip":
        bounds = [parts.constant(np.float32(b)) for b in settings.values() if b is not None]
        if len(bounds) != 2:
            parts.node.unsupported(f"activation Clip has the numbers {numbers}, expected a smallest and a largest")
        parts.add("Clip", x, *bounds, gives=result)
    else:
        parts.add(kind, x, gives=result, **settings)


def convolution(parts: Parts) -> None:
    """activation(Conv(x) + z)"""
    parts.node.allow(*_CONV, "activation", "activation_params")
    attrs = parts.node.attrs
    given = parts.given[: 3 if parts.slot(2) else 2]
    x = parts.add("Conv", *given, **parts.settings(*_CONV))
    if parts.slot(3):
        x = parts.add("Add", x, parts.slot(3))
    if "activation" in attrs:
        _activated(parts, x, attrs["activation"], attrs.get("activation_params", []))
    else:
        parts.add("Identity", x, gives=parts.node.outputs[0])


def gemm(parts: Parts) -> None:
    """activation(Gemm(A, B, C))"""
    numbers = [f"activation_{name}" for name in ("alpha", "beta", "gamma")]
    own = ("alpha", "beta", "transA", "transB")
    parts.node.allow(*own, "activation", *numbers)
    attrs = parts.node.attrs
    product = parts.add("Gemm", *parts.given, **parts.settings(*own))
    kind = attrs.get("activation", "")
    names = [f"activation_{name}" for name in _ACTIVATIONS.get(kind, {})]
    if unknown := sorted(set(numbers) & attrs.keys() - set(names)):
        parts.node.unsupported(f"attribute {unknown[0]}={attrs[unknown[0]]} is not one of activation {kind!r}")
    if kind == "Clip":
        parts.node.unsupported("attribute activation='Clip' is not supported")
    defaults = [float(number or 0) for number in _ACTIVATIONS.get(kind, {}).values()]
    _activated(parts, product, kind, [float(attrs.get(n, d)) for n, d in zip(names, defaults, strict=True)])


def matmul(parts: Parts) -> None:
    """alpha A B; of each, the first axis is to stand behind all but the last, or the last two are exchanged."""
    parts.node.allow("alpha", "transA", "transB", "transBatchA", "transBatchB")
    attrs, operands = parts.node.attrs, []
    for at, key in enumerate(("A", "B")):
        name, turns, lies = parts.slot(at), attrs.get(f"trans{key}", 0), attrs.get(f"transBatch{key}", 0)
        if (turns or lies) and (rank := parts.rank(name)) > 1:
            order = [*range(1, rank - 1), 0, rank - 1] if lies else [*range(rank)]
            order = [*order[:-2], order[-1], order[-2]] if turns else order
            name = parts.add("Transpose", name, perm=order)
        operands.append(name)
    alpha, result = attrs.get("alpha", 1.0), parts.node.outputs[0]
    product = parts.add("MatMul", *operands, gives=result if alpha == 1 else "")
    if alpha != 1:
        parts.add("Mul", product, parts.constant(np.float32(alpha)), gives=result)


def gelu(parts: Parts) -> None:
    parts.node.allow()
    _gelu(parts, parts.slot(0), "none")


def bias_gelu(parts: Parts) -> None:
    parts.node.allow()
    _gelu(parts, parts.add("Add", parts.slot(0), parts.slot(1)), "none")


def fast_gelu(parts: Parts) -> None:
    """With the hyperbolic tangent; the bias may be missing."""
    parts.node.allow()
    x = parts.slot(0)
    _gelu(parts, parts.add("Add", x, parts.slot(1)) if parts.slot(1) else x, "tanh")


def _gelu(parts: Parts, x: str, kind: str) -> None:
    parts.add("Gelu", x, approximate=kind, gives=parts.node.outputs[0])


def quick_gelu(parts: Parts) -> None:
    """x sigmoid(alpha x)"""
    parts.node.allow("alpha")
    x = parts.slot(0)
    scaled = parts.add("Mul", x, parts.constant(np.float32(parts.node.attrs.get("alpha", 1.702))))
    parts.add("Mul", x, parts.add("Sigmoid", scaled), gives=parts.node.outputs[0])


def layer_norm(parts: Parts) -> None:
    """ONNX's, in operator sets that do not have it yet."""
    keys = ("axis", "epsilon", "stash_type")
    parts.node.allow(*keys)
    given, results = parts.given, parts.node.outputs
    parts.put(parts.helper.make_node("LayerNormalization", given, results, **parts.settings(*keys)))


def skip_layer_norm(parts: Parts) -> None:
    """LayerNormalization of x + skip + bias over the last axis; the fourth result is that sum."""
    sum_of, weights = _skipped(parts)
    parts.add("LayerNormalization", sum_of, *weights, **_norm(parts))


def skip_rms_norm(parts: Parts) -> None:
    """RMSNormalization of x + skip + bias over the last axis; the fourth result is that sum."""
    sum_of, weights = _skipped(parts, bias_at=3)
    parts.add("RMSNormalization", sum_of, *weights[:1], **_norm(parts))


def _norm(parts: Parts) -> dict[str, Any]:
    epsilon = float(parts.node.attrs.get("epsilon", 1e-12))
    return {"axis": -1, "epsilon": epsilon, "gives": parts.node.outputs[0]}


def _skipped(parts: Parts, bias_at: int = 4) -> tuple[str, list[str]]:
    parts.node.allow("epsilon")
    x, skip, *weights = (parts.slot(i) for i in range(bias_at + 1))
    bias = weights.pop()
    outputs = [*parts.node.outputs, "", "", ""]
    if any(outputs[1:3]):
        parts.node.unsupported("its second and third output (mean and inverse deviation) serve training")
    gives = outputs[3]
    added = parts.add("Add", x, skip, gives="" if bias else gives)
    return (parts.add("Add", added, bias, gives=gives) if bias else added), [w for w in weights if w]
