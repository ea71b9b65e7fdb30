#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a C or C++ developer does with csrc/: builds it alone, installs it, finds it with CMake and with pkg-config, includes it
# in another project, compiles the amalgamation and every example. The build is portable and not optimised, for it is not what
# is tested here. A minute and a half on two cores.
#     check_packages.sh [FOLDER]     to work in; a temporary one without
# Needs cmake, ninja or make, g++, clang++, pkg-config, python3 and LV2's headers (Debian: lv2-dev).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:-$(mktemp -d)}
[ $# -ge 1 ] || trap 'rm -rf "$work"' EXIT
rm -rf "$work" && mkdir -p "$work"
cd "$work"
work=$PWD

die() {
  echo "check_packages.sh: $*" >&2
  exit 1
}
quietly() { "$@" >log 2>&1 || { cat log >&2; die "failed: $*"; }; }
refused() { # WORDS COMMAND...: it must fail, and say so
  local words=$1
  shift
  if "$@" >log 2>&1; then die "should have been refused: $*"; fi
  tr '\n' ' ' <log | tr -s ' ' | grep -q -- "$words" || { cat log >&2; die "refused without a word of '$words': $*"; }
}
says() { # WORDS COMMAND...
  local words=$1
  shift
  quietly "$@"
  grep -q -- "$words" log || { cat log >&2; die "expected '$words' of: $*"; }
}
fast=(-DUT_ISAS=scalar -DUT_FLAGS=-O0)
strict=(-pedantic-errors -Wall -Wextra -Wconversion -Wshadow -Werror)
sound=$root/tests/data/sound
python3 -c 'import sys; print(*open(sys.argv[1], "rb").read(), sep=",")' "$root/tests/data/tow/rnn.tow" >model.inc
version=$(sed -n 's/^#define UT_VERSION_[A-Z]* //p' "$root/csrc/include/undertow.h" | paste -sd.)

echo "-- csrc/ alone, installed, and moved to another place"
quietly cmake -S "$root/csrc" -B alone "${fast[@]}" -DUT_WERROR=ON
grep -q '^CMAKE_BUILD_TYPE.*=$' alone/CMakeCache.txt || die "the build type was written to the cache"
quietly cmake --build alone -j 2
quietly cmake --install alone --prefix "$work/first"
mv first prefix
(cd prefix && find . -type f | sort) >installed
diff installed - <<LIST || die "other files were installed"
./include/undertow.h
./include/undertow.hpp
./include/undertow_values.hpp
./lib/cmake/undertow/undertow-config-version.cmake
./lib/cmake/undertow/undertow-config.cmake
./lib/cmake/undertow/undertow-targets-release.cmake
./lib/cmake/undertow/undertow-targets.cmake
./lib/libundertow.a
./lib/pkgconfig/undertow.pc
./share/doc/undertow/LICENSE
LIST
if grep -rn "$work" prefix --include='*.cmake' --include='*.pc'; then die "an installation that knows where it was made"; fi

echo "-- instruction sets by name"
for isas in bogus "scalar avx2" scalar,avx2 "all;avx2" ""; do
  refused "UT_ISAS is \"$isas\". Expected all, or some of scalar, avx2" cmake -S "$root/csrc" -B isas -DUT_ISAS="$isas"
done
says "of other targets or unknown to this compiler: wasm" cmake -S "$root/csrc" -B isas "-DUT_ISAS=scalar;wasm"

echo "-- find_package, from a project in C and from one in C++"
mkdir find && cp "$root/csrc/examples/hello.c" "$root/csrc/examples/processor.cpp" find
cat >find/CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.22)
project(consumer LANGUAGES ${LANGUAGE})
find_package(undertow ${WANTED} CONFIG REQUIRED)
message(STATUS "found ${undertow_VERSION}")
add_executable(consumer ${SOURCE})
target_include_directories(consumer PRIVATE ${CMAKE_BINARY_DIR}/..)
target_link_libraries(consumer PRIVATE undertow::undertow)
CMAKE
consumer() { cmake -S find -B "$1" -DCMAKE_PREFIX_PATH="$work/prefix" -DLANGUAGE="$2" -DSOURCE="$3" -DWANTED="$4"; }
says "found $version" consumer find-c C hello.c 0.1
quietly cmake --build find-c
says "step 2: " find-c/consumer
quietly consumer find-cxx CXX processor.cpp "$version"
quietly cmake --build find-cxx
says "latency 0 samples" find-cxx/consumer "$sound/amp.tow"
says "latency 5 samples" find-cxx/consumer "$sound/late.tow"
refused 'requested version "0.2"' consumer find-newer C hello.c 0.2 # 0.x: minor versions differ in what they promise
refused 'requested version "1"' consumer find-newest C hello.c 1

