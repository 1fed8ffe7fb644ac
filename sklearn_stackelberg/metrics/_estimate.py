"""An off-policy estimate, with how far it may be trusted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from .._html import html_table
from .._typing import AnyArray, Floats, Index

Limits = tuple[float, float]
_NO_LIMITS = (-np.inf, np.inf)

# Of the size of what is subtracted.
_ROUNDING = 1e-12

# A ratio to a value that is fewer standard errors than this away from zero is not near
# normal, and the delta method's interval too short.
_LEAST_DENOMINATOR = 3.0


class Figures(NamedTuple):
    """What a metric computes of its data; `evaluate` makes an estimate of it."""

    value: float
    standard_error: float
    effective_sample_size: float
    method: str
    error_method: str
    unit: str = "rows"
    contributions: Floats | None = None  # (E,), ψ of each independent piece, Eq. (51)
    left_out: Floats | None = None  # (E,), the same by leaving out each, where known
    bias_bound: float = 0.0
    limits: Limits = _NO_LIMITS  # what the value must lie between
    notes: tuple[str | Warning, ...] = ()  # what to warn of


# Fitted-Q's error, by leaving out each episode, is as a rule the influence function's
# or up to a fourth larger. From here on the errors of Q̂ and ω, whose product the
# influence function leaves out, are not small: a policy that 7 episodes say something
# of had intervals that held its value in 75 %. With the ridge of Q̂, or from half as
# large on, those of noise in 30 columns held it in 87 %.
_LARGER = 1.25


@dataclass(frozen=True)
class OffPolicyEstimate:
    """What a policy is worth by a log, and how far that may be trusted.

    Estimates of one log can be subtracted and added, which pairs what each episode
    contributes to the two; a number shifts one, or scales it.

    Parameters
    ----------
    value : float
        In units of discounted return (of `bellman_error`: of squared reward).
    standard_error : float
        Of ``value``, over logs with as many episodes. NaN for a log of one episode, or
        where none was requested.
    effective_sample_size : float
        (Σ ρ)² / Σ ρ² of the weights ρ of the log's rows, or its episodes: as many of
        equal weight would say as much. Of a difference, the smaller of the two, or the
        first one's if they count rows and episodes.
    n_episodes, n_transitions : int
        What the log holds.
    method, error_method : str
        How the value was computed, and how the standard error was.
    effective_unit : {"rows", "episodes"}, default="rows"
        What the effective sample size counts.
    confidence_level : float, default=0.95
        Of `confidence_interval`, in (0, 1).
    contributions : ndarray of shape (E,), default=None
        ψ_e, by how much each independent piece of the log (an episode; a row, where
        there are none) moves the value: SE² = E / (E − 1) Σ (ψ_e − ψ̄)², unless the
        value was brought back to its ``limits``. None where there are none, as of a
        bootstrap.
    bias_bound : float, default=0.0
        How far the value may be off, apart from chance, because the log does not
        support what the policy does, or because trees make another value of its rows.
    pieces : ndarray of shape (E,), default=None
        Names of the pieces: the log's episodes, or numbers.
    limits : tuple (low, high), default=(-inf, inf)
        What the log's rewards can add up to; the value is inside, and so is the
        interval.
    left_out : ndarray of shape (E,), default=None
        The contributions to a fitted Q that each piece is left out of in turn. Sums and
        differences whose error by these is larger by a fourth have that error.

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
    >>> (2.0 * estimate - 20.0).value, (2.0 * estimate).standard_error
    (4.6, 1.6)
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
    contributions: Floats | None = field(default=None, compare=False, repr=False)
    bias_bound: float = 0.0
    pieces: AnyArray | None = field(default=None, compare=False, repr=False)
    limits: Limits = field(default=_NO_LIMITS, repr=False)
    left_out: Floats | None = field(default=None, compare=False, repr=False)

    @property
    def _noun(self) -> str:
        """What the number is called where it is shown."""
        words = {" minus ": "difference", " over ": "ratio"}
        found = [noun for word, noun in words.items() if word in self.method]
        return found[0] if found else "value"

    @property
    def degrees_of_freedom(self) -> float:
        """As many as the contributions' spread is known by.

        Independent pieces of the log but one; fewer where a few of them contribute most
        of the spread, 2 E / (κ − 1) with κ the kurtosis of the contributions.
        """
        psi = self.contributions
        if psi is None:
            # One episode has no error to multiply; 1 keeps the quantile finite.
            return float(max(self.n_episodes - 1, 1))
        return freedom(psi)

    @property
    def rests_on_no_data(self) -> bool:
        """Whether `bias_bound` is half of what returns can be, or more."""
        low, high = self.limits
        return bool(self.bias_bound > 0 and self.bias_bound >= 0.5 * (high - low))

    @property
    def confidence_interval(self) -> tuple[float, float]:
        """(low, high): value ± (t · standard error + bias bound), inside the limits.

        t is Student's quantile with `degrees_of_freedom`.
        """
        tail = 0.5 + 0.5 * self.confidence_level
        return interval(self, float(student_t.ppf(tail, self.degrees_of_freedom)))

    def p_value(self, value: float = 0.0) -> float:
        """How often chance alone would put an estimate as far from a value.

        Parameters
        ----------
        value : float, default=0.0
            What the true value is under the hypothesis; of a difference, 0 is none.

        Returns
        -------
        float
            Two-sided, by Student's t as in `confidence_interval`; the bias bound is
            taken off the distance.
        """
        distance = max(abs(self.value - value) - self.bias_bound, 0.0)
        if self.standard_error == 0.0:
            return float(distance == 0.0)
        score = distance / self.standard_error
        return float(2.0 * student_t.sf(score, self.degrees_of_freedom))

    def ratio(self, other: OffPolicyEstimate) -> OffPolicyEstimate:
        """Return this value over another of the same log, by the delta method.

        Parameters
        ----------
        other : OffPolicyEstimate
            Of the same pieces of the same log, not zero.

        Returns
        -------
        OffPolicyEstimate
            Whose standard error pairs the contributions ψ of the two, as
            (ψ − ratio · ψ') / v'.

        Raises
        ------
        ValueError
            If the other value is zero, or of another log.

        Warns
        -----
        UserWarning
            If the other value is less than three standard errors from zero.
        """
        if other.value == 0.0:
            raise ValueError(
                "The value to divide by is 0, and a ratio to it has no meaning. "
                "Subtract the two instead."
            )
        # Eq. (63) of docs/game.md.
        ratio = self.value / other.value
        slopes = (1.0 / other.value, -ratio / other.value)
        found = self._combined(other, ratio, slopes, _NO_LIMITS, "over")
        if abs(other.value) < _LEAST_DENOMINATOR * other.standard_error:
            warnings.warn(
                f"The value to divide by, {other.value:.4g}, is less than "
                f"{_LEAST_DENOMINATOR:g} of its standard errors "
                f"({other.standard_error:.2g}) from zero: the interval of a ratio to "
                "it is too short. Subtract the two instead. [pitfalls: near-zero]",
                UserWarning,
                stacklevel=2,
            )
        return found

    def __add__(self, other: Any) -> OffPolicyEstimate:
        if isinstance(other, Real):
            low, high = self.limits
            value, by = self.value + float(other), float(other)
            return plain(self, value=value, limits=(low + by, high + by))
        if not isinstance(other, OffPolicyEstimate):
            return NotImplemented
        ends = self.limits[0] + other.limits[0], self.limits[1] + other.limits[1]
        value = self.value + other.value
        return self._combined(other, value, (1.0, 1.0), ends, "plus")

    __radd__ = __add__

    def __sub__(self, other: Any) -> OffPolicyEstimate:
        if isinstance(other, Real):
            return self + -float(other)
        if not isinstance(other, OffPolicyEstimate):
            return NotImplemented
        # Eq. (62) of docs/game.md.
        ends = self.limits[0] - other.limits[1], self.limits[1] - other.limits[0]
        value = self.value - other.value
        if abs(value) <= _ROUNDING * abs(other.value):
            value = 0.0
        return self._combined(other, value, (1.0, -1.0), ends, "minus")

    def __rsub__(self, other: Any) -> OffPolicyEstimate:
        return -self + other

    def __mul__(self, factor: Any) -> OffPolicyEstimate:
        if not isinstance(factor, Real):
            return NotImplemented
        by = float(factor)
        psi, left_out = self.contributions, self.left_out
        low, high = sorted(by * end if by else 0.0 for end in self.limits)
        return plain(
            self,
            value=by * self.value,
            standard_error=abs(by) * self.standard_error,
            contributions=None if psi is None else by * psi,
            left_out=None if left_out is None else by * left_out,
            bias_bound=abs(by) * self.bias_bound,
            limits=(low, high),
        )

    __rmul__ = __mul__

    def __neg__(self) -> OffPolicyEstimate:
        return self * -1.0

    def __truediv__(self, divisor: Any) -> OffPolicyEstimate:
        if not isinstance(divisor, Real):
            return NotImplemented
        return self * (1.0 / float(divisor))

    def _combined(
        self,
        other: OffPolicyEstimate,
        value: float,
        slopes: tuple[float, float],
        limits: Limits,
        word: str,
    ) -> OffPolicyEstimate:
        """A function of two values of one log, by its derivatives."""
        order = _order(self, other)

        def paired(one: Floats, two: Floats) -> Floats:
            own = slopes[0] * one
            psi = own + slopes[1] * two[order]
            # Of equal estimates what is left is rounding, and no test is made of it.
            is_zero = np.abs(psi).max() <= _ROUNDING * np.abs(own).max()
            return np.zeros(len(psi)) if is_zero else psi

        assert self.contributions is not None
        assert other.contributions is not None
        psi, left_out = paired(self.contributions, other.contributions), None
        if self.left_out is not None or other.left_out is not None:
            # What both have in common is gone, and with it most of an error beside
            # which that of Q̂ and ω was small.
            left_out = paired(
                self.contributions if self.left_out is None else self.left_out,
                other.contributions if other.left_out is None else other.left_out,
            )
            psi = as_wide_as(psi, spread(left_out))
        size = self.effective_sample_size
        if self.effective_unit == other.effective_unit:
            size = min(size, other.effective_sample_size)
        # What an error has beyond its contributions is not known to cancel.
        excess = slopes[0] ** 2 * self._excess + slopes[1] ** 2 * other._excess
        error = float(np.sqrt(spread(psi) ** 2 + excess))
        return OffPolicyEstimate(
            value=value,
            # Nothing is further off than all that it can be.
            standard_error=min(error, limits[1] - limits[0]),
            effective_sample_size=size,
            n_episodes=self.n_episodes,
            n_transitions=self.n_transitions,
            method=f"{self.method} {word} {other.method}",
            error_method=f"what {len(psi):,} independent pieces contribute, paired",
            effective_unit=self.effective_unit,
            confidence_level=self.confidence_level,
            contributions=psi,
            bias_bound=(
                abs(slopes[0]) * self.bias_bound + abs(slopes[1]) * other.bias_bound
            ),
            pieces=self.pieces,
            limits=limits,
            left_out=left_out,
        )

    @property
    def _excess(self) -> float:
        """The part of SE² that is not of the contributions."""
        assert self.contributions is not None  # `_order` has refused it
        total = self.standard_error**2
        excess = total - spread(self.contributions) ** 2
        # Less than this is rounding of a difference of squares.
        return excess if excess > 1e-9 * total else 0.0

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        value, error, *_ = self._shown()
        doubt = f", without a standard error ({self.error_method})"
        if np.isfinite(self.standard_error):
            doubt = f" ± {error} (standard error by {self.error_method})"
        parts = [f"{self.method}: {self._noun} {value}{doubt}", *self._reach()]
        return f"{', '.join(parts)}; effective sample size {self._size_shown()}."

    def _repr_html_(self) -> str:
        value, error, low, high, bias = self._shown()
        rows = {
            self._noun: value,
            "standard error": error,
            f"{100 * self.confidence_level:g} % interval": f"[{low}, {high}]",
            "bias bound": bias if self.bias_bound > 0 else "0",
            "effective sample size": self._size_shown(),
        }
        return html_table((), rows.items(), self.method)

    def _reach(self) -> list[str]:
        """The interval in words, and what of it no number of rows would end."""
        _, _, low, high, bias = self._shown()
        found = []
        if np.isfinite(self.standard_error):
            found = [f"{100 * self.confidence_level:g} % interval [{low}, {high}]"]
        if self.bias_bound > 0 and bias.strip("0.,"):
            why = "because the log has few rows, or none, of what the policy does"
            doubt = ": it rests on no data" if self.rests_on_no_data else ""
            found.append(f"up to {bias} of it {why}{doubt}")
        return found

    def _shown(self) -> list[str]:
        numbers = self.value, self.standard_error, *self.confidence_interval
        return shown((*numbers, self.bias_bound), self.standard_error)

    def _size_shown(self) -> str:
        rows = self.effective_unit == "rows"
        whole = self.n_transitions if rows else self.n_episodes
        size = self.effective_sample_size
        return f"{size:,.1f} of {whole:,} {self.effective_unit}"


