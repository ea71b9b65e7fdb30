// SPDX-License-Identifier: MIT
// Which kernel table a model gets.
#ifndef UNDERTOW_DISPATCH_H_
#define UNDERTOW_DISPATCH_H_

#include "kernels.h"

namespace undertow {

// Built tables best first; null past the last.
const KernelTable* built_table(size_t i);
bool runnable(const KernelTable& table, uint32_t cpu);

// The best table for a CPU, or the one named `want`; null if that is unknown, not built, or not runnable here.
const KernelTable* pick(const char* want, uint32_t cpu);

}  // namespace undertow

#endif  // UNDERTOW_DISPATCH_H_
