"""Tables of logged decisions: reading one into the fields of a log, and writing one.

pandas is imported only where the user wants a DataFrame of it back.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import check_same_length, missing, rows_text
from ._columns import Column
from ._decision_table import WEIGHT
from ._ends import looks_like_an_end
from ._linking import count_steps, link
from ._sources import Source, Table, check_known, open_table
from ._tables import (
    AVAILABLE,
    Index,
    Log,
    Names,
    PandasFrame,
    ReadStates,
    States,
    as_narwhals,
    beside,
    check_states,
    column_names,
    comparable,
    is_frame,
    is_pandas,
    listed,
    rows_equal,
    stack,
    take_column,
    take_columns,
    take_states,
)

# pandas' nullable types: a plain column of integers cannot hold the missing actions.
_NULLABLE = {"i": "Int64", "u": "UInt64", "f": "Float64", "b": "boolean"}


def frame_columns(
    df: Table, states: Names, actions: Names, roles: Mapping[str, Hashable]
) -> tuple[ReadStates, dict[str, Column], tuple[Hashable, ...] | None]:
    """Return how to read states, the other columns by role, and a wide action's names.

    Of a file states are read last and column by column: what is held beside the log is
    a column of them, and not all, nor what was needed to link its rows.
    """
    states, actions = listed(states), listed(actions)
    named = {role: name for role, name in roles.items() if name is not None}
    source = open_table(df)
    _check_columns(source.names, states, actions, named)
    needed = [*actions, *named.values()]
    _refuse_unused_ends(source, [*states, *needed])
    table = source.read(needed if source.is_file else [*needed, *states])
    check_same_length({"df": len(table)})
    columns = {
        role: Column(take_column(table, name), f"{role} (column {name!r})")
        for role, name in {"action": actions[0], **named}.items()
    }
    if len(actions) > 1:
        wide = take_columns(table, actions)
        columns["action"] = Column(wide, f"action (columns {actions})")
    names = None if len(actions) == 1 else tuple(actions)
    read: ReadStates = partial(_read_by_column, source, states)
    if not source.is_file:
        read = partial(take_states, check_states(take_columns(table, states)))
    return read, columns, names


def _read_by_column(
    source: Source, names: list[Hashable], rows: Index, next_rows: Index
) -> tuple[States, States]:
    pairs = [take_states(source.read([name]), rows, next_rows) for name in names]
    now = beside([pair[0] for pair in pairs])
    if next_rows is rows:
        return now, now
    return now, beside([pair[1] for pair in pairs])


def mask_roles(available: Mapping[Any, Any] | Names) -> dict[str, Any]:
    """Columns of masks, given by action or named by the actions, by role."""
    if not isinstance(available, Mapping):
        available = {name: name for name in listed(available)}
    return {f"{AVAILABLE}{action}": name for action, name in available.items()}


def write_frame(log: Log) -> PandasFrame:
    """Write a log as a pandas DataFrame, with rows for the states where it is cut."""
    import pandas as pd

    n = len(log)
    now, then = comparable(log.state), comparable(log.next_state)
    if log.available is not None and log.next_available is not None:
        # What is available is a part of what a row says of its state.
        now = np.hstack([now, log.available])
        then = np.hstack([then, log.next_available])
    episode = np.arange(n) if log.episode is None else log.episode
    step = np.zeros(n, dtype=np.int64) if log.episode is None else log.step
    if step is None:
        # Two steps apart leaves room for a closing row between rows not chained.
        not_done = ~log.terminated
        step = count_steps(
            episode, lambda i, j: 2 - (rows_equal(then[i], now[j]) & not_done[i])
        )
    next_row = link(episode, step).next_row
    linked = next_row >= 0
    broken = linked & ~log.terminated & ~rows_equal(then, now[next_row])
    if broken.any():
        raise ValueError(
            "A table cannot hold this log: the next state (or what is available there) "
            f"is not the state of the same episode's row at step + 1 at "
            f"{rows_text(broken)}. Rows that do not follow each other need different "
            "episodes or steps."
        )
    # A terminated row whose next state is its own has none that need be kept.
    unused = log.terminated & rows_equal(then, now)
    closing = np.flatnonzero(~linked & ~unused)
    total = n + closing.size

    def column(values: NDArray[Any], last: ArrayLike) -> NDArray[Any]:
        return np.concatenate([values, np.broadcast_to(last, closing.size)])

    dtype = _NULLABLE.get(log.action.dtype.kind, object)
    actions = {
        name: pd.Series(values.astype(object), dtype=dtype).reindex(range(total))
        for name, values in log.action_columns().items()
    }
    fields: dict[Hashable, NDArray[Any]] = {
        "reward": column(log.reward, np.nan),
        "episode": column(episode, episode[closing]),
        "step": column(step, step[closing] + 1),
        "terminated": column(log.terminated, False),
        "is_initial": column(log.is_initial, False),
    }
    if log.propensity is not None:
        fields["propensity"] = column(log.propensity, np.nan)
    if log.duration is not None:
        fields["duration"] = column(log.duration, np.nan)
    if log.weight is not None:
        fields[WEIGHT] = column(log.weight, np.nan)
    masks = log.available, log.next_available, log.available_actions
    if masks[0] is not None and masks[1] is not None and masks[2] is not None:
        for label, mask, after in zip(masks[2], masks[0].T, masks[1].T, strict=True):
            fields[f"{AVAILABLE}{label}"] = column(mask, after[closing])
    states = stack([log.state, log[closing].next_state])
    if not is_frame(states):
        columns = [f"state_{j}" for j in range(log.n_features)]
        states = pd.DataFrame(states, columns=columns)
    elif not is_pandas(states):
        # By column: each keeps its type, and no other library is needed for it.
        states = pd.DataFrame(
            {
                name: as_narwhals(states)[str(name)].to_numpy()
                for name in column_names(states)
            }
        )
    for kind, names in (("action's", [*actions]), ("state", [*states.columns])):
        clash = [name for name in names if name in fields]
        if clash:
            raise ValueError(
                f"The {kind} columns {clash} bear the names of fields of the log; "
                "rename them in the table that the log is made of, or states by "
                "log.with_states(...) with log.state.add_prefix('state_')."
            )
        fields = actions | fields
    frame = pd.concat([states, pd.DataFrame(fields)], axis=1)
    # Each closing row right behind the last row of its episode.
    order = np.argsort(np.append(np.arange(n), closing), kind="stable")
    return frame.take(order).reset_index(drop=True)


def _check_columns(
    known: Sequence[Hashable],
    states: list[Hashable],
    actions: list[Hashable],
    names: dict[str, Hashable],
) -> None:
    """Refuse columns that are not among the known ones, naming those that are."""
    if not states or not actions:
        empty = "action" if states else "state"
        raise ValueError(f"{empty} must name at least one column; got an empty list.")
    others = [*actions, *names.values()]
    check_known(known, [*states, *others])
    for name in [*states, *others]:
        if max(known.count(name), states.count(name), actions.count(name)) > 1:
            raise ValueError(
                f"Column {name!r} occurs more than once, in the table or in state or "
                "action: rename it, or leave it out."
            )
    for role, name in [*(("action", a) for a in actions), ("reward", names["reward"])]:
        # Of the other roles a state may hold a copy, such as the step.
        if name in states:
            raise ValueError(
                f"Column {name!r} is both the {role} and part of the state, and not "
                "known before a policy acts: leave it out of state."
            )


def _refuse_unused_ends(source: Source, used: list[Hashable]) -> None:
    """Refuse columns that look like an episode's end and say that there is one."""
    named = [n for n in source.names if n not in used and looks_like_an_end(n)]
    table = source.read(named) if named else None
    for name in named:
        assert table is not None
        flags = np.asarray(take_column(table, name), dtype=object)
        # One that is False everywhere says nothing that is not assumed without it.
        if (flags[~missing(flags)] != 0).any():
            raise ValueError(
                f"Column {name!r} looks like the end of an episode and is not used. "
                f"Give terminated={name!r} if it says where episodes ended for good, "
                f"truncated={name!r} if where they were cut; or drop it: "
                f"df.drop(columns=[{name!r}])."
            )
