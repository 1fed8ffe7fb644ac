"""`fitted_q_value`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from .estimate import OffPolicyEstimate
from .fitted_q import fitted_q
from .judged import judge
from .regression import bootstrap_regressed, regressed_q
from .reported import reported
from .settings import (
    check_common,
    check_error_method,
    check_iterations,
    q_settings,
)


def fitted_q_value(
    policy: Any,
    X: Any,
    y: Any = None,
    *,
    discount: float,
    sample_weight: ArrayLike | None = None,
    greedy: bool = False,
    kernel: Any = "auto",
    bandwidth: Any = "median",
    n_components: int | None = 200,
    ridge: float = 0.03,
    regressor: Any = None,
    n_iterations: int = 50,
    standard_error: str | None = "auto",
    n_bootstrap: int | None = None,
    confidence_level: float = 0.95,
    random_state: Any = 0,
) -> OffPolicyEstimate:
    """Value of a policy by fitted-Q evaluation on a log, in closed form.

    The fixed point of fitted-Q evaluation on landmark features z = e_a ⊗ φ(s), one copy
    per action: the w with

        Σ_i z_i (r_i − (1 − γ g_i) q₀ + γ g_i φ(s'_i, π)ᵀw − z_iᵀw) = ridge · w,

    g = 1 − terminated, so that Q = q₀ + zᵀw. It is read off at the first states of the
    episodes (at all states, if the log marks none as first). The ridge adds to the log
    ``ridge`` rows for each direction of the features, that end at once with a return of
    q₀ = r̄ / (1 − γ ḡ), the mean reward at every step: what to expect where nothing is
    known. A value outside the range that the logged rewards allow is brought back to
    its end, and its standard error then holds the excess too.

    The standard error takes episodes as independent. Episode e contributes

        ψ_e = Σ_{s₀ in e} (V(s₀) − v) / n₀ + Σ_{i in e} ω_i δ_i / n,

    where δ is what the w that is fitted without the episode leaves of the Bellman
    equation (in closed form, as in the jackknife of least squares), ω_i the density
    ratio that the dual of the same equations gives, and SE² = E/(E − 1) Σ_e (ψ_e − ψ̄)².
    The bias of features that cannot follow Q is not in it.

    Parameters
    ----------
    policy : object with ``predict_proba`` and ``classes_``, or ``action_nodes``
        A fitted policy; a pipeline or a search that ends in one, too. One of continuous
        actions has no ``classes_``, and ``action_nodes(states)`` gives actions,
        (n, S, p), and weights, (n, S), that stand for it.
    X : Transitions, or array-like or DataFrame of shape (n, d)
        The log, which should be one that the policy was not learned from.
    y : DataFrame, structured array or array-like, default=None
        As in `StackelbergPolicyEstimator.fit`.
    discount : float
        γ, in [0, 1).
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows of X, >= 0. A row of weight 0 is as if it were not there.
    greedy : bool, default=False
        Judge the most probable action, which `predict` returns, instead of the
        probabilities.
    kernel : "auto", str, callable or Kernel, default="auto"
        Similarity of states. ``"auto"`` tells states only apart (``"delta"``) where
        there are at most ``n_components`` of them and ten rows for each on average;
        else it is the Matérn kernel with ν = 5/2, which follows a value that breaks off
        where episodes end better than ``"rbf"``. Where actions are continuous,
        similarity is that of pairs (s, a), and ``"auto"`` is ``"laplacian"``.
    bandwidth : float, array-like of shape (d,) or "median", default="median"
        Length scale of the states. Larger is smoother.
    n_components : int or None, default=200
        Number of landmarks; of pairs (s, a), twice as many. Larger can follow more
        detail, at its cube in time.
    ridge : float, default=0.03
        Rows for each direction of the features, > 0. Larger is stabler, and draws the
        value to q₀.
    regressor : regressor, default=None
        Fits Q on states and one-hot actions instead, iterated: r + γ V(s') is regressed
        again until V stays. Density ratios and their effective sample size remain those
        of the closed form.
    n_iterations : int, default=50
        Most regressions that are made, > 0; each looks one step further.
    standard_error : {"auto", "influence", "bootstrap", None}, default="auto"
        ``"bootstrap"`` draws episodes anew and fits again; ``"auto"`` does that where
        there is a regressor. None leaves it out.
    n_bootstrap : int, default=None
        Number of such draws. None is 200, with a regressor 20.
    confidence_level : float, default=0.95
        Of the estimate's interval, in (0, 1).
    random_state : int, RandomState instance or None, default=0
        Draws landmarks and the bootstrap. Fixed, so that policies are judged alike.

    Returns
    -------
    OffPolicyEstimate
        In units of discounted return; ``float`` of it is the value.

    Raises
    ------
    ValueError
        If the log holds actions that the policy does not know, if the policy gives more
        than 5 % of its probability to actions that the log never holds (or continuous
        ones far outside the range of those that it holds), if the discount
        is not in [0, 1), or if the weights are negative, all zero or too few.

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
    >>> round(float(fitted_q_value(policy, log, discount=0.0)), 2)
    1.0
    """
    check_common(discount, confidence_level)
    settings = q_settings(kernel, bandwidth, n_components, ridge, random_state)
    error_by = check_error_method(standard_error, regressor, n_bootstrap)
    check_iterations(n_iterations)
    judged = judge(policy, X, y, sample_weight=sample_weight, greedy=greedy)
    fit = fitted_q(judged, discount, settings)
    value, error, by = fit.value, float("nan"), "none was asked for"
    method = "Fitted-Q evaluation"
    if regressor is not None:
        value = regressed_q(judged, discount, regressor, n_iterations).value
        method += f" by {type(regressor).__name__}"
    if error_by == "influence":
        error = fit.standard_error
        by = f"the influence function over {judged.counted}, each left out in turn"
    elif error_by == "bootstrap":
        rng = check_random_state(random_state)
        n_bootstrap = n_bootstrap or (200 if regressor is None else 20)
        if regressor is None:
            drawn = fit.bootstrap(n_bootstrap, rng)
        else:
            drawn = bootstrap_regressed(
                judged, discount, regressor, n_iterations, n_bootstrap, rng
            )
        error = float(np.std(drawn, ddof=1))
        by = f"{n_bootstrap:,} bootstraps over {judged.counted}"
    return reported(
        judged,
        (value, error, fit.effective_sample_size),
        method,
        by,
        confidence_level,
    )
