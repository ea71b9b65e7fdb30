// SPDX-License-Identifier: MIT
#include "tow_mutator.h"

#include <string.h>

#include <algorithm>
#include <set>

#include "tow_changes.h"

namespace ut_fuzz {

namespace {

constexpr size_t kMostGrown = 48 << 10;  // bytes that a file may grow to: small ones are run more often

std::vector<Change> all_changes() {
  std::vector<Change> all;
  for (const auto& some : {changes_of_tables(), changes_of_nodes(), changes_of_wires(), changes_of_expressions(), changes_of_weights()})
    all.insert(all.end(), some.begin(), some.end());
  return all;
}

const Change& any_change(const std::vector<Change>& all, Random* random) {
  size_t total = 0;
  for (const Change& c : all) total += c.weight;
  size_t at = random->below(total);
  for (const Change& c : all) {
    if (at < c.weight) return c;
    at -= c.weight;
  }
  return all.back();
}

bool is_plain_ascii(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c > 0; });
}

// Inputs, states and outputs have names of their own.
void mend_names(File* f) {
  size_t n = 0;
  const auto mend = [&](std::set<std::string>* seen, std::string* name) {
    while (!is_plain_ascii(*name) || !seen->insert(*name).second) *name = "n" + std::to_string(n++);
  };
  std::set<std::string> inputs, states, outputs;
  for (uint32_t i = 0; i < f->n_inputs; ++i) mend(&inputs, &f->values[i].name);
  for (State& s : f->states) mend(&states, &s.name);
  for (Output& o : f->outputs) mend(&outputs, &o.name);
}

void drop_unused_tensors(File* f) {
  std::vector<uint32_t> number(f->tensors.size(), kNone);
  std::vector<Tensor> kept;
  const auto keep = [&](uint32_t* t) {
    if (*t == kNone) return;
    if (number[*t] == kNone) {
      number[*t] = static_cast<uint32_t>(kept.size());
      kept.push_back(f->tensors[*t]);
      Tensor& last = kept.back();
      if (last.inside != kNone) last.inside = number[last.inside];
    }
    *t = number[*t];
  };
  for (State& s : f->states) keep(&s.init);
  for (Node& node : f->nodes)
    for (uint32_t& t : node.tensors) keep(&t);
  f->tensors = kept;
}

// A tensor for each use: the second user gets a copy.
void mend_sharing(File* f) {
  for (Tensor& t : f->tensors) t.inside = kNone;
  std::vector<bool> used(f->tensors.size());
  const auto apart = [&](uint32_t* t) {
    if (*t == kNone) return;
    if (used[*t]) {
      f->tensors.push_back(Tensor(f->tensors[*t]));
      *t = static_cast<uint32_t>(f->tensors.size() - 1);
      used.push_back(false);
    }
    used[*t] = true;
  };
  for (State& s : f->states) apart(&s.init);
  for (Node& node : f->nodes)
    for (uint32_t& t : node.tensors) apart(&t);
}

bool fit_all(File* f, Random* random) {
  for (int pass = 0; pass < 2; ++pass)
    for (size_t i = 0; i < f->nodes.size(); ++i)
      if (!fit(f, i, random)) return false;
  return true;
}

void mend_all_integers(File* f) {
  for (size_t i = 0; i < f->nodes.size(); ++i)
    for (const Matrix& m : matrices(*f, i)) {
      Tensor& t = f->tensors[f->nodes[i].tensors[m.slot]];
      if (has_integers(t.dtype) && is_matrix(t, m)) mend_integers(&t, m);
    }
}

// A file has the version of its newest tensor or node, or a newer one.
void mend_version(File* f) {
  uint32_t least = 1;
  for (const Tensor& t : f->tensors) least = std::max(least, version_of(t));
  for (const Node& node : f->nodes) least = std::max(least, version_of(node));
  if (f->version >= least) return;
  if (f->version == 1) f->frames_in = f->frames_out = 1;
  f->version = least;
}

// Everything fits again but what was to be broken. One time in many it is left as it is.
Data finish(File f, uint32_t broken, Random* random) {
  const bool fits = !one_in(random, 24) && fit_all(&f, random);
  if (!(broken & kOrder)) order_states(&f);
  if (!(broken & kOverlaps)) mend_sharing(&f);
  if (fits && !(broken & kIntegers)) mend_all_integers(&f);
  if (!(broken & kNames)) mend_names(&f);
  drop_unused_tensors(&f);
  if (!one_in(random, 32)) mend_version(&f);
  Data out = write(f);
  if (one_in(random, 32)) {  // a word of the tables
    uint32_t metadata;
    memcpy(&metadata, out.data() + 24, 4);
    const uint32_t word = static_cast<uint32_t>(one_in(random, 2) ? random->bits() : random->below(70));
    memcpy(out.data() + 64 + 4 * random->below(metadata / 4), &word, 4);
    seal(&out);
  }
  return out;
}

}  // namespace

