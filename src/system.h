// SPDX-License-Identifier: MIT
// What the bindings ask of the operating system, and of the CPU while they wait.
#ifndef UNDERTOW_SRC_SYSTEM_H_
#define UNDERTOW_SRC_SYSTEM_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(_WIN32)
#include <malloc.h>
#else
#include <pthread.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#endif

// Memory aligned to a power of two, to be given back with aligned_free; null where there is none.
inline void* aligned_memory(size_t align, size_t bytes) {
#if defined(_WIN32)
  return _aligned_malloc(bytes, align);
#else
  const size_t whole = (bytes + align - 1) / align * align;
  return whole < bytes ? nullptr : std::aligned_alloc(align, whole ? whole : align);
#endif
}

inline void aligned_free(void* p) {
#if defined(_WIN32)
  _aligned_free(p);
#else
  std::free(p);
#endif
}

struct AlignedFree {
  void operator()(void* p) const { aligned_free(p); }
};
using Memory = std::unique_ptr<void, AlignedFree>;

// Asks for huge pages for memory that is aligned to them: refusing it costs speed only.
inline void advise_huge_pages(void* p, size_t bytes) {
#if defined(MADV_HUGEPAGE)
  (void)madvise(p, bytes, MADV_HUGEPAGE);
#else
  (void)p, (void)bytes;
#endif
}

// Within a loop that waits for another thread.
inline void relax() {
#if defined(_M_X64)
  _mm_pause();
#elif defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Threads do not live on in a process that fork made. This counts those between the first process that asked and this one;
// nobody forks under Windows. Throws std::bad_alloc.
inline std::atomic<uint32_t> forks{0};
inline uint32_t forks_so_far() {
#if !defined(_WIN32)
  static const int handler = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
  if (handler != 0) throw std::bad_alloc();
#endif
  return forks;
}

#endif  // UNDERTOW_SRC_SYSTEM_H_
