"""An off-policy estimate, with how far it may be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from .._typing import Index


class Figures(NamedTuple):
    """What a metric computes of its data; `evaluate` makes an estimate of it."""

    value: float
    standard_error: float
    effective_sample_size: float
    method: str
    error_method: str
    unit: str = "rows"


@dataclass(frozen=True)
class OffPolicyEstimate:
    """What a policy is worth by a log, and how far that may be trusted.

    Parameters
    ----------
    value : float
        In units of discounted return (of `bellman_error`: of squared reward).
    standard_error : float
        Of ``value``, over logs with as many episodes. NaN for a log of one episode, or
        where none was requested.
    effective_sample_size : float
        (Σ ρ)² / Σ ρ² of the weights ρ of the log's rows, or its episodes: as many of
        equal weight would say as much.
    n_episodes, n_transitions : int
        What the log holds.
    method, error_method : str
        How the value was computed, and how the standard error was.
    effective_unit : {"rows", "episodes"}, default="rows"
        What the effective sample size counts.
    confidence_level : float, default=0.95
        Of `confidence_interval`, in (0, 1).

    Examples
    --------
    >>> from dataclasses import asdict
    >>> from sklearn_stackelberg.metrics import OffPolicyEstimate
    >>> estimate = OffPolicyEstimate(
    ...     12.3, 0.8, 45.2, 120, 5000, "Fitted-Q evaluation", "the bootstrap"
    ... )
    >>> print(estimate)
    Fitted-Q evaluation: value 12.30 ± 0.80 (standard error by the bootstrap), 95 %
    interval [10.72, 13.88]; effective sample size 45.2 of 5,000 rows.
    >>> float(estimate), asdict(estimate)["n_episodes"]
    (12.3, 120)
    """

    value: float
    standard_error: float
    effective_sample_size: float
    n_episodes: int
    n_transitions: int
    method: str
    error_method: str
    effective_unit: str = "rows"
    confidence_level: float = 0.95

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """(low, high): value ± standard error times Student's t quantile.

        With as many degrees of freedom as there are episodes but one.
        """
        # One episode has no error to multiply; 1 keeps the quantile finite.
        freedom = max(self.n_episodes - 1, 1)
        tail = 0.5 + 0.5 * self.confidence_level
        reach = float(student_t.ppf(tail, freedom)) * self.standard_error
        return self.value - reach, self.value + reach

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        value, error, low, high = _shown(
            (self.value, self.standard_error, *self.confidence_interval),
            self.standard_error,
        )
        rows = self.effective_unit == "rows"
        whole = self.n_transitions if rows else self.n_episodes
        doubt = (
            f" ± {error} (standard error by {self.error_method}), "
            f"{100 * self.confidence_level:g} % interval [{low}, {high}]"
            if np.isfinite(self.standard_error)
            else f", without a standard error ({self.error_method})"
        )
        return (
            f"{self.method}: value {value}{doubt}; effective sample size "
            f"{self.effective_sample_size:,.1f} of {whole:,} {self.effective_unit}."
        )


def effective_size(ratio: NDArray[Any]) -> float:
    """Kish's effective sample size, Eq. (52) of docs/game.md; 0 if every ρ is 0."""
    # Scaled first: squares of weights of long episodes overflow.
    largest = np.abs(ratio).max(initial=0.0)
    if largest == 0.0 or not np.isfinite(largest):
        return 0.0
    ratio = ratio / largest
    return float(ratio.sum() ** 2 / (ratio**2).sum())


def clustered_error(influence: NDArray[Any], cluster: Index, n_clusters: int) -> float:
    """Standard error of a sum of contributions, (n,), whose clusters are independent.

    SE² = E/(E − 1) Σ_e (ψ_e − ψ̄)², with ψ_e the sum of an episode's contributions. NaN
    for one cluster.
    """
    if n_clusters < 2:
        return float("nan")
    # Eq. (51) of docs/game.md. Rows of an episode depend on each other, so that the sum
    # of each is one observation (the cluster-robust variance of Liang and Zeger).
    total = np.bincount(cluster, influence, n_clusters)
    scale = n_clusters / (n_clusters - 1)
    return float(np.sqrt(scale * ((total - total.mean()) ** 2).sum()))


def _shown(numbers: tuple[float, ...], error: float) -> list[str]:
    """Numbers with the decimals that show two figures of the standard error."""
    # Outside these bounds fixed decimals would be long rows of zeros.
    if not np.isfinite(error) or not 1e-6 < error < 1e9:
        return [f"{number:.4g}" for number in numbers]
    # log10 of 0.8 is −0.1, whose floor is −1: two decimals.
    decimals = max(0, 1 - int(np.floor(np.log10(error))))
    return [f"{number:,.{decimals}f}" for number in numbers]
