// SPDX-License-Identifier: MIT
// Names, shapes, inputs, outputs and initial states.
#include <algorithm>

#include "tow_changes.h"

namespace ut_fuzz {

namespace {

template <class T>
T& any_of(std::vector<T>* all, Random* random) {
  return (*all)[random->below(all->size())];
}

uint32_t any_dim(Random* random) {
  static const uint32_t kDims[] = {1, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 64, 65, 128};
  return kDims[random->below(sizeof kDims / sizeof *kDims)];
}

bool change_shape(Shape* shape, Random* random) {
  switch (random->below(6)) {
    case 0:
      if (shape->size() < 8)
        shape->insert(shape->begin() + static_cast<ptrdiff_t>(random->below(shape->size() + 1)), any_dim(random));
      return true;
    case 1:
      if (!shape->empty()) shape->erase(shape->begin() + static_cast<ptrdiff_t>(random->below(shape->size())));
      return true;
    case 2:
      if (shape->size() > 1) std::swap(any_of(shape, random), any_of(shape, random));
      return true;
    case 3:
      *shape = {1};
      return true;
    default:
      if (shape->empty()) return false;
      any_of(shape, random) = any_dim(random);
      return true;
  }
}

bool input_shape(File* f, Random* random) {
  return f->n_inputs != 0 && change_shape(&f->values[random->below(f->n_inputs)].shape, random);
}
// The last axis of what a layer gives is its number of units.
bool output_shape(File* f, Random* random) {
  return f->values.size() > f->n_inputs &&
         change_shape(&f->values[f->n_inputs + random->below(f->values.size() - f->n_inputs)].shape, random);
}
bool state_shape(File* f, Random* random) {
  if (f->states.empty()) return false;
  Shape& shape = any_of(&f->states, random).shape;
  return one_in(random, 2) ? change_shape(&shape, random) : (shape = {any_dim(random)}, true);
}

bool value_dtype(File* f, Random* random) {
  if (f->values.empty()) return false;
  Value& v = any_of(&f->values, random);
  v.dtype = v.dtype == kFloat32 ? kInt32 : kFloat32;
  v.n_ids = v.dtype == kFloat32 ? 0 : 1 + static_cast<uint32_t>(random->below(9));
  return true;
}
bool n_ids(File* f, Random* random) {
  static const uint32_t kCounts[] = {0, 1, 2, 7, 0x7fffffff, 0x80000000, 0xffffffff};
  if (f->values.empty()) return false;
  any_of(&f->values, random).n_ids = kCounts[random->below(7)];
  return true;
}

// Names of inputs, states and outputs, which a program looks things up by; and the others.
std::vector<std::string*> names(File* f, size_t which) {
  std::vector<std::string*> all;
  if (which == 0)
    for (uint32_t i = 0; i < f->n_inputs; ++i) all.push_back(&f->values[i].name);
  if (which == 1)
    for (State& s : f->states) all.push_back(&s.name);
  if (which == 2)
    for (Output& o : f->outputs) all.push_back(&o.name);
  if (which == 3) {
    all = {&f->name, &f->source};
    for (Node& node : f->nodes) all.push_back(&node.name);
  }
  return all;
}

bool name(File* f, Random* random) {
  static const char* const kNames[] = {
      "",        "\xff", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\xaf", "\xe2\x82\xac", "a b", "a/b", "a\nb",
      "\x1b[2J", "x",    "y"};
  const std::vector<std::string*> all = names(f, random->below(4));
  if (all.empty()) return false;
  std::string* changed = all[random->below(all.size())];
  switch (random->below(4)) {
    case 0:
      *changed = std::string(random->below(2000), 'n');
      break;
    case 1:
      *changed += std::string("\0z", 2);
      break;
    default:
      *changed = kNames[random->below(sizeof kNames / sizeof *kNames)];
  }
  return true;
}

// Two of one kind with one name, or with names that are one once what is no UTF-8 has been replaced.
bool same_names(File* f, Random* random) {
  const std::vector<std::string*> all = names(f, random->below(3));
  if (all.size() < 2) return false;
  const size_t i = random->below(all.size()), k = random->below(all.size() - 1);
  std::string &a = *all[i], &b = *all[k < i ? k : k + 1];
  if (one_in(random, 3)) {
    b = a + "\xff";
    a += "\xfe";
  } else {
    b = a;
  }
  return true;
}

bool frames(File* f, Random* random) {
  static const uint32_t kCounts[] = {1, 1, 2, 3, 160, 4096, 1u << 24, 0, (1u << 24) + 1, 0xffffffff};
  f->version = static_cast<uint32_t>(one_in(random, 16) ? random->below(8) : 1 + random->below(kLastVersion));
  f->frames_in = f->version == 1 ? 0 : kCounts[random->below(one_in(random, 4) ? 10 : 7)];
  f->frames_out = f->version == 1 ? 0 : kCounts[random->below(one_in(random, 4) ? 10 : 7)];
  f->sample_rate = f->version >= 3 || one_in(random, 16) ? kCounts[random->below(10)] : 0;
  return true;
}

bool output_value(File* f, Random* random) {
  if (f->outputs.empty() || f->values.empty()) return false;
  any_of(&f->outputs, random).value = static_cast<uint32_t>(random->below(f->values.size()));
  return true;
}
bool more_outputs(File* f, Random* random) {
  if (f->values.empty() || f->outputs.size() > 12) return false;
  f->outputs.push_back({new_name(*f), static_cast<uint32_t>(random->below(f->values.size()))});
  return true;
}
bool fewer_outputs(File* f, Random* random) {
  if (f->outputs.empty()) return false;
  f->outputs.erase(f->outputs.begin() + static_cast<ptrdiff_t>(random->below(f->outputs.size())));
  return true;
}
bool more_inputs(File* f, Random* random) {
  if (f->n_inputs > 6) return false;
  Value v;
  v.name = new_name(*f);
  v.shape = {any_dim(random)};
  if (one_in(random, 4)) v.dtype = kInt32, v.n_ids = 1 + static_cast<uint32_t>(random->below(5));
  insert_inputs(f, {v});
  read_value(f, f->n_inputs - 1, random);
  return true;
}

bool initial_state(File* f, Random* random) {
  if (f->states.empty()) return false;
  State& s = any_of(&f->states, random);
  if (s.init != kNone && one_in(random, 2)) {
    s.init = kNone;
    return true;
  }
  Tensor t;
  const uint64_t n = size_of(s.shape);
  if (n > 4096) return false;
  add_numbers(&t.bytes, kFloat32, padded(n), random);
  f->tensors.push_back(t);
  s.init = static_cast<uint32_t>(f->tensors.size() - 1);
  return true;
}
// Two layers with one state, or states in another order.
bool state_order(File* f, Random* random) {
  if (f->states.size() < 2) return false;
  std::vector<uint32_t*> used;
  for (Node& node : f->nodes)
    for (uint32_t& s : node.states) used.push_back(&s);
  if (used.size() < 2) return false;
  uint32_t *a = used[random->below(used.size())], *b = used[random->below(used.size())];
  one_in(random, 2) ? std::swap(*a, *b) : static_cast<void>(*a = *b);
  return true;
}

void drop_input(File* f, uint32_t i) {
  f->values.erase(f->values.begin() + i);
  --f->n_inputs;
  for (Node& node : f->nodes)
    for (uint32_t& v : node.inputs) v -= v > i;
  for (Output& o : f->outputs) o.value -= o.value > i;
}

// Which values and nodes the outputs need, and the registers of those. The file may be one that was left broken: what
// it names need not be there.
void find_needed(const File& f, std::vector<bool>* values, std::vector<bool>* nodes) {
  std::vector<bool> states(f.states.size());
  const auto mark = [](std::vector<bool>* all, uint32_t i) {
    if (i < all->size()) (*all)[i] = true;
  };
  const auto marked = [](const std::vector<bool>& all, uint32_t i) { return i < all.size() && all[i]; };
  for (const Output& o : f.outputs) mark(values, o.value);
  for (bool more = true; more;) {
    more = false;
    for (size_t i = f.nodes.size(); i-- > 0;) {
      const Node& node = f.nodes[i];
      bool needed = node.n_outputs == 0 && !node.states.empty() && marked(states, node.states[0]);
      for (uint32_t k = 0; k < node.n_outputs; ++k)
        needed = needed || marked(*values, static_cast<uint32_t>(f.first_output(i)) + k);
      if (!needed || (*nodes)[i]) continue;
      more = (*nodes)[i] = true;
      for (const uint32_t v : node.inputs) mark(values, v);
      for (const uint32_t s : node.states) mark(&states, s);
    }
  }
}

}  // namespace

bool keep_some(File* f, Random* random) {
  if (f->outputs.empty()) return false;
  std::vector<Output> kept;
  for (const Output& o : f->outputs)
    if (one_in(random, f->outputs.size())) kept.push_back(o);
  f->outputs = kept.empty() ? std::vector<Output>{any_of(&f->outputs, random)} : kept;
  // Somewhere inside, so that what is left gets small.
  if (one_in(random, 3)) f->outputs[0].value = static_cast<uint32_t>(random->below(f->values.size()));
  std::vector<bool> values(f->values.size()), nodes(f->nodes.size());
  find_needed(*f, &values, &nodes);
  for (size_t i = f->nodes.size(); i-- > 0;) {
    if (nodes[i]) continue;
    set_outputs(f, i, 0);
    f->nodes.erase(f->nodes.begin() + static_cast<ptrdiff_t>(i));
  }
  for (uint32_t i = f->n_inputs; i-- > 0;)
    if (!values[i]) drop_input(f, i);
  return true;
}

std::vector<Change> changes_of_tables() {
  return {{"input shape", 6, kNothing, input_shape},
          {"output shape", 6, kNothing, output_shape},
          {"state shape", 6, kNothing, state_shape},
          {"value dtype", 1, kNothing, value_dtype},
          {"n_ids", 1, kNothing, n_ids},
          {"name", 2, kNames, name},
          {"same names", 2, kNames, same_names},
          {"frames", 1, kNothing, frames},
          {"output value", 3, kNothing, output_value},
          {"more outputs", 3, kNothing, more_outputs},
          {"fewer outputs", 1, kNothing, fewer_outputs},
          {"more inputs", 2, kNothing, more_inputs},
          {"initial state", 3, kNothing, initial_state},
          {"fewer of all", 4, kNothing, keep_some},
          {"state order", 1, kOrder, state_order}};
}

}  // namespace ut_fuzz
