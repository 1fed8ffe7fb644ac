"""One split of a search: fits on a part of a log, and their scores on another."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing

from .._typing import Floats, Index
from ..transitions._as_transitions import LogOrStates, as_transitions
from ..transitions._transitions import Transitions
from ..transitions._weights import n_given, weighted_log
from ._grid import Candidate, Grid

if TYPE_CHECKING:
    from .._fitting.fitted_policy import Fitted, FittedPolicy
    from .._fitting.fold_fits import FoldFits
    from .._fitting.hyperparameters import Hyperparameters
    from ..metrics._selected_value import HeldOut

# ``scorer(estimator, X, y)``, as scikit-learn takes it.
Scorer = Callable[..., float]


class Given(NamedTuple):
    """What a search is given: X, y, and how often each row of X counts."""

    X: LogOrStates
    y: ArrayLike | None
    sample_weight: ArrayLike | None

    def take(self, rows: Index) -> Given:
        y, weight = self.y, self.sample_weight
        return Given(
            _safe_indexing(self.X, rows),
            None if y is None else _safe_indexing(y, rows),
            None if weight is None else np.asarray(weight)[rows],
        )

    def log(self) -> tuple[Transitions, Index]:
        """The rows that are transitions and count, and where they stand in X."""
        log, rows = as_transitions(self.X, self.y, return_rows=True)
        n = n_given(self.X, self.y, log)
        return weighted_log(log, rows, n, self.sample_weight)


class Tuned(NamedTuple):
    """What is searched: a policy, and the part of a pipeline before it, if any."""

    policy: BaseEstimator
    name: str = ""  # of the pipeline's last step
    head: Pipeline | None = None

    @classmethod
    def of(cls, estimator: BaseEstimator) -> Tuned:
        if not isinstance(estimator, Pipeline):
            return cls(estimator)
        name, policy = estimator.steps[-1]
        # A pipeline of one step has nothing before it.
        head = estimator[:-1] if len(estimator.steps) > 1 else None
        return cls(policy, name, head)

    def prefixed(self, params: dict[str, Any]) -> dict[str, Any]:
        """As the estimator's own `set_params` takes them."""
        prefix = f"{self.name}__" if self.name else ""
        return {prefix + name: value for name, value in params.items()}

    def joined(self, head: Pipeline | None, policy: BaseEstimator) -> BaseEstimator:
        """A pipeline again, of what was fitted apart."""
        if not self.name:
            return policy
        before = [] if head is None else head.steps
        return Pipeline([*before, (self.name, policy)])

    def fitted(self, given: Given, params: dict[str, Any]) -> BaseEstimator:
        """With some parameters, fitted on all that is given."""
        head = None if self.head is None else clone(self.head)
        X = given.X if head is None else head.fit_transform(given.X, given.y)
        policy: Any = clone(self.policy).set_params(**params)
        policy.fit(X, given.y, sample_weight=given.sample_weight)
        return self.joined(head, policy)


class Outcome(NamedTuple):
    """What came of a candidate on one split."""

    score: float  # NaN where it failed
    fit_time: float
    score_time: float
    policy: FittedPolicy | None = None
    contributions: Floats | None = None  # of each episode to the default score, (E,)
    error: str = ""


class Split:
    """One split of what is given, whose candidates share what they can.

    A pipeline's steps before the policy are fitted on the training part, as in
    `GridSearchCV`.
    """

    def __init__(
        self,
        given: Given,
        train: Index,
        test: Index,
        tuned: Tuned,
        hp: Hyperparameters,
        scoring: Scorer | None,
    ) -> None:
        self._given, self._train, self.test = given, train, test
        self._tuned, self._hp, self._scoring = tuned, hp, scoring
        self._head: Any = None
        self._fits: FoldFits | None = None

    def prepare(self) -> None:
        """Fit all that candidates share, once."""
        if self._fits is not None:
            return
        # Here, since it brings torch with it, and a search is set up without.
        from .._fitting.fold_fits import FoldFits

        train, test = (self._given.take(rows) for rows in (self._train, self.test))
        self._scored = test
        if self._tuned.head is not None:
            self._head = clone(self._tuned.head)
            train = train._replace(X=self._head.fit_transform(train.X, train.y))
            test = test._replace(X=self._head.transform(test.X))
        self._fits = FoldFits(train.log()[0], test.log()[0], self._hp)

    def features_key(self, params: dict[str, Any]) -> tuple[str, ...]:
        """The same of candidates that share their features."""
        from .._fitting.made_by import features_key

        return features_key(replace(self._hp, **params))

    def run(self, grid: Grid, candidates: Sequence[Candidate]) -> list[Outcome]:
        """Fit and score some of the same features, one after the other."""
        found = [self._run(grid.params(candidate)) for candidate in candidates]
        assert self._fits is not None
        # One table of features at a time: of a long log each is large.
        for candidate in candidates:
            self._fits.forget(replace(self._hp, **grid.params(candidate)))
        return found

    def _run(self, params: dict[str, Any]) -> Outcome:
        begin = middle = time.perf_counter()
        assert self._fits is not None
        try:
            hp = replace(self._hp, **params)
            fitted = self._fits.solve(hp)
            middle = time.perf_counter()
            score, contributions = self._score(params, hp, fitted)
        # As in scikit-learn's searches: whatever keeps a candidate from a score.
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            return Outcome(np.nan, time.perf_counter() - begin, 0.0, error=text)
        seconds = middle - begin, time.perf_counter() - middle
        return Outcome(score, *seconds, fitted.policy, contributions)

    def _score(
        self, params: dict[str, Any], hp: Hyperparameters, fitted: Fitted
    ) -> tuple[float, Floats | None]:
        assert self._fits is not None
        if self._scoring is None:
            return self._fits.score(fitted.policy)
        policy: Any = clone(self._tuned.policy).set_params(**params)
        policy.__dict__.update(self._fits.attributes(hp, fitted))
        estimator = self._tuned.joined(self._head, policy)
        X, y, weight = self._scored
        weights = {} if weight is None else {"sample_weight": weight}
        return float(self._scoring(estimator, X, y, **weights)), None

    def held_out(
        self, policy: FittedPolicy, whole: Transitions, kept: Index
    ) -> HeldOut:
        """A policy of this split beside the log that it is valued on.

        ``whole`` is what is given, as a log, and ``kept`` where its rows stand in X.
        """
        if self._head is not None:
            X = self._head.transform(self._given.X)
            whole, kept = self._given._replace(X=X).log()
        from ..metrics._selected_value import HeldOut

        return HeldOut(policy, whole, np.flatnonzero(np.isin(kept, self.test)))
