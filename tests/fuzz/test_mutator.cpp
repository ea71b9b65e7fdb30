// SPDX-License-Identifier: MIT
// The changes that fuzzing makes: a file that is read is written as it was; the same seed gives the same bytes; most of
// what comes out is taken by the library, with every op, precision and kind of layer in it; and integers are as the
// format wants them unless that was the change.
//     test_mutator FOLDER
#include <algorithm>
#include <filesystem>
#include <map>
#include <set>

#include "blob.h"
#include "check.h"
#include "tow_fit.h"
#include "tow_mutator.h"
#include "tow_program.h"

namespace {

using namespace ut_fuzz;

constexpr size_t kMostBytes = 1 << 17;

bool is_taken(const Data& file) {
  const ut_test::Bytes blob(file.data(), file.size());
  ut_info info;
  return ut_probe(blob.data(), blob.size(), nullptr, &info, nullptr) == UT_OK;
}

// What there is in files that the library took.
struct Seen {
  std::set<uint32_t> kinds, dtypes;
  std::map<std::string, size_t> traits;

  static std::string name_of(uint32_t code) {
    return code >= 32 && code < 64 ? "activation in an expression" : "instruction " + std::to_string(code);
  }
  Seen() {
    for (uint32_t code = 0; code < 78; ++code)
      if (n_arguments(code) != 0) traits[name_of(code)] = 0;
  }

  void add(const File& file) {
    for (const Tensor& t : file.tensors) {
      dtypes.insert(t.dtype);
      for (const uint32_t dtype : {kInt8, kInt16})
        traits[dtype == kInt8 ? "smoothed int8" : "smoothed int16"] += t.flags != 0 && t.dtype == dtype;
    }
    for (uint32_t i = 0; i < file.n_inputs; ++i) traits["input of ids"] += file.values[i].dtype == kInt32;
    traits["frames of several timesteps"] += file.frames_in > 1;
    for (const State& s : file.states) traits["initial state"] += s.init != kNone;
    for (const Node& node : file.nodes) {
      kinds.insert(node.kind);
      const bool gated = is_cell(node.kind) && !node.states.empty() && node.inputs.size() == 2;
      traits["gated layer"] += gated;
      traits["window without a state"] += node.kind == kWindow && node.states.empty();
      traits["framed layer with inputs to start from"] +=
          is_framed(node.kind) && node.states.empty() && node.inputs.size() > 1;
      traits["projection"] += is_cell(node.kind) && cell_format(node.kind)->kind == kLstm && node.tensors[4] != kNone;
      if (node.kind == kExpression) {
        const Program p = program_of(node.params);
        const auto is_of = [&](size_t base) {
          return std::any_of(p.operands.begin(), p.operands.end(), [&](const ProgramOperand& o) { return o.base == base; });
        };
        for (const ProgramStep& s : p.steps) ++traits[name_of(s.code)];
        traits["expression with states"] += !node.states.empty();
        traits["expression with a gate"] += !node.inputs.empty() && !is_of(node.inputs.size() - 1);
        traits["expression without states"] += node.states.empty();
        traits["expression with a slot"] += p.n_slots != 0;
      }
      if (!is_cell(node.kind)) continue;
      for (const uint32_t flag : {kReverse, kVariant, kMasked, kSteps})
        traits["flag " + std::to_string(flag)] += (node.params[3 * cell_format(node.kind)->n_acts] & flag) != 0;
    }
  }
};

bool has_own_gate(const File& file) {
  for (const Node& node : file.nodes)
    if (is_cell(node.kind) && !node.states.empty() && node.inputs.size() == 2 && node.inputs[0] == node.inputs[1])
      return true;
  return false;
}

void test_round_trip(const std::string& path, const Data& file) {
  File tables;
  CHECK(read(file.data(), file.size(), &tables), "%s is not read", path.c_str());
  CHECK(write(tables) == file, "%s is written as something else than it was", path.c_str());
  for (size_t i = 0; i < tables.nodes.size(); ++i)
    for (const Matrix& m : matrices(tables, i)) {
      const Tensor& t = tables.tensors[tables.nodes[i].tensors[m.slot]];
      CHECK(is_matrix(t, m), "%s: tensor %u of node %zu is no matrix of its shape", path.c_str(), m.slot, i);
      if (has_integers(t.dtype))
        CHECK(integers_hold(t, m), "%s: integers of node %zu", path.c_str(), i);
    }
  Random random(1);
  for (size_t i = 0; i < tables.nodes.size(); ++i)
    CHECK(fit(&tables, i, &random), "%s: node %zu does not fit what is around it", path.c_str(), i);
  order_states(&tables);
  CHECK(write(tables) == file, "%s: what fitted was changed", path.c_str());
  for (size_t n = 0; n < file.size(); n += 1 + n / 8) {
    const Data cut(file.begin(), file.begin() + static_cast<ptrdiff_t>(n));
    CHECK(!read(cut.data(), cut.size(), &tables), "%s cut to %zu bytes is read", path.c_str(), n);
    CHECK(mutate(cut, 0, n).empty(), "%s: something fits into no bytes", path.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Data> files;
  for (const auto& entry : std::filesystem::directory_iterator(argc > 1 ? argv[1] : ".")) {
    const ut_test::Bytes bytes = ut_test::read_file(entry.path().string());
    files.emplace_back(bytes.data(), bytes.data() + bytes.size());
    test_round_trip(entry.path().string(), files.back());
  }
  size_t n_made = 0, n_taken = 0, n_spliced = 0, n_unread = 0, n_own_gates = 0;
  Seen seen;
  for (size_t i = 0; i < files.size(); ++i)
    for (uint64_t seed = 0; seed < 400; ++seed) {
      const bool splices = seed % 10 == 9;
      const Data& other = files[(i + seed) % files.size()];
      const auto make = [&] {
        return splices ? splice(files[i], other, kMostBytes, seed) : mutate(files[i], kMostBytes, seed);
      };
      const Data made = make();
      if (made.empty()) continue;
      CHECK(made == make(), "seed %zu gives two files", static_cast<size_t>(seed));
      ++n_made;
      File tables;
      const bool is_read = read(made.data(), made.size(), &tables);
      n_own_gates += is_read && has_own_gate(tables);
      if (!is_taken(made)) continue;
      ++n_taken;
      n_spliced += splices;
      n_unread += !is_read;
      if (is_read) seen.add(tables);
    }
  printf("%zu files made, %zu taken, %zu of them of two\n", n_made, n_taken, n_spliced);
  CHECK(n_made > files.size() * 140 && n_taken > n_made * 3 / 4, "%zu files made, of which the library takes %zu",
        n_made, n_taken);
  CHECK(n_spliced > files.size() * 8, "%zu files of two", n_spliced);
  CHECK(n_unread == 0, "%zu files that the library takes are not read here", n_unread);
  for (uint32_t kind = kDense; kind < kEndOfKinds; ++kind)
    CHECK(seen.kinds.count(kind), "no file has an op of kind %u", kind);
  for (uint32_t dtype = 0; dtype < kEndOfDtypes; ++dtype)
    CHECK(seen.dtypes.count(dtype), "no file has a tensor of dtype %u", dtype);
  CHECK(n_own_gates != 0, "%s", "no file has a layer that is its own gate");
  for (const auto& [what, n] : seen.traits) CHECK(n != 0, "no file has: %s", what.c_str());
  return report("test_mutator");
}
