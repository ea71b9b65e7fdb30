// SPDX-License-Identifier: MIT
// Convolutions against the kernels that they stand for: a product of frames that were put together, an activation, additions.
// See test_kernels.cpp.
#include "kernel_tests.h"

namespace ut_test {

namespace {

// One convolution: frames in a ring and beside it, and what it gives of T of them.
struct Case {
  size_t width, span, beside, M, mix, T, block;
  std::vector<int32_t> taps;  // ascending, the last one 0
  Act act;
  bool planes, has_y, has_sum, has_mix, has_bias;

  explicit Case(Random& r) {
    static const size_t kWidths[] = {1, 2, 3, 4, 5, 8, 11, 16};
    const auto one_of = [&] { return kWidths[r.below(8)]; };
    width = one_of();
    planes = width <= kNarrow;
    M = planes ? 1 + r.below(kNarrow) : one_of();
    mix = planes ? 1 + r.below(kNarrow) : one_of();
    beside = 1 + r.below(2);
    T = 1 + r.below(r.below(2) ? 48 : 3);
    block = 48;
    span = 1 + r.below(60);
    for (int32_t tap = -static_cast<int32_t>(span); tap < 0; tap += 1 + static_cast<int32_t>(r.below(span))) taps.push_back(tap);
    taps.push_back(0);
    static const uint32_t kActs[] = {kActIdentity, kActLeakyRelu, kActTanh, kActSigmoid, kActRelu};
    act = {kActs[r.below(5)], 0.1f, 0.0f};
    has_y = r.below(2);
    has_sum = r.below(2);
    has_mix = r.below(2);
    has_bias = r.below(4);
  }
  size_t K() const { return taps.size() * width + beside; }
};

// Numbers of a case, the same for all ways to compute it.
struct Numbers {
  Floats past, x, aside, W, b, V, v, sum, way;  // past: span frames; x: T; rows without padding

  Numbers(const Case& c, uint64_t seed) {
    Random r(seed);
    const auto some = [&](size_t n) {
      Floats out(n);
      for (float& f : out) f = r.unit();
      if (seed % 4 == 0) out[r.below(n)] = seed % 8 ? 1e-40f : __builtin_inff();
      return out;
    };
    Random junk(seed + 1);
    past = some(c.span * c.width);
    x = some(c.T * c.width);
    aside = some(c.T * c.beside);
    W = panel_matrix(c.M, c.K(), 1, 0.5f, r, kZeros, junk);
    b = rows(1, c.M, 1, r, kZeros, junk);
    V = panel_matrix(c.mix, c.M, 1, 0.5f, r, kZeros, junk);
    v = rows(1, c.mix, 1, r, kZeros, junk);
    sum = some(c.T * c.M);
    way = some(c.T * c.mix);
  }
};

Floats in_panels(const Floats& rows, size_t n, size_t T) {
  Floats out(T * kPanel);
  for (size_t t = 0; t < T; ++t) std::copy_n(rows.data() + t * n, n, out.data() + t * kPanel);
  return out;
}

// y, sums and ways around, as far as the case has them, by one kernel after the other.
Floats apart(const Table& table, const Case& c, const Numbers& n) {
  Floats frames(c.T * c.K()), y(c.T * kPanel), out;
  const auto frame = [&](ptrdiff_t t) {
    return t < 0 ? n.past.data() + (t + static_cast<ptrdiff_t>(c.span)) * static_cast<ptrdiff_t>(c.width) : n.x.data() + static_cast<size_t>(t) * c.width;
  };
  for (size_t t = 0; t < c.T; ++t) {
    float* to = frames.data() + t * c.K();
    for (const int32_t tap : c.taps) to = std::copy_n(frame(static_cast<ptrdiff_t>(t) + tap), c.width, to);
    std::copy_n(n.aside.data() + t * c.beside, c.beside, to);
  }
  const FloatMode mode;
  const auto dense = [&](float* to, const float* x, size_t stride, const Floats& W, const float* b, size_t K) {
    table.products[kFloat32]->dense[1]({to, kPanel, x, stride, W.data(), b, 1, K, nullptr}, c.T);
  };
  dense(y.data(), frames.data(), c.K(), n.W, c.has_bias ? n.b.data() : nullptr, c.K());
  if (c.act.kind != kActIdentity) table.frames->activation(y.data(), y.data(), y.size(), c.act);
  if (c.has_y) collect(&out, y, c.M);
  Floats other(y.size());
  if (c.has_sum) {
    table.frames->binary[kBinAdd](other.data(), in_panels(n.sum, c.M, c.T).data(), y.data(), y.size());
    collect(&out, other, c.M);
  }
  if (c.has_mix) {
    dense(other.data(), y.data(), kPanel, n.V, c.has_bias ? n.v.data() : nullptr, c.M);
    table.frames->binary[kBinAdd](other.data(), in_panels(n.way, c.mix, c.T).data(), other.data(), y.size());
    collect(&out, other, c.mix);
  }
  return out;
}

// The ring of a case, its frames in planes or rows, the oldest one at `first`.
struct RingMemory {
  size_t n, step, stride;
  Floats floats;

