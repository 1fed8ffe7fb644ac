"""Which actions a log supports in a state, by an estimate of its behaviour policy."""

from __future__ import annotations

import copy
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from scipy.special import ndtr
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import pairwise_distances_argmin

from .._action_scale import ActionScale
from .._forest import Forest
from .._sampling import fixed_sample
from .._typing import Flags, Floats, Index
from ..kernels._columns import (
    StateColumns,
    center_and_spread,
    distinct_rows,
    which_row,
)
from ..policies._base import NEVER
from .never_taken import NeverTaken

# Rows that forests are grown on: more sharpen their thresholds by little.
_FOREST_ROWS = 20_000

# Rows by which it is asked where an action is never taken: of a million rows twice as
# many took a second more.
_BOX_ROWS = 10_000

# Trees, and the smallest numbers of rows in a leaf that are tried, by fewer of both.
_TREES, _LEAVES = 30, (5, 25, 125, 625)
_TRIED_TREES, _TRIED_ROWS = 10, 4_000

# The smallest probability that a logged action is given when forests are compared.
_SURPRISE = 1e-3

# Logged so often an action is supported, however rare it is: in a state, and in a leaf,
# whose rows may lie beside the state. A drug that 4 % of all patients got, whoever they
# were, was never recommended: 60 rows of 1,500, whose effect was six standard errors.
ENOUGH, ENOUGH_IN_LEAF = 5.0, 20.0

# Rows of a leaf whose actions have a range.
_RANGE_LEAF = 20


def nearest_candidates(actions: Floats, candidates: Floats) -> Index:
    """The nearest candidate (C, p) of every action (n, p), on the scale of the actions.

    Columns are in units of their spread, doses over decades by their logarithm.
    """
    scale = ActionScale.of(actions)
    actions, candidates = scale.transform(actions), scale.transform(candidates)
    _, spread = center_and_spread(actions)
    return pairwise_distances_argmin(actions / spread, candidates / spread)


def _tree_columns(states: Floats) -> StateColumns:
    """Standardised before single precision, in which trees compare, rounds them."""
    return StateColumns("float32", standardise=True).fit(states)


def tail_share(threshold: float) -> float:
    """What a Gaussian has beyond where its density is so much of the largest."""
    return float(ndtr(-np.sqrt(-2.0 * np.log(threshold))))


