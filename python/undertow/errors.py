# SPDX-License-Identifier: MIT
"""Exceptions that undertow raises.

::

    Error
    +-- FormatError       (ValueError)           a file is damaged, truncated or not what its name says
    +-- UnsupportedError  (NotImplementedError)  well-formed, but not computable exactly: names node, attribute, value
    |   +-- LimitError                           the file asks for more than `load(limits=)` allows
    +-- ShapeError        (ValueError)           shapes that do not fit together, in a model or an input
    +-- ToleranceError    (ValueError)           weight precisions change the output by more than was allowed
    +-- StateError        (ValueError)           a snapshot or state of another model; a proposal where none belongs
    +-- DecodeError       (ValueError)           a model that is fed what it says gave nothing that can be fed
    +-- PoolError         (ValueError)           a pool has no such stream, has it twice in one call, or has no room
    +-- ISAError          (RuntimeError)         a forced instruction set that is unknown, not built or not on this CPU
    +-- InternalError     (RuntimeError)         undertow's own fault: please report it

An input of the wrong dtype is a plain ``TypeError``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ._text import MAX_LINE, shown


class Error(Exception):
    """Base of every exception that undertow defines.

    Attributes:
        options: what the message advises, as arguments of `undertow.load` with which the file was tried and loads:
            ({"shapes": {"x": [1, "N"]}},). A size that is a text stands for a number of yours. Empty where the message
            advises none.

    Args:
        lines: of the message, each an argument.

    Each argument is a line of the message. Messages quote names from files, and libraries that quote these: what is not
    printable is escaped, a newline too, and the middle of a very long line is left out.

    >>> print(Error("layer 'a\\nb'", "  at line 2"))
    layer 'a\\nb'
      at line 2
    """

    options: Sequence[Mapping[str, Any]] = ()

    def __init__(self, *lines: object) -> None:
        super().__init__(*(shown(line, MAX_LINE) for line in lines))

    def __str__(self) -> str:
        return "\n".join(shown(line, MAX_LINE) for line in self.args)


class FormatError(Error, ValueError):
    """A file or byte string is damaged, truncated, or not of the format it claims.

    >>> undertow.load(b"")
    Traceback (most recent call last):
    undertow.errors.FormatError: ...
    """


class UnsupportedError(Error, NotImplementedError):
    """A well-formed model asks for something that undertow does not compute exactly.

    >>> undertow.Activation("mish")
    Traceback (most recent call last):
    undertow.errors.UnsupportedError: activation 'mish' is not supported; supported: identity, relu, tanh, ...
    """


class LimitError(UnsupportedError):
    """A model asks for more memory or work than its loader was told to allow.

    >>> undertow.load(undertow.example("digits"), limits={"multiply_adds": 1000})
    Traceback (most recent call last):
    undertow.errors.LimitError: ...: 'digits' asks for multiply_adds = 8,554, limits allow 1,000; ...
    """


class ShapeError(Error, ValueError):
    """Shapes of weights, values or inputs do not fit together.

    >>> undertow.load(undertow.example("digits")).stream().step(np.zeros(3, np.float32))
    Traceback (most recent call last):
    undertow.errors.ShapeError: input ...
    """


class ToleranceError(Error, ValueError):
    """Weight precisions change the output by more than the tolerance that was given.

    `undertow convert --weights int8 --tolerance 0.01 --calibrate x.npy` says so, with what each layer costs.

    >>> issubclass(undertow.ToleranceError, ValueError)
    True
    """


class StateError(Error, ValueError):
    """A snapshot or state does not belong to this model, a proposal is pending, or not, or too few timesteps are kept.

    >>> undertow.load(undertow.example("digits")).stream().commit()
    Traceback (most recent call last):
    undertow.errors.StateError: commit(): there is no proposal; propose(x) makes one
    """


class DecodeError(Error, ValueError):
    """What a model said while it was decoded is NaN, or an id that it cannot be fed. The message names the step.

    Args:
        lines: as of `Error`.
        ids: that were chosen before.

    Attributes:
        ids: int32 array (n,) of them, or None where they were handed out one by one.

    >>> broken = undertow.Sequential([undertow.Embedding(np.float32([[0, 1], [0, np.nan]]))])
    >>> undertow.decode.greedy(broken, start=0, steps=9)
    Traceback (most recent call last):
    undertow.errors.DecodeError: step 1: output holds NaN, or nothing to choose from
    """

    def __init__(self, *lines: object, ids: Any = None) -> None:
        super().__init__(*lines)
        self.ids = ids


class PoolError(Error, ValueError):
    """A stream id is closed, of another pool, or twice in one call; or a pool has no room for so many streams.

    >>> undertow.load(undertow.example("digits")).pool(capacity=10).open(11)
    Traceback (most recent call last):
    undertow.errors.PoolError: ...
    """


class ISAError(Error, RuntimeError):
    """A forced instruction set is unknown, not built, or cannot run on this CPU.

    >>> undertow.load(undertow.example("digits"), isa="mmx")
    Traceback (most recent call last):
    undertow.errors.ISAError: ...
    """


class ModelWarning(UserWarning):
    """A file loads, and its model does something that its author can hardly have wanted; or an argument of
    a call does less than it says.

    >>> import warnings
    >>> warnings.simplefilter("error", undertow.ModelWarning)        # for who would rather not run such a model
    """


class InternalError(Error, RuntimeError):
    """An undertow layer broke its contract with another one: please report it.

    >>> issubclass(undertow.InternalError, undertow.Error)
    True
    """
