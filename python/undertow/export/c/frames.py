# SPDX-License-Identifier: MIT
"""Ops of one frame that mix its elements: products, sums, norms, tables, constants."""

from __future__ import annotations

from math import prod

import numpy as np

from ...ir.nodes import Node
from ...ir.precision import GROUP, bits, limit, narrow, quantise
from . import helium
from .base import Export
from .elementwise import maximum
from .kernels import ROWS
from .products import Product, product
from .program import Lines, Place, Program, title
from .sparse import Sparse
from .text import literal


class Dense(Export):
    """A product of each row, then the activation."""

    def place(self, program: Program, node: Node) -> None:
        super().place(program, node)
        W, own = node.weights["W"], self._own(program, node)
        name = program.unique(node.name)
        p = own["product"] = product(program, node, "W", W, f"{name}_W")
        own["b"] = program.constant(f"{name}_b", node.weights["b"]) if "b" in node.weights else ""
        own["width"] = min(ROWS, len(W))
        if isinstance(p, Product) and p.integers and own["b"]:
            own["width"] = len(W)  # in one call, whose loop the kernel has
        if isinstance(p, Product):
            p.store(own["width"])
        elif p.copy_size:
            own["copy"] = program.buffer(p.copy_size)
        program.frame(p.frame_size)

    def emit(self, program: Program, node: Node) -> None:
        (x,), (y,) = node.inputs, node.outputs
        if not program.is_used(y):
            return
        own, lines = self._own(program, node), program.step
        M, K = node.weights["W"].shape
        rows = program.size(y) // M
        lines(title(node, program.graph), "{")
        lines(f"const float* x = {program.at(x).text};", f"float* y = {program.at(y).text};")
        if rows > 1:
            lines("size_t r;", f"for (r = 0; r < {rows}; ++r, x += {K}, y += {M}) {{")
        self._row(program, lines, own, M)
        if name := program.activation(node.attrs["activation"]):
            lines("{", "size_t m;")
            helium.loop(program, lines, "m", M, [], [f"y[m] = {name}(y[m]);"], M % 4 == 0)
            lines("}")
        if rows > 1:
            lines("}")
        lines("}")

    def _row(self, program: Program, lines: Lines, own: dict, M: int) -> None:
        p, b, width = own["product"], own["b"], own["width"]
        if isinstance(p, Sparse):
            more, at = p.prepare("x", 0, "s_x", own["copy"].text if p.copy_size else "")
            lines(*more, p.whole("y", b or "NULL", at, "s_x"))
            return
        start = lambda row: (f"{b} + {row}" if row else b) if b else self.zeros(program, width)  # noqa: E731
        lines(*p.prepare("x", 0, "s_x"))
        if 2 * width <= M:
            lines("{", "size_t m;", f"for (m = 0; m + {width} <= {M}; m += {width}) {{")
            lines(*p.group("y + m", start("m"), "m", width, "x", 0, "s_x"), "}", "}")
        else:
            lines(*p.group("y", start(0), 0, width, "x", 0, "s_x"))
        if M % width:
            row = M - M % width
            lines(*p.group(f"y + {row}", start(row), row, M % width, "x", 0, "s_x"))


