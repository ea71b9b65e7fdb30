/* SPDX-License-Identifier: MIT
 * The start of a Cortex-M: vectors, .data and .bss, FPU on; text and exit by semihosting (Arm, "Semihosting for AArch32 and
 * AArch64"). Of QEMU's boards, or of a debugger. */
#include <stdint.h>

#include "program.h"

#if !defined(UT_STEPS)
#define UT_STEPS 16
#endif

extern uint32_t data_start, data_end, data_in_flash, bss_start, bss_end, stack_top;

static int semihosting(int operation, const void* argument) {
  register int r0 __asm__("r0") = operation;
  register const void* r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}
void put(const char* text) { semihosting(4, text); }
void quit(int status) {
  const struct {
    uint32_t reason, status;
  } exit = {0x20026, (uint32_t)status};
  semihosting(0x20, &exit);
  for (;;) {
  }
}

static void fault(void) {
  put("fault\n");
  quit(2);
}
void reset(void);
__attribute__((section(".vectors"), used)) static const void* const vectors[16] = {
    &stack_top, (void*)reset, (void*)fault, (void*)fault, (void*)fault, (void*)fault, (void*)fault, 0,
    0,          0,            0,            (void*)fault, 0,            0,            (void*)fault, (void*)fault};

__attribute__((noinline)) static void start(void) { quit(run(UT_STEPS)); }
__attribute__((noinline)) static void set_up_memory(void) {
  uint32_t *to = &data_start, *from = &data_in_flash;
  while (to < &data_end) *to++ = *from++;
  for (to = &bss_start; to < &bss_end;) *to++ = 0;
}
void reset(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
  *(volatile uint32_t*)0xE000ED88 |= 0xfu << 20; /* CPACR: the FPU, and MVE with it, before a loop that a compiler makes vectors of */
  __asm__ volatile("dsb\n\tisb");
#endif
  set_up_memory();
  start();
}
