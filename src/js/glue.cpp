// SPDX-License-Identifier: MIT
// What the engine lacks as a WebAssembly module without a C library: the four functions that compilers call, and memory
// to place models and streams in. index.js calls these and undertow.h; nothing is imported.
#include "undertow.h"

// index.js reads these by word: see readInfo, readTensor and readError there.
static_assert(sizeof(ut_info) == 112 && offsetof(ut_info, hash) == 56 && offsetof(ut_info, multiply_adds) == 80, "layout");
static_assert(sizeof(ut_tensor) == 60 && offsetof(ut_tensor, dims) == 24 && offsetof(ut_tensor, size) == 56, "layout");
static_assert(sizeof(ut_error) == 216 && offsetof(ut_error, detail) == 8 && sizeof(ut_string) == 8, "layout");

extern "C" {
extern unsigned char __heap_base;

void* memset(void* to, int value, size_t n) {
#if defined(__wasm_bulk_memory__)
  return __builtin_memset(to, value, n);  // an instruction
#else
  unsigned char* t = static_cast<unsigned char*>(to);
  for (; n; --n) *t++ = static_cast<unsigned char>(value);
  return to;
#endif
}
void* memmove(void* to, const void* from, size_t n) {
#if defined(__wasm_bulk_memory__)
  return __builtin_memmove(to, from, n);
#else
  unsigned char* t = static_cast<unsigned char*>(to);
  const unsigned char* f = static_cast<const unsigned char*>(from);
  if (t <= f) {
    for (; n >= 8; n -= 8, t += 8, f += 8) {
      uint64_t some;
      __builtin_memcpy(&some, f, 8);
      __builtin_memcpy(t, &some, 8);
    }
    for (; n; --n) *t++ = *f++;
  } else {
    while (n) --n, t[n] = f[n];
  }
  return to;
#endif
}
void* memcpy(void* to, const void* from, size_t n) { return memmove(to, from, n); }
int memcmp(const void* a, const void* b, size_t n) {
  const unsigned char *p = static_cast<const unsigned char*>(a), *q = static_cast<const unsigned char*>(b);
  for (; n; --n, ++p, ++q)
    if (*p != *q) return *p - *q;
  return 0;
}
}

namespace {

// Stands UT_ALIGN bytes before what it hands out. Free ones are a list in the order of addresses, so that neighbours meet.
struct Block {
  size_t bytes;  // behind the header, a multiple of UT_ALIGN
  Block* next;   // of a free one
};
constexpr size_t kPage = 65536, kMost = 0xfff00000u;

Block* free_blocks;
size_t end_of_blocks;  // 0: nothing was taken yet

unsigned char* behind(Block* b) { return reinterpret_cast<unsigned char*>(b) + UT_ALIGN + b->bytes; }

// A new block at the end of the memory, or null where that cannot grow.
Block* grow(size_t bytes) {
  if (!end_of_blocks) end_of_blocks = (reinterpret_cast<size_t>(&__heap_base) + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN;
  if (bytes > kMost - UT_ALIGN - end_of_blocks) return nullptr;
  const size_t end = end_of_blocks + UT_ALIGN + bytes, have = __builtin_wasm_memory_size(0) * kPage;
  if (end > have && __builtin_wasm_memory_grow(0, (end - have + kPage - 1) / kPage) == ~size_t{0}) return nullptr;
  Block* b = reinterpret_cast<Block*>(end_of_blocks);
  b->bytes = bytes;
  end_of_blocks = end;
  return b;
}

}  // namespace

extern "C" {

// `bytes` of memory aligned to UT_ALIGN, of any content; null where there is no more. What was handed out stays where it
// is, but the memory may grow: views of it in JavaScript end then.
__attribute__((export_name("alloc"))) void* ut_js_alloc(size_t bytes) {
  if (bytes > kMost) return nullptr;
  bytes = bytes ? (bytes + UT_ALIGN - 1) / UT_ALIGN * UT_ALIGN : UT_ALIGN;
  Block* b = nullptr;
  for (Block** at = &free_blocks; *at; at = &(*at)->next)
    if ((*at)->bytes >= bytes) {
      b = *at;
      if (b->bytes - bytes >= 2 * UT_ALIGN) {
        Block* rest = reinterpret_cast<Block*>(reinterpret_cast<unsigned char*>(b) + UT_ALIGN + bytes);
        *rest = {b->bytes - bytes - UT_ALIGN, b->next};
        b->bytes = bytes;
        *at = rest;
      } else {
        *at = b->next;
      }
      break;
    }
  if (!b) b = grow(bytes);
  return b ? reinterpret_cast<unsigned char*>(b) + UT_ALIGN : nullptr;
}

// Takes back what `alloc` gave; null is nothing.
__attribute__((export_name("release"))) void ut_js_release(void* p) {
  if (!p) return;
  Block* b = reinterpret_cast<Block*>(static_cast<unsigned char*>(p) - UT_ALIGN);
  Block *before = nullptr, *after = free_blocks;
  for (; after && after < b; after = after->next) before = after;
  b->next = after;
  if (before) before->next = b;
  else free_blocks = b;
  if (after && behind(b) == reinterpret_cast<unsigned char*>(after)) {
    b->bytes += UT_ALIGN + after->bytes;
    b->next = after->next;
  }
  if (before && behind(before) == reinterpret_cast<unsigned char*>(b)) {
    before->bytes += UT_ALIGN + b->bytes;
    before->next = b->next;
  }
}

}  // extern "C"
