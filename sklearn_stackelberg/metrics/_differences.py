"""`value_difference`: one policy against another, or against the logger, on one log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from numpy.typing import ArrayLike

from .._validation import check_rules, one_of
from ..transitions._as_transitions import as_transitions
from ..transitions._transitions import Transitions
from ..transitions._weights import weighted
from ._doubly_robust import doubly_robust_value
from ._estimate import OffPolicyEstimate, plain
from ._fitted_q_value import fitted_q_value
from ._importance import importance_sampling_value
from ._logged_value import Logger, goes_on, logged_value, without_actions
from ._prepare import unwrap

METRICS: dict[str, Callable[..., OffPolicyEstimate]] = {
    "doubly_robust": doubly_robust_value,
    "fitted_q": fitted_q_value,
    "importance": importance_sampling_value,
}


@dataclass(frozen=True)
class ValueDifference(OffPolicyEstimate):
    """How much more a policy is worth than a baseline, with both estimates.

    Parameters
    ----------
    value, standard_error, effective_sample_size, n_episodes, n_transitions
        Of the difference, as of every `OffPolicyEstimate`.
    method, error_method, effective_unit, confidence_level
        As of every `OffPolicyEstimate`.
    contributions, bias_bound, pieces, limits, left_out
        As of every `OffPolicyEstimate`.
    policy, baseline : OffPolicyEstimate
        The two values on the same log.
    """

    policy: OffPolicyEstimate = field(kw_only=True, repr=False)
    baseline: OffPolicyEstimate = field(kw_only=True, repr=False)

    _noun = "difference"

    @property
    def lift(self) -> OffPolicyEstimate:
        """The policy's value over the baseline's, 1 where they are worth the same.

        By the delta method, see `OffPolicyEstimate.ratio`; it means something where
        rewards are of one sign.
        """
        return self.policy.ratio(self.baseline)


def value_difference(
    policy: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    baseline: object = "logger",
    discount: float,
    estimator: str = "doubly_robust",
    confidence_level: float = 0.95,
    sample_weight: ArrayLike | None = None,
    **settings: Any,
) -> ValueDifference:
    """How much more a policy is worth than the logger, or than another policy.

    Both are estimated on the same log, and what each episode contributes to the two is
    paired: what moves both alike, such as how well off the logged patients were, does
    not count as doubt about the difference.

    Parameters
    ----------
    policy, X, y, discount
        As in `fitted_q_value`.
    baseline : "logger" or policy, default="logger"
        What to compare with: what was logged (`logged_value`; where episodes are cut,
        the logger's value as `estimator` has it), or another policy, estimated as the
        first.
    estimator : {"doubly_robust", "fitted_q", "importance"}, default="doubly_robust"
        Which of `doubly_robust_value`, `fitted_q_value` and
        `importance_sampling_value` estimates the policies.
    confidence_level : float, default=0.95
        Of the interval, in (0, 1).
    sample_weight : array-like of shape (n,), default=None
        As in `fitted_q_value`.
    **settings
        Further arguments of the estimator, such as ``greedy=True``, for both policies.

    Returns
    -------
    ValueDifference
        An `OffPolicyEstimate` of the difference, whose ``p_value()`` is of the
        hypothesis that there is none; ``lift`` is the ratio, ``policy`` and
        ``baseline`` are the two estimates. The log should be one that neither policy
        was learned from.

    Raises
    ------
    ValueError
        As the estimator does, and if it keeps no contributions of episodes
        (`fitted_q_value` by a regressor or the bootstrap).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn_stackelberg import Transitions
    >>> from sklearn_stackelberg.metrics import value_difference
    >>> state, action = np.zeros((40, 1)), np.tile([0, 1], 20)
    >>> log = Transitions(state, action, action, state, terminated=np.ones(40))
    >>> always = DummyClassifier(strategy="constant", constant=1).fit(state, action)
    >>> found = value_difference(always, log, discount=0.0)
    >>> round(found.value, 1), found.p_value() < 0.001, round(found.lift.value)
    (0.5, True, 2)
    """
    check_rules({"estimator": estimator}, {"estimator": one_of(*METRICS)})
    # Read once: the rows of a log have names that both estimates share.
    found = as_transitions(cast(Any, X), y, return_rows=True)
    log = weighted(*found, X, y, sample_weight)
    common = {"discount": discount, "confidence_level": confidence_level}
    value = METRICS[estimator](policy, log, **common, **settings)
    if baseline == "logger":
        other = value_of_logger(policy, log, estimator, settings, **common)
    else:
        other = METRICS[estimator](baseline, log, **common, **settings)
    return difference(value, other)


def difference(
    policy: OffPolicyEstimate, baseline: OffPolicyEstimate
) -> ValueDifference:
    """Of two estimates of one log."""
    found = plain(policy - baseline)
    return ValueDifference(**vars(found), policy=policy, baseline=baseline)


# Of a policy's settings, those that do not say what Q is made of.
_SHARED = ("ratios", "weighted", "clip", "n_folds", "block_length", "random_state")


def value_of_logger(
    policy: object,
    log: Transitions,
    estimator: str,
    settings: Mapping[str, Any],
    **common: Any,
) -> OffPolicyEstimate:
    """`logged_value`, on states as the last step of a policy's pipeline sees them.

    Where episodes are cut, what follows is estimated, or left out, as that of the
    policy is: two ways that differ in their bias would be a difference.
    """
    seen = unwrap(policy, log)[1]
    alone = without_actions(seen)
    if estimator == "importance":
        found = importance_sampling_value(Logger(), alone, **common)
        return plain(found, method="Mean logged return")
    if estimator == "doubly_robust" and goes_on(alone, common["discount"]):
        shared = {name: settings[name] for name in _SHARED if name in settings}
        found = doubly_robust_value(Logger(), alone, **common, **shared)
        return plain(found, method=f"{found.method} of the logger")
    return logged_value(seen, **common)