class ActionSupport:
    """Actions that the estimated behaviour policy takes often enough in a state.

    π̂_b(a|s) is a share of the state's rows where states are few, and a random forest's
    where they are not. An action is supported where π̂_b(a|s) is at least ``threshold``
    times the largest, as in batch-constrained Q-learning [1]_, or in enough rows: 5 of
    the state where states are few, 20 of a leaf where they are not. Leaves are as large
    as foretells held-out actions best: all rows, where the state has no say. It is not
    where it is never taken, see `NeverTaken`, if anything else is. Candidates
    of continuous actions, which speak for their neighbours, are also supported where
    they were taken at all, between the quantiles of `ActionRange` in every column.

    References
    ----------
    .. [1] S. Fujimoto, E. Conti, M. Ghavamzadeh, J. Pineau. "Benchmarking Batch Deep
       Reinforcement Learning Algorithms", arXiv 1910.01708, 2019.
    """

    # Counts that were asked for before, by a digest of the states; None keeps none.
    _known: dict[bytes, Floats] | None = None
    # Which candidates are on which side of each, by column, (C, 2 p C); None of labels.
    sides_: Floats | None = None
    # Where a label is never taken; None of candidates, and where there is no such box.
    never_: NeverTaken | None = None

    def __init__(
        self, threshold: float, *, n_rows: int = _FOREST_ROWS, leaf: int | None = None
    ) -> None:
        self.threshold, self.n_rows, self.leaf = threshold, n_rows, leaf

    def fit(
        self,
        states: Floats,
        codes: Index,
        n_actions: int,
        is_finite: bool,
        rng: RandomState,
        weight: Floats | None = None,
        candidates: Floats | None = None,
        episode: NDArray[Any] | None = None,
    ) -> ActionSupport:
        """Estimate π̂_b from logged states (n, d) and codes of actions (n,).

        ``candidates``, (C, p), are what the codes stand for, if they are amounts.
        Without their ``episode`` rows are each one of their own.
        """
        self.n_actions_ = n_actions
        if candidates is not None:
            one, other = candidates.T[:, :, None], candidates.T[:, None, :]
            sides = np.concatenate([one <= other, one >= other])  # (2 p, C, C)
            self.sides_ = np.hstack([*sides]).astype(np.float64)
        self.columns_ = _tree_columns(states)
        if is_finite:
            known = distinct_rows(states)
            assert known is not None
            self.known_, where = known, which_row(known, states)
            counts = np.zeros((len(known), n_actions))
            np.add.at(counts, (where, codes), 1.0 if weight is None else weight)
            self.counts_ = counts
            return self
        chosen = fixed_sample(len(states), self.n_rows)
        columns, taken = self.columns_.transform(states[chosen]), codes[chosen]
        counted = None if weight is None else weight[chosen]
        # Trees are of rows drawn by their places, which shall not hang on their order.
        order = np.lexsort((taken, *columns.T[::-1]))
        columns, taken = columns[order], taken[order]
        counted = None if counted is None else counted[order]
        leaf = self.leaf or _best_leaf(columns, taken, rng, counted)
        self.leaf_rows_ = min(leaf, len(chosen))
        forest = _forest(_TREES, leaf, rng, columns, taken, counted)
        self.forest_, self.codes_ = Forest(forest.estimators_), forest.classes_
        if candidates is None:
            # Candidates speak for their neighbours, which were taken all the same.
            some = fixed_sample(len(states), _BOX_ROWS)
            self.never_ = NeverTaken(self.columns_, n_actions).fit(
                states[some],
                codes[some],
                np.ones(len(some)) if weight is None else weight[some],
                some if episode is None else episode[some],
                forest.feature_importances_,
            )
        return self

    @property
    def tail(self) -> float:
        """The least share on either side of a candidate that is between others."""
        return tail_share(self.threshold)

    def with_threshold(self, threshold: float) -> ActionSupport:
        """The same estimate of π̂_b, held to another threshold."""
        other = copy.copy(self)
        other.threshold = threshold
        return other

    def remembering(self) -> ActionSupport:
        """The same, that keeps what it finds for it and for its other thresholds."""
        other = copy.copy(self)
        other._known = {}
        return other

    def counts(self, states: Floats) -> Floats:
        """Rows or their shares, (n, n_actions); equal where nothing was logged."""
        if self._known is None:
            return self._count(states)
        key = blake2b(states.tobytes()).digest()
        if key not in self._known:
            self._known[key] = self._count(states)
        return self._known[key]

    def _count(self, states: Floats) -> Floats:
        if hasattr(self, "forest_"):
            out = np.zeros((len(states), self.n_actions_))
            if not len(states):
                return out
            found = self.forest_.predict(self.columns_.transform(states))
            out[:, self.codes_] = found
            if self.never_ is None:
                return out
            left = np.where(self.never_(states), 0.0, out)
            return np.where(left.any(axis=1, keepdims=True), left, out)
        _, where = np.unique(
            np.concatenate([self.known_, states]), axis=0, return_inverse=True
        )
        where = where.ravel()
        counts = np.ones((where.max() + 1, self.n_actions_))
        counts[where[: len(self.known_)]] = self.counts_
        return counts[where[len(self.known_) :]]

    def log_prior(self, states: Floats, available: Flags | None = None) -> Floats:
        """log π̂_b, less its largest, (n, n_actions); never without support."""
        found = self.counts(states)
        if available is not None:
            # Held to what can be taken; all of that, where none of it was logged.
            found = np.where(available, found, 0.0)
            nowhere = ~found.any(axis=1)
            found[nowhere] = available[nowhere]
        largest = found.max(axis=1, keepdims=True)
        least = self.threshold * largest
        if hasattr(self, "forest_"):
            least = np.minimum(least, ENOUGH_IN_LEAF / self.leaf_rows_)
        else:
            least = np.minimum(least, ENOUGH)
        supported = found >= least
        if self.sides_ is not None:
            # Eq. (81) of docs/game.md.
            beyond = (found @ self.sides_).reshape(len(found), -1, found.shape[1])
            tail = self.tail * found.sum(axis=1, keepdims=True)
            supported |= beyond.min(axis=1) >= tail
        supported &= found > 0.0
        share = np.where(supported, found, largest) / largest
        # Eq. (61) of docs/game.md.
        return np.where(supported, np.log(share), NEVER)


def action_prior(
    support: ActionSupport | None, states: Floats, available: Flags | None
) -> Floats | None:
    """What is added to a policy's logits, (n, n_actions); None if zero."""
    if support is not None:
        return support.log_prior(states, available)
    return None if available is None else np.where(available, 0.0, NEVER)


