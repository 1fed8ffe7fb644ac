"""The states that a log records, each once, as the rows of a table would hold them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..transitions._checks import check_states, is_frame
from ..transitions._frame import stack
from ..transitions._linking import (
    comparable,
    count_steps,
    encode,
    link,
    next_rows_by_value,
    rows_equal,
)


class RecordedStates(NamedTuple):
    """Every recorded state once, in the order of the log, and where each row finds its.

    Attributes
    ----------
    states : ndarray or DataFrame of shape (n_recorded, d)
        The log's states, and right behind its row each next state that is no row's
        state. What follows a terminated row is not recorded.
    state_rows, next_rows : ndarrays of shape (n,)
        The row of `states` that holds each row's state, and its next state; what
        follows a terminated row is taken to be its state.
    log_rows : ndarray of shape (n_recorded,)
        The row of the log that each of `states` comes from.
    """

    states: Any
    state_rows: np.ndarray
    next_rows: np.ndarray
    log_rows: np.ndarray


def recorded_states(log: Any) -> RecordedStates:
    """List the states that a log records.

    A next state is the state of the row at step + 1 of the same episode, if the two are
    equal in value; where the log has no steps, of the episode's next row; where it has
    no episodes, of the next row. A table read by `from_frame` is so restored, but for
    rows that neither are part of a transition nor follow one.
    """
    rows = np.arange(len(log))
    if log.next_state is log.state:
        return RecordedStates(log.state, rows, rows, rows)
    next_row = np.where(log.terminated, rows, _next_rows(log))
    extra = np.flatnonzero(next_row < 0)
    if not extra.size:
        return RecordedStates(log.state, rows, next_row, rows)

    order = np.argsort(np.append(rows, extra), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    state_rows = place[: len(log)]
    next_rows = state_rows[next_row]
    next_rows[extra] = place[len(log) :]
    states = take_rows(stack([log.state, take_rows(log.next_state, extra)]), order)
    return RecordedStates(states, state_rows, next_rows, np.append(rows, extra)[order])


def put_back(states: Any, recorded: RecordedStates, log: Any) -> Any:
    """Return the log with `states` in place of those that it recorded."""
    states = check_states(states, "What the transformer returned")
    # Each is there once: what was equal remains so to the last bit.
    whole = len(states) == len(log)
    state = states if whole else take_rows(states, recorded.state_rows)
    same = np.array_equal(recorded.state_rows, recorded.next_rows)
    next_state = state if same else take_rows(states, recorded.next_rows)
    if is_frame(states):
        index = log.state.index if is_frame(log.state) else range(len(log))
        state = state.set_axis(index)
        next_state = state if same else next_state.set_axis(index)
    return log.with_states(state, next_state)


def take_rows(table: Any, rows: np.ndarray) -> Any:
    """Return the chosen rows of an array or DataFrame."""
    return table.take(rows) if is_frame(table) else table[rows]


def _next_rows(log: Any) -> np.ndarray:
    """Return the row whose state is each row's next state, -1 where there is none."""
    now, then = comparable(log.state), comparable(log.next_state)
    if log.episode is None:
        return next_rows_by_value(now, then)
    step = count_steps(log.episode) if log.step is None else log.step
    next_row = _rows_at_next_step(log.episode, step)
    linked = np.flatnonzero(next_row >= 0)
    # Nothing keeps a user, or a fold of a log without steps, from rows that do not fit.
    broken = linked[~rows_equal(then[linked], now[next_row[linked]])]
    next_row[broken] = -1
    return next_row


def _rows_at_next_step(episode: np.ndarray, step: np.ndarray) -> np.ndarray:
    try:
        return link(episode, step).next_row
    except ValueError:
        # A bootstrap draws rows more than once: the first of them stands for the rest.
        pairs = np.stack([encode(episode), step], axis=1)
        _, first, group = np.unique(
            pairs, axis=0, return_index=True, return_inverse=True
        )
        following = link(episode[first], step[first]).next_row
        return np.where(following >= 0, first[following], -1)[group.reshape(-1)]
