// SPDX-License-Identifier: MIT
// undertow._core: what Python needs of the C library beside streams (those are in stream.pyx).
#include <pybind11/pybind11.h>

#include "undertow.h"

namespace py = pybind11;

void register_model(py::module_& m);

#if defined(__clang__)
constexpr const char* kCompiler = "clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* kCompiler = "gcc " __VERSION__;
#elif defined(_MSC_VER)
#define UT_TEXT_OF(number) #number
#define UT_TEXT(number) UT_TEXT_OF(number)
constexpr const char* kCompiler = "msvc " UT_TEXT(_MSC_VER);
#else
constexpr const char* kCompiler = "unknown";
#endif

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.attr("version") = ut_version();
  m.attr("package_version") = UT_PACKAGE_VERSION;
  m.attr("compiler") = kCompiler;
  m.def("isas", [] {
    py::list out;
    int runnable = 0;
    for (size_t i = 0; const char* name = ut_isa(i, &runnable); ++i) out.append(py::make_tuple(name, runnable != 0));
    return out;
  });
  register_model(m);
}
