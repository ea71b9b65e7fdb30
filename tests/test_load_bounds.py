# SPDX-License-Identifier: MIT
"""What loading takes scales with the file: a number in it that says how large a frame is costs nothing by itself."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import undertow
from decomposed import H, I, gru_body
from onnx_files import model_of, save

resource = pytest.importorskip(
    "resource", reason="measures memory of a child process: needs POSIX (pip install does not help)"
)

CHILD = textwrap.dedent("""
    import resource, sys
    import undertow
    for path in sys.argv[1:-1]:
        undertow.load(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        undertow.load(sys.argv[-1])
    except undertow.UnsupportedError:
        pass
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
""")


def peak_mib(small, path):
    """MiB that loading `path` takes beyond what a small model of its kind took before."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(small), str(path)], capture_output=True, text=True, check=True
    )
    return int(done.stdout) / (1 << (20 if sys.platform == "darwin" else 10))


def step_file(folder, rows):
    """A GRU cell in plain nodes, for `rows` sequences at once: as many bytes whatever their number."""
    nodes, weights, _ = gru_body(np.random.default_rng(0), True, "torch")
    shapes = {"x": [rows, I], "h": [rows, H]}
    model = model_of(nodes, shapes, {"h_next": [rows, H]}, weights)
    return save(model, folder, f"step{rows}.onnx")


@pytest.mark.parametrize("rows", [600, 5000])
def test_rows_of_a_step_do_not_count_squared(tmp_path, rows):
    """A linear form of all elements of a frame would be a matrix of (4 rows)^2 numbers: 3 GiB for the larger one."""
    small, large = step_file(tmp_path, 1), step_file(tmp_path, rows)
    assert large.stat().st_size < 1.1 * small.stat().st_size < 10_000
    assert peak_mib(small, large) < 64
    model = undertow.load(large, states={"h": "h_next"})
    one = undertow.load(small, states={"h": "h_next"})
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, rows, I)).astype(np.float32)
    y, alone = model.stream().run(x), one.stream().run(np.ascontiguousarray(x[:, -1]))
    np.testing.assert_allclose(y[:, -1], alone, atol=1e-6)


def test_a_cell_with_weights_of_its_own_is_still_found(tmp_path):
    """The bound is one of what the file holds: large matrices that are there are looked at."""
    hidden = 2400  # of which an identity would be above what small files get
    rng = np.random.default_rng(0)
    nodes, weights, _ = gru_body(rng, True, "torch")
    for key, w in weights.items():
        if key[:2] in ("W_", "R_"):
            weights[key] = rng.normal(size=(I if key[0] == "W" else hidden, hidden)).astype(np.float32) / 50
        elif w.ndim:
            weights[key] = np.zeros(hidden, np.float32)
    shapes = {"x": [1, I], "h": [1, hidden]}
    path = save(model_of(nodes, shapes, {"h_next": [1, hidden]}, weights), tmp_path)
    assert [n.op for n in undertow.load(path, states={"h": "h_next"}).graph.nodes] == ["gru"]
