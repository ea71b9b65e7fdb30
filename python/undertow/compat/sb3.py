# SPDX-License-Identifier: MIT
"""sb3-contrib's RecurrentPPO, as it is used after training: `predict(obs, state, episode_start)`.

>>> from sb3_contrib import RecurrentPPO                                                 # doctest: +SKIP
>>> from undertow.compat.sb3 import RecurrentPolicy                                      # doctest: +SKIP
>>> policy = RecurrentPolicy(RecurrentPPO.load("cartpole.zip", device="cpu"))            # doctest: +SKIP
>>> evaluate_policy(policy, envs, n_eval_episodes=20)                                    # doctest: +SKIP
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import passes
from ..errors import ShapeError, UnsupportedError
from ..ir.activations import Activation
from ..ir.graph import Graph
from ..layers import LSTM, Dense
from ..layers.base import Stack
from ..model import Model
from ..stream import Pool, start_from

#: modules of PyTorch that a policy's layers are joined by, and what they compute
_ACTIVATIONS = {
    "Tanh": lambda m: Activation("tanh"),
    "ReLU": lambda m: Activation("relu"),
    "Sigmoid": lambda m: Activation("sigmoid"),
    "SiLU": lambda m: Activation("silu"),
    "Softsign": lambda m: Activation("softsign"),
    "ELU": lambda m: Activation("elu", m.alpha),
    "LeakyReLU": lambda m: Activation("leaky_relu", m.negative_slope),
}


class RecurrentPolicy:
    """A trained MlpLstmPolicy, for any number of environments at a time.

    What it is called with is all that it knows, as with sb3-contrib's own: states go in and come out, so that one
    object serves several loops. One object belongs to one thread at a time. The critic is left out.

    Attributes:
        model: the actor as a `Model`, which gives the states of every layer beside the action.
        observation_space, action_space: those of the policy.
        lstm_hidden_state_shape: (layers, 1, units), of the states of one environment.
    """

    def __init__(self, policy: Any, *, isa: str | None = None, seed: int | None = None) -> None:
        """
        Args:
            policy: a `RecurrentPPO` of sb3-contrib, its policy, or the path of a .zip that it saved. Such a file holds
                pickles, which sb3-contrib runs: load none of strangers.
            isa: force an instruction set, as in `undertow.load`.
            seed: of what `predict(deterministic=False)` draws.

        Raises:
            UnsupportedError: the policy does something that is not computed here; names it.
            ImportError: a path was given, and sb3-contrib is not installed.
        """
        if isinstance(policy, (str, os.PathLike)):
            policy = _loaded(policy)
        policy = getattr(policy, "policy", policy)
        if not hasattr(policy, "lstm_actor") or not hasattr(policy, "action_net"):
            raise UnsupportedError(
                f"a {type(policy).__name__} has no LSTM of an actor; expected the MlpLstmPolicy of a RecurrentPPO"
            )
        self.observation_space, self.action_space = policy.observation_space, policy.action_space
        self._observed = _Observations(policy)
        self._acted = _Actions(policy)
        graph, self._states = _graph_of(policy, self._observed.size)
        self.model = Model.from_graph(graph, isa=isa)
        numbers = {name: i for i, name in enumerate(self.model.states)}
        self._numbers = [numbers[name] for names in self._states for name in names]
        self.lstm_hidden_state_shape = (len(self._states), 1, policy.lstm_actor.hidden_size)
        self._rng = np.random.default_rng(seed)
        self._pools: dict[int, tuple[Pool, np.ndarray]] = {}

    def predict(
        self,
        observation: Any,
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Actions for observations, and the next states.

        Args:
            observation: of one environment or of n, as the observation space has them.
            state: (h, c), each (layers, n, units), as the call before gave them; None for zeros.
            episode_start: (n,), where an episode begins and states do not count; None where none does.
            deterministic: the likeliest action; False draws one (other ones than torch would draw).

        Returns: (actions, (h, c)); without the axis of environments where the observation has none.

        Raises:
            ShapeError: an observation that the space does not have, states or starts of another number of environments.
            ValueError: an observation or a state is NaN, and so would be the action.
        """
        x, several = self._observed.of(observation)
        if not len(x):
            raise ShapeError(f"observation has shape {np.shape(observation)}, expected one environment at least")
        n, (n_layers, _, units) = len(x), self.lstm_hidden_state_shape
        if state is None:
            given = np.zeros((2, n_layers, n, units), np.float32)
        else:
            shapes = [np.shape(part) for part in state]
            if shapes != [(n_layers, n, units)] * 2:
                raise ShapeError(f"state has the shapes {shapes}, expected two of {(n_layers, n, units)}")
            given = np.array(state, np.float32)
        if episode_start is not None:
            starts = np.asarray(episode_start)
            if starts.size != n:
                raise ShapeError(f"episode_start has shape {starts.shape}, expected ({n},)")
            given *= (1 - starts.reshape(n, 1)).astype(np.float32) if starts.dtype != bool else ~starts.reshape(n, 1)
        pool, ids = self._pool(n)
        start_from(pool, ids, self._numbers, [given[part, k] for k in range(n_layers) for part in range(2)])
        results = pool.step(ids, {"observation": x})
        if np.isnan(results["action"]).any():
            raise ValueError(_where_nan(x, given, results["action"]))
        ends = tuple(np.stack([results[f"{part}{k}"] for k in range(n_layers)]) for part in "hc")
        actions = self._acted.of(results["action"], deterministic, self._rng)
        return actions if several else np.squeeze(actions, 0), ends

    def _pool(self, n: int) -> tuple[Pool, np.ndarray]:
        if n not in self._pools:
            pool = self.model.pool(n)
            self._pools = {n: (pool, pool.open(n))}  # loops have one number of environments
        return self._pools[n]

    def set_training_mode(self, mode: bool) -> None:
        """There is nothing to train: raises UnsupportedError for True."""
        if mode:
            raise UnsupportedError("undertow runs policies, it does not train them; sb3-contrib's own does")

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_pools": {}}


