# SPDX-License-Identifier: MIT
"""What a PyTorch file says is computed beside its tensors: modules without weights, and TorchScript code.

A state_dict knows nothing of it. Whole modules and TorchScript archives do, so layers found in them must not be wired
as if there were nothing between them. Code is looked at for the names of what it calls, and never run.
"""

from __future__ import annotations

import re
from typing import Any

from .archive import Archive
from .pickles import Global, Record

#: modules without weights that change nothing in inference, or only shapes
_NEUTRAL_MODULES = re.compile(r"(Feature)?(Alpha)?Dropout([1-3]d)?|Identity|Flatten|Unflatten")
#: parts of PyTorch's own library whose code only serves recurrent and linear layers
_NEUTRAL_FILES = re.compile(
    r"torch/nn/(modules/(rnn|linear|dropout|container|module|flatten)|functional|utils/rnn)\b.*"
)
#: what TorchScript calls to compute such layers, to move elements and to check arguments
_NEUTRAL_CALLS = {
    "lstm", "gru", "linear", "zeros", "to", "view", "reshape", "size", "dim", "select", "slice", "squeeze", "unsqueeze",
    "transpose", "permute", "contiguous", "t", "expand", "flatten", "detach", "dropout", "dropout_", "feature_dropout",
    "device", "numel", "index_select", "tensor", "list", "len", "append", "copy_", "format", "warn",
    "eq", "ne", "lt", "gt", "le", "ge", "__is__", "__isnot__", "__not__", "__contains__", "__and__", "__or__",
    "__getitem__", "is_grad_enabled", "nn.utils.rnn.PackedSequence",
}  # fmt: skip
#: what the library's own code of a linear layer calls besides
_OF_LINEAR = {"addmm", "matmul", "add_", "add"}
_CALL = re.compile(r"\btorch\.([A-Za-z_][\w.]*)\(")


def silent_modules(value: Any, name: str = "", modules: list[str] | None = None, depth: int = 0) -> list[str]:
    """ "name (class)" of each module below a pickle's `value` that has neither weights nor modules of its own."""
    modules = [] if modules is None else modules
    if depth > 64 or len(modules) >= 20:
        return modules
    if isinstance(value, Record) and isinstance(value.state, dict) and isinstance(value.state.get("_modules"), dict):
        state, kind = value.state, value.maker.name if isinstance(value.maker, Global) else "?"
        if isinstance(value.maker, Global) and isinstance(value.args, tuple) and value.args:
            first = value.args[0]  # copyreg._reconstructor(class, ...)
            kind = first.name if isinstance(first, Global) else kind
        has_own = any(isinstance(state.get(part), dict) and state[part] for part in ("_parameters", "_buffers"))
        if not has_own and not state["_modules"] and not _NEUTRAL_MODULES.fullmatch(kind):
            modules.append(f"{name or 'the module'} ({kind})")
        for key, child in state["_modules"].items():
            silent_modules(child, f"{name}.{key}" if name else str(key), modules, depth + 1)
    elif isinstance(value, dict):
        for key, child in list(value.items())[:1000]:
            silent_modules(child, f"{name}.{key}" if name else str(key), modules, depth + 1)
    return modules


def other_calls(archive: Archive, root: str) -> list[str]:
    """Names of what the code of a TorchScript archive calls that is no part of recurrent and linear layers."""
    calls: dict[str, None] = {}
    for name in archive.names:
        if not name.startswith(f"{root}code/") or not name.endswith(".py"):
            continue
        part = name.removeprefix(f"{root}code/").removeprefix("__torch__/").removesuffix(".py")
        library = part.startswith("torch/")
        if library and not _NEUTRAL_FILES.fullmatch(part):
            calls.setdefault(part.replace("/", "."))
            continue
        for call in _CALL.findall(archive.read(name).decode("utf-8", "replace")):
            neutral = call in _NEUTRAL_CALLS or call.endswith(".__new__") or (library and call in _OF_LINEAR)
            if not neutral and not call.startswith("nn.functional.linear"):
                calls.setdefault(f"torch.{call}")
    return list(calls)