echo "-- pkg-config, from C"
export PKG_CONFIG_PATH=$work/prefix/lib/pkgconfig
[ "$(pkg-config --modversion undertow)" = "$version" ] || die "undertow.pc has another version than undertow.h"
pkg-config --exists 'undertow >= 0.1' || die "undertow.pc is older than 0.1"
# shellcheck disable=SC2046
quietly gcc -std=c99 -I. "$root/csrc/examples/hello.c" $(pkg-config --cflags --libs undertow) -o hello
says "step 2: " ./hello
if readelf -d hello find-c/consumer | grep -E 'libstdc|libgcc_s|libm\.'; then die "a program in C needs a C++ runtime or libm"; fi

echo "-- in another project: FetchContent of csrc/ and of the repository"
mkdir fetch && cp "$root/csrc/examples/processor.cpp" fetch
cat >fetch/CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.22)
project(consumer LANGUAGES CXX)
include(FetchContent)
add_compile_options(${STRICT})
FetchContent_Declare(undertow SOURCE_DIR ${UNDERTOW} SOURCE_SUBDIR "${SUBDIR}")
FetchContent_MakeAvailable(undertow)
add_executable(consumer processor.cpp)
target_compile_features(consumer PRIVATE cxx_std_17)
target_link_libraries(consumer PRIVATE undertow::undertow)
foreach(name CMAKE_BUILD_TYPE CMAKE_CXX_STANDARD CMAKE_C_STANDARD CMAKE_CXX_FLAGS CMAKE_POSITION_INDEPENDENT_CODE)
  if(NOT "${${name}}" STREQUAL "")
    message(FATAL_ERROR "${name} became ${${name}}")
  endif()
endforeach()
if(TARGET test_models OR TARGET stream OR TARGET bench_core)
  message(FATAL_ERROR "tests, Python modules or benchmarks")
endif()
CMAKE
fetch() { cmake -S fetch -B "$1" -DUNDERTOW="$root" -DSUBDIR="$2" "${fast[@]}" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DSKBUILD=2; }
quietly fetch fetch-csrc csrc
quietly fetch fetch-root ""
for folder in fetch-csrc fetch-root; do
  if grep -E -- '-W[a-z]' $folder/compile_commands.json; then die "$folder: warnings that nobody asked for"; fi
  grep '"command"' $folder/compile_commands.json | grep processor >own
  if grep -E -- '-f|-O' own; then die "$folder: flags in the other project"; fi
  if find $folder -name CTestTestfile.cmake -exec grep add_test {} + | grep .; then die "$folder: tests that nobody asked for"; fi
  if find $folder -name cmake_install.cmake -exec grep -l 'undertow\.\(h\|pc\)' {} + | grep .; then
    die "$folder: an installation that nobody asked for"
  fi
done
quietly cmake --build fetch-csrc -j 2
says "latency 0 samples" fetch-csrc/consumer "$sound/amp.tow"
# A project whose warnings are errors sees those of its own files, and of the headers.
strictest="-Wall;-Wextra;-Wpedantic;-Wconversion;-Wsign-conversion;-Wshadow;-Wold-style-cast;-Wundef;-Werror"
for compiler in g++ clang++; do
  quietly cmake -S fetch -B fetch-strict-$compiler -DCMAKE_CXX_COMPILER=$compiler -DUNDERTOW="$root" -DSUBDIR=csrc "${fast[@]}" -DSTRICT="$strictest"
  quietly cmake --build fetch-strict-$compiler -j 2
done

