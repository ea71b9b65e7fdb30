// SPDX-License-Identifier: MIT
#include "test_c99.c"
