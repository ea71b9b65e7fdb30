// SPDX-License-Identifier: MIT
// The whole test framework: a failed CHECK prints file:line, what was expected and what came, and counts; main ends
// with `return report("test_x");`, non-zero after any failure. After kMaxPrinted failures only the count goes on.
#ifndef UNDERTOW_TESTS_CHECK_H_
#define UNDERTOW_TESTS_CHECK_H_

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <atomic>

constexpr long kMaxPrinted = 20;

struct Tally {
  std::atomic<long> passed{0}, failed{0};  // tests check on several threads
};
inline Tally& tally() {
  static Tally t;
  return t;
}

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
inline void
fail_at(const char* file, int line, const char* format, ...) {
  if (++tally().failed > kMaxPrinted) return;
  fprintf(stderr, "%s:%d: ", file, line);
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
}

inline int report(const char* test) {
  const Tally& t = tally();
  printf("%s: %ld checks passed, %ld failed\n", test, t.passed.load(), t.failed.load());
  return t.failed == 0 && t.passed > 0 ? 0 : 1;
}

// CHECK(truth, "format", ...): the message says where, expected and got.
#define CHECK(truth, ...) ((truth) ? static_cast<void>(++tally().passed) : fail_at(__FILE__, __LINE__, __VA_ARGS__))

#define CHECK_INT(got, expected)                                                                      \
  do {                                                                                                \
    const long long got_ = static_cast<long long>(got), expected_ = static_cast<long long>(expected); \
    CHECK(got_ == expected_, "%s: expected %s = %lld, got %lld", #got, #expected, expected_, got_);   \
  } while (0)

#define CHECK_TEXT(got, expected)                                                                  \
  do {                                                                                             \
    const char *got_ = (got), *expected_ = (expected);                                             \
    CHECK(strcmp(got_, expected_) == 0, "%s: expected \"%s\", got \"%s\"", #got, expected_, got_); \
  } while (0)

#endif  // UNDERTOW_TESTS_CHECK_H_
