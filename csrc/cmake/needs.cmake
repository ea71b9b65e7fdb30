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
