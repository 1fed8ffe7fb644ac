"""Scorers: what a candidate of a search is worth, larger being better."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import ClassVar, Self

from numpy.typing import ArrayLike
from sklearn.utils.metadata_routing import MetadataRequest

from ..metrics._bellman_error import bellman_error
from ..metrics._doubly_robust import doubly_robust_value
from ..metrics._estimate import OffPolicyEstimate
from ..metrics._fitted_q_value import fitted_q_value
from ..metrics._importance import importance_sampling_value
from ..metrics._residual_check import HiddenStateWarning
from ..metrics._training_rows import TrainingRowsWarning
from ..transitions._as_transitions import LogOrStates

_REPORTED = ("value", "standard_error", "lower_limit", "effective_sample_size")


class _Scorer:
    """A callable ``scorer(estimator, X, y=None)``, as searches take it."""

    _metric: ClassVar[Callable[..., OffPolicyEstimate]]
    # A search maximises: an error counts with a minus.
    _sign: ClassVar[float] = 1.0
    _weighted: bool | str | None = None

    def __init__(
        self,
        *,
        discount: float | None = None,
        reference: LogOrStates | tuple[ArrayLike, ArrayLike] | None = None,
        report: bool = False,
        **settings: object,
    ) -> None:
        self.discount = discount
        self.reference = reference
        self.report = report
        self.settings = settings

    def __call__(
        self,
        estimator: object,
        X: LogOrStates,
        y: ArrayLike | None = None,
        **weights: ArrayLike,
    ) -> float | dict[str, float]:
        """Evaluate a fitted policy.

        Parameters
        ----------
        estimator : object
            A fitted policy, pipeline or search.
        X, y : as in `StackelbergPolicyEstimator.fit`
            The held-out log. Where the scorer has a ``reference``, not looked at.

        Returns
        -------
        float, or dict of str to float
            The score, or with ``report=True`` the score (``"value"``), its
            ``"standard_error"``, the lower end of its confidence interval
            (``"lower_limit"``) and its ``"effective_sample_size"``; all NaN, with a
            warning, if the policy cannot be evaluated.
        """
        if self.reference is not None:
            if weights:
                raise ValueError(
                    f"{type(self).__name__} evaluates on its reference, whose rows a "
                    "fold's sample_weight does not belong to; drop one of the two."
                )
            given = self.reference
            X, y = given if isinstance(given, tuple) else (given, None)
        try:
            discount = _discount(estimator) if self.discount is None else self.discount
            settings = {"discount": discount, **self._settings(), **weights}
            with warnings.catch_warnings():
                # It is of the log, and would be said of every candidate and fold.
                warnings.simplefilter("ignore", HiddenStateWarning)
                # Whoever gives a reference knows what the candidates were learned from.
                if self.reference is not None:
                    warnings.simplefilter("ignore", TrainingRowsWarning)
                estimate = type(self)._metric(estimator, X, y, **settings)
        except ValueError as error:
            if not self.report:
                raise
            # A search puts one number where a scorer fails, and cannot put it beside
            # the dicts of other folds.
            warnings.warn(
                "A policy could not be evaluated, and all of its figures are NaN: "
                f"{error} [pitfalls: not-evaluated]",
                UserWarning,
                stacklevel=2,
            )
            return dict.fromkeys(_REPORTED, float("nan"))
        score = self._sign * estimate.value
        if not self.report:
            return score
        # Of an error the upper end is the pessimistic one: minus it is the lower limit.
        low, high = estimate.confidence_interval
        return {
            "value": score,
            "standard_error": estimate.standard_error,
            "lower_limit": low if self._sign > 0 else -high,
            "effective_sample_size": estimate.effective_sample_size,
        }

    def set_score_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Say whether searches shall pass weights of rows on, with metadata routing.

        Parameters
        ----------
        sample_weight : bool, str or None, default=None
            As scikit-learn's estimators take it.

        Returns
        -------
        _Scorer
            Itself.
        """
        self._weighted = sample_weight
        return self

    def get_metadata_routing(self) -> MetadataRequest:
        """Return which metadata the scorer takes.

        Returns
        -------
        MetadataRequest
        """
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_weight", alias=self._weighted)
        return request

    def _settings(self) -> dict[str, object]:
        return self.settings

    def __repr__(self) -> str:
        own = {"discount": self.discount, "reference": self.reference}
        own |= {"report": self.report or None}
        shown = {k: v for k, v in own.items() if v is not None} | self.settings
        text = ", ".join(f"{name}={value!r:.60}" for name, value in shown.items())
        return f"{type(self).__name__}({text})"


