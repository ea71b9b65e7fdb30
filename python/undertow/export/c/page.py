# SPDX-License-Identifier: MIT
"""The header of an exported model, which is its manual."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.nodes import Value
from .base import Export
from .program import Program, wrapped
from .text import comment, identifier

#: macros of every header, behind the prefix
_MACROS = ("STATE_BYTES", "HASH", "WEIGHT_BYTES", "LATENCY", "SAMPLE_RATE", "FRAMES_IN", "FRAMES_OUT", "H_")


def version() -> str:
    from ..._core import version as said

    return str(said)


def c_type(value: Value) -> str:
    return "int32_t" if value.dtype == "int32" else "float"


@dataclass(frozen=True)
class Parameter:
    """An input or output as a parameter of C: its name in the model and in C, its shape, how many numbers of what.

    Attributes:
        n_ids: ids are below it; None of numbers, and of ids that no table of the model reads.
        is_gate: whether it says if a frame is one of the sequence.
    """

    name: str
    c_name: str
    shape: tuple[int, ...]
    size: int
    c_type: str
    n_ids: int | None = None
    is_gate: bool = False

    @property
    def note(self) -> str:
        """What it holds, for its macro."""
        what = f"{comment(self.name)}, {comment(str(self.shape))}"
        if self.n_ids is not None:
            return f"ids of {what}: 0 to {self.n_ids - 1}, any other gives NaN"
        if self.is_gate:
            return f"gate {what}: 1, or 0 where the frame is none of the sequence"
        return f"numbers of {what}"


@dataclass(frozen=True)
class Facts:
    """What the header says in numbers.

    Attributes:
        macro: the prefix of macros; sizes: C name of an input or output -> the macro of its size, behind the prefix.
        state_bytes: of the struct, scratch included; weight_bytes: of constants.
    """

    macro: str
    hash: str
    inputs: list[Parameter]
    outputs: list[Parameter]
    sizes: dict[str, str]
    state_bytes: int
    work_size: int
    weight_bytes: int

    @classmethod
    def of(
        cls, program: Program, inputs: dict[str, str], outputs: dict[str, str], model_hash: bytes, n_work: int
    ) -> Facts:
        values = program.graph.values
        gates = {gate for node in program.graph.nodes if (gate := Export.gate(program, node))}

        def parameter(name: str, c_name: str, value: Value) -> Parameter:
            n_ids = value.n_ids if value.n_ids != 2**31 - 1 else None  # which a file says of ids that nothing reads
            return Parameter(name, c_name, value.shape, value.size, c_type(value), n_ids, value.name in gates)

        size = sum(4 * n for _, n, _ in program.fields.values()) + 4 * n_work + -(-program.frame_size // 2) * 4
        given = [parameter(value, c_name, values[value]) for value, c_name in inputs.items()]
        taken = [parameter(name, c_name, values[program.graph.outputs[name]]) for name, c_name in outputs.items()]
        sizes: dict[str, str] = {}
        for p in (*given, *taken):
            macro = identifier(f"{p.c_name.upper()}_SIZE", {*_MACROS, *sizes.values()})
            sizes[p.c_name] = macro
        return cls(
            program.name.upper(),
            model_hash.hex(),
            given,
            taken,
            sizes,
            size or 4,
            n_work,
            program.weight_bytes,
        )

    def macro_of(self, parameter: Parameter) -> str:
        """The macro that says the size of an input or output."""
        return f"{self.macro}_{self.sizes[parameter.c_name]}"

    def parameters(self, of_inputs: str = "", of_outputs: str = "") -> str:
        """The parameters of a step behind the state."""
        given = [f"const {p.c_type}* {of_inputs}{p.c_name}" for p in self.inputs]
        return ", ".join(given + [f"{p.c_type}* {of_outputs}{p.c_name}" for p in self.outputs])

    def arguments(self, of_inputs: str, of_outputs: str) -> str:
        return ", ".join(
            [f"{of_inputs}{p.c_name}" for p in self.inputs] + [f"{of_outputs}{p.c_name}" for p in self.outputs]
        )


def header(program: Program, facts: Facts) -> str:
    name, graph, M = program.name, program.graph, facts.macro
    defines = [
        (f"{M}_HASH", f'"{facts.hash}"', "which model this is: undertow's Model.hash"),
        (f"{M}_STATE_BYTES", str(facts.state_bytes), f"sizeof({name}_state), all the RAM that a stream takes"),
        (f"{M}_WEIGHT_BYTES", str(facts.weight_bytes), "constants, in flash"),
    ]
    for p in (*facts.inputs, *facts.outputs):
        defines.append((facts.macro_of(p), str(p.size), p.note))
    if graph.latency:
        defines.append((f"{M}_LATENCY", str(graph.latency), "frames by which outputs come later"))
    if graph.sample_rate:
        defines.append((f"{M}_SAMPLE_RATE", str(graph.sample_rate), "samples per second of what it hears"))
    if graph.frames_in > 1:
        defines.append((f"{M}_FRAMES_IN", str(graph.frames_in), "timesteps of the inputs in one step"))
    if graph.frames_out > 1:
        defines.append((f"{M}_FRAMES_OUT", str(graph.frames_out), "timesteps of the outputs in one step"))
    width = max(len(key) + len(value) for key, value, _ in defines)
    defined = "\n".join(f"#define {k} {v}{' ' * (width - len(k) - len(v))}  /* {note} */" for k, v, note in defines)
    fields = [
        f"  {c} {f}{f'[{n}]' if c == 'float' else ''}; /* {note} */" for f, (c, n, note) in program.fields.items()
    ]
    if facts.work_size:
        fields.append(f"  float work[{facts.work_size}]; /* scratch of a step */")
    if program.frame_size:
        n = -(-program.frame_size // 2) * 2
        fields.append(f"  int16_t frame[{n}]; /* scratch: frames as integers */")
    struct = "\n".join(fields or ["  float work[1]; /* nothing to remember */"])
    arrays = [f" *   static {p.c_type} {p.c_name}[{facts.macro_of(p)}];" for p in (*facts.inputs, *facts.outputs)]
    call = ", ".join(["&state", *[p.c_name for p in (*facts.inputs, *facts.outputs)]])
    names = " and ".join(p.c_name for p in facts.inputs)
    late = ""
    if program.flushes:
        late = f"""
 * The model looks ahead: what a step gives belongs to the frame {M}_LATENCY steps ago. At the end of a sequence call
 * it as many times with NULL in place of the inputs for the frames that are still to come."""
    lines = "\n".join(arrays)
    n_ops = f"{len(graph.nodes)} layers and operations" if len(graph.nodes) != 1 else "1 layer or operation"
    step = "\n".join(wrapped(f"void {name}_step({name}_state* state, {facts.parameters()});"))
    return f"""\
/* {comment(graph.name)}, {n_ops}, exported to C by undertow {version()}.
 * Model {facts.hash}.
 *
 *   static {name}_state state;
{lines}
 *   {name}_reset(&state);
 *   for (;;) {{
 *     ...                       fill {names}
 *     {name}_step({call});
 *   }}
 *
 * Each {name}_state is a stream of its own; copies of it are snapshots. Nothing else is kept: no heap, no globals but
 * constants. Inputs and outputs must not overlap. Numbers are those of undertow in Python, to the last bit, at any
 * level of optimisation; -ffast-math and the flags that it stands for must not be given.{late} */
#ifndef {M}_H_
#define {M}_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__cplusplus)
extern "C" {{
#endif

{defined}

typedef struct {{
{struct}
}} {name}_state;

/* The start of a sequence. */
void {name}_reset({name}_state* state);

/* One timestep{" of the stream" if not program.flushes else ", or with NULL as inputs one behind the end"}. */
{step}

#if defined(__cplusplus)
}}
#endif

#endif
"""
