# SPDX-License-Identifier: MIT
"""A project of ESP-IDF, with the model as a component."""

from __future__ import annotations

from .parts import Parts

_TEXTS = {
    "CMakeLists.txt": """
cmake_minimum_required(VERSION 3.16)
include($ENV{IDF_PATH}/tools/cmake/project.cmake)
project(@name@_app)
""",
    "components/@name@/CMakeLists.txt": """
idf_component_register(SRCS "@name@.c" INCLUDE_DIRS "include")
""",
    "components/@name@/idf_component.yml": """
version: "1.0.0"
description: "@title@: a recurrent network in C, exported by undertow; include/@name@.h says from which model"
dependencies:
  idf: ">=5.0"
""",
    "main/CMakeLists.txt": """
# I2S has a component of its own since ESP-IDF 5.3, and `driver` has none of it in 6.0
if("${IDF_VERSION_MAJOR}.${IDF_VERSION_MINOR}" VERSION_GREATER_EQUAL "5.3")
  set(of_i2s esp_driver_i2s)
else()
  set(of_i2s driver)
endif()
idf_component_register(SRCS "main.c" REQUIRES ${of_i2s} @name@)
""",
    "main/main.c": """
/* @title@ on the samples of an I2S microphone (INMP441 and its like): one step for each frame of them. */
#include <stdio.h>

#include "driver/i2s_std.h"
#include "esp_err.h"
#include "freertos/FreeRTOS.h"

#include "@name@.h"

#define SAMPLES_PER_SECOND @rate@ /* @rate_note@ */
#define PIN_CLOCK GPIO_NUM_4
#define PIN_WORD_SELECT GPIO_NUM_5
#define PIN_DATA GPIO_NUM_18

@declare@

static i2s_chan_handle_t microphone(void) {
  i2s_chan_handle_t channel;
  i2s_chan_config_t of_channel = I2S_CHANNEL_DEFAULT_CONFIG(I2S_NUM_AUTO, I2S_ROLE_MASTER);
  i2s_std_config_t config = {
      .clk_cfg = I2S_STD_CLK_DEFAULT_CONFIG(SAMPLES_PER_SECOND),
      .slot_cfg = I2S_STD_PHILIPS_SLOT_DEFAULT_CONFIG(I2S_DATA_BIT_WIDTH_32BIT, I2S_SLOT_MODE_MONO),
      .gpio_cfg =
          {
              .mclk = I2S_GPIO_UNUSED,
              .bclk = PIN_CLOCK,
              .ws = PIN_WORD_SELECT,
              .dout = I2S_GPIO_UNUSED,
              .din = PIN_DATA,
          },
  };
  ESP_ERROR_CHECK(i2s_new_channel(&of_channel, NULL, &channel));
  ESP_ERROR_CHECK(i2s_channel_init_std_mode(channel, &config));
  ESP_ERROR_CHECK(i2s_channel_enable(channel));
  return channel;
}

void app_main(void) {
  static int32_t samples[@X_SIZE@];
  i2s_chan_handle_t channel = microphone();
  @name@_reset(&state);
  for (;;) {
    size_t n_bytes = 0;
    ESP_ERROR_CHECK(i2s_channel_read(channel, samples, sizeof samples, &n_bytes, portMAX_DELAY));
    for (size_t i = 0; i < @X_SIZE@; ++i)
      @x@[i] = @number((float)samples[i] / 2147483648.0f)@; /* -1 to 1; 24 bits of a microphone stand above */
    @notes@
    @call@
    printf("%f\\n", (double)@y@[0]);
  }
}
""",
    "README.md": """
# @name@ for ESP-IDF

Made by `undertow export --to esp-idf` (undertow @version@) from the model @hash@. `components/@name@` is the model,
`include/@name@.h` in it says how to call it. `main/` hears an I2S microphone (bit clock on GPIO 4, word select on
5, data on 18) and prints the first output: `idf.py set-target esp32s3 build flash monitor`.

The example gives the model one frame of samples after another: where yours hears features (a spectrum), compute
them first. A step computes the bits that undertow computes in Python. The two files of the model were compiled and
compared where undertow is tested, for ARM, RISC-V and x86; neither they nor the example were for Xtensa, for
ESP-IDF is not installed there. float32 is slow on all of these chips: weights of
fixed8 are the fastest, by far where there is no FPU (C3, C6, S2), and those of int16 err less.
""",
}


def files(parts: Parts) -> dict[str, str]:
    return parts.files(_TEXTS, f"components/{parts.name}/", f"components/{parts.name}/include/")
