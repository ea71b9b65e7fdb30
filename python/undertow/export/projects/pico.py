# SPDX-License-Identifier: MIT
"""A project of the Raspberry Pi Pico SDK."""

from __future__ import annotations

from .parts import Parts

_TEXTS = {
    "CMakeLists.txt": """
cmake_minimum_required(VERSION 3.13)
include($ENV{PICO_SDK_PATH}/external/pico_sdk_import.cmake)
project(@name@_pico C CXX ASM)
set(CMAKE_C_STANDARD 11)
pico_sdk_init()

add_executable(@name@_pico main.c @name@.c)
target_link_libraries(@name@_pico pico_stdlib hardware_adc)
pico_enable_stdio_usb(@name@_pico 1)
pico_enable_stdio_uart(@name@_pico 0)
pico_add_extra_outputs(@name@_pico)
""",
    "main.c": """
/* @title@ on the numbers of GPIO 26 (ADC 0): one step for each frame of them. */
#include <stdio.h>

#include "hardware/adc.h"
#include "pico/stdlib.h"

#include "@name@.h"

#define MICROSECONDS_PER_FRAME 10000 /* as often as the model was trained to hear from its sensor */

@declare@

int main(void) {
  absolute_time_t due;
  stdio_init_all();
  adc_init();
  adc_gpio_init(26);
  adc_select_input(0);
  @name@_reset(&state);
  due = get_absolute_time();
  for (;;) {
    due = delayed_by_us(due, MICROSECONDS_PER_FRAME);
    sleep_until(due);
    for (size_t i = 0; i < @X_SIZE@; ++i)
      @x@[i] = @number((float)adc_read() / 2048.0f - 1.0f)@; /* 12 bits: scale it as your training data was */
    @notes@
    @call@
    for (size_t i = 0; i < @Y_SIZE@; ++i) printf("%f ", (double)@y@[i]);
    printf("\\n");
  }
}
""",
    "README.md": """
# @name@ on a Raspberry Pi Pico

Made by `undertow export --to pico` (undertow @version@) from the model @hash@. `@name@.h` says how to call it.
`main.c` reads GPIO 26 and prints what the model says, over USB. Build: `PICO_SDK_PATH=/path/to/pico-sdk cmake -B
build -DPICO_BOARD=pico2 && cmake --build build`, then copy the .uf2.

In `main.c`, set how often a frame comes and how a number is scaled as they were in training. A step computes the
bits that undertow computes in Python. The RP2040 has no FPU: weights of fixed8 are the fastest there. The RP2350 of
a Pico 2 has one, and is fastest with int16. The two files of the model were compiled and compared where undertow is
tested; `main.c` was not, for the Pico SDK is not installed there.
""",
}


def files(parts: Parts) -> dict[str, str]:
    return parts.files(_TEXTS, "", "")