bool mend_header(Data* file) {
  static const uint8_t kStart[16] = {0x89, 'T', 'O', 'W', '\r', '\n', 0x1a, '\n', 1};
  if (file->size() < 64) return false;
  const uint64_t n = file->size();
  const uint8_t version = file->data()[8];
  memcpy(file->data(), kStart, sizeof kStart);
  memcpy(file->data() + 16, &n, 8);
  if (version >= 2 && version <= kLastVersion) {
    file->data()[8] = version;
    for (const size_t at : {size_t{48}, size_t{52}}) {
      uint32_t frames;
      memcpy(&frames, file->data() + at, 4);
      frames = frames % kMaxFrame + (frames % kMaxFrame == 0);
      memcpy(file->data() + at, &frames, 4);
    }
  } else {
    memset(file->data() + 48, 0, 8);
  }
  memset(file->data() + (file->data()[8] < 3 ? 56 : 60), 0, file->data()[8] < 3 ? 8 : 4);
  seal(file);
  return true;
}

Data mutate(const Data& data, size_t max_bytes, uint64_t seed) {
  static const std::vector<Change> kChanges = all_changes();
  Random random(seed);
  Data mended = data;
  File file;
  if (!mend_header(&mended) || !read(mended.data(), mended.size(), &file)) return {};
  const size_t most = std::min(max_bytes, std::max(kMostGrown, data.size()));
  for (int tries = 0; tries < 8; ++tries) {
    File changed = file;
    uint32_t broken = kNothing;
    for (size_t k = 1 + random.below(one_in(&random, 4) ? 6 : 2); k != 0; --k) {
      const Change& change = any_change(kChanges, &random);
      if (change.make(&changed, &random)) broken |= change.breaks;
    }
    const Data out = finish(changed, broken, &random);
    if (out.size() <= most && out != data) return out;
  }
  return {};
}

Data splice(const Data& a, const Data& b, size_t max_bytes, uint64_t seed) {
  Random random(seed);
  Data first = a, second = b;
  File f, g;
  if (!mend_header(&first) || !mend_header(&second) || !read(first.data(), first.size(), &f) ||
      !read(second.data(), second.size(), &g))
    return {};
  const auto has_present = [](const File& file) {
    return std::any_of(file.nodes.begin(), file.nodes.end(), [](const Node& n) { return n.kind == kPresent; });
  };
  if (!one_in(&random, 4)) keep_some(&f, &random);
  if (!one_in(&random, 4)) keep_some(&g, &random);
  if (has_present(f) && has_present(g)) return {};
  const uint32_t n_inputs = f.n_inputs, n_before = static_cast<uint32_t>(f.values.size());
  // Where each value of g is in what comes out.
  std::vector<uint32_t> number;
  std::vector<Value> own;
  for (uint32_t i = 0; i < g.n_inputs; ++i) {
    uint32_t from = kNone;
    for (uint32_t tries = 0; tries < 8 && n_before != 0 && from == kNone; ++tries) {
      const uint32_t v = static_cast<uint32_t>(random.below(n_before));
      if (f.values[v].dtype == g.values[i].dtype && size_of(f.values[v].shape) == size_of(g.values[i].shape)) from = v;
    }
    if (from == kNone || one_in(&random, 4)) {
      number.push_back(n_inputs + static_cast<uint32_t>(own.size()));
      own.push_back(g.values[i]);
    } else {
      number.push_back(from | 0x80000000u);  // of f, once its numbers have moved
    }
  }
  const uint32_t by = static_cast<uint32_t>(own.size());
  for (uint32_t& v : number)
    if (v & 0x80000000u) v = (v & 0x7fffffffu) + ((v & 0x7fffffffu) >= n_inputs ? by : 0);
  insert_inputs(&f, own);
  for (size_t v = g.n_inputs; v < g.values.size(); ++v) {
    number.push_back(static_cast<uint32_t>(f.values.size()));
    f.values.push_back(g.values[v]);
  }
  const uint32_t n_states = static_cast<uint32_t>(f.states.size()), n_tensors = static_cast<uint32_t>(f.tensors.size());
  const auto moved = [&](uint32_t t) { return t == kNone ? kNone : t + n_tensors; };
  for (Tensor t : g.tensors) {
    t.inside = moved(t.inside);
    f.tensors.push_back(t);
  }
  for (State s : g.states) {
    s.init = moved(s.init);
    f.states.push_back(s);
  }
  for (Node node : g.nodes) {
    for (uint32_t& v : node.inputs) v = number[v];
    for (uint32_t& s : node.states) s += n_states;
    for (uint32_t& t : node.tensors) t = moved(t);
    f.nodes.push_back(node);
  }
  for (Output o : g.outputs) {
    o.value = number[o.value];
    if (one_in(&random, 2))
      f.outputs.push_back(o);
    else if (o.value < f.values.size())
      read_value(&f, o.value, &random);
  }
  const Data out = finish(f, kNothing, &random);
  return out.size() <= std::min(max_bytes, std::max({kMostGrown, a.size(), b.size()})) ? out : Data();
}

}  // namespace ut_fuzz
