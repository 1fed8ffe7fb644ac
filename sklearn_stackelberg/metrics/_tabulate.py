"""What a policy does in the states of a log, or why the log cannot show its value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

from .._stored_rows import ComputedRows, StoredRows, row_batches
from .._typing import Flags, Floats, Index
from ..transitions._actions import (
    action_type,
    check_action_names,
    masks_at,
    refuse_masks,
)
from ..transitions._checks import rows_text
from ..transitions._tables import (
    Log,
    States,
    frame_like,
    is_frame,
    named,
    shared_next_rows,
    take_rows,
)
from ..transitions._words import refuse_words
from ._data import EvaluationData, as_numbers

# A policy that gives more than this share of its probability to actions of which the
# log knows nothing is refused: whatever number came out would be made up.
_LARGEST_UNKNOWN_SHARE = 0.05

# Continuous actions are unknown from this share of the logged range outside of it on:
# the features reach a little beyond what was logged.
_FAR = 0.1


# A probability that may be a zero rounded.
_ROUNDING = 1e-9


# What has ``classes_`` and ``predict_proba``, (n, A), as a fitted classifier; or
# ``action_nodes``, which gives actions, (n, S, p), and their weights, (n, S).
AnyPolicy = Any


def tabulate_policy(
    policy: AnyPolicy,
    log: Log,
    *,
    rows: Index | None = None,
    greedy: bool = False,
) -> EvaluationData:
    """Read off a policy's actions in every state and next state of a log.

    ``rows`` says where the log's rows stand in what the user gave. Greedy is the most
    probable action, or what `predict` of a continuous policy returns.
    """
    weight = np.ones(len(log)) if log.weight is None else log.weight
    states, state_index, next_index = _table_of(log)
    rows = np.arange(len(log)) if rows is None else rows
    if is_continuous(policy):
        refuse_masks(log.available, "policy's")
        if log.action.dtype.kind not in "iuf":
            raise ValueError(
                "The policy's actions are continuous, and those of the log are not "
                f"numbers: {np.unique(log.action)[:5].tolist()}. Evaluate it on a log "
                "of numbers, or a policy that was fitted on these discrete actions."
            )
        check_action_names(getattr(policy, "action_names_", None), log.action_names)
        codes, classes = np.empty(0, dtype=np.intp), None
        p = as_numbers(log.action).shape[1]
        found = [
            action_nodes(policy, like(log.state, states[some]), p, greedy)
            for some in row_batches(states)
        ]
        nodes, probabilities = map(_joined, zip(*found, strict=True))
    else:
        classes = np.asarray(policy.classes_)
        codes = codes_of(log.action, classes)
        available = masks_at(log, classes, state_index, next_index, len(states))
        probabilities = np.concatenate(
            [
                probabilities_of(
                    policy,
                    like(log.state, states[some]),
                    None if available is None else available[some],
                )
                for some in row_batches(states)
            ]
        )
        if available is not None:
            impossible = np.any((probabilities > _ROUNDING) & ~available, axis=1)
            _refuse_impossible(impossible[state_index] | impossible[next_index], rows)
        if greedy:
            best = probabilities.argmax(axis=1)
            probabilities = np.eye(len(classes))[best]
        one_hot = np.eye(len(classes))
        nodes = np.broadcast_to(one_hot, (len(states), *one_hot.shape))
    data = EvaluationData(
        policy=policy,
        log=log,
        rows=rows,
        weight=weight / weight.sum(),
        total=float(weight.sum()),
        states=states,
        state_index=state_index,
        next_index=next_index,
        probabilities=probabilities,
        nodes=nodes,
        codes=codes,
    )
    if classes is None:
        _refuse_far(data)
    else:
        _refuse_unseen(data, classes)
    return data


def _table_of(log: Log) -> tuple[ComputedRows, Index, Index]:
    """States and next states, and where each row's state and next state are."""
    refuse_words(log.state)
    # Any: tables that are read row by row, or arrays.
    state: Any = log.state
    after: Any = log.next_or_own_state()
    if not isinstance(state, StoredRows):
        # As precise as they are given: what is read of them is in double precision.
        kinds = [np.float64, np.float32]
        state = check_array(state, dtype=kinds, input_name="state")
        after = check_array(after, dtype=kinds, input_name="next_state")
    # In a log in order nearly every next state is the next row's state: half the work.
    shared = shared_next_rows(state, after, log)
    n, alone = len(state), np.flatnonzero(shared < 0)
    next_index = shared.astype(np.intp)
    next_index[alone] = n + np.arange(len(alone))
    # A copy of few, so that the others can go.
    loose, at = after, alone
    if 2 * len(alone) < n:
        loose, at = take_rows(after, alone), np.arange(len(alone))

    def read(places: Index) -> Floats:
        out = np.empty((len(places), state.shape[1]))
        own = places < n
        if own.all():
            out[:] = state[places]
        else:
            out[own], out[~own] = state[places[own]], loose[at[places[~own] - n]]
        return out

    states = ComputedRows(read, n + len(alone), state.shape[1])
    return states, np.arange(n), next_index


