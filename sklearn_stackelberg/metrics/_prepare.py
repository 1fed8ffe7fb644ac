"""What all metrics do alike: open up what they are given, and report what they find."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._typing import AnyArray, Index
from .._validation import check_discount, check_level, check_rules, integer
from ..transitions._as_transitions import as_transitions
from ..transitions._tables import collected
from ..transitions._time import refuse_endless
from ..transitions._transitions import Transitions
from ..transitions._usage import use_of_rows
from ..transitions._weights import n_given, weighted_log
from ._data import EvaluationData
from ._estimate import Figures, OffPolicyEstimate, within
from ._tabulate import AnyPolicy, is_continuous, tabulate_policy
from ._training_rows import warn_of_training_rows


def evaluate(
    figures: Callable[[EvaluationData], Figures],
    policy: object,
    X: object,
    y: ArrayLike | None,
    discount: float,
    confidence_level: float,
    greedy: bool,
    sample_weight: ArrayLike | None = None,
    block_length: int | None = None,
) -> OffPolicyEstimate:
    """A metric: its `figures` of a policy on a log, and what every estimate reports."""
    check_discount(discount)
    check_level(confidence_level)
    rule = {"block_length": integer(1, None)}
    check_rules({"block_length": block_length}, rule)
    data = prepare_evaluation(policy, X, y, sample_weight=sample_weight, greedy=greedy)
    refuse_endless(data.log, discount)
    # Refused where no reward is left; what is used, a fit has said.
    use_of_rows(data.log, getattr(data.log, "_lost", None))
    warn_of_training_rows(data.policy, data.log)
    data = replace(data, block_length=block_length)
    return reported(figures(data), data, confidence_level)


def reported(
    found: Figures, data: EvaluationData, confidence_level: float
) -> OffPolicyEstimate:
    """What was found on a log, inside its limits, with the warnings that it brought."""
    for note in found.notes:
        # Of the function that called a metric, which calls `evaluate`.
        warnings.warn(note, UserWarning, stacklevel=4)
    error_method = found.error_method
    # Errors are over episodes or blocks, whatever the method.
    if data.n_pieces == 1:
        error_method = f"{data.counted} alone has none"
    elif data.has_blocks and np.isnan(found.standard_error):
        error_method = "one episode's weights have none; fitted_q_value has one"
    value, error = within(found.value, found.standard_error, found.limits)
    return OffPolicyEstimate(
        value=value,
        standard_error=error,
        effective_sample_size=float(found.effective_sample_size),
        n_episodes=data.n_pieces,
        n_transitions=len(data),
        method=found.method,
        error_method=error_method,
        effective_unit=found.unit,
        confidence_level=float(confidence_level),
        contributions=found.contributions,
        left_out=found.left_out,
        bias_bound=float(found.bias_bound),
        pieces=None if found.contributions is None else names_of_pieces(data),
        limits=found.limits,
    )


def names_of_pieces(data: EvaluationData) -> AnyArray:
    """The name of each piece, (E,), in the order of its code."""
    if data.has_blocks:
        return np.arange(data.n_pieces)
    _, first = np.unique(data.pieces, return_index=True)
    return (data.rows if data.log.episode is None else data.log.episode)[first]


def prepare_evaluation(
    policy: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    greedy: bool = False,
) -> EvaluationData:
    """Make a policy and a log, with a weight for each row of X, ready to estimate."""
    policy, log, rows, n = unwrap(policy, X, y)
    log, rows = weighted_log(log, rows, n, sample_weight)
    return tabulate_policy(policy, log, rows=rows, greedy=greedy)


# A policy is whatever has the attributes, and X whatever its pipeline takes.
def unwrap(
    policy: Any, X: Any, y: ArrayLike | None = None
) -> tuple[AnyPolicy, Transitions, Index, int]:
    """The last step of a policy and the log as that step sees it.

    With the row of X that each transition came from, (n,), and how many rows X has.
    """
    policy, X = unwrapped(policy, X)
    log, rows = as_transitions(X, y, return_rows=True)
    return policy, log, rows, n_given(X, y, log)


def unwrapped(policy: Any, X: Any) -> tuple[AnyPolicy, Any]:
    """The last step of a policy, and states or a log as that step sees them."""
    X = collected(X)
    # A search may be in a pipeline and a pipeline in a search.
    while True:
        if isinstance(policy, type):
            raise ValueError(
                f"The policy is the class {policy.__name__}; a fitted object was "
                f"expected: {policy.__name__}(...).fit(log)."
            )
        if type(policy).__name__ == "FrozenEstimator":  # of scikit-learn from 1.6 on
            policy = policy.estimator
        elif hasattr(policy, "best_estimator_"):
            policy = policy.best_estimator_
        elif isinstance(policy, Pipeline):
            check_is_fitted(policy)
            for _, step in policy.steps[:-1]:
                X = _transformed(step, X)
            policy = policy.steps[-1][1]
        else:
            break
    for name in ("predict_proba", "classes_"):
        if not hasattr(policy, name) and not is_continuous(policy):
            raise ValueError(
                f"The policy, a {type(policy).__name__}, has no {name}: it must be a "
                "fitted object with predict_proba and classes_, or with action_nodes. "
                "Fit it first; a search must have refit its best estimator."
            )
    return policy, X


def _transformed(step: Any, X: Any) -> object:  # any transformer, what it takes
    if step is None or isinstance(step, str):  # "passthrough"
        return X
    if isinstance(X, Transitions) and not getattr(step, "_transforms_logs", False):
        # A pipeline that was fitted on states alone, evaluated on a log of them.
        after = step.transform(X.next_or_own_state())
        return X.with_states(step.transform(X.state), after)
    return step.transform(X)
