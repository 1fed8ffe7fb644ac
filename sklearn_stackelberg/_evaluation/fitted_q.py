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
from ..kernels import LandmarkFeatures
from ..solvers.rows import FeatureRows, feature_rows
from . import clusters
from .estimate import clustered_error, effective_size
from .features import fit_features
from .judged import Floats, JudgedLog
from .linear import factorise, iterated
from .settings import QSettings


class QSystem:
    """The equations that w solves, kept so that other weights can be put on the rows.

    M = Σ_i p_i z_i d_iᵀ + ρ I and c = Σ_i p_i z_i r_i, with z = e_a ⊗ φ(s) of the
    logged action, d = z − γ (1 − terminated) π(s') ⊗ φ(s') and ρ = ridge / n.

    Parameters
    ----------
    judged : JudgedLog
    discount : float
    settings : QSettings
    whole : QSystem, default=None
        That of a log of which this one is a part, whose features serve again.
    """

    def __init__(
        self,
        judged: JudgedLog,
        discount: float,
        settings: QSettings,
        whole: QSystem | None = None,
    ) -> None:
        self.judged, self.discount = judged, discount
        self.features: LandmarkFeatures = (
            whole.features if whole else fit_features(judged, settings)
        )
        self.settings = settings
        self.ridge = settings.ridge / len(judged)
        self.n_features = self.features.n_features_out_
        check_table_size(judged.n_actions, self.n_features)
        self._phi: FeatureRows = (
            whole._phi
            if whole
            else feature_rows(self.features.transform, judged.states, self.n_features)
        )
        log = judged.log
        # What to expect where the log is silent: the mean reward at every step, and an
        # end as often as there is one among the rows.
        goes_on = judged.weight @ judged.goes_on
        self.anchor = float(judged.weight @ log.reward) / (1.0 - discount * goes_on)
        self.reward = log.reward - (1.0 - discount * judged.goes_on) * self.anchor

    def part(self, rows: NDArray[np.intp]) -> QSystem:
        """The equations of some rows, in the same features."""
        return QSystem(self.judged.take(rows), self.discount, self.settings, self)

    def phi(self, index: NDArray[np.intp]) -> Floats:
        """Features of states, (k, m)."""
        return self._phi(index).numpy()

    def batches(self, n: int) -> Iterator[slice]:
        """Slices of n rows."""
        return gen_batches(n, clusters.BATCH_ROWS)

    def joint(self, index: NDArray[np.intp], share: Floats) -> Floats:
        """Σ_a share_a e_a ⊗ φ(s), (k, A m)."""
        phi = self.phi(index)
        return (share[:, :, None] * phi[:, None, :]).reshape(len(phi), -1)

    def difference(self, batch: Any) -> Floats:
        """d of rows, (k, A m)."""
        judged = self.judged
        after = judged.next_index[batch]
        carried = self.discount * judged.goes_on[batch, None] * judged.chances[after]
        out = self.joint(after, -carried)
        own = out.reshape(len(out), judged.n_actions, self.n_features)
        own[np.arange(len(out)), judged.codes[batch]] += self.phi(
            judged.state_index[batch]
        )
        return out

    def equations(self, weight: Floats) -> tuple[Floats, Floats]:
        """M, (A m, A m), and c, (A m,), of rows so weighted."""
        judged, m = self.judged, self.n_features
        left = self.ridge * np.eye(judged.n_actions * m)
        right = np.zeros(judged.n_actions * m)
        for batch in self.batches(len(judged)):
            phi = self.phi(judged.state_index[batch]) * weight[batch, None]
            d, codes = self.difference(batch), judged.codes[batch]
            for action in np.unique(codes):
                block, mine = slice(action * m, (action + 1) * m), codes == action
                left[block] += phi[mine].T @ d[mine]
                right[block] += phi[mine].T @ self.reward[batch][mine]
        return left, right

    def initial(self, weight: Floats) -> Floats:
        """b = Σ p_0 φ(s_0, π), (A m,), with weights of the initial rows."""
        judged = self.judged
        index = judged.state_index[judged.initial]
        out = np.zeros(judged.n_actions * self.n_features)
        for batch in self.batches(len(index)):
            share = judged.chances[index[batch]] * weight[batch, None]
            out += (share.T @ self.phi(index[batch])).ravel()
        return out

    def table(self, index: NDArray[np.intp], weight: Floats) -> Floats:
        """φ(s)ᵀ of weights (A, m), (k, A)."""
        out = np.empty((len(index), len(weight)))
        for batch in self.batches(len(index)):
            out[batch] = self.phi(index[batch]) @ weight.T
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
        shape = (judged.n_actions, self.n_features)
        left, right = self.equations(judged.weight)
        factor = factorise(left)
        w = lu_solve(factor, right).reshape(shape)
        b = self.initial(judged.initial_weight)
        dual = lu_solve(factor, b, trans=1)
        if dual_ridge is not None:
            plain = left - self.ridge * np.eye(len(left))
            dual = iterated(plain.T, b, dual_ridge / len(judged))
        dual = dual.reshape(shape)
        every = np.arange(len(judged.states))
        q = self.table(every, w) + self.anchor  # (N, A)
        return FittedQ(self, factor, w, dual, q)


