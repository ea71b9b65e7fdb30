// SPDX-License-Identifier: MIT
// undertow._core: what Python needs of the C library beside streams (those are in stream.pyx).
#include <pybind11/pybind11.h>

#include "undertow.h"

namespace py = pybind11;

void register_model(py::module_& m);

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  m.attr("version") = ut_version();
  m.attr("package_version") = UT_PACKAGE_VERSION;
  m.def("isas", [] {
    py::list out;
    int runnable = 0;
    for (size_t i = 0; const char* name = ut_isa(i, &runnable); ++i) out.append(py::make_tuple(name, runnable != 0));
    return out;
  });
  register_model(m);
}
