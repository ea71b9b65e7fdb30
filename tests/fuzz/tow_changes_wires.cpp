// SPDX-License-Identifier: MIT
// What nodes read and how they are set: params, flags, taps, wires and gates.
#include <algorithm>

#include "tow_changes.h"

namespace ut_fuzz {

namespace {

bool params(File* f, Random* random) {
  Node* node = any_node(f, random);
  if (!node || node->params.empty()) return false;
  uint32_t& word = node->params[random->below(node->params.size())];
  switch (random->below(6)) {
    case 0:
      word = static_cast<uint32_t>(random->below(28));
      break;
    case 1:
      word ^= 1u << random->below(5);
      break;
    case 2:
      word = ut_test::as_bits(random->unit() * 4);
      break;
    case 3:
      word = ut_test::as_bits(odd_number(random));
      break;
    case 4:
      word += static_cast<uint32_t>(random->below(3)) - 1;
      break;
    default:
      word = -static_cast<uint32_t>(random->below(70));
  }
  return true;
}
bool flags(File* f, Random* random) {
  Node* node = any_node(f, random);
  if (!node || (!is_cell(node->kind) && node->kind != kLast) || node->params.empty()) return false;
  const size_t at = is_cell(node->kind) ? 3 * cell_format(node->kind)->n_acts : 0;
  if (at + 1 >= node->params.size() + (node->kind == kLast)) return false;
  node->params[at] ^= 1u << random->below(4);
  if (is_cell(node->kind) && one_in(random, 3))
    node->params[at + 1] = ut_test::as_bits(one_in(random, 2) ? 0.0f : 0.5f);
  if (is_framed(node->kind) && one_in(random, 3)) node->params.back() = 1 + static_cast<uint32_t>(random->below(20));
  return true;
}
bool taps(File* f, Random* random) {
  for (Node& node : f->nodes) {
    if (node.kind != kWindow || !one_in(random, 2)) continue;
    if (one_in(random, 2) && node.params.size() > 1)
      node.params.erase(node.params.begin() + static_cast<ptrdiff_t>(random->below(node.params.size())));
    else
      node.params.push_back(static_cast<uint32_t>(random->below(3)) -
                            static_cast<uint32_t>(random->below(one_in(random, 4) ? 60 : 5)));
    return true;
  }
  return false;
}

bool wire(File* f, Random* random) {
  if (f->nodes.empty()) return false;
  const size_t at = random->below(f->nodes.size());
  Node& node = f->nodes[at];
  if (node.inputs.empty()) return false;
  uint32_t& input = node.inputs[random->below(node.inputs.size())];
  if (input >= f->values.size()) return false;
  const Value& now = f->values[input];
  const uint32_t other = value_before(*f, at, now.dtype, one_in(random, 4) ? 0 : size_of(now.shape), random);
  if (other != kNone) input = other;
  if (one_in(random, 40)) input = static_cast<uint32_t>(random->below(f->values.size()));
  if (one_in(random, 8)) node.inputs.push_back(input);
  return true;
}

// A second input of a layer with states, a window or a state_write: the layer's own input, its memory under another
// number, an element of some value, or anything of one element; or none any more.
bool gate(File* f, Random* random) {
  std::vector<size_t> may;
  for (size_t i = 0; i < f->nodes.size(); ++i)
    if ((is_cell(f->nodes[i].kind) && !f->nodes[i].states.empty()) || f->nodes[i].kind == kWindow ||
        f->nodes[i].kind == kStateWrite)
      may.push_back(i);
  if (may.empty()) return false;
  size_t at = may[random->below(may.size())];
  if (f->nodes[at].inputs.empty() || f->nodes[at].inputs[0] >= f->values.size()) return false;
  const uint32_t x = f->nodes[at].inputs[0];
  uint32_t g = kNone;
  if (f->nodes[at].inputs.size() > 1 && one_in(random, 2)) {
    f->nodes[at].inputs.resize(1);
    return true;
  }
  switch (random->below(5)) {
    case 0:
      f->values[x].shape = {1};
      g = x;
      break;
    case 1:
      f->values[x].shape = {1, 1};
      if (insert_node(f, at, kReshape, {x}, random)) g = f->first_output(at++);
      break;
    case 2: {
      const uint32_t from = value_before(*f, at, kFloat32, 0, random);
      if (from == kNone || !insert_node(f, at, kSelect, {from}, random)) break;
      Tensor one;
      one.dtype = kInt32;
      one.bytes.resize(64);
      const uint8_t run[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1};
      std::copy(run, run + sizeof run, one.bytes.begin());
      f->tensors.push_back(one);
      f->nodes[at].tensors = {static_cast<uint32_t>(f->tensors.size() - 1)};
      f->nodes[at].params = {1};
      g = f->first_output(at);
      f->values[g].shape = {1};
      ++at;
      break;
    }
    case 3: {
      for (size_t i = 0; i < at; ++i)
        if (f->nodes[i].kind == kPresent) g = f->first_output(i);
      if (g == kNone && insert_node(f, 0, kPresent, {}, random)) g = f->first_output(0), ++at;
      break;
    }
    default:
      g = value_before(*f, at, kFloat32, 1, random);
  }
  if (g == kNone) return false;
  f->nodes[at].inputs.resize(1);
  f->nodes[at].inputs.push_back(g);
  return true;
}

}  // namespace

std::vector<Change> changes_of_wires() {
  return {{"params", 6, kNothing, params},
          {"flags", 5, kNothing, flags},
          {"taps", 3, kNothing, taps},
          {"wire", 6, kNothing, wire},
          {"gate", 8, kNothing, gate}};
}

}  // namespace ut_fuzz