class Depthwise(Export):
    """A filter for each channel of each row, then the activation."""

    def emit(self, program: Program, node: Node) -> None:
        (x,), (y,) = node.inputs, node.outputs
        if not program.is_used(y):
            return
        rows, taps, channels = program.graph.shape(x)
        lines, b = program.step, self.vector(program, node, "b")
        lines(title(node, program.graph), "{")
        lines(f"const float* x = {program.at(x).text};", f"float* y = {program.at(y).text};", "size_t r, c;")
        lines(f"for (r = 0; r < {rows}; ++r, x += {taps * channels}, y += {channels})")
        lines(f"for (c = 0; c < {channels}; ++c) {{")
        start = f"{b}[c]" if b else "0.0f"
        if node.precisions.get("W") == "int16":
            self._int16(program, node, start, taps, channels)
        else:
            program.need("mul_add")
            W = self.vector(program, node, "W")
            lines(f"float d = {start};", "size_t k;")
            lines(f"for (k = 0; k < {taps}; ++k) d = mul_add({W}[{channels} * k + c], x[{channels} * k + c], d);")
            lines("y[c] = d;")
        lines("}")
        if name := program.activation(node.attrs["activation"]):
            lines(f"y -= {rows * channels};")
            lines(f"for (c = 0; c < {rows * channels}; ++c) y[c] = {name}(y[c]);")
        lines("}")

    def _int16(self, program: Program, node: Node, start: str, taps: int, channels: int) -> None:
        """Integers of each channel by itself, in steps of a power of two (csrc/FORMAT.md, "What is computed")."""
        stored = quantise(np.ascontiguousarray(node.weights["W"].T), "int16", node.name)
        q = program.constant(f"{node.name}_W", np.ascontiguousarray(stored.q.T))
        scale = program.constant(f"{node.name}_W_scale", stored.scale)
        largest = literal(2.0 / (1 << bits(taps)))
        text = """\
/* n numbers, `apart` from each other, as integers up to a power of two times int16 weights; the step is theirs. */
static float filter_i16(const float* x, const int16_t* w, size_t n, size_t apart, float scale, float largest,
                        float start) {
  uint32_t top = 0;
  float d = 0.0f, step, inverse = 0.0f, worth = 0.0f;
  size_t k = 0;
  for (k = 0; k < n; ++k) {
    const uint32_t u = bits_of(x[k * apart]) & 0x7fffffffu;
    if (u > top) top = u;
  }
  if (top >= 0x7f800000u) return UT_NAN;
  step = mul(power_within(float_of(top)), largest);
  if (top >= 0x0d800000u) { /* 2^-100 */
    inverse = inverse_of_power(step);
    worth = step;
  }
  for (k = 0; k < n;) {
    const size_t end = n - k < 256 ? n : k + 256;
    int32_t sum = 0;
    for (; k < end; ++k) {
      sum += w[k * apart] * round_to_int(mul(x[k * apart], inverse));
      UT_APART(sum);
    }
    d = add(d, (float)sum);
  }
  return mul_add(mul(d, scale), worth, start);
}
"""
        needs = ["bits_of", "float_of", "mul", "add", "mul_add", "power_within", "inverse_of_power", "round_to_int"]
        program.function("filter_i16", text, needs)
        call = f"filter_i16(x + c, {q} + c, {taps}, {channels}, {scale}[c], {largest}, {start})"
        program.step(f"y[c] = {call};")
        assert limit(taps) >= 1 << bits(taps)


class Matmul(Export):
    def emit(self, program: Program, node: Node) -> None:
        a, b = node.inputs
        (y,) = node.outputs
        if not program.is_used(y):
            return
        (*many, rows, inner), columns = program.graph.shape(a), program.graph.shape(b)[-1]
        n, lines = prod(many), program.step
        program.need("mul_add")
        lines(title(node, program.graph), "{")
        lines(f"const float* a = {program.at(a).text};", f"const float* b = {program.at(b).text};")
        lines(f"float* y = {program.at(y).text};", "size_t n, i, j, k;")
        lines(f"for (n = 0; n < {n}; ++n, b += {inner * columns})")
        lines(f"for (i = 0; i < {rows}; ++i, a += {inner}, y += {columns})")
        lines(f"for (j = 0; j < {columns}; ++j) {{", "float d = 0.0f;")
        lines(f"for (k = 0; k < {inner}; ++k) d = mul_add(a[k], b[{columns} * k + j], d);", "y[j] = d;", "}", "}")


def sums(program: Program, op: str = "add") -> str:
    """The function that joins 16 partial results."""
    text = f"""\
/* 16 partial results as one: the second half to the first, and again. */
static float joined_by_{op}(float* part) {{
  int n, i;
  for (n = 8; n != 0; n /= 2)
    for (i = 0; i < n; ++i) part[i] = {op}(part[i], part[i + n]);
  return part[0];
}}
"""
    return program.function(f"joined_by_{op}", text, [] if op.endswith("_or_nan") else [op])


