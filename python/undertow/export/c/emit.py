# SPDX-License-Identifier: MIT
"""A graph as C: `export` gives the text of a header and of a source file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..._text import quoted
from ...errors import UnsupportedError
from ...ir.graph import Graph
from . import numerics, ops, page
from .mode import BEFORE, MODE
from .program import Place, Program, wrapped
from .text import comment, parameter_name

#: float32 numbers of a state and of scratch, beyond which no board is meant
_MOST = 2**28


@dataclass(frozen=True)
class Source:
    """What export gives.

    Attributes:
        header, code: the text of NAME.h and NAME.c.
        program: what they were made of.
        facts: what the header says in numbers.
    """

    header: str
    code: str
    program: Program
    facts: page.Facts

    @property
    def title(self) -> str:
        """The name of the model, as texts in any format may quote it."""
        return re.sub(r"[^A-Za-z0-9 _.-]+", "_", self.program.graph.name)[:80] or self.program.name

    @property
    def version(self) -> str:
        """Of undertow."""
        return page.version()


def export(graph: Graph, name: str, model_hash: bytes) -> Source:
    """The C of a graph as a file holds it: lowered, in the order of its nodes.

    Args:
        graph: which stays as it is.
        name: of the files, and the prefix of all names: an identifier.
        model_hash: of the model, 16 bytes.

    Raises:
        UnsupportedError: a node needs the whole sequence, or is too large; names it.
    """
    _refuse(graph)
    program = Program(graph, name)
    inputs, outputs = _parameters(graph)
    program.last_use = _last_uses(graph)
    program.places = {value: Place(f"in_{c_name}") for value, c_name in inputs.items()}
    program.direct = _direct(program, outputs)
    for program.now, node in enumerate(graph.nodes):
        ops.of(node).place(program, node)
    n_work = program.allot()
    if program.frame_size and not program.fields:
        n_work = max(n_work, 1)  # which gives a state the alignment that loads of two pairs need
    for program.now, node in enumerate(graph.nodes):
        ops.of(node).emit(program, node)
    _hand_out(program, outputs)
    program.forget_unread()
    facts = page.Facts.of(program, inputs, outputs, model_hash, n_work)
    return Source(page.header(program, facts), _code(program, facts), program, facts)


def _refuse(graph: Graph) -> None:
    for node in graph.nodes:
        if reason := ops.of(node).refusal(node):
            raise UnsupportedError(
                f"{node.op} {quoted(node.name)}: cannot be exported to C, {reason}; exported models take one timestep "
                "after another: export a model whose layers go forwards"
            )
    most = max((value.size for value in graph.values.values()), default=0)
    if most > _MOST:
        raise UnsupportedError(
            f"graph {quoted(graph.name)}: a frame has {most:,} elements; export to C takes {_MOST:,}"
        )


def _parameters(graph: Graph) -> tuple[dict[str, str], dict[str, str]]:
    """C names of inputs (by value) and of outputs (by the name that users see), each unlike the others."""
    taken: set[str] = {"state"}
    inputs, outputs = {}, {}
    for value in graph.inputs:
        inputs[value] = parameter_name(value, taken, "x")
        taken.add(inputs[value])
    for name in graph.outputs:
        outputs[name] = parameter_name(name, taken, "y")
        taken.add(outputs[name])
    return inputs, outputs


def _last_uses(graph: Graph) -> dict[str, int]:
    uses = {value: i for i, node in enumerate(graph.nodes) for value in node.inputs}
    return uses | dict.fromkeys(graph.outputs.values(), len(graph.nodes))


def _direct(program: Program, outputs: dict[str, str]) -> dict[str, str]:
    """Values that may be computed where the caller wants them: what an output shows as it is, and nothing else does."""
    graph = program.graph
    maker = {value: node for node in graph.nodes for value in node.outputs}
    direct: dict[str, str] = {}
    for name, value in graph.outputs.items():
        while value in maker and (shown := ops.of(maker[value]).shown(program, maker[value])):
            value = shown
        if value in maker and value not in direct and program.graph.values[value].dtype == "float32":
            direct[value] = f"out_{outputs[name]}"
    return direct


def _hand_out(program: Program, outputs: dict[str, str]) -> None:
    """Copy what is not where the caller wants it."""
    for name, value in program.graph.outputs.items():
        to, place = f"out_{outputs[name]}", program.at(value)
        if place.text != to:
            c_type = page.c_type(program.graph.values[value])
            program.step(f"memcpy({to}, {place.text}, {program.size(value)} * sizeof({c_type}));")


def _code(program: Program, facts: page.Facts) -> str:
    name, graph = program.name, program.graph
    body = program.step.text
    parameters = facts.parameters("in_", "out_")
    signature = lambda start: "\n".join(wrapped(f"{start}({name}_state* s, {parameters}) {{"))  # noqa: E731
    call = "\n".join(wrapped(f"step(s, {facts.arguments('in_', 'out_')});", "  "))
    present = ""
    if program.flushes:
        first = f"in_{facts.inputs[0].c_name}"
        zeros = max(v.size for v in facts.inputs)
        program.n_zeros = max(program.n_zeros, zeros)
        present = f"  const float present = {first} ? 1.0f : 0.0f;\n  if (!{first}) {{\n"
        for v in facts.inputs:
            cast = "(const int32_t*)(const void*)" if v.c_type == "int32_t" else ""
            present += f"    in_{v.c_name} = {cast}frames_of_zeros;\n"
        present += "  }\n"
    zeros_text = f"static const float frames_of_zeros[{program.n_zeros}] = {{0.0f}};\n" if program.n_zeros else ""
    functions = program.functions
    read = set(re.findall(r"\bin_\w+", body))
    unused = "".join(f"  (void)in_{v.c_name};\n" for v in facts.inputs if f"in_{v.c_name}" not in read)
    if "s->" not in body:
        unused += "  (void)s;\n"
    resets = ["  memset(s, 0, sizeof *s);"]
    resets += [f"  memcpy(s->{f}, {start}, sizeof s->{f});" for f, start in program.starts.items()]
    reset = "\n".join(resets)
    return f"""\
/* {comment(graph.name)}: made by undertow {page.version()}, from the model {facts.hash}.
 * {name}.h says how to call it. The text below up to the weights is undertow's, of the MIT License:
 * SPDX-License-Identifier: MIT */
#include "{name}.h"

{numerics.compiler_text()}
{BEFORE}
{MODE}
{functions}
/* -- weights ------------------------------------------------------------------------------------------------------ */

{zeros_text}{"".join(text for text, _ in program.constants.values())}
/* -- the model ---------------------------------------------------------------------------------------------------- */

typedef char {name}_state_has_the_size_that_the_header_says[sizeof({name}_state) == {facts.macro}_STATE_BYTES ? 1 : -1];

{signature("static UT_NOINLINE void step")}
{present}{unused}{body}}}

void {name}_reset({name}_state* s) {{
{reset}
}}

{signature(f"void {name}_step")}
  const FloatMode mode = float_mode();
{call}
  set_float_mode(mode);
}}
"""
