"""A short tree of rules, grown by scikit-learn, and policies that follow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array

from .._typing import AnyArray, Flags, Floats, Index
from ..transitions._actions import given_mask
from ..transitions._transitions import Transitions
from ._rule_columns import RuleColumn

LEAF = -1

# Thresholds of all columns together that optimal trees are looked for on, by depth.
_TESTS = 200, 200, 100, 50

# After so many seconds the best tree so far, not proved to be the best of all.
TIME_LIMIT = 30.0


@dataclass(frozen=True, eq=False)
class RuleTree:
    """Splits ``column <= threshold``, nodes in the order in which a tree is read.

    Of a leaf, ``feature``, ``left`` and ``right`` are -1. ``cut_off``: whether the
    search for the best tree ended at its time limit.
    """

    feature: Index
    threshold: Floats
    left: Index
    right: Index
    cut_off: bool = False

    @property
    def leaves(self) -> Index:
        return np.flatnonzero(self.left == LEAF)

    def apply(self, columns: Floats) -> Index:
        """The leaf of each row, (n,)."""
        node = np.zeros(len(columns), dtype=np.intp)
        while True:
            inside = np.flatnonzero(self.left[node] != LEAF)
            if not len(inside):
                return node
            at = node[inside]
            low = columns[inside, self.feature[at]] <= self.threshold[at]
            node[inside] = np.where(low, self.left[at], self.right[at])

    def levels(self) -> Index:
        """How many splits are above each node."""
        out = np.zeros(len(self.left), dtype=np.intp)
        for node in np.flatnonzero(self.left != LEAF):
            out[[self.left[node], self.right[node]]] = out[node] + 1
        return out

    @property
    def depth(self) -> int:
        return int(self.levels().max())

    def conditions(self, columns: list[RuleColumn]) -> dict[int, list[str]]:
        """What holds in each leaf, a condition for each column that is asked."""
        out: dict[int, list[str]] = {}
        pending: list[tuple[int, dict[int, tuple[float, float]]]] = [(0, {})]
        while pending:
            node, known = pending.pop()
            if self.left[node] == LEAF:
                out[node] = [columns[j].condition(*ends) for j, ends in known.items()]
                continue
            j, at = int(self.feature[node]), float(self.threshold[node])
            low, high = known.get(j, (-np.inf, np.inf))
            # The right one first on the pile, so that leaves come from left to right.
            pending.append((int(self.right[node]), known | {j: (at, high)}))
            pending.append((int(self.left[node]), known | {j: (low, at)}))
        return out


def rounded(low: float, high: float) -> float:
    """The roundest number t with low <= t < high, of these the one in the middle."""
    middle = low + 0.5 * (high - low)
    if not np.isfinite(high - low) or high <= low:
        return low
    power = np.floor(np.log10(max(abs(low), abs(high), high - low))) + 1
    # Ends that are the same in so many digits are parted by the lower one itself.
    for digits in range(13):
        for step in (10.0 ** (power - digits), 5.0 * 10.0 ** (power - digits - 1)):
            for whole in (np.round(middle / step), np.floor(middle / step)):
                # Without what the product leaves in the last digits.
                found = float(f"{whole * step:.12g}")
                if low <= found < high:
                    return found
    return low


# Any: a node of a tree of any library.
Split = Callable[[Any], tuple[int, float, Any, Any] | None]
Choice = Callable[[Flags], object]


def _grown(root: object, split: Split, columns: Floats, choice: Choice) -> RuleTree:
    """A tree without splits whose two sides decide alike.

    ``split(node)`` is a column, a threshold and the nodes below and above it, None of a
    leaf; ``choice(rows)`` is what is decided for rows.
    """
    nodes: list[list[float]] = []

    def add(node: object, rows: Flags) -> list[object]:
        place, found = len(nodes), split(node)
        nodes.append([LEAF, np.nan, LEAF, LEAF])
        if found is None:
            return [choice(rows)]
        j, at, lower, upper = found
        is_low = columns[:, j] <= at
        decided = add(lower, rows & is_low)
        right = len(nodes)
        decided += add(upper, rows & ~is_low)
        if all(one == decided[0] for one in decided):
            del nodes[place + 1 :]
        else:
            nodes[place] = [j, at, place + 1, right]
        return decided

    add(root, np.ones(len(columns), dtype=bool))
    threshold = np.array([node[1] for node in nodes])
    feature, _, left, right = np.nan_to_num(nodes).T.astype(np.intp)
    return RuleTree(feature, threshold, left, right)


# Any: a fitted tree of scikit-learn.
def from_sklearn(tree: Any, grown_on: Floats, columns: Floats, choice: Any) -> RuleTree:
    """The tree with rounded thresholds.

    ``grown_on`` are the columns as the tree saw them, in single precision perhaps, and
    ``columns`` the same as they are.
    """
    left, right = tree.tree_.children_left, tree.tree_.children_right
    path = tree.decision_path(grown_on).toarray().astype(bool)  # (n, n_nodes)

    def split(node: int) -> tuple[int, float, int, int] | None:
        if left[node] == LEAF:
            return None
        j = int(tree.tree_.feature[node])
        low = columns[path[:, left[node]], j].max()
        high = columns[path[:, right[node]], j].min()
        return j, rounded(float(low), float(high)), left[node], right[node]

    return _grown(0, split, columns, choice)


def optimal_tree(
    columns: Floats, cost: Floats, depth: int, least: int, choice: Choice
) -> RuleTree:
    """The tree of least costs (n, A) of all of a depth, by STreeD (arXiv 2305.19706).

    Of all on so many thresholds, with ``least`` rows in a leaf or more.
    """
    from pystreed import STreeDInstanceCostSensitiveClassifier

    most = max(_TESTS[min(depth, len(_TESTS)) - 1] // columns.shape[1], 1)
    tests: list[tuple[int, float]] = []
    for j, values in enumerate(columns.T):
        known = np.unique(values)
        places = np.arange(len(known))
        if len(known) > most + 1:
            share = np.linspace(0, 1, most + 2)[1:-1]
            quantiles = np.quantile(values, share, method="lower")
            places = np.unique(np.searchsorted(known, quantiles))
        tests += [(j, rounded(*known[i : i + 2])) for i in places if i + 1 < len(known)]
    if not tests:
        return _grown(None, lambda node: None, columns, choice)
    asked = np.column_stack([columns[:, j] > at for j, at in tests]).astype(np.intc)
    limits: dict[str, float] = {"min_leaf_node_size": least, "time_limit": TIME_LIMIT}
    model = STreeDInstanceCostSensitiveClassifier(depth, **limits).fit(asked, cost)

    def split(node: Any) -> tuple[int, float, Any, Any] | None:
        if node.is_leaf_node():
            return None
        return *tests[node.feature], node.left_child, node.right_child

    rules = _grown(model.tree_, split, columns, choice)
    return replace(rules, cut_off=not model.fit_result.is_optimal())


class _TreePolicy(BaseEstimator):
    """What both do alike: they are made, not fitted, as scikit-learn's frozen ones."""

    rules_: RuleTree

    def fit(self, X: object, y: object = None) -> Self:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "rules_")

    def _leaf(self, X: Any) -> Index:  # columns in a table or in none, or a log of them
        columns = X.state if isinstance(X, Transitions) else X
        return self.rules_.apply(check_array(columns, dtype=np.float64))


