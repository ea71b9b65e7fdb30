# SPDX-License-Identifier: MIT
"""What the examples of all ecosystems are put together from."""

from __future__ import annotations

from dataclasses import dataclass

from ..c.emit import Source

#: an example under Arduino's framework, which PlatformIO has too
SENSOR_SKETCH = """
// @title@ on the numbers of an analog pin: one step for each frame of them.
#include <Arduino.h>
#include <@name@.h>

static const unsigned long kMicrosPerFrame = 10000;  // as often as the model was trained to hear from its sensor

@declare@
static unsigned long due;

void setup() {
  Serial.begin(115200);
  @name@_reset(&state);
  due = micros();
}

void loop() {
  if ((long)(micros() - due) < 0) return;
  due += kMicrosPerFrame;
  for (size_t i = 0; i < @X_SIZE@; ++i)
    @x@[i] = @number@(analogRead(A0) / 512.0f - 1.0f);  // 10 bits: scale it as your training data was
  @call@
  for (size_t i = 0; i < @Y_SIZE@; ++i) {
    if (i != 0) Serial.print(' ');
    Serial.print(@y@[i]);
  }
  Serial.println();
}
"""


@dataclass(frozen=True)
class Parts:
    """A model in C, and the texts that depend on it."""

    source: Source

    @property
    def name(self) -> str:
        return self.source.program.name

    def fill(self, text: str) -> str:
        """A text with its words between @: name, MACRO, title, hash, version, declare (what a step takes and gives, as
        the variable `io`), call, x and X_SIZE of the first input of numbers, y and Y_SIZE of the first output.
        """
        facts = self.source.facts
        x = next((p for p in facts.inputs if p.c_type == "float"), facts.inputs[0])
        y = facts.outputs[0]
        everything = (*facts.inputs, *facts.outputs)
        fields = "".join(f"  {p.c_type} {p.c_name}[{facts.macro_of(p)}];\n" for p in everything)
        call = ", ".join(["&state", *(f"io.{p.c_name}" for p in everything)])
        words = {
            "name": self.name,
            "MACRO": facts.macro,
            "title": self.source.title,
            "hash": facts.hash,
            "version": self.source.version,
            "declare": f"static {self.name}_state state;\nstatic struct {{\n{fields}}} io;",
            "call": f"{self.name}_step({call});",
            "x": f"io.{x.c_name}",
            "X_SIZE": facts.macro_of(x),
            "number": "(int32_t)" if x.c_type == "int32_t" else "",
            "y": f"io.{y.c_name}",
            "Y_SIZE": facts.macro_of(y),
            "report": "%d" if y.c_type == "int32_t" else "%f",
            "rate": str(self.source.program.graph.sample_rate or 16000),
        }
        for word, replacement in words.items():
            text = text.replace(f"@{word}@", replacement)
        return text

    def files(self, texts: dict[str, str], code: str, header: str) -> dict[str, str]:
        """The files of a project: `texts` filled in, by their paths, and the model's two in these folders."""
        own = {f"{code}{self.name}.c": self.source.code, f"{header}{self.name}.h": self.source.header}
        return own | {self.fill(path): self.fill(text.lstrip("\n")) for path, text in texts.items()}
