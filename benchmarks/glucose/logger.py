"""Who logged: half of the steps any dose, half of them a noisy rule of thumb."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DOSES = (0.0, 0.5, 1.0, 2.0, 4.0)  # times the basal rate
UNIFORM = 0.5  # of the steps
SLIP = 0.15  # of one dose more, and of one less
_LEVELS = (80.0, 110.0, 160.0, 220.0)  # mg/dL, between one dose and the next
_STEEP = 30.0  # mg/dL in half an hour


def rule(states: Any) -> NDArray[np.intp]:
    """Return the index in DOSES of the rule's dose, (n,).

    The higher the glucose the more; one dose more where it rises or a meal was eaten
    in the last two hours, one less where it falls. It forgets the insulin given before.
    """
    glucose = np.asarray(states["glucose"], dtype=float)
    trend = np.asarray(states["trend"], dtype=float)
    place = np.searchsorted(_LEVELS, glucose, side="right")
    place = np.where(np.isnan(glucose), DOSES.index(1.0), place)
    # A trend that is not known is neither steep.
    place = place + (trend > _STEEP) - (trend < -_STEEP)
    place = place + ~np.isin(np.asarray(states["meal"], dtype=str), ["none", "snack"])
    return np.clip(place, 0, len(DOSES) - 1)


def logger_chances(states: Any) -> NDArray[np.float64]:
    """Return how probably the logger gives each of DOSES, (n, 5)."""
    right = rule(states)
    rows = np.arange(len(right))
    probabilities = np.full((len(right), len(DOSES)), UNIFORM / len(DOSES))
    for slip, chance in ((-1, SLIP), (0, 1 - 2 * SLIP), (1, SLIP)):
        given = np.clip(right + slip, 0, len(DOSES) - 1)
        probabilities[rows, given] += (1 - UNIFORM) * chance
    return probabilities


def draw(
    probabilities: NDArray[np.float64], uniform: NDArray[np.float64]
) -> NDArray[np.intp]:
    """Return one place a row, (n,), that the chances (n, k) give numbers in [0, 1)."""
    reached = np.cumsum(probabilities, axis=1) <= uniform[:, None]
    # Rounding may leave the last sum below 1.
    return np.minimum(reached.sum(axis=1), probabilities.shape[1] - 1)
