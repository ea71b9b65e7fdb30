# SPDX-License-Identifier: MIT
# One object library per instruction set. The only file of the project that mentions -m flags.

include(CheckCXXCompilerFlag)

# Kernels need -O3: at -O2 accumulators stay in memory. Contraction is off: a fused multiply-add happens exactly where it
# is written. errno would make square roots a library call.
if(MSVC AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  set(UT_KERNEL_FLAGS /O2 ${UT_COMPILE_FLAGS})
else()
  set(UT_KERNEL_FLAGS $<IF:$<CONFIG:MinSizeRel>,-Os,-O3> ${UT_COMPILE_FLAGS} -fno-math-errno)
endif()

# One list may serve several targets: names of another one's are passed over, names of none are not.
set(known scalar avx2 avxvnni avx512 avx512vnni neon neondot rvv wasm wasmrelaxed)
set(unknown ${UT_ISAS})
list(REMOVE_ITEM unknown ${known})
if(NOT UT_ISAS STREQUAL "all" AND (unknown OR "${UT_ISAS}" STREQUAL ""))
  list(JOIN known ", " known)
  message(FATAL_ERROR "UT_ISAS is \"${UT_ISAS}\". Expected all, or some of ${known}, with semicolons between them: -DUT_ISAS=\"scalar;avx2\"")
endif()

# An instruction set that extends another (UT_ISA_EXTENDS), or leaves tinier layers to it (UT_ISA_NARROW), needs that one's
# kernels.
foreach(pair "avx512vnni;avx512" "avx512;avx2" "avxvnni;avx2" "neondot;neon")
  list(GET pair 0 extension)
  list(GET pair 1 extended)
  if(extension IN_LIST UT_ISAS AND NOT extended IN_LIST UT_ISAS)
    list(APPEND UT_ISAS ${extended})
  endif()
endforeach()

# FLAGS are of the architecture ARCH: a universal build of macOS compiles a file for others too, which leave it empty.
list(LENGTH CMAKE_OSX_ARCHITECTURES n_architectures)
function(ut_add_isa name)
  cmake_parse_arguments(A "" "ARCH" "FLAGS" ${ARGN})
  if(NOT UT_ISAS STREQUAL "all" AND NOT name IN_LIST UT_ISAS AND NOT (name STREQUAL "scalar" AND UT_SCALAR))
    return()
  endif()
  if(n_architectures GREATER 1 AND A_FLAGS)
    list(TRANSFORM A_FLAGS REPLACE "^(-m.*)$" "SHELL:-Xarch_${A_ARCH} \\1")
  endif()
  add_library(ut_isa_${name} OBJECT kernels/isa_${name}.cpp)
  set_target_properties(ut_isa_${name} PROPERTIES ${UT_PROPERTIES})
  target_compile_options(ut_isa_${name} PRIVATE ${UT_WARNINGS} ${UT_KERNEL_FLAGS} ${A_FLAGS} ${UT_FLAGS})
  target_compile_definitions(ut_isa_${name} PRIVATE ${UT_OPTIONS})
  target_sources(undertow PRIVATE $<TARGET_OBJECTS:ut_isa_${name}>)
  target_compile_definitions(undertow PRIVATE UT_HAVE_${name}=1)
  set_property(GLOBAL APPEND PROPERTY UT_BUILT_ISAS ${name})
endfunction()

# A WebAssembly module is compiled for one set of features, so whoever loads it has chosen already; and its size counts.
option(UT_SCALAR "Build the portable kernels whatever UT_ISAS says" ON)

if(CMAKE_OSX_ARCHITECTURES)
  set(architectures ${CMAKE_OSX_ARCHITECTURES})
elseif(CMAKE_CXX_COMPILER_ARCHITECTURE_ID)  # cl.exe and clang-cl
  set(architectures ${CMAKE_CXX_COMPILER_ARCHITECTURE_ID})
else()
  set(architectures ${CMAKE_SYSTEM_PROCESSOR})
endif()

ut_add_isa(scalar)
if(NOT TARGET ut_isa_scalar)
  target_compile_definitions(undertow PRIVATE UT_WITHOUT_SCALAR=1)
endif()
if(architectures MATCHES "x86_64|AMD64|amd64|x64" AND MSVC AND NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  ut_add_isa(avx2 ARCH x86_64 FLAGS /arch:AVX2)
  ut_add_isa(avx512 ARCH x86_64 FLAGS /arch:AVX512)
elseif(architectures MATCHES "x86_64|AMD64|amd64|x64")
  # GCC 12 does not see that a tile writes all that its first stretch does not read.
  set(avx2 -mavx2 -mfma -mf16c $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  set(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl)
  check_cxx_compiler_flag(-mprefer-vector-width=512 UT_KNOWS_VECTOR_WIDTH)
  if(UT_KNOWS_VECTOR_WIDTH)
    list(APPEND avx512 -mprefer-vector-width=512)
  endif()
  ut_add_isa(avx2 ARCH x86_64 FLAGS ${avx2})
  check_cxx_compiler_flag(-mavxvnni UT_KNOWS_AVXVNNI)
  if(UT_KNOWS_AVXVNNI)
    ut_add_isa(avxvnni ARCH x86_64 FLAGS ${avx2} -mavxvnni)
  endif()
  # GCC 12's own AVX-512 headers read a variable before it is set (GCC bug 105593).
  list(APPEND avx512 $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized> $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized>)
  ut_add_isa(avx512 ARCH x86_64 FLAGS ${avx512})
  ut_add_isa(avx512vnni ARCH x86_64 FLAGS ${avx512} -mavx512vnni)
endif()
if(architectures MATCHES "aarch64|arm64|ARM64")
  ut_add_isa(neon ARCH arm64)
  ut_add_isa(neondot ARCH arm64 FLAGS -march=armv8.2-a+dotprod)
endif()
if(architectures MATCHES "riscv64|rv64")
  # Vectors of a fixed length for this extension, and functions of them: clang 17 is the first that has both, GCC has not.
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_GREATER_EQUAL 17)
    ut_add_isa(rvv FLAGS -march=rv64gcv)
  endif()
endif()
if(architectures MATCHES "wasm32")
  # All of a module is compiled with its features (CMAKE_CXX_FLAGS): -msimd128, and -mrelaxed-simd. Clang 16 is the first that has
  # the final instructions of the latter; clang 14 does not come to an end with these kernels.
  include(CheckCXXSourceCompiles)
  foreach(feature simd128 relaxed_simd)
    set(source "#if !defined(__wasm_${feature}__) || __clang_major__ < 16")
    string(APPEND source "\n#error\n#endif\nint main() { return 0; }")
    check_cxx_source_compiles("${source}" UT_WASM_${feature})
  endforeach()
  if(UT_WASM_relaxed_simd)
    ut_add_isa(wasmrelaxed)
  elseif(UT_WASM_simd128)
    ut_add_isa(wasm)
  endif()
endif()

get_property(built GLOBAL PROPERTY UT_BUILT_ISAS)
set(passed_over ${UT_ISAS})
list(REMOVE_ITEM passed_over all ${built})
if(passed_over)
  message(STATUS "undertow: built are ${built}; of UT_ISAS, of other targets or unknown to this compiler: ${passed_over}")
endif()
if(NOT built STREQUAL "scalar")  # small code keeps what kernels with vectors need (compiler.h)
  target_compile_definitions(undertow PRIVATE UT_VECTORS=1)
  foreach(name IN LISTS built)
    target_compile_definitions(ut_isa_${name} PRIVATE UT_VECTORS=1)
    target_compile_options(ut_isa_${name} PRIVATE $<$<NOT:$<CXX_COMPILER_ID:MSVC>>:-fno-lto>)  # flags of its own to the end
  endforeach()
endif()
if(NOT built)
  message(FATAL_ERROR "No instruction set is built: UT_ISAS is ${UT_ISAS}, of which this target or compiler has none, and "
                      "UT_SCALAR is off. WebAssembly with SIMD needs clang 16 or newer")
endif()
