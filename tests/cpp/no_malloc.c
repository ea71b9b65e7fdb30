/* SPDX-License-Identifier: MIT
 * Linked into hello.c: a program that has no heap. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* printf asks for a buffer otherwise */
__attribute__((constructor)) static void unbuffered(void) { setvbuf(stdout, NULL, _IONBF, 0); }

void* malloc(size_t n) {
  (void)n;
  abort();
}
void* calloc(size_t n, size_t size) {
  (void)n;
  (void)size;
  abort();
}
void* realloc(void* p, size_t n) {
  (void)p;
  (void)n;
  abort();
}
void free(void* p) {
  if (p) abort();
}
