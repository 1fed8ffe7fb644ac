"""MuJoCo's Hopper, HalfCheetah and Walker2d, by logs of our own making.

A linear controller, found by augmented random search, logs with noise; of the mixed
logs half of the rows are of random actions. Without `mujoco` no row is computed, and
those that are stored are drawn all the same.

`python -m benchmarks.experiments.mujoco` searches for the controllers anew (5 minutes).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from sklearn.cluster import KMeans

from benchmarks.continuous_problems import Array, Behaviour, noisy
from benchmarks.experiments._base import OURS, Row, Task, level_table, made, scores
from benchmarks.experiments.continuous_control import Rounded
from benchmarks.problems import DISCOUNT, ROLLOUT_SEED
from benchmarks.report import Clock
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.datasets import log_episodes, rollout_returns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_LOGS, N_ROWS, N_EPISODES = 2, 10_000, 20
NOISE, BOUNDS = 0.2, (-1.0, 1.0)
LEVELS = ("medium", "mixed")
NOISY, RANDOM = f"controller, noise {NOISE}", "random actions"
# How often they do anything, and the noise of what they do else.
REFERENCES = {"controller": (0.0, 0.0), NOISY: (0.0, NOISE), RANDOM: (1.0, 0.0)}
SLOW = (f"{OURS}, 64 candidates", f"{OURS} CV")  # the first log of each alone
METHODS: Mapping[str, dict[str, Any]] = {
    OURS: {},
    SLOW[0]: {"candidates": 64},
    f"{OURS}, Gaussian": {"action_distribution": "gaussian"},
    "LSPI kernel, 16 actions": {},
    "BC ridge": {},
    "BC extra trees": {},
    SLOW[1]: {},
}
WEIGHTS = Path(__file__).with_name("mujoco_controllers.json")
# Steps to search for, directions, how many of them are followed, and how far a trial
# goes, near the authors' [1].
PROBLEMS: Mapping[str, tuple[int, int, int, float]] = {
    "Hopper": (400_000, 8, 4, 0.025),
    "HalfCheetah": (600_000, 8, 4, 0.03),
    "Walker2d": (400_000, 16, 8, 0.03),
}


def search(name: str, seed: int = 0) -> tuple[Array, Array]:
    """Gain and offset of a linear controller, by augmented random search, V2-t of [1].

    It is tried with the noise that it will log with, since few stand any otherwise.

    [1] Mania, Guy and Recht (2018), Simple random search provides a competitive
    approach to reinforcement learning.
    """
    n_steps, n_directions, n_best, reach = PROBLEMS[name]
    rng, env = np.random.default_rng(seed), gym.make(f"{name}-v5")
    env.reset(seed=seed)
    size = (*env.action_space.shape, *env.observation_space.shape)  # type: ignore[misc]
    gain, total, squares, n = np.zeros(size), np.zeros(size[1]), np.ones(size[1]), 1
    while n < n_steps:
        mean = total / n
        scale = 1.0 / np.sqrt(np.maximum(squares / n - mean**2, 1e-4))
        directions = rng.normal(size=(n_directions, *size))
        worth = np.zeros(2 * n_directions)
        for k, change in enumerate([*directions, *-directions]):
            tried, ended = (gain + reach * change) * scale, False
            observation, _ = env.reset()
            while not ended:
                n, total = n + 1, total + observation
                squares += observation**2
                action = tried @ (observation - mean) + NOISE * rng.normal(size=size[0])
                observation, reward, fell, late, _ = env.step(np.clip(action, *BOUNDS))
                worth[k] += float(reward)
                ended = fell or late
        forth, back = worth.reshape(2, -1)
        best = np.argsort(-np.maximum(forth, back))[:n_best]
        move = np.tensordot((forth - back)[best], directions[best], 1) / n_best
        gain += 0.02 / np.std([forth[best], back[best]]) * move
    return gain * scale, -(gain * scale) @ mean


@cache
def behaviour(name: str, who: str) -> Behaviour:
    """The stored controller, with noise or not, or random actions."""
    gain, offset = map(np.array, json.loads(WEIGHTS.read_text())[name])
    return noisy(lambda o: gain @ o + offset, *REFERENCES[who], BOUNDS)


@cache
def logged(name: str, level: str, seed: int) -> Transitions:
    """A log of the controller with noise, half of it of random actions if mixed."""
    parts = [behaviour(name, p) for p in ([NOISY, RANDOM][: 1 + (level == "mixed")])]
    n = N_ROWS // len(parts)
    each = [log_episodes(f"{name}-v5", part, n, seed) for part in parts]
    return Transitions.concatenate(*each)


def _fit(method: str, log: Transitions, seed: int) -> Any:
    given = {"action_type": "continuous", **METHODS[method]}
    learner = made(method.split(",")[0], DISCOUNT, seed, **given)
    if not method.startswith("LSPI"):
        return learner.fit(log)
    means = KMeans(16, n_init=1, random_state=seed).fit(np.asarray(log.action))
    return Rounded(learner, means.cluster_centers_).fit(log)


def tasks(n_logs: int) -> Iterator[Task]:
    """Every method on every log, the slow ones last."""
    if find_spec("mujoco") is None:
        print("mujoco is not installed; no row of this experiment is computed.")
        return
    quick = [method for method in METHODS if method not in SLOW]
    for methods, n in ((REFERENCES, 1), (quick, n_logs), (SLOW, 1)):
        for one, seed, name, level in product(methods, range(n), PROBLEMS, LEVELS):
            run = partial(_score, name, level, seed, one)
            yield Task(name, seed, one, run, {"log": level})


def _score(name: str, level: str, seed: int, method: str) -> dict[str, Any]:
    log = logged(name, level, seed)
    with Clock() as clock:
        known = method in REFERENCES
        policy = behaviour(name, method) if known else _fit(method, log, seed)
    returns = rollout_returns(f"{name}-v5", policy, N_EPISODES, ROLLOUT_SEED)
    return {"score": float(returns.mean()), **clock.row()}


def table(rows: Sequence[Row]) -> str:
    """What each method made of what there was to learn from."""
    text = level_table(rows, "log", [*METHODS, *REFERENCES], digits=0)
    return f"Return of {N_EPISODES} episodes; mean ± sd over the logs.\n\n{text}"


def picture(rows: Sequence[Row]) -> Figure:
    """A panel for each problem: every log, and what there was to learn from."""
    from benchmarks.experiments._drawing import legend_below, marks, panels

    found = scores(rows, "problem", "method", "log")
    figure, every = panels(3, 4.2, 3.8)
    for axes, name in zip(every, PROBLEMS, strict=True):
        own = {key[1:]: values for key, values in found.items() if key[0] == name}
        marks(axes, own, [*METHODS], LEVELS)
        for line, dash in zip(REFERENCES, ("-", "--", ":"), strict=True):
            worth = own[line, LEVELS[0]][0]
            axes.axhline(worth, color="black", lw=0.9, ls=dash, label=line)
        axes.set(title=name, xlabel="log")
    every[0].set(ylabel="return")
    legend_below(figure, every[0], 5)
    return figure


if __name__ == "__main__":
    found = {n: [np.round(x, 4).tolist() for x in search(n)] for n in PROBLEMS}
    WEIGHTS.write_text(json.dumps(found) + "\n", encoding="utf-8")
