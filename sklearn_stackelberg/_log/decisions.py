"""Decision tables: which of their rows are transitions, and what each field is.

A table with the states beside it (`from_frame`) and one without (`y`) are read here
alike. Columns may be pandas' or numpy's: this module does not import pandas.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import checks
from .actions import check_actions, has_action
from .columns import Column
from .linking import count_steps, link
from .order import refuse_backward_steps, refuse_scattered_episodes

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
