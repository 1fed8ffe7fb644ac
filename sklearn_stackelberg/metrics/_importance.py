"""`importance_sampling_value`, and the weights of whole episodes that it is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .._typing import RandomStateLike
from .._validation import check_rules, positive
from ._data import EvaluationData
from ._estimate import Figures, OffPolicyEstimate, spread
from ._importance_weights import (
    cut_notes,
    propensities,
    refuse_densities,
    weight_notes,
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
    sample_weight: ArrayLike | None = None,
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
    in the sum. No model of the rewards is needed, and few of the episodes are left
    where they are long. What follows a truncated end is not counted;
    `doubly_robust_value` does.

    Parameters
    ----------
    policy, X, y, discount, sample_weight
        As in `fitted_q_value`; X of whole episodes, without ``episode`` of one step.
        Weights multiply ρ. Where they change within episodes, as those of censoring do,
        an episode that is cut has none from there on.
    per_decision : bool, default=True
        Weight each reward by what led to it, not by what came later.
    weighted : bool, default=True
        Divide the weights at each step by their sum: a little bias, far less spread.
    clip : float, default=None
        Largest ρ. Smaller has less spread and more bias.
    propensity_model : classifier, default=None
        Estimates b. None takes the log's own propensities, and where it has none, a
        logistic regression on landmark features of the states, whose shrinkage is that
        of three by which held-out actions are likeliest.
    n_folds : int, default=5
        Each row's b is estimated on the episodes of the other folds.
    greedy, confidence_level
        As in `fitted_q_value`.
    random_state : int, RandomState instance or None, default=0
        Draws the folds.

    Returns
    -------
    OffPolicyEstimate
        In units of discounted return. The standard error is by leaving out each
        episode, b taken as known; it is too small where a few episodes carry all the
        weight. The effective sample size counts episodes, on average over the steps by
        their discounted rewards' spread.

    Raises
    ------
    ValueError
        As in `fitted_q_value`, and if actions are continuous, if episodes are not
        whole, or if no episode is one that the policy could have taken for as long as
        matters.

    Warns
    -----
    UserWarning
        If the effective sample size, or that of what episodes contribute to the value,
        is under 20 and under half of the episodes, if the weights of one step do not
        average to 1, as those of right propensities do, or if over 5 % of the
        discounted horizon comes after cut ends.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.metrics import importance_sampling_value
    >>> state, action = np.zeros((4, 1)), np.array([0, 1, 1, 1])
    >>> coin = DummyClassifier(strategy="prior").fit(state, [0, 0, 1, 1])
    >>> b = np.where(action == 1, 0.75, 0.25)
    >>> log = Transitions(
    ...     state, action, action, state, terminated=np.ones(4), propensity=b
    ... )
    >>> round(float(importance_sampling_value(coin, log, discount=0.0)), 2)
    0.5
    """
    check_rules({"clip": clip}, {"clip": positive(None)})

    def figures(data: EvaluationData) -> Figures:
        refuse_densities(data)
        # Refused first: estimating propensities may take long.
        rows = whole_episodes(data)
        logger, source = propensities(data, propensity_model, n_folds, random_state)
        power = rows.powers(discount)
        ratio = rows.cumulate(data.logged_probability / logger, clip, power)
        # Precup, Sutton and Singh (2000): per decision, what comes later weighs
        # nothing; by trajectory, every reward has the weight of the whole.
        if not per_decision:
            ratio = np.repeat(ratio[:, -1:], ratio.shape[1], axis=1)
        gained = rows.spread(data.log.reward)
        weight = rows.weights(data)
        found = weighted_sum(ratio, gained, weight, power, weighted=weighted)
        kind = ["trajectory-wise", "per-decision"][per_decision]
        kind += ", self-normalised" if weighted else ""
        kind += f", weights clipped at {clip:g}" if clip is not None else ""
        return Figures(
            found.value,
            spread(found.influence),
            found.effective_sample_size,
            f"Importance sampling ({kind}; {source})",
            f"what leaving out each of {data.counted} changes",
            "episodes",
            contributions=found.influence,
            limits=rows.return_range(data.log.reward, power),
            notes=weight_notes(
                data, logger, found.effective_sample_size, found.influence
            )
            + cut_notes(data, rows, discount),
        )

    return evaluate(
        figures, policy, X, y, discount, confidence_level, greedy, sample_weight
    )
