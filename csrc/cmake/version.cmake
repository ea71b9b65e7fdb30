# SPDX-License-Identifier: MIT
# UT_VERSION, as include/undertow.h has it: the one place where the engine's version stands.
set(UT_VERSION "")
foreach(part MAJOR MINOR PATCH)
  file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/../include/undertow.h line REGEX "^#define UT_VERSION_${part} [0-9]+$")
  string(REGEX MATCH "[0-9]+$" number "${line}")
  list(APPEND UT_VERSION ${number})
endforeach()
list(JOIN UT_VERSION . UT_VERSION)
