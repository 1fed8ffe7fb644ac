"""Fitted-Q evaluation by any scikit-learn regressor, iterated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from .._typing import Floats
from ._data import EvaluationData
from ._features import node_batches
from ._jackknife import drawn_times

# Iterations stop where no value moves by more than this share of the rewards' range.
_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class RegressedQ:
    """Q of a log's states by a regressor.

    Parameters
    ----------
    data : EvaluationData
    q : array of shape (N, A)
        Of the labels, or of a continuous policy's nodes.
    logged : array of shape (n,)
        Of the logged actions.
    """

    data: EvaluationData
    q: Floats
    logged: Floats

    @cached_property
    def initial_values(self) -> Floats:
        """V of the initial rows' states."""
        data = self.data
        index = data.state_index[data.initial]
        return (self.q[index] * data.probabilities[index]).sum(axis=1)

    @property
    def value(self) -> float:
        """Average V of the initial states."""
        return float(self.data.initial_weight @ self.initial_values)

    def values(self, limits: tuple[float, float]) -> tuple[Floats, Floats]:
        """V of all states, (N,), and Q of all logged rows, (n,), inside the limits."""
        q, logged = np.clip(self.q, *limits), np.clip(self.logged, *limits)
        return (q * self.data.probabilities).sum(axis=1), logged


def regressed_q(
    data: EvaluationData,
    discount: float,
    regressor: Any,
    n_iterations: int,
    times: NDArray[np.intp] | None = None,
    asked: EvaluationData | None = None,
) -> RegressedQ:
    """Regress r + γ V(s') on (s, one-hot a), until V stays or the iterations end.

    Continuous actions stand for themselves.

    Parameters
    ----------
    data : EvaluationData
    discount : float
    regressor : regressor
    n_iterations : int
    times : int array of shape (n,), default=None
        How often each row counts, besides its weight.
    asked : EvaluationData, default=None
        A log of the same states, whose rows are asked about. None means ``data``.
    """
    asked = data if asked is None else asked
    weighted = np.ptp(data.weight) > 1e-12 * data.weight.max()
    rows = np.arange(len(data))
    if times is not None:
        rows = np.repeat(rows, times)
    given = _logged_pairs(data)[rows]
    low, high = data.return_range(discount)
    # From the value of the mean reward at every step, as the closed form's anchor.
    not_done = data.weight @ data.not_done
    start = (data.weight @ data.log.reward) / (1.0 - discount * not_done)
    q = np.full(data.probabilities.shape, start)
    for _ in range(n_iterations):
        values = (q * data.probabilities).sum(axis=1)
        target = data.log.reward + (discount * data.not_done * values[data.next_index])
        extra = {"sample_weight": data.weight[rows]} if weighted else {}
        fitted = clone(regressor).fit(given, target[rows], **extra)
        before = q
        # The bounds keep an extrapolating regressor from running away.
        q = np.clip(_predicted(fitted, data), low, high)
        if np.abs(q - before).max() <= _TOLERANCE * np.ptp(data.log.reward):
            break
    if asked.nodes is None:
        return RegressedQ(asked, q, q[asked.state_index, asked.codes])
    logged = np.asarray(fitted.predict(_logged_pairs(asked)), dtype=float)
    return RegressedQ(asked, q, np.clip(logged.ravel(), low, high))


def bootstrap_regressed(
    data: EvaluationData,
    discount: float,
    regressor: Any,
    n_iterations: int,
    n_bootstrap: int,
    rng: np.random.RandomState,
) -> Floats:
    """Values on logs whose episodes are drawn anew, (n_bootstrap,)."""
    values = np.empty(n_bootstrap)
    for number in range(n_bootstrap):
        times = drawn_times(data, rng)
        fit = regressed_q(data, discount, regressor, n_iterations, times[data.episode])
        start = data.initial_weight * times[data.episode[data.initial]]
        values[number] = float(start @ fit.initial_values / start.sum())
    return values


def _logged_pairs(data: EvaluationData) -> Floats:
    """What Q of the logged rows is regressed on."""
    labels = data.nodes is None
    return _pairs(
        data.state,
        np.eye(data.n_actions)[data.codes] if labels else data.actions,
    )


def _predicted(fitted: Any, data: EvaluationData) -> Floats:
    """Q of every label, or node, in every state, (N, A)."""
    out = np.empty(data.probabilities.shape)
    if data.nodes is None:
        for column, one in enumerate(np.eye(data.n_actions)):
            every = _pairs(data.states, np.tile(one, (len(out), 1)))
            out[:, column] = np.ravel(fitted.predict(every))
        return out
    width = data.states.shape[1] + data.nodes.shape[2]
    for batch, states, actions in node_batches(data, width):
        q = fitted.predict(_pairs(states, actions))
        out[batch] = np.reshape(q, (-1, data.n_actions))
    return out


def _pairs(states: Floats, actions: Floats) -> Floats:
    return np.concatenate([states, actions], axis=1)
