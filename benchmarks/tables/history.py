"""CartPole without its velocities: the last three observations as state."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.problems import CARTPOLE_DEFAULT, ROLLOUT_SEED, ControlProblem
from benchmarks.report import Clock, Rows, markdown
from sklearn_stackelberg import HistoryStates, StackelbergPolicyEstimator
from sklearn_stackelberg.datasets import rollout_returns

# Logs 0 to 4 were looked at when the number of rows was chosen.
N_SEEDS, FIRST_SEED = 5, 10
N_EPISODES = 30
K = 3
# Four times the rows of `cartpole_default`: a history has more columns to learn from.
LOGGED = replace(
    CARTPOLE_DEFAULT, name="CartPole 60 % random, 20,000", n_transitions=20_000
)
POSITIONS = [0, 2]  # of the cart and of the pole, without their velocities
FULL, NONE = "full state", "positions alone"
HISTORY = f"history {K}"
# Of columns to see and observations to remember.
METHODS = {
    FULL: ([0, 1, 2, 3], 1),
    HISTORY: (POSITIONS, K),
    NONE: (POSITIONS, 1),
}


class Remembering(gym.Wrapper):
    """CartPole seen in some of its columns, with the history that goes on in use."""

    def __init__(self, columns: Sequence[int], history: HistoryStates) -> None:
        super().__init__(gym.make(LOGGED.env_id))
        self._columns, self._history = columns, history
        width = len(history.get_feature_names_out())
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (width,), np.float64)

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**options)
        self._state = self._history.first(self._seen(observation))
        return self._state[0], info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, *rest = self.env.step(action)
        seen = self._seen(observation)
        self._state = self._history.next(self._state, [action], seen)
        return self._state[0], *rest

    def _seen(self, observation: Any) -> Any:
        return np.asarray(observation, dtype=np.float64)[None, self._columns]


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Ours on what each method sees of every log; returns the table."""
    for seed in range(FIRST_SEED, FIRST_SEED + (seeds or N_SEEDS)):
        for method in METHODS:
            key = {"problem": LOGGED.name, "seed": seed, "method": method}
            compute = partial(score, LOGGED, seed, *METHODS[method])
            rows.once({**key, "setting": {}}, compute)
    return table(rows)


def score(
    problem: ControlProblem, seed: int, columns: Sequence[int], k: int
) -> dict[str, Any]:
    """What is earned by those columns of the last k observations."""
    log = problem.log(seed)
    log = log.with_states(log.state[:, columns], log.next_state[:, columns])
    history = HistoryStates(k).fit(log)
    policy = StackelbergPolicyEstimator(random_state=seed)
    with Clock() as clock:
        policy.fit(history.transform(log))
    returns = rollout_returns(
        lambda: Remembering(columns, history), policy, N_EPISODES, ROLLOUT_SEED
    )
    return {"score": float(returns.mean()), **clock.row()}


def table(rows: Rows) -> str:
    """One line a method, then the shares of what the full state earns."""
    scores: dict[str, dict[int, float]] = {method: {} for method in METHODS}
    for row in rows:
        scores[row["method"]][row["seed"]] = row["score"]
    lines = [
        [
            method,
            f"{statistics.fmean(found.values()):.1f}",
            f"{min(found.values()):.1f}",
            f"{sum(found.values()) / sum(scores[FULL][seed] for seed in found):.3f}",
            len(found),
        ]
        for method, found in scores.items()
        if found
    ]
    return markdown(
        ["state", "mean return", "lowest", "of the full state's", "logs"], lines
    )
