# SPDX-License-Identifier: MIT
"""How many elements a node makes of known arrays, or what it costs as so many, before it is run."""

from __future__ import annotations

from math import prod

import numpy as np

from ..file.nodes import OnnxNode

#: matrix products -> the slot of the second matrix
_MATRICES = {"MatMul": 1, "Gemm": 1, "MatMulInteger": 1, "QLinearMatMul": 3}
#: convolutions -> the slot of the kernel
_KERNELS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
#: elements that take as long as one step of a recurrent node
_STEP = 10_000


def result_size(node: OnnxNode, arrays: list[np.ndarray | None]) -> int:
    """About how many elements the node's result has: an upper bound, exact where it can grow beyond its inputs."""
    known = [a for a in arrays if a is not None]
    total = sum(a.size for a in known)
    if node.op == "ConstantOfShape":
        return _product(known[0]) if known else 0
    if node.op == "Expand":
        shape = tuple(abs(int(n)) for n in known[1].ravel()) if len(known) > 1 else ()
        return _broadcast_size([known[0].shape, shape])
    if node.op == "Tile":
        return known[0].size * _product(known[1]) if len(known) > 1 else total
    if node.op == "Range":
        start, limit, delta = (
            (float(a.ravel()[0]) for a in known[:3]) if all(a.size for a in known[:3]) else (0.0, 0.0, 1.0)
        )
        return (
            int(min(abs((limit - start) / delta), 2.0**62)) + 1
            if delta and np.isfinite([start, limit, delta]).all()
            else 2**62
        )
    if node.op == "Pad":
        pads = node.attrs.get("pads", known[1] if len(known) > 1 else [])
        grown = sum(abs(int(p)) for p in np.asarray(pads).ravel())
        return prod(n + grown for n in known[0].shape) if known else 0
    if node.op == "OneHot":
        return known[0].size * abs(int(known[1].ravel()[0])) if len(known) > 1 and known[1].size else total
    if node.op == "Gather" and len(known) > 1:
        axis = int(node.attrs.get("axis", 0))
        width = known[0].shape[axis] if -known[0].ndim <= axis < known[0].ndim else 1
        return known[1].size * (known[0].size // max(1, width))
    if node.op == "GatherND" and len(known) > 1 and known[1].ndim:
        depth = int(node.attrs.get("batch_dims", 0)) + known[1].shape[-1]
        return prod(known[1].shape[:-1]) * prod(known[0].shape[max(0, depth) :])
    if node.op in _MATRICES and len(known) > 1:
        slot = _MATRICES[node.op]
        return _product_size(node, [known[0], known[slot]]) if len(known) > slot else total
    if node.op in _KERNELS:
        return max(total, _window_size(node, arrays, _KERNELS[node.op]))
    if node.op in ("MaxPool", "AveragePool", "LpPool"):
        return max(total, _window_size(node, arrays, None))
    if node.op == "Einsum":
        return _einsum_size(node, known)
    if node.op in ("RNN", "GRU", "LSTM"):
        # In onnx's evaluator a step takes about as long as some 10,000 elements do.
        return total + known[0].shape[0] * (_STEP + known[2].size) if len(known) > 2 and known[0].ndim else total
    if node.op in ("ScatterND", "ScatterElements"):
        return total
    if node.op == "Where":
        return _broadcast_size([a.shape for a in known])
    if node.op == "NonZero":
        return known[0].size * max(1, known[0].ndim)
    if node.op in (
        "Slice",
        "Split",
        "Concat",
        "Transpose",
        "Identity",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Reshape",
        "Constant",
    ):
        return total
    return max(total, _broadcast_size([a.shape for a in known]))


def _window_size(node: OnnxNode, arrays: list[np.ndarray | None], slot: int | None) -> int:
    """Products of a convolution, or elements that a pool looks at. slot: of the kernel, None of a pool."""
    x, W = arrays[0], None if slot is None else arrays[slot]
    if x is None or x.ndim < 3 or (slot is not None and (W is None or W.ndim != x.ndim)):
        return 0
    n = x.ndim - 2
    kernel = [abs(int(k)) for k in node.attrs.get("kernel_shape", [])] if W is None else list(W.shape[2:])
    strides, pads, extra = (
        [abs(int(v)) for v in node.attrs.get(key, [])] for key in ("strides", "pads", "output_padding")
    )
    strides = (strides + [1] * n)[:n]
    if node.op == "ConvTranspose":  # every element of x meets the whole kernel
        shape = [abs(int(v)) for v in node.attrs.get("output_shape", [])]
        dilations = ([abs(int(v)) for v in node.attrs.get("dilations", [])] + [1] * n)[:n]
        reach = [k * d for k, d in zip(kernel, dilations, strict=False)]
        sizes = zip(x.shape[2:], strides, reach, (extra + [0] * n)[:n], strict=False)
        n_places = prod(shape) if shape else prod(size * stride + k + more for size, stride, k, more in sizes)
        width = 1 if W is None else W.shape[1]
        return max(x.size * width * prod(kernel), x.shape[0] * width * int(node.attrs.get("group", 1)) * n_places)
    padded = (size + sum(pads[i::n]) + 1 for i, size in enumerate(x.shape[2:]))
    places = prod(-(-size // max(1, stride)) + 1 for size, stride in zip(padded, strides, strict=True))
    taken = x.shape[1] if W is None else W.shape[0] * W.shape[1]
    return x.shape[0] * places * taken * prod(kernel)


def _einsum_size(node: OnnxNode, known: list[np.ndarray]) -> int:
    """Products of all letters; where letters do not fit, of all sizes."""
    terms = str(node.attrs.get("equation", "")).replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    if len(terms) != len(known) or any(len(t) != a.ndim for t, a in zip(terms, known, strict=True)):
        return prod(max(1, a.size) for a in known)
    for term, array in zip(terms, known, strict=True):
        sizes.update(zip(term, array.shape, strict=True))
    return prod(sizes.values())


def _product_size(node: OnnxNode, known: list[np.ndarray]) -> int:
    """Elements of a matrix product, or what its sums cost as so many elements."""
    a, b = (x.shape if x.ndim > 1 else (1, x.size) for x in known[:2])
    a = (*a[:-2], a[-1], a[-2]) if node.attrs.get("transA") else a
    b = (b[1], b[0]) if known[1].ndim == 1 else (*b[:-2], b[-1], b[-2]) if node.attrs.get("transB") else b
    size = _broadcast_size([a[:-2] or (1,), b[:-2] or (1,)]) * a[-2] * b[-1]
    return max(size, size * a[-1] // (64 if known[0].dtype.kind == "f" else 4))


def _product(shape: np.ndarray) -> int:
    return prod(abs(int(n)) for n in shape.ravel())


def _broadcast_size(shapes: list[tuple[int, ...]]) -> int:
    rank = max((len(s) for s in shapes), default=0)
    padded = [(1,) * (rank - len(s)) + tuple(s) for s in shapes]
    return prod(max(column) for column in zip(*padded, strict=True)) if padded else 0
