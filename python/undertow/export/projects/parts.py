# SPDX-License-Identifier: MIT
"""What the examples of all ecosystems are put together from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..c.emit import Source
from ..c.page import Parameter

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
    @x@[i] = @number(analogRead(A0) / 512.0f - 1.0f)@;  // 10 bits: scale it as your training data was
  @notes@
  @call@
  for (size_t i = 0; i < @Y_SIZE@; ++i) {
    if (i != 0) Serial.print(' ');
    Serial.print(@y@[i]);
  }
  Serial.println();
}
"""


_INCLUDED = re.compile(r"^#include [<\"]([^>\"]+)", re.M)


@dataclass(frozen=True)
class Parts:
    """A model in C, and the texts that depend on it."""

    source: Source

    @property
    def name(self) -> str:
        return self.source.program.name

    @property
    def rate(self) -> int | None:
        """Samples per second of what the model hears; None where it does not say."""
        return self.source.program.graph.sample_rate

    @property
    def x(self) -> Parameter:
        """The input that an example gives what it hears: the first of numbers, of ids where there is none."""
        inputs = self.source.facts.inputs
        return min(inputs, key=lambda p: (p.is_gate, p.c_type != "float"))

    def number(self, heard: str) -> str:
        """An expression for an element of `x`, of one for a number from -1 to 1."""
        if self.x.c_type == "float":
            return heard
        half = f"{((self.x.n_ids or 1) - 0.02) / 2:.2f}f"  # times 2 it is still below n_ids
        above = heard.removesuffix(" - 1.0f") if heard.endswith(" - 1.0f") else f"({heard} + 1.0f)"
        return f"(int32_t)({above} * {half})"

    @property
    def notes(self) -> list[str]:
        """Statements and comments for what an example neither fills nor shows."""
        x, (_, *others) = self.x, self.source.facts.outputs
        lines = []
        if x.c_type != "float":
            lines.append(f"/* ids made of what is heard, so that there are some: give io.{x.c_name} yours */")
        for p in self.source.facts.inputs:
            if p is not x and p.is_gate:
                lines.append(f"io.{p.c_name}[0] = 1.0f; /* 0 where the frame is none of the sequence */")
            elif p is not x:
                lines.append(f"/* io.{p.c_name} stays 0 here: fill it too */")
        if others:
            lines.append(f"/* the step fills {', '.join(f'io.{p.c_name}' for p in others)} as well */")
        return lines

    def fill(self, text: str) -> str:
        """A text with its words between @: name, MACRO, title, hash, version, declare (what a step takes and gives, as
        the variable `io`), call, x and X_SIZE of the first input of numbers, y and Y_SIZE of the first output; and
        number(e), what x takes of a number e from -1 to 1, and notes, lines on inputs and outputs beside x and y.
        """
        facts, x, y = self.source.facts, self.x, self.source.facts.outputs[0]
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
            "y": f"io.{y.c_name}",
            "Y_SIZE": facts.macro_of(y),
            "report": "%d" if y.c_type == "int32_t" else "%f",
            "rate": str(self.rate or 16000),
            "rate_note": "as the model says" if self.rate else "the model does not say: set it as in training",
        }
        text = re.sub(r"@number\((.*)\)@", lambda match: self.number(match[1]), text)
        text = re.sub(
            r"^( *)@notes@\n", lambda match: "".join(f"{match[1]}{n}\n" for n in self.notes), text, flags=re.M
        )
        for word, replacement in words.items():
            text = text.replace(f"@{word}@", replacement)
        return text

    def files(self, texts: dict[str, str], code: str, header: str) -> dict[str, str]:
        """The files of a project: `texts` filled in, by their paths, and the model's two in these folders.

        Raises:
            ValueError: the model has the name of one of them, or of a header or library that they use.
        """
        taken = {Path(path).name.partition(".")[0] for path in texts}
        taken |= {re.split("[/.]", header)[0] for text in texts.values() for header in _INCLUDED.findall(text)}
        if self.name.lower() in {word.lower() for word in taken}:
            raise ValueError(
                f"name is {self.name!r}, expected another, such as '{self.name.lower()}_model': a file or header of "
                "this project is called so"
            )
        own = {f"{code}{self.name}.c": self.source.code, f"{header}{self.name}.h": self.source.header}
        return own | {self.fill(path): self.fill(text.lstrip("\n")) for path, text in texts.items()}
