"""Features that an evaluation is made in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from sklearn.gaussian_process.kernels import Matern
from sklearn.utils import check_random_state, gen_batches

from .._problem.rows import FeatureRows, feature_rows
from .._typing import Floats, Index
from ..kernels._nystroem import LandmarkFeatures
from ..kernels._registry import median_bandwidth
from ..kernels._state_action import StateActionFeatures
from . import _jackknife as clusters
from ._data import EvaluationData
from ._settings import QSettings

# Finite states get one feature each where this many rows stand for each on average.
_ROWS_PER_STATE = 10

# Pairs of states and continuous actions need more landmarks than states alone. With as
# many, 95 % intervals held the truth of a problem of two actions in 86 %.
_LANDMARKS_OF_PAIRS = 2


def fit_features(data: EvaluationData, settings: QSettings) -> Any:
    """Landmark features of the logged states, or pairs, by a kernel that suits them.

    Finite states are told apart and no more. Others get a Matérn kernel (ν = 5/2): a
    Gaussian one is too smooth for values that break off where episodes end, and its
    bias does not show in the standard error. Pairs of states and continuous actions get
    a Laplacian one: by the other, 95 % intervals of Pendulum held the truth in 75 %.

    Returns
    -------
    LandmarkFeatures, or StateActionFeatures where actions are continuous
    """
    if data.nodes is not None:
        return _fit_joint_features(data, settings)
    state, kernel, bandwidth = data.state, settings.kernel, settings.bandwidth
    rng = check_random_state(settings.random_state)
    if isinstance(kernel, str) and kernel == "auto":
        if _are_finite(state, settings.n_components):
            kernel, bandwidth = "delta", "median"
        else:
            if isinstance(bandwidth, str) and bandwidth == "median":
                bandwidth = median_bandwidth(state, "euclidean", rng)
            kernel, bandwidth = Matern(bandwidth, nu=2.5), "median"
    return LandmarkFeatures(
        kernel,
        bandwidth=bandwidth,
        n_components=settings.n_components,
        random_state=rng,
    ).fit(state)


def evaluation_features(data: EvaluationData, features: Any) -> Pairs:
    """Features of a judged log's pairs, be its actions labels or continuous."""
    kind = DiscreteFeatures if data.nodes is None else ContinuousFeatures
    return kind(data, features)


def _fit_joint_features(
    data: EvaluationData, settings: QSettings
) -> StateActionFeatures:
    auto = isinstance(settings.kernel, str) and settings.kernel == "auto"
    n = settings.n_components
    return StateActionFeatures(
        "laplacian" if auto else settings.kernel,
        bandwidth=settings.bandwidth,
        n_components=None if n is None else _LANDMARKS_OF_PAIRS * n,
        random_state=check_random_state(settings.random_state),
    ).fit(data.state, data.actions)


def _are_finite(state: Floats, n_components: int | None) -> bool:
    """Whether one feature a state is what the log can bear."""
    limit = len(state) // _ROWS_PER_STATE
    limit = limit if n_components is None else min(limit, n_components)
    # Most logs of measured states show more in their first rows.
    if len(np.unique(state[: 4 * limit + 1], axis=0)) > limit:
        return False
    return len(np.unique(state, axis=0)) <= limit


