"""Off-policy estimates: what a policy is worth, from a log."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve
from sklearn.utils import check_array, gen_batches

from ._parameters import check_discount
from .kernels import LandmarkFeatures
from .transitions import Transitions, as_transitions

# Of the evaluator, which must not follow the candidates it compares.
_LANDMARKS = 200
_RIDGE = 1e-6
_BATCH_ROWS = 4096


def fitted_q_value(
    policy: Any,
    X: Any,
    y: ArrayLike | None = None,
    *,
    discount: float,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Value of a policy by fitted-Q evaluation on a log, in closed form.

    The fixed point of fitted-Q evaluation on landmark features of an RBF kernel, one
    copy per action: the w with

        Σ_i φ_i (r_i + γ (1 − terminated_i) φ(s'_i, π)ᵀw − φ_iᵀw) = ridge · w,

    read off at the first states of the episodes (at all states, if the log marks none
    as first).

    Parameters
    ----------
    policy : object with ``predict_proba`` and ``classes_``
        A fitted policy; a pipeline or a search that ends in one, too.
    X : Transitions, or array-like or DataFrame of shape (n, d)
        The log, which should be one that the policy was not learned from.
    y : array-like of shape (n,), default=None
        As in `StackelbergPolicyEstimator.fit`.
    discount : float
        In [0, 1).
    sample_weight : array-like of shape (n,), default=None
        Weights of the logged rows, >= 0. A row of weight 0 is as if it were not there.

    Returns
    -------
    float
        In units of discounted return.

    Raises
    ------
    ValueError
        If the log holds actions that the policy does not know, if the discount is not
        in [0, 1), or if the weights are negative, all zero or too few.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.metrics import fitted_q_value
    >>> state = np.repeat([[0.0], [1.0]], 20, axis=0)
    >>> action = np.tile([0, 1], 20)
    >>> log = Transitions(
    ...     state, action, 1.0 * (action == state[:, 0]), state, terminated=np.ones(40)
    ... )
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> round(fitted_q_value(policy, log, discount=0.0), 2)
    1.0
    """
    check_discount(discount)
    log = as_transitions(X, y)
    weight = _weights(sample_weight, log)
    log, weight = log[weight > 0], weight[weight > 0]
    codes = _codes(log.action, policy.classes_)
    state = check_array(log.state, dtype=np.float64, input_name="state")
    ended = log.terminated[:, None]
    next_state = np.where(ended, state, np.asarray(log.next_state, dtype=np.float64))
    following = policy.predict_proba(_like(log.state, next_state))  # (n, A)
    features = LandmarkFeatures(n_components=_LANDMARKS, random_state=0).fit(state)
    n_actions, m = len(policy.classes_), features.n_features_out_
    left = _RIDGE * np.eye(n_actions * m)
    right = np.zeros(n_actions * m)
    for batch in gen_batches(len(log), _BATCH_ROWS):
        own = np.eye(n_actions)[codes[batch]]
        logged = _joint(features.transform(state[batch]), own)  # (k, A m)
        after = _joint(features.transform(next_state[batch]), following[batch])
        carried = discount * (1.0 - ended[batch]) * after
        left += (logged * weight[batch, None]).T @ (logged - carried)
        right += logged.T @ (weight[batch] * log.reward[batch])
    w = solve(left, right)
    first = np.flatnonzero(log.is_initial)
    first = first if len(first) else np.arange(len(log))
    chosen = policy.predict_proba(_like(log.state, state[first]))
    values = _joint(features.transform(state[first]), chosen) @ w
    return float(np.average(values, weights=weight[first]))


def _joint(features: NDArray[np.floating], share: NDArray[np.floating]) -> NDArray[Any]:
    """Σ_a share_a e_a ⊗ φ: features of (s, a), or of (s, π), (k, A m)."""
    return (share[:, :, None] * features[:, None, :]).reshape(len(features), -1)


def _weights(sample_weight: ArrayLike | None, log: Transitions) -> NDArray[Any]:
    """Weights of the rows, (n,), that sum to one."""
    if sample_weight is None:
        return np.full(len(log), 1.0 / len(log))
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.shape != (len(log),):
        raise ValueError(
            f"sample_weight has shape {weight.shape}; one weight for each of the "
            f"{len(log)} rows of the log was expected."
        )
    if weight.min() < 0 or not weight.any():
        raise ValueError(
            "sample_weight must be >= 0 and not zero everywhere; it goes from "
            f"{weight.min():g} to {weight.max():g}."
        )
    return weight / weight.sum()


def _codes(action: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.intp]:
    unknown = np.setdiff1d(action, classes)
    if len(unknown):
        raise ValueError(
            f"The log holds actions that the policy was not fitted with: "
            f"{unknown[:5].tolist()}; it knows {classes.tolist()}. Fit the policy on a "
            "log that has them, or leave those rows out."
        )
    return np.searchsorted(classes, action)


def _like(template: Any, values: NDArray[np.floating]) -> Any:
    """Values with the columns of a DataFrame, where the log's states are one."""
    if hasattr(template, "columns"):
        return type(template)(values, columns=template.columns)
    return values
