"""Features of a log's pairs and of a policy's actions, as the equations need them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from .._problem.rows import FeatureRows, feature_rows
from .._stored_rows import folder_of
from .._typing import Floats, Index
from ._data import EvaluationData, batches, rows_at_once
from ._policy_columns import PolicyColumn, varied_actions

RowsLike = Index | slice

# Weights of Q up to which all directions are kept: they cost next to nothing.
SMALL_SIZE = 500

# Rows whose features times probabilities stay in a processor's cache.
_CACHED_ROWS = 512

# Fitted `LandmarkFeatures`, whose ``transform`` is of states, or
# `StateActionFeatures`, whose is of states and actions.
FeatureMap = Any


class EvaluationFeatures(ABC):
    """Features z(s, a), M in all, of the pairs that an evaluation needs.

    ``rows`` are rows of the log, and ``index`` places in ``data.states``.
    """

    # Codes of those whose probabilities are features, too; None of a policy's column.
    actions: Index | None = None

    def __init__(
        self, data: EvaluationData, kernel_features: FeatureMap, shape: tuple[int, ...]
    ) -> None:
        self.data, self.shape, self.kernel_features = data, shape, kernel_features

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @abstractmethod
    def logged(self, rows: RowsLike) -> Floats:
        """Z of the logged pairs, (k, M)."""

    @abstractmethod
    def mean(self, index: Index) -> Floats:
        """Σ_a π(a|s) z(s, a), (k, M)."""

    @abstractmethod
    def values(
        self, weight: Floats, anchor: float, limits: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        """V of all ``states``, (N,), and Q of all logged pairs, (n,).

        Q = zᵀ weight + anchor; where actions are discrete, inside the limits.
        """

    @abstractmethod
    def of(
        self, data: EvaluationData, actions: Index | None = None
    ) -> EvaluationFeatures:
        """The same features for some rows of the log, or for another policy.

        With the policy's probabilities of some ``actions``: None are those that its
        features have now, if they have any.
        """

    def times(self, rows: RowsLike, matrix: Floats) -> Floats:
        """Z times (M, c), or (M,)."""
        return self.logged(rows) @ matrix

    def crossed(self, rows: RowsLike, weight: Floats, right: Floats) -> Floats:
        """Zᵀ diag(weight) times (k, c), or (k,)."""
        return (self.logged(rows) * weight[:, None]).T @ right

    def difference(self, rows: RowsLike, carried: Floats) -> Floats:
        """Z less ``carried`` times the mean of the next states, (k, M)."""
        mean = self.mean(self.data.next_index[rows])
        return self.logged(rows) - carried[:, None] * mean

    def moments(self, rows: RowsLike, weight: Floats, carried: Floats) -> Floats:
        """Zᵀ diag(weight) times the `difference` of the rows, (M, M)."""
        return self.crossed(rows, weight, self.difference(rows, carried))

    def weighted_mean(self, index: Index, weight: Floats) -> Floats:
        """The `mean` of states, times their weights, summed, (M,)."""
        return weight @ self.mean(index)

    def times_all(self, vector: Floats) -> Floats:
        """zᵀ vector of all logged pairs, some at a time, (n,)."""
        out = np.empty(len(self.data))
        for batch in batches(len(out)):
            out[batch] = self.times(batch, vector.ravel())
        return out


def _table(
    data: EvaluationData,
    transform: Callable[[Any], Floats],
    states: Any,  # what it is a function of: states, or their places
    n_features: int,
) -> FeatureRows:
    """Features by index; in a file where the states of the log are in one."""
    folder = folder_of(data.log.state)
    return feature_rows(transform, states, n_features, folder=folder)


def evaluation_features(
    data: EvaluationData, kernel_features: FeatureMap, actions: Index | None = None
) -> EvaluationFeatures:
    """With the probabilities of some discrete actions behind those of the kernel."""
    if data.is_continuous:
        return ContinuousFeatures(data, kernel_features)
    return DiscreteFeatures(data, kernel_features, None, actions)


def spanned_features(
    data: EvaluationData, kernel_features: FeatureMap, with_policy: bool = False
) -> EvaluationFeatures:
    """The same, but for directions that no row of the log has, where those are many.

    The equations of Q and of ω have w, and ω of the log's own rows, in the span of the
    logged features alone: what is left out changes neither.
    """
    if data.is_continuous:
        return ContinuousFeatures(data, kernel_features)
    actions = varied_actions(data) if with_policy else None
    if max(len(data), SMALL_SIZE) >= data.n_actions * kernel_features.n_features_out_:
        return DiscreteFeatures(data, kernel_features, None, actions)
    return SpannedFeatures(data, kernel_features, None, actions)


class DiscreteFeatures(EvaluationFeatures):
    """z = e_a ⊗ φ(s): one copy of the states' features, ``phi``, for each action.

    The policy's own probabilities of ``actions`` stand behind those of the kernel.
    Where a policy changes what it does Q has a step, at which smooth features take from
    what it does for what it does not; a column for it has none.
    """

    def __init__(
        self,
        data: EvaluationData,
        kernel_features: FeatureMap,
        phi: FeatureRows | None = None,
        actions: Index | None = None,
    ) -> None:
        m = kernel_features.n_features_out_
        self.actions = actions
        # Eq. (89) of docs/evaluation.md.
        self._columns = None if actions is None else data.probabilities[:, actions]
        width = m + (0 if self._columns is None else self._columns.shape[1])
        # Eq. (11) of docs/game.md: φ(s, a) = e_a ⊗ φ(s), so that w has a w_a by action.
        super().__init__(data, kernel_features, (data.n_actions, width))
        self._phi = phi or _table(data, kernel_features.transform, data.states, m)

    def phi(self, index: Index) -> Floats:
        """φ of states, (k, m), and the policy's columns behind them."""
        phi = self._phi(index).numpy()
        if self._columns is None:
            return phi
        return np.hstack([phi, self._columns[index]])

    def logged(self, rows: RowsLike) -> Floats:
        return self._add_logged(rows, np.zeros((len(self.data.codes[rows]), self.size)))

    def times(self, rows: RowsLike, matrix: Floats) -> Floats:
        phi, codes = self._own(rows)
        out = np.empty((len(phi), *matrix.shape[1:]))
        # e_a picks block a: A products of (k_a, m) instead of one of (k, A m).
        for block, mine in self._blocks(codes):
            out[mine] = phi[mine] @ matrix[block]
        return out

    def crossed(self, rows: RowsLike, weight: Floats, right: Floats) -> Floats:
        phi, codes = self._own(rows)
        phi = phi * weight[:, None]
        out = np.zeros((self.size, *right.shape[1:]))
        for block, mine in self._blocks(codes):
            out[block] = phi[mine].T @ right[mine]
        return out

    def mean(self, index: Index) -> Floats:
        return self._spread(index, self.data.probabilities[index])

    def difference(self, rows: RowsLike, carried: Floats) -> Floats:
        after = self.data.next_index[rows]
        # Built in one array of (k, A m), of which there is but one at a time.
        share = -(carried[:, None] * self.data.probabilities[after])
        return self._add_logged(rows, self._spread(after, share))

    def moments(self, rows: RowsLike, weight: Floats, carried: Floats) -> Floats:
        data, out = self.data, np.zeros((self.size, self.size))
        state, after = data.state_index[rows], data.next_index[rows]
        for block, mine in self._blocks(data.codes[rows]):
            for batch in gen_batches(len(mine), _CACHED_ROWS):
                some = mine[batch]
                share = -(carried[some, None] * data.probabilities[after[some]])
                phi, right = self.phi(state[some]), self._spread(after[some], share)
                right[:, block] += phi
                out[block] += (phi * weight[some, None]).T @ right
        return out

    def weighted_mean(self, index: Index, weight: Floats) -> Floats:
        share = weight[:, None] * self.data.probabilities[index]
        return (share.T @ self.phi(index)).ravel()

    def values(
        self, weight: Floats, anchor: float, limits: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        return self._values_of(weight.reshape(self.shape), anchor, limits)

    def _values_of(
        self, weight: Floats, anchor: float, limits: tuple[float, float] | None
    ) -> tuple[Floats, Floats]:
        data = self.data
        q = np.empty((len(data.states), data.n_actions))
        for batch in batches(len(q)):
            q[batch] = self.phi(np.arange(len(q))[batch]) @ weight.T
        q += anchor
        # Before the mean: one wild Q shall not outweigh the others.
        if limits is not None:
            q = np.clip(q, *limits)
        return (q * data.probabilities).sum(axis=1), q[data.state_index, data.codes]

    def of(
        self, data: EvaluationData, actions: Index | None = None
    ) -> DiscreteFeatures:
        given = self._given(data) if actions is None else actions
        return DiscreteFeatures(data, self.kernel_features, self._phi, given)

    def _given(self, data: EvaluationData) -> Index | None:
        """Actions whose probabilities are features: of another policy, others."""
        if self.actions is None or data.probabilities is self.data.probabilities:
            return self.actions
        return varied_actions(data)

    def _own(self, rows: RowsLike) -> tuple[Floats, Index]:
        return self.phi(self.data.state_index[rows]), self.data.codes[rows]

    def _blocks(self, codes: Index) -> Iterator[tuple[slice, Index]]:
        m = self.shape[1]
        for action in np.unique(codes):
            mine = np.flatnonzero(codes == action)
            yield slice(action * m, (action + 1) * m), mine

    def _spread(self, index: Index, share: Floats) -> Floats:
        phi = self.phi(index)
        return (share[:, :, None] * phi[:, None, :]).reshape(len(phi), -1)

    def _add_logged(self, rows: RowsLike, out: Floats) -> Floats:
        phi, codes = self._own(rows)
        out.reshape(len(out), *self.shape)[np.arange(len(out)), codes] += phi
        return out


class SpannedFeatures(DiscreteFeatures):
    """z = B_aᵀφ(s) in block a: B_a is a basis of the logged features of action a.

    ``basis`` holds the B_a side by side, (m, r), and ``owner`` whose each column is.
    """

    def __init__(
        self,
        data: EvaluationData,
        kernel_features: FeatureMap,
        phi: FeatureRows | None = None,
        actions: Index | None = None,
        basis: Floats | None = None,
        owner: Index | None = None,
    ) -> None:
        super().__init__(data, kernel_features, phi, actions)
        if basis is None or owner is None:
            basis, owner = self._spans()
        self.basis, self.owner, self.shape = basis, owner, (len(owner),)

    def _spans(self) -> tuple[Floats, Index]:
        codes, parts = self.data.codes, []
        actions = np.unique(codes)
        for action in actions:
            own = self.phi(self.data.state_index[codes == action])
            # (m, min(n_a, m)), orthonormal whatever the rank.
            parts.append(np.linalg.qr(own.T)[0])
        widths = [part.shape[1] for part in parts]
        return np.hstack(parts), np.repeat(actions, widths)

    def logged(self, rows: RowsLike) -> Floats:
        phi, codes = self._own(rows)
        return (phi @ self.basis) * (codes[:, None] == self.owner)

    # Blocks of unequal widths are no arrays of (k, A, m): those of any features.
    times = EvaluationFeatures.times
    crossed = EvaluationFeatures.crossed
    difference = EvaluationFeatures.difference
    moments = EvaluationFeatures.moments
    weighted_mean = EvaluationFeatures.weighted_mean

    def mean(self, index: Index) -> Floats:
        share = self.data.probabilities[index][:, self.owner]
        return share * (self.phi(index) @ self.basis)

    def values(
        self, weight: Floats, anchor: float, limits: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        full = np.zeros((self.data.n_actions, len(self.basis)))
        np.add.at(full, self.owner, (self.basis * weight.ravel()).T)
        return self._values_of(full, anchor, limits)

    def of(self, data: EvaluationData, actions: Index | None = None) -> SpannedFeatures:
        given = self._given(data) if actions is None else actions
        features = data, self.kernel_features, self._phi, given
        # With columns of another policy the logged features have another span.
        if given is not self.actions:
            return SpannedFeatures(*features)
        return SpannedFeatures(*features, self.basis, self.owner)


class ContinuousFeatures(EvaluationFeatures):
    """Features of (s, a), by the place of s, and their means over the nodes.

    The last is the `PolicyColumn`, of features that say how far that is to reach.
    """

    def __init__(
        self,
        data: EvaluationData,
        kernel_features: FeatureMap,
        logged: FeatureRows | None = None,
        mean: FeatureRows | None = None,
        column: PolicyColumn | None = None,
    ) -> None:
        m = kernel_features.n_features_out_
        if column is None and hasattr(kernel_features, "policy_reach"):
            column = PolicyColumn(data, kernel_features)
        self._column = column
        super().__init__(data, kernel_features, (m + (column is not None),))
        if logged is None:
            # Rows of a part of the log are found by the place of their state, which
            # each row has to itself: see `index_states`.
            row = np.zeros(len(data.states), dtype=np.intp)
            row[data.state_index] = np.arange(len(data))
            states, actions = data.states, data.actions

            def logged_features(place: NDArray[Any]) -> Floats:
                return kernel_features.transform(states[place], actions[row[place]])

            places: NDArray[Any] = np.arange(data.state_index.max() + 1)
            logged = _table(data, logged_features, places, m)
        self._logged = logged
        every: NDArray[Any] = np.arange(len(data.states))
        self._mean = mean or _table(data, self._average, every, m)

    def logged(self, rows: RowsLike) -> Floats:
        places = self.data.state_index[rows]
        column = [] if self._column is None else [self._column.logged[places]]
        return np.column_stack([self._logged(places).numpy(), *column])

    def mean(self, index: Index) -> Floats:
        column = [] if self._column is None else [self._column.mean[index]]
        return np.column_stack([self._mean(index).numpy(), *column])

    def values(
        self, weight: Floats, anchor: float, limits: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        # Without the limits: Q of every node is never formed, only its mean.
        v = np.empty(len(self.data.states))
        for batch in batches(len(v)):
            v[batch] = self.mean(np.arange(len(v))[batch]) @ weight
        return v + anchor, self.times_all(weight) + anchor

    def of(
        self, data: EvaluationData, actions: Index | None = None
    ) -> ContinuousFeatures:
        # A part of the log shares the arrays; another policy has its own.
        same = data.nodes is self.data.nodes and (
            data.probabilities is self.data.probabilities
        )
        mean, column = (self._mean, self._column) if same else (None, None)
        features = self.kernel_features
        return ContinuousFeatures(data, features, self._logged, mean, column)

    def _average(self, index: NDArray[Any]) -> Floats:
        """Means over the nodes: of Gram rows, which are fewer to project, (k, m)."""
        data, features = self.data, self.kernel_features
        landmarks = len(features.landmarks_)
        out = np.empty((len(index), landmarks))
        for batch in gen_batches(len(index), rows_at_once(data, landmarks)):
            some = index[batch]
            weights, states = data.probabilities[some], data.states[some]
            if not features.is_product:
                gram = features.gram(*_flat(states, data.nodes[some]))
                out[batch] = _weighted(weights, gram)
                continue
            # k((s, a), L) = k(s, L) k(a, L): one Gram row a state, and one an action.
            # Candidates are the same in all states: their Gram matrix is made once.
            if data.has_shared_nodes:
                mean = weights @ features.action_gram(data.nodes[0])
            else:
                nodes = data.nodes[some].reshape(weights.size, -1)
                mean = _weighted(weights, features.action_gram(nodes))
            out[batch] = features.state_gram(states) * mean
        mean = out @ features.projection_
        if not hasattr(features, "terms"):
            return mean
        terms = np.zeros((len(index), features.n_features_out_ - mean.shape[1]))
        for j in range(data.n_actions):
            columns = features.terms(data.states[index], data.nodes[index, j])
            terms += data.probabilities[index, j, None] * columns
        return np.hstack([mean, terms])


def node_batches(
    data: EvaluationData, width: int
) -> Iterator[tuple[slice, Floats, Floats]]:
    """Slices of ``data.states``, k long; the states (k S, d) and their nodes (k S, p).

    ``width`` is how many numbers are made of each pair.
    """
    for batch in gen_batches(len(data.states), rows_at_once(data, width)):
        yield batch, *_flat(data.states[batch], data.nodes[batch])


def _weighted(weights: Floats, gram: Floats) -> Floats:
    """Σ_j weights_j of the rows of k states' S nodes, (k S, L) to (k, L)."""
    return (weights[:, None, :] @ np.reshape(gram, (*weights.shape, -1)))[:, 0]


def _flat(states: Floats, nodes: Floats) -> tuple[Floats, Floats]:
    each = np.repeat(states, nodes.shape[1], axis=0)
    return each, nodes.reshape(len(each), -1)
