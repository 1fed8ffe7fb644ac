"""`importance_sampling_value`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .._typing import RandomStateLike
from .._validation import check_rules, positive
from ._data import EvaluationData
from ._estimate import Figures, OffPolicyEstimate
from ._importance_weights import (
    refuse_densities,
    refuse_unknown,
    step_ratios,
    weighted_sum,
    whole_episodes,
)
from ._prepare import evaluate


def importance_sampling_value(
    policy: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    discount: float,
    per_decision: bool = True,
    weighted: bool = True,
    clip: float | None = None,
    propensity_model: object = None,
    n_folds: int = 5,
    greedy: bool = False,
    confidence_level: float = 0.95,
    random_state: RandomStateLike = 0,
) -> OffPolicyEstimate:
    """Value of a policy by importance sampling: logged returns, weighted anew.

    With ρ_et = Π_{u <= t} π(a_u | s_u) / b(a_u | s_u) of episode e up to step t,

        Σ_t γ^t Σ_e w_et r_et,    w_et = ρ_et / Σ_e ρ_et,

    and w_et = ρ_et / E where not ``weighted``. Without ``per_decision``, ρ_et is that
    of the whole episode at every step. An episode that has ended keeps its last weight
    among those that the weights are divided by, and gets no more rewards. No model of
    the rewards is needed, and few of the episodes are left where they are long. What
    follows the cut of a truncated episode is not counted; `doubly_robust_value` does.

    Parameters
    ----------
    policy : object with ``predict_proba`` and ``classes_``
        A fitted policy; a pipeline or a search that ends in one, too.
    X : Transitions, or array-like or DataFrame of shape (n, d)
        The log, of whole episodes; without ``episode``, of one-step ones.
    y : DataFrame, structured array or array-like, default=None
        As in `StackelbergPolicyEstimator.fit`.
    discount : float
        γ, in [0, 1).
    per_decision : bool, default=True
        Weight each reward by what led to it, not by what came later.
    weighted : bool, default=True
        Divide the weights at each step by their sum: a little bias, far less spread.
    clip : float, default=None
        Largest ρ. Smaller has less spread and more bias.
    propensity_model : classifier, default=None
        Estimates b. None takes the log's own propensities, and where it has none, a
        logistic regression on landmark features of the states.
    n_folds : int, default=5
        Each row's b is estimated on the episodes of the other folds.
    greedy : bool, default=False
        Evaluate the most probable action, which `predict` returns, instead of the
        probabilities.
    confidence_level : float, default=0.95
        Of the estimate's interval, in (0, 1).
    random_state : int, RandomState instance or None, default=0
        Draws the folds.

    Returns
    -------
    OffPolicyEstimate
        In units of discounted return. The standard error is by leaving out each
        episode, b taken as known; it is too small where a few episodes carry all the
        weight, which the effective sample size says: it counts episodes, on average
        over the discounted steps.

    Raises
    ------
    ValueError
        As in `fitted_q_value`, and if actions are continuous, if episodes are not
        whole, or if no episode is one that the policy could have taken for as long as
        matters.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.metrics import importance_sampling_value
    >>> class Coin:
    ...     classes_ = np.array([0, 1])
    ...
    ...     def predict_proba(self, states):
    ...         return np.full((len(states), 2), 0.5)
    >>> action = np.array([0, 1, 1, 1])
    >>> log = Transitions(
    ...     np.zeros((4, 1)),
    ...     action,
    ...     1.0 * action,
    ...     np.zeros((4, 1)),
    ...     terminated=np.ones(4),
    ...     propensity=np.where(action == 1, 0.75, 0.25),
    ... )
    >>> round(float(importance_sampling_value(Coin(), log, discount=0.0)), 2)
    0.5
    """
    check_rules({"clip": clip}, {"clip": positive(None)})

    def figures(data: EvaluationData) -> Figures:
        refuse_densities(data)
        # Refused first: estimating propensities may take long.
        rows = whole_episodes(data)
        step_ratio, source = step_ratios(data, propensity_model, n_folds, random_state)
        ratio = rows.cumulate(step_ratio, clip)
        refuse_unknown(ratio, rows.logged, discount)
        # Precup, Sutton and Singh (2000): per decision, what comes later weighs
        # nothing; by trajectory, every reward has the weight of the whole.
        if not per_decision:
            ratio = np.repeat(ratio[:, -1:], ratio.shape[1], axis=1)
        gained = rows.spread(data.log.reward)
        found = weighted_sum(ratio, gained, discount, weighted=weighted)
        kind = ["trajectory-wise", "per-decision"][per_decision]
        kind += ", self-normalised" if weighted else ""
        kind += f", weights clipped at {clip:g}" if clip is not None else ""
        return Figures(
            found.value,
            found.standard_error(),
            found.effective_sample_size,
            f"Importance sampling ({kind}; {source})",
            f"what leaving out each of {data.counted} changes",
            "episodes",
        )

    return evaluate(figures, policy, X, y, discount, confidence_level, greedy)
