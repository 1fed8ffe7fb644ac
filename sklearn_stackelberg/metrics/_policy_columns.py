"""What a policy does, as features of its own Q-function."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from .._typing import Floats, Index
from ._data import EvaluationData, rows_at_once

# Of more labels the policy's columns, as many squared, would be most of Q's weights.
_MOST_LABELS = 20


def varied_actions(data: EvaluationData) -> Index:
    """Codes of the actions of which π(a|s) is not the same in all states."""
    if data.n_actions > _MOST_LABELS:
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(np.ptp(data.probabilities, axis=0) > 0.0)


def policy_columns(data: EvaluationData) -> Floats:
    """π(a|s) of these, (N, c)."""
    return data.probabilities[:, varied_actions(data)]


class PolicyColumn:
    """u(s, a) = Σ_j π_j(s) K(a − a_j(s)), how likely a policy acts near a pair.

    Without it a Q that is drawn to the mean where rows are few is drawn down just where
    a learned policy goes: of doses by 1.3 standard errors. With it, Eq. (85) of
    docs/evaluation.md, rows near the policy's actions outvote the others.
    """

    def __init__(self, data: EvaluationData, kernel_features: Any) -> None:
        self.data, self.scale = data, kernel_features.action_scale_
        self.reach = kernel_features.policy_reach(data.total)
        # Candidates are the same in all states: their distances are taken once.
        self._nodes = data.nodes[:1] if data.has_shared_nodes else data.nodes

    @cached_property
    def logged(self) -> Floats:
        """Of the logged pairs, by the place of the state, (N,)."""
        data = self.data
        action = np.zeros((len(data.states), 1, data.nodes.shape[2]))
        action[data.state_index, 0] = data.actions
        return self._weighted(action, np.ones((len(action), 1)))

    @cached_property
    def mean(self) -> Floats:
        """Σ_i π_i(s) u(s, a_i(s)) of all states, (N,)."""
        return self._weighted(self._nodes, self.data.probabilities)

    def _weighted(self, actions: Floats, weights: Floats) -> Floats:
        """Σ_i weights_i u(s, a_i) of J actions in each state, (N,)."""
        out, width = np.empty(len(weights)), actions[0].size
        for some in gen_batches(len(out), rows_at_once(self.data, width)):
            left, right = (
                self.scale.transform(part if len(part) == 1 else part[some])
                for part in (actions, self._nodes)
            )
            off = (left[:, :, None] - right[:, None]) / self.reach
            # Flat around 0: a Gaussian K averages 2 ** -½ where it is 1, and Q came out
            # as much too high as it had been too low.
            near = np.exp(-0.5 * (off**2).sum(axis=3) ** 4)  # (k or 1, J, S)
            u = (near @ self.data.probabilities[some, :, None])[:, :, 0]
            out[some] = (weights[some] * u).sum(axis=1)
        return out