def with_error(estimate: OffPolicyEstimate) -> str:
    """What ``str`` says of a value, without how it was computed."""
    value, error, *_ = estimate._shown()
    doubt = f" ± {error}" if np.isfinite(estimate.standard_error) else ""
    reach = estimate._reach() or ["without a standard error"]
    return f"{value}{doubt} ({', '.join(reach)})"


def interval(estimate: OffPolicyEstimate, quantile: float) -> Limits:
    """Value ± (quantile · standard error + bias bound), inside the limits."""
    reach = quantile * estimate.standard_error + estimate.bias_bound
    ends = np.array([estimate.value - reach, estimate.value + reach])
    low, high = np.clip(ends, *estimate.limits).tolist()
    return low, high


def within(value: float, error: float, limits: Limits) -> Limits:
    """A value inside its limits, and its standard error.

    What came out beyond is wrong by the excess at least, and by the range at most.
    """
    low, high = limits
    held = float(np.clip(value, low, high))
    if held == value or np.isnan(error):
        return held, float(error)
    return held, float(min(np.hypot(error, value - held), high - low))


def spread(contributions: Floats) -> float:
    """Standard error of a sum of independent contributions, (E,); NaN for one.

    SE² = E/(E − 1) Σ_e (ψ_e − ψ̄)², Eq. (51) of docs/game.md.
    """
    n = len(contributions)
    if n < 2:
        return float("nan")
    centred = contributions - contributions.mean()
    return float(np.sqrt(n / (n - 1) * (centred @ centred)))


