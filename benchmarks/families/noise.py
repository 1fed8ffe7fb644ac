"""Rewards that are noise but for little."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families.problem import Array, Simulated


class MostlyNoise(Simulated):
    """Twenty columns, of which one says which of two actions is a little better.

    Where nothing at all could be gained there would be no scale from 0 to 1. The right
    action explains 2 % of the variance of the rewards of a logger that tries all.
    """

    name, discount, n_episodes = "mostly noise", 0.0, 1_000
    n_columns, gain, deviation = 20, 0.5, 1.5
    value_episodes = 20_000

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.normal(size=(n, self.n_columns))

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return np.where(state[:, 0] > 0.0, 1, 2)

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        right = action == self.best(state, rng)
        reward = self.gain * right + rng.normal(0.0, self.deviation, len(state))
        return state, reward, np.ones(len(state), dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return rng.integers(3, size=len(state))
