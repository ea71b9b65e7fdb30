# SPDX-License-Identifier: MIT
"""The committed .tow fixtures of the C++ tests are what make_models.py writes."""

from __future__ import annotations

import pytest
from make_models import FOLDER, MODELS, make


@pytest.mark.parametrize("name", MODELS)
def test_fixture_is_what_the_script_writes(name: str) -> None:
    assert (FOLDER / f"{name}.tow").read_bytes() == make(name), "run python tests/cpp/make_models.py"
