"""Problems that were added after the methods: nothing was chosen by them, but one.

By `Discounts` the reach of the evaluator's policy column was chosen; by `Titration`,
written after it, nothing was.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from benchmarks.families.problem import Outcome
from benchmarks.trust.policies import Array, Gaussian, Probabilities, softmax
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


class Drifting(Logged):
    """One decision a row, in the order of the date: the effect falls as it is taken up.

    Parameters
    ----------
    name : str
    n_observed : int
        2 hides the date.
    takes_up : bool
        Whether the logger acts ever more often, or as often at all times.
    """

    discount, n_episodes, length, value_episodes = 0.0, 600, 1, 20_000
    target = Probabilities(lambda s: np.tile([0.3, 0.7], (len(s), 1)), 2)

    def __init__(self, name: str, n_observed: int, takes_up: bool = True) -> None:
        self.name, self.n_observed = name, n_observed  # type: ignore[misc]
        self.takes_up = takes_up

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack([rng.normal(size=(n, 2)), np.arange(n) / n])

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        date = np.arange(len(state)) / len(state)
        often = 0.15 + 0.7 * date if self.takes_up else expit(0.5 * state[:, 0])
        return (rng.random(len(state)) < often).astype(int)

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        date = state[:, 2]
        reward = 2.0 * date + action * (0.8 - 1.2 * date) + 0.5 * state[:, 1]
        return state, reward, np.ones(len(state), dtype=bool)

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        return 0.5 * rng.normal(size=len(log))


class SomeNone:
    """An amount that is none in some share, and else uniform.

    Parameters
    ----------
    none : float
    highest : float
    """

    def __init__(self, none: float, highest: float) -> None:
        places, mass = np.polynomial.legendre.leggauss(8)
        self.none, self.highest = none, highest
        self.nodes = np.concatenate([[0.0], (places + 1.0) * highest / 2.0])
        self.mass = np.concatenate([[none], mass / 2.0 * (1.0 - none)])

    def predict(self, states: Any) -> Array:
        """The median."""
        middle = (0.5 - self.none) / (1.0 - self.none) * self.highest
        return np.full(len(states), max(middle, 0.0))

    def action_nodes(self, states: Any) -> tuple[Array, Array]:
        """Actions, (n, 9, 1), and their weights, (n, 9)."""
        n = len(states)
        return np.tile(self.nodes[:, None], (n, 1, 1)), np.tile(self.mass, (n, 1))

    def sample(self, states: Any, random_state: int) -> Array:
        """One action of each state."""
        return self.draw(states, np.random.default_rng(random_state))

    def draw(self, states: Array, rng: np.random.Generator) -> Array:
        """One action of each state, by a generator."""
        given = rng.random(len(states)) >= self.none
        return rng.uniform(0.0, self.highest, len(states)) * given


class Discounts(Logged):
    """A discount on a price of 10, of which three in ten are none; who buys pays.

    Six columns, of which two say who would buy, and whom a discount moves.
    """

    name, discount, length, value_episodes = "price discounts", 0.0, 1, 20_000
    logger = SomeNone(0.3, 0.3)

    def __init__(self, n_episodes: int) -> None:
        self.n_episodes = n_episodes  # type: ignore[misc]

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.normal(size=(n, 6))

    @staticmethod
    def _buys(state: Array, discount: Array) -> Array:
        return expit(state[:, 0] - 1.0 + (8.0 + 6.0 * state[:, 1]) * discount)

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        discount = np.clip(action, 0.0, 0.3)
        pays = 10.0 - 30.0 * discount
        reward = self._buys(state, discount) * pays
        return state, reward, np.ones(len(state), dtype=bool)

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        bought = rng.random(len(log)) < self._buys(log.state, log.action)
        return bought * (10.0 - 30.0 * log.action) - log.reward


class Titration(Logged):
    """A dose at each of five visits, by pressure, age, past harm and the visit.

    What is too high costs, and so does a drop of more than one unit at a visit.
    """

    name, discount, n_episodes, length = "titration", 0.95, 300, 5
    value_episodes = 20_000
    logger = Gaussian(lambda s: 4.0 + 1.5 * s[:, 0], 2.0, (0.0, 10.0))

    def start(self, rng: np.random.Generator, n: int) -> Array:
        high = 1.5 + 0.8 * rng.normal(size=n)
        return np.column_stack([high, rng.normal(size=n), np.zeros((n, 2))])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        high, age, harm, visit = state.T
        dose = np.clip(action, 0.0, 10.0)
        drop = 1.6 * dose / (dose + 5.0 + 1.5 * np.maximum(age, 0.0))
        after = 0.9 * high + 0.25 - drop + 0.3 * rng.normal(size=len(state))
        harm = 0.5 * harm + np.maximum(drop + 0.1 * np.maximum(age, 0.0) - 0.8, 0.0)
        reward = -(np.maximum(after, 0.0) ** 2) - 1.5 * harm - 0.03 * dose
        after = np.column_stack([after, age, harm, visit + 1.0])
        return after, reward, visit >= self.length - 1.0

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        return 0.3 * rng.normal(size=len(log))
