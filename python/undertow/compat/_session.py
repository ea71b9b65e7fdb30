# SPDX-License-Identifier: MIT
"""`InferenceSession` as ONNX Runtime's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError, ShapeError, UnsupportedError
from ..importers.onnx.file import limits
from ..importers.onnx.file.read import require_onnx
from ..weights import contents, others
from ..weights.in_memory import InMemory
from ._calls import File, ModelMetadata, Port
from ._errors import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile, Unfit
from ._options import RunOptions, SessionOptions, check_providers, ignored
from ._values import IOBinding, OrtValue, arrays_of, type_name

#: what computes
PROVIDERS = ("CPUExecutionProvider",)


@dataclass(frozen=True)
class NodeArg:
    """An input or output of a file. shape: sizes, names of open ones, None where one has no name."""

    name: str
    type: str
    shape: list[int | str | None]


class InferenceSession:
    """An .onnx file, ready to be called.

    Threads may call one session at a time. A call of sizes that were not seen before may take as long as a load; those
    that the file fixes are prepared when the session is made.
    """

    def __init__(
        self,
        path_or_bytes: str | os.PathLike[str] | bytes,
        sess_options: SessionOptions | None = None,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            path_or_bytes: an .onnx file, or its bytes.
            sess_options: see `SessionOptions`.
            providers, provider_options: the CPU computes, whatever they say; an `IgnoredOption` warning names others.
            kwargs: `isa` forces an instruction set, as in `undertow.load`; others are said to be ignored.

        Raises:
            NoSuchFile: there is none.
            InvalidProtobuf, InvalidGraph: it is damaged, or has no graph by the rules of ONNX; both are FormatErrors.
            UnsupportedError: undertow does not compute it, in the words of `undertow.load`. Of a
                file that leaves sizes open this may be known with the first call alone.
            ImportError: the onnx package is missing.
        """
        if not isinstance(path_or_bytes, (str, os.PathLike, bytes)):
            raise TypeError(f"expected a path, or the bytes of a file, got {type(path_or_bytes).__name__}")
        options = SessionOptions() if sess_options is None else sess_options
        if not isinstance(options, SessionOptions):
            raise TypeError(
                f"sess_options is a {type(options).__module__}.{type(options).__name__}, expected a SessionOptions of "
                "undertow.compat.onnxruntime: import it from there"
            )
        options._say()
        check_providers(providers, provider_options)
        isa = kwargs.pop("isa", None)
        for name in kwargs:
            ignored(f"InferenceSession option {name!r}", "it changes nothing")
        self._options = options
        path = _path_of(path_or_bytes)
        try:
            self._file = File(path, isa, options.sizes)  # type: ignore[attr-defined]
        except FormatError as error:
            raise _in_kind(error, path) from None
        self._outputs = list(self._file.outputs)
        self._casts = {
            n: p.dtype for n, p in self._file.outputs.items() if p.dtype is not None and p.dtype != np.float32
        }
        self._call: Callable[[Any, Any], Any] = _unready
        self._file.check()

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: RunOptions | None = None
    ) -> list[np.ndarray]:
        """Compute outputs of inputs.

        Args:
            output_names: those that are given, in this order; None or none of them for all, in the file's order.
            input_feed: input name -> array of the dtype and shape that the file declares.
            run_options: `terminate` ends the call before it begins; the others change nothing.

        Returns: an array for each output, new in each call.

        Raises:
            InvalidArgument: a name that the file does not have, an input that is missing, another dtype or shape.
            Fail: the shapes do not fit together in a node of the file (a ShapeError, too), or `terminate` is set.
            UnsupportedError: these sizes, or values, make something of the file that undertow does not compute.
        """
        if run_options is not None and run_options.terminate:  # type: ignore[attr-defined]
            raise Fail("Exiting due to terminate flag being set to true.")
        results = self._call(input_feed, output_names)
        if results is None:
            results = self._run_any(output_names, input_feed)
        return results

    def _run_any(self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any]) -> list[np.ndarray]:
        """As `run`, whatever is given."""
        names = self._asked(output_names)
        arrays = self._checked(input_feed)
        try:
            plan = self._file.plan(arrays)
        except ShapeError as error:
            raise error if isinstance(error, InvalidArgument) else Unfit(*error.args) from None
        try:
            results, call = plan.run(arrays)
        except (ValueError, TypeError) as error:  # ids, lengths
            raise InvalidArgument(f"{error}") from error
        if call is not None:
            self._call = call
        return [results[n].astype(self._casts[n], copy=False) if n in self._casts else results[n] for n in names]

    def _asked(self, output_names: Sequence[str] | None) -> list[str]:
        if isinstance(output_names, str):
            raise TypeError(f"output_names is {output_names!r}, expected a list of names")
        names = list(output_names or self._outputs)
        for name in names:
            if name not in self._file.outputs:
                raise InvalidArgument(f"Invalid output name: {name!r}, expected one of {self._outputs}")
        return names

    def _checked(self, input_feed: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The arrays of a call, contiguous, as the file declares them."""
        if not isinstance(input_feed, Mapping):
            raise TypeError(f"input_feed is a {type(input_feed).__name__}, expected a dict of arrays by input name")
        inputs, overridable = self._file.inputs, self._file.overridable
        for name in input_feed:
            if name not in inputs and name not in overridable:
                raise InvalidArgument(f"Invalid input name: {name!r}, expected {list(inputs)}")
        if missing := [name for name in inputs if name not in input_feed]:
            raise InvalidArgument(f"Required inputs ({missing}) are missing from input feed ({list(input_feed)}).")
        feeds = arrays_of(input_feed)
        ports = {**inputs, **{name: port for name, port in overridable.items() if name in feeds}}
        return {name: _as_declared(feeds[name], port) for name, port in ports.items()}

    def get_inputs(self) -> list[NodeArg]:
        return [_node_arg(port) for port in self._file.inputs.values()]

    def get_outputs(self) -> list[NodeArg]:
        return [_node_arg(port) for port in self._file.outputs.values()]

    def get_overridable_initializers(self) -> list[NodeArg]:
        return [_node_arg(port) for port in self._file.overridable.values()]

    def get_providers(self) -> list[str]:
        return list(PROVIDERS)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {name: {} for name in self.get_providers()}

    def set_providers(self, providers: Sequence[Any] | None = None, provider_options: Any = None) -> None:
        check_providers(providers, provider_options)

    def enable_fallback(self) -> None:
        """There is nothing to fall back to, or from."""

    def disable_fallback(self) -> None:
        """There is nothing to fall back to, or from."""

    def get_session_options(self) -> SessionOptions:
        return self._options

    def get_modelmeta(self) -> ModelMetadata:
        return self._file.metadata

    def io_binding(self) -> IOBinding:
        """For `run_with_iobinding`."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        """As `run`, with what is bound."""
        iobinding._run(run_options)

    def run_with_ort_values(
        self, output_names: Sequence[str] | None, input_dict_ort_values: Mapping[str, OrtValue], run_options: Any = None
    ) -> list[OrtValue]:
        """As `run`, of values."""
        return [OrtValue(array) for array in self.run(output_names, arrays_of(input_dict_ort_values), run_options)]

    def run_async(self, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedError("run_async is not supported; call run in a thread of yours, which leaves the GIL free")

    def end_profiling(self) -> str:
        """The name of a profile, which is none: `undertow bench` measures a file."""
        return ""

    def get_profiling_start_time_ns(self) -> int:
        """0: no profile is written."""
        return 0


def _unready(input_feed: Any, output_names: Any) -> None:
    """What stands for a call until there was one."""


def _in_kind(error: FormatError, path: Path) -> FormatError:
    """The error of a file that could not be read, as ONNX Runtime would tell it."""
    try:
        require_onnx().ModelProto.FromString(contents.read_within(path, limits.MAX_FILE_BYTES))
    except Exception:  # protobuf's DecodeError; its module differs between protobuf versions
        return InvalidProtobuf(*error.args)
    return InvalidGraph(*error.args)


def _path_of(path_or_bytes: str | os.PathLike[str] | bytes) -> Path:
    """The path of an .onnx file.

    Raises:
        NoSuchFile: there is none.
        UnsupportedError: it is another one, which `undertow.load` may take.
    """
    if isinstance(path_or_bytes, bytes):
        return InMemory.of("<bytes>", path_or_bytes, kind="onnx")
    path = Path(path_or_bytes)
    if not path.is_file():
        raise NoSuchFile(f"{path}: there is no such file")
    with contents.open_file(path) as file:
        head = file.read(contents.HEAD)
    if what := others.by_head(path, head):
        raise UnsupportedError(f"{path}: {what}")
    known = contents.kind(head)
    if path.suffix == ".tow" or known not in (None, "onnx"):
        raise UnsupportedError(
            f"{path}: a session takes .onnx files, and this is none; undertow.load(path) may take it"
        )
    return path


def _node_arg(port: Port) -> NodeArg:
    return NodeArg(port.name, type_name(port.dtype), list(port.shape or ()))


def _as_declared(given: Any, port: Port) -> np.ndarray:
    """An array, contiguous, of the dtype and shape that the file declares.

    Raises:
        InvalidArgument: it has others.
    """
    if isinstance(given, (list, int, float, bool)):
        given = np.asarray(given, port.dtype)
    elif not isinstance(given, (np.ndarray, np.generic)):
        raise InvalidArgument(f"input {port.name!r} is a {type(given).__name__}, expected an array of {port.dtype}")
    if given.dtype != port.dtype and given.dtype.newbyteorder("=") != port.dtype:
        raise InvalidArgument(
            f"Unexpected input data type for {port.name!r}. Actual: ({type_name(given.dtype)}), expected: "
            f"({type_name(port.dtype)}); array.astype(np.{port.dtype}) converts it"
        )
    expected = port.shape
    if expected:  # a file that declares a single number, or nothing, takes any
        if given.ndim != len(expected):
            raise InvalidArgument(
                f"Invalid rank for input: {port.name!r} Got: {given.ndim} Expected: {len(expected)}; its shape is "
                f"{given.shape}, expected {_shown(expected)}"
            )
        wrong = [
            f"index: {axis} Got: {n} Expected: {m}"
            for axis, (n, m) in enumerate(zip(given.shape, expected, strict=True))
            if isinstance(m, int) and n != m
        ]
        if wrong:
            raise InvalidArgument(
                f"Got invalid dimensions for input: {port.name!r} for the following indices {'; '.join(wrong)}; its "
                f"shape is {given.shape}, expected {_shown(expected)}"
            )
    elif expected == () and given.size != 1:
        raise InvalidArgument(f"Invalid rank for input: {port.name!r} has shape {given.shape}, expected one number")
    return np.asarray(given, port.dtype, order="C")


def _shown(shape: tuple[int | str | None, ...]) -> str:
    return f"({', '.join('?' if n is None else str(n) for n in shape)})"


__all__ = ["PROVIDERS", "InferenceSession", "ModelMetadata", "NodeArg"]
