# SPDX-License-Identifier: MIT
"""A project of libDaisy: an audio callback around the model."""

from __future__ import annotations

from .parts import Parts

_TEXTS = {
    "Makefile": """
# make && make program-dfu
TARGET = @name@_daisy
CPP_SOURCES = main.cpp
C_SOURCES = @name@.c

LIBDAISY_DIR ?= ../libDaisy
OPT = -O2

SYSTEM_FILES_DIR = $(LIBDAISY_DIR)/core
include $(SYSTEM_FILES_DIR)/Makefile
""",
    "main.cpp": """
// @title@ between the audio input and output of a Daisy Seed: a model of single samples answers each at once, one of
// frames plays what it said of the last frame while it hears the next.
#include "@name@.h"
#include "daisy_seed.h"

using namespace daisy;

static DaisySeed hardware;
@declare@
static size_t n_heard;

static void AudioCallback(AudioHandle::InputBuffer in, AudioHandle::OutputBuffer out, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    @x@[n_heard] = @number(in[0][i])@;
    if (++n_heard == @X_SIZE@) {
      n_heard = 0;
      @notes@
      @call@
    }
    const float played = n_heard < @Y_SIZE@ ? static_cast<float>(@y@[n_heard]) : 0.0f;
    out[0][i] = played;
    out[1][i] = played;
  }
}

int main() {
  hardware.Init();
  hardware.SetAudioBlockSize(48);
  hardware.SetAudioSampleRate(SaiHandle::Config::SampleRate::SAI_@kHz@KHZ);  // @why@
  @name@_reset(&state);
  hardware.StartAudio(AudioCallback);
  for (;;) {
  }
}
""",
    "README.md": """
# @name@ on a Daisy Seed

Made by `undertow export --to daisy` (undertow @version@) from the model @hash@. `@name@.h` says how to call it.
`main.cpp` puts the model between input 1 and both outputs, in the audio callback, without heap or locks: `make
LIBDAISY_DIR=/path/to/libDaisy && make program-dfu` (build libDaisy once before).

The codec runs at @kHz@ kHz: @why@. The model must be done within a block: count a step of yours with DWT->CYCCNT
(480 MHz over @kHz@ kHz are @cycles@ cycles a sample). A step computes the bits that undertow computes in
Python. The two files of the model were compiled for Cortex-M7 and compared where undertow is tested; `main.cpp` was
not, for libDaisy is not installed there.
""",
}


#: samples per second that libDaisy's codec can be set to, in thousands
_RATES = (8, 16, 32, 48, 96)


def files(parts: Parts) -> dict[str, str]:
    thousands, rest = divmod(parts.rate or 0, 1000)
    if thousands in _RATES and rest == 0:
        kHz, why = thousands, "as the model was made for"
    elif parts.rate:
        kHz, why = 48, f"THE MODEL WAS MADE FOR {parts.rate} Hz, which libDaisy has not: it sounds otherwise here"
    else:
        kHz, why = 48, "the model does not say its rate; captures of amplifiers are of 48 kHz, mostly"
    words = {"@kHz@": str(kHz), "@why@": why, "@cycles@": f"{480_000 // kHz:,}"}
    texts = dict(_TEXTS)
    for word, replacement in words.items():
        texts = {path: text.replace(word, replacement) for path, text in texts.items()}
    return parts.files(texts, "", "")
