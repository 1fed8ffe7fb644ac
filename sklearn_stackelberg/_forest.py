"""The trees of a random forest, and their arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.tree._tree import Tree

from ._typing import Floats, Index


class Forest:
    """Fitted trees without all that only their fit needs.

    Pickled it is arrays, and what comes of them is checked: scikit-learn follows the
    nodes of a tree without a look at where they lead, so that those of a file from
    elsewhere could read any memory.
    """

    def __init__(
        self, fitted: Sequence[DecisionTreeClassifier | DecisionTreeRegressor]
    ) -> None:
        self._trees = [tree.tree_ for tree in fitted]

    def predict(self, columns: NDArray[Any]) -> Floats:
        """The forest's shares of classes (n, n_classes), or its means (n, 1).

        To the last bit what its `predict_proba` and `predict` give of columns in single
        precision, less joblib's work: a policy in use asks for one state at a time.
        """
        total = self._trees[0].predict(self._checked(columns))
        # One by one: of a million states those of all trees are gigabytes.
        for tree in self._trees[1:]:
            total += tree.predict(columns)
        total /= len(self._trees)
        return total

    def leaves(self, columns: NDArray[Any]) -> Iterator[Index]:
        """The leaf of every row, tree by tree."""
        return (tree.apply(self._checked(columns)) for tree in self._trees)

    def _checked(self, columns: NDArray[Any]) -> NDArray[Any]:
        # Trees read the columns that their nodes name, whether there are any or not.
        if columns.ndim != 2 or columns.shape[1] != self._trees[0].n_features:
            raise ValueError(
                f"The forest is of {self._trees[0].n_features} columns, and was asked "
                f"of an array of shape {columns.shape}."
            )
        return columns

    @property
    def n_nodes(self) -> list[int]:
        return [tree.node_count for tree in self._trees]

    def __getstate__(self) -> dict[str, object]:
        first, states = self._trees[0], [tree.__getstate__() for tree in self._trees]
        nodes = np.concatenate([state["nodes"] for state in states])
        return {
            "n_features": int(first.n_features),
            "n_classes": np.asarray(first.n_classes),
            "n_outputs": int(first.n_outputs),
            "max_depth": [int(state["max_depth"]) for state in states],
            "n_nodes": self.n_nodes,
            # By name: scikit-learn's versions differ in what a node has.
            "nodes": {name: nodes[name].copy() for name in nodes.dtype.names or ()},
            "values": np.concatenate([state["values"] for state in states]),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        n_features, n_outputs = state["n_features"], state["n_outputs"]
        n_classes = np.asarray(state["n_classes"], dtype=np.intp)
        if not n_features > 0 or n_classes.shape != (n_outputs,) or n_outputs < 1:
            raise ValueError("The file holds a forest of no columns or no outputs.")
        empty = Tree(n_features, n_classes, n_outputs).__getstate__()["nodes"]
        nodes = np.zeros(len(state["values"]), dtype=empty.dtype)
        for name in {*empty.dtype.names} & {*state["nodes"]}:
            nodes[name] = state["nodes"][name]
        ends = np.cumsum(state["n_nodes"])
        if len(ends) == 0 or min(state["n_nodes"]) < 1 or ends[-1] != len(nodes):
            raise ValueError("The file holds a forest whose trees lack nodes.")
        self._trees = []
        for end, count, depth in zip(
            ends, state["n_nodes"], state["max_depth"], strict=True
        ):
            own = slice(end - count, end)
            _check_nodes(nodes[own], n_features)
            tree = Tree(n_features, n_classes, n_outputs)
            tree.__setstate__(
                {
                    "max_depth": depth,
                    "node_count": count,
                    "nodes": nodes[own],
                    "values": state["values"][own],
                }
            )
            self._trees.append(tree)


def _check_nodes(nodes: NDArray[Any], n_features: int) -> None:
    """Refuse nodes that lead out of their tree, round in it, or beside the columns."""
    left, right = nodes["left_child"], nodes["right_child"]
    inner, place = left != -1, np.arange(len(nodes))
    # scikit-learn numbers nodes as it makes them: children come after their parent.
    known = np.where(inner, (left > place) & (right > place), True)
    known &= (left < len(nodes)) & (right < len(nodes))
    column = nodes["feature"]
    known &= ~inner | ((column >= 0) & (column < n_features))
    if not known.all():
        raise ValueError("The file holds a tree whose nodes lead out of it.")
