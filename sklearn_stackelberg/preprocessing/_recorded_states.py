"""The states that a log records, each once, as the rows of a table would hold them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..transitions._linking import count_steps, encode, link
from ..transitions._tables import (
    States,
    check_states,
    comparable,
    is_pandas,
    rows_equal,
    shared_next_rows,
    stack,
    take_rows,
    with_index_of,
)
from ..transitions._transitions import Transitions


class RecordedStates(NamedTuple):
    """Every recorded state once, in the order of the log, and where each row finds its.

    What follows a terminated row is not recorded.
    """

    states: States  # (n_recorded, d)
    state_rows: NDArray[np.intp]  # (n,), the one of `states` that is a row's state
    next_rows: NDArray[np.intp]  # (n,), its next state, or where terminated its state
    log_rows: NDArray[np.intp]  # (n_recorded,), the row of the log that it comes from


def recorded_states(log: Transitions) -> RecordedStates:
    """List the states that a log records.

    A next state is the state of the row at step + 1 of the same episode, if the two are
    equal in value; without steps, of the episode's next row; without episodes, of the
    next row.
    """
    rows = np.arange(len(log))
    if log.next_state is log.state:
        return RecordedStates(log.state, rows, rows, rows)
    next_row = np.where(log.terminated, rows, _next_rows(log))
    extra = np.flatnonzero(next_row < 0)
    if not extra.size:
        return RecordedStates(log.state, rows, next_row, rows)

    # Each unrecorded next state right behind its row, so that a table is as it was.
    order = np.argsort(np.append(rows, extra), kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(order.size)
    state_rows = place[: len(log)]
    next_rows = state_rows[next_row]
    next_rows[extra] = place[len(log) :]
    states = take_rows(stack([log.state, take_rows(log.next_state, extra)]), order)
    return RecordedStates(states, state_rows, next_rows, np.append(rows, extra)[order])


def put_back(
    transformed: object, recorded: RecordedStates, log: Transitions
) -> Transitions:
    """Return the log with transformed states in place of those that it recorded."""
    states = check_states(transformed, "What the transformer returned")
    # Each is there once: what was equal remains so to the last bit.
    whole = len(states) == len(log)
    state = states if whole else take_rows(states, recorded.state_rows)
    if is_pandas(state):
        # Rows that were put into another order are under the log's own index again.
        state = state.set_axis(
            log.state.index if is_pandas(log.state) else range(len(log))
        )
    if np.array_equal(recorded.state_rows, recorded.next_rows):
        return log.with_states(state, state)
    next_state = with_index_of(take_rows(states, recorded.next_rows), state)
    return log.with_states(state, next_state)


def _next_rows(log: Transitions) -> NDArray[np.intp]:
    """Return the row whose state is each row's next state, -1 where there is none."""
    now, then = comparable(log.state), comparable(log.next_state)
    if log.episode is None:
        return shared_next_rows(now, then)
    step = count_steps(log.episode) if log.step is None else log.step
    next_row = _rows_at_next_step(log.episode, step)
    linked = np.flatnonzero(next_row >= 0)
    # Nothing keeps a user, or a fold of a log without steps, from rows that do not fit.
    broken = linked[~rows_equal(then[linked], now[next_row[linked]])]
    next_row[broken] = -1
    return next_row


def _rows_at_next_step(
    episode: NDArray[Any], step: NDArray[np.intp]
) -> NDArray[np.intp]:
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
