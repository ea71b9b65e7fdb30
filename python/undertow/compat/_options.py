# SPDX-License-Identifier: MIT
"""Options of ONNX Runtime's sessions and calls: those that mean something here are heeded, the others said once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, ClassVar
from warnings import warn

from ..errors import UnsupportedError
from ._errors import IgnoredOption

_said: set[str] = set()


def ignored(option: str, why: str) -> None:
    """Warn, once in a process, that an option changes nothing."""
    if option not in _said:
        _said.add(option)
        warn(f"{option}: {why}", IgnoredOption, stacklevel=4)


class GraphOptimizationLevel(Enum):
    """As ONNX Runtime's. A model is always put together as well as undertow can; numbers are those of its contract."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(Enum):
    """As ONNX Runtime's. A call is computed in order, by the thread that makes it."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(Enum):
    """As ONNX Runtime's."""

    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


class _Settings:
    """Attributes with a value each, of which no others can be set."""

    _defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self) -> None:
        for name, value in self._defaults.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_entries", {})

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._defaults:
            raise AttributeError(f"{type(self).__name__} has no option {name!r}; options: {', '.join(self._defaults)}")
        expected = type(self._defaults[name])
        if not isinstance(value, expected) and not (expected is int and hasattr(value, "__index__")):
            raise TypeError(f"{type(self).__name__}.{name} is {value!r:.80}, expected {expected.__name__}")
        object.__setattr__(self, name, value)


class SessionOptions(_Settings):
    """As ONNX Runtime's. A session computes each call in the thread that makes it, and writes no files.

    What would change what a session gives is heeded (`add_free_dimension_override_by_name`) or refused (weights and
    operators from outside of the file). What would change how fast is accepted, and an `IgnoredOption` warning says
    once that it changes nothing, unless it asks for what is done anyway.

    >>> options = SessionOptions()
    >>> options.intra_op_num_threads = 1
    """

    _defaults: ClassVar[Mapping[str, Any]] = {
        "enable_cpu_mem_arena": True,
        "enable_mem_pattern": True,
        "enable_mem_reuse": True,
        "enable_profiling": False,
        "execution_mode": ExecutionMode.ORT_SEQUENTIAL,
        "execution_order": ExecutionOrder.DEFAULT,
        "graph_optimization_level": GraphOptimizationLevel.ORT_ENABLE_ALL,
        "inter_op_num_threads": 0,
        "intra_op_num_threads": 0,
        "log_severity_level": -1,
        "log_verbosity_level": 0,
        "logid": "",
        "optimized_model_filepath": "",
        "profile_file_prefix": "onnxruntime_profile_",
        "use_deterministic_compute": False,
        "use_per_session_threads": True,
    }

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "sizes", {})

    def add_free_dimension_override_by_name(self, name: str, size: int) -> None:
        """Say what an open size, by its name in the file, always is."""
        self.sizes[name] = int(size)  # type: ignore[attr-defined]

    def add_free_dimension_override_by_denotation(self, denotation: str, size: int) -> None:
        raise UnsupportedError(
            f"denotation {denotation!r}: sizes are told by name, add_free_dimension_override_by_name(name, {size})"
        )

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Kept, and of no effect."""
        ignored(f"SessionOptions config entry {key!r}", "it is of ONNX Runtime's own ways to compute")
        self._entries[str(key)] = str(value)  # type: ignore[attr-defined]

    def get_session_config_entry(self, key: str) -> str:
        entries: dict[str, str] = self._entries  # type: ignore[attr-defined]
        if key not in entries:
            raise RuntimeError(f"there is no config entry {key!r}")
        return entries[key]

    def register_custom_ops_library(self, path: str) -> None:
        raise UnsupportedError(
            f"operators of the library {path!r} cannot be run; OPERATORS.md lists those that undertow computes"
        )

    def add_initializer(self, name: str, value: Any) -> None:
        raise UnsupportedError(
            f"weight {name!r} from outside of the file is not supported; write it into the file with onnx.save"
        )

    def add_external_initializers(self, names: Iterable[str], values: Iterable[Any]) -> None:
        self.add_initializer(", ".join(names), values)

    def _say(self) -> None:
        """Warn of what changes nothing."""
        said = vars(self)
        threads = max(said["intra_op_num_threads"], said["inter_op_num_threads"])
        if threads > 1:
            ignored("SessionOptions threads", f"asked for {threads}; a call is computed by the thread that makes it")
        if said["execution_mode"] is ExecutionMode.ORT_PARALLEL:
            ignored("SessionOptions.execution_mode", "a call is computed in order")
        if said["enable_profiling"]:
            ignored("SessionOptions.enable_profiling", "no profile is written; `undertow bench` measures a file")
        if said["optimized_model_filepath"]:
            ignored("SessionOptions.optimized_model_filepath", "nothing is written; undertow.load(path).save() does")
        if said["graph_optimization_level"] is not GraphOptimizationLevel.ORT_ENABLE_ALL:
            ignored(
                "SessionOptions.graph_optimization_level", "there is one level, and it keeps what the file computes"
            )


class RunOptions(_Settings):
    """As ONNX Runtime's. With `terminate` a call raises `Fail` before it begins; one that has begun goes on to its end.
    The others change nothing, for a call logs nothing.
    """

    _defaults: ClassVar[Mapping[str, Any]] = {
        "log_severity_level": -1,
        "log_verbosity_level": 0,
        "logid": "",
        "only_execute_path_to_fetches": False,
        "terminate": False,
        "training_mode": False,
    }

    def add_run_config_entry(self, key: str, value: str) -> None:
        ignored(f"RunOptions config entry {key!r}", "it is of ONNX Runtime's own ways to compute")
        self._entries[str(key)] = str(value)  # type: ignore[attr-defined]

    def get_run_config_entry(self, key: str) -> str:
        entries: dict[str, str] = self._entries  # type: ignore[attr-defined]
        if key not in entries:
            raise RuntimeError(f"there is no config entry {key!r}")
        return entries[key]


def check_providers(providers: Any, provider_options: Any) -> None:
    """Warn of execution providers other than the CPU's: what they would compute is computed here.

    Raises:
        TypeError, ValueError: it is no list of names, or of names with options.
    """
    if isinstance(providers, str):
        raise TypeError(f"providers is {providers!r}, expected a list of names")
    names = []
    for given in providers or []:
        name = given[0] if isinstance(given, tuple) and len(given) == 2 else given
        if not isinstance(name, str):
            raise ValueError(f"providers has {given!r:.80}, expected a name, or a name and a dict of options")
        names.append(name)
    if provider_options is not None and len(provider_options) != len(names):
        raise ValueError(f"{len(provider_options)} provider_options for {len(names)} providers")
    if others := [name for name in names if name != "CPUExecutionProvider"]:
        ignored(f"providers {others[0]!r}", "undertow computes on the CPU")


__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "GraphOptimizationLevel",
    "RunOptions",
    "SessionOptions",
    "check_providers",
    "ignored",
]
