"""λ from a confidence level, by the lower bound of the value of what it leads to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from ..metrics._fitted_q import FittedQSystem
from ..metrics._lower_bound import LowerBound, lower_bound
from ..metrics._settings import QSettings, fit_features
from ..metrics._tabulate import tabulate_policy
from ..transitions._transitions import Transitions
from .fitted_policy import Fitted

# Weights that are tried: from one that hardly trusts the log to one that trusts it
# where it holds a handful of rows. More of them would each have to be held to a higher
# level.
LAMS = (1.0, 10.0, 100.0)


class Solved(Protocol):
    """What came of one λ."""

    @property
    def fitted(self) -> Fitted: ...


Result = TypeVar("Result", bound=Solved)


def calibrate(
    solve: Callable[[float], Result],
    log: Transitions,
    discount: float,
    level: float,
    lams: Sequence[float] = LAMS,
) -> tuple[float, Result, LowerBound]:
    """Solve at several λ and keep the λ of the highest lower bound, with both.

    Values are counted from the log's initial states. The bounds hold together at the
    level, in (0, 1): see docs/lower_bound.md.
    """
    system: FittedQSystem | None = None
    settings = QSettings()
    best: tuple[float, Result, LowerBound] | None = None
    for lam in lams:
        result = solve(lam)
        data = tabulate_policy(result.fitted.policy, log)
        if data.n_pieces < 2:
            raise ValueError(
                "lam='calibrated' needs at least two episodes, which are what the "
                f"value's error is counted over; the log has {data.n_pieces}. Log "
                "more episodes, or 50 rows of one, or set lam to a number."
            )
        # All policies are evaluated in the features of the first.
        if system is None:
            features = fit_features(data, settings)
            system = FittedQSystem.from_kernel(data, discount, features, settings.ridge)
        else:
            system = system.on(data)
        bound = lower_bound(system.solve(), level, len(lams))
        if best is None or bound.value > best[2].value:
            best = lam, result, bound
    if best is None or not np.isfinite(best[2].value):
        raise ValueError(
            "No lower bound of the policy's value can be given, because its error "
            "could not be computed on this log. Set lam to a number."
        )
    return best
