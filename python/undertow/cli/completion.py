# SPDX-License-Identifier: MIT
"""`undertow completion`: a script with which a shell completes commands, options and files."""

from __future__ import annotations

import argparse
from typing import Any

from ._common import UsageError, add_command, say

SHELLS = ("bash", "zsh", "fish", "tcsh")

#: what options and arguments call a file
_FILES = frozenset({"MODEL", "B", "INPUT", "OUT", "FRAMES", "auto|onnxruntime|reference|MODEL"})

_DESCRIPTION = """\
Print a script with which a shell completes commands, options and names of files. It is written once: pressing the key
runs no Python. Needs shtab: pip install "undertow[completion]"."""

_EXAMPLES = """\
  undertow completion bash > ~/.local/share/bash-completion/completions/undertow
  undertow completion zsh > ~/.zfunc/_undertow         with fpath+=~/.zfunc before compinit in ~/.zshrc
  undertow completion fish > ~/.config/fish/completions/undertow.fish
  undertow completion tcsh > ~/.undertow.tcsh          with source ~/.undertow.tcsh in ~/.tcshrc
  eval "$(undertow completion bash)"                   for this shell alone
"""


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "completion",
        completion,
        "print a script that completes commands in a shell",
        _DESCRIPTION,
        _EXAMPLES,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell to complete in")


def completion(args: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError:
        raise ImportError('completion needs shtab: pip install "undertow[completion]"') from None
    if args.shell not in shtab.SUPPORTED_SHELLS:
        raise UsageError(
            f"shtab {shtab.__version__} knows no {args.shell}, only {', '.join(shtab.SUPPORTED_SHELLS)}: "
            "pip install --upgrade shtab"
        )
    _mark_files(args.whole, shtab.FILE)
    say(shtab.complete(args.whole, args.shell))
    return 0


def _mark_files(parser: argparse.ArgumentParser, complete: Any) -> None:
    """Tell shtab which arguments are names of files."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _mark_files(each, complete)
        elif action.metavar in _FILES:
            action.complete = complete  # type: ignore[attr-defined]


__all__ = ["SHELLS", "add", "completion"]
