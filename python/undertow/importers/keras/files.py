# SPDX-License-Identifier: MIT
"""Keras files: a `.keras` archive (zip) or a legacy `.h5`, read without Keras. Nothing in them is executed."""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...budget import TooMuch
from ...errors import Error, FormatError, UnsupportedError
from ...weights.hdf5_reader import MAGIC as HDF5_MAGIC
from ...weights.hdf5_reader import File, Group
from .. import _blocks as blocks
from .weights import ArchiveWeights, LegacyModelWeights, Weights, by_path

#: limits for hostile files
MAX_FILE_BYTES = 4 << 30
MAX_CONFIG_BYTES = 32 << 20
MAX_WEIGHT_BYTES = 4 << 30
MAX_EXPANSION = 200  # Keras stores its members plainly; the repository's own are compressed about tenfold
MAX_ARCHIVE_ENTRIES = 10_000

ZIP_MAGIC = b"PK\x03\x04"


@dataclass
class KerasFile:
    """What a file holds: the model's configuration as JSON, who wrote it, and its arrays."""

    config: dict[str, Any]
    version: tuple[int, ...] | None
    weights: Weights


def read(path: Path) -> KerasFile:
    """Read a Keras file; arrays are read when layers take them."""
    data = blocks.read_limited(path, MAX_FILE_BYTES)
    if data.startswith(ZIP_MAGIC):
        config, metadata, weights = _archive_members(data)
        return KerasFile(
            config, parse_version(metadata.get("keras_version")), ArchiveWeights(by_path(File(weights).root))
        )
    if data.startswith(HDF5_MAGIC):
        return _legacy(File(data).root)
    raise FormatError("not a Keras file: expected a .keras archive (zip) or an HDF5 file")


def parse_version(text: Any) -> tuple[int, ...] | None:
    """(3, 15, 1) for "3.15.1"; None when it is not a version."""
    text = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    match = re.match(r"(\d{1,4})\.(\d{1,4})", text) if isinstance(text, str) else None
    return tuple(int(n) for n in match.groups()) if match else None


def _archive_members(data: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _members(archive)
    except (Error, TooMuch):
        raise
    except Exception as error:  # zipfile and zlib raise a dozen kinds for a damaged archive
        raise FormatError(f"the archive is damaged: {type(error).__name__}: {error}") from error


def _members(archive: zipfile.ZipFile) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    names = archive.namelist()
    if len(names) > MAX_ARCHIVE_ENTRIES:
        raise FormatError(f"the archive has {len(names)} entries, expected at most {MAX_ARCHIVE_ENTRIES}")
    if "config.json" not in names:
        raise FormatError("the archive has no config.json: it is not a Keras model")
    if "model.weights.h5" not in names:
        raise FormatError(
            "the archive has no model.weights.h5: its weights are missing or in a format that is not read"
        )
    config = blocks.parse_json(_member(archive, "config.json", MAX_CONFIG_BYTES), "config.json")
    metadata: Any = {}
    if "metadata.json" in names:
        metadata = blocks.parse_json(_member(archive, "metadata.json", MAX_CONFIG_BYTES), "metadata.json")
    if not isinstance(config, dict) or not isinstance(metadata, dict):
        raise FormatError("config.json and metadata.json must hold JSON objects")
    return config, metadata, _member(archive, "model.weights.h5", MAX_WEIGHT_BYTES)


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > limit or info.file_size > MAX_EXPANSION * info.compress_size + 4096:
        raise FormatError(f"{name} claims {info.file_size} bytes from {info.compress_size} stored ones; refused")
    with archive.open(info) as member:
        data = member.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise FormatError(f"{name} has {len(data)} bytes, expected {info.file_size}")
    return data


class WeightsOnlyError(UnsupportedError):
    """An .h5 file of weights, which `importers.state_dict` reads."""


def _legacy(root: Group) -> KerasFile:
    texts = root.attributes.get("model_config")
    if texts is None:
        raise WeightsOnlyError("the file holds weights without a wiring (no model_config)")
    config = blocks.parse_json("".join(texts).encode(), "model_config")
    if not isinstance(config, dict):
        raise FormatError("model_config must hold a JSON object")
    group = root.get("model_weights")
    if not isinstance(group, Group):
        raise FormatError("the file has no model_weights")
    versions = root.attributes.get("keras_version") or group.attributes.get("keras_version")
    return KerasFile(config, parse_version(versions[0] if versions else None), LegacyModelWeights(group))
