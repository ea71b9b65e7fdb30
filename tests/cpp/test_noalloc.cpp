// SPDX-License-Identifier: MIT
// The guarantee of a step (undertow.h, "Time"): no allocation and no system call, of every op and every variant of a cell.
//     test_noalloc FOLDER [--quick]     FOLDER: .tow files; --quick: for emulators
#include <dirent.h>

#include <algorithm>
#include <set>
#include <string>

#include "expression.h"
#include "format.h"
#include "ops/recurrent.h"
#include "streams.h"
#include "traps.h"

namespace {

using namespace ut_test;

// --- the traps trap --------------------------------------------------------------------------------------------------

void test_the_memory_trap() {
  const Report all = trapped([] {
    void* volatile p = malloc(10);
    p = realloc(p, 20);
    free(p);
    p = calloc(1, 1);
    free(p);
    void* q = nullptr;
    if (posix_memalign(&q, 64, 64) == 0) free(q);
    ::operator delete(::operator new(1));  // a new-expression may be optimised away
  });
  CHECK(!all.clean() && all.requests >= 9, "the trap saw %ld of at least 9 requests for memory", all.requests);
  const Report one = trapped([] {
    void* volatile p = malloc(1);
    (void)p;
  });
  CHECK(!one.clean() && one.requests == 1, "the trap saw %ld requests for memory, expected 1", one.requests);
  const Report pages = trapped([] { mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); });
  CHECK(!pages.clean() && pages.requests == 1, "the trap saw %ld calls of mmap, expected 1", pages.requests);
}

void test_the_system_call_trap() {
  volatile int sink = 0;
  const Report nothing = trapped([&] { sink = 1; });
  CHECK(nothing.clean(), "nothing was trapped as %ld requests for memory, system call %ld, signal %d", nothing.requests,
        nothing.system_call, nothing.signal);
  if (!nothing.filtered) {
    printf("system calls are not watched: no seccomp filter here (%s); requests for memory are\n", strerror(nothing.error));
    return;
  }
  const auto expect = [](const Report& r, long number) {
    CHECK(!r.clean() && !r.finished && r.system_call == number, "expected system call %ld to be trapped, got %ld", number,
          r.system_call);
  };
  expect(trapped([] { (void)getpid(); }), SYS_getpid);
  expect(trapped([] { syscall(SYS_futex, nullptr, 0, 0, nullptr, nullptr, 0); }), SYS_futex);  // how locks wait
  expect(trapped([] { syscall(SYS_sched_yield); }), SYS_sched_yield);
  expect(trapped([] { syscall(SYS_mmap, nullptr, 4096, 0, 0, -1, 0); }), SYS_mmap);
  expect(trapped([] { (void)!write(2, "", 0); }), SYS_write);
  expect(trapped([&] {
           for (int i = 0; i < 100000; ++i) sink = i;
           (void)getppid();  // late
         }),
         SYS_getppid);
}

void check_clean(const Report& r, const char* what, const char* isa) {
  CHECK(r.clean(), "%s on %s: %ld requests for memory, system call %ld (-1: none), signal %d, %s", what, isa, r.requests,
        r.system_call, r.signal, r.finished ? "came to its end" : "did not come to its end");
}

// --- what the files cover --------------------------------------------------------------------------------------------

// "lstm plain", "binary 3", "activation 5" ...: everything that a step of this file does in a way of its own.
void collect(const std::string& path, std::set<uint32_t>* kinds, std::set<std::string>* variants) {
  const Bytes blob = read_file(path);
  undertow::File file;
  CHECK_INT(undertow::File::open(blob.data(), blob.data(), blob.size(), &file, nullptr), UT_OK);
  uint32_t next = file.n_inputs;
  for (uint32_t i = 0; i < file.n_nodes; ++i) {
    const undertow::NodeView node = file.node(i, next);
    next += node.n_outputs;
    kinds->insert(node.kind);
    const undertow::OpType* type = undertow::find_op(node.kind);
    const std::string name = type ? type->name : "?";
    if (name == "binary" || name == "reduce" || name == "softmax" || name == "activation")
      variants->insert(name + " " + std::to_string(node.params[0]));
    for (uint32_t k = 0; name == "expression" && k < node.params[6]; ++k)
      variants->insert("instruction " + std::to_string(node.params[7 + 6 * (node.params[5] + k)]));
    for (uint32_t t = 0; t < node.n_tensors; ++t) {
      if (node.tensors[t] == undertow::kNone) continue;
      const uint32_t dtype = file.tensor(node.tensors[t]).dtype;
      variants->insert(name + " weight " + std::to_string(t) + " of type " + std::to_string(dtype));
    }
    if (!type || type->run != undertow::run_layer) continue;
    const uint32_t n_acts = type->cell->n_acts;
    // FORMAT.md, "Nodes": activations of three words each, flags, clip.
    const uint32_t flags = node.params[3 * n_acts], clip = node.params[3 * n_acts + 1];
    bool custom = false;
    for (uint32_t a = 0; a < n_acts; ++a) custom = custom || node.params[3 * a] != type->cell->plain_acts[a];
    const bool variant = flags & undertow::kFlagVariant;
    const bool is_lstm = name == "lstm", is_gru = name == "gru";
    const auto has = [&](uint32_t t) { return t < node.n_tensors && node.tensors[t] != undertow::kNone; };
    const std::string cell = is_gru ? (variant ? "gru after" : "gru before") : name;
    bool plain = !custom && clip == 0;
    if (custom) variants->insert(cell + " custom");
    if (clip != 0) variants->insert(cell + " clip");
    if (flags & undertow::kFlagReverse) variants->insert(cell + " reverse");
    if (flags & undertow::kFlagMasked) variants->insert(cell + " masked");
    if (is_lstm) {
      if (variant) variants->insert("lstm input_forget");
      if (has(3)) variants->insert("lstm peephole");
      if (has(4)) variants->insert("lstm projection");
      plain = plain && !variant && !has(3) && !has(4);
    }
    if (plain) variants->insert(cell + " plain");
  }
}

