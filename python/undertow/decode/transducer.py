# SPDX-License-Identifier: MIT
"""Transducers as the frames of their encoder come."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index
from typing import Any

import numpy as np

from .._text import listed, quoted, shown
from ..errors import DecodeError, ShapeError
from ..ir.graph import Value
from ..model import Model
from ..stream import BeamTransducer, GreedyTransducer
from .given import are_probabilities, checked_id, checked_width, fed_of, fixed_frames, n_ids_of, output_of, takes
from .text import Hypothesis


class Transducer:
    """A transducer (RNN-T) as its encoder's frames come: a predictor that is fed the symbols so far, and a joiner that
    says from its output and a frame which symbol comes, or a blank for the next frame.

    Width 1 is greedy: the joiner is asked, and its largest logit is a symbol, which the predictor is fed, or a blank,
    which ends the frame, as `max_symbols` symbols do. With a larger width it is beam search over the same moves, frame
    by frame: each call of the joiner extends every hypothesis that has had no blank in this frame, by each symbol and
    by the blank; these extensions compete with the hypotheses that had theirs, and the best `width` stay, of equal
    ones as in `beam`. A score is the sum of the logarithms of the probabilities of symbols and blanks.

    Args:
        predictor: a model with an input of ids and an output that the joiner takes.
        joiner: a model without states, of two inputs: a frame of the encoder, and the predictor's output.
        blank: the id of the joiner's output that is no symbol.
        width: hypotheses to keep, 1 to 1024.
        max_symbols: that one frame may give.
        start: the id that the predictor is fed before the first frame; the blank's unless given.
        merge: hypotheses of the same symbols become one after each frame, of the sum of their probabilities; otherwise
            each way to a text stands for itself.
        encoder: the joiner's input that takes frames; unless given the one of the two with "enc" in its name, or the
            first.
        input, prediction: the predictor's input of ids, and its output, where it has several.
        output: the joiner's output of logits, where it has several.
        inputs: a frame for each other input of either model, the same at each step.
        probabilities: as of `sample`, of the joiner.

    Raises: as `beam`; ShapeError: the predictor's output does not fit the joiner. ValueError: the joiner has states,
        or does not have two inputs; blank, start or max_symbols is out of range.

    >>> steps, frames = undertow.Embedding(np.zeros((4, 4))), undertow.Graph("joiner")
    >>> both = [frames.input("encoded", 4), frames.input("predicted", 4)]
    >>> frames.output("logits", frames.add("add", both))
    >>> joiner, predictor = undertow.Model.from_graph(frames), undertow.Sequential([steps])
    >>> transducer = decode.Transducer(predictor, joiner, blank=0, max_symbols=1)
    >>> transducer.push(np.eye(4, dtype=np.float32)[[0, 2, 0, 1]])
    array([2, 1], dtype=int32)

    The examples of its methods go on from there.
    """

    def __init__(
        self,
        predictor: Model,
        joiner: Model,
        *,
        blank: int = 0,
        width: int = 1,
        max_symbols: int = 10,
        start: int | None = None,
        merge: bool = False,
        encoder: str | None = None,
        input: str | None = None,
        prediction: str | None = None,
        output: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        probabilities: bool | None = None,
    ) -> None:
        for model, role in ((predictor, "predictor"), (joiner, "joiner")):
            if not isinstance(model, Model):
                raise TypeError(f"{role} must be an undertow.Model, got {type(model).__name__}")
        inputs = dict(inputs or {})
        if unknown := sorted(set(inputs) - set(predictor.inputs) - set(joiner.inputs)):
            raise KeyError(f"inputs: neither predictor nor joiner has {listed(unknown)}")
        own = {name: x for name, x in inputs.items() if name in predictor.inputs}
        fed = fed_of(predictor, input, prediction, own, "prediction")
        frames, predicted, fixed = _joined(joiner, encoder, inputs, fed.logits)
        logits = output_of(joiner, output, "output")
        self._logits = joiner.outputs[logits]
        self._blank = checked_id(blank, "blank", self._logits.size, f"the joiner's output {shown(logits)}")
        first = checked_id(
            self._blank if start is None else start, "start", n_ids_of(fed.ids), f"input {shown(fed.ids.name)}"
        )
        if self._logits.size > n_ids_of(fed.ids) + (self._blank == self._logits.size - 1):
            raise ValueError(
                f"the joiner's output {shown(logits)} has {self._logits.size} ids, but {takes(fed.ids)} only "
                f"{n_ids_of(fed.ids)}: its symbols could not be fed"
            )
        if (max_symbols := index(max_symbols)) < 1:
            raise ValueError(f"max_symbols is {max_symbols}, expected at least 1")
        width = checked_width(width)
        given = width > 1 and are_probabilities(fed._replace(model=joiner, logits=self._logits), probabilities)
        names = list(joiner.inputs)
        self._arguments = (
            *(predictor, joiner, fed.fixed, fixed, fed.ids_input, fed.output, names.index(frames)),
            *(names.index(predicted), list(joiner.outputs).index(logits), first, self._blank, max_symbols),
            *(width, bool(merge), given),
        )
        self._loop = self._new()

    def _new(self) -> Any:
        return (BeamTransducer if self._arguments[-3] > 1 else GreedyTransducer)(*self._arguments)

    def push(self, frames: Any) -> np.ndarray:
        """Take frames of the encoder.

        Args:
            frames: float32 array (T, *frame) of any T, or one frame (*frame), as the joiner's input has it.

        Returns: int32 array (n,): the symbols that are new, in which all hypotheses agree. What is not settled yet
            comes with later frames, or by `finish`; with a width of 1 all is.

        Raises:
            ShapeError, TypeError: frames of another shape or dtype.
            DecodeError: logits are NaN. The frames before have been taken, as `n_frames` says; `reset` then.
            RuntimeError: it is at work in another thread.

        >>> transducer.push(np.eye(4, dtype=np.float32)[3])
        array([3], dtype=int32)
        """
        ids, how = self._loop.push(frames)
        if how:
            said = f"the joiner's {shown(self._logits.name)} holds NaN, or nothing to choose from"
            raise DecodeError(f"frame {self._loop.n_frames}: {said}", ids=ids)
        return ids

    def finish(self) -> np.ndarray:
        """The end of an utterance: what the best hypothesis has beyond what `push` gave. It goes on from that one
        alone.

        Returns: int32 array (n,).

        Raises:
            RuntimeError: it is at work in another thread.

        >>> transducer.finish()
        array([], dtype=int32)
        """
        return self._loop.finish()

    @property
    def ids(self) -> np.ndarray:
        """The best hypothesis, from the last reset on: int32 array (n,).

        >>> transducer.ids
        array([2, 1], dtype=int32)
        """
        return self._loop.hypotheses()[0][0]

    @property
    def hypotheses(self) -> list[Hypothesis]:
        """All that are kept, best first.

        >>> transducer.hypotheses[0].ids
        array([2, 1], dtype=int32)
        """
        return [Hypothesis(ids, float("nan") if score is None else score) for ids, score in self._loop.hypotheses()]

    @property
    def n_frames(self) -> int:
        """Frames that were taken since the last reset.

        >>> transducer.n_frames
        4
        """
        return self._loop.n_frames

    def reset(self) -> None:
        """Back to before the first frame.

        Raises:
            RuntimeError: it is at work in another thread.

        >>> transducer.reset()
        >>> transducer.n_frames
        0
        """
        self._loop.reset()

    def fork(self) -> Transducer:
        """Another one that goes on from here.

        Raises:
            RuntimeError: it is at work in another thread.

        >>> other = transducer.fork()
        >>> other.push(np.eye(4, dtype=np.float32)[3]), transducer.n_frames
        (array([3], dtype=int32), 4)
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._loop = other._new()
        other._loop.copy_from(self._loop)
        return other

    def __repr__(self) -> str:
        predictor, joiner, width = self._arguments[0], self._arguments[1], self._arguments[-3]
        return f"<undertow.decode.Transducer of {quoted(predictor.name)} and {quoted(joiner.name)}, width {width}>"


