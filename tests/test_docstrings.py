# SPDX-License-Identifier: MIT
"""Every public name says what it takes, for `help()`, editors and the pages of the API; its examples are true."""

import ast
import doctest
import inspect
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import undertow
from undertow import audio, decode
from undertow.graph import Node, Register, State, Symbol, Value
from undertow.inspect.trace import Trace
from undertow.ir.activations import KINDS
from undertow.states import LSTMState, StateView

#: made by methods of a model or graph, never by who uses them: what their constructors take is not said
MADE_BY_A_MODEL = {"Stream", "Pool", "Model", "StateView", "Trace", "Symbol", "Register"}
#: parameters without a meaning of their own: `load` takes them to refuse them
NO_MEANING = {"self", "cls", ("load", "unknown")}

PUBLIC = {name: getattr(undertow, name) for name in undertow.__all__ if name not in ("audio", "decode")}
PUBLIC |= {f"audio.{name}": getattr(audio, name) for name in audio.__all__}
PUBLIC |= {f"decode.{name}": getattr(decode, name) for name in decode.__all__}
#: what streams, pools and graphs give
PUBLIC |= {cls.__name__: cls for cls in (StateView, LSTMState, Trace, Node, Register, State, Symbol, Value)}


def members(cls):
    """Public methods and properties that a class, or one of ours that it is made of, defines."""
    for name, member in inspect.getmembers(cls):
        if name.startswith("_") or issubclass(cls, BaseException) or type(member).__name__ == "_tuplegetter":
            continue
        if not next(c for c in cls.__mro__ if name in vars(c)).__module__.startswith("undertow"):
            continue
        if inspect.isroutine(member) or inspect.isdatadescriptor(member) or hasattr(member, "func"):
            yield name, member


MEMBERS = {
    f"{name}.{member}": value
    for name, public in PUBLIC.items()
    if inspect.isclass(public)
    for member, value in members(public)
}
ALL = PUBLIC | MEMBERS


def words_of(thing):
    """Its docstring; of a class with that of its constructor."""
    parts = [inspect.getdoc(thing)]
    if inspect.isclass(thing) and not (thing.__init__.__doc__ or "").startswith("Initialize self."):
        parts.append(inspect.getdoc(thing.__init__))
    return "\n\n".join(filter(None, parts))


def definer(name):
    """The class whose docstring a method or property has, which it may inherit."""
    cls, _, member = name.rpartition(".")
    own = ((c, vars(c)[member]) for c in PUBLIC[cls].__mro__ if member in vars(c))
    return next(c for c, thing in own if getattr(thing, "__func__", thing).__doc__)


def describes(text, parameter):
    """Whether a parameter has an entry of its own, or stands in backticks."""
    entry = rf"^\s*(?:\w+, )*{parameter}(?:, \w+)*:"
    return re.search(rf"{entry}|`[^`]*\b{parameter}\b[^`]*`", text, re.M)


def parameters(name, thing):
    if name in MADE_BY_A_MODEL and name != "Model":
        return []
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):  # no function; a built-in one
        return []
    return [p for p in signature.parameters if p not in NO_MEANING and (name, p) not in NO_MEANING]


@pytest.mark.parametrize("name", [n for n in ALL if parameters(n, ALL[n])])
def test_every_parameter_is_described(name):
    """By its own docstring, or by that of what it names: "arguments as of `LSTM.from_torch`"."""
    own = words_of(ALL[name])
    here = name.rpartition(".")[0]
    named = [
        ALL.get(word) or ALL.get(f"{here}.{word}") or ALL.get(f"audio.{word}") or ALL.get(f"decode.{word}")
        for word in re.findall(r"`([\w.]+)`", own)
    ]
    if inspect.isclass(ALL[name]):  # an inherited constructor is described where it is defined
        named += [cls for cls in ALL[name].__mro__ if "__init__" in vars(cls)][:1]
    text = "\n".join([own, *(words_of(thing) for thing in named if thing)])
    missing = [p for p in parameters(name, ALL[name]) if not describes(text, p)]
    assert not missing, f"{name} does not say what {', '.join(missing)} may be"


def test_every_name_has_words_and_an_example():
    """Methods and properties, too: what a stream can do is read at its methods."""
    bare = [name for name, thing in ALL.items() if words_of(thing).find(">>> ") < 20]
    assert not bare, f"without an example behind words: {', '.join(bare)}"


