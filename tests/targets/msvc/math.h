/* SPDX-License-Identifier: MIT
 * What the library uses of the C library's math.h under cl.exe, so that clang can check that path for syntax without an SDK. */
#ifndef UNDERTOW_TESTS_MATH_H_
#define UNDERTOW_TESTS_MATH_H_

#define INFINITY (__builtin_inff())
#define NAN (__builtin_nanf(""))
extern "C" float sqrtf(float);
extern "C" float fmaf(float, float, float);

#endif /* UNDERTOW_TESTS_MATH_H_ */
