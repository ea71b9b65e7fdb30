// SPDX-License-Identifier: MIT
// Replays files and folders through a fuzz target without a fuzzer, and changed as often as is asked for. A change that
// ends in a finding stays in the working directory as replay_tow.last.
//     replay_tow [--mutate N] PATH...
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "blob.h"
#include "check.h"
#include "target.h"

namespace {

std::vector<std::string> files_of(int n, char** paths) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  for (int i = 0; i < n; ++i) {
    if (!fs::is_directory(paths[i])) {
      files.push_back(paths[i]);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(paths[i]))
      if (entry.is_regular_file()) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void write_file(const std::string& path, const ut_fuzz::Data& bytes) {
  FILE* f = fopen(path.c_str(), "wb");
  const bool written = f && fwrite(bytes.data(), 1, bytes.size(), f) == bytes.size();
  if (!f || fclose(f) != 0 || !written) {
    fprintf(stderr, "cannot write %s\n", path.c_str());
    exit(2);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool mutates = argc > 2 && std::string(argv[1]) == "--mutate";
  const unsigned long n_changes = mutates ? strtoul(argv[2], nullptr, 10) : 0;
  const int first = mutates ? 3 : 1;
  const std::vector<std::string> files = files_of(argc - first, argv + first);
  const std::string kept = std::filesystem::path(argv[0]).filename().string() + ".last";
  ut_fuzz::Data last;
  unsigned long n_made = 0;
  for (const std::string& path : files) {
    const ut_test::Bytes bytes = ut_test::read_file(path);
    const ut_fuzz::Data file(bytes.data(), bytes.data() + bytes.size());
    printf("%s (%zu bytes)\n", path.c_str(), file.size());
    fflush(stdout);
    ut_fuzz::run_target(file);
    // A chain of changes, one on the other, that begins anew every now and then.
    ut_fuzz::Data now = file;
    for (unsigned long k = 0; k < n_changes; ++k) {
      constexpr size_t kMostBytes = size_t{1} << 17;
      ut_fuzz::Data made =
          k % 16 == 8 ? ut_fuzz::join_inputs(now, last, kMostBytes, k) : ut_fuzz::mutate_input(now, kMostBytes, k);
      if (made.empty() || k % 16 == 15) made = file;
      now = made;
      write_file(kept, now);
      ut_fuzz::run_target(now);
      ++n_made;
      if (tally().failed) printf("change %lu of %s: %s\n", k, path.c_str(), kept.c_str());
      if (tally().failed) return report(argv[0]);
    }
    last = file;
  }
  if (n_made != 0) std::filesystem::remove(kept);
  printf("%zu files, %lu changes\n", files.size(), n_made);
  return files.empty() ? 1 : report(argv[0]);
}
