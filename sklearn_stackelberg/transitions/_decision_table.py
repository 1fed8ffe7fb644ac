"""The columns of a decision table, a DataFrame's or numpy's, and their log."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ._chains import Chain
from ._checks import (
    check_actions,
    check_durations,
    check_flags,
    check_propensities,
    check_reals,
    check_same_length,
    check_weights,
)
from ._columns import Column
from ._ends import CUTS, DONE, OTHER_ENDS, TERMINATED, plain_name
from ._refusals import EXACT
from ._tables import (
    AVAILABLE,
    States,
    column_names,
    is_frame,
    refuse_foreign,
    take_column,
    take_columns,
)

# scikit-learn's name for weights: a column `weight` is often that of a patient's body.
WEIGHT = "sample_weight"

_ENDED = ("terminated", "truncated")
_OPTIONAL = (
    *("episode", "step", *_ENDED, "propensity", "is_initial", "duration"),
    *(WEIGHT, "censored"),
)
ROLES = ("action", "reward", *_OPTIONAL)

# Names by other libraries: too far from ours for difflib, or too near to another's.
_ALIASES = {
    **dict.fromkeys(TERMINATED, "terminated"),
    "timestep": "step",
    "time_step": "step",
    "propensity_score": "propensity",
    "weight": WEIGHT,
    "weights": WEIGHT,
}


def is_table(y: object) -> TypeGuard[States]:
    """Tell a table with named columns from a vector or an array."""
    return hasattr(y, "columns") or bool(getattr(getattr(y, "dtype", None), "names", 0))


def find_columns(y: States) -> dict[str, Column]:
    """Return the columns of a decision table by role, refusing misspelt names."""
    if hasattr(y, "columns") and not is_frame(y):
        refuse_foreign(y, "y")
    if not is_frame(y) and y.ndim != 1:
        raise ValueError(
            f"y is a structured array of shape {y.shape}, not (n,): use .ravel()."
        )
    known: list[Hashable] = [*(column_names(y) if is_frame(y) else y.dtype.names or ())]
    check_same_length({"y": len(y)})
    numbered = _numbered_actions(known)
    # The index, too, may bear a role's name, and would be lost without a word.
    levels = [*getattr(getattr(y, "index", None), "names", [])]
    _refuse_unknown(known, levels, numbered)
    masks = [str(name) for name in known if str(name).startswith(AVAILABLE)]
    cuts = [str(name) for name in known if plain_name(name) in CUTS]
    # pandas allows it, and y[role] would then be a table.
    for role in dict.fromkeys((*ROLES, *numbered, *masks, *cuts)):
        if known.count(role) > 1:
            raise ValueError(f"y has more than one column {role!r}; drop the others.")
    read = dict.fromkeys(role for role in (*ROLES, *masks, *cuts) if role in known)

    def column(name: str) -> Column:
        return Column(take_column(y, name) if is_frame(y) else y[name], f"y[{name!r}]")

    columns = {role: column(role) for role in read}
    if len(numbered) > 1:
        name = f"y[{numbered[0]!r}, ..., {numbered[-1]!r}]"
        columns["action"] = Column(
            take_columns(y, numbered)
            if is_frame(y)
            else np.stack([y[c] for c in numbered], 1),
            name,
        )
    elif numbered:
        columns["action"] = column(numbered[0])
    return columns


def _numbered_actions(known: list[Hashable]) -> list[str]:
    """The columns action_0, action_1, ... that an action of several numbers has."""
    # Either form, not both: which of them was done would be a guess.
    if "action" in known:
        if "action_0" in known:
            raise ValueError(
                "y has a column 'action' and columns 'action_0', ...: drop those that "
                "are not what was done, or rename them."
            )
        return []
    found = {str(name) for name in known if re.fullmatch(r"action_\d+", str(name))}
    names = [f"action_{j}" for j in range(len(found))]
    if found != {*names}:
        raise ValueError(
            f"y has the columns {sorted(found)}; so many numbers are expected in "
            f"{' and '.join(map(repr, names))}. Rename them."
        )
    return names


def _refuse_unknown(
    known: list[Hashable], levels: list[Hashable], numbered: list[str]
) -> None:
    """Refuse columns that are not there, or that are but for their spelling."""
    shown = ", ".join(map(repr, known[:20])) + ", ..." * (len(known) > 20)
    roles = ", ".join(ROLES[:-1]) + f" and {ROLES[-1]}"
    hidden = [r for r in ROLES if r not in known and r in levels]
    if hidden:
        raise ValueError(
            f"y has {' and '.join(map(repr, hidden))} in its index, where it is not "
            "read; make it a column with y.reset_index()."
        )
    if "available" in known:
        raise ValueError(
            "y has a column 'available'; which actions are available is read from one "
            f"column for each, named {AVAILABLE!r} with the action behind it, such as "
            f"{AVAILABLE + 'low'!r}. Split it, or rename it."
        )
    meant: dict[str, Any] = {}
    for name in known:
        text = plain_name(name)
        # 0.8 still finds a letter too many or too few in the shortest role, step.
        near = difflib.get_close_matches(text, ROLES, n=1, cutoff=0.8)
        role = _ALIASES.get(text) or (near[0] if near else None)
        if text in CUTS:
            role = None
        if text in DONE and "terminated" not in known:
            raise ValueError(
                f"y has a column {name!r}, which does not say whether an episode ended "
                "for good (terminated) or was merely cut (truncated). Give a column "
                f"'terminated' that is True only where it ended, and drop {name!r}."
            )
        other = text in TERMINATED and "terminated" in known
        if text in OTHER_ENDS or other:
            raise ValueError(
                f"y has a column {name!r}, which looks like the end of an episode and "
                "is not read. Ends for good are read from 'terminated', and cuts from "
                f"'truncated': rename it, or drop it: y.drop(columns=[{name!r}])."
            )
        if role and role not in known and name not in numbered:
            meant.setdefault(role, name)
    needed = ("reward",) if numbered else ("action", "reward")
    missing = [role for role in needed if role not in known]
    if missing:
        hints = [f"{meant[r]!r} for {r!r}" for r in missing if r in meant]
        hint = f" (did you mean {' and '.join(hints)}?)" if hints else ""
        alone = " To imitate without rewards, pass the actions alone: y['action']."
        raise ValueError(
            f"A decision table needs the columns 'action' and 'reward'; y has no "
            f"{' and no '.join(map(repr, missing))}{hint}. Its columns are "
            f"{shown or 'none'}.{alone * (missing == ['reward'])}"
        )
    if meant:
        pairs = ", ".join(f"{name!r} for {role!r}" for role, name in meant.items())
        raise ValueError(
            f"y has columns that look like misspelt ones: did you mean {pairs}? Rename "
            f"or drop them. The columns that are read are {roles}."
        )


def read_fields(columns: dict[str, Column], chain: Chain) -> dict[str, Any]:
    """Return the fields of the log, but for its states."""
    rows = chain.rows
    fields: dict[str, Any] = {
        "action": read_actions(columns["action"], rows, chain.acted),
        "reward": columns["reward"].read(check_reals, rows),
        "terminated": chain.ended[rows],
        "is_initial": chain.first[rows],
        "episode": chain.episode[rows],
        "step": chain.step[rows],
        "propensity": None,
    }
    optional = (
        ("is_initial", "is_initial", check_flags),
        ("propensity", "propensity", check_propensities),
        ("duration", "duration", check_durations),
        ("weight", WEIGHT, check_weights),
    )
    for name, role, check in optional:
        if role in columns:
            fields[name] = columns[role].read(check, rows)
    return fields


def read_actions(
    column: Column, rows: NDArray[np.intp], acted: NDArray[np.bool_]
) -> NDArray[Any]:
    """Return the actions of these rows of a table, of which some may have none."""
    action = column.read(check_actions, rows)
    floats = action.ndim == 1 and column.is_float
    holed = floats and not acted.all() and bool((np.abs(action) < EXACT).all())
    if holed and (action % 1 == 0).all():
        # Without the holes that closing rows leave, pandas would hold integers.
        return action.astype(np.int64)
    return action
