"""How often each action was logged near a state."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.utils import gen_batches

from .fitted_q import FittedQ
from .node_pairs import node_batches
from .nodes import Floats

_BATCH_ROWS = 4096


def support_counts(fit: FittedQ) -> Floats:
    """N_a(s) of every state of ``judged.states`` and every action, (N, A).

    Of a continuous policy N(s, a) of its nodes, all logged pairs being of one kind.
    """
    judged = fit.judged
    if judged.nodes is not None:
        return _support_of_nodes(fit)
    pairs = fit.system.pairs
    itself = pairs.features.similarity_to_itself(judged.states)  # (N,)
    # A state that is like nothing, not even itself, has no rows near it.
    scale = np.sqrt(np.where(itself > 0, itself, np.inf))
    out = np.zeros((len(judged.states), judged.n_actions))
    for action in range(judged.n_actions):
        rows = np.flatnonzero(judged.codes == action)
        gram = np.eye(pairs.features.n_features_out_)
        for batch in gen_batches(len(rows), _BATCH_ROWS):
            index = judged.state_index[rows[batch]]
            unit = pairs.phi(index) / scale[index, None]
            gram += unit.T @ unit
        factor = cho_factor(gram)
        for batch in gen_batches(len(judged.states), _BATCH_ROWS):
            unit = pairs.phi(np.arange(len(out))[batch]) / scale[batch, None]
            out[batch, action] = _counts(unit, factor)
    # The row itself is near, even if the features cannot tell.
    logged = judged.state_index, judged.codes
    out[logged] = np.maximum(out[logged], 1.0)
    return np.maximum(out, 0.0)


def _support_of_nodes(fit: FittedQ) -> Floats:
    """N(s, a) of every state's nodes, (N, S)."""
    judged, features = fit.judged, fit.system.pairs.features

    def unit(states: Floats, actions: Floats) -> Floats:
        itself = features.similarity_to_itself(states, actions)
        scale = np.sqrt(np.where(itself > 0, itself, np.inf))
        return features.transform(states, actions) / scale[:, None]

    gram = np.eye(features.n_features_out_)
    for batch in gen_batches(len(judged), _BATCH_ROWS):
        rows = unit(judged.states[judged.state_index[batch]], judged.actions[batch])
        gram += rows.T @ rows
    factor = cho_factor(gram)
    out = np.empty(judged.chances.shape)
    for batch, states, actions in node_batches(judged, features.n_features_out_):
        found = _counts(unit(states, actions), factor)
        out[batch] = found.reshape(-1, judged.n_actions)
    return np.maximum(out, 0.0)


def _counts(unit: Floats, factor: Any) -> Floats:
    """Rows from which as much could be learned, of features of unit length, (k,)."""
    explained = (unit * (unit - cho_solve(factor, unit.T).T)).sum(axis=1)
    return 1.0 / np.maximum(1.0 - explained, np.finfo(float).eps) - 1.0
