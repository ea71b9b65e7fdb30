# SPDX-License-Identifier: MIT
"""A Zephyr module, and an application that uses it."""

from __future__ import annotations

from .parts import Parts

_TEXTS = {
    "zephyr/module.yml": """
name: @name@
build:
  cmake: .
""",
    "CMakeLists.txt": """
# @title@, a recurrent network in C: a library of every application that names this module.
zephyr_library_named(@name@)
zephyr_library_sources(src/@name@.c)
zephyr_include_directories(include)
""",
    "app/CMakeLists.txt": """
cmake_minimum_required(VERSION 3.20.0)
list(APPEND ZEPHYR_EXTRA_MODULES ${CMAKE_CURRENT_SOURCE_DIR}/..)
find_package(Zephyr REQUIRED HINTS $ENV{ZEPHYR_BASE})
project(@name@_app)
target_sources(app PRIVATE src/main.c)
""",
    "app/prj.conf": """
CONFIG_ADC=y
# where the CPU has one; a board without leaves the line out
CONFIG_FPU=y
CONFIG_CBPRINTF_FP_SUPPORT=y
CONFIG_MAIN_STACK_SIZE=4096
""",
    "app/app.overlay": """
/* Which pin the application reads: channel 0 of the board's ADC. Set label, channel, gain and, of an nRF,
   the pin as your board has them. */
/ {
  zephyr,user {
    io-channels = <&adc 0>;
  };
};

&adc {
  #address-cells = <1>;
  #size-cells = <0>;
  status = "okay";

  channel@0 {
    reg = <0>;
    zephyr,gain = "ADC_GAIN_1";
    zephyr,reference = "ADC_REF_INTERNAL";
    zephyr,acquisition-time = <ADC_ACQ_TIME_DEFAULT>;
    zephyr,resolution = <12>;
#ifdef NRF_SAADC_AIN0 /* an nRF's channel is of any pin, and refuses one without */
    zephyr,input-positive = <NRF_SAADC_AIN0>;
#endif
  };
};
""",
    "app/src/main.c": """
/* @title@ on the numbers of an ADC channel: one step for each frame of them. */
#include <zephyr/drivers/adc.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>
#include <stdio.h>

#include "@name@.h"

#define FRAME_PERIOD K_MSEC(10) /* as often as the model was trained to hear from its sensor */

static const struct adc_dt_spec channel = ADC_DT_SPEC_GET(DT_PATH(zephyr_user));

@declare@

static int read_sample(float *to) {
  int16_t raw = 0;
  struct adc_sequence sequence = {.buffer = &raw, .buffer_size = sizeof raw};
  int error = adc_sequence_init_dt(&channel, &sequence);
  if (error == 0) error = adc_read_dt(&channel, &sequence);
  if (error == 0) *to = (float)raw / 2048.0f - 1.0f; /* 12 bits: scale it as your training data was */
  return error;
}

int main(void) {
  struct k_timer timer;
  if (!adc_is_ready_dt(&channel) || adc_channel_setup_dt(&channel) != 0) {
    printk("the ADC is not ready\\n");
    return 0;
  }
  @name@_reset(&state);
  k_timer_init(&timer, NULL, NULL);
  k_timer_start(&timer, FRAME_PERIOD, FRAME_PERIOD);
  for (;;) {
    k_timer_status_sync(&timer);
    for (size_t i = 0; i < @X_SIZE@; ++i) {
      float sample = 0.0f;
      if (read_sample(&sample) != 0) printk("the ADC gave nothing\\n");
      @x@[i] = @number(sample)@;
    }
    @notes@
    @call@
    for (size_t i = 0; i < @Y_SIZE@; ++i) printf("%f ", (double)@y@[i]);
    printf("\\n");
  }
}
""",
    "README.md": """
# @name@ as a Zephyr module

Made by `undertow export --to zephyr` (undertow @version@) from the model @hash@. `include/@name@.h` says how to
call it. In an application of yours, add this folder to `ZEPHYR_EXTRA_MODULES` (or to the west manifest). `app/` is
an application that reads an ADC channel: `west build -b <board> app -t flash`.

Set the channel in `app/app.overlay`, and in `main.c` how often a frame comes and how a number is scaled, as in
training. A step computes the bits that undertow computes in Python, on boards with and without an FPU. With
CONFIG_FPU and more than one thread that computes with floats, set CONFIG_FPU_SHARING=y. The two files of the model
were compiled and compared where undertow is tested; the application was not, for the Zephyr SDK is not installed
there.
""",
}


def files(parts: Parts) -> dict[str, str]:
    return parts.files(_TEXTS, "src/", "include/")