def _joined(parts: Sequence[Floats]) -> Floats:
    """Arrays one below the other; what is the same in all rows is kept once."""
    first = parts[0][:1]
    if all(part.strides[0] == 0 and (part[:1] == first).all() for part in parts):
        return np.broadcast_to(first[0], (sum(map(len, parts)), *first.shape[1:]))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def is_continuous(policy: object) -> bool:
    """Whether a policy's actions are numbers that may lie in between."""
    return hasattr(policy, "action_nodes") and not hasattr(policy, "classes_")


def like(template: States, values: Floats) -> States:
    """Values with the columns of a DataFrame, where the log's states are of one."""
    # A policy that was fitted on a DataFrame finds its columns by name.
    template = named(template)
    return frame_like(template, values) if is_frame(template) else values


def codes_of(action: NDArray[Any], classes: NDArray[Any]) -> Index:
    # A log of doses that were levels to the policy may show other levels; numbers that
    # the policy all knows are its classes.
    vectors = action.ndim == 2
    numbers = action.dtype.kind == "f" and action_type(action)[0] == "continuous"
    if vectors or (numbers and not np.isin(action, classes).all()):
        width = f"{action.shape[1]} numbers each" if vectors else "continuous"
        raise ValueError(
            f"The policy chooses among {len(classes)} discrete actions, and the log's "
            f"actions are {width}. Evaluate it on a log of its own actions, or fit a "
            "policy with action_type='continuous'."
        )
    unknown = np.setdiff1d(action, classes)
    if len(unknown):
        raise ValueError(
            f"The log holds actions that the policy was not fitted with: "
            f"{unknown[:5].tolist()}; it knows {classes.tolist()}. Leave them out."
        )
    # ``classes_`` need not be sorted, and columns stand in its order.
    order = np.argsort(classes)
    return order[np.searchsorted(classes[order], action)]


def probabilities_of(policy: AnyPolicy, states: Any, available: Flags | None) -> Floats:
    given = {}
    if available is not None and _takes_masks(policy.predict_proba):
        given["available"] = available
    probabilities = np.asarray(policy.predict_proba(states, **given), dtype=np.float64)
    shape = (len(states), len(policy.classes_))
    if probabilities.shape != shape:
        raise ValueError(
            f"predict_proba returned an array of shape {probabilities.shape} for "
            f"{shape[0]} states and {shape[1]} classes_; {shape} was expected."
        )
    _check_probabilities(probabilities, "predict_proba", states)
    return probabilities


def _takes_masks(function: Callable[..., object]) -> bool:
    try:
        return "available" in inspect.signature(function).parameters
    except ValueError:  # of a compiled function nothing is known
        return False


def _refuse_impossible(impossible: Flags, rows: Index) -> None:
    if impossible.any():
        raise ValueError(
            "The policy gives probability to actions that are not available in the "
            f"state or the next state of {rows_text(impossible, rows)}. Let its "
            "predict_proba take available=, (n, n_actions), and give them none; or "
            "fit it on a log with masks."
        )


