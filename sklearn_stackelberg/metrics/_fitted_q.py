"""Fitted-Q evaluation: in closed form, with density ratios, or by any regressor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import clone

from .._executor import map_blocks
from .._linalg import LinearSystem, iterated
from .._typing import Floats, Index
from .._validation import check_table_size
from ..kernels._columns import are_finite
from ..kernels._registry import is_delta
from . import _jackknife as jackknife
from ._data import EvaluationData, batches
from ._estimate import effective_size, spread, summed, within
from ._features import (
    EvaluationFeatures,
    FeatureMap,
    RowsLike,
    node_batches,
    spanned_features,
)
from ._thin_pairs import thin_pairs_variance, widened

# More distinct states have too few rows each for variances of their own.
_MOST_STATES = 200


class FittedQSystem:
    """Eqs. (45), (46) of docs/game.md, kept so that rows can be weighted otherwise.

    M = Σ_i p_i z_i d_iᵀ + ρ I and c = Σ_i p_i z_i (r_i − (1 − γ g_i) q₀), with z the
    features of the logged pair, γ g = γ^d (1 − terminated), d = z − γ g z(s', π), ρ the
    ``ridge``, in rows for each direction, over n, the rows' number or the sum of their
    weights, and q₀ the anchor: Q = zᵀ w + q₀.
    """

    def __init__(
        self,
        data: EvaluationData,
        discount: float,
        features: EvaluationFeatures,
        ridge: float,
    ) -> None:
        self.data, self.discount = data, discount
        self.features, self.ridge = features, ridge
        self.anchor = data.mean_return(discount)
        self.carried = data.carried(discount)
        self.reward = data.reward - (1.0 - self.carried) * self.anchor

    @classmethod
    def from_kernel(
        cls,
        data: EvaluationData,
        discount: float,
        kernel_features: FeatureMap,
        ridge: float,
        with_policy: bool = False,
    ) -> FittedQSystem:
        """In landmark features, for what is read off the same log."""
        copies = 1 if data.is_continuous else data.n_actions
        check_table_size(copies, kernel_features.n_features_out_, len(data))
        features = spanned_features(data, kernel_features, with_policy)
        return cls(data, discount, features, ridge)

    def on(self, data: EvaluationData) -> FittedQSystem:
        """The equations of another policy on the same log, in the same features."""
        return FittedQSystem(data, self.discount, self.features.of(data), self.ridge)

    def with_ridge(self, ridge: float) -> FittedQSystem:
        """The same equations with another ridge."""
        return FittedQSystem(self.data, self.discount, self.features, ridge)

    def by_counts(self) -> FittedQSystem:
        """Where states are equal or not, without what the policy's columns add.

        That is of values; how often a policy is where, and leaves the log, is counted.
        """
        kernel_features = self.features.kernel_features
        if self.features.actions is None or not is_delta(kernel_features.kernel_):
            return self
        features = spanned_features(self.data, kernel_features)
        return FittedQSystem(self.data, self.discount, features, self.ridge)

    def part(self, rows: Index) -> FittedQSystem:
        return self.on(self.data.take(rows))

    def difference(self, rows: RowsLike) -> Floats:
        """d of rows, (k, M)."""
        return self.features.difference(rows, self.carried[rows])

    def linear_system(
        self, weight: Floats | None = None, initial_weight: Floats | None = None
    ) -> LinearSystem:
        """M, c of the rows and b = Σ p_0 z(s_0, π) of the initial ones, so weighted."""
        data, features = self.data, self.features
        weight = data.weight if weight is None else weight
        start_weight = data.initial_weight if initial_weight is None else initial_weight
        # Eq. (46) is Eqs. (13) to (15) with weights p for 1 / n, and without the factor
        # 1 − γ of b: values here are returns, not averages.
        left = self.ridge / data.total * np.eye(features.size)
        right, start = np.zeros((2, features.size))
        for batch in batches(len(data)):
            p = weight[batch]
            left += features.moments(batch, p, self.carried[batch])
            right += features.crossed(batch, p, self.reward[batch])
        for batch in batches(len(data.initial_state)):
            initial = data.initial_state[batch]
            start += features.weighted_mean(initial, start_weight[batch])
        return LinearSystem.from_numpy(left, start, right)

    def solve(self, dual_ridge: float | None = None) -> FittedQ:
        """Fit Q, and its dual, by the ridge of Q or one of its own."""
        system = self.linear_system()
        w = system.solve()
        if dual_ridge is None:
            # With the ridge of Q the ratios weigh the rewards into the value.
            dual = system.solve_transposed()
        else:
            n = self.data.total
            # Without the ridge of Q: iterated Tikhonov brings its own.
            plain = system.matrix.numpy() - self.ridge / n * np.eye(len(w))
            dual = iterated(plain.T, system.b.numpy(), dual_ridge / n)
        shape = self.features.shape
        return FittedQ(self, system, w.reshape(shape), dual.reshape(shape))


@dataclass(frozen=True, eq=False)
class FittedQ:
    """One evaluation fit, from which value, error, ratios and coverage are read."""

    system: FittedQSystem
    linear: LinearSystem
    weight: Floats  # w, of the shape of the features
    dual: Floats  # M⁻ᵀ b, likewise

    @property
    def data(self) -> EvaluationData:
        return self.system.data

    @cached_property
    def ratio(self) -> Floats:
        """ω_i = z_iᵀ M⁻ᵀ b of the logged rows, (n,).

        How often the policy would be where the row is, discounted, over how often the
        log was. Σ p_i ω_i r_i is the value, but for the ridge.
        """
        return self.system.features.times_all(self.dual)

    @cached_property
    def _values(self) -> tuple[Floats, Floats]:
        return self.system.features.values(self.weight, self.system.anchor)

    @cached_property
    def initial_values(self) -> Floats:
        return self.data.initial_values(self.state_values)

    @cached_property
    def residual(self) -> Floats:
        return self.data.td_residual(*self._values, self.system.discount)

    @cached_property
    def state_values(self) -> Floats:
        """V of ``data.states``, (N,), measured from the offset of ``data``."""
        return self._values[0]

    @cached_property
    def value(self) -> float:
        """Average V of the initial states, inside the range of returns."""
        # A ridge that is too small, or features that extrapolate, can leave the range.
        return within(self._unlimited, 0.0, self.limits)[0]

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The range of returns."""
        return self.data.return_range(self.system.discount)

    @cached_property
    def _unlimited(self) -> float:
        return float(self.data.initial_weight @ self.initial_values)

    @cached_property
    def left_out_residual(self) -> Floats:
        """δ of each row by the Q that is fitted without the row's episode, (n,).

        (I − H_e)⁻¹ δ_e with H_e = D_e M⁻¹ Z_eᵀ P_e, as in the jackknife of least
        squares: exact, without fitting again. δ itself is too small where the log is
        thin, because w follows it. NaN where the rest of the log has no solution.
        """
        data, system = self.data, self.system
        # Eq. (49). Without episode e, M is M − Z_eᵀ P_e D_e: by Woodbury's identity its
        # inverse needs that of M and of a matrix of the episode's own size.
        inverse = self.linear.solve(np.eye(self.weight.size))
        out = self.residual.copy()

        def leave_out(rows: Index) -> None:
            reached = system.features.times(rows, inverse.T)  # M⁻¹ z_i p_i
            reached *= data.weight[rows, None]
            difference = system.difference(rows)
            if data.n_pieces == len(data):
                out[rows] = jackknife.rows_without_themselves(
                    difference, reached, self.residual[rows]
                )
                return
            cuts = np.flatnonzero(np.diff(data.pieces[rows])) + 1
            for own in np.split(np.arange(len(rows)), cuts):
                out[rows[own]] = jackknife.without_itself(
                    difference[own], reached[own], self.residual[rows[own]]
                )

        list(map_blocks(leave_out, list(jackknife.row_groups(data.pieces))))
        return out

    @cached_property
    def standard_error(self) -> float:
        """By what leaving each piece out would change, pieces being independent."""
        error = spread(self.contributions)
        # Contributions of which each is zero cannot be made wider.
        error = float(np.maximum(error, np.sqrt(self.thin_pairs_variance)))
        if np.isnan(self.left_out).any():
            # The value without such an episode may be anything that returns can be.
            error = float(np.maximum(error, self.limits[1] - self.limits[0]))
        return within(self._unlimited, error, self.limits)[1]

    @cached_property
    def contributions(self) -> Floats:
        """ψ_e of each piece, (E,): without it the value would be v − ψ_e."""
        # That is inside its range, too; 0 where the rest of the log has no solution.
        low, high = self.limits
        psi = np.clip(self.left_out, self.value - high, self.value - low)
        return widened(np.nan_to_num(psi, nan=0.0), self.thin_pairs_variance)

    @cached_property
    def thin_pairs_variance(self) -> float:
        """What pairs of a state and an action with few rows add to the variance."""
        data = self.data
        if data.n_actions == 1 and not data.is_continuous:
            return 0.0
        # Of continuous actions, too, where they can be counted.
        counted = data.pairs if data.is_continuous else data.state
        if not are_finite(counted, _MOST_STATES):
            return 0.0
        limits = data.q_range(self.system.discount)
        after = np.clip(self.state_values, *limits)[data.next_index]
        return thin_pairs_variance(
            data.weight * self.ratio,
            data.reward + self.system.carried * after,
            self.residual,
            data.state,
            data.actions,
        )

    @cached_property
    def left_out(self) -> Floats:
        """As `contributions`, but not held to the range of returns, (E,)."""
        data = self.data
        # Eq. (50): rows by their ratio, initial states by their values.
        psi = data.weight * self.ratio * self.left_out_residual
        start = data.initial_weight * (self.initial_values - self.value)
        np.add.at(psi, data.initial, start)
        return summed(psi, data.pieces, data.n_pieces)

    @cached_property
    def effective_sample_size(self) -> float:
        return effective_size(self.data.weight * self.ratio)

    def bootstrap(self, n_bootstrap: int, rng: np.random.RandomState) -> Floats:
        """Values on logs whose episodes are drawn anew, in the same features."""
        data, system = self.data, self.system
        values, initial = np.empty(n_bootstrap), data.initial
        limits = data.return_range(system.discount)
        for number in range(n_bootstrap):
            # An episode drawn twice is one of twice the weight.
            times = jackknife.drawn_times(data, rng)
            weight, start = data.weight * times, data.initial_weight * times[initial]
            # The anchor stays: it is a choice of features, not an estimate.
            drawn = system.linear_system(weight / weight.sum(), start / start.sum())
            value = float(drawn.b.numpy() @ drawn.solve()) + system.anchor
            value += float(start @ data.offset[initial] / start.sum())
            values[number] = np.clip(value, *limits)
        return values


def piece_sums(
    features: EvaluationFeatures, residual: Floats, pieces: Index | None = None
) -> Iterator[tuple[Index, Floats]]:
    """Pieces, some at a time, and their S_e = Σ_{i in e} z_i δ_i, (k, M)."""
    pieces = features.data.pieces if pieces is None else pieces
    for rows in jackknife.row_groups(pieces):
        # Rows of a piece stand together here, so that sums run from start to start.
        some, starts = np.unique(pieces[rows], return_index=True)
        weighted = features.logged(rows) * residual[rows, None]
        yield some, np.add.reduceat(weighted, starts)


# Iterations stop where no value moves by more than this share of the rewards' range.
_TOLERANCE = 1e-4


def regressed_q(
    data: EvaluationData,
    discount: float,
    regressor: object,
    n_iterations: int,
    times: Index | None = None,
    held_out: EvaluationData | None = None,
) -> tuple[Floats, Floats]:
    """Regress r + γ V(s') on (s, a): V of all states, (N,), and Q of the rows, (n,).

    ``times`` says how often each row counts, besides its weight; ``held_out`` is a log
    of the same states, whose rows are predicted in place of those of ``data``. All are
    inside the range of returns of ``data``, and measured from its offset.
    """
    reported = data if held_out is None else held_out
    # Not every regressor takes weights: those of once are not passed.
    rows = np.repeat(np.arange(len(data)), 1 if times is None else times)
    given = np.asarray(data.pairs)[rows]
    low, high = data.q_range(discount)
    carried = data.carried(discount)
    q = np.full(data.probabilities.shape, data.mean_return(discount))
    # FQE of Le, Voloshin and Yue (2019): each fit looks one step further.
    for _ in range(n_iterations):
        values = (q * data.probabilities).sum(axis=1)
        target = data.reward + carried * values[data.next_index]
        extra = {"sample_weight": data.row_weight[rows]} if data.has_weights else {}
        fitted = clone(regressor).fit(given, target[rows], **extra)
        before = q
        # The bounds keep an extrapolating regressor from running away.
        q = np.clip(_predicted(fitted, data), low, high)
        if np.abs(q - before).max() <= _TOLERANCE * np.ptp(data.reward):
            break
    value = (q * data.probabilities).sum(axis=1)
    if not reported.is_continuous:
        return value, q[reported.state_index, reported.codes]
    # Continuous logged actions are hardly ever among the nodes.
    logged = fitted.predict(np.asarray(reported.pairs))
    return value, np.asarray(logged, dtype=float).ravel().clip(low, high)


def bootstrap_regressed(
    data: EvaluationData,
    discount: float,
    regressor: object,
    n_iterations: int,
    n_bootstrap: int,
    rng: np.random.RandomState,
) -> Floats:
    """Values on logs whose episodes are drawn anew, (n_bootstrap,)."""
    values = np.empty(n_bootstrap)
    for number in range(n_bootstrap):
        times = jackknife.drawn_times(data, rng)
        v, _ = regressed_q(data, discount, regressor, n_iterations, times)
        start = data.initial_weight * times[data.initial]
        values[number] = start @ data.initial_values(v) / start.sum()
    return values


def _predicted(fitted: Any, data: EvaluationData) -> Floats:  # any regressor
    """Q of every node in every state, (N, A)."""
    out = np.empty(data.probabilities.shape)
    width = data.states.shape[1] + data.nodes.shape[2]
    for batch, states, actions in node_batches(data, width):
        q = fitted.predict(np.hstack([states, actions]))
        out[batch] = np.reshape(q, (-1, data.n_actions))
    return out
