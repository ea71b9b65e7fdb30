# SPDX-License-Identifier: MIT
"""The folder shapes of ecosystems: where each wants the two files, what describes them, and an example."""

from __future__ import annotations

from collections.abc import Callable

from . import arduino, cortex_m, daisy, esp_idf, pico, platformio, zephyr
from .parts import Parts

#: what `--to` names -> the files besides those of the model, by their path; and where these two stand
PROJECTS: dict[str, Callable[[Parts], dict[str, str]]] = {
    "cortex-m": cortex_m.files,
    "arduino": arduino.files,
    "platformio": platformio.files,
    "zephyr": zephyr.files,
    "pico": pico.files,
    "esp-idf": esp_idf.files,
    "daisy": daisy.files,
}

__all__ = ["PROJECTS", "Parts"]
