# SPDX-License-Identifier: MIT
# Python and what the extension modules need of it, or an error that says how to come by it.
include(${CMAKE_CURRENT_LIST_DIR}/../csrc/cmake/needs.cmake)
find_package(Python 3.10 COMPONENTS Interpreter)
if(NOT Python_Interpreter_FOUND)
  message(FATAL_ERROR "UT_PYTHON: no Python of version 3.10 or later was found. Name one with -DPython_EXECUTABLE=/path/to/python3, "
                      "or build the C library alone: -DUT_PYTHON=OFF")
endif()

# Looked for here, because FindPython says of a Python without headers that it is none. Who cross-compiles says where they are.
set(UT_PYTHON_INCLUDE "${Python_INCLUDE_DIR}")
if(NOT UT_PYTHON_INCLUDE)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -c "import sysconfig; print(sysconfig.get_path('include'))"
    OUTPUT_VARIABLE UT_PYTHON_INCLUDE OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()
if(NOT EXISTS "${UT_PYTHON_INCLUDE}/Python.h")
  ut_refuse("${Python_EXECUTABLE} (Python ${Python_VERSION}) has no header ${UT_PYTHON_INCLUDE}/Python.h: it is in a package of its own (the C library alone needs none: -DUT_PYTHON=OFF)"
    "python3-dev" "python3-devel" "python3-dev" "brew install python, or Python from python.org: both have it")
endif()

foreach(module numpy pybind11 Cython)
  execute_process(COMMAND ${Python_EXECUTABLE} -c "import ${module}" RESULT_VARIABLE UT_MISSING OUTPUT_QUIET ERROR_QUIET)
  if(NOT UT_MISSING EQUAL 0)
    message(FATAL_ERROR "UT_PYTHON: ${Python_EXECUTABLE} cannot import ${module}. Install what the modules are built with:\n"
                        "  ${Python_EXECUTABLE} -m pip install \"numpy>=2.0\" \"pybind11>=3.0\" \"cython>=3.1\"")
  endif()
endforeach()
if(NOT pybind11_DIR)
  execute_process(
    COMMAND ${Python_EXECUTABLE} -m pybind11 --cmakedir
    OUTPUT_VARIABLE pybind11_DIR OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()

if(NOT CMAKE_SCRIPT_MODE_FILE)
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module NumPy)
  find_package(pybind11 3.0 CONFIG REQUIRED)
endif()
