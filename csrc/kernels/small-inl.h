// SPDX-License-Identifier: MIT
// Products and timesteps of one lane for flash (UT_SMALLEST): one walk over panels for every cell and precision. What differs
// between precisions is a function of rows, between cells a function of units. Compiled once per ISA.

namespace {

UT_NOINLINE void rows_of_int4(const DenseArgs& d, size_t gates, size_t p, size_t t, float* y, size_t n_units) {
  Int4::rows_of_panel(d, gates, p, t, y, n_units);
}
// Rows of a panel of a precision that has panels.
inline void rows_of(uint32_t precision, const DenseArgs& d, size_t gates, size_t p, size_t t, float* y, size_t n_units) {
  if (precision <= kBfloat16) return rows_of_floats(precision, d, gates, p, t, y, n_units);
  if (precision == kInt4) return rows_of_int4(d, gates, p, t, y, n_units);
  rows_of_integers(precision == kInt8, d, gates, p, t, y, n_units);
}

UT_NOINLINE void dense_of_any_kind(size_t gates, const DenseArgs& d, size_t T, uint32_t precision) {
  if (is_integer(precision)) quantize_frames_of(precision, d, T);
  for (size_t t = 0; t < T; ++t)
    for (size_t p = d.first; p < d.n_panels; ++p)
      rows_of(precision, d, gates, p, t, d.y + t * d.y_stride + p * gates * kPanel, kPanel);
}
template <uint32_t kPrecision>
void small_dense(uint32_t gates, const DenseArgs& d, size_t T) {
  dense_of_any_kind(gates, d, T, kPrecision);
}

// The units of panel row.first, of which alone row.a and row.q are.
using Units = void (*)(const Cell& c, const CellRow& row);
template <class Pass>
UT_NOINLINE void units_of_panel(const Cell& c, const CellRow& given) {
  const CellRow row = given;
  const size_t n = units_from(c, row.first);
  for (size_t lane = 0; lane < n; ++lane) {
    V a[Pass::kGates], q[Pass::kChains];
    load_gates(a, row.a, {0, lane});
    load_gates(q, row.q, {0, lane});
    Pass::template unit<kEither>(c, row, {row.first, lane}, a, q);
  }
}

struct SmallPass {
  Units of_panel;
  FixedUnit fixed;
  uint8_t gates, chains;
  bool has_c;
};
template <class Pass>
constexpr SmallPass kPassOf = {units_of_panel<Pass>, Pass::fixed, Pass::kGates, Pass::kChains, Pass::kHasC};
// Of each cell, in the order of CellKind, the first pass; then what second passes there are (kernels-inl.h).
extern const SmallPass kPasses[];

UT_NOINLINE void update_of_any_kind(const Cell& c, const CellRow& row, const SmallPass& pass) {
  if (c.fixed) return fixed_units_of(row, c.n_hidden, pass.gates, pass.chains, pass.has_c, pass.fixed);
  CellRow one = row;
  for (one.a += row.first * pass.gates * kPanel, one.q += row.first * pass.chains * kPanel; one.first < row.end; ++one.first) {
    pass.of_panel(c, one);
    one.a += pass.gates * kPanel;
    one.q += pass.chains * kPanel;
  }
}
template <size_t kPass>
void small_update(const Cell& c, const CellRow& row) {
  update_of_any_kind(c, row, kPasses[kPass]);
}

UT_NOINLINE void step_of_any_kind(uint32_t cell, const Cell& c, const ReducedStep& s, uint32_t precision) {
  const SmallPass& pass = kPasses[cell];
  if (is_integer(precision)) {
    if (s.of_x.W) quantize_frames_of(precision, s.of_x, 1);
    quantize_frames_of(precision, s.of_h, 1);
  }
  for (size_t i = 0; i < c.n_panels; ++i) {
    const size_t p = s.back ? c.n_panels - 1 - i : i, n = units_from(c, p), gates = pass.gates;
    float a[4 * kPanel], q[4 * kPanel];
    if (s.of_x.W) rows_of(precision, s.of_x, gates, p, 0, a, n);
    rows_of(precision, s.of_h, gates, p, 0, q, n);
    pass.of_panel(c, {p, p + 1, s.of_x.W ? a : s.a + p * gates * kPanel, q, s.of_h.x, s.y, s.c, nullptr});
  }
}
template <uint32_t kPrecision>
void small_step(uint32_t cell, const Cell& c, const ReducedStep& s) {
  step_of_any_kind(cell, c, s, kPrecision);
}

}  // namespace
