// SPDX-License-Identifier: MIT
// Which kernel table a model gets.
#ifndef UNDERTOW_DISPATCH_H_
#define UNDERTOW_DISPATCH_H_

#include "kernels.h"

namespace undertow {

// Built tables best first; null past the last.
const KernelTable* built_table(size_t i);
bool runnable(const KernelTable& table, uint32_t cpu);

// A built table, with entries that it leaves out taken from the first one behind it that has them: an instruction set for
// integers adds nothing but their products, and its CPUs run what stands behind it.
KernelTable completed(const KernelTable& table);

// The best table for a CPU, or the one named `want`; null if that is unknown, not built, or not runnable here.
const KernelTable* pick(const char* want, uint32_t cpu);

}  // namespace undertow

#endif  // UNDERTOW_DISPATCH_H_
