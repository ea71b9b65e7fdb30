# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""The rest of ONNX Runtime's face: what a session says of itself, options, bindings, values, threads."""

from __future__ import annotations

import gc
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from onnx_files import (
    bytes_of,
    model_of,
    node,
    onnxruntime,
    random,
)

peer = onnxruntime()
import undertow
import undertow.compat.onnxruntime as ours
from sessions import H, X, both, feeds, recurrent, same, told
from undertow.compat import _calls, _options


def test_what_a_session_says_of_itself():
    source = recurrent("LSTM", "time", "N")
    source.producer_name, source.model_version, source.doc_string = "maker", 3, "doc"
    source.metadata_props.add(key="rate", value="16000")
    mine, theirs = both(source)
    assert told(mine) == told(theirs)
    assert mine.get_providers() == theirs.get_providers() == ours.get_available_providers()
    assert mine.get_provider_options() == theirs.get_provider_options()
    for name in ("producer_name", "graph_name", "domain", "description", "version", "custom_metadata_map"):
        assert getattr(mine.get_modelmeta(), name) == getattr(theirs.get_modelmeta(), name)
    assert ours.get_device() == peer.get_device()


def test_a_call_that_is_told_to_end(rng):
    sessions = both(recurrent("GRU", 1, 1))
    feed = feeds(rng, sessions[0])
    for package, session in zip((ours, peer), sessions, strict=True):
        for _ in range(2):  # the long way, then the short one
            session.run(None, feed, package.RunOptions())
            options = package.RunOptions()
            options.terminate = True
            with pytest.raises(package.capi.onnxruntime_pybind11_state.Fail, match="terminate flag"):
                session.run(None, feed, options)
        assert session.end_profiling() == ""
        assert isinstance(package.get_build_info(), str)
        value = package.OrtValue.ortvalue_from_numpy(feed["x"])
        assert value.is_tensor() and not (value.is_tensor_sequence() or value.is_sparse_tensor())


def test_the_options_are_those_of_onnx_runtime():
    plain = ("enable_profiling", "inter_op_num_threads", "intra_op_num_threads", "logid", "optimized_model_filepath")
    for name in plain:
        assert getattr(ours.SessionOptions(), name) == getattr(peer.SessionOptions(), name), name
    for name in ("execution_mode", "graph_optimization_level"):
        assert getattr(ours.SessionOptions(), name).name == getattr(peer.SessionOptions(), name).name
    for name in ("logid", "terminate", "only_execute_path_to_fetches"):
        assert getattr(ours.RunOptions(), name) == getattr(peer.RunOptions(), name), name
    for enum in ("GraphOptimizationLevel", "ExecutionMode"):
        mine, theirs = getattr(ours, enum).__members__, getattr(peer, enum).__members__
        assert {n: mine[n].value for n in theirs if n in mine} == {n: int(m) for n, m in theirs.items() if n in mine}
        assert len(mine.keys() & theirs.keys()) >= 2
    with pytest.raises(AttributeError, match="intra_op_num_threads"):
        ours.SessionOptions().threads = 1
    with pytest.raises(TypeError, match="expected int"):
        ours.SessionOptions().intra_op_num_threads = "4"


