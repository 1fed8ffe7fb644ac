"""Problems in which a logger never takes some actions, kept apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families.problem import Array, Simulated, draw


class Antibiotics(Simulated):
    """Three antibiotics or none on a ward, whose patients have a fever.

    State: temperature, clearance of the kidneys, allergy, and a column by which two of
    them work better or worse. The third is never given under a clearance of 30, which
    it lowers, and the first never with an allergy, which 15 % have: either does nothing
    but harm.
    """

    name, discount = "antibiotics on a ward", 0.9
    n_episodes, length, value_length = 150, 14, 60

    def start(self, rng: np.random.Generator, n: int) -> Array:
        fever, clearance = rng.normal(38.6, 0.8, n), rng.uniform(10.0, 110.0, n)
        return np.column_stack(
            [fever, clearance, rng.random(n) < 0.15, rng.normal(size=n)]
        )

    def allowed(self, states: Array, seed: int = 0) -> NDArray[np.bool_]:
        always = np.ones(len(states), dtype=bool)
        return np.column_stack(
            [states[:, 2] < 0.5, always, states[:, 1] >= 30.0, always]
        )

    @staticmethod
    def effect(state: Array) -> Array:
        """What each does to the temperature, (n, 4)."""
        more = 0.15 * state[:, 3]
        zero = np.zeros(len(state))
        return np.column_stack([0.45 + more, 0.3 - more, zero + 0.6, zero])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        rows, action, n = np.arange(len(state)), action.astype(int), len(state)
        safe = self.allowed(state)[rows, action]
        effect = np.where(safe, self.effect(state)[rows, action], 0.0)
        after = state.copy()
        level = 36.8 + 0.95 * (state[:, 0] - 36.8) + 0.2 - effect
        after[:, 0] = (level + rng.normal(0.0, 0.2, n)).clip(36.0, 42.0)
        worse = 3.0 * (action == 2) + rng.normal(0.0, 2.0, n)
        after[:, 1] = (state[:, 1] - worse).clip(5.0, 120.0)
        reward = -np.maximum(0.0, after[:, 0] - 37.3) - 1.5 * ~safe
        reward -= np.array([0.1, 0.08, 0.25, 0.0])[action]
        reward -= 0.02 * np.maximum(0.0, 40.0 - after[:, 1])
        return after, reward, np.zeros(n, dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        fever, _, _, column = state.T
        asked = [column > 0.0, column < 0.0, fever > 39.0, fever < 37.5]
        weight = np.array([1.0, 1.0, 0.8, 0.3]) * (1 + 2 * np.column_stack(asked))
        return draw(rng, self.allowed(state) * weight)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        # What a step is worth, with an eye on the kidneys.
        left = np.maximum(0.0, 0.95 * (state[:, 0] - 36.8) - 0.3)[:, None]
        gain = 3.0 * np.minimum(self.effect(state), left)
        gain -= np.array([0.1, 0.08, 0.25, 0.0])
        gain[:, 2] -= 0.3 * (state[:, 1] < 50.0)
        return np.where(self.allowed(state), gain, -np.inf).argmax(axis=1)


class Loans(Simulated):
    """Four offers of a lender; two are barred by sums of columns, one by a product.

    State: income, debt, age and how long an account is held, standardised. A barred
    offer is a loss of 2. What else an offer earns goes with the columns.
    """

    name, discount, n_episodes, value_episodes = "loans", 0.0, 2_000, 20_000
    _weights = np.random.default_rng(3).normal(0.0, 0.5, (4, 4))

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.normal(size=(n, 4))

    def allowed(self, states: Array, seed: int = 0) -> NDArray[np.bool_]:
        income, debt, age, held = states.T
        always = np.ones(len(states), dtype=bool)
        return np.column_stack(
            [always, income - debt > 0.0, age + held > -0.5, income * held > -0.5]
        )

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        rows, action = np.arange(len(state)), action.astype(int)
        earned = (state @ self._weights)[rows, action]
        earned -= 2.0 * ~self.allowed(state)[rows, action]
        reward = earned + rng.normal(0.0, 0.5, len(state))
        return state, reward, np.ones(len(state), dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        likely = np.exp(0.5 * state @ self._weights)
        return draw(rng, self.allowed(state) * likely)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        earned = state @ self._weights
        return np.where(self.allowed(state), earned, -np.inf).argmax(axis=1)


BARRED = Antibiotics(), Loans()
