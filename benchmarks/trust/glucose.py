"""Days of a simulated patient with diabetes, as an episode each that has an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.families.glucose import MEALS, Glucose
from benchmarks.glucose.day import N_STEPS
from benchmarks.glucose.logger import DOSES, UNIFORM, logger_chances
from benchmarks.glucose.simulator import Days
from benchmarks.trust.policies import Array, Probabilities
from sklearn_stackelberg import Transitions

# Of the steps of the target: any dose is as likely there. Of the logger's, half.
_UNIFORM = 0.2


class GlucoseDays(Glucose):
    """The discounted time in range of a day, which is an episode and ends with it.

    What follows a day's last row has no value here, so that a day is enough for truths.
    """

    discount = 0.98

    def __init__(self, patient: str, n_value_days: int = 1_000) -> None:
        super().__init__(patient)
        self.name = f"glucose in days, {patient}"
        self.n_value_days = n_value_days

    def log(self, seed: int) -> Transitions:
        log = super().log(seed)
        log.terminated = np.asarray(log.step) == N_STEPS - 1
        return log

    def _in_range(self, policy: Any, seed: int) -> float:
        days = Days(20_000 + seed, range(self.n_value_days), patient=self.patient)
        rng = np.random.default_rng([seed, 4])
        act: Callable[[Any], Any] = getattr(policy, "predict", None) or (
            lambda states: policy(states, rng)
        )
        weights = self.discount ** np.arange(N_STEPS)
        return float(sum(w * days.dose(act(days.observe())).mean() for w in weights))


def _chances(states: Array) -> Array:
    """The logger's, of encoded states."""
    meal = np.take(MEALS, states[:, 5:].argmax(axis=1))
    return logger_chances(
        {"glucose": states[:, 1], "trend": states[:, 2], "meal": meal}
    )


def _less_uniform(states: Array) -> Array:
    rule = (_chances(states) - UNIFORM / len(DOSES)) / (1.0 - UNIFORM)
    return _UNIFORM / len(DOSES) + (1.0 - _UNIFORM) * rule


LOGGER = Probabilities(_chances, len(DOSES))
TARGET = Probabilities(_less_uniform, len(DOSES))
