"""Trials whose effects have one shape: lines, curves, steps, bends, or none."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families.one_step import OneStep
from benchmarks.families.problem import Array

_N_ACTIONS = 3
KINDS = ("lines", "curves", "steps", "bends", "noise")


class Shape(OneStep):
    """Three actions at random, normal columns, and normal noise of deviation 1."""

    deviation = 1.0

    def __init__(self, kind: str, n_columns: int, n_episodes: int) -> None:
        self.name = f"{kind}, {n_columns} col., {n_episodes:,} rows"
        self.n_columns, self.n_episodes, self._kind = n_columns, n_episodes, kind
        rng = np.random.default_rng([n_columns, KINDS.index(kind)])
        shape = _N_ACTIONS, n_columns
        self._slope = rng.normal(size=shape) / np.sqrt(n_columns)
        self._column = rng.integers(n_columns, size=(_N_ACTIONS, 2))
        self._place = rng.normal(0.0, 0.5, size=(_N_ACTIONS, 2))

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.normal(size=(n, self.n_columns))

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return rng.integers(_N_ACTIONS, size=len(state))

    def _means(self, state: Array) -> Array:
        if self._kind == "lines":
            return state @ self._slope.T
        if self._kind == "noise":
            return np.zeros((len(state), _N_ACTIONS))
        first, second = (state[:, self._column[:, j]] for j in (0, 1))
        one, two = self._place.T
        if self._kind == "steps":
            return (first > one) - 1.0 * (second > two)
        if self._kind == "bends":
            return np.abs(first - one)
        curve = np.sin(1.5 * first + one)
        return curve + 0.5 * second * state[:, :1] - 0.3 * second**2

    def mean(self, state: Array, action: NDArray[Any]) -> Array:
        return self._means(state)[np.arange(len(state)), action]

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return self._means(state).argmax(axis=1)


SHAPES = [
    Shape(kind, n_columns, n)
    for kind, n_columns, n in product(KINDS, (2, 6, 15), (150, 500, 2_000))
]
