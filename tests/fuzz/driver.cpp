// SPDX-License-Identifier: MIT
// Replays files and folders through the fuzz target without a fuzzer.
//     replay_tow PATH...
#include <stdio.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "blob.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t n);

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    if (!fs::is_directory(argv[i])) {
      files.push_back(argv[i]);
      continue;
    }
    for (const auto& entry : fs::directory_iterator(argv[i]))
      if (entry.is_regular_file()) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  for (const std::string& path : files) {
    const ut_test::Bytes bytes = ut_test::read_file(path);
    printf("%s (%zu bytes)\n", path.c_str(), bytes.size());
    fflush(stdout);
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  printf("replay_tow: %zu files\n", files.size());
  return files.empty();
}
