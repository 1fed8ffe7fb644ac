"""Whether actions are discrete or continuous, and what they are chosen from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import AnyArray, Flags, Rows, check_flags, check_same_length, rows_text
from ._columns import Column
from ._tables import (
    AVAILABLE,
    AvailableRule,
    Index,
    Log,
    check_states,
    column_names,
    is_frame,
)

# Up to so many values are levels, such as doses that a protocol allows; so are fewer
# than half as many values as rows.
LEVELS = 20

# Logged actions may pass a bound by this share of the range: bounds of 32 bits do.
_ROUNDING = 1e-6


def action_type(action: NDArray[Any], given: str = "auto") -> tuple[str, str]:
    """Whether actions, (n,) or (n, p), are discrete or continuous, and a note on it.

    Numbers that are not whole are discrete levels if there are at most 20 of them and
    two rows for each. The note says how to choose where another type may be meant.
    """
    if given not in ("auto", "discrete", "continuous"):
        raise ValueError(
            "action_type must be one of ['auto', 'discrete', 'continuous'], got "
            f"{given!r}."
        )
    # scikit-learn's tools may turn a vector into a table of one column.
    action = action[:, 0] if np.ndim(action) == 2 and action.shape[1] == 1 else action
    if action.ndim == 2:
        return _type_of_vectors(action, given)
    if action.dtype.kind not in "iuf":
        if given == "continuous":
            names = np.unique(action)
            shown = ", ".join(map(repr, names[:5].tolist())) + ", ..." * (
                len(names) > 5
            )
            raise ValueError(
                "action_type='continuous' needs numbers, and the logged actions are "
                f"{shown}. Set action_type='discrete', or give the numbers they mean."
            )
        return "discrete", ""
    if given != "auto":
        return given, ""
    distinct = np.unique(action)
    if action.dtype.kind in "iu" or (distinct == np.round(distinct)).all():
        if len(distinct) <= LEVELS:
            return "discrete", ""
        return "discrete", (
            f"The logged actions are {len(distinct):,} different whole numbers from "
            f"{distinct[0]:g} to {distinct[-1]:g}, and are taken as discrete: nothing "
            "follows from one for its neighbours. If they are measured, as doses are, "
            "set action_type='continuous'; 'discrete' ends this warning. "
            "[pitfalls: many-labels]"
        )
    return ("discrete" if _few(distinct, action) else "continuous"), ""


def _few(distinct: NDArray[Any], action: NDArray[Any]) -> bool:
    # Measurements repeat by chance; that each of few values was seen twice is none.
    return len(distinct) <= LEVELS and 2 * len(distinct) <= len(action)


def _type_of_vectors(action: NDArray[Any], given: str) -> tuple[str, str]:
    numbered = "choices, number = np.unique(action, axis=0, return_inverse=True)"
    if given == "discrete":
        raise ValueError(
            "action_type='discrete' needs one value for each row, and the logged "
            f"actions have {action.shape[1]} numbers each. Number the combinations: "
            f"{numbered}; or set action_type='continuous'."
        )
    distinct = np.unique(action, axis=0)
    whole = (distinct == np.round(distinct)).all()
    if given == "continuous" or not (whole or _few(distinct, action)):
        return "continuous", ""
    return "continuous", (
        f"The logged actions are {len(distinct):,} different combinations of "
        f"{action.shape[1]} {'whole ' * bool(whole)}numbers, and are taken as "
        "continuous: what lies between them counts as possible. If each is a choice of "
        f"its own, log their numbers, which are discrete ({numbered}); "
        "action_type='continuous' ends this warning. [pitfalls: combinations]"
    )


def check_action_names(
    known: Sequence[Hashable] | None, given: Sequence[Hashable] | None
) -> None:
    """Refuse columns of the action by other names, or in another order, if named."""
    if known and given and tuple(known) != tuple(given):
        raise ValueError(
            f"The logged actions have the columns {list(given)}, the policy learned on "
            f"{list(known)}. Read the log with action={list(known)}."
        )


def check_bounds(
    action: NDArray[Any], bounds: Sequence[ArrayLike] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smallest and largest action of each column, (p,), in the log or as given."""
    logged = np.asarray(action, dtype=np.float64).reshape(len(action), -1)  # (n, p)
    p = logged.shape[1]
    if bounds is None:
        # No further: beyond what was logged nothing is known.
        low, high = logged.min(axis=0), logged.max(axis=0)
        still = np.flatnonzero(low == high)
        if len(still):
            which = f"column {still[0]} of the action" if p > 1 else "the logged action"
            advice = "Leave the column out" if p > 1 else "Log other actions too"
            raise ValueError(
                f"There is nothing to choose: {which} is {low[still[0]]:g} in all "
                f"{len(logged):,} rows. {advice}, or give action_bounds=(low, high)."
            )
        return low, high
    try:
        low, high = (np.asarray(end, dtype=np.float64) for end in bounds)
        low, high = (np.broadcast_to(end, p).copy() for end in (low, high))
    except (TypeError, ValueError):
        raise ValueError(
            "action_bounds must be a pair (low, high) of numbers, or of one number for "
            f"each of the {p} column{'s' * (p > 1)} of the action; got {bounds!r:.80}."
        ) from None
    if not (np.isfinite(low) & np.isfinite(high)).all():
        raise ValueError(
            f"action_bounds must be finite; got low={low.tolist()} and "
            f"high={high.tolist()}. None takes the range of the logged actions."
        )
    if (low >= high).any():
        j = int(np.argmax(low >= high))
        where = f" in column {j}" if p > 1 else ""
        raise ValueError(
            f"action_bounds are the wrong way round{where}: low={low[j]:g} is not "
            f"below high={high[j]:g}. Give (low, high)."
        )
    slack = _ROUNDING * (high - low)
    outside = np.any((logged < low - slack) | (logged > high + slack), axis=1)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"The logged action lies outside action_bounds, low={low.tolist()} and "
            f"high={high.tolist()}, at {rows_text(outside)} (for example "
            f"{logged[row].tolist()}). Widen the bounds, or leave these rows out."
        )
    return low, high


