# SPDX-License-Identifier: MIT
# ruff: noqa: E402 (imports follow the check that an optional package is there)
"""`undertow.compat.sb3.RecurrentPolicy` beside sb3-contrib's own RecurrentPPO, in stable-baselines3's own loop."""

from __future__ import annotations

import pickle
import sys
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    gymnasium = pytest.importorskip("gymnasium", reason="needs gymnasium: pip install gymnasium")
    contrib = pytest.importorskip("sb3_contrib", reason="needs sb3-contrib: pip install sb3-contrib")
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

import undertow
from tolerances import FLOAT32_MODEL
from undertow.compat.sb3 import RecurrentPolicy

spaces = gymnasium.spaces
SMALL = {"n_steps": 16, "batch_size": 16, "n_epochs": 2, "seed": 0, "device": "cpu"}


class Walk(gymnasium.Env):
    """Observations of a space at random, and any action does; an episode takes 9 steps."""

    def __init__(self, observed, acted):
        self.observation_space, self.action_space = observed, acted

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.left = 9
        return self.observation_space.sample(), {}

    def step(self, action):
        self.left -= 1
        return self.observation_space.sample(), float(np.sum(action)), self.left == 0, False, {}


def trained(env, n_envs=2, policy="MlpLstmPolicy", steps=64, **kwargs):
    settings = {"lstm_hidden_size": 24, **kwargs}
    envs = make_vec_env(env, n_envs=n_envs, seed=0)
    model = contrib.RecurrentPPO(policy, envs, policy_kwargs=settings, **SMALL)
    return model.learn(steps) if steps else model