class Reduce(Export):
    def emit(self, program: Program, node: Node) -> None:
        (x,), (y,) = node.inputs, node.outputs
        if not program.is_used(y):
            return
        outer, n, inner = program.graph.shape(x)
        kind, lines = node.attrs["kind"], program.step
        if kind in ("max", "min"):
            op, start = maximum(program, kind), "-UT_INFINITY" if kind == "max" else "UT_INFINITY"
        else:
            op, start = ("add", "0.0f") if kind == "sum" else ("mul", "1.0f")
            program.need(op)
        lines(title(node, program.graph), "{")
        lines(f"const float* x = {program.at(x).text};", f"float* y = {program.at(y).text};", "size_t a, k;")
        lines(f"for (a = 0; a < {outer}; ++a, x += {n * inner}, y += {inner}) {{")
        if inner == 1:
            lines("float part[16];")
            lines(f"for (k = 0; k < 16; ++k) part[k] = {start};")
            lines(f"for (k = 0; k < {n}; ++k) part[k % 16] = {op}(part[k % 16], x[k]);")
            lines(f"*y = {sums(program, op)}(part);")
        else:
            lines("size_t b;", f"for (b = 0; b < {inner}; ++b) {{", f"float v = {start};")
            lines(f"for (k = 0; k < {n}; ++k) v = {op}(v, x[{inner} * k + b]);", "y[b] = v;", "}")
        lines("}", "}")


def softmax(program: Program) -> str:
    """The function of a softmax; `y` may be `x`."""
    sums(program)
    text = _SOFTMAX.format(
        note="e^x of each as a share of their sum",
        name="softmax",
        each="    y[k] = e;\n",
        last="  for (k = 0; k < n; ++k) y[k] = div(y[k], total);\n",
    )
    return program.function("softmax", text, ["vexp", "sub", "add", "div", "is_less"])


_SOFTMAX = """\
/* {note} of n numbers. */
static void {name}(float* y, const float* x, size_t n) {{
  float part[16] = {{0.0f}}, top = x[0], total;
  size_t k;
  for (k = 1; k < n; ++k)
    if (is_less(top, x[k])) top = x[k];
  for (k = 0; k < n; ++k) {{
    const float e = vexp(sub(x[k], top));
    part[k % 16] = add(part[k % 16], e);
{each}  }}
  total = joined_by_add(part);
{last}}}
"""


class Softmax(Export):
    def emit(self, program: Program, node: Node) -> None:
        (x,), (y,) = node.inputs, node.outputs
        if not program.is_used(y):
            return
        shape = program.graph.shape(x)
        n = shape[-1] if shape else 1
        rows, lines = program.size(x) // n, program.step
        sums(program)
        if node.op == "softmax":
            name = softmax(program)
        else:
            name = program.function(
                "log_softmax",
                _SOFTMAX.format(
                    note="The logarithm of that", name="log_softmax", each="",
                    last="  total = vlog(total);\n  for (k = 0; k < n; ++k) y[k] = sub(sub(x[k], top), total);\n",
                ),
                ["vexp", "sub", "add", "vlog", "is_less"],
            )  # fmt: skip
        lines(title(node, program.graph), "{")
        lines(f"const float* x = {program.at(x).text};", f"float* y = {program.at(y).text};")
        if rows > 1:
            lines("size_t r;", f"for (r = 0; r < {rows}; ++r, x += {n}, y += {n}) {name}(y, x, {n});", "}")
        else:
            lines(f"{name}(y, x, {n});", "}")


