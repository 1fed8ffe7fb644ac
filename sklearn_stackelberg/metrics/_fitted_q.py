"""Fitted-Q evaluation in closed form, with its dual: the density ratios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import lu_solve
from sklearn.utils import check_random_state, gen_batches

from .._linalg import factorise, iterated
from .._typing import Floats
from .._validation import check_table_size
from . import _jackknife as clusters
from ._data import EvaluationData
from ._estimate import OffPolicyEstimate, clustered_error, effective_size, reported
from ._features import Pairs, evaluation_features, fit_features, times_all
from ._fqe_regressor import bootstrap_regressed, regressed_q
from ._prepare import prepare_evaluation
from ._settings import (
    QSettings,
    check_common,
    check_error_method,
    check_iterations,
    q_settings,
)


class QSystem:
    """The equations that w solves, kept so that other weights can be put on the rows.

    M = Σ_i p_i z_i d_iᵀ + ρ I and c = Σ_i p_i z_i (r_i − (1 − γ g_i) q₀), with z the
    features of the logged pair (see `Pairs`: of labels e_a ⊗ φ(s)), g = 1 − terminated,
    d = z − γ g z(s', π), ρ = ridge / n and q₀ the anchor: Q = zᵀ w + q₀.

    Parameters
    ----------
    data : EvaluationData
    discount : float
    settings : QSettings
    whole : QSystem, default=None
        That of a log of which this one is a part, or of another policy on the same
        log; its features serve again.
    features : LandmarkFeatures or StateActionFeatures, default=None
        Fitted, in place of those that the settings ask for.
    """

    def __init__(
        self,
        data: EvaluationData,
        discount: float,
        settings: QSettings,
        whole: QSystem | None = None,
        features: Any = None,
    ) -> None:
        self.data, self.discount = data, discount
        self.settings = settings
        self.ridge = settings.ridge / len(data)
        self.pairs: Pairs
        if whole is not None:
            self.pairs = whole.pairs.of(data)
        else:
            if features is None:
                features = fit_features(data, settings)
            copies = data.n_actions if data.nodes is None else 1
            check_table_size(copies, features.n_features_out_)
            self.pairs = evaluation_features(data, features)
        log = data.log
        # What to expect where the log is silent: the mean reward at every step, and an
        # end as often as there is one among the rows.
        not_done = data.weight @ data.not_done
        self.anchor = float(data.weight @ log.reward) / (1.0 - discount * not_done)
        self.reward = log.reward - (1.0 - discount * data.not_done) * self.anchor

    def part(self, rows: NDArray[np.intp]) -> QSystem:
        """The equations of some rows, in the same features."""
        return QSystem(self.data.take(rows), self.discount, self.settings, self)

    def batches(self, n: int) -> Iterator[slice]:
        """Slices of n rows."""
        return gen_batches(n, clusters.BATCH_ROWS)

    def difference(self, batch: Any) -> Floats:
        """d of rows, (k, M)."""
        return self.pairs.difference(batch, self.discount * self.data.not_done[batch])

    def equations(self, weight: Floats) -> tuple[Floats, Floats]:
        """M, a square matrix, and c, of rows so weighted."""
        left = self.ridge * np.eye(self.pairs.size)
        right = np.zeros(self.pairs.size)
        for batch in self.batches(len(self.data)):
            p = weight[batch]
            left += self.pairs.crossed(batch, p, self.difference(batch))
            right += self.pairs.crossed(batch, p, self.reward[batch])
        return left, right

    def initial(self, weight: Floats) -> Floats:
        """b = Σ p_0 z(s_0, π), with weights of the initial rows."""
        data = self.data
        index = data.state_index[data.initial]
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
        data = self.data
        left, right = self.equations(data.weight)
        factor = factorise(left)
        w = lu_solve(factor, right)
        b = self.initial(data.initial_weight)
        dual = lu_solve(factor, b, trans=1)
        if dual_ridge is not None:
            plain = left - self.ridge * np.eye(len(left))
            dual = iterated(plain.T, b, dual_ridge / len(data))
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
    def data(self) -> EvaluationData:
        """The log and the policy."""
        return self.system.data

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
        """V of every state of ``data.states``, (N,)."""
        return self._values[0]

    @cached_property
    def initial_values(self) -> Floats:
        """V of the initial rows' states."""
        return self.state_values[self.data.state_index[self.data.initial]]

    @property
    def logged_q(self) -> Floats:
        """Q of the logged actions, (n,)."""
        return self._values[1]

    @cached_property
    def next_values(self) -> Floats:
        """V of the next states, 0 after an end, (n,)."""
        return self.data.not_done * self.state_values[self.data.next_index]

    @cached_property
    def residual(self) -> Floats:
        """δ = r + γ V(s') − Q(s, a), (n,)."""
        data, discount = self.data, self.system.discount
        return data.log.reward + discount * self.next_values - self.logged_q

    @cached_property
    def value(self) -> float:
        """Average V of the initial states, inside the range of returns."""
        limits = self.data.return_range(self.system.discount)
        return float(np.clip(self._unlimited, *limits))

    @cached_property
    def _unlimited(self) -> float:
        return float(self.data.initial_weight @ self.initial_values)

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
        data, system = self.data, self.system
        inverse = lu_solve(self.factor, np.eye(self.weight.size))
        out = self.residual.copy()
        for rows in clusters.row_groups(data):
            reached = system.pairs.times(rows, inverse.T)  # M⁻¹ z_i p_i
            reached *= data.weight[rows, None]
            difference = system.difference(rows)
            for own in clusters.pieces(data.episode[rows]):
                out[rows[own]] = clusters.without_itself(
                    difference[own], reached[own], self.residual[rows[own]]
                )
        return out

    @cached_property
    def standard_error(self) -> float:
        """By what leaving each episode out would change, episodes being independent."""
        data = self.data
        change = np.bincount(
            data.episode,
            self._contributions(self.left_out_residual),
            data.n_episodes,
        )
        # Without the episode the value would be v − ψ_e: inside its range, too.
        low, high = data.return_range(self.system.discount)
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
        data = self.data
        psi = data.weight * self.ratio * residual
        start = data.initial_weight * (self.initial_values - self.value)
        np.add.at(psi, data.initial, start)
        return psi

    @cached_property
    def effective_sample_size(self) -> float:
        """Rows that the policy is judged by as if equally weighted."""
        return effective_size(self.data.weight * self.ratio)

    def bootstrap(self, n_bootstrap: int, rng: np.random.RandomState) -> Floats:
        """Values on logs whose episodes are drawn anew, (n_bootstrap,).

        The features stay; only the weights of the rows change.
        """
        data, system = self.data, self.system
        values = np.empty(n_bootstrap)
        limits = data.return_range(system.discount)
        for number in range(n_bootstrap):
            times = clusters.drawn_times(data, rng)
            weight = data.weight * times[data.episode]
            left, right = system.equations(weight / weight.sum())
            start = data.initial_weight * times[data.episode[data.initial]]
            b = system.initial(start / start.sum())
            value = float(b @ lu_solve(factorise(left), right)) + system.anchor
            values[number] = np.clip(value, *limits)
        return values


def fitted_q(
    data: EvaluationData, discount: float, settings: QSettings | None = None
) -> FittedQ:
    """Fit Q of the judged policy on its log, once for all that is read from it.

    Parameters
    ----------
    data : EvaluationData
    discount : float
    settings : QSettings, default=None

    Returns
    -------
    FittedQ
    """
    return QSystem(data, discount, settings or QSettings()).solve()


def fitted_q_value(
    policy: Any,
    X: Any,
    y: Any = None,
    *,
    discount: float,
    sample_weight: ArrayLike | None = None,
    greedy: bool = False,
    kernel: Any = "auto",
    bandwidth: Any = "median",
    n_components: int | None = 200,
    ridge: float = 0.03,
    regressor: Any = None,
    n_iterations: int = 50,
    standard_error: str | None = "auto",
    n_bootstrap: int | None = None,
    confidence_level: float = 0.95,
    random_state: Any = 0,
) -> OffPolicyEstimate:
    """Value of a policy by fitted-Q evaluation on a log, in closed form.

    The fixed point of fitted-Q evaluation on landmark features z = e_a ⊗ φ(s), one copy
    per action: the w with

        Σ_i z_i (r_i − (1 − γ g_i) q₀ + γ g_i φ(s'_i, π)ᵀw − z_iᵀw) = ridge · w,

    g = 1 − terminated, so that Q = q₀ + zᵀw. It is read off at the first states of the
    episodes (at all states, if the log marks none as first). The ridge adds to the log
    ``ridge`` rows for each direction of the features, that end at once with a return of
    q₀ = r̄ / (1 − γ ḡ), the mean reward at every step: what to expect where nothing is
    known. A value outside the range that the logged rewards allow is brought back to
    its end, and its standard error then holds the excess too.

    The standard error takes episodes as independent. Episode e contributes

        ψ_e = Σ_{s₀ in e} (V(s₀) − v) / n₀ + Σ_{i in e} ω_i δ_i / n,

    where δ is what the w that is fitted without the episode leaves of the Bellman
    equation (in closed form, as in the jackknife of least squares), ω_i the density
    ratio that the dual of the same equations gives, and SE² = E/(E − 1) Σ_e (ψ_e − ψ̄)².
    The bias of features that cannot follow Q is not in it.

    Parameters
    ----------
    policy : object with ``predict_proba`` and ``classes_``, or ``action_nodes``
        A fitted policy; a pipeline or a search that ends in one, too. One of continuous
        actions has no ``classes_``, and ``action_nodes(states)`` gives actions,
        (n, S, p), and weights, (n, S), that stand for it.
    X : Transitions, or array-like or DataFrame of shape (n, d)
        The log, which should be one that the policy was not learned from.
    y : DataFrame, structured array or array-like, default=None
        As in `StackelbergPolicyEstimator.fit`.
    discount : float
        γ, in [0, 1).
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows of X, >= 0. A row of weight 0 is as if it were not there.
    greedy : bool, default=False
        Judge the most probable action, which `predict` returns, instead of the
        probabilities.
    kernel : "auto", str, callable or Kernel, default="auto"
        Similarity of states. ``"auto"`` tells states only apart (``"delta"``) where
        there are at most ``n_components`` of them and ten rows for each on average;
        else it is the Matérn kernel with ν = 5/2, which follows a value that breaks off
        where episodes end better than ``"rbf"``. Where actions are continuous,
        similarity is that of pairs (s, a), and ``"auto"`` is ``"laplacian"``.
    bandwidth : float, array-like of shape (d,) or "median", default="median"
        Length scale of the states. Larger is smoother.
    n_components : int or None, default=200
        Number of landmarks; of pairs (s, a), twice as many. Larger can follow more
        detail, at its cube in time.
    ridge : float, default=0.03
        Rows for each direction of the features, > 0. Larger is stabler, and draws the
        value to q₀.
    regressor : regressor, default=None
        Fits Q on states and one-hot actions instead, iterated: r + γ V(s') is regressed
        again until V stays. Density ratios and their effective sample size remain those
        of the closed form.
    n_iterations : int, default=50
        Most regressions that are made, > 0; each looks one step further.
    standard_error : {"auto", "influence", "bootstrap", None}, default="auto"
        ``"bootstrap"`` draws episodes anew and fits again; ``"auto"`` does that where
        there is a regressor. None leaves it out.
    n_bootstrap : int, default=None
        Number of such draws. None is 200, with a regressor 20.
    confidence_level : float, default=0.95
        Of the estimate's interval, in (0, 1).
    random_state : int, RandomState instance or None, default=0
        Draws landmarks and the bootstrap. Fixed, so that policies are judged alike.

    Returns
    -------
    OffPolicyEstimate
        In units of discounted return; ``float`` of it is the value.

    Raises
    ------
    ValueError
        If the log holds actions that the policy does not know, if the policy gives more
        than 5 % of its probability to actions that the log never holds (or continuous
        ones far outside the range of those that it holds), if the discount
        is not in [0, 1), or if the weights are negative, all zero or too few.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.metrics import fitted_q_value
    >>> state = np.repeat([[0.0], [1.0]], 20, axis=0)
    >>> action = np.tile([0, 1], 20)
    >>> log = Transitions(
    ...     state, action, 1.0 * (action == state[:, 0]), state, terminated=np.ones(40)
    ... )
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> round(float(fitted_q_value(policy, log, discount=0.0)), 2)
    1.0
    """
    check_common(discount, confidence_level)
    settings = q_settings(kernel, bandwidth, n_components, ridge, random_state)
    error_by = check_error_method(standard_error, regressor, n_bootstrap)
    check_iterations(n_iterations)
    data = prepare_evaluation(policy, X, y, sample_weight=sample_weight, greedy=greedy)
    fit = fitted_q(data, discount, settings)
    value, error, by = fit.value, float("nan"), "none was asked for"
    method = "Fitted-Q evaluation"
    if regressor is not None:
        value = regressed_q(data, discount, regressor, n_iterations).value
        method += f" by {type(regressor).__name__}"
    if error_by == "influence":
        error = fit.standard_error
        by = f"the influence function over {data.counted}, each left out in turn"
    elif error_by == "bootstrap":
        rng = check_random_state(random_state)
        n_bootstrap = n_bootstrap or (200 if regressor is None else 20)
        if regressor is None:
            drawn = fit.bootstrap(n_bootstrap, rng)
        else:
            drawn = bootstrap_regressed(
                data, discount, regressor, n_iterations, n_bootstrap, rng
            )
        error = float(np.std(drawn, ddof=1))
        by = f"{n_bootstrap:,} bootstraps over {data.counted}"
    return reported(
        data,
        (value, error, fit.effective_sample_size),
        method,
        by,
        confidence_level,
    )
