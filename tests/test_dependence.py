# SPDX-License-Identifier: MIT
"""What a rule says that an operator's results depend on holds all that is seen when an element is changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='needs the onnx package: pip install "undertow[onnx]"')
ort = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install onnxruntime")

from test_onnx_traits import arrays_of, cases_of  # noqa: E402
from undertow.importers.onnx.dependence import Reach, Unclear, trace  # noqa: E402
from undertow.importers.onnx.dependence.trace import RULES  # noqa: E402
from undertow.importers.onnx.simplify.program import make_program  # noqa: E402
from undertow.importers.onnx.traits import OPERATORS, traits  # noqa: E402

#: elements of an input that are changed, one by one
N_CHANGED = 24
#: cases of an operator that are tried
N_CASES = 12


def test_every_operator_that_frames_go_through_has_a_rule() -> None:
    assert RULES.keys() == {op.name for op in OPERATORS.values() if op.handler or op.moves is not None}


#: nothing is to be seen of what decides a branch, which must be known while loading, and of a shape; what a range
#: adds is of one frame, or left out with a warning
UNSEEN = {"If", "Shape", "Size", "DynamicQuantizeLinear"}
DOUBLE, FLOAT = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT


def single(case: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """A case's model and inputs, in single precision."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.elem_type == DOUBLE:
            value.type.tensor_type.elem_type = FLOAT
    feeds = arrays_of(case)[0]
    return model, {n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in feeds.items()}


def runner(model: Any, feeds: dict[str, np.ndarray]) -> Any:
    """ONNX Runtime, or onnx's evaluator where that has not the operator set yet, or not all of the operator."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        run = ort.InferenceSession(model.SerializeToString(), options)
        run.run(None, feeds)
    except Exception:
        return onnx.reference.ReferenceEvaluator(model)
    return run


def changed(array: np.ndarray, place: int, rng: np.random.Generator) -> np.ndarray:
    made = array.copy()
    flat = made.reshape(-1)
    if made.dtype.kind == "b":
        flat[place] = ~flat[place]
    elif made.dtype.kind in "iu":
        flat[place] = flat[(place + 1) % flat.size] if flat.size > 1 else flat[place]
    else:
        flat[place] = -3 * flat[place] + rng.uniform(0.5, 2)
    return made


@pytest.mark.parametrize("op", sorted(RULES.keys() - UNSEEN))
def test_what_changes_is_what_depends(op: str) -> None:
    rng = np.random.default_rng(1)
    shown = 0
    for case in cases_of(op)[:N_CASES]:
        model, feeds = single(case)
        run = runner(model, feeds)
        names = [v.name for v in model.graph.input]
        for slot, name in enumerate(names):
            array = feeds[name]
            if (slot in traits(op).chosen_by and op not in ("Gather", "Where")) or array.size == 0:
                continue
            try:
                program = make_program(model, {n: a for n, a in feeds.items() if n != name})
            except Exception:
                continue  # an input that only a constant can be
            places = rng.permutation(array.size)[:N_CHANGED]
            bits = np.zeros(array.size, np.uint64)
            bits[places] = np.uint64(1) << np.arange(len(places), dtype=np.uint64)
            try:
                made = trace(program, {name: Reach.of(array.shape, bits.reshape(array.shape))}).outputs
            except Unclear:
                continue
            base = run.run(None, feeds)
            for want, value in zip(base, program.outputs, strict=True):
                result = made[value]
                assert result is not None
                assert result.shape == want.shape, (case.name, name, value)
            for number, place in enumerate(places):
                try:
                    after = run.run(None, {**feeds, name: changed(array, int(place), rng)})
                except Exception:
                    continue  # an index that lies outside
                for old, new, value in zip(base, after, program.outputs, strict=True):
                    result = made[value]
                    differs = (old != new) & ((old == old) | (new == new))
                    told = np.zeros((1,) * old.ndim, bool)
                    if isinstance(result, Reach):
                        told = (result.bits >> np.uint64(number) & np.uint64(1)).astype(bool)
                    assert not (differs & ~told).any(), (case.name, name, value, place)
                    shown += bool(differs.any())
    assert shown, "no change was seen through this operator"