def as_wide_as(contributions: Floats, error: float) -> Floats:
    """Contributions, (E,), of this spread where it is larger by a fourth."""
    own = spread(contributions)
    if not (np.isfinite(error) and error > _LARGER * own > 0.0):
        return contributions
    mean = contributions.mean()
    return mean + (contributions - mean) * error / own


def freedom(contributions: Floats) -> float:
    """Degrees of freedom of `spread`, at least 1: Eq. (74) of docs/game.md.

    Satterthwaite's: of a variance whose own is (κ − 1) / E of its square.
    """
    n = len(contributions)
    squared = (contributions - contributions.mean()) ** 2
    mean = squared.mean()
    if n < 2 or mean == 0.0:
        return float(max(n - 1, 1))
    excess = float(((squared / mean) ** 2).mean()) - 1.0
    # Fewer than normal contributions' tails are no reason for more.
    return float(np.clip(2.0 * n / max(excess, 2.0), 1.0, max(n - 1, 1)))


def clustered_error(influence: Floats, cluster: Index, n_clusters: int) -> float:
    """`spread` of contributions, (n,), by clusters that are independent."""
    # Rows of an episode depend on each other, so that the sum of each is one
    # observation (the cluster-robust variance of Liang and Zeger).
    return spread(summed(influence, cluster, n_clusters))