def _forest(
    trees: int,
    leaf: int,
    rng: RandomState,
    columns: Floats,
    codes: Index,
    weight: Floats | None,
) -> RandomForestClassifier:
    """Grown on rows, which count twice if they are fewer than two for each action.

    Of so few scikit-learn warns that they may not be classes.
    """
    times = 1 + (2 * len(np.unique(codes)) > len(codes))
    rows = np.tile(np.arange(len(codes)), times)
    # All columns are tried at each split: what is available often hangs on one. And
    # entropy parts actions that are rare from those that are never taken.
    forest = RandomForestClassifier(
        trees,
        min_samples_leaf=leaf * times,
        max_features=None,
        criterion="entropy",
        random_state=rng,
    )
    counted = None if weight is None else weight[rows]
    return forest.fit(columns[rows], codes[rows], counted)


def _best_leaf(
    columns: Floats, codes: Index, rng: RandomState, weight: Floats | None
) -> int:
    """The leaf size by which a forest foretells held-out actions best."""
    step = -(-len(codes) // (2 * _TRIED_ROWS))
    columns, codes = columns[::step], codes[::step]
    weight = np.ones(len(codes)) if weight is None else weight[::step]
    # Alternate rows: those of a time are in both halves.
    seen, held = slice(0, None, 2), slice(1, None, 2)
    n_actions, rows = codes.max() + 1, np.arange(len(codes[held]))

    def loss(found: Floats) -> float:
        surprise = -np.log(np.maximum(found[rows, codes[held]], _SURPRISE))
        return float(np.average(surprise, weights=weight[held]))

    share = np.bincount(codes[seen], weight[seen], n_actions) / weight[seen].sum()
    losses = {_FOREST_ROWS: loss(np.broadcast_to(share, (len(rows), n_actions)))}
    for leaf in _LEAVES:
        given = columns[seen], codes[seen], weight[seen]
        forest = _forest(_TRIED_TREES, leaf, rng, *given)
        found = np.zeros((len(rows), n_actions))
        found[:, forest.classes_] = Forest(forest.estimators_).predict(columns[held])
        losses[leaf] = loss(found)
    best = min(losses, key=losses.__getitem__)
    # Rows that make no two such leaves are one, whatever it is called.
    return _FOREST_ROWS if 2 * best > len(codes[seen]) else best


class ActionRange:
    """A range of continuous actions that the log supports in a state.

    A Gaussian behaviour policy has the density ``threshold`` · (its largest) where the
    quantiles q and 1 − q are, q = Φ(−(−2 log threshold)^½). The range is between these
    quantiles of the logged actions in a leaf of a tree that predicts the action from
    the state, a mean over the trees of a random forest.
    """

    def __init__(self, threshold: float, *, n_rows: int = _FOREST_ROWS) -> None:
        self.threshold, self.n_rows = threshold, n_rows

    def fit(self, states: Floats, actions: Floats, rng: RandomState) -> ActionRange:
        """Of logged states (n, d) and actions (n, p), on their scale."""
        self.columns_ = _tree_columns(states)
        chosen = fixed_sample(len(states), self.n_rows)
        actions = ActionScale.of(actions).transform(actions)[chosen]
        x = self.columns_.transform(states[chosen])
        targets = actions / center_and_spread(actions)[1]
        forest = RandomForestRegressor(
            _TREES, min_samples_leaf=_RANGE_LEAF, random_state=rng
        ).fit(x, targets if targets.shape[1] > 1 else targets[:, 0])
        self.forest_ = Forest(forest.estimators_)
        tail = tail_share(self.threshold)
        self.ends_ = []  # of each tree's leaves, (n_nodes, 2 p)
        leaves = self.forest_.leaves(x)
        for n_nodes, leaf in zip(self.forest_.n_nodes, leaves, strict=True):
            ends = np.zeros((n_nodes, 2 * actions.shape[1]))
            order = np.argsort(leaf, kind="stable")
            nodes, starts = np.unique(leaf[order], return_index=True)
            for node, rows in zip(nodes, np.split(order, starts[1:]), strict=True):
                found = np.quantile(actions[rows], [tail, 1 - tail], axis=0)
                ends[node] = found.ravel()
            self.ends_.append(ends)
        return self

    def __call__(self, states: Floats) -> Floats:
        """The lower ends and the upper ones, (n, 2 p)."""
        leaves = self.forest_.leaves(self.columns_.transform(states))
        found = [ends[leaf] for ends, leaf in zip(self.ends_, leaves, strict=True)]
        return np.mean(found, axis=0)
