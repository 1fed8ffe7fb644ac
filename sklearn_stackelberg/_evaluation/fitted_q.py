"""Fitted-Q evaluation in closed form, with its dual: the density ratios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lu_solve
from sklearn.utils import gen_batches

from .._parameters import check_table_size
from . import clusters
from .estimate import clustered_error, effective_size
from .features import fit_features, pairs_of
from .judged import JudgedLog
from .linear import factorise, iterated
from .nodes import Floats
from .pairs import Pairs, times_all
from .settings import QSettings


class QSystem:
    """The equations that w solves, kept so that other weights can be put on the rows.

    M = Σ_i p_i z_i d_iᵀ + ρ I and c = Σ_i p_i z_i (r_i − (1 − γ g_i) q₀), with z the
    features of the logged pair (see `Pairs`: of labels e_a ⊗ φ(s)), g = 1 − terminated,
    d = z − γ g z(s', π), ρ = ridge / n and q₀ the anchor: Q = zᵀ w + q₀.

    Parameters
    ----------
    judged : JudgedLog
    discount : float
    settings : QSettings
    whole : QSystem, default=None
        That of a log of which this one is a part, or of another policy on the same
        log; its features serve again.
    features : LandmarkFeatures or JointFeatures, default=None
        Fitted, in place of those that the settings ask for.
    """

    def __init__(
        self,
        judged: JudgedLog,
        discount: float,
        settings: QSettings,
        whole: QSystem | None = None,
        features: Any = None,
    ) -> None:
        self.judged, self.discount = judged, discount
        self.settings = settings
        self.ridge = settings.ridge / len(judged)
        self.pairs: Pairs
        if whole is not None:
            self.pairs = whole.pairs.of(judged)
        else:
            if features is None:
                features = fit_features(judged, settings)
            copies = judged.n_actions if judged.nodes is None else 1
            check_table_size(copies, features.n_features_out_)
            self.pairs = pairs_of(judged, features)
        log = judged.log
        # What to expect where the log is silent: the mean reward at every step, and an
        # end as often as there is one among the rows.
        goes_on = judged.weight @ judged.goes_on
        self.anchor = float(judged.weight @ log.reward) / (1.0 - discount * goes_on)
        self.reward = log.reward - (1.0 - discount * judged.goes_on) * self.anchor

    def part(self, rows: NDArray[np.intp]) -> QSystem:
        """The equations of some rows, in the same features."""
        return QSystem(self.judged.take(rows), self.discount, self.settings, self)

    def batches(self, n: int) -> Iterator[slice]:
        """Slices of n rows."""
        return gen_batches(n, clusters.BATCH_ROWS)

    def difference(self, batch: Any) -> Floats:
        """d of rows, (k, M)."""
        return self.pairs.difference(batch, self.discount * self.judged.goes_on[batch])

    def equations(self, weight: Floats) -> tuple[Floats, Floats]:
        """M, a square matrix, and c, of rows so weighted."""
        left = self.ridge * np.eye(self.pairs.size)
        right = np.zeros(self.pairs.size)
        for batch in self.batches(len(self.judged)):
            p = weight[batch]
            left += self.pairs.crossed(batch, p, self.difference(batch))
            right += self.pairs.crossed(batch, p, self.reward[batch])
        return left, right

    def initial(self, weight: Floats) -> Floats:
        """b = Σ p_0 z(s_0, π), with weights of the initial rows."""
        judged = self.judged
        index = judged.state_index[judged.initial]
        out = np.zeros(self.pairs.size)
        for batch in self.batches(len(index)):
            out += weight[batch] @ self.pairs.mean(index[batch])
        return out

    def solve(self, dual_ridge: float | None = None) -> FittedQ:
        """Fit Q on the rows as they are weighted.

        Parameters
        ----------
        dual_ridge : float, default=None
            Rows for each direction in the equations of the density ratios, which are
            then solved five times, each for what the last left. None is the ridge of
            Q, with which the ratios weigh the rewards into the value.
        """
        judged = self.judged
        left, right = self.equations(judged.weight)
        factor = factorise(left)
        w = lu_solve(factor, right)
        b = self.initial(judged.initial_weight)
        dual = lu_solve(factor, b, trans=1)
        if dual_ridge is not None:
            plain = left - self.ridge * np.eye(len(left))
            dual = iterated(plain.T, b, dual_ridge / len(judged))
        shape = self.pairs.shape
        return FittedQ(self, factor, w.reshape(shape), dual.reshape(shape))


@dataclass(frozen=True, eq=False)
class FittedQ:
    """One evaluation fit, from which value, error, ratios and coverage are read.

    Parameters
    ----------
    system : QSystem
    factor : tuple
        LU factors of M.
    weight : array of the shape of ``pairs``
        w.
    dual : array of the same shape
        M⁻ᵀ b.
    """

    system: QSystem
    factor: Any
    weight: Floats
    dual: Floats

    @property
    def judged(self) -> JudgedLog:
        """The log and the policy."""
        return self.system.judged

    @cached_property
    def ratio(self) -> Floats:
        """ω_i = z_iᵀ M⁻ᵀ b of the logged rows, (n,).

        How often the policy would be where the row is, discounted and over the whole
        episode, over how often the log was. Σ p_i ω_i r_i is the value, but for the
        ridge.
        """
        return times_all(self.system.pairs, self.dual)

    def values(
        self, pairs: Pairs, limits: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        """V of the states and Q of the logged rows of `pairs` of the same states."""
        return pairs.values(self.weight, self.system.anchor, limits)

    @cached_property
    def _values(self) -> tuple[Floats, Floats]:
        return self.values(self.system.pairs)

    @property
    def state_values(self) -> Floats:
        """V of every state of ``judged.states``, (N,)."""
        return self._values[0]

    @cached_property
    def initial_values(self) -> Floats:
        """V of the initial rows' states."""
        return self.state_values[self.judged.state_index[self.judged.initial]]

    @property
    def logged_q(self) -> Floats:
        """Q of the logged actions, (n,)."""
        return self._values[1]

    @cached_property
    def next_values(self) -> Floats:
        """V of the next states, 0 after an end, (n,)."""
        return self.judged.goes_on * self.state_values[self.judged.next_index]

    @cached_property
    def residual(self) -> Floats:
        """δ = r + γ V(s') − Q(s, a), (n,)."""
        judged, discount = self.judged, self.system.discount
        return judged.log.reward + discount * self.next_values - self.logged_q

    @cached_property
    def value(self) -> float:
        """Average V of the initial states, inside the range of returns."""
        limits = self.judged.return_range(self.system.discount)
        return float(np.clip(self._unlimited, *limits))

    @cached_property
    def _unlimited(self) -> float:
        return float(self.judged.initial_weight @ self.initial_values)

    @cached_property
    def influence(self) -> Floats:
        """What each row contributes to the estimate's error, to first order, (n,)."""
        return self._contributions(self.residual)

    @cached_property
    def left_out_residual(self) -> Floats:
        """δ of each row by the Q that is fitted without the row's episode, (n,).

        (I − H_e)⁻¹ δ_e with H_e = D_e M⁻¹ Z_eᵀ P_e, as in the jackknife of least
        squares: exact, without fitting again. δ itself is too small where the log is
        thin, because w follows it. NaN where the rest of the log has no solution.
        """
        judged, system = self.judged, self.system
        inverse = lu_solve(self.factor, np.eye(self.weight.size))
        out = self.residual.copy()
        for rows in clusters.row_groups(judged):
            reached = system.pairs.times(rows, inverse.T)  # M⁻¹ z_i p_i
            reached *= judged.weight[rows, None]
            difference = system.difference(rows)
            for own in clusters.pieces(judged.episode[rows]):
                out[rows[own]] = clusters.without_itself(
                    difference[own], reached[own], self.residual[rows[own]]
                )
        return out

    @cached_property
    def standard_error(self) -> float:
        """By what leaving each episode out would change, episodes being independent."""
        judged = self.judged
        change = np.bincount(
            judged.episode,
            self._contributions(self.left_out_residual),
            judged.n_episodes,
        )
        # Without the episode the value would be v − ψ_e: inside its range, too.
        low, high = judged.return_range(self.system.discount)
        unsolved = np.isnan(change)
        change = np.clip(change, self.value - high, self.value - low)
        change[unsolved] = 0.0
        error = clustered_error(change, np.arange(len(change)), len(change))
        if unsolved.any():
            # The value without such an episode may be anything that returns can be.
            error = float(np.maximum(error, high - low))
        if self._unlimited == self.value:
            return error
        # What came out beyond all returns is wrong by the excess at least.
        excess = abs(self._unlimited - self.value)
        return float(min(np.hypot(error, excess), high - low))

    def _contributions(self, residual: Floats) -> Floats:
        judged = self.judged
        psi = judged.weight * self.ratio * residual
        start = judged.initial_weight * (self.initial_values - self.value)
        np.add.at(psi, judged.initial, start)
        return psi

    @cached_property
    def effective_sample_size(self) -> float:
        """Rows that the policy is judged by as if equally weighted."""
        return effective_size(self.judged.weight * self.ratio)

    def bootstrap(self, n_bootstrap: int, rng: np.random.RandomState) -> Floats:
        """Values on logs whose episodes are drawn anew, (n_bootstrap,).

        The features stay; only the weights of the rows change.
        """
        judged, system = self.judged, self.system
        values = np.empty(n_bootstrap)
        limits = judged.return_range(system.discount)
        for number in range(n_bootstrap):
            times = clusters.drawn_times(judged, rng)
            weight = judged.weight * times[judged.episode]
            left, right = system.equations(weight / weight.sum())
            start = judged.initial_weight * times[judged.episode[judged.initial]]
            b = system.initial(start / start.sum())
            value = float(b @ lu_solve(factorise(left), right)) + system.anchor
            values[number] = np.clip(value, *limits)
        return values


def fitted_q(
    judged: JudgedLog, discount: float, settings: QSettings | None = None
) -> FittedQ:
    """Fit Q of the judged policy on its log, once for all that is read from it.

    Parameters
    ----------
    judged : JudgedLog
    discount : float
    settings : QSettings, default=None

    Returns
    -------
    FittedQ
    """
    return QSystem(judged, discount, settings or QSettings()).solve()
