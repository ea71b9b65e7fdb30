// SPDX-License-Identifier: MIT
// Expressions over the elements of a space (expression.h). Compiled once per ISA.
// Every instruction is the arithmetic of an op: what is joined to one expression gives the bits of its ops. A tile of all slots
// stays in the first-level cache, so that an instruction costs little more than its vectors.

namespace {

const FrameKernels& own_kernels();  // of this instruction set

struct Tile {
  const ExpressionArgs* args;
  const float* at[kMaxOperands];  // of each operand, the tile's first element
  size_t rows, width, pitch;    // pitch: floats of a row of a slot
  bool first;                   // the tile has the first of the rows that a reduction over them joins
};

// An argument, or a result, in a tile.
struct Argument {
  float* p;
  size_t row;   // floats between its rows
  bool scalar;  // one for all elements of a row
};

inline Argument argument_of(const Tile& t, uint32_t number) {
  const ExpressionArgs& e = *t.args;
  const uint32_t n_operands = e.head->n_operands;
  if (number >= n_operands) return {e.slots + (number - n_operands) * e.rows * t.pitch, t.pitch, false};
  const Operand& p = e.operands[number];
  return {const_cast<float*>(t.at[number]), p.strides[2], p.strides[3] == 0};
}

// The arguments of an instruction, for one row after another. kScalars: a bit for each that is scalar; below 0: nobody knows.
constexpr int kAnyScalars = -1;
template <class Code, int kScalars>
struct Arguments {
  static constexpr int kMost = 4;
  Code code;
  Argument x[kMost];
  V fixed[kMost];