def _where_nan(x: np.ndarray, states: np.ndarray, y: np.ndarray) -> str:
    """Why an action is NaN: x of shape (n, size), states (2, layers, n, units), y (n, outputs)."""
    number = int(np.argwhere(np.isnan(y))[0, 0])
    if np.isnan(x[number]).any():
        why = "its observation has NaN"
    elif np.isnan(states[:, :, number]).any():
        why = "its state has NaN: start its episode anew with episode_start"
    else:
        why = "numbers of its observation or state are too large"
    return f"the action of environment {number} would be NaN: {why}"


def _loaded(path: str | os.PathLike[str]) -> Any:
    try:
        from sb3_contrib import RecurrentPPO
    except ImportError:
        raise ImportError("a .zip of sb3-contrib is read by it: pip install sb3-contrib") from None
    unused = {"lr_schedule": lambda _: 0.0, "clip_range": lambda _: 0.0}  # pickled functions of other Pythons
    return RecurrentPPO.load(os.fspath(path), device="cpu", custom_objects=unused)


def _kind(space: Any) -> str:
    return type(space).__name__


class _Observations:
    """Observations of a space as float32 frames, as stable-baselines3 preprocesses them."""

    def __init__(self, policy: Any) -> None:
        self.space = space = policy.observation_space
        extractor = getattr(policy, "pi_features_extractor", policy.features_extractor)
        if type(extractor).__name__ != "FlattenExtractor":
            raise UnsupportedError(
                f"features extractor {type(extractor).__name__}: expected FlattenExtractor, that of MlpLstmPolicy; "
                "run it before undertow, or export the whole policy to ONNX"
            )
        if _kind(space) == "Box":
            if space.dtype == np.uint8 and policy.normalize_images and len(space.shape) == 3:
                raise UnsupportedError("observations are images (Box of uint8 with 3 axes), expected numbers")
            self.size = int(np.prod(space.shape))
        elif _kind(space) == "Discrete":
            self.size = int(space.n)
        elif _kind(space) == "MultiBinary":
            self.size = int(np.prod(space.shape))
        else:
            raise UnsupportedError(f"observation space {space}: expected Box, Discrete or MultiBinary")

    def of(self, observation: Any) -> tuple[np.ndarray, bool]:
        """(n, size), and whether there was an axis of environments."""
        space = self.space
        if isinstance(observation, Mapping):
            raise ShapeError(f"observation is a dict, expected an array of {space}")
        given, rank = np.asarray(observation), len(space.shape)
        if given.dtype.kind not in "biuf":
            raise ShapeError(f"observation holds {given.dtype}, expected numbers of {space}")
        if given.shape[given.ndim - rank :] != space.shape or given.ndim not in (rank, rank + 1):
            raise ShapeError(
                f"observation has shape {given.shape}, expected {space.shape}, or {('n', *space.shape)} of n of them"
            )
        several = given.ndim == rank + 1
        rows = given if several else given[None]
        if _kind(space) == "Discrete":
            return self._one_hot(rows), several
        return np.ascontiguousarray(rows.reshape(len(rows), self.size), np.float32), several

    def _one_hot(self, ids: np.ndarray) -> np.ndarray:
        if ids.dtype.kind not in "iu" or (ids < 0).any() or (ids >= self.size).any():
            raise ShapeError(f"observation has values beyond those of {self.space}")
        return np.eye(self.size, dtype=np.float32)[ids]


