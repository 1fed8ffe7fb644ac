"""Patients of a real trial, with outcomes whose truth is known."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families.one_step import OneStep
from benchmarks.families.problem import Array
from sklearn_stackelberg.datasets import load_actg320

_COLUMNS = ("strat2", "sex", "raceth", "ivdrug", "karnof", "cd4", "priorzdv", "age")


class Trial(OneStep):
    """Covariates of ACTG 320, drawn anew; treatment by a coin, outcome by a formula.

    The trial itself has no known truth. The third drug helps those with few CD4 cells
    or in poor condition, and harms the old; patients differ by a standard deviation.
    """

    name, n_episodes, deviation = "trial, patients of ACTG 320", 1_151, 1.0

    @cached_property
    def patients(self) -> Array:
        """The covariates, one row a patient."""
        return load_actg320().frame[list(_COLUMNS)].to_numpy(dtype=float)

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return self.patients[rng.integers(len(self.patients), size=n)]

    @staticmethod
    def effect(state: Array) -> Array:
        """What the drug adds to the mean of each patient's outcome."""
        ivdrug, karnofsky, cd4, age = state[:, [3, 4, 5, 7]].T
        helps = 0.6 * np.tanh((100.0 - cd4) / 60.0) + 0.3 * (karnofsky <= 80.0)
        return helps - 0.5 * (age > 45.0) - 0.2 * (ivdrug > 1.0)

    def mean(self, state: Array, action: NDArray[Any]) -> Array:
        return 0.01 * (state[:, 4] - state[:, 7]) + action * self.effect(state)

    def fresh(self) -> Array:
        return self.patients

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return rng.integers(2, size=len(state))

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return (self.effect(state) > 0.0).astype(int)
