"""A lower bound of the value of a policy, by policies learned without some episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import t as student_t

from .._typing import Floats, Index
from ..transitions._transitions import Transitions
from ._data import EvaluationData
from ._doubly_robust import (
    CrossFitted,
    density_estimate,
    fit_without,
    with_second_order,
)
from ._estimate import freedom, spread
from ._fitted_q import FittedQ, FittedQSystem
from ._forest_q import disagreement
from ._importance_weights import episode_folds
from ._residual_check import hidden_state_notes
from ._settings import QSettings, choose_system
from ._tabulate import AnyPolicy, tabulate_policy
from ._unsupported import bias_bound

# Four fifths of the episodes lead to nearly the policy of all of them.
_FOLDS = 5

# Of Q: the doubly robust estimate's own.
_RIDGE = 0.1


@dataclass(frozen=True)
class LowerBound:
    """A lower bound of a policy's value, and the parts that it is made of.

    Parameters
    ----------
    estimate : float
        Mean doubly robust value, in units of discounted return, of policies that are
        each learned without a fold of episodes and evaluated on that fold.
    standard_error : float
        Of ``estimate``, by episodes.
    spread : float
        How far the value of the policy of all episodes may be from theirs: the standard
        deviation of the fitted-Q values of the folds' policies, times √(1 + 1/folds).
    quantile : float
        One-sided, of Student's t, for as many candidates as there were (Bonferroni).
    bias_bound : float, default=0.0
        How far ``estimate`` may be too high because the log does not support what the
        policies do.
    lowest : float
        The least that rewards such as the log's can add up to.
    notes : tuple of Warning
        What else makes it less sure: that states do not hold all that matters.
    tried : tuple of (lam, estimate, standard_error)
        Each λ that was tried, in order. The one of the highest estimate less
        ``quantile`` standard errors was taken.
    """

    estimate: float
    standard_error: float
    spread: float
    quantile: float
    bias_bound: float = 0.0
    lowest: float = -np.inf
    notes: tuple[Warning, ...] = ()
    tried: tuple[tuple[float, float, float], ...] = ()

    @property
    def value(self) -> float:
        """``estimate`` less `bias_bound` and the quantile of both errors."""
        error = float(np.hypot(self.standard_error, self.spread))
        below = self.estimate - self.bias_bound - self.quantile * error
        return max(self.lowest, below)

    @property
    def pessimism(self) -> float:
        """How far the bound lies under the estimate."""
        return self.estimate - self.value


@dataclass(eq=False)
class _Candidate:
    """Policies of one candidate, and what the rows that each did not see say of it."""

    found: CrossFitted
    systems: list[FittedQSystem] = field(default_factory=list)


def highest_lower_bound(
    log: Transitions,
    discount: float,
    learn: Callable[[Index], Sequence[AnyPolicy]],
    first: AnyPolicy,
    level: float,
    lams: Sequence[float],
) -> tuple[int, LowerBound]:
    """The highest lower bound of the candidates that ``learn`` makes of some rows.

    One for each of ``lams``; with its place among them. The bounds hold together at the
    level, in (0, 1); ``first`` is any policy of the log's actions.
    """
    data = tabulate_policy(first, log).by_steps(discount)
    if data.n_pieces < 2:
        raise ValueError(
            "lam='calibrated' needs at least two episodes, which are what the value's "
            f"error is counted over; the log has {data.n_pieces}. Log more episodes, "
            "or set lam to a number."
        )
    fold = episode_folds(data, min(_FOLDS, data.n_distinct_pieces), 0)
    whole = choose_system(data, discount, QSettings(ridge=_RIDGE))
    candidates: list[_Candidate] = []
    for number in np.unique(fold):
        held = np.flatnonzero(fold == number)
        policies = learn(np.flatnonzero(fold != number))
        if not candidates:
            candidates = [
                _Candidate(CrossFitted(*np.empty((3, len(data))))) for _ in policies
            ]
        for candidate, policy in zip(candidates, policies, strict=True):
            # All policies are evaluated in the same features, computed once.
            own = tabulate_policy(policy, log).by_steps(discount, data.steps)
            system = whole.on(own)
            candidate.systems.append(system)
            # Nothing learned here has seen the episodes that it is held against.
            candidate.found.take(held, fit_without(system, held))
    parts = [np.flatnonzero(fold == number) for number in np.unique(fold)]
    return _highest(data, discount, candidates, parts, level, lams)


def _highest(
    data: EvaluationData,
    discount: float,
    candidates: list[_Candidate],
    held: Sequence[Index],
    level: float,
    lams: Sequence[float],
) -> tuple[int, LowerBound]:
    found = [_cautious(data, candidate.found, discount) for candidate in candidates]
    # Eq. (56) of docs/game.md, Bonferroni: the highest of several bounds is too high
    # more often than each is. Candidates are nearly the same, and the quantile of
    # correlated ones would be smaller: with that 26 of 31 bounds held on noise. The
    # difference pays for what the errors are uncertain by themselves.
    df = min(freedom(psi) for _, psi, _ in found)
    quantile = float(student_t.isf((1.0 - level) / len(found), df))
    lowest, highest = data.return_range(discount)
    estimates = np.clip([value for value, _, _ in found], lowest, highest)
    errors = np.array([spread(psi) for _, psi, _ in found])
    best = int(np.argmax(estimates - quantile * errors))
    systems = candidates[best].systems
    fits = [system.solve() for system in systems]
    unsupported = float(np.mean([bias_bound(system) for system in systems]))
    trees = disagreement(systems, estimates[best], found[best][1], held)
    # A bound from below minds what is too high alone.
    too_high = trees.value < estimates[best]
    return best, LowerBound(
        float(estimates[best]),
        spread(with_second_order(found[best][1], fits[0])),
        spread_of_policies(fits),
        quantile,
        unsupported + (trees.bound if too_high else 0.0),
        lowest,
        (trees.notes if too_high else ()) + hidden_state_notes(fits[0]),
        tuple(zip(lams, estimates.tolist(), errors.tolist(), strict=True)),
    )


def _cautious(
    data: EvaluationData, found: CrossFitted, discount: float
) -> tuple[float, Floats, float]:
    """The doubly robust estimate, its ratios normalised or not, whichever is lower.

    Of few episodes what the ratios are divided by can be near zero.
    """
    return min(
        (
            density_estimate(data, found, discount, weighted=weighted, clip=None)
            for weighted in (True, False)
        ),
        key=lambda one: one[0] - spread(one[1]),
    )


def spread_of_policies(fits: list[FittedQ]) -> float:
    """How far a further policy's value may be from the mean of these."""
    # On the same rows, so that the log's noise falls out of the differences.
    values: Floats = np.array([fit.value for fit in fits])
    return float(np.std(values, ddof=1) * np.sqrt(1.0 + 1.0 / len(values)))
