/* SPDX-License-Identifier: MIT
 * The start of a bare RISC-V hart (QEMU's `virt`): stack, FPU on, .bss; text and exit by semihosting. */
#include "program.h"

#if !defined(UT_STEPS)
#define UT_STEPS 16
#endif

__asm__(
    ".section .text.start\n"
    ".globl _start\n"
    "_start: la sp, stack_top\n"
    "  .option push\n  .option norelax\n  la gp, __global_pointer$\n  .option pop\n"
#if defined(__riscv_flen)
    "  li t0, 0x6000\n" /* mstatus.FS */
    "  csrs mstatus, t0\n"
#endif
    "  la t0, bss_start\n"
    "  la t1, bss_end\n"
    "1: bgeu t0, t1, 2f\n"
    "  sw zero, 0(t0)\n"
    "  addi t0, t0, 4\n"
    "  j 1b\n"
    "2: call start\n"
    ".balign 16\n"
    "semihosting: .option push\n"
    "  .option norvc\n"
    "  slli x0, x0, 0x1f\n"
    "  ebreak\n"
    "  srai x0, x0, 7\n"
    "  .option pop\n"
    "  ret\n"
    ".text\n");
long semihosting(long operation, const void* argument);

void put(const char* text) { semihosting(4, text); }
void quit(int status) {
  const long exit[2] = {0x20026, status};
  semihosting(0x20, exit);
  for (;;) {
  }
}
void start(void) { quit(run(UT_STEPS)); }
