"""λ from a confidence level, by the lower bound of the value of what it leads to."""

from __future__ import annotations

import warnings

from .._typing import Index
from ..metrics._lower_bound import LowerBound, highest_lower_bound
from ..solvers._base import Observer
from .fit import Fit, FitResult
from .fitted_policy import FittedPolicy

# Weights that are tried: from one that hardly trusts the log to one that trusts it
# where it holds one row in a hundred.
LAMS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)


def calibrate(
    fit: Fit, level: float, observe: Observer | None = None
) -> tuple[float, FitResult, LowerBound]:
    """Learn at the λ whose policies have the highest lower bound of their value.

    Each λ is tried on the episodes of all folds but one, and held against that one; the
    policy is then learned from all episodes. Values are counted from the log's own
    initial states, as `metrics` do, and the bounds hold together at the level.
    """

    def learn(rows: Index) -> list[FittedPolicy]:
        part = fit.part(rows)
        return [part.solve(lam).fitted.policy for lam in LAMS]

    best, bound = highest_lower_bound(
        fit.problem.given,
        fit.problem.discount,
        learn,
        fit.solve(LAMS[0]).fitted.policy,
        level,
        LAMS,
    )
    for note in bound.notes:
        # The line that called fit is named.
        warnings.warn(note, stacklevel=6)
    return LAMS[best], fit.solve(LAMS[best], observe), bound
