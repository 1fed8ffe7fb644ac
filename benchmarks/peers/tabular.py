"""Tabular peers: value iteration on counts, VI-LCB, behaviour cloning."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import Method, grid
from sklearn_stackelberg.baselines import _tabular as baselines
from sklearn_stackelberg.baselines._tabular import penalised_values

# A difference of values below this is a tie, not a preference.
TIE = 1e-12


class Counts(baselines.Counts):
    """Counts and means of a finite problem's log."""

    @classmethod
    def of(cls, log: Any, n_states: int, n_actions: int) -> Counts:
        """Count the rows of a log whose states and actions are integer codes."""
        return super().of(
            (n_states, n_actions),
            np.asarray(log.state).reshape(-1).astype(int),
            np.asarray(log.action).astype(int),
            np.asarray(log.reward, dtype=float),
            np.asarray(log.next_state).reshape(-1).astype(int),
            1.0 - np.asarray(log.terminated, dtype=float),
        )


def greedy(q: NDArray[np.float64], counts: Counts) -> NDArray[np.intp]:
    """The best action of each state; of equals, the one logged most."""
    best = q >= q.max(axis=1, keepdims=True) - TIE
    return np.where(best, counts.visits, -1.0).argmax(axis=1)


def value_iteration(counts: Counts, discount: float) -> NDArray[np.intp]:
    """Optimal on the counts; a pair never logged ends the episode with no reward."""
    return greedy(penalised_values(counts, discount), counts)


def vi_lcb(
    counts: Counts, discount: float, penalty: float, clip: bool, lowest: float = 0.0
) -> NDArray[np.intp]:
    """Value iteration with lower confidence bounds (Rashidinejad et al. 2021).

    Parameters
    ----------
    penalty : float
        The bound's width for a pair logged once.
    clip : bool
        Whether states are worth the lowest return at least, as in the paper; among
        actions below it the least bad is still preferred. Without, a pair never logged
        is as bad as the worst pair logged once, for ever.
    lowest : float
        The least that a return can be.
    """
    if clip:
        q = penalised_values(counts, discount, penalty, unseen=-np.inf, lowest=lowest)
    else:
        worst = lowest - penalty / (1.0 - discount)
        q = penalised_values(counts, discount, penalty, unseen=worst)
    return greedy(q, counts)


def behaviour_cloning(counts: Counts, sampled: bool) -> NDArray[Any]:
    """The logged action: the most frequent one of each state, or all in their shares.

    Returns
    -------
    array of shape (n_states,), or (n_states, n_actions) where ``sampled``
    """
    if not sampled:
        return counts.visits.argmax(axis=1)
    total = counts.visits.sum(axis=1, keepdims=True)
    n_actions = counts.visits.shape[1]
    return np.where(total > 0, counts.visits / np.maximum(total, 1.0), 1.0 / n_actions)


METHODS = (
    Method("value iteration on counts", value_iteration),
    Method(
        "VI-LCB",
        vi_lcb,
        grid(
            penalty=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
            clip=(True, False),
        ),
    ),
    Method(
        "behaviour cloning",
        lambda counts, _, sampled: behaviour_cloning(counts, sampled),
        grid(sampled=(False, True)),
    ),
)
