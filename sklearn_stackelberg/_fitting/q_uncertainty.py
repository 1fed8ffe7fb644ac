"""What an evaluation's Q-function is sure of, in the actions of a fitted policy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .._typing import Flags, Floats
from ..metrics._q_uncertainty import QUncertainty
from .fitted_policy import ContinuousPolicy, DiscretePolicy, FittedPolicy


def q_with_std(
    policy: FittedPolicy,
    uncertainty: QUncertainty,
    states: Floats,
    action: ArrayLike | None,
) -> tuple[Floats, Floats]:
    """Q and its standard deviation, of all actions (n, A) or of those given (n,)."""
    anchor = policy.anchor.of_shaped(states)[:, None]
    if isinstance(policy, ContinuousPolicy):
        if action is None:
            q, std = uncertainty.q_values(states, _candidates(policy, states))
            return anchor + q, std
        given = policy.actions.measurements(action, len(states))[:, None]
        q, std = uncertainty.q_values(states, given)
        return (anchor + q)[:, 0], std[:, 0]
    q, std = uncertainty.q_values(states)
    q = anchor + q
    if action is None:
        return q, std
    own = np.arange(len(q)), policy.actions.codes(action, len(q))
    return q[own], std[own]


def labels_not_worse(
    policy: DiscretePolicy,
    uncertainty: QUncertainty,
    states: Floats,
    level: float,
    available: Flags | None = None,
) -> Flags:
    """Supported actions that are not significantly worse than the best, (n, A)."""
    return uncertainty.not_worse(states, level, policy.supported(states, available))


def range_not_worse(
    policy: ContinuousPolicy, uncertainty: QUncertainty, states: Floats, level: float
) -> tuple[Floats, Floats]:
    """The smallest and the largest candidate that is not, by column, (n, p) each."""
    candidates = _candidates(policy, states)
    kept = uncertainty.not_worse(states, level, policy.supported(states), candidates)
    low = np.where(kept[..., None], candidates, np.inf).min(axis=1)
    return low, np.where(kept[..., None], candidates, -np.inf).max(axis=1)


def _candidates(policy: ContinuousPolicy, states: Floats) -> Floats:
    """Of every state, (n, C, p)."""
    if policy.distribution.policy.has_moving_actions:
        raise ValueError(
            "A Gaussian policy has no candidates to compare. Fit with "
            "action_distribution='candidates', or give q_values the actions."
        )
    return policy.candidates(states)[0]
