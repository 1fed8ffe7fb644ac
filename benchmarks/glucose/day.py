"""What happens to the patient on a day whatever the doses: meals, sensor, start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.glucose.uva_padova import FloatArray, submodule

N_STEPS, MINUTES = 48, 30
FASTING = (80.0, 240.0)  # mg/dL half an hour before midnight, drawn evenly
SENSOR = "Dexcom"
# A gap starts at 2 % of the readings and goes on after 60 % of its own: 5 % are lost.
GAP_STARTS, GAP_GOES_ON = 0.02, 0.6
# simglucose draws when a meal is eaten and how much; the hour says which meal it was.
_MEALS = (
    (9, "breakfast"),
    (10, "snack"),
    (14, "lunch"),
    (16, "snack"),
    (20, "dinner"),
    (24, "snack"),
)
_REMEMBERED = 4  # decisions: two hours


@dataclass
class Day:
    """A day's draws, for its 48 decisions and the state after the last of them."""

    fasting: float
    grams: FloatArray  # (49,), of carbohydrates, from the decision on
    meals: list[str]  # 49 names of the meal of the last two hours
    noise: FloatArray  # (50,), mg/dL, from half an hour before the first decision on
    missing: NDArray[np.bool_]  # (50,), of the same readings

    @classmethod
    def draw(cls, seed: int, number: int) -> Day:
        """Draw day `number` of `seed`, the same in logs of any length."""
        rng = np.random.default_rng([seed, number])
        fasting = float(rng.uniform(*FASTING))
        of_meals, of_noise = rng.integers(2**31, size=2).tolist()
        grams, meals = _meals(of_meals)
        return cls(fasting, grams, meals, _noise(of_noise), _missing(rng))


@cache
def sensor() -> Any:
    """Return the sensor's parameters, a pandas Series."""
    return submodule("sensor.cgm").CGMSensor.withName(SENSOR)._params


def _meals(seed: int) -> tuple[FloatArray, list[str]]:
    module = submodule("simulation.scenario_gen")
    eaten = module.RandomScenario(datetime(2000, 1, 1), seed=seed).scenario["meal"]
    grams, names = np.zeros(N_STEPS + 1), ["none"] * (N_STEPS + 1)
    for minute, carbs in zip(eaten["time"], eaten["amount"], strict=True):
        # A meal is announced, and eaten, at the next decision.
        step = int(np.ceil(minute / MINUTES))
        grams[step] += carbs
        name = next(name for hour, name in _MEALS if minute < 60 * hour)
        end = min(step + _REMEMBERED, N_STEPS + 1)
        names[step:end] = [name] * (end - step)
    return grams, names


def _noise(seed: int) -> FloatArray:
    generator = submodule("sensor.noise_gen").CGMNoise(sensor(), seed=seed)
    every = int(MINUTES / sensor().sample_time)
    return np.array([next(generator) for _ in range(every * (N_STEPS + 1) + 1)])[
        ::every
    ]


def _missing(rng: np.random.Generator) -> NDArray[np.bool_]:
    missing = np.zeros(N_STEPS + 2, dtype=bool)
    lost = False
    for i, chance in enumerate(rng.random(len(missing))):
        lost = bool(chance < (GAP_GOES_ON if lost else GAP_STARTS))
        missing[i] = lost
    return missing
