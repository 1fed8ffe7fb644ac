"""Doubly robust estimates: a fitted Q, and what the log says against it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .._typing import Floats, Index, RandomStateLike
from .._validation import check_rules, integer, one_of, positive
from ..kernels._registry import KernelLike
from ._data import EvaluationData
from ._estimate import (
    Figures,
    OffPolicyEstimate,
    as_wide_as,
    effective_size,
    spread,
    summed,
)
from ._fitted_q import FittedQ, FittedQSystem, regressed_q
from ._forest_q import disagreement
from ._importance_weights import (
    episode_folds,
    propensities,
    refuse_densities,
    weight_notes,
    weighted_sum,
    whole_episodes,
)
from ._prepare import evaluate
from ._residual_check import few_rows_notes, hidden_state_notes
from ._settings import QSettings, choose_system
from ._thin_pairs import widened
from ._unsupported import bias_bound

# Rows for each direction in the equations of ω, see `FittedQSystem.solve`. On episodes
# that they were not fitted on, ratios with the ridge of Q are mostly noise. Once solved
# with a larger one they are too small far from the start, so that the estimate leans on
# Q and its error does not show: FrozenLake's intervals then held the truth in 88 %.
_DUAL_RIDGE = 3.0


# By which fitted-Q's ridge is smaller: at that of Q̂ its error would be drawn in, too.
_SMALLER_RIDGE = 0.3


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """Q and ω of each row by episodes of other folds."""

    value: Floats  # V of the logged states, (n,)
    residual: Floats  # δ = r + γ V(s') − Q(s, a), (n,)
    ratio: Floats  # ω, as `FittedQ.ratio`, (n,)

    def take(self, rows: Index, found: CrossFitted) -> None:
        """Put what was found of some rows in their places."""
        self.value[rows] = found.value
        self.residual[rows] = found.residual
        self.ratio[rows] = found.ratio


def cross_fit(
    whole: FittedQSystem, fold: Index, regressor: object, n_iterations: int
) -> CrossFitted:
    """Fit Q without each fold, and read it off on the fold.

    The features of the whole log serve all folds: they hold no rewards.
    """
    found = CrossFitted(*np.empty((3, len(whole.data))))
    for number in np.unique(fold):
        held = np.flatnonzero(fold == number)
        found.take(held, fit_without(whole, held, regressor, n_iterations))
    return found


def fit_without(
    whole: FittedQSystem, held: Index, regressor: object = None, n_iterations: int = 1
) -> CrossFitted:
    """Fit Q and ω without some rows, and read them off on these alone."""
    data, discount = whole.data, whole.discount
    others = np.setdiff1d(np.arange(len(data)), held)
    fit = whole.part(others).solve(_DUAL_RIDGE)
    # Any Q will do, so one that leaves the range of returns is brought back, as that of
    # a regressor is.
    if regressor is None:
        limits = data.q_range(discount)
        value, logged = whole.features.values(fit.weight, fit.system.anchor, limits)
    else:
        value, logged = regressed_q(
            fit.data, discount, regressor, n_iterations, held_out=data
        )
    return CrossFitted(
        value[data.state_index[held]] + data.offset[held],
        data.td_residual(value, logged, discount)[held],
        whole.features.times(held, fit.dual.ravel()),
    )


def density_estimate(
    data: EvaluationData,
    fit: CrossFitted,
    discount: float,
    *,
    weighted: bool,
    clip: float | None,
) -> tuple[float, Floats, float]:
    """Mean V(s₀) + Σ_i p_i ω_i δ_i, its contributions and effective sample size."""
    # A smooth dual may be negative somewhere; clipped ratios are >= 0, as true ones.
    ratio = fit.ratio if clip is None else np.clip(fit.ratio, 0.0, clip)
    # Eq. (53) of docs/game.md. Flow in is flow out: for true ω the scale S is 1.
    mass, carried = data.weight * ratio, data.carried(discount)
    scale = float(mass @ (1.0 - carried)) if weighted else 1.0
    # Where the log says nothing of the policy there may be no ratio to divide by.
    if not scale > 0.0:
        scale, weighted = 1.0, False
    first = fit.value[data.initial]
    start = float(data.initial_weight @ first)
    added = float(mass @ fit.residual) / scale
    influence = mass * fit.residual / scale
    if weighted:
        # The derivative of the quotient by its denominator.
        influence -= added * mass * (1.0 - carried) / scale
    np.add.at(influence, data.initial, data.initial_weight * (first - start))
    return (
        start + added,
        summed(influence, data.pieces, data.n_pieces),
        effective_size(mass),
    )


def with_second_order(contributions: Floats, whole: FittedQ) -> Floats:
    """Contributions, (E,), as large as fitted-Q's error where that is larger.

    With what fitted-Q knows of pairs that have few rows, in any case.
    """
    contributions = widened(contributions, whole.thin_pairs_variance)
    return as_wide_as(contributions, whole.standard_error)


def stepwise_estimate(
    data: EvaluationData,
    fit: CrossFitted,
    step_ratio: Floats,
    discount: float,
    *,
    weighted: bool,
    clip: float | None,
) -> tuple[float, Floats, float]:
    """Mean V(s₀) + Σ_t γ^t Σ_e w_et δ_et, its contributions and sample size."""
    rows = whole_episodes(data)
    power = rows.powers(discount)
    ratio = rows.cumulate(step_ratio, clip, power)
    residual, weight = rows.spread(fit.residual), rows.weights(data)
    summed = weighted_sum(ratio, residual, weight, power, weighted=weighted)
    first, share = rows.spread(fit.value)[:, 0], weight[:, 0] / weight[:, 0].sum()
    start = float(share @ first)
    # Eq. (54): the recursion of Jiang and Li (2016), unrolled, so that V(s₀) adds to an
    # episode's sum.
    psi = summed.influence + share * (first - start)
    return start + summed.value, psi, summed.effective_sample_size


def doubly_robust_value(
    policy: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    discount: float,
    sample_weight: ArrayLike | None = None,
    ratios: str = "density",
    weighted: bool = True,
    clip: float | None = None,
    propensity_model: object = None,
    n_folds: int | None = None,
    greedy: bool = False,
    kernel: KernelLike = "auto",
    bandwidth: ArrayLike = "median",
    n_components: int | None = 200,
    ridge: float = 0.1,
    regressor: object = None,
    n_iterations: int = 50,
    confidence_level: float = 0.95,
    block_length: int | None = None,
    random_state: RandomStateLike = 0,
) -> OffPolicyEstimate:
    """Value of a policy by a fitted Q and what the log says against it.

    With Q̂ of each episode fitted on the other folds' episodes, its value V̂ and
    δ = r + γ (1 − terminated) V̂(s') − Q̂(s, a),

        mean V̂(s₀) + Σ_i ω_i δ_i / n            (``ratios="density"``) [1]_,
        mean V̂(s₀) + Σ_t γ^t Σ_e w_et δ_et      (``ratios="importance"``) [2]_ [3]_.

    It is right where either Q̂ or the weights are: ω, the ratios of densities that the
    dual of the closed form gives, which do not grow with the length of the episodes and
    need no propensities, or w, the weights of `importance_sampling_value`. The value
    after a truncated end is V̂ of the state reached.

    Parameters
    ----------
    policy, X, y, discount, sample_weight, greedy, confidence_level
        As in `fitted_q_value`. ``ratios="importance"`` needs whole episodes, and takes
        weights as `importance_sampling_value` does.
    ratios : {"density", "importance"}, default="density"
        Continuous actions have ``"density"`` alone.
    weighted : bool, default=True
        Divide the weights at each step by their sum, and the densities by what theirs
        should be.
    clip : float, default=None
        Largest cumulative ratio, or ratio of densities, which are then >= 0, too.
    propensity_model : classifier, default=None
        As in `importance_sampling_value`; for ``ratios="importance"`` alone.
    n_folds : int, default=None
        Folds of episodes; Q̂, ω and estimated propensities of each are fitted on the
        others. Episodes that repeat another one are in its fold, unless states are few,
        so that equal ones are chance. None means ten, or as many as there are episodes,
        if those are fewer.
    kernel, bandwidth, n_components, ridge, regressor, n_iterations
        Of Q̂, as in `fitted_q_value`, whose ridge is smaller.
    block_length : int, default=None
        Rows of a block of time, > 0, taken as independent of the others: as in
        `fitted_q_value`; folds are of them. For ``ratios="density"``.
    random_state : int, RandomState instance or None, default=0
        Draws landmarks and folds.

    Returns
    -------
    OffPolicyEstimate
        In units of discounted return. The standard error is that of the episodes'
        contributions, Q̂ and weights taken as known, or with ``ratios="density"`` that
        of `fitted_q_value` where it is larger by a fourth. The effective sample size
        counts rows, or episodes with ``ratios="importance"``, whose intervals are too
        narrow where few episodes carry the weight.

    Raises
    ------
    ValueError
        As in `fitted_q_value` and `importance_sampling_value`, and if there are fewer
        episodes than folds.

    Warns
    -----
    UserWarning
        With ``ratios="importance"``, as in `importance_sampling_value`; else as in
        `fitted_q_value`, a `HiddenStateWarning`, too.

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
    >>> state, action = np.zeros((40, 1)), np.tile([0, 1], 20)
    >>> log = Transitions(state, action, action, state, terminated=np.ones(40))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> round(float(doubly_robust_value(policy, log, discount=0.0)), 2)
    1.0
    """
    rules = {"clip": positive(None), "n_iterations": integer(1)}
    check_rules({"clip": clip, "n_iterations": n_iterations}, rules)
    check_rules({"ratios": ratios}, {"ratios": one_of("density", "importance")})
    settings = QSettings(kernel, bandwidth, n_components, ridge, random_state)

    def figures(data: EvaluationData) -> Figures:
        data = data.by_steps(discount) if regressor is None else data
        # Ten are close to the whole log, and ten fits.
        most = data.n_distinct_pieces
        folds = max(2, min(10, most)) if n_folds is None else n_folds
        fold = episode_folds(data, folds, random_state)
        if ratios == "importance":
            refuse_densities(data)
            whole_episodes(data)  # refused before anything is fitted
            logger, source = propensities(data, propensity_model, folds, random_state)
            step_ratio = data.logged_probability / logger
        notes: tuple[str | Warning, ...] = ()
        left_out = None
        trees_bound = 0.0
        system = choose_system(data, discount, settings)
        fit = cross_fit(system, fold, regressor, n_iterations)
        if ratios == "density":
            value, psi, size = density_estimate(
                data, fit, discount, weighted=weighted, clip=clip
            )
            if regressor is None:
                whole = system.with_ridge(_SMALLER_RIDGE * system.ridge).solve()
                psi, left_out = with_second_order(psi, whole), whole.contributions
                trees = disagreement([system], value, psi)
                trees_bound = trees.bound
                notes = trees.notes + hidden_state_notes(whole)
                notes += few_rows_notes(size, len(data))
            source, unit = "density ratios", "rows"
        else:
            value, psi, size = stepwise_estimate(
                data, fit, step_ratio, discount, weighted=weighted, clip=clip
            )
            source, unit = f"importance weights, {source}", "episodes"
            notes = weight_notes(data, logger, size, psi)
        source += f", clipped at {clip:g}" if clip is not None else ""
        return Figures(
            value,
            spread(psi),
            size,
            f"Doubly robust evaluation ({source}; Q in {folds} folds)",
            f"the influence function over {data.counted}",
            unit,
            contributions=psi,
            left_out=left_out,
            bias_bound=bias_bound(system) + trees_bound,
            limits=data.return_range(discount),
            notes=notes,
        )

    return evaluate(
        figures,
        policy,
        X,
        y,
        discount,
        confidence_level,
        greedy,
        sample_weight,
        block_length,
    )
