"""What an action is: a label or several numbers, and which of the two was meant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._checks import rows_text

# Up to so many values are levels, such as doses that a protocol allows; so are fewer
# than half as many values as rows.
LEVELS = 20

# Logged actions may pass a bound by this share of the range: bounds of 32 bits do.
_ROUNDING = 1e-6


def action_type(action: NDArray[Any], asked: str = "auto") -> tuple[str, str]:
    """Whether actions are labels to choose from, or numbers that may lie in between.

    Actions of several numbers are continuous. Strings, booleans and whole numbers are
    discrete. Other numbers are levels, and so discrete, if there are at most 20
    different ones and at least two rows for each; else they are continuous.

    Parameters
    ----------
    action : array of shape (n,) or (n, p)
        As `Transitions` holds them; one column counts as (n,).
    asked : {"auto", "discrete", "continuous"}, default="auto"
        What the user says.

    Returns
    -------
    type : {"discrete", "continuous"}
    note : str
        What to warn of where it could have been meant otherwise: both readings, and how
        to choose. Empty if there is nothing to say, as where the user chose.

    Raises
    ------
    ValueError
        If labels are asked to be continuous, or several numbers to be discrete.
    """
    if asked not in ("auto", "discrete", "continuous"):
        raise ValueError(
            "action_type must be one of ['auto', 'discrete', 'continuous'], got "
            f"{asked!r}."
        )
    action = action[:, 0] if np.ndim(action) == 2 and action.shape[1] == 1 else action
    if action.ndim == 2:
        return _type_of_vectors(action, asked)
    if action.dtype.kind not in "iuf":
        if asked == "continuous":
            labels = np.unique(action)
            shown = ", ".join(repr(label) for label in labels[:5].tolist())
            raise ValueError(
                f"action_type='continuous' needs numbers, and the logged actions are "
                f"labels: {shown}{', ...' if len(labels) > 5 else ''}. Set "
                "action_type='discrete', or give the numbers that they stand for."
            )
        return "discrete", ""
    if asked != "auto":
        return asked, ""
    distinct = np.unique(action)
    if action.dtype.kind in "iu" or (distinct == np.round(distinct)).all():
        if len(distinct) <= LEVELS:
            return "discrete", ""
        return "discrete", (
            f"The logged actions are {len(distinct):,} different whole numbers from "
            f"{distinct[0]:g} to {distinct[-1]:g}, and are taken as discrete: each is "
            "a choice of its own, which tells nothing of its neighbours. If they are "
            "amounts, such as doses, set action_type='continuous'; "
            "action_type='discrete' takes them as they are taken now, without this "
            "warning."
        )
    few = len(distinct) <= LEVELS and 2 * len(distinct) <= len(action)
    return ("discrete" if few else "continuous"), ""


def _type_of_vectors(action: NDArray[Any], asked: str) -> tuple[str, str]:
    if asked == "discrete":
        raise ValueError(
            f"action_type='discrete' needs one label for each row, and the logged "
            f"actions have {action.shape[1]} numbers each. If each combination is a "
            "choice of its own, number the combinations: "
            "choices, label = np.unique(action, axis=0, return_inverse=True); else set "
            "action_type='continuous'."
        )
    distinct = np.unique(action, axis=0)
    whole = (distinct == np.round(distinct)).all()
    few = len(distinct) <= LEVELS and 2 * len(distinct) <= len(action)
    if asked == "continuous" or not (whole or few):
        return "continuous", ""
    kind = "whole numbers" if whole else "numbers"
    return "continuous", (
        f"The logged actions are {len(distinct):,} different combinations of "
        f"{action.shape[1]} {kind}, and are taken as continuous: what lies between "
        "them counts as possible, and as like them. If each combination is a choice of "
        "its own, number the combinations (choices, label = np.unique(action, axis=0, "
        "return_inverse=True)) and log the labels; action_type='continuous' takes them "
        "as they are taken now, without this warning."
    )


def check_same_amounts(
    known: tuple[str, ...] | None, given: tuple[str, ...] | None
) -> None:
    """Refuse amounts whose columns bear other names, or stand in another order.

    Parameters
    ----------
    known, given : tuple of str or None
        None where a log names none.
    """
    if known and given and tuple(known) != tuple(given):
        raise ValueError(
            f"The logged actions have the columns {list(given)}, and the policy was "
            f"learned on {list(known)}, in this order. Read the log with "
            f"action={list(known)}."
        )


def check_bounds(
    action: NDArray[Any], bounds: Any = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The smallest and largest continuous action, by the log or as given.

    Parameters
    ----------
    action : array of shape (n, p) or (n,)
        Logged actions.
    bounds : pair of floats or of arrays of shape (p,), default=None
        (low, high). None takes each column's smallest and largest logged value.

    Returns
    -------
    low, high : arrays of shape (p,)

    Raises
    ------
    ValueError
        If a column never varies, if bounds are no such pair, not finite, or the wrong
        way round, or if logged actions lie outside (rows named).
    """
    logged = np.asarray(action, dtype=np.float64).reshape(len(action), -1)
    p = logged.shape[1]
    if bounds is None:
        low, high = logged.min(axis=0), logged.max(axis=0)
        still = np.flatnonzero(low == high)
        if len(still):
            which = f"column {still[0]} of the action" if p > 1 else "the logged action"
            raise ValueError(
                f"There is nothing to choose: {which} is {low[still[0]]:g} in all "
                f"{len(logged):,} rows. "
                + ("Leave the column out" if p > 1 else "Log other actions too")
                + ", or give action_bounds=(low, high)."
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
    reach = _ROUNDING * (high - low)
    outside = np.any((logged < low - reach) | (logged > high + reach), axis=1)
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"The logged action lies outside action_bounds, low={low.tolist()} and "
            f"high={high.tolist()}, at {rows_text(outside)} (for example "
            f"{logged[row].tolist()}). Widen the bounds, or leave these rows out."
        )
    return low, high