  RingMemory(const Case& c, const Numbers& numbers, size_t first)
      : n(c.span + c.block), step(c.planes ? n + c.block : 1), stride(c.planes ? 1 : c.width), floats(kPanel + c.width * (n + c.block) + 2 * kPanel, kCanary) {
    for (size_t t = 0; t < c.span; ++t) put(c, numbers.past.data() + t * c.width, (first + t) % n);
    const uint32_t next = static_cast<uint32_t>((first + c.span) % n);
    memcpy(floats.data(), &next, sizeof next);
  }
  size_t next() const {
    uint32_t place;
    memcpy(&place, floats.data(), sizeof place);
    return place;
  }
  void put(const Case& c, const float* x, size_t at) {
    for (size_t k = 0; k < c.width; ++k) {
      floats[kPanel + at * stride + k * step] = x[k];
      if (at < c.block) floats[kPanel + (n + at) * stride + k * step] = x[k];
    }
  }
};

// The same by one kernel. `apart`: values in planes where the case is narrow, else in rows of panels.
Floats at_once(const Table& table, const Case& c, const Numbers& n, size_t first, bool in_planes) {
  RingMemory ring(c, n, first);
  const size_t at = ring.next();
  for (size_t t = 0; t < c.T; ++t) ring.put(c, n.x.data() + t * c.width, (at + t) % ring.n);
  std::vector<Piece> pieces;
  for (const int32_t tap : c.taps) {
    const size_t place = (at + ring.n + static_cast<size_t>(static_cast<ptrdiff_t>(tap))) % ring.n;
    pieces.push_back({ring.floats.data() + kPanel + place * ring.stride, ring.stride, ring.step, c.width});
  }
  const Floats aside = in_panels(n.aside, c.beside, c.T);
  pieces.push_back({aside.data(), kPanel, 1, c.beside});
  const size_t apart = 4 * kPanel;  // of planes
  const auto room = [&](const Floats* rows, size_t width) {
    Floats out(in_planes ? kNarrow * apart + 2 * kPanel : c.T * kPanel, kCanary);
    for (size_t t = 0; rows && t < c.T; ++t)
      for (size_t k = 0; k < width; ++k) out[in_planes ? k * apart + t : t * kPanel + k] = (*rows)[t * width + k];
    return out;
  };
  Floats y = room(nullptr, c.M), sum_x = room(&n.sum, c.M), sum_y = y, mix_x = room(&n.way, c.mix), mix_y = y;
  const auto elements = [&](Floats& f, bool there) -> Elements {
    if (!there) return {nullptr, 0, 0};
    return in_planes ? Elements{f.data(), 1, apart} : Elements{f.data(), kPanel, 1};
  };
  ConvolutionArgs args = {pieces.data(), pieces.size(), c.planes, n.W.data(), c.has_bias ? n.b.data() : nullptr, c.M, c.act, n.V.data(),
                          c.has_bias ? n.v.data() : nullptr, c.mix, elements(y, c.has_y), elements(sum_x, c.has_sum),
                          elements(sum_y, c.has_sum), elements(mix_x, c.has_mix), elements(mix_y, c.has_mix)};
  {
    const FloatMode mode;
    table.frames->convolution(args, c.T);
  }
  Floats out;
  const auto take = [&](const Floats& f, size_t width) {
    for (size_t t = 0; t < c.T; ++t)
      for (size_t k = 0; k < width; ++k) out.push_back(f[in_planes ? k * apart + t : t * kPanel + k]);
    for (size_t i = 0; in_planes && i < f.size(); ++i)
      CHECK(i % apart < c.T && i / apart < width ? true : f[i] == kCanary, "a convolution on %s wrote behind its planes", table.name);
  };
  if (c.has_y) take(y, c.M);
  if (c.has_sum) take(sum_y, c.M);
  if (c.has_mix) take(mix_y, c.mix);
  return out;
}

// The same of its first frame, begun and finished, as a step goes; and whether the ring then holds that frame.
Floats in_two(const Table& table, const Case& c, const Numbers& n, size_t first, size_t n_pasts) {
  RingMemory ring(c, n, first), expected = ring;
  enum { kX, kAside, kY, kSum, kSums, kWay, kMixed, kPlaces };
  const size_t capacity = 3;
  Floats values(kPlaces * kPanel * capacity, kCanary);
  const auto put = [&](size_t place, const Floats& rows, size_t width) { std::copy_n(rows.data(), width, values.data() + place * kPanel * capacity); };
  put(kX, n.x, c.width);
  put(kAside, n.aside, c.beside);
  put(kSum, n.sum, c.M);
  put(kWay, n.way, c.mix);
  const StreamMemory memory = {values.data(), capacity, ring.floats.data(), c.block};
  const RingPlan plan = {0, 0, c.span, c.width, c.planes};
  const float* b = c.has_bias ? n.b.data() : nullptr;
  // Others stand beside it, of as many taps or fewer, and must not disturb it.
  std::vector<Past> pasts(n_pasts, Past{plan, c.taps.data(), c.taps.size() - 1, n.W.data(), b, c.M, kY * kPanel});
  for (size_t i = 1; i < n_pasts; ++i) pasts[i].y = kMixed * kPanel, pasts[i].n_taps -= pasts[i].n_taps / 5;
  Finish f = {};
  f.ring = plan;
  f.x = f.pieces[0] = kX * kPanel;
  f.pieces[1] = kAside * kPanel;
  f.n_pieces = 2;
  f.widths[0] = c.width, f.widths[1] = c.beside;
  f.begun = true;
  f.sums = c.has_sum;
  f.W = n.W.data() + (c.taps.size() - 1) * c.width * kPanel;
  f.n_outputs = f.widest = c.M;
  f.act = c.act;
  if (c.has_mix) {
    f.mix_W = n.V.data();
    f.mix_b = c.has_bias ? n.v.data() : nullptr;
    f.widest = std::max(c.M, c.mix);
  }
  f.y = kY * kPanel, f.sum_x = kSum * kPanel, f.sum_y = kSums * kPanel, f.mix_x = kWay * kPanel, f.mix_y = kMixed * kPanel;
  {
    const FloatMode mode;
    table.frames->past(pasts.data(), pasts.size(), memory);
    table.frames->finish(f, memory);
  }
  expected.put(c, n.x.data(), expected.next());
  const uint32_t next = static_cast<uint32_t>((expected.next() + 1) % expected.n);
  memcpy(expected.floats.data(), &next, sizeof next);
  CHECK(!memcmp(expected.floats.data(), ring.floats.data(), ring.floats.size() * sizeof(float)), "the ring on %s is not as it should be", table.name);
  Floats out;
  const auto take = [&](size_t place, size_t width) {
    out.insert(out.end(), values.begin() + static_cast<ptrdiff_t>(place * kPanel * capacity), values.begin() + static_cast<ptrdiff_t>(place * kPanel * capacity + width));
  };
  if (c.has_y) take(kY, c.M);
  if (c.has_sum) take(kSums, c.M);
  if (c.has_mix) take(kMixed, c.mix);
  return out;
}

}  // namespace

void test_convolutions(const std::vector<const Table*>& tables, size_t n_seeds) {
  if (!tables[0]->frames->convolution) return static_cast<void>(printf("convolutions at once: not in this build (UT_SMALL)\n"));
  for (uint64_t seed = 0; seed < n_seeds; ++seed) {
    Random r(seed + 5);
    const Case c(r);
    const Numbers n(c, seed);
    const size_t first = r.below(c.span + c.block);
    const Floats expected = apart(*tables.back(), c, n);
    for (const Table* table : tables) {
      compare("convolution", seed, table->name, "apart", apart(*table, c, n), expected);
      compare("convolution", seed, table->name, "at once", at_once(*table, c, n, first, false), expected);
      if (c.planes) compare("convolution", seed, table->name, "in planes", at_once(*table, c, n, first, true), expected);
      Case one = c;
      one.T = 1;
      const Floats first_frame = apart(*table, one, n);
      for (size_t n_pasts = 1; n_pasts <= 9; n_pasts += 2)
        compare("convolution", seed, table->name, "in two", in_two(*table, one, n, first, n_pasts), first_frame);
    }
  }
}

}  // namespace ut_test
