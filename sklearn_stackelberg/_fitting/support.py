"""Which actions a log supports in a state, by an estimate of its behaviour policy."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState
from scipy.special import ndtr
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import pairwise_distances_argmin

from .._action_scale import ActionScale
from .._sampling import fixed_sample
from .._typing import Floats, Index
from ..policies._base import NEVER

# Rows that the forest is grown on: more sharpen its thresholds by little.
_FOREST_ROWS = 50_000

# Visits of a state, in the mean, from which on its actions are counted.
_VISITS = 10

# Trees, and rows of a leaf; of one whose actions have a range.
_TREES, _LEAF, _RANGE_LEAF = 30, 5, 20


def has_few_states(states: Floats) -> bool:
    """Whether a log visits few states many times, so that they can be counted."""
    # The first rows show most logs of measured states to have more, without a sort.
    few = len(states) // _VISITS
    return (
        len(np.unique(states[: 4 * few + 1], axis=0)) <= few
        and len(np.unique(states, axis=0)) <= few
    )


def nearest_candidates(actions: Floats, candidates: Floats) -> Index:
    """The nearest candidate (C, p) of every action (n, p), on the scale of the actions.

    Columns are in units of their spread, doses over decades by their logarithm.
    """
    scale = ActionScale.of(actions)
    actions, candidates = scale.transform(actions), scale.transform(candidates)
    spread = _spread(actions)
    return pairwise_distances_argmin(actions / spread, candidates / spread)


def _spread(columns: Floats) -> Floats:
    """Standard deviations, (d,); 1 of constant columns."""
    spread = columns.std(axis=0, dtype=np.float64)
    return np.where(spread > 0, spread, 1.0)


class Standardiser:
    """Columns of mean 0 and standard deviation 1, in the precision of trees."""

    def __init__(self, states: Floats) -> None:
        # Before single precision, in which trees compare, loses a large column.
        self.center, self.scale = states.mean(axis=0, dtype=np.float64), _spread(states)

    def __call__(self, states: Floats) -> Floats:
        return ((states - self.center) / self.scale).astype(np.float32)


class ActionSupport:
    """Actions that the estimated behaviour policy takes often enough in a state.

    π̂_b is counted where states are few, and a random forest's where they are not. An
    action is supported where π̂_b(a|s) >= ``threshold`` · max_b π̂_b(b|s), as in
    batch-constrained Q-learning [1]_.

    References
    ----------
    .. [1] S. Fujimoto, E. Conti, M. Ghavamzadeh, J. Pineau. "Benchmarking Batch Deep
       Reinforcement Learning Algorithms", arXiv 1910.01708, 2019.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def fit(
        self,
        states: Floats,
        codes: Index,
        n_actions: int,
        is_finite: bool,
        rng: RandomState,
    ) -> ActionSupport:
        """Estimate π̂_b from logged states (n, d) and codes of actions (n,)."""
        self.n_actions_ = n_actions
        self.columns_ = Standardiser(states)
        if is_finite:
            self.known_, where = np.unique(states, axis=0, return_inverse=True)
            counts = np.zeros((len(self.known_), n_actions))
            np.add.at(counts, (where.ravel(), codes), 1.0)
            self.counts_ = counts
            return self
        chosen = fixed_sample(len(states), _FOREST_ROWS)
        self.forest_ = RandomForestClassifier(
            _TREES, min_samples_leaf=_LEAF, max_features=None, random_state=rng
        ).fit(self.columns_(states[chosen]), codes[chosen])
        return self

    def probabilities(self, states: Floats) -> Floats:
        """π̂_b(a|s), (n, n_actions); equal where a state was never logged."""
        if hasattr(self, "forest_"):
            out = np.zeros((len(states), self.n_actions_))
            if len(states):
                found = self.forest_.predict_proba(self.columns_(states))
                out[:, self.forest_.classes_] = found
            return out
        _, where = np.unique(
            np.concatenate([self.known_, states]), axis=0, return_inverse=True
        )
        where = where.ravel()
        counts = np.ones((where.max() + 1, self.n_actions_))
        counts[where[: len(self.known_)]] = self.counts_
        counts = counts[where[len(self.known_) :]]
        return counts / counts.sum(axis=1, keepdims=True)

    def log_prior(self, states: Floats) -> Floats:
        """What is added to a policy's logits, (n, n_actions): 0, or never."""
        found = self.probabilities(states)
        least = self.threshold * found.max(axis=1, keepdims=True)
        return np.where((found >= least) & (found > 0.0), 0.0, NEVER)


class ActionRange:
    """A range of continuous actions that the log supports in a state.

    A Gaussian behaviour policy has the density ``threshold`` · (its largest) where the
    quantiles q and 1 − q are, q = Φ(−(−2 log threshold)^½). The range is between these
    quantiles of the logged actions in a leaf of a tree that predicts the action from
    the state, a mean over the trees of a random forest.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def fit(self, states: Floats, actions: Floats, rng: RandomState) -> ActionRange:
        """Of logged states (n, d) and actions (n, p), on their scale."""
        self.columns_ = Standardiser(states)
        chosen = fixed_sample(len(states), _FOREST_ROWS)
        actions = ActionScale.of(actions).transform(actions)[chosen]
        x = self.columns_(states[chosen])
        targets = actions / _spread(actions)
        self.forest_ = RandomForestRegressor(
            _TREES, min_samples_leaf=_RANGE_LEAF, random_state=rng
        ).fit(x, targets if targets.shape[1] > 1 else targets[:, 0])
        tail = ndtr(-np.sqrt(-2.0 * np.log(self.threshold)))
        self.ends_ = []  # of each tree's leaves, (n_nodes, 2 p)
        trees = self.forest_.estimators_
        for tree, leaf in zip(trees, self.forest_.apply(x).T, strict=True):
            ends = np.zeros((tree.tree_.node_count, 2 * actions.shape[1]))
            order = np.argsort(leaf, kind="stable")
            nodes, starts = np.unique(leaf[order], return_index=True)
            for node, rows in zip(nodes, np.split(order, starts[1:]), strict=True):
                found = np.quantile(actions[rows], [tail, 1 - tail], axis=0)
                ends[node] = found.ravel()
            self.ends_.append(ends)
        return self

    def __call__(self, states: Floats) -> Floats:
        """The lower ends and the upper ones, (n, 2 p)."""
        leaf = self.forest_.apply(self.columns_(states))
        found = [ends[where] for ends, where in zip(self.ends_, leaf.T, strict=True)]
        return np.mean(found, axis=0)