void test_coverage(const std::vector<std::string>& paths) {
  std::set<uint32_t> kinds;
  std::set<std::string> variants, expected = {
      "rnn plain", "rnn custom", "rnn clip", "gru after plain", "gru after custom", "gru before plain",
      "gru before custom", "gru before clip", "lstm plain", "lstm custom", "lstm clip", "lstm input_forget",
      "lstm peephole", "lstm projection", "lstm reverse", "lstm masked", "softmax 0", "softmax 1"};
  for (uint32_t kind = 0; kind < undertow::kNumActs; ++kind) expected.insert("activation " + std::to_string(kind));
  for (uint32_t kind = 0; kind < undertow::kNumBinaries; ++kind) expected.insert("binary " + std::to_string(kind));
  for (uint32_t kind = 0; kind < undertow::kNumReduces; ++kind) expected.insert("reduce " + std::to_string(kind));
  for (uint32_t code = 0; code < undertow::kNumCodes; ++code)
    if (code <= undertow::kCopy || undertow::reduces_last(code) || undertow::reduces_rows(code))
      expected.insert("instruction " + std::to_string(code));
  // FORMAT.md, "Nodes": which weights of an op are matrices or tables.
  const struct {
    const char* op;
    std::vector<int> weights;
  } kMatrices[] = {{"dense", {0}}, {"embedding", {0}}, {"rnn", {0, 2}}, {"gru", {0, 2, 3}}, {"lstm", {0, 2, 4}}};
  for (const auto& row : kMatrices)
    for (const int w : row.weights)
      for (uint32_t dtype = 0; dtype < undertow::kNumTensorTypes; ++dtype) {
        const bool sparse = dtype == undertow::kTensorSparseFloat32 || dtype == undertow::kTensorSparseInt8;
        const bool only_cells = strcmp(row.op, "dense") == 0 || strcmp(row.op, "embedding") == 0 || w == 4;
        if (dtype == undertow::kTensorFixed8 && only_cells) continue;
        if (dtype == undertow::kTensorInt32 || (sparse && strcmp(row.op, "embedding") == 0)) continue;
        expected.insert(std::string(row.op) + " weight " + std::to_string(w) + " of type " + std::to_string(dtype));
      }
  for (const std::string& path : paths) collect(path, &kinds, &variants);
  int known = 0;
  for (uint32_t kind = 0; kind < 1024; ++kind)
    if (const undertow::OpType* type = undertow::find_op(kind)) {
      ++known;
      CHECK(kinds.count(kind), "no file steps through op %u, %s: add it to make_models.py", kind, type->name);
    }
  CHECK(known >= 28, "found %d ops", known);
  for (const std::string& what : expected) CHECK(variants.count(what), "no file steps through: %s", what.c_str());
}

// --- the guarantee ---------------------------------------------------------------------------------------------------