echo "-- the amalgamation: GCC, clang, and the bits of golden.txt"
python3 "$root/csrc/amalgamate.py" amalgamation
amalgam=(-std=c++17 -Wall -Wextra -Werror -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno -O2)
(cd amalgamation && ls) | paste -sd' ' | grep -qx 'undertow.cpp undertow.h' || die "the amalgamation is not two files"
mkdir apart && cp amalgamation/* apart && cd apart # nothing of the repository is within reach
clang++ "${amalgam[@]}" -c undertow.cpp -o clang.o &
clang=$!
g++ "${amalgam[@]}" -c undertow.cpp -o gcc.o || die "g++ does not compile the amalgamation"
wait $clang || die "clang++ does not compile the amalgamation"
for compiler in gcc clang; do
  if nm -u $compiler.o | grep -vE 'U (mem(cpy|set|move|cmp)|bcmp|_GLOBAL_OFFSET_TABLE_)$'; then die "$compiler.o needs more than C does"; fi
  quietly g++ -std=c++17 -O2 -ffp-contract=off -I. -I"$root/tests/cpp" "$root/tests/cpp/test_models.cpp" $compiler.o -o models
  says ", 0 failed" ./models "$root/tests/data/tow" --golden "$root/tests/cpp/golden.txt"
done
quietly gcc -std=c99 -I. -I.. "$root/csrc/examples/hello.c" gcc.o -o hello
says "step 2: " ./hello
cd ..
case $(uname -m) in
  x86_64) isa=avx2 flags=(-mavx2 -mfma -mf16c) ;;
  aarch64) isa=neon flags=() ;;
  *) isa= ;;
esac
if [ -n "$isa" ]; then # with one instruction set more, in a file that is compiled with flags of its own
  python3 "$root/csrc/amalgamate.py" --isa $isa beside
  cd beside
  g++ "${amalgam[@]}" -O1 -c undertow.cpp -o undertow.o &
  gcc=$!
  g++ "${amalgam[@]}" -O1 "${flags[@]}" -c undertow_$isa.cpp -o $isa.o || die "g++ does not compile undertow_$isa.cpp"
  wait $gcc || die "g++ does not compile the amalgamation with $isa beside it"
  quietly g++ -std=c++17 -O2 -ffp-contract=off -I. -I"$root/tests/cpp" "$root/tests/cpp/test_models.cpp" undertow.o $isa.o -o models
  says ", 0 failed" ./models "$root/tests/data/tow" --golden "$root/tests/cpp/golden.txt"
  [ $isa = neon ] || refused "compile undertow_avx2.cpp with -mavx2 -mfma -mf16c" g++ -std=c++17 -c undertow_avx2.cpp -o none.o
  cd ..
fi

echo "-- every example, with every warning"
include=$root/csrc/include library=prefix/lib/libundertow.a
python3 -c 'import sys; print(*open(sys.argv[1], "rb").read(), sep=",")' "$sound/amp.tow" >model.inc
for compiler in g++ clang++; do
  quietly $compiler -std=c++17 "${strict[@]}" -I"$include" "$root/csrc/examples/processor.cpp" $library -o processor
  says "latency 5 samples" ./processor "$sound/late.tow"
  refused "cannot open the file" ./processor none.tow
  refused "one sample in and one sample out" ./processor "$root/tests/data/tow/rnn.tow"
  quietly $compiler -std=c++17 -fno-exceptions -fno-rtti "${strict[@]}" -I"$include" -I. -c "$root/csrc/examples/block_callback.cpp" -o callback.o
  quietly gcc callback.o "$root/tests/cpp/no_malloc.c" $library -o callback  # a heap would end it
  says "in both channels: yes" ./callback
done

if command -v x86_64-w64-mingw32-g++ >/dev/null; then
  echo "-- Windows: undertow.hpp without a warning, and a path outside of any code page"
  cp "$root/csrc/include/"undertow*.hpp amalgamation
  mkdir folder && cp "$sound/amp.tow" "folder/τότε あ.tow"
  cat >paths.cpp <<'CPP'
#include <cstdio>
#include <filesystem>

#include "undertow.hpp"

int main(int, char** argv) {
  const std::filesystem::path folder(argv[1]);
  const undertow::Model model(folder / L"\u03c4\u03cc\u03c4\u03b5 \u3042.tow");
  undertow::Stream stream(model);
  const float x[] = {0.5f};
  float y[1];
  stream.step(x, y);
  const auto none = undertow::Model::try_load(folder / L"\u3042.tow");
  std::printf("%u Hz; %s; %s\n", static_cast<unsigned>(model.info().sample_rate), none.error().what(), stream.try_step(x, {y, 3}).error().what());
}
CPP
  quietly x86_64-w64-mingw32-g++ "${amalgam[@]}" -O1 -c amalgamation/undertow.cpp -o windows.o
  quietly x86_64-w64-mingw32-g++ -std=c++17 "${strict[@]}" -Wformat=2 -Iamalgamation paths.cpp windows.o -static -o paths.exe
  wine=$(command -v wine64 || command -v wine || echo /usr/lib/wine/wine64)
  [ ! -x "$wine" ] || WINEDEBUG=-all LC_ALL=C.UTF-8 says "48000 Hz; folder.*?.tow: cannot open the file.*expected 1 elements, got 3" "$wine" ./paths.exe folder
fi

echo "-- the LV2 plugin"
refused "is no file" cmake -S "$root/csrc/examples/lv2" -B lv2-none -DMODEL=none.tow
quietly cmake -S "$root/csrc/examples/lv2" -B lv2 -DMODEL="$sound/amp.tow" "${fast[@]}" -DCMAKE_CXX_FLAGS="${strict[*]}"
quietly cmake --build lv2 -j 2
quietly cmake --install lv2 --prefix lv2-path
(cd lv2-path && find . -type f | sort | paste -sd' ') | grep -qx './undertow-amp.lv2/amp.so ./undertow-amp.lv2/amp.ttl ./undertow-amp.lv2/manifest.ttl ./undertow-amp.lv2/model.tow' ||
  die "another bundle was installed"
quietly g++ -std=c++17 -O1 -fno-builtin -Wall -Wextra -Werror -I"$include" -I"$root/tests/cpp" "$root/tests/cpp/test_lv2.cpp" $library -ldl -o test_lv2
says ", 0 failed" ./test_lv2 lv2-path/undertow-amp.lv2 "$sound/amp.tow"
cp "$sound/late.tow" lv2-path/undertow-amp.lv2/model.tow
says ", 0 failed" ./test_lv2 lv2-path/undertow-amp.lv2 "$sound/late.tow"
echo "check_packages.sh: everything is as documented"
