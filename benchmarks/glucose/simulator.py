"""One patient, a dose of insulin every half hour: logs of it, and what policies earn.

Days are independent of each other, and what happens on a day whatever the doses depends
on the seed and the day's number alone: policies are compared on the same days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.glucose.day import MINUTES, N_STEPS, Day, sensor
from benchmarks.glucose.logger import DOSES, draw, logger_chances
from benchmarks.glucose.uva_padova import (
    BatchPatients,
    FloatArray,
    OwnPatients,
    Patients,
    parameters,
    start,
    submodule,
)

PATIENT, PUMP = "adult#007", "Insulet"
STATE = ["hour", "glucose", "trend", "insulin_on_board", "carbs_on_board", "meal"]
TARGET = (70.0, 180.0)  # mg/dL
ROLLOUT_SEED = 20_000
# Shares that are still active after half an hour: time constants of two hours and one.
_INSULIN_LEFT, _CARBS_LEFT = np.exp(-MINUTES / 120), np.exp(-MINUTES / 60)


class Days:
    """Days lived side by side, decision by decision.

    Parameters
    ----------
    seed : int
    numbers : iterable of int
        Which of the seed's days.
    own : bool, default=False
        Whether simglucose's own solver simulates them, day by day, or ours, all at
        once: the same up to 0.05 mg/dL.
    patient : str
        simglucose's name.
    """

    def __init__(
        self,
        seed: int,
        numbers: Iterable[int],
        own: bool = False,
        patient: str = PATIENT,
    ) -> None:
        self._days = [Day.draw(seed, number) for number in numbers]
        self._grams = np.array([day.grams for day in self._days])
        fasting = np.array([day.fasting for day in self._days])
        params = parameters(patient)
        states = start(params, fasting)
        self.patients: Patients = (OwnPatients if own else BatchPatients)(
            params, states
        )
        pump = submodule("actuator.pump").InsulinPump.withName(PUMP)
        self._rates = {dose: pump.basal(dose * self.patients.basal) for dose in DOSES}
        # Midnight: half an hour at the basal rate after what seemed like ever.
        self.step = 0
        basal = np.full(len(fasting), self._rates[1.0])  # U/min
        self._insulin = MINUTES * basal * _INSULIN_LEFT / (1 - _INSULIN_LEFT)
        self._carbs = self._grams[:, 0]
        self._before = self._reading(fasting, 0)
        levels = self._live(basal, np.zeros_like(basal))
        self._now = self._reading(levels[-1], 1)

    def observe(self) -> pd.DataFrame:
        """Return what is known when the next dose is decided, one row a day."""
        columns = {
            "hour": np.full(len(self._days), self.step % N_STEPS * MINUTES / 60),
            "glucose": self._now,
            "trend": self._now - self._before,
            "insulin_on_board": np.round(self._insulin, 2),
            "carbs_on_board": np.round(self._carbs),
            "meal": [day.meals[self.step] for day in self._days],
        }
        return pd.DataFrame(columns)[STATE]

    def dose(self, doses: Any) -> FloatArray:
        """Give each day its dose; return the share of the half hour in range, (n,)."""
        given = np.asarray(doses, dtype=float)
        unknown = sorted({*given.tolist()} - {*DOSES})
        if unknown or given.shape != (len(self._days),):
            raise ValueError(
                f"Expected {len(self._days)} doses, one a day, out of {[*DOSES]}; got "
                f"shape {given.shape}, with {unknown} among them."
            )
        rates = np.array([self._rates[dose] for dose in given.tolist()])
        levels = self._live(rates, self._grams[:, self.step])
        self.step += 1
        self._insulin = (self._insulin + MINUTES * rates) * _INSULIN_LEFT
        self._carbs = self._carbs * _CARBS_LEFT + self._grams[:, self.step]
        self._before, self._now = self._now, self._reading(levels[-1], self.step + 1)
        return ((levels >= TARGET[0]) & (levels <= TARGET[1])).mean(axis=0)

    def _live(self, rates: FloatArray, grams: FloatArray) -> FloatArray:
        """Return the true glucose after each minute of a half hour, (30, n)."""
        meals = [grams, *[np.zeros_like(grams)] * (MINUTES - 1)]
        return np.array([self.patients.minute(rates, meal) for meal in meals])

    def _reading(self, glucose: FloatArray, i: int) -> FloatArray:
        noise = np.array([day.noise[i] for day in self._days])
        missing = np.array([day.missing[i] for day in self._days])
        shown = np.clip(glucose + noise, sensor()["min"], sensor()["max"])
        return np.where(missing, np.nan, np.round(shown))


def make_log(
    n_days: int, seed: int, *, own: bool = False, patient: str = PATIENT
) -> pd.DataFrame:
    """Return the table that the logger leaves after some days, closing rows included.

    The log that ships with the package is ``make_log(105, seed=0, own=True)``.
    """
    days = Days(seed, range(n_days), own, patient)
    probabilities = np.array(
        [np.random.default_rng([seed, k, 1]).random(N_STEPS) for k in range(n_days)]
    )
    parts = []
    for step in range(N_STEPS + 1):
        states = days.observe()
        part = pd.DataFrame({"day": np.arange(n_days), "step": step})
        part = pd.concat([part, states], axis=1)
        if step < N_STEPS:
            given = logger_chances(states)  # (n, 5)
            place = draw(given, probabilities[:, step])
            part["dose"] = np.take(DOSES, place)
            part["in_range"] = np.round(days.dose(part["dose"]), 4)
            part["propensity"] = np.round(given[np.arange(n_days), place], 6)
        parts.append(part)
    table = pd.concat(parts).sort_values(["day", "step"]).reset_index(drop=True)
    return table.astype({"carbs_on_board": "int64"})


def rollout(
    policy: Any,
    n_days: int = 200,
    seed: int = ROLLOUT_SEED,
    *,
    own: bool = False,
    patient: str = PATIENT,
) -> FloatArray:
    """Return what a policy truly earns: the share of each day in range, (n_days,).

    Parameters
    ----------
    policy : fitted estimator or callable
        What has `predict` is given the raw state columns, one row a day, once a step,
        and returns doses; a callable ``policy(states, rng)`` does the same.
    n_days, seed : int
        Policies with the same two live the same days.
    own, patient
        As in `Days`.
    """
    days = Days(seed, range(n_days), own, patient)
    rng = np.random.default_rng([seed, n_days, 2])
    act: Callable[[pd.DataFrame], Any]
    if hasattr(policy, "predict"):
        act = policy.predict
    else:
        act = lambda states: policy(states, rng)  # noqa: E731
    return np.mean([days.dose(act(days.observe())) for _ in range(N_STEPS)], axis=0)
