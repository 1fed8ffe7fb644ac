"""How often each action was logged near a state."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.utils import gen_batches

from .fitted_q import FittedQ
from .judged import Floats

# States whose similarity to themselves is read off a Gram matrix at once.
_DIAGONAL_ROWS = 64
_BATCH_ROWS = 4096


def support_counts(fit: FittedQ) -> Floats:
    """N_a(s) of every state of ``judged.states`` and every action, (N, A)."""
    judged, system = fit.judged, fit.system
    itself = _similarity_to_itself(fit)  # (N,)
    # A state that is like nothing, not even itself, has no rows near it.
    scale = np.sqrt(np.where(itself > 0, itself, np.inf))
    out = np.zeros((len(judged.states), judged.n_actions))
    for action in range(judged.n_actions):
        rows = np.flatnonzero(judged.codes == action)
        gram = np.eye(system.n_features)
        for batch in gen_batches(len(rows), _BATCH_ROWS):
            index = judged.state_index[rows[batch]]
            unit = system.phi(index) / scale[index, None]
            gram += unit.T @ unit
        factor = cho_factor(gram)
        for batch in gen_batches(len(judged.states), _BATCH_ROWS):
            unit = system.phi(np.arange(len(out))[batch]) / scale[batch, None]
            explained = (unit * (unit - cho_solve(factor, unit.T).T)).sum(axis=1)
            unknown = np.maximum(1.0 - explained, np.finfo(float).eps)
            out[batch, action] = 1.0 / unknown - 1.0
    # The row itself is near, even if the features cannot tell.
    logged = judged.state_index, judged.codes
    out[logged] = np.maximum(out[logged], 1.0)
    return np.maximum(out, 0.0)


def _similarity_to_itself(fit: FittedQ) -> Floats:
    """k(s, s), which the features reach at the landmarks alone, (N,)."""
    states, gram = fit.judged.states, fit.system.features._gram
    out = np.empty(len(states))
    for batch in gen_batches(len(states), _DIAGONAL_ROWS):
        out[batch] = np.diagonal(gram(states[batch], states[batch]))
    return out
