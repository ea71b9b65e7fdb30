// SPDX-License-Identifier: MIT
// What the shapes of a file say, and how its numbers follow when tables change.
#include <algorithm>

#include "tow_program.h"

namespace ut_fuzz {

CellSizes sizes_of_cell(const File& file, size_t i) {
  const Node& node = file.nodes[i];
  const Shape& x = file.values[node.inputs[0]].shape;
  const auto state = [&](size_t k) { return size_of(file.states[node.states[k]].shape); };
  if (!is_framed(node.kind)) return {state(node.states.size() - 1), state(0), size_of(x), 1, 1};
  const size_t n_flags = 3 * cell_format(node.kind)->n_acts;
  const bool steps = node.params[n_flags] & kSteps;
  CellSizes s;
  s.H = node.params[n_flags + 2];
  s.I = x.back();
  s.L = steps ? x[0] : 1;
  s.B = x.size() > 1u + steps ? x[x.size() - 2] : 1;
  s.F = size_of(file.values[file.first_output(i)].shape) / (s.L * s.B);
  return s;
}

bool has_filters(const File& file, const Node& node) {
  return !node.tensors.empty() && node.tensors[0] != kNone && file.tensors[node.tensors[0]].dtype == kInt16;
}

std::vector<Matrix> matrices(const File& file, size_t i) {
  const Node& node = file.nodes[i];
  if (node.kind == kDense) {
    const Shape &x = file.values[node.inputs[0]].shape, &y = file.values[file.first_output(i)].shape;
    return {{0, y.back(), x.back(), 1}};
  }
  if (node.kind == kDepthwise && has_filters(file, node)) {
    const Shape& x = file.values[node.inputs[0]].shape;
    return {{0, x[2], x[1], 1}};
  }
  const CellFormat* cell = cell_format(node.kind);
  if (!cell) return {};
  const CellSizes s = sizes_of_cell(file, i);
  const uint32_t G = cell->n_gates;
  const bool before = cell->kind == kGru && !(node.params[3 * cell->n_acts] & kVariant);
  std::vector<Matrix> all = {{0, s.H, s.I, G}, {2, s.H, s.F, before ? 2 : G}};
  if (before) all.push_back({3, s.H, s.H, 1});
  if (cell->kind == kLstm && node.tensors[4] != kNone) all.push_back({4, s.F, s.H, 1});
  return all;
}

uint64_t work(const File& file) {
  uint64_t all = 0;
  for (size_t i = 0; i < file.nodes.size(); ++i) {
    const Node& node = file.nodes[i];
    const uint32_t first = file.first_output(i);
    uint64_t outputs = 0, inputs = 0, times = 1;
    for (uint32_t k = 0; k < node.n_outputs; ++k) outputs += size_of(file.values[first + k].shape);
    for (const uint32_t v : node.inputs) inputs += size_of(file.values[v].shape);
    for (const uint32_t s : node.states) inputs += size_of(file.states[s].shape);
    all += 20 * outputs + inputs + 100;
    if (node.kind == kDense) times = outputs / file.values[first].shape.back();
    if (node.kind == kExpression) {
      const Program p = program_of(node.params);
      all += 20 * p.n_elements() * p.steps.size();
    }
    if (node.kind == kMatmul) all += outputs * file.values[node.inputs[0]].shape.back();
    if (node.kind == kAttend) all += uint64_t{node.params[0]} * node.params[2] * (uint64_t{node.params[3]} + node.params[4]);
    if (const CellFormat* cell = cell_format(node.kind)) {
      const CellSizes s = sizes_of_cell(file, i);
      times = s.L * s.B;
      all += 40 * times * cell->n_gates * s.H;
    }
    for (const Matrix& m : matrices(file, i)) all += times * padded(m.M) * m.K * m.G;
  }
  return all;
}

uint64_t floats(const File& file) {
  uint64_t all = 0;
  for (const Value& v : file.values) all += padded(size_of(v.shape));
  for (const State& s : file.states) all += padded(size_of(s.shape));
  for (const Node& node : file.nodes)
    if (node.kind == kExpression) {
      const Program p = program_of(node.params);
      all += p.n_slots * padded(p.sizes[kLastAxis]);
    }
  return all;
}

void set_outputs(File* file, size_t node, uint32_t n) {
  Node& changed = file->nodes[node];
  const uint32_t end = file->first_output(node) + changed.n_outputs, by = n - changed.n_outputs;
  if (by == 0) return;
  const auto at = file->values.begin() + static_cast<ptrdiff_t>(end);
  if (n > changed.n_outputs) {
    file->values.insert(at, by, Value());
    for (uint32_t k = 0; k < by; ++k) file->values[end + k].name = "value " + std::to_string(file->values.size() - k);
  } else {
    file->values.erase(at - static_cast<ptrdiff_t>(changed.n_outputs - n), at);
  }
  changed.n_outputs = n;
  const auto follow = [&](uint32_t* v) {
    if (*v >= end) *v += by;
  };
  for (Node& other : file->nodes)
    for (uint32_t& v : other.inputs) follow(&v);
  for (Output& o : file->outputs) {
    follow(&o.value);
    if (o.value >= file->values.size()) o.value = 0;
  }
}

void order_states(File* file) {
  std::vector<uint32_t> order;
  std::vector<State> states;
  const auto take = [&](uint32_t s) {
    order.push_back(s);
    states.push_back(file->states[s]);
    return static_cast<uint32_t>(states.size() - 1);
  };
  for (Node& node : file->nodes)
    for (uint32_t& s : node.states)
      if (!is_register(node.kind)) s = take(s);
  const size_t n_owned = states.size();
  for (Node& node : file->nodes)
    for (uint32_t& s : node.states) {
      if (!is_register(node.kind)) continue;
      const auto found = std::find(order.begin() + static_cast<ptrdiff_t>(n_owned), order.end(), s);
      s = found == order.end() ? take(s) : static_cast<uint32_t>(found - order.begin());
    }
  file->states = states;
}

}  // namespace ut_fuzz