class FittedQScorer(_Scorer):
    """Score a policy by `metrics.fitted_q_value`, on a fold or on a whole log.

    It takes any policy; ``StackelbergPolicyEstimator.score`` knows the training too.

    Parameters
    ----------
    discount : float, default=None
        γ. None takes the candidate's own, which is right unless the search varies it:
        values of different discounts cannot be compared.
    reference : Transitions or tuple (states, decision table), default=None
        A log that every candidate is evaluated on; None is the held-out fold. The
        *whole* log, training episodes included, is steadier than a small fold that
        covers little, and a little too kind.
    report : bool, default=False
        Whether to return a dict of several figures of one evaluation fit, as for
        ``GridSearchCV(..., refit="value")`` or `PessimisticRefit`.
    **settings
        Further arguments of the metric, such as ``greedy=True``.

    Examples
    --------
    >>> from sklearn_stackelberg.model_selection import FittedQScorer
    >>> FittedQScorer(report=True, greedy=True)
    FittedQScorer(report=True, greedy=True)
    """

    _metric = staticmethod(fitted_q_value)

    def _settings(self) -> dict[str, object]:
        # A standard error that is not reported would cost as much as the value.
        return (
            self.settings if self.report else {"standard_error": None} | self.settings
        )


class DoublyRobustScorer(_Scorer):
    """Score a policy by `metrics.doubly_robust_value`.

    Parameters
    ----------
    discount, reference, report, **settings
        As of `FittedQScorer`.

    Examples
    --------
    >>> from sklearn_stackelberg.model_selection import DoublyRobustScorer
    >>> DoublyRobustScorer(discount=0.9)
    DoublyRobustScorer(discount=0.9)
    """

    _metric = staticmethod(doubly_robust_value)


class ImportanceSamplingScorer(_Scorer):
    """Score a policy by `metrics.importance_sampling_value`; not of continuous actions.

    Parameters
    ----------
    discount, reference, report, **settings
        As of `FittedQScorer`.

    Examples
    --------
    >>> from sklearn_stackelberg.model_selection import ImportanceSamplingScorer
    >>> ImportanceSamplingScorer(clip=10.0)
    ImportanceSamplingScorer(clip=10.0)
    """

    _metric = staticmethod(importance_sampling_value)


class BellmanErrorScorer(_Scorer):
    """Score a policy's own Q-function by minus `metrics.bellman_error`.

    It says whether the Q-function fits the policy, not whether the policy is good;
    ``docs/choosing_lambda.md`` shows what comes of choosing by it.

    Parameters
    ----------
    discount, reference, report, **settings
        As of `FittedQScorer`.

    Examples
    --------
    >>> from sklearn_stackelberg.model_selection import BellmanErrorScorer
    >>> BellmanErrorScorer()
    BellmanErrorScorer()
    """

    _metric = staticmethod(bellman_error)
    _sign = -1.0


def _discount(estimator: object) -> float:
    """The discount of a policy, of the last step of a pipeline, of a search's best."""
    # A search may hold a pipeline, which may end in a search, and so on.
    if hasattr(estimator, "best_estimator_"):
        return _discount(estimator.best_estimator_)
    if hasattr(estimator, "steps"):
        return _discount(estimator.steps[-1][1])
    if not hasattr(estimator, "discount"):
        raise ValueError(
            f"The policy, a {type(estimator).__name__}, has no discount; give "
            "the scorer one, such as FittedQScorer(discount=0.99)."
        )
    return estimator.discount
