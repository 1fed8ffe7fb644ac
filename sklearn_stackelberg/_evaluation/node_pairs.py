"""Features of pairs whose actions are continuous, and of a policy's nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from ..kernels import JointFeatures
from ..solvers.rows import FeatureRows, feature_rows
from . import clusters
from .judged import JudgedLog
from .nodes import Floats
from .pairs import Index, times_all

# Entries of the Gram matrix of nodes that are held at once.
_GRAM_ENTRIES = 2**22


class NodePairs:
    """Features of (s, a) themselves, and their mean over a continuous policy's nodes.

    Parameters
    ----------
    judged : JudgedLog
    features : JointFeatures
    logged, mean : callable, default=None
        Features of the logged pairs, by the place of their state in ``states``, and
        means over the nodes, if known.
    """

    def __init__(
        self,
        judged: JudgedLog,
        features: JointFeatures,
        logged: FeatureRows | None = None,
        mean: FeatureRows | None = None,
    ) -> None:
        self.judged, self.features = judged, features
        m = features.n_features_out_
        self.shape = (m,)
        if logged is None:
            # Rows of a part of the log are found by the place of their state.
            row = np.zeros(len(judged.states), dtype=np.intp)
            row[judged.state_index] = np.arange(len(judged))
            states, actions = judged.states, judged.actions
            logged = feature_rows(
                lambda place: features.transform(states[place], actions[row[place]]),
                np.arange(judged.state_index.max() + 1),
                m,
            )
        self._logged = logged
        self._mean = mean or feature_rows(
            self._average, np.arange(len(judged.states)), m
        )

    @property
    def size(self) -> int:
        """m."""
        return self.shape[0]

    def logged(self, rows: Any) -> Floats:
        """Z of the logged pairs, (k, m)."""
        return self._logged(self.judged.state_index[rows]).numpy()

    def times(self, rows: Any, matrix: Floats) -> Floats:
        """Z times a matrix."""
        return self.logged(rows) @ matrix

    def crossed(self, rows: Any, weight: Floats, right: Floats) -> Floats:
        """Zᵀ diag(weight) times a matrix."""
        return (self.logged(rows) * weight[:, None]).T @ right

    def mean(self, index: Index) -> Floats:
        """Σ_j weight_j z(s, a_j), (k, m)."""
        return self._mean(index).numpy()

    def difference(self, rows: Any, carried: Floats) -> Floats:
        """Z less ``carried`` times the mean of the next states, (k, m)."""
        mean = self.mean(self.judged.next_index[rows])
        return self.logged(rows) - carried[:, None] * mean

    def values(
        self, weight: Floats, anchor: float, limits: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        """V of all ``states``, (N,), and Q of all logged pairs, (n,).

        The limits are not kept: V is the mean of Q, and stays so.
        """
        judged = self.judged
        v = np.empty(len(judged.states))
        for batch in gen_batches(len(v), clusters.BATCH_ROWS):
            v[batch] = self.mean(np.arange(len(v))[batch]) @ weight
        return v + anchor, times_all(self, weight) + anchor

    def of(self, judged: JudgedLog) -> NodePairs:
        """The same features for some rows of the log, or for another policy."""
        same = judged.nodes is self.judged.nodes and (
            judged.chances is self.judged.chances
        )
        mean = self._mean if same else None
        return NodePairs(judged, self.features, self._logged, mean)

    def _average(self, index: Index) -> Floats:
        """Means over the nodes: of Gram rows, which are fewer to project, (k, m)."""
        judged, features = self.judged, self.features
        landmarks = len(features.landmarks_)
        out = np.empty((len(index), landmarks))
        for batch in gen_batches(len(index), _rows_at_once(judged, landmarks)):
            some = index[batch]
            weights, states = judged.chances[some], judged.states[some]
            if not features.is_product:
                gram = features.gram(*_flat(states, judged.nodes[some]))
                out[batch] = _weighted(weights, gram)
                continue
            if judged.has_shared_nodes:
                mean = weights @ features.action_gram(judged.nodes[0])
            else:
                nodes = judged.nodes[some].reshape(weights.size, -1)
                mean = _weighted(weights, features.action_gram(nodes))
            out[batch] = features.state_gram(states) * mean
        return out @ features.projection_


def node_batches(
    judged: JudgedLog, width: int
) -> Iterator[tuple[slice, Floats, Floats]]:
    """States with each of their nodes, some at a time.

    Parameters
    ----------
    judged : JudgedLog
        Of a continuous policy.
    width : int
        Numbers that are made of each.

    Yields
    ------
    batch : slice
        Of ``judged.states``, k of them.
    states : array of shape (k S, d)
    actions : array of shape (k S, p)
    """
    for batch in gen_batches(len(judged.states), _rows_at_once(judged, width)):
        yield batch, *_flat(judged.states[batch], judged.nodes[batch])


def _weighted(weights: Floats, gram: Floats) -> Floats:
    """Σ_j weights_j of the rows of k states' S nodes, (k S, L) to (k, L)."""
    return (weights[:, None, :] @ np.reshape(gram, (*weights.shape, -1)))[:, 0]


def _flat(states: Floats, nodes: Floats) -> tuple[Floats, Floats]:
    each = np.repeat(states, nodes.shape[1], axis=0)
    return each, nodes.reshape(len(each), -1)


def _rows_at_once(judged: JudgedLog, width: int) -> int:
    return max(1, _GRAM_ENTRIES // (width * judged.n_actions))
