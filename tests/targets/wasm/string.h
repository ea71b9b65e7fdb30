/* SPDX-License-Identifier: MIT
 * What the program uses of the C library on wasm32 without one (start_wasm.c). */
#ifndef UNDERTOW_TESTS_STRING_H_
#define UNDERTOW_TESTS_STRING_H_

#include <stddef.h>

#if defined(__cplusplus)
extern "C" {
#endif
void* memcpy(void* to, const void* from, size_t n);
void* memmove(void* to, const void* from, size_t n);
void* memset(void* to, int value, size_t n);
int memcmp(const void* a, const void* b, size_t n);
#if defined(__cplusplus)
}
#endif

#endif /* UNDERTOW_TESTS_STRING_H_ */
