"""`bellman_error`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .bellman import pair_average, pair_sums, td_residual_of
from .estimate import OffPolicyEstimate
from .features import fit_features
from .judged import judge
from .reported import reported
from .settings import check_common, q_settings


def bellman_error(
    policy: Any,
    X: Any,
    y: Any = None,
    *,
    discount: float,
    q_function: Callable[[Any], Any] | None = None,
    unbiased: bool = True,
    greedy: bool = False,
    kernel: Any = "auto",
    bandwidth: Any = "median",
    n_components: int | None = 200,
    confidence_level: float = 0.95,
    random_state: Any = 0,
) -> OffPolicyEstimate:
    """How far a Q-function is from the policy's Bellman equation, in a kernel's norm.

        E_K = n⁻² Σ_ij δ_i k(x_i, x_j) δ_j,
        δ = r + γ (1 − terminated) Q(s', π) − Q(s, a),

    the square of the largest weighted average of δ over weights in the unit ball of the
    kernel's space, x = (s, a). It needs no second draw of next states. Zero is what the
    true Q has; smaller is better. It says how well Q fits the log, not how good the
    policy is.

    Parameters
    ----------
    policy, X, y, discount, greedy, confidence_level, random_state
        As in `fitted_q_value`.
    q_function : callable, default=None
        Takes states, (k, d), and returns Q of each action, (k, A), in the order of
        ``policy.classes_``; of a continuous policy takes states and actions, (k, p),
        and returns Q, (k,). None is the policy's own ``q_values``.
    unbiased : bool, default=True
        Leave out pairs of rows of the same episode, whose δ are not independent. The
        estimate may then be negative, near zero. False is E_K as above.
    kernel, bandwidth, n_components
        Of the test functions, as in `fitted_q_value`.

    Returns
    -------
    OffPolicyEstimate
        In units of squared reward. The standard error is by leaving each episode out;
        the effective sample size is n² / Σ_e n_e², in episodes.

    Raises
    ------
    ValueError
        As in `fitted_q_value`, and if there is no Q-function.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.metrics import bellman_error
    >>> state = np.repeat([[0.0], [1.0]], 20, axis=0)
    >>> action = np.tile([0, 1], 20)
    >>> reward = 1.0 * (action == state[:, 0])
    >>> log = Transitions(state, action, reward, state, terminated=np.ones(40))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> true = lambda states: 1.0 * (np.arange(2) == states)
    >>> bellman_error(policy, log, discount=0.0, q_function=true).value
    0.0
    """
    check_common(discount, confidence_level)
    settings = q_settings(kernel, bandwidth, n_components, 1.0, random_state)
    judged = judge(policy, X, y, greedy=greedy)
    q_function = q_function or getattr(judged.policy, "q_values", None)
    if q_function is None:
        raise ValueError(
            f"The policy, a {type(judged.policy).__name__}, has no q_values: give a "
            "q_function that takes states and returns the value of each action (of "
            "continuous actions: that takes states and actions)."
        )
    residual = td_residual_of(judged, q_function, discount)
    sums = pair_sums(judged, residual, fit_features(judged, settings))
    value, error = pair_average(sums, unbiased=unbiased)
    lengths = sums.lengths
    return reported(
        judged,
        (value, error, float(lengths.sum() ** 2 / (lengths**2).sum())),
        "Kernel Bellman error" + (" (pairs of different episodes)" * unbiased),
        f"leaving out each of {judged.counted}",
        confidence_level,
        "episodes",
    )