def refuse_masks(given: object, whose: str = "logged") -> None:
    """Refuse masks, where there are any, of continuous actions."""
    if given is not None:
        raise ValueError(
            "available says which of a few discrete actions can be taken, and the "
            f"{whose} actions are continuous: leave available out and give "
            "action_bounds, or set action_type='discrete'."
        )


def read_mask(
    given: ArrayLike, actions: AnyArray, name: str = "available"
) -> tuple[Flags, AnyArray]:
    """Which actions are available, (n, K), and those of the columns, sorted, (K,).

    A plain array's columns are ``actions``; those of a DataFrame are named by theirs.
    """
    table, labels = check_states(given, name), actions
    if is_frame(table):
        labels = _read_labels(column_names(table), actions, name)
    elif table.shape[1] != len(actions):
        raise ValueError(
            f"{name} has {table.shape[1]} columns, and {len(actions)} were expected, "
            f"one for each of the actions {actions[:20].tolist()} in this order. A "
            "DataFrame whose columns are named by the actions may have others."
        )
    mask = [
        check_flags(column, f"{name} of {label!r}")
        for column, label in zip(np.asarray(table).T, labels.tolist(), strict=True)
    ]
    order = np.argsort(labels)
    return np.stack(mask, axis=1)[:, order], labels[order]


def _read_labels(names: Iterable[object], actions: AnyArray, source: str) -> AnyArray:
    """Names of columns as actions of the type of the log's, (K,)."""
    # As text, because that is what a file makes of the names of columns.
    texts, read = [*map(str, names)], _READ_LABEL.get(actions.dtype.kind, str)
    try:
        labels = np.array([read(text) for text in texts])
    except (KeyError, ValueError):
        raise ValueError(
            f"{source} has the columns {texts}, which are not all actions of the type "
            f"of the logged ones, such as {actions.tolist()[0]!r}. Name each column by "
            "its action."
        ) from None
    unique, counts = np.unique(labels, return_counts=True)
    if len(unique) < len(labels):
        raise ValueError(
            f"{source} has more than one column for the actions "
            f"{unique[counts > 1].tolist()}; drop the others."
        )
    return labels


_READ_LABEL: dict[str, Callable[[str], object]] = {
    "b": {"True": True, "False": False}.__getitem__,
    "i": int,
    "u": int,
    "f": float,
}


def read_mask_columns(
    columns: dict[str, Column], fields: dict[str, Any], rows: Index, next_rows: Index
) -> dict[str, Any]:
    """The fields of the masks that a table holds by action, none if it holds none."""
    names = [name for name in columns if name.startswith(AVAILABLE)]
    if not names:
        return {}
    action, ended = fields["action"], fields["terminated"]
    refuse_masks(names if action.ndim == 2 else None)
    texts = [name.removeprefix(AVAILABLE) for name in names]
    labels = _read_labels(texts, action, "The table of available actions")
    order = np.argsort(labels)

    def read(rows: Index) -> Flags:
        flags = [columns[names[j]].read(check_flags, rows) for j in order]
        return np.stack(flags, axis=1)

    # What follows an end is not looked at: its row need not say what is available.
    next_rows = np.where(ended, rows, next_rows)
    now = read(rows)
    after = now if np.array_equal(rows, next_rows) else read(next_rows)
    return _checked(now, after, labels[order], action, rows, next_rows)


