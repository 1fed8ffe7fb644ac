"""Rewards that are noise but for little."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families.one_step import OneStep
from benchmarks.families.problem import Array


class MostlyNoise(OneStep):
    """Twenty columns, of which one says which of two actions is a little better.

    Where nothing at all could be gained there would be no scale from 0 to 1. The right
    action explains 2 % of the variance of the rewards of a logger that tries all.
    """

    name, n_episodes = "mostly noise", 1_000
    n_columns, gain, deviation = 20, 0.5, 1.5

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.normal(size=(n, self.n_columns))

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return self._right(state)

    @staticmethod
    def _right(state: Array) -> NDArray[np.intp]:
        return np.where(state[:, 0] > 0.0, 1, 2)

    def mean(self, state: Array, action: NDArray[Any]) -> Array:
        return self.gain * (action == self._right(state))

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return rng.integers(3, size=len(state))
