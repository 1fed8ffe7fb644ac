"""What a training log says of the policy learned from it, held against other rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import RandomState

from .._executor import one_blas_thread
from .._typing import Floats, Index
from ..kernels._choice import LENGTHS, choose_kernel
from ..kernels._columns import are_finite
from ..kernels._registry import is_delta
from ..transitions._discounting import return_range
from ..transitions._step_anchor import StepAnchor
from ..transitions._tables import Log
from ._data import EvaluationData
from ._estimate import summed
from ._features import EvaluationFeatures, evaluation_features
from ._fitted_q import FittedQ, FittedQSystem
from ._policy_columns import varied_actions
from ._q_uncertainty import QUncertainty
from ._settings import QSettings, choose_system, fit_features
from ._tabulate import AnyPolicy, tabulate_policy

# Rows of the training log that Q is fitted on; more would not change which of two
# policies looks better, and cost as much as the fit.
_ROWS = 20_000

# No more than so many weights: A · m.
_WEIGHTS = 1_000

# In rows for each direction of the features. Where each state is a direction of its
# own, one row is what nothing is known from; smooth features have many directions that
# no row is needed for.
_RIDGE = {"delta": 1.0, "smooth": 0.03}

# Held-out rows whose density ratio is beyond this quantile of its size are held to it:
# the few that a policy visits far more often than the log did are mostly noise.
_QUANTILE = 0.9

# Of sums of weights, which are whole where rows are counted.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class HoldoutValue:
    """Q of a policy and its density ratios, as its training log has them."""

    features: Any  # LandmarkFeatures or StateActionFeatures
    weight: Floats  # (A, m), or (m,) where actions are continuous: of Q less anchor
    dual: Floats  # the same of the density ratios
    anchor: float  # what Q is drawn to: the return of the log's mean reward
    discount: float
    highest: float  # return that the training log's rewards can add up to
    steps: StepAnchor | None  # what values are measured from
    actions: Index | None  # whose probabilities are features, too

    def value(self, data: EvaluationData) -> float:
        """Value on rows that nothing was learned from, doubly robust.

        mean V̂(s₀) + Σ_i p_i ω_i (r_i + γ V̂(s'_i, π) − Q̂(s_i, a_i)), Q̂ and ω learned
        elsewhere, and ω no larger than the 90 % quantile of its size.
        """
        features = evaluation_features(data, self.features, self.actions)
        return self.value_in(features)[0]

    def value_in(self, features: EvaluationFeatures) -> tuple[float, Floats]:
        """The same, in features of the rows that others were valued in before.

        With what each piece of the log contributes to it, (E,).
        """
        data = features.data.anchored(self.discount, self.steps)
        v, q = features.values(self.weight, self.anchor)  # (N,), (n,)
        ratio = features.times_all(self.dual)
        largest = _quantile(np.abs(ratio), data.row_weight)
        ratio = ratio.clip(-largest, largest)
        residual = data.td_residual(v, q, self.discount)
        first, corrected = data.initial_values(v), data.weight * ratio * residual
        start = data.initial_weight @ first
        value = start + data.weight @ (ratio * residual)
        np.add.at(corrected, data.initial, data.initial_weight * (first - start))
        contributions = summed(corrected, data.pieces, data.n_pieces)
        # What comes out higher than returns can be is wrong by the excess at least:
        # that is taken off the highest return, so that nonsense wins no search.
        return float(min(value, 2.0 * self.highest - value)), contributions


@dataclass(frozen=True, eq=False)
class HoldoutEvaluator(HoldoutValue):
    """The same, and how far Q may be off in single states."""

    uncertainty: QUncertainty


class HoldoutEvaluation:
    """What one training log says of policies, in features that are fitted once.

    ``joined`` is the same log with equal episodes as one: of a long log, a part of that
    is taken. ``steps`` are what values are measured from, as those of the policies are.
    """

    def __init__(
        self,
        log: Log,
        discount: float,
        joined: Log | None = None,
        steps: StepAnchor | None = None,
    ) -> None:
        if joined is not None and len(log) > _ROWS:
            log = joined
        self._log, self._part, self._discount = log, _part(log), discount
        self._steps = steps
        self._system: FittedQSystem | None = None

    def fit(self, policy: AnyPolicy) -> FittedQ:
        """Q of a policy, and its dual."""
        return self._of(policy).solve()

    def value(self, policy: AnyPolicy) -> HoldoutValue:
        """What rows held out are valued by."""
        return self.value_by(self._of(policy))

    def value_by(
        self, system: FittedQSystem, fit: FittedQ | None = None
    ) -> HoldoutValue:
        """The same, of a policy's equations, and their solution if there is one."""
        features, data, actions = system.features, system.data, None
        # Eq. (89) of docs/evaluation.md, where the ridge is a whole row. Beside smooth
        # kernels it ranked worse as often as better.
        if is_delta(features.kernel_features.kernel_) and not data.is_continuous:
            actions = varied_actions(data)
            features, fit = features.of(data, actions), None
            system = FittedQSystem(data, self._discount, features, system.ridge)
        fit = fit or system.solve()
        return HoldoutValue(
            features.kernel_features,
            fit.weight,
            fit.dual,
            system.anchor,
            self._discount,
            return_range(self._log, self._discount)[1],
            self._steps,
            actions,
        )

    def _of(self, policy: AnyPolicy) -> FittedQSystem:
        discount = self._discount
        data = tabulate_policy(policy, self._part).anchored(discount, self._steps)
        if self._system is None:
            self._system = _system(data, discount)
            return self._system
        return self._system.on(data)


def fit_holdout_evaluator(
    policy: AnyPolicy,
    log: Log,
    discount: float,
    joined: Log | None = None,
    steps: StepAnchor | None = None,
) -> HoldoutEvaluator | None:
    """Fit Q and the density ratios of a policy on the log that it was learned from.

    As of `HoldoutEvaluation`. None where the log, a part of one, lacks actions that the
    policy takes.
    """
    classes = getattr(policy, "classes_", None)
    if classes is not None and len(np.setdiff1d(classes, log.action)):
        return None
    evaluation = HoldoutEvaluation(log, discount, joined, steps)
    # Of matrices of a few hundred columns threads of BLAS wait for one another.
    with one_blas_thread():
        fit = evaluation.fit(policy)
        value = vars(evaluation.value_by(fit.system, fit))
        return HoldoutEvaluator(**value, uncertainty=QUncertainty.of(fit))


def _system(data: EvaluationData, discount: float) -> FittedQSystem:
    copies = 1 if data.is_continuous else data.n_actions
    most = max(10, _WEIGHTS // copies)
    settings = QSettings(n_components=min(QSettings.n_components or most, most))
    # A choice of continuous features would take as long as the fit.
    if not data.is_continuous:
        settings = _with_kernel(data, discount, settings)
    features = fit_features(data, settings)
    ridge = _RIDGE["delta" if is_delta(features.kernel_) else "smooth"]
    # Of all directions: the ratios are of other rows than those of the log.
    return FittedQSystem(data, discount, evaluation_features(data, features), ridge)


def _with_kernel(
    data: EvaluationData, discount: float, settings: QSettings
) -> QSettings:
    """As the estimator chooses it: by the log alone, the same for all policies.

    Kept apart, few states say little of actions that are rare in each, and policies
    that take these were scored as if they earned the average.
    """
    data = data.joined
    if not are_finite(data.state, settings.n_components, data.total):
        return settings
    carried = data.carried(discount)
    kernel = choose_kernel(
        np.asarray(data.state),
        np.asarray(data.next_state),
        data.codes,
        data.reward - (1.0 - carried) * data.mean_return(discount),
        carried,
        episode=data.episode,
        weight=data.row_weight,
        n_components=settings.n_components,
        rng=RandomState(0),
    )
    bandwidth = LENGTHS.get(kernel, settings.bandwidth)
    return replace(settings, kernel=kernel, bandwidth=bandwidth)


def _quantile(values: Floats, weight: Floats) -> float:
    """The quantile that `np.quantile` has of values that are repeated so often."""
    order = np.argsort(values)
    values, ends = values[order], weight[order].cumsum()
    # Between the two values whose places, from 0 on, are next to this one.
    place = _QUANTILE * max(ends[-1] - 1.0, 0.0)
    low, high = (
        values[min(np.searchsorted(ends, at + _ROUNDING, "right"), len(values) - 1)]
        for at in (np.floor(place), np.floor(place) + 1.0)
    )
    return float(low + (place % 1.0) * (high - low))


def _part(log: Log) -> Log:
    """Some rows of a long log, drawn at random, and an initial one among them."""
    if len(log) <= _ROWS:
        return log
    # A fixed seed: which rows stand for the log is nothing to choose.
    rows = np.random.default_rng(0).choice(len(log), _ROWS, replace=False)
    if not log.is_initial[rows].any() and log.is_initial.any():
        rows[0] = np.argmax(log.is_initial)
    # Episodes are cut by this, which the fit does not mind: it reads rows alone.
    return log[np.unique(rows)]


def fitted_q(
    data: EvaluationData, discount: float, settings: QSettings | None = None
) -> FittedQ:
    """Fit Q of the policy on its log, once for all that is read from it."""
    return choose_system(data, discount, settings or QSettings()).solve()