  Arguments(Code c, const Instruction& s, const Tile& t) : code(c) {
    for (uint32_t k = 0; k < n_arguments(code); ++k) {
      x[k] = argument_of(t, s.x[k]);
      fixed[k] = set1(0.0f);
    }
  }
  bool is_scalar(uint32_t k) const { return kScalars == kAnyScalars ? x[k].scalar : (kScalars >> k & 1) != 0; }
  bool runs_on(size_t width) const {  // rows lie one behind the other
    bool all = true;
    for (uint32_t k = 0; k < n_arguments(code); ++k) all = all && !is_scalar(k) && x[k].row == width;
    return all;
  }
  void begin_row() {
    for (uint32_t k = 0; k < n_arguments(code); ++k)
      if (is_scalar(k)) fixed[k] = set1(*x[k].p);
  }
  void end_row() {
    for (uint32_t k = 0; k < n_arguments(code); ++k) x[k].p += x[k].row;
  }
  UT_INLINE_FN V at(uint32_t k, size_t j) const { return is_scalar(k) ? fixed[k] : load(x[k].p + j); }
  UT_INLINE_FN V some(uint32_t k, size_t j, size_t n) const { return is_scalar(k) ? fixed[k] : load_some(x[k].p + j, n); }
};

inline float number_in(uint32_t word) {
  float f;
  memcpy(&f, &word, sizeof f);
  return f;
}

// What elements are made of: of a code that is known while compiling, in place; of any other, by the kernels of whole frames, so
// that there is one copy of it.
UT_NOINLINE V activated(const Act& act, V a) {
  float v[kLanes];
  store(v, a);
  own_kernels().activation(v, v, kLanes, act);
  return load(v);
}
UT_NOINLINE V combined_by_kernel(uint32_t kind, V a, V b) {
  float v[kLanes], w[kLanes];
  store(v, a);
  store(w, b);
  own_kernels().binary[kind](v, v, w, kLanes);
  return load(v);
}
template <bool kKnown>
UT_INLINE_FN V combined(uint32_t kind, V a, V b) {
  if constexpr (kKnown)
    return binary_of(kind, a, b);
  else
    return combined_by_kernel(kind, a, b);
}

UT_INLINE_FN constexpr bool has_product(uint32_t code) {
  return (code >= kMulPlus && code <= kMulMinusMul) || (code >= kSumOfMul && code <= kSumOfMulMinusMul) || code == kRowSumOfMul;
}

template <bool kKnown>
UT_INLINE_FN V element_of(uint32_t code, const Instruction& s, V a, V b, V c, V d) {
  if (code < kMulAdd) return combined<kKnown>(code, a, b);
  if (is_activation(code)) {
    const Act act = {s.code - kFirstActivation, number_in(s.x[2]), number_in(s.x[3])};
    if constexpr (kKnown)
      return activation_of(code - kFirstActivation, act.alpha, act.beta, a);
    else
      return activated(act, a);
  }
  if (code == kMulAdd) return mul_add(a, b, c);
  if (code == kWhereCode) return flushed(select_lt(vabs(a), set1(1.17549435e-38f), c, b));
  if (!has_product(code)) return a;  // as it is, or reductions of it
  const V product = combined<kKnown>(kBinMul, a, b);
  if (n_arguments(code) == 2) return product;
  const V other = n_arguments(code) == 4 ? combined<kKnown>(kBinMul, c, d) : c;
  if (code == kMinusMul) return combined<kKnown>(kBinSub, other, product);
  const bool minus = code == kMulMinus || code == kMulMinusMul || code == kSumOfMulMinusMul;
  return combined<kKnown>(minus ? kBinSub : kBinAdd, product, other);
}

UT_NOINLINE V element_of_any(uint32_t code, const Instruction& s, V a, V b, V c, V d) { return element_of<false>(code, s, a, b, c, d); }

template <class Code, class Get>
UT_INLINE_FN V element_at(Code code, const Instruction& s, const Get& get) {
  const uint32_t n = n_arguments(code);
  const V a = get(0);
  return element_of<true>(code, s, a, n > 1 ? get(1) : a, n > 2 ? get(2) : a, n > 3 ? get(3) : a);
}

UT_INLINE_FN constexpr uint32_t reduction_of(uint32_t code) {
  return code >= kFirstReduction && code < kSumOfMul ? code - kFirstReduction
         : code >= kFirstRowReduction && code < kRowSumOfMul ? code - kFirstRowReduction : uint32_t{kReduceSum};
}

// Sums of rows, kLanes of them in one vector: each is joined as `reduce_row` joins it, element i of what is left of a row to
// element i + width.
template <int kWidth>
UT_INLINE_FN void join_halves(uint32_t kind, V* v) {
  if constexpr (kWidth > 1) {
    constexpr int kLeft = kLanes / kWidth, kPairs = kLanes / kLeft / 2;
    for (int i = 0; i < kPairs; ++i) v[i] = joined(kind, low_halves<kWidth>(v[i], v[i + kPairs]), high_halves<kWidth>(v[i], v[i + kPairs]));
    join_halves<kWidth / 2>(kind, v);
  }
}

// Every instruction in one function.
UT_NOINLINE void run_any(const Instruction& s, const Tile& t) {
  const uint32_t code = s.code, kind = reduction_of(code);
  const bool last = reduces_last(code), over_rows = reduces_rows(code);
  Arguments<uint32_t, kAnyScalars> x(code, s, t);
  Argument y = argument_of(t, s.y);
  const V start = set1(neutral(kind));
  constexpr uint32_t kJoins[] = {kBinAdd, kBinMax, kBinMin, kBinMul};  // in the order of ReduceKind
  const auto join = [&](V u, V v) { return combined_by_kernel(kJoins[kind], u, v); };
  for (size_t r = 0; r < t.rows; ++r, x.end_row()) {
    x.begin_row();
    V parts[kChunkVectors];
    for (V& part : parts) part = start;
    for (size_t j = 0; j < t.width; j += kLanes) {
      const size_t n = t.width - j, i = j / kLanes % kChunkVectors;
      const uint32_t n_arguments_of = n_arguments(code);
      const V a = x.some(0, j, n);
      const auto get = [&](uint32_t k) { return k < n_arguments_of ? x.some(k, j, n) : a; };
      const V v = element_of_any(code, s, a, get(1), get(2), get(3));
      if (last) {  // elements behind the end join without a trace
        float f[kLanes];
        store(f, start);
        store_some(f, v, n);
        parts[i] = join(parts[i], load(f));
      } else if (over_rows) {
        const V sum = t.first && r == 0 ? start : load_some(y.p + j, n);
        store_some(y.p + j, code == kRowDot ? mul_add(a, get(1), sum) : join(sum, v), n);
      } else {
        store_some(y.p + j, v, n);
      }
    }
    if (last) {
      float f[kPanel];
      for (int i = 0; i < kChunkVectors; ++i) store(f + i * kLanes, parts[i]);
      own_kernels().reduce[kind](y.p + r, f, 1, kPanel, 1);
    } else if (!over_rows) {
      y.p += y.row;
    }
  }
}

#if !(UT_SMALL || UT_ISA_ONE_LANE)

// y = f(a, b, c, d), element by element.
template <int kScalars, class Code>
void write_elements(Code code, const Instruction& s, const Tile& t) {
  Arguments<Code, kScalars> x(code, s, t);
  Argument y = argument_of(t, s.y);
  size_t rows = t.rows, width = t.width;
  if (rows != 1 && y.row == width && x.runs_on(width)) {
    width *= rows;
    rows = 1;
  }
  for (size_t r = 0; r < rows; ++r, y.p += y.row, x.end_row()) {
    x.begin_row();
    size_t j = 0;
    for (; j + kLanes <= width; j += kLanes) store(y.p + j, element_at(code, s, [&](uint32_t k) UT_INLINE { return x.at(k, j); }));
    if (kLanes > 1 && j < width) {
      const size_t n = width - j;
      store_some(y.p + j, element_at(code, s, [&](uint32_t k) UT_INLINE { return x.some(k, j, n); }), n);
    }
  }
}

// One number for each row.
template <int kScalars, class Code>
void reduce_rows_of_tile(Code code, const Instruction& s, const Tile& t) {
  const auto kind = reduction_of(code);
  Arguments<Code, kScalars> x(code, s, t);
  const Argument y = argument_of(t, s.y);
  for (size_t r = 0; r < t.rows;) {
    V sums[kLanes];
    const size_t some = t.rows - r < kLanes ? t.rows - r : kLanes;
    for (size_t i = 0; i < some; ++i, x.end_row()) {
      V parts[kChunkVectors];
      for (V& part : parts) part = set1(neutral(kind));
      x.begin_row();
      size_t j = 0;
      for (; j + kPanel <= t.width; j += kPanel)
        for (int v = 0; v < kChunkVectors; ++v) {
          const size_t at = j + static_cast<size_t>(v) * kLanes;
          parts[v] = joined(kind, parts[v], element_at(code, s, [&](uint32_t k) UT_INLINE { return x.at(k, at); }));
        }
      if (j < t.width) {  // elements behind the end are what joins without a trace
        Chunk c;
        for (float& f : c.v) f = neutral(kind);
        for (size_t at = j; at < t.width; at += kLanes) {
          const size_t n = t.width - at;
          store_some(c.v + (at - j), element_at(code, s, [&](uint32_t k) UT_INLINE { return x.some(k, at, n); }), n);
        }
        for (int v = 0; v < kChunkVectors; ++v) parts[v] = joined(kind, parts[v], load(c.v + v * kLanes));
      }
      for (int width = kChunkVectors / 2; width != 0; width /= 2)
        for (int v = 0; v < width; ++v) parts[v] = joined(kind, parts[v], parts[v + width]);
      sums[i] = parts[0];
    }
    for (size_t i = some; i < kLanes; ++i) sums[i] = sums[0];
    join_halves<kLanes>(kind, sums);
    store_some(y.p + r, sums[0], some);
    r += some;
  }
}

// One number for each column, over the tiles that follow each other along the rows.
template <int kScalars, class Code>
void join_rows_of_tile(Code code, const Instruction& s, const Tile& t) {
  const auto kind = reduction_of(code);
  Arguments<Code, kScalars> x(code, s, t);
  float* y = argument_of(t, s.y).p;
  const auto column = [&](size_t j, auto load_y, auto get, auto store_y) UT_INLINE {
    V acc = t.first ? set1(neutral(kind)) : load_y(y + j);
    Arguments<Code, kScalars> row = x;
    for (size_t r = 0; r < t.rows; ++r, row.end_row()) {
      row.begin_row();
      acc = code == kRowDot ? mul_add(get(row, 0), get(row, 1), acc)
                            : joined(kind, acc, element_at(code, s, [&](uint32_t k) UT_INLINE { return get(row, k); }));
    }
    store_y(y + j, acc);
  };
  size_t j = 0;
  for (; j + kLanes <= t.width; j += kLanes)
    column(j, [](const float* p) UT_INLINE { return load(p); }, [&](const Arguments<Code, kScalars>& row, uint32_t k) UT_INLINE { return row.at(k, j); },
           [](float* p, V v) UT_INLINE { store(p, v); });
  if (kLanes > 1 && j < t.width) {
    const size_t n = t.width - j;
    column(j, [&](const float* p) UT_INLINE { return load_some(p, n); },
           [&](const Arguments<Code, kScalars>& row, uint32_t k) UT_INLINE { return row.some(k, j, n); },
           [&](float* p, V v) UT_INLINE { store_some(p, v, n); });
  }
}

template <int kScalars, class Code>
void run_instruction(Code code, const Instruction& s, const Tile& t) {
  if (reduces_last(code))
    reduce_rows_of_tile<kScalars>(code, s, t);
  else if (reduces_rows(code))
    join_rows_of_tile<kScalars>(code, s, t);
  else
    write_elements<kScalars>(code, s, t);
}

// Whether a code is compiled by itself for these scalars. Writers put the scalar of two factors or terms first.
constexpr bool has_variant(uint32_t code, int scalars) {
  switch (code) {
    case kBinAdd:
    case kBinMul:
    case kMulAdd:
    case kMulPlus:
    case kMinusMul:
    case kRowSumOfMul:
    case kRowDot: return scalars <= 1;
    case kBinSub: return scalars <= 2;
    case kBinDiv: return scalars == 0 || scalars == 2;
    case kMulPlusMul: return scalars == 0 || scalars == 1 || scalars == 4 || scalars == 5;
    case kBinMax:
    case kWhereCode:
    case kMulMinus:
    case kMulMinusMul:
    case kCopy:
    case kSumOfMul:
    case kSumOfMulMinusMul:
    case uint32_t{kFirstRowReduction} + kReduceSum: return scalars == 0;
    default: return is_activation(code) && code != kFirstActivation && scalars == 0;
  }
}
// A code that is compiled by itself: of activations those of gates, of which vectors are many.
constexpr uint32_t compiled_as(uint32_t code) {
  switch (code - kFirstActivation) {
    case kActTanh:
    case kActSigmoid:
    case kActExp: return code;
    default: return is_activation(code) ? uint32_t{kFirstActivation} : code;
  }
}

template <int kScalars, class Code>
UT_INLINE_FN bool run_variant(Code code, int scalars, const Instruction& s, const Tile& t) {
  constexpr bool exists = has_variant(Code::kNumber, kScalars);
  if constexpr (exists) {
    if (scalars == kScalars) {
      run_instruction<kScalars>(code, s, t);
      return true;
    }
  }
  return false;
}

template <uint32_t kCode>
struct KnownCode : KnownKind<kCode> {
  static constexpr uint32_t kNumber = kCode;
};
using InstructionKernel = void (*)(const Instruction&, const Tile&);
template <uint32_t kCode>
void run_known(const Instruction& s, const Tile& t) {
  if constexpr (n_arguments(kCode) != 0) {
    const KnownCode<kCode> code;
    int scalars = 0;
    for (uint32_t k = 0; k < n_arguments(kCode); ++k) scalars |= argument_of(t, s.x[k]).scalar << k;
    if (run_variant<0>(code, scalars, s, t) || run_variant<1>(code, scalars, s, t) || run_variant<2>(code, scalars, s, t) ||
        run_variant<4>(code, scalars, s, t) || run_variant<5>(code, scalars, s, t))
      return;
  }
  run_any(s, t);
}

// Activations that are not compiled by themselves, a row at once.
void run_activation(const Instruction& s, const Tile& t) {
  Argument x = argument_of(t, s.x[0]), y = argument_of(t, s.y);
  if (x.scalar) return run_any(s, t);
  const Act act = {s.code - kFirstActivation, number_in(s.x[2]), number_in(s.x[3])};
  size_t rows = t.rows, width = t.width;
  if (x.row == width && y.row == width) width *= rows, rows = 1;
  const size_t whole = width / kLanes * kLanes, rest = width - whole;
  for (size_t r = 0; r < rows; ++r, x.p += x.row, y.p += y.row) {
    own_kernels().activation(y.p, x.p, whole, act);
    if (rest != 0) store_some(y.p + whole, activated(act, load_some(x.p + whole, rest)), rest);
  }
}

// Likewise two arguments, of which a scalar stands in a row of its own.
void run_binary(const Instruction& s, const Tile& t) {
  constexpr size_t kSpread = 64;
  float spread[2][kSpread];
  Argument x[] = {argument_of(t, s.x[0]), argument_of(t, s.x[1])}, y = argument_of(t, s.y);
  for (size_t r = 0; r < t.rows; ++r, x[0].p += x[0].row, x[1].p += x[1].row, y.p += y.row) {
    for (int k = 0; k < 2; ++k)
      for (size_t j = 0; x[k].scalar && j < kSpread; j += kLanes) store(spread[k] + j, set1(*x[k].p));
    for (size_t j = 0; j < t.width;) {
      const size_t left = t.width - j, n = left < kLanes ? left : (left < kSpread ? left : kSpread) / kLanes * kLanes;
      const float* const a = x[0].scalar ? spread[0] : x[0].p + j;
      const float* const b = x[1].scalar ? spread[1] : x[1].p + j;
      if (n < kLanes)
        store_some(y.p + j, combined_by_kernel(s.code, load_some(a, n), load_some(b, n)), n);
      else
        own_kernels().binary[s.code](y.p + j, a, b, n);
      j += n;
    }
  }
}

struct InstructionKernels {
  InstructionKernel of[kNumCodes] = {};
  template <uint32_t kCode>
  constexpr void fill() {
    if constexpr (kCode < kMulAdd && !has_variant(kCode, 0))
      of[kCode] = run_binary;
    else
      of[kCode] = compiled_as(kCode) == kFirstActivation ? run_activation : run_known<compiled_as(kCode)>;
    if constexpr (kCode + 1 < kNumCodes) fill<kCode + 1>();
  }
};
constexpr InstructionKernels instruction_kernels() {
  InstructionKernels kernels;
  kernels.fill<0>();
  return kernels;
}
constexpr InstructionKernels kInstructionKernels = instruction_kernels();
#endif

void expression(const ExpressionArgs& e) {
  const ExpressionHead& head = *e.head;
  Tile t;
  t.args = &e;
  t.pitch = round_up(e.width, kPanel);
  for (uint32_t i = 0; i < head.sizes[0]; ++i)
    for (uint32_t j = 0; j < head.sizes[1]; ++j)
      for (size_t l = 0; l < head.sizes[3]; l += e.width)
        for (size_t k = 0; k < head.sizes[2]; k += e.rows) {
          t.rows = head.sizes[2] - k < e.rows ? head.sizes[2] - k : e.rows;
          t.width = head.sizes[3] - l < e.width ? head.sizes[3] - l : e.width;
          t.first = k == 0;
          for (uint32_t n = 0; n < head.n_operands; ++n) {
            const Operand& p = e.operands[n];
            t.at[n] = e.bases[p.base] + p.offset + size_t{i} * p.strides[0] + size_t{j} * p.strides[1] + k * p.strides[2] + l * p.strides[3];
          }
          for (uint32_t n = 0; n < head.n_instructions; ++n) {
            const Instruction& s = e.instructions[n];
#if UT_SMALL || UT_ISA_ONE_LANE
            run_any(s, t);
#else
            kInstructionKernels.of[s.code](s, t);
#endif
          }
        }
}

}  // namespace