def _joined(
    joiner: Model, encoder: str | None, inputs: Mapping[str, Any], prediction: Value
) -> tuple[str, str, list[np.ndarray | None]]:
    """The joiner's inputs of frames and predictions, and a frame for each other one."""
    if joiner.states or joiner.latency:
        what = f"the states {listed(joiner.states)}" if joiner.states else "a look ahead"
        raise ValueError(f"joiner {quoted(joiner.name)} has {what}: expected a model of single frames")
    free = [name for name in joiner.inputs if name not in inputs]
    if len(free) != 2:
        raise ValueError(
            f"joiner {quoted(joiner.name)} has {len(free)} inputs beside inputs=: {listed(free) or 'none'}; expected "
            "two, for frames of the encoder and for the prediction"
        )
    if encoder is None:
        encoded = [name for name in free if "enc" in name.lower()]
        encoder = encoded[0] if len(encoded) == 1 else free[0]
    elif encoder not in free:
        raise KeyError(f"encoder: expected one of {listed(free)}, got {shown(encoder)}")
    (predicted,) = (name for name in free if name != encoder)
    value = joiner.inputs[predicted]
    if value.size != prediction.size or value.dtype != prediction.dtype:
        raise ShapeError(
            f"the joiner's input {shown(predicted)} takes {value.dtype} {value.shape}, but the predictor's output "
            f"{shown(prediction.name)} is {prediction.dtype} {prediction.shape}; encoder= says which input takes frames"
        )
    if joiner.inputs[encoder].dtype != "float32":
        raise ValueError(f"the joiner's input {shown(encoder)} takes ids; expected frames of an encoder")
    own = {name: x for name, x in inputs.items() if name in joiner.inputs}
    return (
        encoder,
        predicted,
        fixed_frames(joiner, own, {encoder: "frames of the encoder", predicted: "the prediction"}),
    )
