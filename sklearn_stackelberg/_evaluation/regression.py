"""Fitted-Q evaluation by any scikit-learn regressor, iterated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from .clusters import drawn_times
from .judged import Floats, JudgedLog

# Iterations stop where no value moves by more than this share of the rewards' range.
_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class RegressedQ:
    """Q of the log's states by a regressor.

    Parameters
    ----------
    judged : JudgedLog
    q : array of shape (N, A)
    """

    judged: JudgedLog
    q: Floats

    @cached_property
    def value(self) -> float:
        """Average V of the initial states."""
        judged = self.judged
        index = judged.state_index[judged.initial]
        values = (self.q[index] * judged.chances[index]).sum(axis=1)
        return float(judged.initial_weight @ values)


def regressed_q(
    judged: JudgedLog,
    discount: float,
    regressor: Any,
    n_iterations: int,
    times: NDArray[np.intp] | None = None,
) -> RegressedQ:
    """Regress r + γ V(s') on (s, one-hot a), until V stays or the iterations end.

    Parameters
    ----------
    judged : JudgedLog
    discount : float
    regressor : regressor
    n_iterations : int
    times : int array of shape (n,), default=None
        How often each row counts, besides its weight.
    """
    n_actions = judged.n_actions
    weighted = np.ptp(judged.weight) > 1e-12 * judged.weight.max()
    rows = np.arange(len(judged))
    if times is not None:
        rows = np.repeat(rows, times)
    given = _pairs(judged.state, np.eye(n_actions)[judged.codes])[rows]
    every = np.concatenate(
        [
            _pairs(judged.states, np.tile(row, (len(judged.states), 1)))
            for row in np.eye(n_actions)
        ]
    )
    low, high = judged.return_range(discount)
    # From the value of the mean reward at every step, as the closed form's anchor.
    goes_on = judged.weight @ judged.goes_on
    start = (judged.weight @ judged.log.reward) / (1.0 - discount * goes_on)
    q = np.full((len(judged.states), n_actions), start)
    for _ in range(n_iterations):
        values = (q * judged.chances).sum(axis=1)
        target = judged.log.reward + (
            discount * judged.goes_on * values[judged.next_index]
        )
        extra = {"sample_weight": judged.weight[rows]} if weighted else {}
        fitted = clone(regressor).fit(given, target[rows], **extra)
        before, flat = q, np.asarray(fitted.predict(every), dtype=float)
        # The bounds keep an extrapolating regressor from running away.
        q = np.clip(flat.reshape(n_actions, -1).T, low, high)
        if np.abs(q - before).max() <= _TOLERANCE * np.ptp(judged.log.reward):
            break
    return RegressedQ(judged, q)


def bootstrap_regressed(
    judged: JudgedLog,
    discount: float,
    regressor: Any,
    n_iterations: int,
    n_bootstrap: int,
    rng: np.random.RandomState,
) -> Floats:
    """Values on logs whose episodes are drawn anew, (n_bootstrap,)."""
    values = np.empty(n_bootstrap)
    for number in range(n_bootstrap):
        times = drawn_times(judged, rng)
        fit = regressed_q(
            judged, discount, regressor, n_iterations, times[judged.episode]
        )
        start = judged.initial_weight * times[judged.episode[judged.initial]]
        index = judged.state_index[judged.initial]
        v = (fit.q[index] * judged.chances[index]).sum(axis=1)
        values[number] = float(start @ v / start.sum())
    return values


def _pairs(states: Floats, actions: Floats) -> Floats:
    return np.concatenate([states, actions], axis=1)
