// SPDX-License-Identifier: MIT
// ut_status -> the exception classes of python/undertow/errors.py.
#ifndef UNDERTOW_SRC_ERRORS_H_
#define UNDERTOW_SRC_ERRORS_H_

#include "undertow.h"

// Throws the Python exception for a status other than UT_OK; the message is the error's sentence, or the status's.
void check(ut_status status, const ut_error& err);

#endif  // UNDERTOW_SRC_ERRORS_H_
