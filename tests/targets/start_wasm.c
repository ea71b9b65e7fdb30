/* SPDX-License-Identifier: MIT
 * The program as a WebAssembly module without a system: run.mjs gives it `put` and `quit`. What compilers call of the C
 * library is here. */
#include "program.h"

void* memcpy(void* to, const void* from, size_t n) {
  unsigned char* t = (unsigned char*)to;
  const unsigned char* f = (const unsigned char*)from;
  for (; n; --n) *t++ = *f++;
  return to;
}
void* memmove(void* to, const void* from, size_t n) {
  unsigned char* t = (unsigned char*)to;
  const unsigned char* f = (const unsigned char*)from;
  if (t <= f) return memcpy(to, from, n);
  while (n) --n, t[n] = f[n];
  return to;
}
void* memset(void* to, int value, size_t n) {
  unsigned char* t = (unsigned char*)to;
  for (; n; --n) *t++ = (unsigned char)value;
  return to;
}
int memcmp(const void* a, const void* b, size_t n) {
  const unsigned char *p = (const unsigned char*)a, *q = (const unsigned char*)b;
  for (; n; --n, ++p, ++q)
    if (*p != *q) return *p - *q;
  return 0;
}
__attribute__((export_name("run"))) int run_steps(int n) { return run((size_t)n); }
