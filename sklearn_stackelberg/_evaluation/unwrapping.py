"""Searches and pipelines taken off a policy, and the log as the policy sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..transitions import Transitions, as_transitions
from .nodes import is_continuous


def unwrap(
    policy: Any, X: Any, y: Any = None
) -> tuple[Any, Transitions, NDArray[np.intp], int]:
    """The last step of a policy and the log as that step sees it.

    A search stands for its best estimator; a pipeline's transformers are applied to X
    before the log is made of it.

    Returns
    -------
    policy : object
    log : Transitions
    rows : int array of shape (n,)
        The row of X that each transition came from.
    n_given : int
        Rows of X.
    """
    while True:
        if hasattr(policy, "best_estimator_"):
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
                "fitted object with predict_proba and classes_, or with action_nodes "
                "where actions are continuous. Fit it first; a search must have refit "
                "its best estimator."
            )
    log, rows = as_transitions(X, y, return_rows=True)
    n_given = len(log) if y is None else len(X)
    return policy, log, rows, n_given


def _transformed(step: Any, X: Any) -> Any:
    if step is None or isinstance(step, str):  # "passthrough"
        return X
    if isinstance(X, Transitions) and not _takes_logs(step):
        # A pipeline that was fitted on states alone, judged on a log of them.
        after = step.transform(X.next_or_own_state())
        return X.with_states(step.transform(X.state), after)
    return step.transform(X)


def _takes_logs(step: Any) -> bool:
    from ..preprocessing import OnStates  # a transformer, which metrics do not need

    return isinstance(step, OnStates)
