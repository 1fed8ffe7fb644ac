"""The columns of a decision table, pandas' or numpy's, and the log that they make."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable
from typing import Any, NamedTuple, NoReturn, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ._checks import (
    Column,
    check_actions,
    check_episodes,
    check_flags,
    check_propensities,
    check_reals,
    check_same_length,
    check_steps,
    has_action,
    rows_text,
)
from ._linking import (
    count_steps,
    link,
    refuse_backward_steps,
    refuse_scattered_episodes,
)
from ._tables import AVAILABLE, States, is_frame, take_rows

_OPTIONAL = ("episode", "step", "terminated", "propensity", "is_initial")
ROLES = ("action", "reward", *_OPTIONAL)

# Names by other libraries: too far from ours for difflib, or too near to another's.
_ALIASES = {
    "terminal": "terminated",
    "terminals": "terminated",
    "termination": "terminated",
    "timestep": "step",
    "time_step": "step",
    "propensity_score": "propensity",
}

# Gym's old name for either kind of end, of which only one has no value after it.
_DONE = {"done", "dones"}


def is_table(y: object) -> TypeGuard[States]:
    """Tell a table with named columns from a vector or an array."""
    return hasattr(y, "columns") or bool(getattr(getattr(y, "dtype", None), "names", 0))


def find_columns(y: States) -> dict[str, Column]:
    """Return the columns of a decision table by role, refusing misspelt names."""
    if hasattr(y, "columns") and not is_frame(y):
        raise ValueError(
            f"y is a {type(y).__module__}.{type(y).__name__}; a pandas DataFrame or a "
            "numpy structured array was expected: call .to_pandas() first."
        )
    if not is_frame(y) and y.ndim != 1:
        raise ValueError(
            f"y is a structured array of shape {y.shape}, not (n,): use .ravel()."
        )
    known = [*(y.columns if is_frame(y) else y.dtype.names or ())]
    check_same_length({"y": len(y)})
    numbered = _numbered_actions(known)
    # The index, too, may bear a role's name, and would be lost without a word.
    levels = [*getattr(getattr(y, "index", None), "names", [])]
    _refuse_unknown(known, levels, numbered)
    masks = [str(name) for name in known if str(name).startswith(AVAILABLE)]
    # pandas allows it, and y[role] would then be a table.
    for role in (*ROLES, *numbered, *masks):
        if known.count(role) > 1:
            raise ValueError(f"y has more than one column {role!r}; drop the others.")
    read = [role for role in (*ROLES, *masks) if role in known]
    columns = {role: Column(y[role], f"y[{role!r}]") for role in read}
    if len(numbered) > 1:
        name = f"y[{numbered[0]!r}, ..., {numbered[-1]!r}]"
        wide = y[numbered] if is_frame(y) else np.stack([y[c] for c in numbered], 1)
        columns["action"] = Column(wide, name)
    elif numbered:
        columns["action"] = Column(y[numbered[0]], f"y[{numbered[0]!r}]")
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
        text = str(name).lower().strip()
        # 0.8 still finds a letter too many or too few in the shortest role, step.
        near = difflib.get_close_matches(text, ROLES, n=1, cutoff=0.8)
        role = _ALIASES.get(text) or (near[0] if near else None)
        if text in _DONE and "terminated" not in known:
            raise ValueError(
                f"y has a column {name!r}, which does not say whether an episode ended "
                "for good (terminated) or was merely cut (truncated). Give a column "
                f"'terminated' that is True only where it ended, and drop {name!r}."
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


LAST = "are the last of an episode that is not terminated: their next state is unknown"

GAP = "have no row at step + 1 although their episode goes on (a gap in the steps)"

IDLE = "have no action, and so are no decision"


class Chain(NamedTuple):
    """How the n rows of a decision table become m transitions."""

    rows: NDArray[np.intp]  # (m,), which are transitions, in the order of the table
    # (m,), which hold their next states; itself where its episode terminated there.
    next_rows: NDArray[np.intp]
    acted: NDArray[np.bool_]  # (n,), whether a row has an action
    ended: NDArray[np.bool_]  # (n,), whether it terminates its episode
    first: NDArray[np.bool_]  # (n,), whether it is the first of its episode
    episode: NDArray[Any]  # (n,)
    step: NDArray[np.int64]  # (n,)
    left_out: dict[str, int]  # rows with an action that are no transition, by reason
    n_without_action: int  # rows without an action inside an episode


def chain_rows(columns: dict[str, Column]) -> Chain:
    """Link the rows of a decision table, or refuse them if none is a transition."""
    acted = has_action(*columns["action"])
    n = acted.size
    if "episode" not in columns:
        return _chain_single_steps(columns, acted)
    episode = columns["episode"].read(check_episodes)
    if "step" in columns:
        step = columns["step"].read(check_steps)
    else:
        refuse_scattered_episodes(episode, columns["episode"].name)
        step = count_steps(episode)
    links = link(episode, step)
    linked = links.next_row >= 0
    ended = np.zeros(n, dtype=bool)
    if "terminated" in columns:
        # Rows without an action only hold a state, and may leave the flag open.
        rows = np.flatnonzero(acted)
        ended[rows] = columns["terminated"].read(check_flags, rows)
    refuse_backward_steps(episode, step, links, acted, ended)

    # Without a next state a row says nothing of the future, unless there is none.
    lost = acted & ~linked & ~ended
    left_out = {LAST: int((lost & links.last).sum())}
    left_out[GAP] = int(lost.sum()) - left_out[LAST]
    left_out = {why: count for why, count in left_out.items() if count}
    rows = np.flatnonzero(acted & (linked | ended))
    if not rows.size:
        _refuse_unlinked(left_out, int(acted.sum()), "terminated" in columns)
    next_rows = np.where(linked, links.next_row, np.arange(n))[rows]
    # A last row without an action is there to hold a state; one inside is a hole.
    idle = int((~acted & ~links.last).sum())
    first = links.first
    return Chain(rows, next_rows, acted, ended, first, episode, step, left_out, idle)


def _chain_single_steps(columns: dict[str, Column], acted: NDArray[np.bool_]) -> Chain:
    """Take each row as an episode of one step that ends there."""
    if "step" in columns:
        raise ValueError(
            f"{columns['step'].name} was given without an episode column: add a column "
            "'episode' (all 0 for a single episode)."
        )
    rows = np.flatnonzero(acted)
    if not rows.size:
        _refuse_unlinked({}, 0, True)
    # Without episodes a row that goes on has nowhere to go on to.
    if "terminated" in columns:
        not_done = ~columns["terminated"].read(check_flags, rows)
        if not_done.any():
            raise ValueError(
                f"{columns['terminated'].name} is False at "
                f"{rows_text(not_done, rows)}, but there is no column 'episode', so "
                "nothing can follow a row. Add it, or drop 'terminated'."
            )
    n = acted.size
    every, numbers = np.ones(n, dtype=bool), np.arange(n)
    left_out = {IDLE: n - rows.size} if rows.size < n else {}
    steps = np.zeros(n, dtype=np.int64)
    return Chain(rows, rows, acted, acted, every, numbers, steps, left_out, 0)


def read_fields(
    columns: dict[str, Column], chain: Chain, states: States
) -> dict[str, Any]:
    """Return the fields of the log; `states` has a row for each of the table's."""
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
    if "is_initial" in columns:
        fields["is_initial"] = columns["is_initial"].read(check_flags, rows)
    if "propensity" in columns:
        fields["propensity"] = columns["propensity"].read(check_propensities, rows)
    if chain.next_rows is rows and rows.size == len(states):
        # Episodes of one step: no copy of the table, and it is transformed once.
        return fields | {"state": states, "next_state": states}
    now, after = take_rows(states, rows), take_rows(states, chain.next_rows)
    if is_frame(now) and is_frame(after):
        after = after.set_axis(now.index)
    return fields | {"state": now, "next_state": after}


def read_actions(
    column: Column, rows: NDArray[np.intp], acted: NDArray[np.bool_]
) -> NDArray[Any]:
    """Return the actions of these rows of a table, of which some may have none."""
    action = column.read(check_actions, rows)
    floats = getattr(column.values, "dtype", None) == np.float64 and action.ndim == 1
    if floats and not acted.all() and (action % 1 == 0).all():
        # Without the holes that closing rows leave, pandas would hold integers.
        return action.astype(np.int64)
    return action


def _refuse_unlinked(left: dict[str, int], n_acted: int, says_ended: bool) -> NoReturn:
    reasons = "; ".join(f"{n:,} {why}" for why, n in left.items())
    advice = "Name the column that says which rows ended their episode (terminated=...)"
    if says_ended:
        advice = "Check that episode and step number the rows of an episode one by one"
    raise ValueError(
        f"No transition can be made: of {n_acted:,} rows with an action, "
        f"{reasons or 'none is left'}. {advice}, or add a row without an action after "
        "the last step of each episode, to hold the state in which it was cut."
    )
