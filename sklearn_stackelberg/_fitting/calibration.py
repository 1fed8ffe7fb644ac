"""λ from a confidence level, by the floor under the value of what it leads to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..metrics._fitted_q import FittedQSystem
from ..metrics._lower_bound import LowerBound, lower_bound
from ..metrics._settings import QSettings, fit_features
from ..metrics._tabulate import tabulate_policy
from ..transitions._transitions import Transitions
from .result import FitResult

# Weights that are tried: from one that hardly trusts the log to one that trusts it
# where it holds a handful of rows. More of them would each have to be held to a higher
# level.
LAMS = (1.0, 10.0, 100.0)


class Calibrated(NamedTuple):
    """The weight that was found, what came of it, and its floor."""

    lam: float
    outcome: FitResult
    floor: LowerBound


def calibrate(
    solve: Callable[[float], FitResult],
    log: Transitions,
    discount: float,
    level: float,
    lams: Sequence[float] = LAMS,
) -> Calibrated:
    """Play the game at several λ and keep the policy with the highest floor.

    Parameters
    ----------
    solve : callable
        λ to what comes of it.
    log : Transitions
        The log that it is learned from; values are counted from its initial states.
    discount : float
    level : float
        Confidence level of the floor, in (0, 1). Larger is lower.
    lams : sequence of float, default=LAMS

    Returns
    -------
    Calibrated

    Raises
    ------
    ValueError
        If the log has no two episodes, which an error needs.
    """
    system: FittedQSystem | None = None
    settings = QSettings()
    best: Calibrated | None = None
    for lam in lams:
        outcome = solve(lam)
        data = tabulate_policy(outcome.fitted_policy, log)
        if data.n_episodes < 2:
            raise ValueError(
                "lam='calibrated' needs at least two episodes, which are what the "
                f"value's error is counted over; the log has {data.n_episodes}. Log "
                "more episodes, or set lam to a number."
            )
        # All policies are evaluated in the same features.
        if system is None:
            features = fit_features(data, settings)
            system = FittedQSystem.from_kernel(data, discount, features, settings.ridge)
        else:
            system = system.on(data)
        floor = lower_bound(system.solve(), level, len(lams))
        found = Calibrated(lam, outcome, floor)
        if best is None or found.floor.value > best.floor.value:
            best = found
    if best is None or not np.isfinite(best.floor.value):
        raise ValueError(
            "No floor can be put under the policy's value, because its error could "
            "not be computed on this log. Set lam to a number."
        )
    return best
