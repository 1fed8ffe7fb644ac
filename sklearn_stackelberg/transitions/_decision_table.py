"""The columns of a decision table: which there are, and which were meant.

Columns may be pandas' or numpy's: this module does not import pandas.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, NamedTuple

import numpy as np

from . import _checks as checks
from ._actions import check_actions, has_action
from ._linking import (
    count_steps,
    link,
    refuse_backward_steps,
    refuse_scattered_episodes,
)

ROLES = (
    "action",
    "reward",
    "episode",
    "step",
    "terminated",
    "propensity",
    "is_initial",
)

# Too far from the name for difflib, or too near to another's.
_ALIASES = {
    "terminal": "terminated",
    "terminals": "terminated",
    "termination": "terminated",
    "timestep": "step",
    "time_step": "step",
    "propensity_score": "propensity",
}

_DONE = {"done", "dones"}


class Column(NamedTuple):
    """One column of a table, and what messages call it."""

    values: Any
    name: str

    def at(self, rows: np.ndarray | None = None) -> dict[str, Any]:
        """Return the arguments with which a check sees these rows, or all."""
        values = self.values
        if rows is not None:
            values = values.iloc[rows] if hasattr(values, "iloc") else values[rows]
        return {"values": values, "name": self.name, "rows": rows}


def is_table(y: Any) -> bool:
    """Tell a table with named columns from a vector or an array."""
    return hasattr(y, "columns") or bool(getattr(getattr(y, "dtype", None), "names", 0))


def find_columns(y: Any) -> dict[str, Column]:
    """Return the columns of a decision table by role, refusing misspelt names."""
    if hasattr(y, "columns") and not checks.is_frame(y):
        raise ValueError(
            f"y is a {type(y).__module__}.{type(y).__name__}; a pandas DataFrame or a "
            "numpy structured array was expected: call .to_pandas() first."
        )
    if not checks.is_frame(y) and y.ndim != 1:
        raise ValueError(
            f"y is a structured array of shape {y.shape}; one record per row, shape "
            "(n,), was expected: use .ravel()."
        )
    known = [*(y.columns if checks.is_frame(y) else y.dtype.names)]
    checks.check_same_length({"y": len(y)})
    numbered = _numbered_actions(known)
    levels = [*getattr(getattr(y, "index", None), "names", [])]
    _refuse_unknown(known, levels, numbered)
    for role in (*ROLES, *numbered):
        if known.count(role) > 1:
            raise ValueError(
                f"y has more than one column {role!r}; it must occur once. Rename or "
                "drop the others."
            )
    columns = {r: Column(y[r], f"y[{r!r}]") for r in ROLES if r in known}
    if len(numbered) > 1:
        name = f"y[{numbered[0]!r}, ..., {numbered[-1]!r}]"
        frame = checks.is_frame(y)
        values = y[numbered] if frame else np.stack([y[c] for c in numbered], axis=1)
        columns["action"] = Column(values, name)
    elif numbered:
        columns["action"] = Column(y[numbered[0]], f"y[{numbered[0]!r}]")
    return columns


def _numbered_actions(known: list) -> list[str]:
    """The columns action_0, action_1, ... that an action of several numbers has."""
    if "action" in known:
        if "action_0" in known:
            raise ValueError(
                "y has a column 'action' and columns 'action_0', ...: either may be "
                "what was done. Drop the ones that are not, or rename them."
            )
        return []
    found = {name for name in known if re.fullmatch(r"action_\d+", str(name))}
    names = [f"action_{j}" for j in range(len(found))]
    if found != {*names}:
        raise ValueError(
            f"y has the columns {sorted(found)}; an action of {len(found)} "
            f"number{'s' * (len(found) > 1)} is expected in "
            f"{' and '.join(map(repr, names))}. Rename them, or give one column "
            "'action'."
        )
    return names


def _refuse_unknown(known: list, levels: list, numbered: list) -> None:
    """Refuse columns that are not there, or that are but for their spelling."""
    shown = ", ".join(repr(name) for name in known[:20])
    shown += ", ..." if len(known) > 20 else ""
    roles = ", ".join(ROLES[:-1]) + f" and {ROLES[-1]}"
    hidden = [r for r in ROLES if r not in known and r in levels]
    if hidden:
        raise ValueError(
            f"y has {' and '.join(map(repr, hidden))} in its index, where it is not "
            "read; make it a column with y.reset_index()."
        )
    meant: dict[str, Any] = {}
    for name in known:
        text = str(name).lower().strip()
        near = difflib.get_close_matches(text, ROLES, n=1, cutoff=0.8)
        role = _ALIASES.get(text) or (near[0] if near else None)
        if text in _DONE and "terminated" not in known:
            raise ValueError(
                f"y has a column {name!r}, which does not say whether an episode ended "
                "for good (terminated, so that no value follows) or was merely cut "
                "(truncated). Give a column 'terminated' that is True only where it "
                f"ended for good, and drop {name!r}."
            )
        if role and role not in known and name not in numbered:
            meant.setdefault(role, name)
    needed = ("reward",) if numbered else ("action", "reward")
    missing = [role for role in needed if role not in known]
    if missing:
        hints = [f"{meant[r]!r} for {r!r}" for r in missing if r in meant]
        hint = f" (did you mean {' and '.join(hints)}?)" if hints else ""
        alone = (
            " To imitate the actions without rewards, pass them alone: y['action']."
            if missing == ["reward"]
            else ""
        )
        raise ValueError(
            f"A decision table needs the columns 'action' and 'reward'; y has no "
            f"{' and no '.join(map(repr, missing))}{hint}. Its columns are "
            f"{shown or 'none'}.{alone}"
        )
    if meant:
        pairs = ", ".join(f"{name!r} for {role!r}" for role, name in meant.items())
        raise ValueError(
            f"y has columns that look like misspelt ones: did you mean {pairs}? The "
            f"columns that are read are {roles}. Rename the column, or drop it if it "
            "is another thing."
        )


LAST = "are the last of an episode that is not terminated: their next state is unknown"

GAP = "have no row at step + 1 although their episode goes on (a gap in the steps)"

IDLE = "have no action, and so are no decision"


class Chain(NamedTuple):
    """How the rows of a decision table become transitions.

    Attributes
    ----------
    rows : ndarray of shape (m,)
        The rows that are transitions, in the order of the table.
    next_rows : ndarray of shape (m,)
        The rows that hold their next states; the row itself where none is recorded,
        because the episode terminated.
    acted, ended, first : ndarrays of bool of shape (n,)
        Whether a row has an action, terminates its episode, is the first of it.
    episode, step : ndarrays of shape (n,)
    left_out : dict of str to int
        Rows with an action that are no transition, by reason.
    n_without_action : int
        Rows without an action inside an episode.
    """

    rows: np.ndarray
    next_rows: np.ndarray
    acted: np.ndarray
    ended: np.ndarray
    first: np.ndarray
    episode: np.ndarray
    step: np.ndarray
    left_out: dict[str, int]
    n_without_action: int


def chain_rows(columns: dict[str, Column], n: int) -> Chain:
    """Link the n rows of a decision table.

    Raises
    ------
    ValueError
        If an episode, step or flag is not as it should be, if the rows cannot be put
        in order, or if no row is a transition.
    """
    acted = has_action(*columns["action"])
    if "episode" not in columns:
        return _chain_single_steps(columns, acted)
    episode = checks.check_episodes(**columns["episode"].at())
    if "step" in columns:
        step = checks.check_steps(**columns["step"].at())
    else:
        refuse_scattered_episodes(episode, columns["episode"].name)
        step = count_steps(episode)
    links = link(episode, step)
    linked = links.next_row >= 0
    ended = np.zeros(n, dtype=bool)
    if "terminated" in columns:
        rows = np.flatnonzero(acted)
        ended[rows] = checks.check_flags(**columns["terminated"].at(rows))
    refuse_backward_steps(episode, step, links, acted, ended)

    lost = acted & ~linked & ~ended
    left_out = {LAST: int((lost & links.last).sum())}
    left_out[GAP] = int(lost.sum()) - left_out[LAST]
    left_out = {why: count for why, count in left_out.items() if count}
    rows = np.flatnonzero(acted & (linked | ended))
    if not rows.size:
        _refuse_unlinked(left_out, int(acted.sum()), "terminated" in columns)
    next_rows = np.where(linked, links.next_row, np.arange(n))[rows]
    idle = int((~acted & ~links.last).sum())
    return Chain(
        rows, next_rows, acted, ended, links.first, episode, step, left_out, idle
    )


def _chain_single_steps(columns: dict[str, Column], acted: np.ndarray) -> Chain:
    """Take each row as an episode of one step that ends there."""
    if "step" in columns:
        raise ValueError(
            f"{columns['step'].name} was given without an episode column; a step is a "
            "position within an episode: add a column 'episode' (all 0 for a single "
            "episode)."
        )
    rows = np.flatnonzero(acted)
    if not rows.size:
        _refuse_unlinked({}, 0, True)
    if "terminated" in columns:
        going_on = ~checks.check_flags(**columns["terminated"].at(rows))
        if going_on.any():
            raise ValueError(
                f"{columns['terminated'].name} is False at "
                f"{checks.rows_text(going_on, rows)}, but there is no column "
                "'episode', so nothing can follow a row. Add 'episode', or drop "
                "'terminated' if each row is an episode of one step."
            )
    n = acted.size
    every, numbers = np.ones(n, dtype=bool), np.arange(n)
    left_out = {IDLE: n - rows.size} if rows.size < n else {}
    steps = np.zeros(n, dtype=np.int64)
    return Chain(rows, rows, acted, acted, every, numbers, steps, left_out, 0)


def read_fields(columns: dict[str, Column], chain: Chain) -> dict[str, Any]:
    """Return the fields of the log, the states excepted."""
    rows = chain.rows
    actions = columns["action"].at(rows)
    whole = actions["values"]
    one_float = np.ndim(whole) == 1 and whole.dtype == np.float64
    if not chain.acted.all() and one_float and (whole % 1 == 0).all():
        # Without the holes that closing rows leave, pandas would hold integers.
        actions["values"] = whole.astype(np.int64)
    fields = {
        "action": check_actions(**actions),
        "reward": checks.check_reals(**columns["reward"].at(rows)),
        "terminated": chain.ended[rows],
        "is_initial": chain.first[rows],
        "episode": chain.episode[rows],
        "step": chain.step[rows],
        "propensity": None,
    }
    if "is_initial" in columns:
        fields["is_initial"] = checks.check_flags(**columns["is_initial"].at(rows))
    if "propensity" in columns:
        given = columns["propensity"].at(rows)
        fields["propensity"] = checks.check_propensities(**given)
    return fields


def take_states(states: Any, chain: Chain) -> dict[str, Any]:
    """Return the states and next states of the transitions, from a table of all."""
    everything = chain.rows.size == len(states)
    if everything and chain.next_rows is chain.rows:
        return {"state": states, "next_state": states}
    if not checks.is_frame(states):
        return {"state": states[chain.rows], "next_state": states[chain.next_rows]}
    now = states.take(chain.rows)
    following = states.take(chain.next_rows).set_axis(now.index)
    return {"state": now, "next_state": following}


def _refuse_unlinked(left: dict[str, int], n_acted: int, says_ended: bool) -> None:
    reasons = "; ".join(f"{n:,} {why}" for why, n in left.items())
    advice = (
        "Check that episode and step number the rows of an episode one by one, or"
        if says_ended
        else "Name the column that says which rows ended their episode for good "
        "(terminated=..., or 'terminated' in y), or"
    )
    raise ValueError(
        f"No transition can be made: of {n_acted:,} rows with an action, "
        f"{reasons or 'none is left'}. {advice} add a row without an action after the "
        "last step of each episode, to hold the state in which it was cut."
    )