def lively(model):
    """With weights for which the actions differ from step to step, as those of a short training do not."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in model.policy.named_parameters():
            if weight.ndim == 2:
                weight.normal_(0, 2 / np.sqrt(weight.shape[1]), generator=generator)
            elif "log_std" not in name:
                weight.zero_()
    return model


@pytest.mark.parametrize("n_envs", [1, 4])
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_the_evaluation_loop_sees_the_same_actions_and_rewards(name, n_envs, tmp_path):
    model = lively(trained(name))
    model.save(tmp_path / "policy.zip")
    rewards, actions = [], []
    for policy in (model, RecurrentPolicy(model), RecurrentPolicy(tmp_path / "policy.zip")):
        envs, seen = make_vec_env(name, n_envs=n_envs, seed=5), []
        result = evaluate_policy(
            policy,
            envs,
            n_eval_episodes=6,
            return_episode_rewards=True,
            callback=lambda local, _, seen=seen: seen.append(np.array(local["actions"])),
        )
        rewards.append(result)
        actions.append(seen)
    assert rewards[1] == rewards[2]
    for a, b in zip(actions[0], actions[1], strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        # Pendulum feeds the actions' last bits back for 200 steps
        np.testing.assert_allclose(b, a, rtol=0, atol=0 if name == "CartPole-v1" else 100 * FLOAT32_MODEL)
    assert rewards[0][1] == rewards[1][1]
    np.testing.assert_allclose(rewards[1][0], rewards[0][0], rtol=1e-5)
    assert len(np.unique(np.concatenate([a.ravel() for a in actions[0]]))) > 1


OBSERVED = {
    "box": spaces.Box(-2, 2, (3,), np.float32),
    "grid of float64": spaces.Box(-1, 1, (2, 3), np.float64),
    "bytes": spaces.Box(0, 255, (4,), np.uint8),
    "discrete": spaces.Discrete(5),
    "flags": spaces.MultiBinary(4),
}
ACTED = {
    "discrete": spaces.Discrete(4),
    "box": spaces.Box(np.float32([-0.5, -1]), np.float32([0.25, 2]), dtype=np.float32),
    "several": spaces.MultiDiscrete([2, 3]),
    "flags": spaces.MultiBinary(3),
}


@pytest.mark.parametrize(
    "observed, acted",
    [*((name, "discrete") for name in OBSERVED), *(("box", name) for name in ACTED if name != "discrete")],
)
def test_predict_in_every_space(observed, acted, rng):
    """States as the loop hands them around, taken from either in turn; episodes begin anywhere."""
    space = OBSERVED[observed]
    kwargs = {"n_lstm_layers": 2} if acted == "several" or observed == "discrete" else {}
    # PyTorch does not train what gives flags
    steps = 0 if acted == "flags" else 64
    model = lively(trained(lambda: Walk(space, ACTED[acted]), steps=steps, activation_fn=torch.nn.ELU, **kwargs))
    mine, n = RecurrentPolicy(model), 3
    space.seed(1)
    state, chosen = None, set()
    for t in range(20):
        observation = np.stack([space.sample() for _ in range(n)])
        starts = None if t == 4 else rng.random(n) < 0.3
        a, ends = model.predict(observation, state, starts, deterministic=True)
        b, mine_ends = mine.predict(observation, state, starts)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(b, a, rtol=0, atol=FLOAT32_MODEL)
        for x, y in zip(ends, mine_ends, strict=True):
            assert (x.shape, x.dtype) == (y.shape, y.dtype)
            np.testing.assert_allclose(y, x, rtol=0, atol=FLOAT32_MODEL)
        state = mine_ends if t % 2 else ends
        chosen.update(map(bytes, a))
    assert len(chosen) > 1
    one = space.sample()
    a, _ = model.predict(one, None, None, deterministic=True)
    b, ends = mine.predict(one)
    assert np.shape(a) == np.shape(b) and ends[0].shape == (mine.lstm_hidden_state_shape[0], 1, 24)
    np.testing.assert_allclose(b, a, rtol=0, atol=FLOAT32_MODEL)
    before = mine.predict(np.stack([one] * n), state)
    again = pickle.loads(pickle.dumps(mine)).predict(np.stack([one] * n), state)
    assert before[0].tobytes() == again[0].tobytes()


@pytest.mark.parametrize("acted", ["discrete", "box", "flags"])
def test_what_is_drawn_has_the_distribution_of_the_policy(acted):
    model = lively(trained(lambda: Walk(OBSERVED["box"], ACTED[acted]), steps=0))
    mine, n = RecurrentPolicy(model, seed=3), 20000
    observation = np.repeat(np.float32([[0.3, -0.4, 0.2]]), n, axis=0)
    drawn, _ = mine.predict(observation, deterministic=False)
    states = tuple(torch.zeros(1, 1, 24) for _ in range(2))
    with torch.no_grad():
        policy = model.policy.get_distribution(torch.from_numpy(observation[:1]), states, torch.zeros(1))[
            0
        ].distribution
    error = 5 / np.sqrt(n)  # five deviations of a mean of numbers within 1
    if acted == "discrete":
        shares = np.bincount(drawn, minlength=4) / n
        np.testing.assert_allclose(shares, policy.probs[0], rtol=0, atol=error)
        assert (shares > 0).sum() > 1
    elif acted == "flags":
        np.testing.assert_allclose(drawn.mean(axis=0), policy.probs[0], rtol=0, atol=error)
    else:
        low, high = ACTED["box"].low, ACTED["box"].high
        middle = policy.mean[0].numpy()
        for k in range(2):  # clipped where the space ends
            below = policy.cdf(torch.full((1, 2), float(low[k])))[0, k]
            assert abs((drawn[:, k] <= low[k]).mean() - float(below)) < error
            assert abs((drawn[:, k] < middle[k]).mean() - 0.5) < error or not low[k] < middle[k] < high[k]
    assert mine.predict(observation, deterministic=False)[0].tobytes() != drawn.tobytes()


@pytest.mark.parametrize("acted", ACTED)
def test_what_is_no_number_is_no_action(acted, rng):
    """As sb3-contrib has it, of an observation and of a state."""
    model = lively(trained(lambda: Walk(OBSERVED["box"], ACTED[acted]), n_envs=3, steps=0))
    mine = RecurrentPolicy(model)
    frames = rng.standard_normal((3, *OBSERVED["box"].shape)).astype(np.float32)
    states = tuple(np.zeros((1, 3, 24), np.float32) for _ in range(2))
    for policy, words in ((model, None), (mine, "environment 1 would be NaN: its observation")):
        bad = frames.copy()
        bad[1].flat[0] = np.nan
        with pytest.raises(ValueError, match=words):
            policy.predict(bad, states, deterministic=True)
    for policy, words in ((model, None), (mine, "environment 2 would be NaN: its state")):
        h = states[0].copy()
        h[0, 2, 5] = np.nan
        with pytest.raises(ValueError, match=words):
            policy.predict(frames, (h, states[1]), deterministic=True)
    for one in (frames, frames[0]):  # as arrays of the same kind
        (a, _), (b, _) = (policy.predict(one, deterministic=True) for policy in (model, mine))
        assert type(a) is type(b) and a.shape == b.shape and a.dtype == b.dtype


def test_what_is_refused(tmp_path, monkeypatch):
    model = trained("CartPole-v1", steps=32)
    mine = RecurrentPolicy(model)
    frames = np.zeros((2, 4), np.float32)
    with pytest.raises(undertow.ShapeError, match=r"\(2, 3\), expected \(4,\)"):
        mine.predict(frames[:, :3])
    with pytest.raises(undertow.ShapeError, match=r"expected two of \(1, 2, 24\)"):
        mine.predict(frames, (np.zeros((1, 3, 24)), np.zeros((1, 3, 24))))
    with pytest.raises(undertow.ShapeError, match="episode_start"):
        mine.predict(frames, episode_start=np.ones(3, bool))
    with pytest.raises(undertow.ShapeError, match="dict"):
        mine.predict({"x": frames})
    with pytest.raises(undertow.ShapeError, match="expected one environment at least"):
        mine.predict(frames[:0])
    with pytest.raises(undertow.ShapeError, match="<U1"):
        mine.predict(np.array(["a"] * 4))
    with pytest.raises(undertow.UnsupportedError, match="train"):
        mine.set_training_mode(True)
    pendulum = make_vec_env("Pendulum-v1", n_envs=1)
    sde = contrib.RecurrentPPO("MlpLstmPolicy", pendulum, use_sde=True, **SMALL)
    with pytest.raises(undertow.UnsupportedError, match="use_sde"):
        RecurrentPolicy(sde)
    image = spaces.Box(0, 255, (36, 36, 3), np.uint8)
    images = make_vec_env(lambda: Walk(image, spaces.Discrete(2)), n_envs=1)
    with pytest.raises(undertow.UnsupportedError, match="NatureCNN"):
        RecurrentPolicy(contrib.RecurrentPPO("CnnLstmPolicy", images, **SMALL))
    several = make_vec_env(lambda: Walk(spaces.Dict({"a": OBSERVED["box"]}), spaces.Discrete(2)), n_envs=1)
    with pytest.raises(undertow.UnsupportedError, match="CombinedExtractor"):
        RecurrentPolicy(contrib.RecurrentPPO("MultiInputLstmPolicy", several, **SMALL))
    gelu = contrib.RecurrentPPO("MlpLstmPolicy", pendulum, policy_kwargs={"activation_fn": torch.nn.GELU}, **SMALL)
    with pytest.raises(undertow.UnsupportedError, match="GELU"):
        RecurrentPolicy(gelu)
    with pytest.raises(undertow.UnsupportedError, match="has no LSTM"):
        RecurrentPolicy(torch.nn.Linear(2, 2))
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    with pytest.raises(ImportError, match="pip install sb3-contrib"):
        RecurrentPolicy(tmp_path / "policy.zip")