def summed(influence: Floats, cluster: Index, n_clusters: int) -> Floats:
    """Sums of rows, (n,), by cluster, (n_clusters,)."""
    sums: Floats = np.bincount(cluster, influence, n_clusters).astype(float)
    return sums


def effective_size(ratio: NDArray[Any]) -> float:
    """Kish's effective sample size, Eq. (52) of docs/game.md; 0 if every ρ is 0."""
    # Scaled first: squares of weights of long episodes overflow.
    largest = np.abs(ratio).max(initial=0.0)
    if largest == 0.0 or not np.isfinite(largest):
        return 0.0
    ratio = ratio / largest
    return float(ratio.sum() ** 2 / (ratio**2).sum())


def plain(estimate: OffPolicyEstimate, **changes: Any) -> OffPolicyEstimate:
    """An estimate with other fields, and none but those of every estimate."""
    names = OffPolicyEstimate.__dataclass_fields__
    return OffPolicyEstimate(
        **{name: getattr(estimate, name) for name in names} | changes
    )


def _order(one: OffPolicyEstimate, other: OffPolicyEstimate) -> Index:
    """Where the pieces of one are among those of the other, (E,)."""
    for estimate in (one, other):
        if estimate.contributions is None or estimate.pieces is None:
            raise ValueError(
                f"The estimate by {estimate.method} does not keep what each episode "
                "contributes, so that it cannot be paired with another. Use "
                "doubly_robust_value, or fitted_q_value with "
                "standard_error='influence'."
            )
    assert one.pieces is not None
    assert other.pieces is not None
    mine, theirs = np.argsort(one.pieces), np.argsort(other.pieces)
    same = len(mine) == len(theirs) and one.n_transitions == other.n_transitions
    if not same or not np.array_equal(one.pieces[mine], other.pieces[theirs]):
        raise ValueError(
            f"The estimates are not of the same pieces of one log: {len(mine):,} in "
            f"{one.n_transitions:,} rows, and {len(theirs):,} in "
            f"{other.n_transitions:,} rows, by name. Estimate both on the same rows."
        )
    order = np.empty(len(mine), dtype=np.intp)
    order[mine] = theirs
    return order


def shown(numbers: tuple[float, ...], error: float) -> list[str]:
    """Numbers with the decimals that show two figures of the standard error."""
    # Outside these bounds fixed decimals would be long rows of zeros.
    if not np.isfinite(error) or not 1e-6 < error < 1e9:
        return [f"{number:z.4g}" for number in numbers]
    # log10 of 0.8 is −0.1, whose floor is −1: two decimals.
    decimals = max(0, 1 - int(np.floor(np.log10(error))))
    return [f"{number:z,.{decimals}f}" for number in numbers]
