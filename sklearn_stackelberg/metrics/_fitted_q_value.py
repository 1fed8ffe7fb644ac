"""`fitted_q_value`: in closed form, or by any scikit-learn regressor, iterated."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from .._typing import RandomStateLike
from .._validation import check_rules, integer
from ..kernels._registry import KernelLike
from ._data import EvaluationData
from ._estimate import Figures, OffPolicyEstimate
from ._fitted_q import bootstrap_regressed, regressed_q
from ._forest_q import disagreement
from ._holdout import fitted_q
from ._prepare import evaluate
from ._residual_check import few_rows_notes, hidden_state_notes
from ._settings import QSettings
from ._unsupported import bias_bound


def fitted_q_value(
    policy: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    discount: float,
    sample_weight: ArrayLike | None = None,
    greedy: bool = False,
    kernel: KernelLike = "auto",
    bandwidth: ArrayLike = "median",
    n_components: int | None = 200,
    ridge: float = 0.03,
    regressor: object = None,
    n_iterations: int = 50,
    standard_error: str | None = "auto",
    n_bootstrap: int | None = None,
    confidence_level: float = 0.95,
    block_length: int | None = None,
    random_state: RandomStateLike = 0,
) -> OffPolicyEstimate:
    """Value of a policy by fitted-Q evaluation on a log, in closed form.

    On landmark features z = e_a ⊗ φ(s), one copy per action, it is the w with

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
    The bias of features that cannot follow Q is not in it; trees, by which the same
    equations are solved, say how far off the value may be by them, Eq. (88) of
    docs/evaluation.md, and that is in the bias bound.

    Parameters
    ----------
    policy : object with ``predict_proba`` and ``classes_``, or ``action_nodes``
        A fitted policy; a pipeline or a search that ends in one, too. If continuous,
        ``action_nodes(states)`` gives actions, (n, S, p), and weights, (n, S).
    X : Transitions, or array-like or DataFrame of shape (n, d)
        The log, which should be one that the policy was not learned from.
    y : DataFrame, structured array or array-like, default=None
        As in `StackelbergPolicyEstimator.fit`.
    discount : float
        γ, in [0, 1]; 1 needs every episode to end, terminated.
    sample_weight : array-like of shape (n,), default=None
        How often each row of X counts, >= 0, besides the log's own weights: the value
        is that of the log in which episodes of weight k stand k times, and rows of
        weight 0 are left out. The standard error is not: episodes are what was sampled,
        however much they weigh, so that it also holds with weights by probabilities.
        The ridge is in rows: divide weights of another unit by their mean.
    greedy : bool, default=False
        Evaluate the most probable action, which `predict` returns, instead of the
        probabilities.
    kernel : "auto", str, callable or Kernel, default="auto"
        Similarity of states. ``"auto"`` is a Matérn kernel with ν = 5/2, which follows
        a value that breaks off better than ``"rbf"``; where there are at most
        ``n_components`` states and ten rows for each on average it is ``"delta"``
        (equal or not), unless a Laplacian one foretells held-out episodes far better;
        else linear terms stand beside the kernel, or a Laplacian one in its place,
        where these foretell better. The policy's probabilities stand beside them all,
        Eq. (89) of docs/evaluation.md.
        Of continuous actions, that of pairs (s, a): Laplacian or Matérn, with quadratic
        columns beside it, by what foretells held-out episodes best, and with one or
        three times the `ridge`, or as little as a hundredth of that: as little as the
        error hardly grows with.
    bandwidth : float, array-like of shape (d,) or "median", default="median"
        Length scale of the states, or a multiple of the median one. Larger is smoother.
    n_components : int or None, default=200
        Number of landmarks; of pairs (s, a), twice as many. Time is as its cube.
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
    block_length : int, default=None
        Rows of a block of time, > 0, taken as independent of the others: for standard
        errors, and folds, of few long episodes. None takes episodes, and of a log of
        one episode blocks of √n rows.
    random_state : int, RandomState instance or None, default=0
        Draws landmarks and the bootstrap. Fixed, so that policies are compared alike.

    Returns
    -------
    OffPolicyEstimate
        In units of discounted return; ``float`` of it is the value.

    Raises
    ------
    ValueError
        If the log holds actions that the policy does not know, if the policy gives more
        than 5 % of its probability to actions that the log never holds (or far outside
        its range), if the discount is not in [0, 1], or if the weights are negative,
        all zero or too few.

    Warns
    -----
    HiddenStateWarning
        If what Q leaves of the Bellman equation in other episodes still follows from
        the step or from the row before: see docs/evaluation.md.
    UserWarning
        If trees value the policy so differently that chance does not explain it, or if
        a handful of rows carries the value.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.metrics import fitted_q_value
    >>> state, action = np.zeros((40, 1)), np.tile([0, 1], 20)
    >>> log = Transitions(state, action, action, state, terminated=np.ones(40))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> round(float(fitted_q_value(policy, log, discount=0.0)), 2)
    1.0
    """
    settings = QSettings(kernel, bandwidth, n_components, ridge, random_state)
    rules = {"n_bootstrap": integer(2, None), "n_iterations": integer(1)}
    check_rules({"n_bootstrap": n_bootstrap, "n_iterations": n_iterations}, rules)
    error_by = _error_method(standard_error, regressor)

    def figures(data: EvaluationData) -> Figures:
        # A regressor is given r + γ V(s') as it is.
        data = data.by_steps(discount) if regressor is None else data
        fit = fitted_q(data, discount, settings)
        value, error, by = fit.value, float("nan"), "none was requested"
        contributions = None
        # What is not asked for need not be waited for.
        bias = bias_bound(fit.system) if error_by else 0.0
        notes: tuple[Warning, ...] = ()
        method = "Fitted-Q evaluation"
        # The closed form is fitted in any case, for its density ratios.
        if regressor is not None:
            v, _ = regressed_q(data, discount, regressor, n_iterations)
            value = float(data.initial_weight @ data.initial_values(v))
            method += f" by {type(regressor).__name__}"
        if error_by == "influence":
            error, contributions = fit.standard_error, fit.contributions
            trees = disagreement([fit.system], value, contributions)
            bias, notes = bias + trees.bound, trees.notes + hidden_state_notes(fit)
            notes += few_rows_notes(fit.effective_sample_size, len(data))
            by = f"the influence function over {data.counted}, each left out once"
        elif error_by == "bootstrap":
            rng = check_random_state(random_state)
            # A regressor takes as many fits as iterations for each draw.
            n_draws = n_bootstrap or (200 if regressor is None else 20)
            if regressor is None:
                drawn = fit.bootstrap(n_draws, rng)
            else:
                drawn = bootstrap_regressed(
                    data, discount, regressor, n_iterations, n_draws, rng
                )
            # The spread alone: the drawn values' mean carries the bias twice.
            error = float(np.std(drawn, ddof=1))
            by = f"{n_draws:,} bootstraps over {data.counted}"
        return Figures(
            value,
            error,
            fit.effective_sample_size,
            method,
            by,
            contributions=contributions,
            bias_bound=bias,
            limits=fit.limits,
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


def _error_method(standard_error: str | None, regressor: object) -> str | None:
    """How the standard error is computed: "influence", "bootstrap" or None."""
    options = ("auto", "influence", "bootstrap", None)
    if standard_error not in options:
        raise ValueError(
            f"standard_error must be one of {list(options)}, got {standard_error!r}."
        )
    if standard_error == "influence" and regressor is not None:
        raise ValueError(
            "standard_error='influence' is that of the closed form, not a regressor's. "
            "Set standard_error='bootstrap', or use doubly_robust_value."
        )
    if standard_error == "auto":
        return "influence" if regressor is None else "bootstrap"
    return standard_error
