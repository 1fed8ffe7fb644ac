"""Problems that were added after all methods were fixed: nothing was chosen by them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from benchmarks.families.problem import Outcome
from benchmarks.trust.policies import Array, Probabilities, softmax
from benchmarks.trust.processes import Logged
from sklearn_stackelberg import Transitions


class Costs(Logged):
    """One decision among three, whose costs are lognormal, σ = 1.3."""

    name, discount = "lognormal costs", 0.0
    n_episodes, length, value_episodes = 500, 1, 20_000
    deviation = 1.3
    logger = softmax(
        lambda s: np.stack([0.0 * s[:, 0], 0.5 * s[:, 0], -0.5 * s[:, 1]], axis=1), 3
    )

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.normal(size=(n, 4))

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        less = [0.0 * state[:, 0], 0.4 * state[:, 0], 0.3 - 0.4 * state[:, 1]]
        level = 0.3 * state[:, 2] + np.choose(action.astype(int), less)
        cost = np.exp(level + self.deviation**2 / 2)
        return state, -cost, np.ones(len(state), dtype=bool)

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        luck = self.deviation * rng.normal(size=len(log)) - self.deviation**2 / 2
        return log.reward * (np.exp(luck) - 1.0)


class Screening(Logged):
    """A biopsy, which is rare, a discharge or to wait: scikit-learn's breast cancers.

    Patients are drawn from the table's 569 rows, of whose columns the state has ten. A
    biopsy costs 1, a discharge 10 if ill, and to wait 0.3, or 3 if ill; logged costs
    are exponential about these means.
    """

    name, discount = "screening, a rare action", 0.0
    n_episodes, length, n_observed, value_episodes = 600, 1, 10, 20_000
    logger = Probabilities(
        lambda s: np.stack(
            [
                np.full(len(s), 0.04),
                0.96 * expit(-1.0 - 1.2 * s[:, 0]),
                0.96 * expit(1.0 + 1.2 * s[:, 0]),
            ],
            axis=1,
        ),
        3,
    )

    def __init__(self) -> None:
        table = load_breast_cancer()
        self.patients = np.column_stack([scale(table.data)[:, :10], table.target == 0])

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return self.patients[rng.integers(len(self.patients), size=n)]

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        ill = state[:, 10]
        costs = [np.ones(len(ill)), 10.0 * ill, 0.3 + 2.7 * ill]
        cost = np.choose(action.astype(int), costs)
        return state, -cost, np.ones(len(state), dtype=bool)

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        return log.reward * (rng.exponential(size=len(log)) - 1.0)


class Ending(Logged):
    """Up to twelve steps of which only the last pays, 1 or 0; there is no discount.

    State: a level, and how many steps are left at most; an episode ends before with
    probability 0.06 a step.
    """

    name, discount = "success at the end", 1.0
    n_episodes, length, value_episodes = 200, 12, 20_000
    logger = softmax(lambda s: np.stack([0.0 * s[:, 0], 0.5 * s[:, 0]], axis=1), 2)

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack([rng.normal(size=n), np.full(n, float(self.length))])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        level, left = state.T
        gain = 0.25 * action * (1.0 - np.maximum(level, 0.0))
        after = 0.9 * level + gain - 0.1 + 0.3 * rng.normal(size=len(state))
        ends = (left <= 1.0) | (rng.random(len(state)) < 0.06)
        return np.column_stack([after, left - 1.0]), ends * expit(2.0 * after), ends

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        won = rng.random(len(log)) < log.reward
        return np.where(log.terminated, won - log.reward, 0.0)


class Survival(Logged):
    """Patients who are followed for 10 to 60 months, or until they die.

    State: how ill, and how frail, whom treatment harms. Each month pays 1, and 0.85 if
    treated.
    """

    name, discount = "survival", 0.99
    n_episodes, length, shortest = 100, 60, 10
    # Of a cohort a thousandth is alive after 300 months, whose weight is 0.05.
    value_length, value_episodes = 300, 4_000
    logger = softmax(lambda s: np.stack([0.0 * s[:, 0], 0.6 * s[:, 0]], axis=1), 2)

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.normal(size=(n, 2))

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        ill, frail = state.T
        risk = -3.3 + 0.8 * ill + 0.4 * frail + 0.9 * action * (frail - 1.0)
        after = 0.85 * ill + 0.1 - 0.15 * action + 0.5 * rng.normal(size=len(state))
        died = rng.random(len(state)) < expit(risk)
        return np.column_stack([after, frail]), 1.0 - 0.15 * action, died