def read_masks(
    log: Log, available: ArrayLike | AvailableRule | None, following: ArrayLike | None
) -> dict[str, Any]:
    """The fields of the masks that a user gives for states and next states."""
    refuse_masks(log.action if log.action.ndim == 2 else None)
    rule = None
    if callable(available):
        rule = available
        if following is not None:
            raise ValueError(
                "next_available was given beside a callable, which says what is "
                "available in the next states too: leave one of the two out."
            )
        after = log.next_or_own_state()
        available = rule(log.state)
        following = available if after is log.state else rule(after)
    elif available is None:
        raise ValueError("next_available was given without available; give both.")
    elif following is None and not log.terminated.all():
        raise ValueError(
            "available was given without next_available, and is needed in the next "
            f"states of {rows_text(~log.terminated)}, which are not terminated. Give "
            "next_available too, a row for each; or a callable of states; or a table "
            "in which next states are rows (from_frame)."
        )
    actions = np.unique(log.action)
    now, labels = read_mask(available, actions)
    then, next_labels = now, labels
    if following is not None and following is not available:
        then, next_labels = read_mask(following, actions, "next_available")
    if not np.array_equal(labels, next_labels):
        raise ValueError(
            f"available has columns for the actions {labels.tolist()}, and "
            f"next_available for {next_labels.tolist()}; give both the same."
        )
    lengths = {"available": len(now), "next_available": len(then)}
    if {*lengths.values()} != {len(log)}:
        check_same_length({"action": len(log), **lengths})
    if then is not now and log.terminated.any():
        # As `next_or_own_state`: what follows an end is not looked at.
        then = np.where(log.terminated[:, None], now, then)
    fields = _checked(now, then, labels, log.action)
    return fields | ({} if rule is None else {"available_rule": rule})


def _checked(
    now: Flags,
    after: Flags,
    labels: AnyArray,
    action: AnyArray,
    rows: Rows = None,
    next_rows: Rows = None,
) -> dict[str, Any]:
    """The masks as fields of a log, or a sentence about the rows that refute them."""
    unknown = np.setdiff1d(action, labels)
    if len(unknown):
        raise ValueError(
            f"available has no column for the logged actions {unknown[:5].tolist()}; "
            f"it has some for {labels[:20].tolist()}."
        )
    refuse_empty(now, "available", rows)
    refuse_empty(after, "next_available", next_rows)
    impossible = ~now[np.arange(len(now)), np.searchsorted(labels, action)]
    if impossible.any():
        raise ValueError(
            "The logged action is not available at "
            f"{rows_text(impossible, rows)} (for example "
            f"{action[impossible].tolist()[0]!r}). Correct available, or leave these "
            "rows out."
        )
    return {"available": now, "next_available": after, "available_actions": labels}


def refuse_empty(mask: Flags, name: str, rows: Rows = None, of: str = "") -> None:
    """Refuse rows of a mask, (n, K), in which nothing is available."""
    if not (some := np.any(mask, axis=1)).all():
        raise ValueError(
            f"{name} says that no action{of} can be taken at {rows_text(~some, rows)}. "
            "Correct it, or leave these rows out."
        )


def masks_of(log: Log, classes: AnyArray) -> tuple[Flags, Flags] | None:
    """Masks of states and next states, (n, A), by the actions of a policy.

    ``None`` where the log has none: everything is available.
    """
    labels, classes = log.available_actions, np.asarray(classes)
    if log.available is None or log.next_available is None or labels is None:
        return None
    named = {"available": log.available, "next_available": log.next_available}
    masks = [of_classes(m, labels, classes, name) for name, m in named.items()]
    return masks[0], masks[1]


def given_mask(
    X: object, available: ArrayLike | None, classes: AnyArray
) -> Flags | None:
    """Which actions of a policy can be taken, (n, A): as given, or by a log."""
    if available is not None:
        mask, labels = read_mask(available, classes)
        return of_classes(mask, labels, classes, "available")
    masks = masks_of(cast(Log, X), classes) if hasattr(X, "available_actions") else None
    return None if masks is None else masks[0]


def of_classes(mask: Flags, labels: AnyArray, classes: AnyArray, name: str) -> Flags:
    """The columns of a policy's actions, (n, A); none may lack, nor be all False."""
    unknown = np.setdiff1d(classes, labels)
    if len(unknown):
        raise ValueError(
            f"{name} has no column for {unknown[:5].tolist()}, which the policy may "
            f"take; it has some for {labels[:20].tolist()}. Name the columns of all "
            "actions in a DataFrame."
        )
    mask = mask[:, np.searchsorted(labels, classes)]
    refuse_empty(mask, name, of=f" of {classes[:20].tolist()}")
    return mask


def masks_at(
    log: Log, classes: AnyArray, state_index: Index, next_index: Index, n: int
) -> Flags | None:
    """Masks in a table of n states, of which each row's are at the indices, (n, A)."""
    masks = masks_of(log, classes)
    if masks is None:
        return None
    out = np.empty((n, len(classes)), dtype=bool)
    # A terminated row's next state is its own, whose mask is that of the state.
    out[next_index], out[state_index] = masks[::-1]
    return out