@dataclass(frozen=True, eq=False)
class FittedQ:
    """One evaluation fit, from which value, error, ratios and coverage are read.

    Parameters
    ----------
    system : QSystem
    factor : tuple
        LU factors of M.
    weight : array of shape (A, m)
        w.
    dual : array of shape (A, m)
        M⁻ᵀ b.
    q : array of shape (N, A)
        Q of the states of the log (``judged.states``).
    """

    system: QSystem
    factor: Any
    weight: Floats
    dual: Floats
    q: Floats

    @property
    def judged(self) -> JudgedLog:
        """The log and the policy."""
        return self.system.judged

    def q_values(self, states: Floats) -> Floats:
        """Q of any states, (k, d) to (k, A)."""
        return self.system.features.transform(states) @ self.weight.T + (
            self.system.anchor
        )

    @cached_property
    def ratio(self) -> Floats:
        """ω_i = z_iᵀ M⁻ᵀ b of the logged rows, (n,).

        How often the policy would be where the row is, discounted and over the whole
        episode, over how often the log was. Σ p_i ω_i r_i is the value, but for the
        ridge.
        """
        return self.ratio_at(self.judged.state_index, self.judged.codes)

    def ratio_at(self, index: NDArray[np.intp], codes: NDArray[np.intp]) -> Floats:
        """ω of states at ``index`` of ``judged.states`` and actions, (k,)."""
        return self.system.table(index, self.dual)[np.arange(len(index)), codes]

    @cached_property
    def state_values(self) -> Floats:
        """V of every state of ``judged.states``, (N,)."""
        return (self.q * self.judged.chances).sum(axis=1)

    @cached_property
    def initial_values(self) -> Floats:
        """V of the initial rows' states."""
        return self.state_values[self.judged.state_index[self.judged.initial]]

    @cached_property
    def logged_q(self) -> Floats:
        """Q of the logged actions, (n,)."""
        return self.q[self.judged.state_index, self.judged.codes]

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
        value = float(self.judged.initial_weight @ self.initial_values)
        return float(np.clip(value, *self.judged.return_range(self.system.discount)))

    @cached_property
    def influence(self) -> Floats:
        """What each row contributes to the estimate's error, to first order, (n,)."""
        return self._contributions(self.residual)

    @cached_property
    def left_out_residual(self) -> Floats:
        """δ of each row by the Q that is fitted without the row's episode, (n,).

        (I − H_e)⁻¹ δ_e with H_e = D_e M⁻¹ Z_eᵀ P_e, as in the jackknife of least
        squares: exact, without fitting again. δ itself is too small where the log is
        thin, because w follows it.
        """
        judged, system = self.judged, self.system
        m = system.n_features
        inverse = lu_solve(self.factor, np.eye(self.weight.size))
        out = self.residual.copy()
        for rows in clusters.row_groups(judged):
            codes = judged.codes[rows]
            phi = system.phi(judged.state_index[rows]) * judged.weight[rows, None]
            reached = np.empty((len(rows), self.weight.size))  # M⁻¹ z_i p_i
            for action in np.unique(codes):
                block, mine = slice(action * m, (action + 1) * m), codes == action
                reached[mine] = phi[mine] @ inverse[:, block].T
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
        change = np.clip(change, self.value - high, self.value - low)
        return clustered_error(change, np.arange(len(change)), len(change))

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
