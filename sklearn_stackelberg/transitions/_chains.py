"""How the rows of a table follow one another: its transitions, and what is left out."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from ._checks import (
    check_episodes,
    check_flags,
    check_steps,
    has_action,
    rows_text,
)
from ._columns import Column
from ._ends import CUTS, plain_name
from ._linking import (
    count_steps,
    cut_episodes,
    gaps_in_words,
    link,
    refuse_backward_steps,
    refuse_scattered_episodes,
)

LAST = "are the last of an episode that is not terminated: their next state is unknown"

GAP = "have no row at step + 1 although their episode goes on (a gap in the steps)"

LOST = "are censored: their episode was lost there, and their outcome is not known"

IDLE = "have no action, and so are no decision"


class Chain(NamedTuple):
    """How the n rows of a decision table become m transitions."""

    rows: NDArray[np.intp]  # (m,), which are transitions, in the order of the table
    # (m,), which hold their next states; itself where its episode terminated there.
    next_rows: NDArray[np.intp]
    acted: NDArray[np.bool_]  # (n,), whether a row has an action
    ended: NDArray[np.bool_]  # (n,), whether it terminates its episode
    first: NDArray[np.bool_]  # (n,), whether it is the first of its episode
    episode: NDArray[Any]  # (n,), each part of a cut one with a name of its own
    step: NDArray[np.int64]  # (n,)
    label: NDArray[Any]  # (n,), the episode as the table names it
    censored: NDArray[np.bool_]  # (n,), whether a row has an action and no outcome
    left_out: dict[str, int]  # rows with an action that are no transition, by reason
    n_without_action: int  # rows without an action inside an episode
    too_many_gaps: str = ""  # what to say where most rows are lost to gaps


def chain_rows(columns: dict[str, Column]) -> Chain:
    """Link the rows of a decision table, or refuse them if none is a transition."""
    acted = has_action(*columns["action"])
    n = acted.size
    censored = np.zeros(n, dtype=bool)
    if "censored" in columns:
        rows = np.flatnonzero(acted)
        censored[rows] = columns["censored"].read(check_flags, rows)
    if "episode" not in columns:
        return _chain_single_steps(columns, acted, censored)
    episode = columns["episode"].read(check_episodes)
    if "step" in columns:
        step = columns["step"].read(check_steps)
    else:
        refuse_scattered_episodes(episode, columns["episode"].name)
        step = count_steps(episode)
    links, label = link(episode, step), episode
    # Rows without an action only hold a state, and may leave the flags open.
    rows = np.flatnonzero(acted)
    ended, cut = np.zeros((2, n), dtype=bool)
    if "terminated" in columns:
        ended[rows] = columns["terminated"].read(check_flags, rows)
    for name in _cuts_of(columns):
        cut[rows] |= columns[name].read(check_flags, rows)
    refuse_backward_steps(episode, step, links, acted, ended | cut)
    if cut.any():
        # What marks cuts marks all ends, so that an episode begins behind either kind.
        episode = cut_episodes(label, step, ended | cut, acted)
        links = link(episode, step)
    linked = links.next_row >= 0
    known = censored & (linked | ended)
    if known.any():
        raise ValueError(
            f"{columns['censored'].name} is True at {rows_text(known)}, whose outcome "
            "is known: they are terminated, or the row at step + 1 is there. It is "
            "True at decisions behind which an episode was lost."
        )

    # Without a next state a row says nothing of the future, unless there is none.
    lost = acted & ~linked & ~ended
    left_out = {LAST: int((lost & links.last & ~censored).sum())}
    left_out[LOST] = int(censored.sum())
    left_out[GAP] = int(lost.sum()) - left_out[LAST] - left_out[LOST]
    left_out = {why: count for why, count in left_out.items() if count}
    rows = np.flatnonzero(acted & (linked | ended))
    if not rows.size:
        _refuse_unlinked(left_out, int(acted.sum()), "terminated" in columns)
    # More are lost to gaps than are kept: steps that do not count decisions. A part of
    # a table that is only scored on may be such a one; a log to learn from may not.
    too_many_gaps = ""
    if 2 * rows.size < acted.sum() and left_out.get(GAP, 0) > left_out.get(LAST, 0):
        gaps = lost & ~links.last
        used = f"of {acted.sum():,} rows {rows.size:,}"
        too_many_gaps = gaps_in_words(label, step, gaps, used)
    next_rows = np.where(linked, links.next_row, np.arange(n))[rows]
    # A last row without an action is there to hold a state; one inside is a hole.
    idle = int((~acted & ~links.last).sum())
    return Chain(
        rows,
        next_rows,
        acted,
        ended,
        links.first,
        episode,
        step,
        label,
        censored,
        left_out,
        idle,
        too_many_gaps,
    )


def _cuts_of(columns: dict[str, Column]) -> list[str]:
    return [name for name in columns if plain_name(name) in CUTS]


def _chain_single_steps(
    columns: dict[str, Column],
    acted: NDArray[np.bool_],
    censored: NDArray[np.bool_],
) -> Chain:
    """Take each row as an episode of one step that ends there."""
    if "step" in columns:
        raise ValueError(
            f"{columns['step'].name} was given without an episode column: add a column "
            "'episode' (all 0 for a single episode)."
        )
    rows = np.flatnonzero(acted & ~censored)
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
    for name in _cuts_of(columns):
        if (cut := columns[name].read(check_flags, rows)).any():
            raise ValueError(
                f"{columns[name].name} is True at {rows_text(cut, rows)}, but there is "
                "no column 'episode' that says which rows follow one another. Add it; "
                "of rows in the order of time it is "
                "(terminated | truncated).shift(fill_value=False).cumsum()."
            )
    n = acted.size
    every, numbers = np.ones(n, dtype=bool), np.arange(n)
    left_out = {IDLE: int((~acted).sum()), LOST: int(censored.sum())}
    left_out = {why: count for why, count in left_out.items() if count}
    steps = np.zeros(n, dtype=np.int64)
    return Chain(
        rows,
        rows,
        acted,
        acted,
        every,
        numbers,
        steps,
        numbers,
        censored,
        left_out,
        0,
    )


class NoTransitions(ValueError):
    """A table, or a part of one, that says nothing of what follows."""


def _refuse_unlinked(left: dict[str, int], n_acted: int, says_ended: bool) -> NoReturn:
    if not n_acted:
        raise NoTransitions(
            "No transition can be made: no row has an action. Name the column that "
            "says what was done (action=...), and leave it empty only in rows that "
            "hold nothing but the state in which an episode was cut."
        )
    reasons = "; ".join(f"{n:,} {why}" for why, n in left.items())
    advice = "Name the column that says which rows ended their episode (terminated=...)"
    if says_ended:
        advice = "Check that episode and step number the rows of an episode one by one"
    raise NoTransitions(
        f"No transition can be made: of {n_acted:,} rows with an action, "
        f"{reasons or 'none is left'}. {advice}, or add a row without an action after "
        "the last step of each episode, to hold the state in which it was cut."
    )
