"""Features of pairs whose actions are labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from ..kernels import LandmarkFeatures
from ..solvers.rows import FeatureRows, feature_rows
from . import clusters
from .judged import JudgedLog
from .nodes import Floats
from .pairs import Index


class LabelPairs:
    """z = e_a ⊗ φ(s): one copy of the states' features for each label.

    Parameters
    ----------
    judged : JudgedLog
    features : LandmarkFeatures
    phi : callable, default=None
        Features of ``states`` by index, if known.
    """

    def __init__(
        self,
        judged: JudgedLog,
        features: LandmarkFeatures,
        phi: FeatureRows | None = None,
    ) -> None:
        self.judged, self.features = judged, features
        m = features.n_features_out_
        self.shape = judged.n_actions, m
        self._phi = phi or feature_rows(features.transform, judged.states, m)

    @property
    def size(self) -> int:
        """A m."""
        return self.shape[0] * self.shape[1]

    def phi(self, index: Index) -> Floats:
        """Features of states, (k, m)."""
        return self._phi(index).numpy()

    def logged(self, rows: Any) -> Floats:
        """Z of the logged pairs, (k, A m)."""
        return self._add_logged(
            rows, np.zeros((len(self.judged.codes[rows]), self.size))
        )

    def times(self, rows: Any, matrix: Floats) -> Floats:
        """Z times a matrix, a block for each label."""
        phi, codes = self._own(rows)
        out = np.empty((len(phi), *matrix.shape[1:]))
        for block, mine in self._blocks(codes):
            out[mine] = phi[mine] @ matrix[block]
        return out

    def crossed(self, rows: Any, weight: Floats, right: Floats) -> Floats:
        """Zᵀ diag(weight) times a matrix, a block for each label."""
        phi, codes = self._own(rows)
        phi = phi * weight[:, None]
        out = np.zeros((self.size, *right.shape[1:]))
        for block, mine in self._blocks(codes):
            out[block] = phi[mine].T @ right[mine]
        return out

    def mean(self, index: Index) -> Floats:
        """π(s) ⊗ φ(s), (k, A m)."""
        return self._spread(index, self.judged.chances[index])

    def difference(self, rows: Any, carried: Floats) -> Floats:
        """Z less ``carried`` times the mean of the next states, (k, A m)."""
        after = self.judged.next_index[rows]
        share = -(carried[:, None] * self.judged.chances[after])
        return self._add_logged(rows, self._spread(after, share))

    def values(
        self, weight: Floats, anchor: float, limits: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        """V of all ``states``, (N,), and Q of all logged pairs, (n,)."""
        judged, weight = self.judged, weight.reshape(self.shape)
        q = np.empty((len(judged.states), self.shape[0]))
        for batch in gen_batches(len(q), clusters.BATCH_ROWS):
            q[batch] = self.phi(np.arange(len(q))[batch]) @ weight.T
        q += anchor
        if limits is not None:
            q = np.clip(q, *limits)
        return (q * judged.chances).sum(axis=1), q[judged.state_index, judged.codes]

    def of(self, judged: JudgedLog) -> LabelPairs:
        """The same features for some rows of the log, or for another policy."""
        return LabelPairs(judged, self.features, self._phi)

    def _own(self, rows: Any) -> tuple[Floats, Index]:
        return self.phi(self.judged.state_index[rows]), self.judged.codes[rows]

    def _blocks(self, codes: Index) -> Any:
        m = self.shape[1]
        for action in np.unique(codes):
            yield slice(action * m, (action + 1) * m), codes == action

    def _spread(self, index: Index, share: Floats) -> Floats:
        """Σ_a share_a e_a ⊗ φ(s), (k, A m)."""
        phi = self.phi(index)
        return (share[:, :, None] * phi[:, None, :]).reshape(len(phi), -1)

    def _add_logged(self, rows: Any, out: Floats) -> Floats:
        phi, codes = self._own(rows)
        out.reshape(len(out), *self.shape)[np.arange(len(out)), codes] += phi
        return out
