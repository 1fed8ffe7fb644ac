"""Fits of many hyperparameters on the training part of a fold, which share features."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from .._problem.action_space import read_actions
from .._problem.dataset import OfflineProblem
from .._typing import Floats
from ..metrics._features import EvaluationFeatures, evaluation_features
from ..metrics._holdout import HoldoutEvaluation
from ..metrics._tabulate import tabulate_policy
from ..policies._candidates import CandidateSoftmax
from ..solvers._base import SolverResult
from ..transitions._discounting import return_range
from ..transitions._transitions import Transitions
from .fit import Fit
from .fits import make_fit
from .fitted_policy import Fitted, FittedPolicy
from .hyperparameters import Hyperparameters
from .made_by import features_key
from .support import ActionRange, ActionSupport

Support = ActionSupport | ActionRange | None


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Features of a log, what it supports, and what fits in them found.

    That is kept by λ, β and ridge, beside the log prior of the states.
    """

    fit: Fit
    support: Support
    found: dict[object, list[tuple[Tensor | None, SolverResult]]] = field(
        default_factory=dict
    )


class FoldFits:
    """Fits on one log, and their scores on another, that neither is prepared twice.

    Those of the same features share these; all share the estimate of the behaviour
    policy, and the features that policies are scored in. ``first`` are hyperparameters
    of which these are made, with the largest support of all.
    """

    def __init__(
        self, train: Transitions, test: Transitions, first: Hyperparameters
    ) -> None:
        self.test, self._first = test, first
        self._problem = OfflineProblem.from_log(
            train, discount=first.discount, initial_states=first.initial_states
        )
        self._actions, _ = read_actions(train, first.action_type, first.action_bounds)
        self._prepared: dict[tuple[str, ...], _Prepared] = {}
        self._evaluation = HoldoutEvaluation(
            self._problem.given,
            first.discount,
            joined=self._problem.log,
            steps=self._problem.units.steps,
        )
        self._held: EvaluationFeatures | None = None
        self.prepare(first)

    def solve(self, hp: Hyperparameters) -> Fitted:
        """What a fit of the training log leads to."""
        prepared = self.prepare(hp)
        fit = prepared.fit.varied(hp, self._support_of(prepared, hp.least_support))
        if hp.support == "auto":
            # Of two supports, the first of which others may share.
            return fit.solve(float(hp.lam)).fitted
        prior = fit.players.log_prior
        same = prepared.found.setdefault((hp.lam, hp.beta, hp.ridge), [])
        for other, found in same:
            # Thresholds of the support that part no state of the log are one problem.
            if _is_equal(prior, other):
                return fit.fitted(found.policy, found.q_function)
        solved = fit.solve(float(hp.lam))
        same.append((prior, solved.found))
        return solved.fitted

    def attributes(self, hp: Hyperparameters, fitted: Fitted) -> dict[str, object]:
        """What makes an estimator of it that predicts and scores."""
        return self.prepare(hp).fit.reconstruction(fitted)

    def score(self, policy: FittedPolicy) -> tuple[float, Floats]:
        """What `StackelbergPolicyEstimator.score` is of the log held out.

        No less than returns can be; with what each piece contributes to it, (E,).
        """
        value = self._evaluation.value(policy)
        data = tabulate_policy(policy, self.test)
        if self._held is None:
            self._held = evaluation_features(data, value.features)
        # One wild estimate on one of a few splits shall not outweigh the others.
        lowest, _ = return_range(self._problem.given, self._first.discount)
        found, contributions = value.value_in(self._held.of(data, value.actions))
        return max(lowest, found), contributions

    def prepare(self, hp: Hyperparameters) -> _Prepared:
        """The features of some hyperparameters."""
        key = _key(hp)
        if key not in self._prepared:
            self._prepared[key] = self._prepare(hp)
        return self._prepared[key]

    def forget(self, hp: Hyperparameters) -> None:
        """Let go of a table of features; those that are made first stay."""
        if _key(hp) != _key(self._first):
            self._prepared.pop(_key(hp), None)

    def _prepare(self, hp: Hyperparameters) -> _Prepared:
        problem, actions, ranged = self._problem, self._actions, False
        if hp.action_distribution == "gaussian":
            ranged = actions.type == "continuous"
        before = next(iter(self._prepared.values()), None)
        if before is not None and not ranged:
            fit = make_fit(replace(hp, support=0.0), problem, actions)
            # Candidates of several columns are drawn behind the features.
            if _same_candidates(fit, before.fit):
                return self._ready(fit, before.support)
        support = hp.least_support
        if not ranged:
            support = max(support, self._first.least_support)
        fit = make_fit(replace(hp, support=support), problem, actions)
        found = fit.players.inputs.support
        # All policies are asked for the same states, learned from or held out.
        asked = found.remembering() if isinstance(found, ActionSupport) else found
        return self._ready(fit, asked)

    def _ready(self, fit: Fit, support: Support) -> _Prepared:
        # Measured here, once for all that differ in λ, β and ridge alone.
        _ = fit.players.n_distinct, fit.players.design_effect
        return _Prepared(fit, support)

    def _support_of(self, prepared: _Prepared, threshold: float) -> Support:
        support = prepared.support
        if threshold == 0.0 or not isinstance(support, ActionSupport):
            return None if threshold == 0.0 else support
        if threshold == support.threshold:
            return support
        return support.with_threshold(threshold)


def _is_equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)


def _key(hp: Hyperparameters) -> tuple[str, ...]:
    key = features_key(hp)
    # The range of what is supported is made for its threshold.
    ranged = hp.action_distribution == "gaussian"
    return (*key, str(hp.least_support)) if ranged else key


def _same_candidates(one: Fit, other: Fit) -> bool:
    mine, theirs = (fit.players.inputs.distribution for fit in (one, other))
    if not isinstance(mine, CandidateSoftmax):
        return True
    assert isinstance(theirs, CandidateSoftmax)
    return np.array_equal(mine.exact.numpy(), theirs.exact.numpy())