class _Actions:
    """What the last layer gives as actions of a space."""

    def __init__(self, policy: Any) -> None:
        self.space, kind = policy.action_space, _kind(policy.action_space)
        if policy.use_sde or policy.squash_output:
            raise UnsupportedError("use_sde=True (state dependent exploration) is not supported, expected False")
        if kind == "Box":
            self._deviation = np.exp(policy.log_std.detach().cpu().numpy())
        elif kind not in ("Discrete", "MultiDiscrete", "MultiBinary"):
            raise UnsupportedError(f"action space {policy.action_space}: expected Box, Discrete, MultiDiscrete or "
                                   "MultiBinary")  # fmt: skip

    def of(self, y: np.ndarray, deterministic: bool, rng: np.random.Generator) -> np.ndarray:
        """(n, *action) of (n, outputs)."""
        space, kind = self.space, _kind(self.space)
        if kind == "Box":
            if not deterministic:
                y = y + self._deviation * rng.standard_normal(y.shape, np.float32)
            return np.clip(y.reshape(-1, *space.shape), space.low, space.high)
        if kind == "MultiBinary":  # likelier than not; at one half, none, as a rounded 0.5
            level = 0.0 if deterministic else rng.logistic(size=y.shape)
            return (y > level).astype(np.float32).reshape(-1, *space.shape)
        if not deterministic:
            y = y + rng.gumbel(size=y.shape)
        if kind == "Discrete":
            return np.argmax(y, axis=1)
        parts = np.split(y, np.cumsum(space.nvec)[:-1], axis=1)
        return np.stack([np.argmax(part, axis=1) for part in parts], axis=1)


def _graph_of(policy: Any, n_features: int) -> tuple[Graph, list[tuple[str, str]]]:
    """The actor, and the states (h, c) of each of its layers."""
    lstm = policy.lstm_actor
    for option, expected in (("bidirectional", False), ("proj_size", 0)):
        if getattr(lstm, option) != expected:
            raise UnsupportedError(
                f"lstm_kwargs {option}={getattr(lstm, option)!r} is not supported, expected {expected}"
            )
    weights = {name: tensor.detach().cpu().numpy() for name, tensor in policy.state_dict().items()}
    graph = Graph("policy")
    x = graph.input("observation", n_features)
    stack = LSTM.from_torch(weights, "lstm_actor")
    states: list[tuple[str, str]] = []
    ends: list[tuple[str, str]] = []
    for layer in stack if isinstance(stack, Stack) else [stack]:
        x = layer.add_to(graph, x)
        node = next(node for node in reversed(graph.nodes) if node.op == "lstm")
        states.append((node.states[0], node.states[1]))
        ends.append((node.outputs[0], node.outputs[1]))
    modules = list(policy.mlp_extractor.policy_net.named_children())
    while modules:
        (at, module), *modules = modules
        activation = None
        if modules and type(modules[0][1]).__name__ in _ACTIVATIONS:
            activation = _ACTIVATIONS[type(modules[0][1]).__name__](modules[0][1])
            modules = modules[1:]
        if type(module).__name__ != "Linear":
            raise UnsupportedError(
                f"mlp_extractor.policy_net.{at} is a {type(module).__name__}, expected Linear and one of "
                f"{', '.join(_ACTIVATIONS)} in turn"
            )
        x = Dense.from_torch(weights, f"mlp_extractor.policy_net.{at}", activation=activation).add_to(graph, x)
    graph.output("action", Dense.from_torch(weights, "action_net").add_to(graph, x))
    for k, (h, c) in enumerate(ends):
        graph.output(f"h{k}", h)
        graph.output(f"c{k}", c)
    passes.run(graph)
    return graph, states


__all__ = ["RecurrentPolicy"]
