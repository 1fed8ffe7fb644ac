"""A continuous policy, as a few actions in each state with weights that sum to 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from .._problem.rows import index_states
from .._typing import Floats
from ..transitions._actions import action_type, check_action_names
from ..transitions._as_transitions import as_transitions
from ..transitions._tables import shared_next_rows
from ..transitions._transitions import Transitions
from ._data import EvaluationData, as_numbers

# A policy that gives more than this share of its probability to actions that the log
# never holds is not judged: whatever number came out would be made up.
_LARGEST_UNSEEN_SHARE = 0.05


def prepare_evaluation(
    policy: Any,
    X: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    greedy: bool = False,
) -> EvaluationData:
    """Make a policy and a log ready to be judged by.

    Parameters
    ----------
    policy : object with ``predict_proba`` and ``classes_``, or ``action_nodes``
        Pipelines and searches included. What has ``action_nodes`` and no ``classes_``
        is a continuous policy.
    X, y : as in `StackelbergPolicyEstimator.fit`
    sample_weight : array-like, default=None
        One weight for each row of X.
    greedy : bool, default=False
        Judge the most probable action, or what `predict` of a continuous policy
        returns, instead of the probabilities.

    Returns
    -------
    EvaluationData

    Raises
    ------
    ValueError
        If the log and the policy do not know each other's actions, or the weights or
        the states are not what they should be.
    """
    policy, log, rows, n_given = unwrap(policy, X, y)
    weight = _weights(sample_weight, n_given)[rows]
    if not weight.any():
        raise ValueError(
            "All rows that are transitions have sample_weight 0; give some a weight."
        )
    kept = np.flatnonzero(weight > 0)
    if len(kept) < len(log):
        log, rows, weight = log[kept], rows[kept], weight[kept]
    continuous = is_continuous(policy)
    if continuous:
        check_numbers(log.action)
    codes = None if continuous else _codes(log.action, np.asarray(policy.classes_))
    state = check_array(log.state, dtype=np.float64, input_name="state")
    after = log.next_or_own_state()
    after = check_array(after, dtype=np.float64, input_name="next_state")
    shared = shared_next_rows(state, after)
    states, state_index, next_index = index_states(state, after, shared)
    seen, nodes = like(log.state, states), None
    if continuous:
        check_action_names(getattr(policy, "action_names_", None), log.action_names)
        nodes, probabilities = action_nodes(
            policy, seen, as_numbers(log.action), greedy
        )
    else:
        probabilities = _probabilities(policy, seen, greedy)
    data = EvaluationData(
        policy=policy,
        log=log,
        rows=rows,
        weight=weight / weight.sum(),
        states=states,
        state_index=state_index,
        next_index=next_index,
        probabilities=probabilities,
        codes=codes,
        nodes=nodes,
    )
    if continuous:
        share = data.weight @ far_share(data.actions, nodes, probabilities)[state_index]
        refuse_far(float(share), data.actions)
    else:
        _refuse_unseen(data, np.asarray(policy.classes_))
    return data


def _weights(sample_weight: Any, n: int) -> Floats:
    """Weights of the rows of X, (n,)."""
    if sample_weight is None:
        return np.ones(n)
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}; one weight for each of the "
            f"{n} rows of the log was expected."
        )
    if weight.min() < 0 or not weight.any():
        raise ValueError(
            "sample_weight must be >= 0 and not zero everywhere; it goes from "
            f"{weight.min():g} to {weight.max():g}."
        )
    return weight


def _codes(action: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.intp]:
    refuse_labels_of(action, classes)
    unknown = np.setdiff1d(action, classes)
    if len(unknown):
        raise ValueError(
            f"The log holds actions that the policy was not fitted with: "
            f"{unknown[:5].tolist()}; it knows {classes.tolist()}. Fit the policy on a "
            "log that has them, or leave those rows out."
        )
    order = np.argsort(classes)
    return order[np.searchsorted(classes[order], action)]


def _probabilities(policy: Any, states: Any, greedy: bool) -> Floats:
    probabilities = np.asarray(policy.predict_proba(states), dtype=np.float64)
    shape = (len(states), len(policy.classes_))
    if probabilities.shape != shape:
        raise ValueError(
            f"predict_proba returned an array of shape {probabilities.shape} for "
            f"{shape[0]} states and {shape[1]} classes_; {shape} was expected."
        )
    check_probabilities(probabilities, "predict_proba", states)
    return np.eye(shape[1])[probabilities.argmax(axis=1)] if greedy else probabilities


def _refuse_unseen(data: EvaluationData, classes: NDArray[Any]) -> None:
    seen = np.bincount(data.codes, minlength=len(classes)) > 0
    share = data.weight @ data.probabilities[data.state_index][:, ~seen]
    if share.sum() > _LARGEST_UNSEEN_SHARE:
        raise ValueError(
            f"The policy gives {100 * share.sum():.0f} % of its probability to actions "
            f"that the log never holds: {classes[~seen][:5].tolist()}; nothing is "
            "known of their rewards, so its value cannot be estimated. Judge it on a "
            "log that has them, or restrict it to "
            f"{classes[seen][:5].tolist()}."
        )


def like(template: Any, values: Floats) -> Any:
    """Values with the columns of a DataFrame, where the log's states are one."""
    if hasattr(template, "columns"):
        return type(template)(values, columns=template.columns)
    return values


