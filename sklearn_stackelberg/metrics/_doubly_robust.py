"""Doubly robust estimates: a fitted Q, and what the log says against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._typing import Floats
from ._data import EvaluationData
from ._estimate import OffPolicyEstimate, clustered_error, effective_size, reported
from ._fitted_q import QSystem
from ._fqe_regressor import regressed_q
from ._importance import (
    episode_folds,
    refuse_densities,
    refuse_unknown,
    step_ratios,
    weighted_sum,
    whole_episodes,
)
from ._prepare import prepare_evaluation
from ._settings import (
    check_choice,
    check_clip,
    check_common,
    check_iterations,
    q_settings,
)

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
    data, discount = whole.data, whole.discount
    limits = data.return_range(discount)
    state_value, residual, ratio = np.empty((3, len(data)))
    for number in np.unique(fold):
        held = np.flatnonzero(fold == number)
        fit = whole.part(np.flatnonzero(fold != number)).solve(_DUAL_RIDGE)
        # Any Q will do, so one that leaves the range of returns is brought back.
        if regressor is None:
            value, logged = fit.values(whole.pairs, limits)
        else:
            value, logged = regressed_q(
                fit.data, discount, regressor, n_iterations, asked=data
            ).values(limits)
        after = data.not_done[held] * value[data.next_index[held]]
        residual[held] = data.log.reward[held] + discount * after - logged[held]
        ratio[held] = whole.pairs.times(held, fit.dual.ravel())
        state_value[held] = value[data.state_index[held]]
    return CrossFitted(state_value, residual, ratio)


@dataclass(frozen=True)
class Robust:
    """A doubly robust value with what is reported of it."""

    value: float
    standard_error: float
    effective_sample_size: float


def density_estimate(
    data: EvaluationData,
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
    mass = data.weight * ratio
    scale = float(mass @ (1.0 - discount * data.not_done)) if weighted else 1.0
    first = fit.value[data.initial]
    start = float(data.initial_weight @ first)
    added = float(mass @ fit.residual) / scale
    influence = mass * fit.residual / scale
    if weighted:
        influence -= added * mass * (1.0 - discount * data.not_done) / scale
    np.add.at(influence, data.initial, data.initial_weight * (first - start))
    return Robust(
        start + added,
        clustered_error(influence, data.episode, data.n_episodes),
        effective_size(mass),
    )


def stepwise_estimate(
    data: EvaluationData,
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
    rows = whole_episodes(data)
    ratio = rows.cumulate(step_ratio, clip)
    refuse_unknown(ratio, rows.logged, discount)
    summed = weighted_sum(ratio, rows.spread(fit.residual), discount, weighted=weighted)
    first = rows.spread(fit.value)[:, 0]
    start = float(first.mean())
    error = summed.standard_error((first - start) / len(first))
    return Robust(start + summed.value, error, summed.effective_sample_size)


def doubly_robust_value(
    policy: Any,
    X: Any,
    y: Any = None,
    *,
    discount: float,
    ratios: str = "density",
    weighted: bool = True,
    clip: float | None = None,
    propensity_model: Any = None,
    n_folds: int | None = None,
    greedy: bool = False,
    kernel: Any = "auto",
    bandwidth: Any = "median",
    n_components: int | None = 200,
    ridge: float = 0.1,
    regressor: Any = None,
    n_iterations: int = 50,
    confidence_level: float = 0.95,
    random_state: Any = 0,
) -> OffPolicyEstimate:
    """Value of a policy by a fitted Q and what the log says against it.

    With Q̂ of each episode fitted on the other folds' episodes, its value V̂ and
    δ = r + γ (1 − terminated) V̂(s') − Q̂(s, a),

        mean V̂(s₀) + Σ_i ω_i δ_i / n            (``ratios="density"``) [1]_,
        mean V̂(s₀) + Σ_t γ^t Σ_e w_et δ_et      (``ratios="importance"``) [2]_ [3]_.

    It is right where either Q̂ or the weights are: ω, the ratios of densities that the
    dual of the closed form gives, or w, the weights of `importance_sampling_value`. The
    former do not grow with the length of the episodes, and need no propensities. The
    value after a truncated end is V̂ of the state reached.

    Parameters
    ----------
    policy, X, y, discount, greedy, confidence_level
        As in `fitted_q_value`. ``ratios="importance"`` needs whole episodes.
    ratios : {"density", "importance"}, default="density"
        Continuous actions have ``"density"`` alone.
    weighted : bool, default=True
        Divide the weights at each step by their sum, and the densities by what theirs
        should be.
    clip : float, default=None
        Largest cumulative ratio, or ratio of densities, which are then >= 0, too.
        Smaller has less spread and leans more on Q̂.
    propensity_model : classifier, default=None
        As in `importance_sampling_value`; for ``ratios="importance"`` alone.
    n_folds : int, default=None
        Folds of episodes; Q̂, ω and estimated propensities of each are fitted on the
        others. Larger is closer to the whole log, and slower. None means ten, or as
        many as there are episodes, if those are fewer.
    ridge : float, default=0.1
        Of Q̂, as in `fitted_q_value`, whose default is smaller.
    kernel, bandwidth, n_components, regressor, n_iterations
        Of Q̂, as in `fitted_q_value`.
    random_state : int, RandomState instance or None, default=0
        Draws landmarks and folds.

    Returns
    -------
    OffPolicyEstimate
        In units of discounted return. The standard error is that of the episodes'
        contributions, Q̂ and weights taken as known; the effective sample size counts
        rows, or episodes with ``ratios="importance"``, whose intervals are too narrow
        where few episodes carry the weight.

    Raises
    ------
    ValueError
        As in `fitted_q_value` and `importance_sampling_value`, and if there are fewer
        episodes than folds.

    References
    ----------
    .. [1] N. Kallus and M. Uehara, "Double reinforcement learning for efficient
       off-policy evaluation in Markov decision processes", 2020.
    .. [2] N. Jiang and L. Li, "Doubly robust off-policy value evaluation for
       reinforcement learning", 2016.
    .. [3] P. Thomas and E. Brunskill, "Data-efficient off-policy policy evaluation for
       reinforcement learning", 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.metrics import doubly_robust_value
    >>> state = np.repeat([[0.0], [1.0]], 20, axis=0)
    >>> action = np.tile([0, 1], 20)
    >>> log = Transitions(
    ...     state, action, 1.0 * (action == state[:, 0]), state, terminated=np.ones(40)
    ... )
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> round(float(doubly_robust_value(policy, log, discount=0.0)), 2)
    1.0
    """
    check_common(discount, confidence_level)
    check_clip(clip)
    check_iterations(n_iterations)
    check_choice("ratios", ratios, ("density", "importance"))
    settings = q_settings(kernel, bandwidth, n_components, ridge, random_state)
    data = prepare_evaluation(policy, X, y, greedy=greedy)
    n_folds = max(2, min(10, data.n_episodes)) if n_folds is None else n_folds
    fold = episode_folds(data, n_folds, random_state)
    options: dict[str, Any] = {"weighted": weighted, "clip": clip}
    if ratios == "density":
        fit = cross_fit(
            QSystem(data, discount, settings), fold, regressor, n_iterations
        )
        found = density_estimate(data, fit, discount, **options)
        source, unit = "density ratios", "rows"
    else:
        refuse_densities(data)
        whole_episodes(data)  # refused before anything is fitted
        step_ratio, source = step_ratios(data, propensity_model, n_folds, random_state)
        fit = cross_fit(
            QSystem(data, discount, settings), fold, regressor, n_iterations
        )
        found = stepwise_estimate(data, fit, step_ratio, discount, **options)
        source, unit = f"importance weights, {source}", "episodes"
    source += f", clipped at {clip:g}" if clip is not None else ""
    return reported(
        data,
        (found.value, found.standard_error, found.effective_sample_size),
        f"Doubly robust evaluation ({source}; Q in {n_folds} folds)",
        f"the influence function over {data.counted}",
        confidence_level,
        unit,
    )
