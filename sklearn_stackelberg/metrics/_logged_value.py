"""`logged_value`: what the policy that logged is worth."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from .._linalg import LinearSystem
from .._typing import Floats, Index
from .._validation import check_discount, check_level
from ..kernels._columns import are_finite
from ..transitions._as_transitions import as_transitions
from ..transitions._time import refuse_endless
from ..transitions._transitions import Transitions
from ..transitions._weights import check_sample_weight, n_given
from ._data import EvaluationData
from ._estimate import Figures, OffPolicyEstimate, effective_size, spread, summed
from ._fitted_q import FittedQ
from ._holdout import fitted_q
from ._importance_weights import EpisodeRows, whole_episodes
from ._prepare import prepare_evaluation, reported


class Logger:
    """The policy that logged: it does what was done, which is its only action."""

    classes_ = np.zeros(1, dtype=np.intp)

    def predict_proba(self, states: object) -> Floats:
        return np.ones((len(states), 1))  # type: ignore[arg-type]


def logged_value(
    X: object,
    y: ArrayLike | None = None,
    *,
    discount: float,
    confidence_level: float = 0.95,
    sample_weight: ArrayLike | None = None,
) -> OffPolicyEstimate:
    """Value of the policy that logged: what was earned, with its standard error.

    Of whole episodes, and of rows that are each an episode of one step, the mean of
    Σ_t γ^t r_t. Where an episode is cut (its end is not ``terminated``) γ^T V̂(s_T) is
    added, V̂ being the logger's value by fitted-Q evaluation without actions (LSTD), so
    that it estimates what `fitted_q_value` and `doubly_robust_value` do. Rows that are
    no whole episodes have that V̂ of the initial states alone.

    Parameters
    ----------
    X : Transitions, or array-like or DataFrame of shape (n, d)
        The log.
    y : DataFrame, structured array or array-like, default=None
        As in `StackelbergPolicyEstimator.fit`.
    discount : float
        γ, in [0, 1]; 1 needs every episode to end, terminated.
    confidence_level : float, default=0.95
        Of the estimate's interval, in (0, 1).
    sample_weight : array-like of shape (n,), default=None
        How often each row of X counts, as in `fitted_q_value`. An episode has the
        weight of its first row.

    Returns
    -------
    OffPolicyEstimate
        In units of discounted return; its contributions pair with those of a policy's
        estimate on the same log, see `value_difference`.

    Raises
    ------
    ValueError
        If the discount is not in [0, 1], or if the weights are negative, all zero or
        too few.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.metrics import logged_value
    >>> state, action = np.zeros((40, 1)), np.tile([0, 1], 20)
    >>> log = Transitions(state, action, action, state, terminated=np.ones(40))
    >>> print(logged_value(log, discount=0.0))
    Mean logged return: value 0.500 ± 0.080 (standard error by the spread of 40 rows,
    each taken as independent of the others), 95 % interval [0.338, 0.662]; effective
    sample size 40.0 of 40 episodes.
    """
    check_discount(discount)
    check_level(confidence_level)
    log, rows = as_transitions(cast(Any, X), y, return_rows=True)
    if sample_weight is not None and y is not None:
        # Rows of a table that hold a state alone are no transitions.
        sample_weight = check_sample_weight(sample_weight, n_given(X, y, log))[rows]
    data = prepare_evaluation(
        Logger(), without_actions(log), None, sample_weight=sample_weight
    )
    refuse_endless(data.log, discount)
    return reported(_figures(data, discount), data, confidence_level)


# More states have too few rows each for a value of their own.
_MOST_STATES = 200


def goes_on(log: Transitions, discount: float) -> bool:
    """Whether whole episodes are cut, in states that are measured, without actions.

    What follows is then of fitted values. Few states have one each, which is as good as
    what was earned: of two queues the doubly robust one was worse.
    """
    data = prepare_evaluation(Logger(), log)
    rows = _whole(data)
    if rows is None or are_finite(data.state, _MOST_STATES):
        return False
    return bool(data.carried(discount)[rows.cut_ends(data)].any())


def without_actions(log: Transitions) -> Transitions:
    plain = log[:]
    plain.action = np.zeros(len(log), dtype=np.intp)
    plain.action_names = plain.available = plain.next_available = None
    plain.available_actions = None
    plain.__dict__.pop("available_rule", None)
    plain.propensity = np.ones(len(log))
    return plain


def _figures(data: EvaluationData, discount: float) -> Figures:
    data, limits = data.by_steps(discount), data.return_range(discount)
    rows = _whole(data)
    if rows is None:
        fit = fitted_q(data, discount)
        return Figures(
            fit.value,
            fit.standard_error,
            fit.effective_sample_size,
            "Fitted-Q evaluation of the logger",
            f"the influence function over {data.counted}",
            contributions=fit.contributions,
            limits=limits,
        )
    n_episodes = int(rows.episode.max()) + 1
    first = rows.step == 0
    weight = summed(data.weight[first], rows.episode[first], n_episodes)
    weight = weight / weight.sum()
    power = np.power(discount, rows.elapsed)
    returns = summed(power * data.log.reward, rows.episode, n_episodes)
    influence: Floats = np.zeros(len(data))
    method = "Mean logged return"
    cut = rows.cut_ends(data)
    if len(cut):
        method += ", and what follows a cut end by fitted-Q evaluation"
        fit = fitted_q(data, discount)
        carried = power[cut] * data.carried(discount)[cut]
        after = fit.state_values[data.next_index[cut]] + data.next_offset[cut]
        v = np.clip(after, *limits)
        returns[rows.episode[cut]] += carried * v
        influence = _influence_of_ends(fit, cut, weight[rows.episode[cut]] * carried)
    value = float(weight @ returns)
    np.add.at(
        influence,
        np.flatnonzero(first),
        (weight * (returns - value))[rows.episode[first]],
    )
    psi = summed(influence, data.pieces, data.n_pieces)
    return Figures(
        value,
        spread(psi),
        effective_size(weight),
        method,
        f"the spread of {data.counted}",
        "episodes",
        contributions=psi,
        limits=limits,
    )


def _whole(data: EvaluationData) -> EpisodeRows | None:
    """The rows in their episodes; None where these are no pieces that have a return."""
    # Blocks of one trajectory, episodes that start late or have gaps.
    if data.has_blocks:
        return None
    try:
        return whole_episodes(data)
    except ValueError:
        return None


def _influence_of_ends(fit: FittedQ, cut: Index, weight: Floats) -> Floats:
    """p_i ω_i δ_i of each row for Σ weight V̂ of the states after some, (n,)."""
    data, features = fit.data, fit.system.features
    # Eq. (48), with these states in place of the initial ones.
    start = weight @ features.mean(data.next_index[cut])
    linear = LinearSystem.from_numpy(
        fit.linear.matrix.numpy(), start, fit.linear.c.numpy()
    )
    ratio = features.times_all(linear.solve_transposed().reshape(features.shape))
    # Without an episode that the rest cannot do without: the residual as it is.
    residual = np.where(
        np.isnan(fit.left_out_residual), fit.residual, fit.left_out_residual
    )
    return data.weight * ratio * residual
