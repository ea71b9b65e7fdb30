// SPDX-License-Identifier: MIT
#include "dispatch.h"

namespace undertow {

#if defined(UT_HAVE_avx512vnni)
namespace avx512vnni { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_avx512)
namespace avx512 { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_avxvnni)
namespace avxvnni { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_avx2)
namespace avx2 { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_neondot)
namespace neondot { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_neon)
namespace neon { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_wasmrelaxed)
namespace wasmrelaxed { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_wasm)
namespace wasm { extern const KernelTable table; }
#endif
#if defined(UT_HAVE_scalar)
namespace scalar { extern const KernelTable table; }
#endif

namespace {

// Best first: the order is the whole policy.
constexpr const KernelTable* kTables[] = {
#if defined(UT_HAVE_avx512vnni)
    &avx512vnni::table,
#endif
#if defined(UT_HAVE_avx512)
    &avx512::table,
#endif
#if defined(UT_HAVE_avxvnni)
    &avxvnni::table,
#endif
#if defined(UT_HAVE_avx2)
    &avx2::table,
#endif
#if defined(UT_HAVE_neondot)
    &neondot::table,
#endif
#if defined(UT_HAVE_neon)
    &neon::table,
#endif
#if defined(UT_HAVE_wasmrelaxed)
    &wasmrelaxed::table,
#endif
#if defined(UT_HAVE_wasm)
    &wasm::table,
#endif
#if defined(UT_HAVE_scalar)
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
