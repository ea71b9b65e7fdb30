# SPDX-License-Identifier: MIT
"""Small networks as people build them in Keras (tests/keras_nets.py), in both forms in which Keras 3 and 2 save them:
each gives what Keras gives, or is refused by name. tests/data/generate_keras_matrix.py made the files; Keras is not
needed.
"""

from __future__ import annotations

import contextlib
import random
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undertow
from keras_files import with_swapped_types
from keras_live import stepped
from tolerances import FLOAT32_MODEL
from undertow.errors import Error, UnsupportedError

#: of clips that a cell walks
pytestmark = pytest.mark.filterwarnings("ignore:nothing is remembered from one frame to the next:undertow.ModelWarning")

ARCHIVES = {version: Path(__file__).parent / "data" / f"{version}_matrix.tar.xz" for version in ("keras", "keras2")}
STREAM, WHOLE, CLIP = "stream", "whole", "clip"


@dataclass
class Loaded:
    """What becomes of a network: it goes frame by frame, through whole sequences, or a clip is one frame; or `refused`
    says why not, unless `options` are given."""

    way: str = STREAM
    frames: tuple[int, int] = (1, 1)
    refused: str = ""
    options: dict[str, Any] = field(default_factory=dict)


#: .keras archives that Keras 2 cannot write
NOT_WRITTEN = {"split_features"}
UNMASKED = {"assume_unmasked": True}
HIDES = "not supported: in a stream every frame counts; pass assume_unmasked=True"
ENDED = "GRU 'decoder': its initial_state is known when another sequence has ended"
CLIPS = {"shapes": {"source": (1, 8, 4), "target": (1, 8, 4)}}

NETS = {
    **dict.fromkeys(("stacked_lstm", "both_grus", "characters", "keywords", "video", "residual"), Loaded()),
    **dict.fromkeys(("autoencoder", "forecaster", "stateful", "patient", "conditioned", "states_too"), Loaded()),
    **dict.fromkeys(("pictures_in_time", "temporal_convolutions", "gated_convolutions", "split_features"), Loaded()),
    **dict.fromkeys(("activations", "folded", "cells_in_a_row", "separable", "normalised", "denoiser"), Loaded()),
    "nested": Loaded(),
    "strided_speech": Loaded(frames=(4, 1)),
    "waves": Loaded(frames=(2, 2)),
    "resampled": Loaded(frames=(2, 2)),
    **dict.fromkeys(("crnn", "last_slice", "merged_ways"), Loaded(WHOLE)),
    **dict.fromkeys(("activity", "attention_pool", "flat_attention", "translator", "encoder_block"), Loaded(CLIP)),
    "masked_series": Loaded(STREAM, refused=f"Masking 'masking': .*{HIDES}", options=UNMASKED),
    "tagger": Loaded(WHOLE, refused=f"Embedding 'embedding': mask_zero = True is {HIDES}", options=UNMASKED),
    "sentiment": Loaded(WHOLE, refused=f"Embedding 'embedding': mask_zero = True is {HIDES}", options=UNMASKED),
    "open_translator": Loaded(CLIP, refused=ENDED, options=CLIPS),
    "with_code": Loaded("", refused="Lambda 'doubled': .*: it holds code, and code of files is never run"),
}


@pytest.fixture(scope="module", params=ARCHIVES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    with tarfile.open(ARCHIVES[request.param]) as archive:
        archive.extractall(path, filter="data")
    return path


@pytest.fixture(scope="module")
def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "expected.npz") as file:
        return dict(file)


def of(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def test_every_network_is_looked_at(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    assert {path.stem for path in folder.glob("*.h5")} == {name.partition("/")[0] for name in arrays} == NETS.keys()
    assert NETS.keys() - {path.stem for path in folder.glob("*.keras")} <= NOT_WRITTEN
    assert len(NETS) >= 30
    assert sum(path.stat().st_size for path in ARCHIVES.values()) < 200_000


def compare(given: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    """Of a stream, what comes once per sequence is what it says at the last frame."""
    if len(want) == 1:  # without a name in the golden file
        want = dict(zip(given, want.values(), strict=True))
    assert given.keys() == want.keys()
    for name, y in given.items():
        y = y[-1] if y.ndim > want[name].ndim else y
        np.testing.assert_allclose(y, want[name], rtol=0, atol=FLOAT32_MODEL, err_msg=name)


def given_by(model: undertow.Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    given = model.run(inputs if len(inputs) > 1 else inputs[next(iter(inputs))])
    return given if isinstance(given, dict) else {next(iter(model.outputs)): given}


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("name", NETS)
def test_networks_give_what_keras_gives(name: str, suffix: str, folder: Path, arrays: dict[str, np.ndarray]) -> None:
    net, path = NETS[name], folder / f"{name}.{suffix}"
    if name in NOT_WRITTEN and not path.exists():
        pytest.skip("Keras 2 cannot write a slice with ... into a .keras archive")
    if net.refused:
        with pytest.raises(UnsupportedError, match=net.refused):
            undertow.load(path)
    if not net.way:
        return
    model = undertow.load(path, **net.options)
    X, want = of(arrays, f"{name}/in/"), of(arrays, f"{name}/out/")
    assert list(model.inputs) == list(X)
    assert model.streamable == (net.way != WHOLE)
    assert (model.frames_in, model.frames_out) == net.frames
    if net.way == CLIP:
        compare({key: y[0] for key, y in given_by(model, {key: x[None] for key, x in X.items()}).items()}, want)
        return
    n = max(len(x) for x in X.values()) // model.frames_in
    # what comes once per sequence is given with every frame
    frames = {
        key: np.tile(x, (n, 1)) if x.shape == model.inputs[key].shape else x.reshape(n, *model.inputs[key].shape)
        for key, x in X.items()
    }
    given = given_by(model, frames)
    compare({key: y.reshape(-1, *y.shape[2:]) if model.frames_out > 1 else y for key, y in given.items()}, want)
    if net.way == STREAM and not model.latency:
        for y, in_steps in zip(given.values(), stepped(model, frames), strict=True):
            np.testing.assert_array_equal(in_steps, y)


def test_both_forms_are_one_model(folder: Path) -> None:
    for name, net in NETS.items():
        if net.way and (folder / f"{name}.keras").exists():
            a, b = (undertow.load(folder / f"{name}.{suffix}", **net.options).graph for suffix in ("keras", "h5"))
            assert [node.op for node in a.nodes] == [node.op for node in b.nodes]
            for node, other in zip(a.nodes, b.nodes, strict=True):
                for key, w in node.weights.items():
                    np.testing.assert_array_equal(w, other.weights[key])


@pytest.mark.parametrize("name", ["translator", "conditioned", "last_slice", "encoder_block", "pictures_in_time"])
def test_configurations_with_swapped_types(name: str, folder: Path, tmp_path: Path) -> None:
    """Values of a configuration replaced by values of other types end in a model or a typed error."""
    for path in with_swapped_types(
        folder / f"{name}.keras", tmp_path / "m.keras", lambda places: random.Random(6).sample(places, 12)
    ):
        with contextlib.suppress(Error):
            undertow.load(path)
