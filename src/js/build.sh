#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds the WebAssembly modules of the package into src/js/dist. Needs clang and lld (16 or newer for relaxed SIMD), cmake, ninja.
#   src/js/build.sh [FOLDER]      where to build; default: build/js
# CLANG: the compiler to use, such as clang-19; default: the newest of those that are installed.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
root="$(cd "$here/../.." && pwd)"
build="${1:-$root/build/js}"
mkdir -p "$build" "$here/dist"

clang="${CLANG:-}"
for name in clang-22 clang-21 clang-20 clang-19 clang-18 clang-17 clang-16 clang; do
  [ -n "$clang" ] || { command -v "$name" >/dev/null && clang="$name"; } || true
done
[ -n "$clang" ] || { echo "build.sh: no clang; apt-get install clang lld" >&2; exit 1; }
case "$clang" in *clang-*) suffix="-${clang##*clang-}" ;; *) suffix="" ;; esac
lld="$(command -v "wasm-ld$suffix" || command -v wasm-ld || true)"
[ -n "$lld" ] || { echo "build.sh: no wasm-ld; apt-get install lld$suffix" >&2; exit 1; }

bare="-ffreestanding -fno-stack-protector -ffunction-sections -fdata-sections"
exports="probe model_init model_info model_name model_source input output state stream_bytes stream_init stream_reset
  step run flush propose commit rollback stream_get stream_set stream_state snapshot_save snapshot_load stream_copy
  sequence_bytes sequence_run"

module() { # name, flags of the features that it needs, definitions for CMake
  local name="$1" flags="$2" out="$build/$1"; shift 2
  cmake --fresh -S "$root" -B "$out" -G Ninja -DCMAKE_SYSTEM_NAME=Generic -DCMAKE_SYSTEM_PROCESSOR=wasm32 \
    -DCMAKE_CXX_COMPILER="${clang/clang/clang++}" -DCMAKE_C_COMPILER="$clang" \
    -DCMAKE_CXX_FLAGS="--target=wasm32 -nostdlib $flags" -DCMAKE_C_FLAGS="--target=wasm32 -nostdlib $flags" \
    -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY -DCMAKE_POSITION_INDEPENDENT_CODE=OFF -DCMAKE_BUILD_TYPE=MinSizeRel -DCMAKE_CXX_FLAGS_MINSIZEREL="-Oz -DNDEBUG" \
    -DUT_THREADS=OFF -DUT_SMALL=ON -DUT_WERROR=ON -DUT_FLAGS="${bare// /;}" "$@" >"$out.log"
  cmake --build "$out" --target undertow >>"$out.log" || { tail -n 30 "$out.log" >&2; exit 1; }
  # shellcheck disable=SC2086
  "${clang/clang/clang++}" --target=wasm32 -nostdlib $flags $bare -std=c++17 -O2 -fno-exceptions -fno-rtti -Wall -Wextra -Werror \
    -I "$root/csrc/include" -c "$here/glue.cpp" -o "$out/glue.o"
  local wanted=()
  for function in $exports; do wanted+=("--export=ut_$function"); done
  "$lld" --no-entry --gc-sections --strip-all --stack-first -z stack-size=131072 "${wanted[@]}" \
    "$out/glue.o" "$out/csrc/libundertow.a" -o "$here/dist/undertow-$name.wasm"
  printf '%-26s %7d bytes, %6d gzipped\n' "undertow-$name.wasm" "$(stat -c %s "$here/dist/undertow-$name.wasm")" \
    "$(gzip -9c "$here/dist/undertow-$name.wasm" | wc -c)"
}

module scalar ""
rm -f "$here"/dist/undertow-wasm*.wasm
if [ "$("$clang" -dumpversion | cut -d. -f1)" -ge 16 ]; then
  module wasm "-msimd128 -mbulk-memory" -DUT_ISAS=wasm -DUT_SCALAR=OFF
  module wasmrelaxed "-msimd128 -mrelaxed-simd -mbulk-memory" -DUT_ISAS=wasmrelaxed -DUT_SCALAR=OFF
else
  echo "those with SIMD are left out: they need clang 16 or newer, $clang is $("$clang" -dumpversion)"
fi