@pytest.mark.parametrize("name", [n for n in ALL if ">>> " in words_of(ALL[n])])
def test_examples_give_what_they_say(name, tmp_path, monkeypatch):
    """Those of methods go on from those of the class that defines them."""
    monkeypatch.chdir(tmp_path)
    thing = module_of = ALL[name]
    first = ""
    if name in MEMBERS:
        owner = module_of = definer(name)
        if owner is not PUBLIC[name.rpartition(".")[0]] and owner in PUBLIC.values():
            return  # seen there
        first = words_of(owner) + "\n\n"
    module = sys.modules[getattr(module_of, "__module__", None) or "undertow"]
    names = {**vars(module), "undertow": undertow, "decode": decode, "np": np}
    test = doctest.DocTestParser().get_doctest(first + words_of(thing), names, name, None, 0)
    said = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    with warnings.catch_warnings():
        result = doctest.DocTestRunner(optionflags=flags, verbose=False).run(test, out=said.append)
    assert not result.failed, "".join(said)


#: methods that refuse nothing, whatever they are given, or whatever came before
CANNOT_FAIL = {f"Graph.{name}" for name in ("blank", "copy", "note", "unique_name", "whole_sequence_nodes")} | {
    f"{cls}.{method}"
    for cls in ("Framer", "OverlapAdd", "Resampler", "Segmenter", "Spectra")
    for method in ("flush", "reset")
}


@pytest.mark.parametrize("name", [n for n in MEMBERS if inspect.isroutine(MEMBERS[n])])
def test_methods_say_what_they_refuse(name):
    """By naming errors, or what has the same ones: "errors as of `segments`"."""
    says = re.search(r"[Aa]rguments(?: and errors)? as (?:of|for) `|[Rr]aises\b|Error\b", words_of(MEMBERS[name]))
    assert says or f"{definer(name).__name__}.{name.rpartition('.')[2]}" in CANNOT_FAIL, name


@pytest.mark.parametrize("name", [n for n in MEMBERS if {"x", "X", "out"} & set(parameters(n, MEMBERS[n]))])
def test_methods_say_shapes(name):
    text = words_of(MEMBERS[name])
    assert re.search(
        r"\((?:\w+, )*\*?(?:output )?(?:frame|timestep)\)|\(\w+,\)|as (?:of )?`|one input frame|shape", text
    ), name


def test_stubs_show_what_the_compiled_classes_say():
    """Editors read the docstrings of compiled code in its stub, if at all."""
    stub = Path(undertow.__file__).with_name("stream.pyi")
    for cls in (node for node in ast.parse(stub.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)):
        if cls.name not in PUBLIC:
            continue
        assert ast.get_docstring(cls) == inspect.getdoc(PUBLIC[cls.name]), cls.name
        for node in (node for node in cls.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")):
            said = inspect.getdoc(MEMBERS[f"{cls.name}.{node.name}"])
            said = re.sub(rf"^{cls.name}\.{node.name}\(.*\)\n", "", said).strip()  # Cython's signature
            assert ast.get_docstring(node) == said, f"{cls.name}.{node.name}: copy its docstring to stream.pyi"


def test_few_examples_are_not_run():
    """Those that need another package, or a file of the reader's."""
    lines = [line for name in PUBLIC for line in words_of(PUBLIC[name]).split("\n") if line.startswith(">>> ")]
    skipped = [line for line in lines if "+SKIP" in line]
    assert len(skipped) <= 12 and len(skipped) < len(lines) / 8, skipped


def test_the_page_of_streams_has_all_that_they_can():
    """In the order in which one learns it, which a compiled class does not say."""
    page = Path(__file__).resolve().parents[1] / "docs" / "api" / "streams.rst"
    if not page.exists():
        pytest.skip("needs the source tree")
    for name in ("Stream", "Pool"):
        section = re.search(rf"autoclass:: {name}\n\n((?:   .*\n)+)", page.read_text())[1]
        listed = re.findall(r"auto(?:method|attribute):: (\w+)", section)
        public = [member for member, value in members(PUBLIC[name]) if inspect.getdoc(value)]
        assert sorted(listed) == sorted(public), name


def test_the_kinds_of_activations_are_named():
    assert all(re.search(rf"\b{kind}\b", inspect.getdoc(undertow.Activation)) for kind in KINDS)


def test_an_undescribed_parameter_is_seen():
    assert not describes("Args:\n    first: number.\n    other: second to none.", "second")
    assert describes("Args:\n    first, second: numbers.", "second") and describes("gives `second` back", "second")
