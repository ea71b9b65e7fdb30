// SPDX-License-Identifier: MIT
#include "errors.h"

#include <pybind11/pybind11.h>

#include <string>

namespace py = pybind11;

namespace {

const char* class_of(ut_status status) {
  switch (status) {
    case UT_E_FORMAT:
    case UT_E_VERSION: return "FormatError";
    case UT_E_UNSUPPORTED:
    case UT_E_WHOLE: return "UnsupportedError";
    case UT_E_ISA: return "ISAError";
    case UT_E_STATE: return "StateError";
    default: return "InternalError";  // arguments, alignment and memory are the binding's own business
  }
}

}  // namespace

void check(ut_status status, const ut_error& err) {
  if (status == UT_OK) return;
  std::string message = err.detail[0] != '\0' ? err.detail : ut_status_text(status);
  if (err.offset != 0) message += " (at byte " + std::to_string(err.offset) + ")";
  py::object type = py::module_::import("undertow.errors").attr(class_of(status));
  PyErr_SetString(type.ptr(), message.c_str());
  throw py::error_already_set();
}
