"""Where a log never takes an action, though it does so beside."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from .._forest import Forest
from .._sampling import fixed_sample
from .._typing import Flags, Floats, Index
from ..kernels._columns import StateColumns

# How unlikely it is, as minus a logarithm, that all rows, and episodes, with an action
# are outside a box of states, for it to be never taken there; and what a split of rows
# adds to their log-likelihood. Rows on the other side of a boundary gave a ward's
# patients drugs that were barred for them. Episodes: a drug is not barred for ages at
# which nobody was given it by chance, however long they stayed.
EVIDENCE = 8.0

# Rules are of sums and products of columns, too, such as a debt that income carries: so
# many columns, of which the forest makes most, are paired, and turned by these angles.
_PAIRED, _ANGLES = 4, np.pi / 8.0 * np.array([1, 2, 3, 5, 6, 7])

# Of fewer rows columns are not paired: among so many a box is found that reaches a few
# rows too far, which cost 60 patients of two stages a twentieth of their value.
_ROWS_OF_PAIRS = 500

# Rows that did not take an action that a tree parts from those that did: where they end
# is the question, and of the rest more cost more.
_REST = 2_000


class NeverTaken:
    """Boxes of states in which an action is never taken, though it is beside them.

    Of each action a tree parts the rows that took it from the rest, by columns and by
    sums and products of pairs of those that say most of what is done. A leaf without it
    is such a box where it is unlikely that all who took it are in its sibling, Eq. (87)
    of docs/game.md.
    """

    def __init__(self, columns: StateColumns, n_actions: int) -> None:
        self.columns_, self.n_actions_ = columns, n_actions

    def fit(
        self,
        states: Floats,
        codes: Index,
        weight: Floats,
        episode: NDArray[Any],
        says: Floats,
    ) -> NeverTaken | None:
        """Of states (n, d) and codes, weights and episodes (n,); None: no such box.

        ``says`` is how much each column says of what is done, (d,).
        """
        n_paired = _PAIRED * (len(states) >= _ROWS_OF_PAIRS)
        paired = np.argsort(-says, kind="stable")[:n_paired]
        first, second = np.triu_indices(len(paired), 1)
        self.one_, self.other_ = paired[first], paired[second]
        unit = np.eye(states.shape[1])[:, None, :]
        one, other = (unit[..., k] for k in (self.one_, self.other_))  # (d, 1, pairs)
        angles = _ANGLES[:, None]
        turned = np.cos(angles) * one + np.sin(angles) * other  # (d, angles, pairs)
        self.turned_ = turned.reshape(len(unit), -1)
        columns = self._with_pairs(states)
        # The rest is drawn by its places, which shall not hang on the order of rows.
        order = np.lexsort((codes, *columns.T[::-1]))
        order = order[weight[order] > 0.0]
        columns, codes, weight = columns[order], codes[order], weight[order]
        episode = np.unique(episode[order], return_inverse=True)[1].ravel()
        if not episode.any():
            # A log of one trajectory: it has no others.
            episode = np.arange(len(codes))
        found = {}
        for code in np.unique(codes):
            taken = codes == code
            if taken.all():
                continue
            tree = _grown(columns, taken, weight)
            empty = _empty_leaves(tree, columns, taken, weight, episode)
            if empty.any():
                found[int(code)] = tree, empty
        if not found:
            return None
        self.forest_ = Forest([tree for tree, _ in found.values()])
        self.codes_, self.empty_ = [*found], [empty for _, empty in found.values()]
        return self

    def __call__(self, states: Floats) -> Flags:
        """Which actions are never taken in states, (n, A)."""
        out = np.zeros((len(states), self.n_actions_), dtype=bool)
        leaves = self.forest_.leaves(self._with_pairs(states))
        for code, empty, leaf in zip(self.codes_, self.empty_, leaves, strict=True):
            out[:, code] = empty[leaf]
        return out

    def _with_pairs(self, states: Floats) -> NDArray[np.float32]:
        """Columns as trees see them, and sums and products of pairs of some, (n, ·)."""
        seen = self.columns_.transform(states).astype(np.float64)
        product = seen[:, self.one_] * seen[:, self.other_]
        most = np.finfo(np.float32).max
        # Products of columns that are numbers to a tree may be more than it can hold.
        found = np.hstack([seen, seen @ self.turned_, product]).clip(-most, most)
        return found.astype(np.float32)


def _grown(
    columns: NDArray[np.float32], taken: Flags, weight: Floats
) -> DecisionTreeClassifier:
    """A tree that parts rows that took an action from the rest."""
    own, rest = np.flatnonzero(taken), np.flatnonzero(~taken)
    some = rest[fixed_sample(len(rest), _REST)]
    each = weight.copy()
    each[some] *= weight[rest].sum() / weight[some].sum()
    each *= _n_rows(weight, own) / weight[own].sum()
    rows = np.concatenate([own, some])
    return DecisionTreeClassifier(
        criterion="entropy",
        min_impurity_decrease=EVIDENCE / np.log(2.0) / each[rows].sum(),
        random_state=0,
    ).fit(columns[rows], taken[rows], each[rows])


def _empty_leaves(
    fitted: DecisionTreeClassifier,
    columns: NDArray[np.float32],
    taken: Flags,
    weight: Floats,
    episode: Index,
) -> Flags:
    """Which nodes are leaves in which an action is never taken."""
    tree = fitted.tree_
    parent = np.full(tree.node_count, -1)
    for child in (tree.children_left, tree.children_right):
        inner = np.flatnonzero(child >= 0)
        parent[child[inner]] = inner
    out = (tree.children_left < 0) & (tree.value[:, 0, 1] == 0.0) & (parent >= 0)
    paths = tree.decision_path(columns).tocsc()
    for leaf in np.flatnonzero(out):
        inside, around = (paths[:, node].indices for node in (leaf, parent[leaf]))
        own = around[taken[around]]
        share = weight[inside].sum() / weight[around].sum()
        by_rows = _evidence(_n_rows(weight, own), share)
        here, there = (len(np.unique(episode[k])) for k in (inside, around))
        by_episodes = _evidence(len(np.unique(episode[own])), here / there)
        out[leaf] = min(by_rows, by_episodes) >= EVIDENCE
    return out


def _n_rows(weight: Floats, some: Index) -> float:
    """How many some rows are, as one; less where a few have most of the weight."""
    return len(some) * weight.mean() ** 2 / np.square(weight).mean()


def _evidence(n_taken: float, share: float) -> float:
    """How unlikely it is that none of ``n_taken`` is in a share of what they are of."""
    # Eq. (87) of docs/game.md. Episodes may all have been inside.
    return -n_taken * float(np.log1p(-min(share, 1.0 - 1e-9)))
