# SPDX-License-Identifier: MIT
"""A firmware for a Cortex-M without a system or a vendor's library, which QEMU runs as it is."""

from __future__ import annotations

from .. import costs
from .parts import Parts

_TEXTS = {
    "Makefile": """
# make: @name@.elf for the core below and the memories of board.ld. make run: the same in QEMU, with what it says.
CPU = -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard # README.md has those of other cores
# a board of QEMU's that has the core, or one that does all that it does
NEWER = $(foreach core,m23 m33 m35p m52 m55 m85,$(findstring cortex-$(core),$(CPU)))
MACHINE = $(if $(strip $(NEWER)),mps3-an547,$(if $(findstring cortex-m7,$(CPU)),mps2-an500,mps2-an386))
CC = arm-none-eabi-gcc
CFLAGS = -std=c99 -O2 -g -Wall -Wextra
LDFLAGS = -nostartfiles -T board.ld -Wl,--gc-sections
SOURCES = main.c start.c @name@.c
FILES = $(SOURCES) board.h @name@.h board.ld Makefile .flags

# other flags than those of the last time are another firmware
FLAGS = $(CC) $(CPU) $(CFLAGS) $(LDFLAGS)
$(shell echo '$(FLAGS)' | cmp -s - .flags || echo '$(FLAGS)' >.flags)

@name@.elf: $(FILES)
\t$(CC) $(CPU) -mthumb $(CFLAGS) $(SOURCES) $(LDFLAGS) -o @name@.elf
\tarm-none-eabi-size @name@.elf

@name@_qemu.elf: $(FILES)
\t$(CC) $(CPU) -mthumb $(CFLAGS) -DSEMIHOSTING $(SOURCES) $(LDFLAGS) -o @name@_qemu.elf

run: @name@_qemu.elf
\tqemu-system-arm -M $(MACHINE) -nographic -semihosting-config enable=on,target=native -kernel @name@_qemu.elf 2>&1

clean:
\trm -f @name@.elf @name@_qemu.elf .flags

.PHONY: run clean
""",
    "board.ld": """
/* What lies where: these are memories of QEMU's boards (mps2-an386 has 4M of RAM, mps3-an547 no more FLASH than 512K).
   Of an STM32F446RE: FLASH at 0x08000000, 512K, RAM at 0x20000000, 128K; of an nRF52840: FLASH at 0, 1M, RAM at
   0x20000000, 256K. */
MEMORY {
  FLASH (rx) : ORIGIN = 0x00000000, LENGTH = 4M
  RAM (rw) : ORIGIN = 0x20000000, LENGTH = 512K
}
/* The least that is left for the stack: a step, main, an interrupt. Give it more where your own code wants it. */
stack_size = @stack@;
ENTRY(reset)
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) . = ALIGN(4); } > FLASH
  .ARM.exidx : { *(.ARM.exidx*) } > FLASH
  data_in_flash = LOADADDR(.data);
  .data : { . = ALIGN(4); data_start = .; *(.data*) . = ALIGN(4); data_end = .; } > RAM AT > FLASH
  .bss (NOLOAD) : { . = ALIGN(4); bss_start = .; *(.bss*) *(COMMON) . = ALIGN(8); bss_end = .; } > RAM
  stack_top = ORIGIN(RAM) + LENGTH(RAM); /* it grows down to bss_end */
}
ASSERT(stack_top - bss_end >= stack_size, "RAM has no room for a stack of stack_size bytes: see board.ld")
""",
    "board.h": """
/* What start.c gives to main.c. */
#ifndef BOARD_H_
#define BOARD_H_

/* Text for whoever listens: QEMU, or a debugger, where SEMIHOSTING is defined; else nobody. Put your UART here. */
void say(const char *text);

#endif
""",
    "start.c": """
/* From reset to main: vectors, memory, FPU. Semihosting (of QEMU and debuggers) says what is said, and ends. */
#include <stdint.h>

#include "board.h"

extern uint32_t data_start, data_end, data_in_flash, bss_start, bss_end, stack_top;
int main(void);
void reset(void);

#if defined(SEMIHOSTING)
static void semihosting(int operation, const void *argument) {
  register int r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}
void say(const char *text) { semihosting(0x04, text); }
static void quit(int status) {
  const uint32_t exit[2] = {0x20026, (uint32_t)status};
  semihosting(0x20, exit);
}
#else
void say(const char *text) { (void)text; }
static void quit(int status) { (void)status; }
#endif

static void fault(void) {
  say("fault\\n");
  quit(1);
  for (;;) {
  }
}

/* Those of the core; behind them stand the interrupts of your chip, in the order of its manual. */
__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top,    (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
    (void *)fault, 0,             0,             0,             0,             (void *)fault,
    0,             0,             (void *)fault, (void *)fault};

void reset(void) {
#if defined(__ARM_FP)
  *(volatile uint32_t *)0xE000ED88 |= 0xfu << 20; /* CPACR: the FPU is off after a reset */
  __asm__ volatile("dsb\\n\\tisb");
#endif
  uint32_t *from = &data_in_flash;
  for (uint32_t *to = &data_start; to < &data_end;) *to++ = *from++;
  for (uint32_t *to = &bss_start; to < &bss_end;) *to++ = 0;
  quit(main());
  for (;;) {
  }
}
""",
    "main.c": """
/* @title@: one step for each frame of what `heard` gives. */
#include <stdint.h>
#include <string.h>

#include "board.h"
#include "@name@.h"

@declare@

/* The next number of your sensor, scaled as in training; here one that tests can make, too: -1 to 1, in steps. */
static float heard(void) {
  static uint32_t n;
  return (float)(n++ % 17) / 8.0f - 1.0f;
}

/* The bits of a number, for numbers without printf, behind what stands before it. */
static void say_bits(const char *before, const void *number) {
  char text[] = "00000000";
  uint32_t bits;
  memcpy(&bits, number, sizeof bits);
  for (int i = 7; i >= 0; --i, bits >>= 4) text[i] = "0123456789abcdef"[bits & 15];
  say(before);
  say(text);
}

int main(void) {
  @name@_reset(&state);
#if defined(SEMIHOSTING)
  for (int t = 0; t < 3; ++t) {
#else
  for (;;) { /* wait here until a frame is due: as often as in training */
#endif
    for (size_t i = 0; i < @X_SIZE@; ++i) @x@[i] = @number(heard())@;
    @notes@
    @call@
    for (size_t i = 0; i < @Y_SIZE@; ++i) say_bits(i ? " " : "", &@y@[i]); /* use it here */
    say("\\n");
  }
  return 0;
}
""",
    "README.md": """
# @name@ on a Cortex-M

Made by `undertow export --to cortex-m` (undertow @version@) from the model @hash@. `@name@.h` says how to call it.
`make` links @name@.elf with arm-none-eabi-gcc; `make run` runs it in QEMU and prints the bits of three outputs: those
of undertow in Python, for the same numbers. `make run CPU="..."` does so for another core.

For your board, set the core in `Makefile`, the two memories in `board.ld` (and the least stack, which linking checks),
and in `main.c` where numbers come from and when; clocks and pins are as a reset leaves them. In a project of your
vendor's IDE take @name@.h and @name@.c alone: start-up and linker script are there.

| core | CPU |
|---|---|
| Cortex-M0, M0+ | `-mcpu=cortex-m0plus` |
| Cortex-M3 | `-mcpu=cortex-m3` |
| Cortex-M4F | `-mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard` |
| Cortex-M7 | `-mcpu=cortex-m7 -mfpu=fpv5-sp-d16 -mfloat-abi=hard` (fpv5-d16 where it computes doubles) |
| Cortex-M33 | `-mcpu=cortex-m33 -mfpu=fpv5-sp-d16 -mfloat-abi=hard` |
| Cortex-M55 | `-mcpu=cortex-m55 -mfloat-abi=hard` (its vectors are taken) |
| Cortex-M85 | `-mcpu=cortex-m85 -mfloat-abi=hard` (the same; GCC 13 and newer) |

All but Cortex-M85 was linked and run under QEMU where undertow is tested; on a board it was not, for there is none.
""",
}


#: bytes of main, of what it calls beside the step, and of an interrupt with floats
_BESIDE_A_STEP = 512


def files(parts: Parts) -> dict[str, str]:
    deepest = max(costs.estimate(parts.source, target).stack_bytes for target in costs.targets())
    stack = -(-(deepest + _BESIDE_A_STEP) // 256) * 256
    texts = {path: text.replace("@stack@", str(stack)) for path, text in _TEXTS.items()}
    return parts.files(texts, "", "")