class DiscreteTreePolicy(_TreePolicy):
    """Of each leaf the action that costs least, among those that can be taken."""

    classes_: AnyArray
    cost_: Floats  # (n_nodes, A)

    @classmethod
    def of(cls, rules: RuleTree, cost: Floats, classes: AnyArray) -> Self:
        new = cls()
        new.rules_, new.cost_, new.classes_ = rules, cost, classes
        return new

    def actions_of(self, node: int, done: Index) -> list[object]:
        """What was done in rows of a leaf, the best first, as Python has it.

        Without any row what the leaf is for.
        """
        best = np.argsort(self.cost_[node], kind="stable")
        some = best[np.isin(best, done)] if len(done) else best[:1]
        found: list[object] = self.classes_[some].tolist()
        return found

    def codes(self, X: Any, available: ArrayLike | None = None) -> Index:
        cost = self.cost_[self._leaf(X)]
        mask = given_mask(X, available, self.classes_)
        if mask is not None:
            cost = np.where(mask, cost, np.inf)
        return cost.argmin(axis=1)

    def predict(self, X: Any, available: ArrayLike | None = None) -> AnyArray:
        """The action of each row's leaf, (n,), of those that are available."""
        return self.classes_[self.codes(X, available)]

    def predict_proba(self, X: Any, available: ArrayLike | None = None) -> Floats:
        """1 for what `predict` returns, (n, A)."""
        return np.eye(len(self.classes_))[self.codes(X, available)]


class ContinuousTreePolicy(_TreePolicy):
    """Of each leaf one amount, or several numbers."""

    amount_: Floats  # (n_nodes, p)
    is_flat_: bool  # whether logs have actions of shape (n,)

    @classmethod
    def of(cls, rules: RuleTree, amount: Floats, is_flat: bool) -> Self:
        new = cls()
        new.rules_, new.amount_, new.is_flat_ = rules, amount, is_flat
        return new

    def actions_of(self, node: int, done: AnyArray) -> list[object]:
        """What is done in a leaf, as Python has it."""
        amount = self.amount_[node].tolist()
        return [amount[0] if self.is_flat_ else tuple(amount)]

    def predict(self, X: Any) -> Floats:
        """The amount of each row's leaf, (n,) or (n, p)."""
        found = self.amount_[self._leaf(X)]
        return found[:, 0] if self.is_flat_ else found

    def action_nodes(self, X: Any) -> tuple[Floats, Floats]:
        """What `predict` returns as the only node, (n, 1, p), of weight 1, (n, 1)."""
        found = self.amount_[self._leaf(X)]
        return found[:, None], np.ones((len(found), 1))


TreePolicy = DiscreteTreePolicy | ContinuousTreePolicy
