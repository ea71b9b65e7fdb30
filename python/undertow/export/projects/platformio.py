# SPDX-License-Identifier: MIT
"""A PlatformIO library."""

from __future__ import annotations

from .parts import SENSOR_SKETCH, Parts

_TEXTS = {
    "library.json": """
{
  "$schema": "https://raw.githubusercontent.com/platformio/platformio-core/develop/platformio/assets/schema/library.json",
  "name": "@name@",
  "version": "1.0.0",
  "description": "@title@: a recurrent network in C, exported by undertow; include/@name@.h says from which model",
  "frameworks": "*",
  "platforms": [
    "atmelsam", "espressif32", "espressif8266", "nordicnrf52", "raspberrypi", "renesas-ra", "ststm32", "teensy"
  ],
  "headers": "@name@.h",
  "build": {"srcDir": "src", "includeDir": "include"}
}
""",
    "examples/sensor/platformio.ini": """
; pio run -t upload -t monitor
[env]
framework = arduino
lib_deps = symlink://../..
monitor_speed = 115200

[env:nucleo_f446re]
platform = ststm32
board = nucleo_f446re

[env:pico]
platform = raspberrypi
board = pico
""",
    "examples/sensor/src/main.cpp": SENSOR_SKETCH,
    "README.md": """
# @name@ as a PlatformIO library

Made by `undertow export --to platformio` (undertow @version@) from the model @hash@. In your project's
`platformio.ini`: `lib_deps = symlink:///path/to/this/folder`, then `#include <@name@.h>`, which says how to call
it. `examples/sensor` reads pin A0 and prints what the model says: `cd examples/sensor && pio run -e pico -t
upload`.

In the example, set how often a frame comes and how a number is scaled as they were in training. A step computes the
bits that undertow computes in Python, on 32-bit boards with and without an FPU; on AVR it does not compile. The two
files of the model were compiled and compared where undertow is tested; the example was not, for PlatformIO is not
installed there.
""",
}


def files(parts: Parts) -> dict[str, str]:
    return parts.files(_TEXTS, "src/", "include/")