class Pairs(Protocol):
    """Features z of state-action pairs, M in all, of a judged log.

    ``rows`` are rows of the log, and ``index`` places in its ``states``.
    """

    data: EvaluationData
    features: Any
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """M."""

    def logged(self, rows: Any) -> Floats:
        """Z of the logged pairs, (k, M)."""

    def times(self, rows: Any, matrix: Floats) -> Floats:
        """Z times (M, c), or (M,)."""

    def crossed(self, rows: Any, weight: Floats, right: Floats) -> Floats:
        """Zᵀ diag(weight) times (k, c), or (k,)."""

    def mean(self, index: Index) -> Floats:
        """Σ_a π(a|s) z(s, a), (k, M)."""

    def difference(self, rows: Any, carried: Floats) -> Floats:
        """Z less ``carried`` times the mean of the next states, (k, M)."""

    def values(
        self, weight: Floats, anchor: float, limits: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        """V of all ``states``, (N,), and Q of all logged pairs, (n,).

        Q = zᵀ weight + anchor; where the actions are labels, inside the limits.
        """

    def of(self, data: EvaluationData) -> Pairs:
        """The same features for some rows of the log, or for another policy."""


def times_all(pairs: Pairs, vector: Floats) -> Floats:
    """zᵀ vector of all logged pairs, some at a time, (n,)."""
    out = np.empty(len(pairs.data))
    for batch in gen_batches(len(out), clusters.BATCH_ROWS):
        out[batch] = pairs.times(batch, vector.ravel())
    return out


class DiscreteFeatures:
    """z = e_a ⊗ φ(s): one copy of the states' features for each label.

    Parameters
    ----------
    data : EvaluationData
    features : LandmarkFeatures
    phi : callable, default=None
        Features of ``states`` by index, if known.
    """

    def __init__(
        self,
        data: EvaluationData,
        features: LandmarkFeatures,
        phi: FeatureRows | None = None,
    ) -> None:
        self.data, self.features = data, features
        m = features.n_features_out_
        self.shape = data.n_actions, m
        self._phi = phi or feature_rows(features.transform, data.states, m)

    @property
    def size(self) -> int:
        """A m."""
        return self.shape[0] * self.shape[1]

    def phi(self, index: Index) -> Floats:
        """Features of states, (k, m)."""
        return self._phi(index).numpy()

    def logged(self, rows: Any) -> Floats:
        """Z of the logged pairs, (k, A m)."""
        return self._add_logged(rows, np.zeros((len(self.data.codes[rows]), self.size)))

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
        return self._spread(index, self.data.probabilities[index])

    def difference(self, rows: Any, carried: Floats) -> Floats:
        """Z less ``carried`` times the mean of the next states, (k, A m)."""
        after = self.data.next_index[rows]
        share = -(carried[:, None] * self.data.probabilities[after])
        return self._add_logged(rows, self._spread(after, share))

    def values(
        self, weight: Floats, anchor: float, limits: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        """V of all ``states``, (N,), and Q of all logged pairs, (n,)."""
        data, weight = self.data, weight.reshape(self.shape)
        q = np.empty((len(data.states), self.shape[0]))
        for batch in gen_batches(len(q), clusters.BATCH_ROWS):
            q[batch] = self.phi(np.arange(len(q))[batch]) @ weight.T
        q += anchor
        if limits is not None:
            q = np.clip(q, *limits)
        return (q * data.probabilities).sum(axis=1), q[data.state_index, data.codes]

    def of(self, data: EvaluationData) -> DiscreteFeatures:
        """The same features for some rows of the log, or for another policy."""
        return DiscreteFeatures(data, self.features, self._phi)

    def _own(self, rows: Any) -> tuple[Floats, Index]:
        return self.phi(self.data.state_index[rows]), self.data.codes[rows]

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


# Entries of the Gram matrix of nodes that are held at once.
_GRAM_ENTRIES = 2**22


class ContinuousFeatures:
    """Features of (s, a) themselves, and their mean over a continuous policy's nodes.

    Parameters
    ----------
    data : EvaluationData
    features : StateActionFeatures
    logged, mean : callable, default=None
        Features of the logged pairs, by the place of their state in ``states``, and
        means over the nodes, if known.
    """

    def __init__(
        self,
        data: EvaluationData,
        features: StateActionFeatures,
        logged: FeatureRows | None = None,
        mean: FeatureRows | None = None,
    ) -> None:
        self.data, self.features = data, features
        m = features.n_features_out_
        self.shape = (m,)
        if logged is None:
            # Rows of a part of the log are found by the place of their state.
            row = np.zeros(len(data.states), dtype=np.intp)
            row[data.state_index] = np.arange(len(data))
            states, actions = data.states, data.actions
            logged = feature_rows(
                lambda place: features.transform(states[place], actions[row[place]]),
                np.arange(data.state_index.max() + 1),
                m,
            )
        self._logged = logged
        self._mean = mean or feature_rows(self._average, np.arange(len(data.states)), m)

    @property
    def size(self) -> int:
        """m."""
        return self.shape[0]

    def logged(self, rows: Any) -> Floats:
        """Z of the logged pairs, (k, m)."""
        return self._logged(self.data.state_index[rows]).numpy()

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
        mean = self.mean(self.data.next_index[rows])
        return self.logged(rows) - carried[:, None] * mean

    def values(
        self, weight: Floats, anchor: float, limits: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        """V of all ``states``, (N,), and Q of all logged pairs, (n,).

        The limits are not kept: V is the mean of Q, and stays so.
        """
        data = self.data
        v = np.empty(len(data.states))
        for batch in gen_batches(len(v), clusters.BATCH_ROWS):
            v[batch] = self.mean(np.arange(len(v))[batch]) @ weight
        return v + anchor, times_all(self, weight) + anchor

    def of(self, data: EvaluationData) -> ContinuousFeatures:
        """The same features for some rows of the log, or for another policy."""
        same = data.nodes is self.data.nodes and (
            data.probabilities is self.data.probabilities
        )
        mean = self._mean if same else None
        return ContinuousFeatures(data, self.features, self._logged, mean)

    def _average(self, index: Index) -> Floats:
        """Means over the nodes: of Gram rows, which are fewer to project, (k, m)."""
        data, features = self.data, self.features
        landmarks = len(features.landmarks_)
        out = np.empty((len(index), landmarks))
        for batch in gen_batches(len(index), _rows_at_once(data, landmarks)):
            some = index[batch]
            weights, states = data.probabilities[some], data.states[some]
            if not features.is_product:
                gram = features.gram(*_flat(states, data.nodes[some]))
                out[batch] = _weighted(weights, gram)
                continue
            if data.has_shared_nodes:
                mean = weights @ features.action_gram(data.nodes[0])
            else:
                nodes = data.nodes[some].reshape(weights.size, -1)
                mean = _weighted(weights, features.action_gram(nodes))
            out[batch] = features.state_gram(states) * mean
        return out @ features.projection_


def node_batches(
    data: EvaluationData, width: int
) -> Iterator[tuple[slice, Floats, Floats]]:
    """States with each of their nodes, some at a time.

    Parameters
    ----------
    data : EvaluationData
        Of a continuous policy.
    width : int
        Numbers that are made of each.

    Yields
    ------
    batch : slice
        Of ``data.states``, k of them.
    states : array of shape (k S, d)
    actions : array of shape (k S, p)
    """
    for batch in gen_batches(len(data.states), _rows_at_once(data, width)):
        yield batch, *_flat(data.states[batch], data.nodes[batch])


def _weighted(weights: Floats, gram: Floats) -> Floats:
    """Σ_j weights_j of the rows of k states' S nodes, (k S, L) to (k, L)."""
    return (weights[:, None, :] @ np.reshape(gram, (*weights.shape, -1)))[:, 0]


def _flat(states: Floats, nodes: Floats) -> tuple[Floats, Floats]:
    each = np.repeat(states, nodes.shape[1], axis=0)
    return each, nodes.reshape(len(each), -1)


def _rows_at_once(data: EvaluationData, width: int) -> int:
    return max(1, _GRAM_ENTRIES // (width * data.n_actions))
