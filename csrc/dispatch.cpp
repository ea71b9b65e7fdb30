// SPDX-License-Identifier: MIT
#include "dispatch.h"

#include "cpu.h"

namespace undertow {

#if defined(UT_HAVE_avx512vnni) && defined(UT_X86)
namespace avx512vnni { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_avx512) && defined(UT_X86)
namespace avx512 { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_avxvnni) && defined(UT_X86)
namespace avxvnni { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_avx2) && defined(UT_X86)
namespace avx2 { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_neondot) && defined(UT_ARM64)
namespace neondot { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_neon) && defined(UT_ARM64)
namespace neon { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_rvv)
namespace rvv { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_wasmrelaxed)
namespace wasmrelaxed { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_wasm)
namespace wasm { extern const KernelTable table; }
#endif
#if !defined(UT_WITHOUT_SCALAR)
namespace scalar { extern const KernelTable table; }
#endif

namespace {

// Best first: the order is the whole policy.
constexpr const KernelTable* kTables[] = {
#if defined(UT_HAVE_avx512vnni) && defined(UT_X86)
    &avx512vnni::table,
#endif
#if defined(UT_HAVE_avx512) && defined(UT_X86)
    &avx512::table,
#endif
#if defined(UT_HAVE_avxvnni) && defined(UT_X86)
    &avxvnni::table,
#endif
#if defined(UT_HAVE_avx2) && defined(UT_X86)
    &avx2::table,
#endif
#if defined(UT_HAVE_neondot) && defined(UT_ARM64)
    &neondot::table,
#endif
#if defined(UT_HAVE_neon) && defined(UT_ARM64)
    &neon::table,
#endif
#if defined(UT_HAVE_rvv)
    &rvv::table,
#endif
#if defined(UT_HAVE_wasmrelaxed)
    &wasmrelaxed::table,
#endif
#if defined(UT_HAVE_wasm)
    &wasm::table,
#endif
#if !defined(UT_WITHOUT_SCALAR)
    &scalar::table,
#endif
};

bool same(const char* a, const char* b) {
  for (; *a && *a == *b; ++a) ++b;
  return *a == *b;
}

}  // namespace

const KernelTable* built_table(size_t i) { return i < sizeof kTables / sizeof *kTables ? kTables[i] : nullptr; }

bool runnable(const KernelTable& table, uint32_t cpu) { return (table.needs & ~cpu) == 0; }

const KernelTable* pick(const char* want, uint32_t cpu) {
  for (const KernelTable* t : kTables)
    if (runnable(*t, cpu) && (want == nullptr || same(want, t->name))) return t;
  return nullptr;
}

}  // namespace undertow
