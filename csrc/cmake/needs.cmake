# SPDX-License-Identifier: MIT
# What the build needs of the system, and in which package it is where it is missing.

include(CheckLanguage)

function(ut_refuse what debian fedora alpine macos)
  message(FATAL_ERROR "undertow is built from C++, and ${what}. Install\n"
    "  Debian, Ubuntu:  apt install ${debian}\n"
    "  Fedora:          dnf install ${fedora}\n"
    "  Alpine:          apk add ${alpine}\n"
    "  macOS:           ${macos}\n"
    "and say the same again.")
endfunction()

# Call it before C++ is enabled: CMake's own message names no package.
function(ut_need_compiler)
  check_language(CXX)
  if(NOT CMAKE_CXX_COMPILER)
    if(SKBUILD OR UT_PYTHON)  # whoever lacks the one mostly lacks the other
      set(debian " python3-dev")
      set(fedora " python3-devel")
    endif()
    ut_refuse("no C++ compiler was found" "g++${debian}" "gcc-c++${fedora}" "build-base${debian}" "xcode-select --install")
  endif()
endfunction()

# A macro, for find_package sets variables where it is called.
macro(ut_find_python)
  find_package(Python QUIET COMPONENTS Interpreter)  # by itself: what lacks headers has an interpreter all the same
  if(NOT Python_FOUND)
    ut_refuse("no Python was found" "python3-dev" "python3-devel" "python3-dev" "brew install python")
  endif()
  set(ut_python "${Python_EXECUTABLE} (Python ${Python_VERSION})")
  find_package(Python QUIET COMPONENTS Interpreter Development.Module)
  if(NOT Python_FOUND)
    ut_refuse("${ut_python} has no headers (Python.h)" "python3-dev" "python3-devel" "python3-dev"
      "brew install python, or Python from python.org: both have them")
  endif()
  find_package(Python REQUIRED COMPONENTS Interpreter Development.Module NumPy)
endmacro()
