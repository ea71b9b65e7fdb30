// SPDX-License-Identifier: MIT
// What the benchmark programs share: .tow files mapped as undertow.load maps them, and memory for models and streams.
#ifndef UNDERTOW_BENCH_FILES_H_
#define UNDERTOW_BENCH_FILES_H_

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "undertow.h"

namespace ut_bench {

[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "bench: %s\n", what.c_str());
  std::exit(1);
}

// A file mapped as undertow.load maps it, so that pages, caches and TLB are those of real use.
struct Mapped {
  explicit Mapped(const char* path) {
    const int file = open(path, O_RDONLY);
    struct stat about;
    if (file < 0 || fstat(file, &about) != 0) fail(std::string(path) + ": " + std::strerror(errno));
    n = static_cast<size_t>(about.st_size);
    data = static_cast<const uint8_t*>(mmap(nullptr, n, PROT_READ, MAP_SHARED, file, 0));
    if (data == MAP_FAILED) fail(std::string(path) + ": cannot be mapped");
    close(file);
  }
  ~Mapped() { munmap(const_cast<uint8_t*>(data), n); }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  // FORMAT.md: weights follow the metadata at the next multiple of 64.
  const float* weights() const {
    uint32_t metadata;
    std::memcpy(&metadata, data + 24, sizeof metadata);
    return reinterpret_cast<const float*>(data + (64 + size_t{metadata} + 63) / 64 * 64);
  }
  size_t n_weights() const {
    return static_cast<size_t>(reinterpret_cast<const float*>(data + n) - weights()) / 16 * 16;
  }

  const uint8_t* data;
  size_t n;
};

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Memory = std::unique_ptr<void, Free>;

inline Memory aligned(size_t bytes) {
  Memory memory(std::aligned_alloc(UT_ALIGN, (bytes + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN));
  if (!memory) fail("out of memory");
  return memory;
}

}  // namespace ut_bench

#endif  // UNDERTOW_BENCH_FILES_H_
