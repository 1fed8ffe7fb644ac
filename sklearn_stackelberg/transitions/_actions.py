"""Whether actions are discrete or continuous, and what they are chosen from."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import rows_text

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
            "set action_type='continuous'; 'discrete' ends this warning."
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
        "action_type='continuous' ends this warning."
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