# A policy that gives more than _LARGEST_FAR_SHARE of its probability to actions farther
# outside the logged range than _FAR times that range is not judged.
_LARGEST_FAR_SHARE = 0.05

_FAR = 0.1


def is_continuous(policy: Any) -> bool:
    """Whether a policy's actions are numbers, not labels."""
    return hasattr(policy, "action_nodes") and not hasattr(policy, "classes_")


def check_numbers(action: NDArray[Any]) -> None:
    """Refuse a log of labels."""
    if action.dtype.kind not in "iuf":
        shown = np.unique(action)[:5].tolist()
        raise ValueError(
            f"The policy's actions are continuous, and those of the log are labels: "
            f"{shown}. Judge it on a log of numbers, or a policy that was fitted on "
            "these labels."
        )


def refuse_labels_of(action: NDArray[Any], classes: NDArray[Any]) -> None:
    """Refuse a log of amounts for a policy that chooses among labels."""
    vectors = action.ndim == 2
    numbers = vectors or (
        action.dtype.kind == "f" and action_type(action)[0] == "continuous"
    )
    if vectors or (numbers and not np.isin(action, classes).all()):
        width = f"{action.shape[1]} numbers each" if vectors else "continuous"
        raise ValueError(
            f"The policy chooses among {len(classes)} labels, and the log's actions "
            f"are {width}. Judge it on a log of its labels, or fit a policy with "
            "action_type='continuous'."
        )


def action_nodes(
    policy: Any, states: Any, logged: Floats, greedy: bool
) -> tuple[Floats, Floats]:
    """The actions that stand for a policy in each state, and their weights.

    Parameters
    ----------
    policy : object with ``action_nodes``
    states : array or DataFrame of shape (N, d)
    logged : array of shape (n, p)
    greedy : bool
        Take what ``predict`` returns, or without one the node of the largest weight.

    Returns
    -------
    actions : array of shape (N, S, p)
    weights : array of shape (N, S)
    """
    p = logged.shape[1]
    if greedy and hasattr(policy, "predict"):
        chosen = np.asarray(policy.predict(states), dtype=np.float64)
        if chosen.size != len(states) * p:
            raise ValueError(
                f"predict returned an array of shape {chosen.shape} for {len(states)} "
                f"states; actions of {p} number{'s' * (p > 1)} were expected, as in "
                "the log."
            )
        return chosen.reshape(len(states), 1, p), np.ones((len(states), 1))
    actions, weights = (
        np.asarray(part, dtype=np.float64) for part in policy.action_nodes(states)
    )
    shape = (len(states), weights.shape[-1] if weights.ndim else 0)
    if actions.ndim == 3 and actions.shape[2] != p:
        raise ValueError(
            f"The policy chooses amounts of {actions.shape[2]} columns, and the log's "
            f"actions have {p}. Judge it on a log of the same actions."
        )
    if weights.shape != shape or actions.shape != (*shape, p):
        raise ValueError(
            f"action_nodes returned actions of shape {actions.shape} and weights of "
            f"shape {weights.shape} for {len(states)} states and logged actions of {p} "
            f"number{'s' * (p > 1)}; ({len(states)}, S, {p}) and ({len(states)}, S) "
            "were expected."
        )
    if not np.isfinite(actions).all():
        raise ValueError("action_nodes returned actions that are NaN or infinite.")
    check_probabilities(weights, "action_nodes", states)
    if greedy:
        best = weights.argmax(axis=1)[:, None, None]
        return np.take_along_axis(actions, best, axis=1), np.ones((len(states), 1))
    return actions, weights


def check_probabilities(probabilities: Floats, name: str, states: Any) -> None:
    """Refuse what are not probabilities, (N, A)."""
    wrong = ~np.isfinite(probabilities).all(axis=1) | (probabilities < -1e-9).any(
        axis=1
    )
    wrong |= np.abs(probabilities.sum(axis=1) - 1.0) > 1e-4
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{name} returned {probabilities[row].tolist()} for the state "
            f"{np.asarray(states)[row].tolist()}; probabilities that sum to 1 were "
            "expected."
        )


def far_share(logged: Floats, nodes: Floats, weights: Floats) -> Floats:
    """Probability of actions far outside the logged range, in each state, (N,)."""
    low, high = logged.min(axis=0), logged.max(axis=0)
    reach = _FAR * (high - low)
    far = np.zeros(weights.shape, dtype=bool)
    for j in range(logged.shape[1]):
        far |= nodes[:, :, j] < low[j] - reach[j]
        far |= nodes[:, :, j] > high[j] + reach[j]
    return (weights * far).sum(axis=1)


def refuse_far(share: float, logged: Floats) -> None:
    """Refuse to judge actions of which nothing is known."""
    if share > _LARGEST_FAR_SHARE:
        low, high = logged.min(axis=0).tolist(), logged.max(axis=0).tolist()
        raise ValueError(
            f"The policy gives {100 * share:.0f} % of its probability to actions far "
            f"outside those of the log, which lie between {low} and {high}; nothing is "
            "known of their rewards, so its value cannot be estimated. Judge it on a "
            "log that goes as far, or bound it by action_bounds."
        )


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
