"""Doubly robust estimates: a fitted Q, and what the log says against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .episodes import refuse_unknown, weighted_sum, whole_episodes
from .estimate import clustered_error, effective_size
from .fitted_q import QSystem
from .judged import JudgedLog
from .nodes import Floats
from .regression import regressed_q

# Rows for each direction in the equations of ω, see `QSystem.solve`. On episodes that
# they were not fitted on, ratios with the ridge of Q are mostly noise. Once solved with
# a larger one they are too small far from the start, so that the estimate leans on Q
# and its error does not show: FrozenLake's intervals then held the truth in 88 %.
_DUAL_RIDGE = 3.0


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Q of each row by episodes of other folds, and what is read of it.

    Parameters
    ----------
    value : array of shape (n,)
        V of the logged states.
    residual : array of shape (n,)
        δ = r + γ V(s') − Q(s, a).
    ratio : array of shape (n,)
        ω, as `FittedQ.ratio`, by the other folds too.
    """

    value: Floats
    residual: Floats
    ratio: Floats


def cross_fit(
    whole: QSystem, fold: NDArray[np.intp], regressor: Any, n_iterations: int
) -> CrossFitted:
    """Fit Q without each fold in turn, and read it off on the fold.

    Parameters
    ----------
    whole : QSystem
        Of the whole log; its features serve all folds.
    fold : int array of shape (n,)
    regressor : regressor or None
        Of Q; None for the closed form.
    n_iterations : int
        Of the regressor.
    """
    judged, discount = whole.judged, whole.discount
    limits = judged.return_range(discount)
    state_value, residual, ratio = np.empty((3, len(judged)))
    for number in np.unique(fold):
        held = np.flatnonzero(fold == number)
        fit = whole.part(np.flatnonzero(fold != number)).solve(_DUAL_RIDGE)
        # Any Q will do, so one that leaves the range of returns is brought back.
        if regressor is None:
            value, logged = fit.values(whole.pairs, limits)
        else:
            value, logged = regressed_q(
                fit.judged, discount, regressor, n_iterations, asked=judged
            ).values(limits)
        after = judged.goes_on[held] * value[judged.next_index[held]]
        residual[held] = judged.log.reward[held] + discount * after - logged[held]
        ratio[held] = whole.pairs.times(held, fit.dual.ravel())
        state_value[held] = value[judged.state_index[held]]
    return CrossFitted(state_value, residual, ratio)


@dataclass(frozen=True)
class Robust:
    """A doubly robust value with what is reported of it."""

    value: float
    standard_error: float
    effective_sample_size: float


def density_estimate(
    judged: JudgedLog,
    fit: CrossFitted,
    discount: float,
    *,
    weighted: bool,
    clip: float | None,
) -> Robust:
    """Mean V(s₀) + Σ_i p_i ω_i δ_i.

    Weighted, ω is divided by Σ_i p_i ω_i (1 − γ g_i), which is 1 for true ratios.
    """
    ratio = fit.ratio if clip is None else np.clip(fit.ratio, 0.0, clip)
    mass = judged.weight * ratio
    scale = float(mass @ (1.0 - discount * judged.goes_on)) if weighted else 1.0
    first = fit.value[judged.initial]
    start = float(judged.initial_weight @ first)
    added = float(mass @ fit.residual) / scale
    influence = mass * fit.residual / scale
    if weighted:
        influence -= added * mass * (1.0 - discount * judged.goes_on) / scale
    np.add.at(influence, judged.initial, judged.initial_weight * (first - start))
    return Robust(
        start + added,
        clustered_error(influence, judged.episode, judged.n_episodes),
        effective_size(mass),
    )


def stepwise_estimate(
    judged: JudgedLog,
    fit: CrossFitted,
    step_ratio: Floats,
    discount: float,
    *,
    weighted: bool,
    clip: float | None,
) -> Robust:
    """Mean V(s₀) + Σ_t γ^t Σ_e w_et δ_et.

    With V at a truncated end's next state inside its last δ, that is the tail's value.
    """
    rows = whole_episodes(judged)
    ratio = rows.cumulate(step_ratio, clip)
    refuse_unknown(ratio, rows.logged, discount)
    summed = weighted_sum(ratio, rows.spread(fit.residual), discount, weighted=weighted)
    first = rows.spread(fit.value)[:, 0]
    start = float(first.mean())
    error = summed.standard_error((first - start) / len(first))
    return Robust(start + summed.value, error, summed.effective_sample_size)