void test_stream(const Model& m, const char* what, size_t n_steps) {
  constexpr size_t kFrames = 1000, kStreams = 20;
  Stream stream(m), other(m);
  Traffic traffic(m, kFrames, 5);
  Bytes snapshot(m.info.snapshot_bytes), workspace(ut_batch_bytes(m.model, 16)), blocks(kStreams * m.info.state_bytes);
  Bytes past(ut_history_bytes(m.model, 2));
  ut_batch* batch = nullptr;
  ut_history* history = nullptr;
  CHECK_INT(ut_batch_init(workspace.data(), workspace.size(), m.model, &batch), UT_OK);
  CHECK_INT(ut_history_init(past.data(), past.size(), other.stream, 2, &history), UT_OK);
  float* states[kStreams];
  for (size_t i = 0; i < kStreams; ++i)
    ut_state_reset(m.model, states[i] = reinterpret_cast<float*>(blocks.data() + i * m.info.state_bytes));
  const void* x[8];
  void* y[8];
  for (size_t i = 0; i < traffic.in.size(); ++i) x[i] = traffic.in[i].data();
  for (size_t i = 0; i < traffic.out.size(); ++i) y[i] = traffic.out[i].data();
  ut_error err;
  const bool single = m.info.n_inputs == 1 && m.info.n_outputs == 1;
  check_clean(trapped([&] {
                for (size_t i = 0; i < n_steps; ++i) traffic.run(stream.stream, i % kFrames, 1);
                for (size_t i = 0; single && i < kFrames; ++i)
                  ut_step(stream.stream, traffic.in[0].data(), traffic.out[0].data());
                for (size_t i = 0; i < n_steps / kFrames / 5; ++i) {
                  traffic.run(stream.stream, 0, kFrames);
                  ut_snapshot_save(stream.stream, snapshot.data());
                  ut_snapshot_load(other.stream, snapshot.data(), snapshot.size(), &err);
                  ut_stream_copy(other.stream, stream.stream);
                  ut_batch_run(batch, kStreams, states, kFrames / kStreams, x, y);
                  ut_propose(other.stream, x, y);
                  ut_rollback(other.stream);
                  ut_history_run(history, 3, x, y);
                  ut_history_rewind(history, 2);
                  ut_stream_reset(stream.stream);
                  ut_snapshot_load(stream.stream, snapshot.data(), 7, &err);  // a failure asks for nothing either
                }
              }),
              what, m.info.isa);
}

// Models of whole sequences have no steps: as many timesteps, in sequences of 100.
void test_sequences(const Model& m, const char* what, size_t n_steps) {
  constexpr size_t kFrames = 100;
  Traffic traffic(m, kFrames, 5);
  Bytes memory(ut_sequence_bytes(m.model, kFrames));
  std::vector<const void*> x;
  std::vector<void*> y;
  for (auto& in : traffic.in) x.push_back(in.data());
  for (auto& out : traffic.out) y.push_back(out.data());
  check_clean(trapped([&] {
                for (size_t i = 0; i < n_steps / kFrames; ++i)
                  if (ut_sequence_run(memory.data(), memory.size(), m.model, kFrames, kFrames - i % 50, nullptr, x.data(), y.data(),
                                      nullptr) != UT_OK)
                    abort();
              }),
              what, m.info.isa);
}

void test_opening(const std::string& path, const char* isa) {
  const Bytes blob = read_file(path);
  ut_info info;
  if (ut_probe(blob.data(), blob.size(), isa, &info, nullptr) != UT_OK) {
    CHECK(false, "%s is not accepted", path.c_str());
    return;
  }
  Bytes memory(info.model_bytes);
  check_clean(trapped([&] {
                const ut_model* model = nullptr;
                if (ut_probe(blob.data(), blob.size(), isa, &info, nullptr) != UT_OK) abort();
                if (ut_model_init(memory.data(), memory.size(), blob.data(), blob.size(), isa, &model, nullptr) != UT_OK)
                  abort();
              }),
              ("opening " + path).c_str(), isa);
}

std::vector<std::string> tow_files(const std::string& folder) {
  std::vector<std::string> found;
  DIR* const dir = opendir(folder.c_str());
  while (const dirent* entry = dir ? readdir(dir) : nullptr) {
    const std::string name = entry->d_name;
    if (name.size() > 4 && name.compare(name.size() - 4, 4, ".tow") == 0) found.push_back(folder + "/" + name);
  }
  if (dir) closedir(dir);
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  const size_t n_steps = argc > 2 && strcmp(argv[2], "--quick") == 0 ? 5000 : 100000;
  test_the_memory_trap();
  test_the_system_call_trap();
  const std::vector<std::string> paths = tow_files(folder);
  test_coverage(paths);
  int runnable = 0;
  for (size_t i = 0; const char* isa = ut_isa(i, &runnable); ++i) {
    if (!runnable) {
      printf("%s: not on this CPU, not tested\n", isa);
      continue;
    }
    for (const std::string& path : paths) {
      test_opening(path, isa);
      const Model m(path, isa);
      (m.info.streamable ? test_stream : test_sequences)(m, path.c_str(), n_steps);
    }
    printf("%s: %zu timesteps of each of %zu files\n", isa, n_steps, paths.size());
  }
  return report("test_noalloc");
}
