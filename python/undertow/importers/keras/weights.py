# SPDX-License-Identifier: MIT
"""Where a layer's arrays lie: the two layouts of Keras files behind one interface.

A `.keras` archive keeps one HDF5 group per object, with numbered arrays (``layers/lstm/cell/vars/0``). A legacy `.h5`
keeps one group per top-level layer with a list of weight names in creation order. Layers ask for `part`s and `take`
arrays by role and shape; whatever does not match is an error, nothing is filled in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from ...errors import FormatError, ShapeError, UnsupportedError
from ...weights.hdf5_reader import Dataset, Group, Item
from .traits import ROLES, traits

Spec = Sequence[tuple[str, tuple[int, ...]]]


class Weights(Protocol):
    """The arrays of one layer or model."""

    def copy(self) -> Weights:
        """The same arrays, for another call of the same layer."""

    def part(self, attribute: str) -> Weights:
        """The arrays of an inner object ("cell", "layer", "forward_layer"), asked for in the order of creation."""

    def members(self, attribute: str, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        """The arrays of each layer of a container; `layers` are (class name, layer name) in file order."""

    def take(self, where: str, *choices: Spec) -> list[np.ndarray]:
        """The arrays themselves, float32, for the first choice of (role, shape) pairs that fits."""


class PathGroup:
    """A group of an archive that was written on Windows, where names of groups are whole paths: ``layers\\lstm\\cell``.

    group: what stands here under its own name, if anything does. paths: members of the file below it -> what they are.
    """

    def __init__(self, group: Group | None, paths: Mapping[tuple[str, ...], Group]) -> None:
        self._group, self._paths = group, paths
        self.attributes = {} if group is None else group.attributes
        own = [] if group is None else list(group.members)
        self.members = dict.fromkeys([*own, *(path[0] for path in paths)])

    def get(self, name: str) -> Item | PathGroup | None:
        inner = {path[1:]: item for path, item in self._paths.items() if path[0] == name}
        if not inner:
            return None if self._group is None else self._group.get(name)
        return PathGroup(inner.pop((), None), inner)


def by_path(root: Group) -> Group | PathGroup:
    """The root of an archive, with groups in place of paths where their names are such."""
    if not any("\\" in name for name in root.members):
        return root
    items = ((tuple(name.split("\\")), root.get(name)) for name in root.members)
    return PathGroup(None, {path: item for path, item in items if isinstance(item, Group)})


class ArchiveWeights:
    """Weights of a `.keras` archive: a group of model.weights.h5, or nothing for objects without arrays."""

    def __init__(self, group: Group | PathGroup | None) -> None:
        self._group = group

    def copy(self) -> ArchiveWeights:
        return self

    def part(self, attribute: str) -> ArchiveWeights:
        group = _group(self._group, attribute)  # attributes of some classes, in some versions, are private
        return ArchiveWeights(_group(self._group, f"_{attribute}") if group is None else group)

    def members(self, attribute: str, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        container = _group(self._group, attribute)
        if container is None and attribute == "layers":
            # Keras 2.12 and 2.13 wrote the layers under another attribute
            container = _group(self._group, "_layer_checkpoint_dependencies")
        present = set() if container is None else set(container.members)
        names = [traits(cls).group for cls, _ in layers]
        keys = _numbered(names)
        stores: list[Weights] = []
        for (cls, name), own, key in zip(layers, names, keys, strict=True):
            if own and key not in present:
                # some writers skip numbers; the order of the groups is still the order of the layers
                same_class = [k for k, (c, _) in zip(keys, layers, strict=True) if c == cls]
                groups = sorted((p for p in present if re.fullmatch(rf"{own}(_\d+)?", p)), key=_suffix)
                key = groups[same_class.index(key)] if len(groups) == len(same_class) else ""
            group = _group(container, key) if own and key else None
            stored = _layer_name(group)
            if stored not in (None, name):
                raise FormatError(f"weights of layer {name!r}: group {key!r} belongs to a layer named {stored!r}")
            stores.append(ArchiveWeights(group))
        return stores

    def take(self, where: str, *choices: Spec) -> list[np.ndarray]:
        group = _group(self._group, "vars")
        count = 0 if group is None else len(group.members)
        arrays = [] if group is None else [group.get(str(i)) for i in range(count)]
        if not all(isinstance(a, Dataset) for a in arrays):
            raise FormatError(f"{where}: its {count} arrays in the file are not named 0 to {count - 1}")
        return _read(where, [("", a) for a in arrays if isinstance(a, Dataset)], choices)


class LegacyWeights:
    """Weights of a legacy `.h5`: (weight name, array) pairs, handed out in order."""

    def __init__(self, pairs: list[tuple[str, Dataset]]) -> None:
        self._pairs = pairs

    def copy(self) -> LegacyWeights:
        return LegacyWeights(list(self._pairs))

    def part(self, attribute: str) -> LegacyWeights:
        return self  # creation order is file order

    def members(self, attribute: str, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        if attribute == "cells":
            return [self] * len(layers)
        # A nested model's arrays stand together, trainable ones first; each name says whose it is.
        stores: list[Weights] = []
        for _, name in layers:
            mine = [name in weight.split("/")[:-1] for weight, _ in self._pairs]
            stores.append(LegacyWeights([pair for pair, own in zip(self._pairs, mine, strict=True) if own]))
            self._pairs = [pair for pair, own in zip(self._pairs, mine, strict=True) if not own]
        return stores

    def take(self, where: str, *choices: Spec) -> list[np.ndarray]:
        n = max(len(spec) for spec in choices)  # of a Normalization the file may hold one fewer
        pairs, self._pairs = self._pairs[:n], self._pairs[n:]
        return _read(where, pairs, choices)

    @property
    def left_over(self) -> list[str]:
        return [name for name, _ in self._pairs]


class LegacyModelWeights(LegacyWeights):
    """The top of a legacy file: one group per layer, by layer name."""

    def __init__(self, group: Group) -> None:
        super().__init__([])
        self._group = group

    def members(self, attribute: str, layers: Sequence[tuple[str, str]]) -> list[Weights]:
        return [self._layer(name) for _, name in layers]

    def _layer(self, name: str) -> LegacyWeights:
        group = _group(self._group, name)
        pairs = []
        for weight in [] if group is None else _text_list(group.attributes, "weight_names"):
            item: Item | PathGroup | None = group
            for step in filter(None, weight.split("/")):
                item = item.get(step) if isinstance(item, Group) else None
            if not isinstance(item, Dataset):
                raise FormatError(f"layer {name!r}: array {weight!r} is missing")
            pairs.append((weight, item))
        return LegacyWeights(pairs)


def _numbered(names: Iterable[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        n = seen[name] = seen.get(name, -1) + 1
        out.append(f"{name}_{n}" if n else name)
    return out


def _suffix(key: str) -> int:
    tail = key.rsplit("_", 1)[-1]
    return int(tail) if tail.isdecimal() and len(tail) < 9 else 0


def _group(group: Group | PathGroup | None, key: str) -> Group | PathGroup | None:
    """A group in a group, or None."""
    child = None if group is None else group.get(key)
    if isinstance(child, Dataset):
        raise FormatError(f"{child.name} is an array, expected a group")
    return child


def _layer_name(group: Group | PathGroup | None) -> str | None:
    """The layer name that recent versions of Keras store beside the arrays."""
    inner = _group(group, "vars")
    texts = [] if inner is None else inner.attributes.get("name", [])
    return texts[0] if texts else None


def _text_list(attributes: dict[str, list[str]], key: str) -> list[str]:
    """A list of names in an attribute, or split over key0, key1 ... where it was too long for one."""
    if key in attributes:
        return attributes[key]
    names: list[str] = []
    chunk = 0
    while f"{key}{chunk}" in attributes:
        names += attributes[f"{key}{chunk}"]
        chunk += 1
    return names


def _read(where: str, pairs: Sequence[tuple[str, Dataset]], choices: Sequence[Spec]) -> list[np.ndarray]:
    shapes = [dataset.shape for _, dataset in pairs]
    fitting = [spec for spec in choices if shapes == [shape for _, shape in spec]]
    if not fitting:
        wanted = " or ".join(", ".join(f"{role} {shape}" for role, shape in spec) or "nothing" for spec in choices)
        raise ShapeError(f"{where}: the file holds arrays of shapes {shapes}, expected {wanted}")
    names = [re.sub(r"(_\d+)?(:\d+)?$", "", name.rsplit("/", 1)[-1]) for name, _ in pairs]
    candidates = [(spec, _misplaced(names, spec)) for spec in fitting]
    spec, wrong = max(candidates, key=lambda pair: len(names) if pair[1] is None else pair[1])
    if wrong is not None:
        raise FormatError(f"{where}: array {pairs[wrong][0]!r} stands where {spec[wrong][0]!r} is expected")
    arrays = []
    for (_, dataset), (role, _) in zip(pairs, spec, strict=True):
        if role == "count":  # how much data a layer has seen: of no use here, and an integer
            continue
        if dataset.type.numpy[1:] not in ("f2", "f4"):
            raise UnsupportedError(f"{where}: {role} has elements of {dataset.type.name}, expected float32")
        arrays.append(np.asarray(dataset.read(), np.float32))
    return arrays


def _misplaced(names: list[str], spec: Spec) -> int | None:
    """The first array whose name is that of another one."""
    return next((i for i, (role, _) in enumerate(spec) if names[i] in ROLES - {role}), None)