def action_nodes(
    policy: AnyPolicy, states: Any, p: int, greedy: bool
) -> tuple[Floats, Floats]:
    """Actions of p numbers, (N, S, p), and their weights, (N, S).

    Greedy is what ``predict`` returns, or without one the node of the largest weight.
    """
    if greedy and hasattr(policy, "predict"):
        chosen = np.asarray(policy.predict(states), dtype=np.float64)
        if chosen.size != len(states) * p:
            raise ValueError(
                f"predict returned an array of shape {chosen.shape} for {len(states)} "
                f"states; logged actions of {p} number{'s' * (p > 1)} were expected."
            )
        return chosen.reshape(len(states), 1, p), np.ones((len(states), 1))
    actions, weights = (
        np.asarray(part, dtype=np.float64) for part in policy.action_nodes(states)
    )
    shape = (len(states), weights.shape[-1] if weights.ndim else 0)
    if actions.ndim == 3 and actions.shape[2] != p:
        raise ValueError(
            f"The policy's actions have {actions.shape[2]} columns, and the log's have "
            f"{p}. Evaluate it on a log of the same actions."
        )
    if weights.shape != shape or actions.shape != (*shape, p):
        raise ValueError(
            f"action_nodes returned actions of shape {actions.shape} and weights of "
            f"shape {weights.shape}; ({len(states)}, S, {p}) and ({len(states)}, S) "
            "were expected."
        )
    if not np.isfinite(actions).all():
        raise ValueError("action_nodes returned actions that are NaN or infinite.")
    _check_probabilities(weights, "action_nodes", states)
    if greedy:
        # Ties go to the first, as in `predict` of scikit-learn's classifiers.
        best = weights.argmax(axis=1)[:, None, None]
        return np.take_along_axis(actions, best, axis=1), np.ones((len(states), 1))
    return actions, weights


def _check_probabilities(probabilities: Floats, name: str, states: object) -> None:
    # Float32 softmaxes sum to 1 within some 1e-6, and may round a zero down. What is
    # not finite compares as False.
    right = (probabilities >= -_ROUNDING).all(axis=1)
    wrong = ~(right & (np.abs(probabilities.sum(axis=1) - 1.0) <= 1e-4))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{name} returned {probabilities[row].tolist()} for the state "
            f"{np.asarray(states)[row].tolist()}; probabilities that sum to 1 were "
            "expected."
        )


def _refuse_unseen(data: EvaluationData, classes: NDArray[Any]) -> None:
    # At the logged states as often as they were logged: where the policy would go
    # instead is what no log of too few actions can say.
    seen = np.bincount(data.codes, minlength=len(classes)) > 0
    share = data.weight @ data.probabilities[data.state_index][:, ~seen]
    if share.sum() > _LARGEST_UNKNOWN_SHARE:
        raise ValueError(
            f"The policy gives {100 * share.sum():.0f} % of its probability to actions "
            f"that the log never holds: {classes[~seen][:5].tolist()}. Evaluate it on "
            f"a log that has them, or restrict it to {classes[seen][:5].tolist()}."
        )


def _refuse_far(data: EvaluationData) -> None:
    logged = data.actions
    low, high = logged.min(axis=0), logged.max(axis=0)
    reach = _FAR * (high - low)
    far = np.zeros(data.probabilities.shape, dtype=bool)
    for j in range(len(low)):  # a column at a time: (N, S, p) of flags need not be held
        node = data.nodes[:, :, j]
        far |= (node < low[j] - reach[j]) | (node > high[j] + reach[j])
    share = data.weight @ (data.probabilities * far).sum(axis=1)[data.state_index]
    if share > _LARGEST_UNKNOWN_SHARE:
        raise ValueError(
            f"The policy gives {100 * share:.0f} % of its probability to actions far "
            f"outside those of the log, which lie between {low.tolist()} and "
            f"{high.tolist()}. Evaluate it on a log that goes as far, or set "
            "action_bounds."
        )