def test_options_that_change_nothing_are_said_once(monkeypatch):
    monkeypatch.setattr(_options, "_said", set())
    data = bytes_of(recurrent("GRU", 1, 1))
    options = ours.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    ours.InferenceSession(data, options, providers=["CPUExecutionProvider"])  # what is done anyway: nothing is said
    options.intra_op_num_threads = 4
    with pytest.warns(ours.IgnoredOption, match="asked for 4"):
        ours.InferenceSession(data, options)
    with pytest.warns(ours.IgnoredOption, match="CUDAExecutionProvider"):
        ours.InferenceSession(data, providers=[("CUDAExecutionProvider", {}), "CPUExecutionProvider"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.InferenceSession(data, options, providers=["CUDAExecutionProvider"])
    with pytest.raises(undertow.UnsupportedError, match=r"OPERATORS\.md"):
        options.register_custom_ops_library("custom.so")
    with pytest.raises(TypeError, match=r"undertow\.compat\.onnxruntime"):
        ours.InferenceSession(data, peer.SessionOptions())


def test_sizes_that_the_options_fix(rng):
    options = ours.SessionOptions()
    options.add_free_dimension_override_by_name("N", 2)
    mine = ours.InferenceSession(bytes_of(recurrent("LSTM", "T", "N")), options)
    assert mine.get_inputs()[1].shape == [1, 2, H]
    theirs = peer.InferenceSession(bytes_of(recurrent("LSTM", "T", "N")))
    feed = feeds(rng, theirs, T=4, N=2)
    same(mine.run(None, feed), theirs.run(None, feed))
    with pytest.raises(ours.InvalidArgument, match="index: 1 Got: 3 Expected: 2"):
        mine.run(None, feeds(rng, theirs, T=4, N=3))


def test_sizes_that_are_no_more_asked_for_are_forgotten(rng):
    """What weighs each timestep with each other has a plan for each length, of which some are kept."""

    def n_plans():
        gc.collect()
        return sum(type(each) is _calls.Plan for each in gc.get_objects())

    before = n_plans()
    nodes = [node("Transpose", "x", "xt", perm=[0, 2, 1]), node("MatMul", "x xt", "y")]
    model = model_of(nodes, {"x": ["N", "T", X]}, {"y": ["N", "T", "T"]})
    mine, theirs = ours.InferenceSession(bytes_of(model)), peer.InferenceSession(bytes_of(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", undertow.ModelWarning)  # each size costs a load
        for T in range(2, 26):
            feed = {"x": random(rng, 1, T, X)}
            same(mine.run(None, feed), theirs.run(None, feed))
    assert 10 < n_plans() - before < 20


def bound(package, session, rng):
    """Glue code with an IOBinding: states are bound to memory of their own, which two values take in turn."""
    x = package.OrtValue.ortvalue_from_numpy(random(rng, 1, 1, X))
    states = {n: [package.OrtValue.ortvalue_from_numpy(random(rng, 1, 1, H)) for _ in range(2)] for n in "hc"}
    binding, rows = session.io_binding(), []
    binding.bind_ortvalue_input("x", x)
    for t in range(6):
        x.update_inplace(random(rng, 1, 1, X))
        binding.clear_binding_outputs()
        binding.bind_output("Y")
        for name, pair in states.items():
            binding.bind_ortvalue_input(name, pair[t % 2])
            binding.bind_ortvalue_output(f"{name}n", pair[1 - t % 2])
        session.run_with_iobinding(binding)
        rows += binding.copy_outputs_to_cpu()
    memory = np.zeros((1, 1, 1, H), np.float32)
    frame = random(rng, 1, 1, X)
    binding.bind_cpu_input("x", frame)
    binding.bind_output("Y", "cpu", 0, np.float32, memory.shape, memory.ctypes.data)
    session.run_with_iobinding(binding)
    return [*rows, memory]


def test_io_binding():
    mine, theirs = both(recurrent("LSTM", 1, 1))
    same(
        bound(ours, mine, np.random.default_rng(2)),
        bound(peer, theirs, np.random.default_rng(2)),
    )
    with pytest.raises(ours.InvalidArgument, match="no input 'z'"):
        mine.io_binding().bind_cpu_input("z", np.zeros(1, np.float32))
    binding = mine.io_binding()
    binding.bind_ortvalue_output("Y", ours.OrtValue.ortvalue_from_shape_and_type((1, H), np.float32))
    for name, array in feeds(np.random.default_rng(0), mine).items():
        binding.bind_cpu_input(name, array)
    with pytest.raises(ours.InvalidArgument, match="bound to memory"):
        mine.run_with_iobinding(binding)
    with pytest.raises(undertow.UnsupportedError, match="'cuda'"):
        binding.bind_output("Y", "cuda")


def test_ort_values(rng):
    mine, theirs = both(recurrent("LSTM", 1, 1))
    feed = feeds(rng, mine)
    values = mine.run_with_ort_values(["Y", "hn"], {n: ours.OrtValue.ortvalue_from_numpy(a) for n, a in feed.items()})
    expected = theirs.run_with_ort_values(
        ["Y", "hn"], {n: peer.OrtValue.ortvalue_from_numpy(a) for n, a in feed.items()}
    )
    same([v.numpy() for v in values], [v.numpy() for v in expected])
    for a, b in zip(values, expected, strict=True):
        assert (a.shape(), a.data_type(), a.device_name(), a.element_type()) == (
            b.shape(),
            b.data_type(),
            b.device_name(),
            b.element_type(),
        )


def test_threads_share_a_session(rng):
    """With weights for which a step leaves the GIL."""
    mine = ours.InferenceSession(bytes_of(recurrent("LSTM", "T", "N", H=160, X=160)))
    of_threads = [feeds(rng, mine, T=T, N=N) for T, N in ((1, 1), (1, 1), (1, 3), (3, 1))]
    expected = [mine.run(None, feed) for feed in of_threads]

    def work(number):
        for _ in range(200):
            results = mine.run(None, of_threads[number])
            for a, b in zip(results, expected[number], strict=True):
                assert a.tobytes() == b.tobytes()
        return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(4)))


def test_the_package_alone_does_not_load_it():
    code = "import undertow, sys; print([m for m in sys.modules if m.startswith('undertow.compat')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
    assert undertow.compat.InferenceSession is ours.InferenceSession
    with pytest.raises(AttributeError, match="nothing_of_it"):
        _ = undertow.compat.nothing_of_it
