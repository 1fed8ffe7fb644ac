"""A lower bound of the value of a policy, on the log that it was learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from ._fitted_q import FittedQ


@dataclass(frozen=True)
class LowerBound:
    """A fitted-Q estimate less a quantile of standard errors, and not below lowest."""

    estimate: float  # in units of discounted return
    standard_error: float  # see `guarded_error`
    quantile: float  # one-sided
    lowest: float = -np.inf  # the least that rewards such as the log's can add up to

    @property
    def value(self) -> float:
        return max(self.lowest, self.estimate - self.quantile * self.standard_error)

    @property
    def pessimism(self) -> float:
        """How far the bound lies under the estimate."""
        return self.estimate - self.value


def lower_bound(fit: FittedQ, level: float, n_candidates: int = 1) -> LowerBound:
    """The lower bound of a policy whose bound is the highest of several, at a level."""
    # Eq. (56) of docs/game.md. Bonferroni: the highest of several bounds is too high
    # more often than each is, so that each has a level that all hold at once.
    quantile = float(norm.ppf(1.0 - (1.0 - level) / n_candidates))
    lowest = fit.data.return_range(fit.system.discount)[0]
    return LowerBound(fit.value, guarded_error(fit), quantile, lowest)


def guarded_error(fit: FittedQ) -> float:
    """A standard error for a policy that was chosen on the log of its own evaluation.

        SE² = Σ_i p_i² ω_i² max(δ_i², mean δ²) + Σ_0 p_0² (V(s₀) − v)²,

    or `FittedQ.standard_error`, if that is larger. What went well each of a few times
    has residuals near zero, and a policy that is chosen for its value goes there: no
    row is taken to be less noisy than the average. See ``docs/lower_bound.md``.
    """
    data = fit.data
    low, high = data.return_range(fit.system.discount)
    # Eq. (55). Without an episode that the rest cannot do without: as far as returns
    # can differ.
    squared = np.nan_to_num(fit.left_out_residual**2, nan=(high - low) ** 2)
    noise = np.maximum(squared, data.weight @ squared)
    start = data.initial_weight * (fit.initial_values - fit.value)
    guarded = (data.weight * fit.ratio) ** 2 @ noise + start @ start
    plain = np.nan_to_num(fit.standard_error, nan=np.inf)
    return float(max(np.sqrt(guarded), plain))
