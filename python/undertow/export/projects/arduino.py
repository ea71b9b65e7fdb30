# SPDX-License-Identifier: MIT
"""An Arduino library."""

from __future__ import annotations

from .parts import SENSOR_SKETCH, Parts

_TEXTS = {
    "library.properties": """
name=@name@
version=1.0.0
author=undertow @version@
maintainer=undertow @version@
sentence=@title@: a recurrent network in C.
paragraph=Exported by undertow; src/@name@.h says from which model. No heap, no other library.
category=Data Processing
url=
architectures=samd,sam,mbed,mbed_nano,mbed_portenta,mbed_giga,mbed_nicla,mbed_opta,mbed_rp2040,rp2040,renesas_uno,renesas_portenta,zephyr,esp32,esp8266,stm32,nrf52
includes=@name@.h
""",
    "examples/Sensor/Sensor.ino": SENSOR_SKETCH,
    "README.md": """
# @name@ as an Arduino library

Made by `undertow export --to arduino` (undertow @version@) from the model @hash@. Put this folder into `libraries/`
of your sketchbook, or zip it and take Sketch > Include Library > Add .ZIP Library. `src/@name@.h` says how to call
it; File > Examples > @name@ > Sensor reads pin A0 and prints what the model says.

In the example, set how often a frame comes and how a number is scaled as they were in training. A step computes the
bits that undertow computes in Python, on 32-bit boards with and without an FPU; on AVR it does not compile. The two
files of the model were compiled and compared where undertow is tested; the sketch was not, for the Arduino tools are
not installed there.
""",
}


def files(parts: Parts) -> dict[str, str]:
    return parts.files(_TEXTS, "src/", "src/")
