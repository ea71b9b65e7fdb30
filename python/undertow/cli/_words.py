# SPDX-License-Identifier: MIT
"""Messages that name arguments of `undertow.load`, in the shell's words: --shape x=1,?,4 for shapes=..."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

_DICT = r"\{(?:[^{}'\"]|'[^']*'|\"[^\"]*\")*\}"
_OPTION = re.compile(
    r"\b(fixed|shapes|states|starts|time_axis|max_frames|capacity|keras_version|assume_unmasked|assume_as_wired|submodel|"
    rf"weights|judge)=({_DICT}|'[^']*'|-?\d+|True|False|N\b|(?=[\s;,.)]|$))"
)
#: load(..., fixed={...}) as a whole
_CALL = re.compile(rf"(?:undertow\.)?load\((?:\.\.\.|path), ({_OPTION.pattern}(?:, {_OPTION.pattern})*)\)")
_ITEM = re.compile(r"('[^']*'|[^\s:,{}'\[\]]+): (\[[^\]]*\]|'[^']*'|[^,\s{}]+)")


#: what a caller does -> what does the same in a shell
_PHRASES = (("use model.run(X) with the whole sequence", "use `undertow run`, which takes the whole sequence"),)


def in_shell(text: str) -> str:
    """A message with the command's options in place of the arguments of a call.

    >>> in_shell("bind it: load(..., fixed={'sr': 16000})")
    'bind it: --fixed sr=16000'
    >>> in_shell("give its size with shapes={'memory': [1, N, None]}")
    'give its size with --shape memory=1,N,?'
    >>> in_shell("say it with states={input: output}")
    'say it with --states input=output'
    >>> in_shell("load with max_frames=N, with your number for N")
    'load with --option max_frames=N, with your number for N'
    """
    for words, others in _PHRASES:
        text = text.replace(words, others)
    text = _CALL.sub(lambda match: match[1], text)
    return _OPTION.sub(lambda match: _option(match[1], match[2]), text)


def _option(name: str, value: str) -> str:
    if name in _FORMS:
        option, form, of = _FORMS[name]
        if value == "{}" and name == "states":
            return "--states none"
        items = [(_plain(key), item) for key, item in _ITEM.findall(value)]
        return " ".join(f"{option} {_safe(f'{key}={of(item)}')}" for key, item in items) or f"{option} {form}"
    if name in _PLAIN:
        return f"--{name} {_safe(_plain(value)) if value else _PLAIN[name]}"
    if value.startswith("{"):
        value = "{" + ", ".join(f'"{_plain(k)}": {_json(v)}' for k, v in _ITEM.findall(value)) + "}"
        return f"--option {shlex.quote(f'{name}={value}')}"
    return f"--option {name}={_json(value)}" if value else f"--option {name}=VALUE"


def _safe(word: str) -> str:
    """Quoted where a shell would see more in it than text; a ? stays as it is."""
    return word if shlex.quote(word.replace("?", "")) == word.replace("?", "") else shlex.quote(word)


def _plain(text: str) -> str:
    return text.strip("'")


def _json(text: str) -> str:
    return {"True": "true", "False": "false", "None": "null"}.get(text, _plain(text))


def _dims(text: str) -> str:
    sizes = [size.strip() for size in text.strip("[]").split(",")]
    return "N,N" if sizes == ["..."] else ",".join("?" if size == "None" else size for size in sizes)


def _compact(text: str) -> str:
    return _plain(text.replace(" ", ""))


#: argument whose option has its name -> what it takes
_PLAIN = {"weights": "PRECISION", "judge": "JUDGE"}
#: argument -> option, what it takes, what a value becomes
_FORMS: dict[str, tuple[str, str, Callable[[str], str]]] = {
    "fixed": ("--fixed", "INPUT=VALUE", _compact),
    "shapes": ("--shape", "INPUT=N,N", _dims),
    "states": ("--states", "IN=OUT", _compact),
}


__all__ = ["in_shell"]
