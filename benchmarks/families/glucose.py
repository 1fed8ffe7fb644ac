"""Other patients with diabetes than the one whose log the package ships."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families.problem import Actor, Array, Problem
from benchmarks.glucose.logger import DOSES, draw, logger_chances
from benchmarks.glucose.simulator import STATE, make_log, rollout
from benchmarks.tuning_problems import Drawn
from sklearn_stackelberg import Transitions

MEALS = ("none", "breakfast", "lunch", "dinner", "snack")
_KNOWN = {"glucose": 140.0, "trend": 0.0}  # in place of what the sensor missed
# Of the reference, the best of 32 linear controllers on other days of adult#003: the
# dose at 120 mg/dL, per 50 mg/dL above, less per unit of insulin on board, half hours
# that the trend is drawn out by, and per 50 grams on board.
BASE, PER_GLUCOSE, PER_INSULIN, AHEAD, PER_CARBS = 2.22, 0.9, 0.11, 1.08, 1.58


def encoded(states: Any) -> Array:
    """Numbers as they are, gaps filled, meals as columns of their own."""
    numbers = states[[name for name in STATE if name != "meal"]].fillna(_KNOWN)
    meals = np.asarray(states["meal"], dtype=str)[:, None] == MEALS
    return np.column_stack([numbers.to_numpy(dtype=float), meals])


class _Doses:
    """A policy of the encoded states, asked with what the simulator shows."""

    def __init__(self, act: Actor) -> None:
        self._act, self._rng = act, np.random.default_rng(0)

    def predict(self, states: Any) -> NDArray[Any]:
        """A dose for each day."""
        chosen = np.asarray(self._act(encoded(states), self._rng), dtype=int)
        return np.take(DOSES, chosen)


class Glucose(Problem):
    """A day's share of the time in range; five doses of insulin, every half hour.

    Parameters
    ----------
    patient : str
        simglucose's name.
    """

    discount, n_days, n_value_days = 0.95, 60, 40

    def __init__(self, patient: str) -> None:
        self.name, self.patient = f"glucose, {patient}", patient

    def log(self, seed: int) -> Transitions:
        table = make_log(self.n_days, seed + 1, patient=self.patient)
        states = encoded(table)
        closes = table["dose"].isna().to_numpy()
        rows = np.flatnonzero(~closes)
        # Days are whole: the next row is of the same day, at the least its closing one.
        return Transitions(
            states[rows],
            np.searchsorted(DOSES, table["dose"].to_numpy()[rows]),
            table["in_range"].to_numpy()[rows],
            states[rows + 1],
            np.zeros(len(rows), dtype=bool),
            is_initial=table["step"].to_numpy()[rows] == 0,
            episode=table["day"].to_numpy()[rows],
            step=table["step"].to_numpy()[rows],
        )

    def _in_range(self, policy: Any, seed: int) -> float:
        # Days that no log has.
        days = rollout(policy, self.n_value_days, 20_000 + seed, patient=self.patient)
        return float(days.mean())

    def value(self, policy: Any, seed: int = 0) -> float:
        return self._in_range(_Doses(lambda s, rng: policy.predict(s)), seed)

    def value_stochastic(self, policy: Any, seed: int = 0) -> float:
        return self.value(Drawn(policy), seed)

    @cached_property
    def logger_value(self) -> float:
        def act(states: Any, rng: np.random.Generator) -> NDArray[Any]:
            return np.take(DOSES, draw(logger_chances(states), rng.random(len(states))))

        return self._in_range(act, 0)

    @cached_property
    def optimum(self) -> float:  # type: ignore[override]
        return self._in_range(_Doses(_reference), 0)


def _reference(states: Array, rng: np.random.Generator) -> NDArray[Any]:
    _, glucose, trend, insulin, carbs = states[:, :5].T
    wanted = BASE + PER_GLUCOSE * (glucose + AHEAD * trend - 120.0) / 50.0
    wanted += PER_CARBS * carbs / 50.0 - PER_INSULIN * insulin
    return np.abs(wanted[:, None] - np.array(DOSES)).argmin(axis=1)
