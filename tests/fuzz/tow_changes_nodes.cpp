// SPDX-License-Identifier: MIT
// Nodes: new ones, copies, fewer, in another order, of another kind.
#include <algorithm>

#include "tow_changes.h"

namespace ut_fuzz {

namespace {

// Tensors for `fit` to make, and which of those that may be left out there are.
void begin_tensors(File* f, Node* node, Random* random) {
  static const uint32_t kMatrix[] = {kFloat32, kFloat32, kFloat16,       kBfloat16,
                                     kInt8,    kInt4,    kSparseFloat32, kSparseInt8};
  const auto add = [&](uint32_t dtype, bool optional) {
    node->tensors.push_back(optional && one_in(random, 2) ? kNone : blank(f, dtype));
  };
  const auto matrix = [&](bool optional = false) { add(kMatrix[random->below(8)], optional); };
  const auto vector = [&](bool optional) { add(kFloat32, optional); };
  if (node->kind == kDense) matrix(), vector(true);
  if (node->kind == kDepthwise) add(one_in(random, 4) ? kInt16 : kFloat32, false), vector(true);
  if (node->kind == kAffine) vector(false), vector(false);
  if (node->kind == kLayerNorm) vector(true), vector(true);
  if (node->kind == kEmbedding) add(kMatrix[random->below(6)], false);
  const CellFormat* cell = cell_format(node->kind);
  if (!cell) return;
  matrix(), vector(true), matrix();
  if (cell->kind == kGru) matrix(), vector(false);
  if (cell->kind == kLstm) vector(true), matrix(true);
}

void begin_params(Node* node, Random* random) {
  if (node->kind == kWindow)
    for (uint32_t k = 1 + static_cast<uint32_t>(random->below(4)); k != 0; --k)
      node->params.push_back(-static_cast<uint32_t>(random->below(6)));
  if (node->kind == kDense || node->kind == kActivation || node->kind == kDepthwise) {
    const bool plain = node->kind != kActivation && one_in(random, 2);
    const float alpha = one_in(random, 8) ? odd_number(random) : random->unit();
    node->params = {plain ? 0 : static_cast<uint32_t>(random->below(26)), ut_test::as_bits(alpha),
                    ut_test::as_bits(random->unit() + 1)};
  }
  if (node->kind == kBinary || node->kind == kReduce || node->kind == kSoftmax)
    node->params = {static_cast<uint32_t>(random->below(11))};
}

// An op of some kind on values that are there, with what stands around it: reshapes for those of several axes, a
// state_write for every state_read.
bool new_op(File* f, Random* random) {
  static const uint32_t kCells[] = {kDense, kRnn, kGru, kLstm, kRnnFramed, kGruFramed, kLstmFramed};
  const uint32_t kind =
      one_in(random, 3) ? kCells[random->below(7)] : 1 + static_cast<uint32_t>(random->below(kEndOfKinds - 1));
  size_t at = one_in(random, 2) ? f->nodes.size() : random->below(f->nodes.size() + 1);
  uint32_t x = value_before(*f, at, kind == kEmbedding ? kInt32 : kFloat32, 0, random);
  if (x == kNone && kind != kConstant && kind != kPresent && kind != kStateRead) return false;
  std::vector<uint32_t> inputs = {x};
  const auto reshaped = [&](const Shape& shape) {
    if (!insert_node(f, at, kReshape, {x}, random)) return false;
    const uint32_t y = f->first_output(at++);
    f->values[y].shape = shape;
    inputs.push_back(y);
    return true;
  };
  if (x != kNone) {
    const uint32_t n = static_cast<uint32_t>(size_of(f->values[x].shape)), d = n % 3 == 0 ? 3 : n % 2 == 0 ? 2 : 1;
    if (kind == kDepthwise || kind == kReduce || (is_framed(kind) && one_in(random, 2))) {
      inputs.clear();
      if (!reshaped(one_in(random, 2) ? Shape{1, n / d, d} : Shape{d, n / d, 1})) return false;
    }
    if (kind == kMatmul) {
      inputs.clear();
      if (!reshaped({d, n / d}) || !reshaped({n / d, d})) return false;
    }
    if (kind == kConcat || kind == kSelect || kind == kExpression)
      for (size_t k = random->below(3); k != 0; --k) inputs.push_back(value_before(*f, at, kFloat32, 0, random));
    if (kind == kBinary || kind == kWhere)
      for (size_t k = 1 + (kind == kWhere); k != 0; --k) inputs.push_back(value_before(*f, at, kFloat32, n, random));
    if (is_framed(kind) && one_in(random, 3))
      for (size_t k = cell_format(kind)->n_states; k != 0; --k)
        inputs.push_back(value_before(*f, at, kFloat32, 0, random));
  }
  if (kind == kStateWrite || kind == kPresent)
    for (const Node& other : f->nodes)
      if (other.kind == kPresent || other.kind == kStateWrite) return false;
  if (!insert_node(f, at, kind, inputs, random)) return false;
  if (kind == kStateRead) {
    const uint32_t state = f->nodes[at].states[0], y = f->first_output(at);
    const uint32_t from = value_before(*f, f->nodes.size(), kFloat32, size_of(f->states[state].shape), random);
    if (insert_node(f, f->nodes.size(), kStateWrite, {from == kNone ? y : from}, random))
      f->nodes.back().states = {state};
  }
  if (f->nodes[at].n_outputs != 0) read_value(f, f->first_output(at), random);
  return true;
}

bool copy_node(File* f, Random* random) {
  if (f->nodes.empty()) return false;
  const size_t from = random->below(f->nodes.size()), at = from + 1 + random->below(f->nodes.size() - from);
  Node copy = f->nodes[from];
  if (copy.kind == kPresent) return false;
  const uint32_t n = copy.n_outputs;
  copy.name = new_name(*f);
  if (!is_register(copy.kind))
    for (uint32_t& s : copy.states) {
      f->states.push_back(f->states[s]);
      f->states.back().name = new_name(*f);
      s = static_cast<uint32_t>(f->states.size() - 1);
    }
  copy.n_outputs = 0;
  f->nodes.insert(f->nodes.begin() + static_cast<ptrdiff_t>(at), copy);
  set_outputs(f, at, n);
  for (uint32_t k = 0; k < n; ++k) {
    Value& y = f->values[f->first_output(at) + k];
    const std::string name = y.name;
    y = f->values[f->first_output(from) + k];
    y.name = name;
  }
  if (n != 0) read_value(f, f->first_output(at), random);
  return true;
}

bool drop_node(File* f, Random* random) {
  if (f->nodes.empty()) return false;
  const size_t at = random->below(f->nodes.size());
  const uint32_t first = f->first_output(at), end = first + f->nodes[at].n_outputs;
  const auto instead = [&](uint32_t* v) {
    if (*v < first || *v >= end) return true;
    const Value& gone = f->values[*v];
    *v = value_before(*f, at, gone.dtype, size_of(gone.shape), random);
    if (*v == kNone) *v = value_before(*f, at, gone.dtype, 0, random);
    return *v != kNone;
  };
  for (Node& node : f->nodes)
    for (uint32_t& v : node.inputs)
      if (!instead(&v)) return false;
  for (Output& o : f->outputs)
    if (!instead(&o.value)) return false;
  set_outputs(f, at, 0);
  f->nodes.erase(f->nodes.begin() + static_cast<ptrdiff_t>(at));
  return true;
}

bool swap_nodes(File* f, Random* random) {
  if (f->nodes.size() < 2) return false;
  const size_t at = random->below(f->nodes.size() - 1);
  const uint32_t first = f->first_output(at), n = f->nodes[at].n_outputs, m = f->nodes[at + 1].n_outputs;
  const auto begin = f->values.begin() + static_cast<ptrdiff_t>(first);
  std::rotate(begin, begin + n, begin + n + m);
  std::swap(f->nodes[at], f->nodes[at + 1]);
  const auto follow = [&](uint32_t* v) {
    if (*v >= first && *v < first + n + m) *v = *v < first + n ? *v + m : *v - n;
  };
  for (Node& node : f->nodes)
    for (uint32_t& v : node.inputs) follow(&v);
  for (Output& o : f->outputs) follow(&o.value);
  return true;
}

bool kind(File* f, Random* random) {
  static const std::vector<uint32_t> kAlike[] = {{kActivation, kSoftmax, kLayerNorm, kAffine, kLast, kFlip, kReshape},
                                                 {kBinary, kWhere, kConcat, kMatmul, kSelect, kExpression},
                                                 {kDense, kRnn, kGru, kLstm, kRnnFramed, kGruFramed, kLstmFramed},
                                                 {kDepthwise, kReduce, kSelect, kWindow}};
  Node* node = any_node(f, random);
  if (!node) return false;
  const uint32_t before = node->kind;
  for (const std::vector<uint32_t>& some : kAlike)
    if (std::count(some.begin(), some.end(), before) && !one_in(random, 8))
      node->kind = some[random->below(some.size())];
  if (node->kind == before) node->kind = static_cast<uint32_t>(random->below(kEndOfKinds + 1));
  if (is_cell(before) && cell_format(before) == cell_format(node->kind)) return true;
  node->params.clear();
  node->tensors.clear();
  if (!is_cell(node->kind)) node->states.clear();
  begin_tensors(f, node, random);
  begin_params(node, random);
  return true;
}

}  // namespace

Node* any_node(File* f, Random* random) {
  return f->nodes.empty() ? nullptr : &f->nodes[random->below(f->nodes.size())];
}

uint32_t blank(File* f, uint32_t dtype) {
  Tensor t;
  t.dtype = dtype;
  f->tensors.push_back(t);
  return static_cast<uint32_t>(f->tensors.size() - 1);
}

uint32_t value_before(const File& f, size_t at, uint32_t dtype, uint64_t size, Random* random) {
  const uint32_t end = f.first_output(at), start = end ? static_cast<uint32_t>(random->below(end)) : 0;
  for (uint32_t k = 0; k < end; ++k) {
    const uint32_t v = (start + k) % end;
    if (f.values[v].dtype == dtype && (size == 0 || size_of(f.values[v].shape) == size)) return v;
  }
  return kNone;
}

std::string new_name(const File& file) {
  return "new " + std::to_string(file.nodes.size()) + "." + std::to_string(file.values.size()) + "." +
         std::to_string(file.states.size()) + "." + std::to_string(file.outputs.size());
}

bool insert_node(File* file, size_t at, uint32_t kind, std::vector<uint32_t> inputs, Random* random) {
  Node node;
  node.kind = kind;
  node.name = new_name(*file);
  node.inputs = std::move(inputs);
  node.inputs.erase(std::remove(node.inputs.begin(), node.inputs.end(), kNone), node.inputs.end());
  begin_tensors(file, &node, random);
  begin_params(&node, random);
  if (kind == kWindow && !one_in(random, 6)) {
    file->states.push_back({new_name(*file), kNone, {1}});
    node.states.push_back(static_cast<uint32_t>(file->states.size() - 1));
  }
  file->nodes.insert(file->nodes.begin() + static_cast<ptrdiff_t>(at), node);
  return fit(file, at, random);
}

void read_value(File* file, uint32_t value, Random* random) {
  const Value& v = file->values[value];
  for (int tries = 0; tries < 6 && !one_in(random, 3); ++tries) {
    Node* node = any_node(file, random);
    if (!node || node->inputs.empty()) continue;
    uint32_t& input = node->inputs[random->below(node->inputs.size())];
    const size_t at = static_cast<size_t>(node - file->nodes.data());
    if (value >= file->first_output(at) || input >= file->values.size() || file->values[input].dtype != v.dtype)
      continue;
    if (size_of(file->values[input].shape) != size_of(v.shape) && !one_in(random, 4)) continue;
    input = value;
    return;
  }
  file->outputs.push_back({new_name(*file), value});
}

void insert_inputs(File* file, const std::vector<Value>& values) {
  const uint32_t first = file->n_inputs, by = static_cast<uint32_t>(values.size());
  file->values.insert(file->values.begin() + first, values.begin(), values.end());
  file->n_inputs += by;
  for (Node& node : file->nodes)
    for (uint32_t& v : node.inputs)
      if (v >= first) v += by;
  for (Output& o : file->outputs)
    if (o.value >= first) o.value += by;
}

std::vector<Change> changes_of_nodes() {
  return {{"new op", 16, kNothing, new_op},
          {"copied node", 3, kNothing, copy_node},
          {"dropped node", 4, kNothing, drop_node},
          {"swapped nodes", 2, kNothing, swap_nodes},
          {"kind", 4, kNothing, kind}};
}

}  // namespace ut_fuzz