class LayerNorm(Export):
    def emit(self, program: Program, node: Node) -> None:
        (x,), (y,) = node.inputs, node.outputs
        if not program.is_used(y):
            return
        n = program.graph.shape(x)[-1]
        rows, lines = program.size(x) // n, program.step
        sums(program)
        text = """\
/* (x - mean) / sqrt(variance + eps) of n numbers, times scale, plus shift, where there are such. */
static void layer_norm(float* y, const float* x, size_t n, float eps, const float* scale, const float* shift) {
  float part[16] = {0.0f}, mean, inverse;
  size_t k;
  for (k = 0; k < n; ++k) part[k % 16] = add(part[k % 16], x[k]);
  mean = div(joined_by_add(part), (float)n);
  for (k = 0; k < 16; ++k) part[k] = 0.0f;
  for (k = 0; k < n; ++k) {
    const float d = sub(x[k], mean);
    part[k % 16] = add(part[k % 16], mul(d, d));
  }
  inverse = div(1.0f, square_root(add(div(joined_by_add(part), (float)n), eps)));
  for (k = 0; k < n; ++k) {
    float v = mul(sub(x[k], mean), inverse);
    if (scale) v = mul(v, scale[k]);
    if (shift) v = add(v, shift[k]);
    y[k] = v;
  }
}
"""
        program.function("layer_norm", text, ["add", "sub", "mul", "div", "square_root"])
        scale, shift = (self.vector(program, node, key) or "NULL" for key in ("scale", "shift"))
        call = f"layer_norm(y, x, {n}, {literal(node.attrs['eps'])}, {scale}, {shift});"
        lines(title(node, program.graph), "{")
        lines(f"const float* x = {program.at(x).text};", f"float* y = {program.at(y).text};")
        if rows > 1:
            lines("size_t r;", f"for (r = 0; r < {rows}; ++r, x += {n}, y += {n}) {call}", "}")
        else:
            lines(call, "}")


class Embedding(Export):
    """Rows of a table, in any precision."""

    def emit(self, program: Program, node: Node) -> None:
        (ids,), (y,) = node.inputs, node.outputs
        if not program.is_used(y):
            return
        table, lines = node.weights["table"], program.step
        n_ids, width = table.shape
        precision, name = node.precisions.get("table", "float32"), program.unique(node.name)
        note = f"{n_ids} rows of {width}, {precision}"
        add = program.constant
        if precision in ("float32", "float16", "bfloat16"):
            numbers = table if precision == "float32" else narrow(table, precision, name)
            t = add(f"{name}_table", numbers.view(np.uint16) if precision == "float16" else numbers, note)
            load = {"float16": "load_half", "bfloat16": "load_bfloat"}.get(precision)
            if load:
                program.need(load)
            number = f"{load}({t} + {width} * id + k)" if load else f"{t}[{width} * id + k]"
        else:
            program.need("mul")
            stored = quantise(table, precision, name)
            if precision == "int4":
                program.need("load_half")
                padded = np.pad(stored.q, [(0, 0), (0, width % 2)]).astype(np.uint8) & 15
                t = add(f"{name}_table", (padded[:, ::2] | padded[:, 1::2] << 4).astype(np.uint8), note)
                n_bytes, groups = -(-width // 2), -(-width // GROUP)
                s = add(f"{name}_scale", stored.scale.view(np.uint16), "of each row and 32 columns")
                q = f"(({t}[{n_bytes} * id + k / 2] >> (k % 2 * 4) & 15) ^ 8) - 8"
                number = f"mul((float)({q}), load_half({s} + {groups} * id + k / {GROUP}))"
            else:
                t = add(f"{name}_table", stored.q, note)
                s = add(f"{name}_scale", stored.scale, "of each row")
                number = f"mul((float){t}[{width} * id + k], {s}[id])"
        lines(title(node, program.graph), "{")
        lines(f"const int32_t* ids = {program.at(ids).text};", f"float* y = {program.at(y).text};", "size_t i, k;")
        lines(f"for (i = 0; i < {program.size(ids)}; ++i, y += {width}) {{")
        lines("const size_t id = (size_t)ids[i]; /* NaN where there is no such row */")
        lines(f"if (ids[i] < 0 || ids[i] >= {n_ids})")
        lines(f"for (k = 0; k < {width}; ++k) y[k] = UT_NAN;", "else")
        lines(f"for (k = 0; k < {width}; ++k) y[k] = {number};", "}", "}")


class Constant(Export):
    def place(self, program: Program, node: Node) -> None:
        if program.is_used(node.outputs[0]):
            program.places[node.outputs[0]] = Place(self.vector(program, node, "value"))
