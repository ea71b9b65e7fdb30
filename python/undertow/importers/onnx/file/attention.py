# SPDX-License-Identifier: MIT
"""What must be true of an Attention before ONNX's definition takes its place, which checks nothing."""

from __future__ import annotations

from collections.abc import Callable

from .nodes import OnnxNode

Dims = list[int | None] | None
#: attribute -> smallest and largest value
_BOUNDS: dict[str, tuple[float, float]] = {
    "left_window_size": (-1, float("inf")),
    "right_window_size": (-1, float("inf")),
    "qk_matmul_output_mode": (0, 3),
    "softcap": (0, float("inf")),
}


def check_attention(node: OnnxNode, dims: Callable[[str], Dims]) -> None:
    """Refuse heads, sizes and settings that do not go together.

    Raises:
        FormatError, ShapeError: with the attribute or the input, and what is expected.
    """
    for name, (least, most) in _BOUNDS.items():
        if not least <= (value := node.attrs.get(name, 0)) <= most:
            up_to = f" to {most:g}" if most != float("inf") else " or more"
            node.format_error(f"attribute {name}={value}, expected {least:g}{up_to}")
    slots = [*node.inputs, *[""] * 7][:7]
    if bool(slots[4]) != bool(slots[5]):
        node.format_error("has one of past_key and past_value, expected both or none")
    shapes = [dims(name) if name else None for name in slots]
    names = ("query", "key", "value")
    sides = [_heads(node, shapes[i], names[i], "q_num_heads" if i == 0 else "kv_num_heads") for i in range(3)]
    (n_q, q_size), (n_k, k_size), (n_v, v_size) = sides
    if n_q and n_k and n_q % n_k:
        node.format_error(f"has {n_q} heads of queries and {n_k} of keys, expected a multiple")
    if n_k and n_v and n_k != n_v:
        node.shape_error(f"has {n_k} heads of keys and {n_v} of values, expected as many")
    if q_size and k_size and q_size != k_size:
        node.shape_error(f"its heads of queries have {q_size} numbers, those of keys {k_size}, expected as many")
    for i, what, n, size in ((4, "past_key", n_k, k_size), (5, "past_value", n_v, v_size)):
        past = shapes[i]
        if past is None:
            continue
        fits = len(past) == 4 and all(None in (a, b) or a == b for a, b in ((past[1], n), (past[3], size)))
        if not fits:
            shown = ", ".join("?" if d is None else str(d) for d in past)
            node.shape_error(
                f"its input {what} has shape [{shown}], expected [any, {n or 'any'}, any, {size or 'any'}]"
            )


def _heads(node: OnnxNode, shape: Dims, what: str, attribute: str) -> tuple[int | None, int | None]:
    """(heads, numbers of each) of an input."""
    n = node.attrs.get(attribute)
    if shape is None:
        return n, None
    if len(shape) == 4:
        return shape[1], shape[3]
    if len(shape) != 3:
        node.shape_error(f"its {what} has {len(shape)} axes, expected 3 or 4")
    if not isinstance(n, int) or n < 1:
        node.format_error(f"attribute {attribute}={n}, expected 1 or more with inputs of 3 axes")
    if shape[2] is not None and shape[2] % n:
        node.shape_error(f"its {what} has {shape[2]} channels, which attribute {attribute}={n} does not divide")
    return n, None if shape[2] is None else shape[2] // n


__all__ = ["check_attention"]
