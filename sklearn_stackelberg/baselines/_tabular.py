"""Value iteration on the counts of finite states, plain and by lower bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from .._typing import Floats, Index
from .._validation import check_rules, non_negative
from ._base import DiscreteBaseline, Rows

# Differences of values below this share of their range are no preferences.
_TIE = 1e-9


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts and means of a finite problem's log, of S states and A actions."""

    visits: Floats  # (S, A), how often each pair was logged
    reward: Floats  # (S, A), the mean of each pair, 0 where it was never logged
    # (S A, S): shares of the pair's rows that go on from each state; rows that
    # terminate go on from none, so that a row of it may sum to less than one.
    continuation: csr_array

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        state: Index,
        action: Index,
        reward: Floats,
        next_state: Index,
        going: Floats,
        weight: Floats | None = None,
    ) -> Counts:
        """Count rows, of which ``going`` is 0 where nothing follows and else 1."""
        n_states, n_actions = shape
        weight = np.ones(len(state)) if weight is None else weight
        pair = state * n_actions + action
        size = n_states * n_actions
        visits: Floats = np.bincount(pair, weight, size).astype(float)
        rows = np.maximum(visits, 1.0 if weight.min(initial=1.0) >= 1.0 else 1e-12)
        total = np.bincount(pair, weight * reward, size)
        on = going > 0
        share = (weight * going)[on] / rows[pair[on]]
        found = csr_array((share, (pair[on], next_state[on])), shape=(size, n_states))
        return cls(visits.reshape(shape), (total / rows).reshape(shape), found)

    def after(self, value: Floats) -> Floats:
        """What follows each pair, (S, A), by the values of states, (S,)."""
        return (self.continuation @ value).reshape(self.visits.shape)


def penalised_values(
    counts: Counts,
    discount: float,
    penalty: float = 0.0,
    *,
    unseen: float = 0.0,
    lowest: float = -np.inf,
    never_visited: float | None = None,
    tol: float = 1e-12,
    max_iter: int = 100_000,
) -> Floats:
    """Value iteration on ``reward - penalty / sqrt(visits)``.

    Parameters
    ----------
    counts : Counts
    discount : float
    penalty : float
        Larger trusts rarely logged pairs less; 0 is value iteration on counts.
    unseen : float
        The value of a pair that was never logged.
    lowest : float
        No state is worth less than this.
    never_visited : float, optional
        The value of a state without rows; None is that of its pairs.

    Returns
    -------
    array of shape (n_states, n_actions)
        Action values, those of single actions not raised to `lowest`.
    """
    seen = counts.visits > 0
    reward = counts.reward - penalty / np.sqrt(np.maximum(counts.visits, 1.0))
    value = np.zeros(len(counts.visits))
    q = np.where(seen, reward, unseen)
    for _ in range(max_iter):
        q = np.where(seen, reward + discount * counts.after(value), unseen)
        improved = np.maximum(q.max(axis=1), lowest)
        if never_visited is not None:
            improved[~seen.any(axis=1)] = never_visited
        change = np.abs(improved - value).max(initial=0.0)
        value = improved
        # Relative, because returns may be of any size; at zero as it stands.
        if change <= tol * max(1.0, np.abs(value).max(initial=0.0)):
            break
    return q


class TabularValueIteration(DiscreteBaseline):
    """Value iteration on the counts of finite states; with a penalty, VI-LCB [1]_.

    States are equal or not. Only actions that were logged in a state are taken there;
    in states that were never logged, the action logged most.

    Parameters
    ----------
    discount : float, default=0.99
        γ, in [0, 1].
    penalty : float, default=0.0
        >= 0: rewards of a pair of state and action with N rows are lowered by
        ``penalty`` / √N standard deviations of the logged rewards. Larger trusts pairs
        of few rows less; 0 is value iteration, 1 takes off a standard error.

    Attributes
    ----------
    classes_ : ndarray of shape (n_actions,)
    states_ : ndarray of shape (n_states, n_features)
        The distinct logged states.

    References
    ----------
    .. [1] P. Rashidinejad et al., "Bridging offline reinforcement learning and
       imitation learning", 2021.

    Examples
    --------
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.baselines import TabularValueIteration
    >>> state, action = [[0], [0], [1], [1]] * 9, [0, 1] * 18
    >>> reward = [float(s[0] == a) for s, a in zip(state, action)]
    >>> log = Transitions(state, action, reward, state, terminated=[True] * 36)
    >>> TabularValueIteration(penalty=1.0).fit(log).predict([[0], [1]])
    array([0, 1])
    """

    def __init__(self, *, discount: float = 0.99, penalty: float = 0.0) -> None:
        self.discount = discount
        self.penalty = penalty

    def _learn_rows(self, rows: Rows) -> None:
        check_rules({"penalty": self.penalty}, {"penalty": non_negative()})
        both = np.concatenate([rows.state, rows.next_state])
        states, code = np.unique(both, axis=0, return_inverse=True)
        now, after = np.split(code.ravel(), 2)
        shape = len(states), rows.n_actions
        counts = Counts.of(
            shape, now, rows.code, rows.reward, after, rows.going, rows.weight
        )
        width = self.penalty * float(rows.reward.std())
        q = penalised_values(
            counts,
            self.discount,
            width,
            unseen=-np.inf,
            # Nothing is known of where a log leads and never goes on from.
            never_visited=rows.mean_return,
        )
        logged = counts.visits.any(axis=1)
        self.states_ = states[logged]
        # Of equals the one that was logged most.
        span = np.ptp(q[np.isfinite(q)]) or 1.0
        q += _TIE * span * counts.visits / counts.visits.max()
        self._q, self._logged = q[logged], counts.visits.sum(axis=0)
        self._place = {state.tobytes(): j for j, state in enumerate(self.states_)}

    def _scores(self, states: Floats) -> Floats:
        # Minus zero is zero, of which the bytes are others.
        clean = np.ascontiguousarray(states) + 0.0
        found = np.array([self._place.get(s.tobytes(), -1) for s in clean])
        scores = np.where((found >= 0)[:, None], self._q[found], self._logged)
        # Above what is masked, so that what was never logged is a last resort.
        return np.maximum(scores, np.finfo(float).min)
