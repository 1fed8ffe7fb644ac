"""States that hold the last observations and the actions between them."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._actions import action_type
from ._checks import check_plain_values, rows_text
from ._linking import count_steps, link
from ._tables import (
    AnyArray,
    Frame,
    Index,
    Log,
    States,
    as_narwhals,
    column_names,
    comparable,
    is_frame,
    is_pandas,
    rows_equal,
    take_columns,
    take_rows,
)


@dataclass(frozen=True)
class HistoryLayout:
    """The columns of a history: the observation, then for each lag an action and one.

    An action is its one-hot vector, or its p numbers and whether there is none. Before
    an episode's first observation there is that observation again, and no action.
    """

    k: int
    n_observed: int
    labels: AnyArray | None  # (K,), sorted, of discrete actions
    action_columns: tuple[Hashable, ...]  # of continuous ones

    @classmethod
    def of(
        cls,
        k: int,
        n_observed: int,
        action: AnyArray,
        names: Sequence[Hashable],
        given: ArrayLike | str | None,
    ) -> HistoryLayout:
        """Take actions as labels, those given or found, or as the numbers they are."""
        if not isinstance(k, numbers.Integral) or isinstance(k, bool) or k < 1:
            raise ValueError(f"k is {k!r}; a positive number of observations expected.")
        if isinstance(given, str) and given != "numbers":
            raise ValueError(
                f"actions is {given!r}; a list of discrete actions, 'numbers' or None "
                "was expected."
            )
        kind = "continuous" if isinstance(given, str) else "auto"
        if isinstance(given, str) or given is None:
            if action_type(action, kind)[0] == "continuous":
                return cls(int(k), n_observed, None, tuple(names))
            given = action
        labels = np.unique(check_plain_values(given, "actions"))
        return cls(int(k), n_observed, labels, ())

    @property
    def n_action_columns(self) -> int:
        """Of an action: one-hot, or its numbers and whether there is none."""
        if self.labels is not None:
            return len(self.labels)
        return len(self.action_columns) + 1

    @property
    def n_columns(self) -> int:
        return self.k * self.n_observed + (self.k - 1) * self.n_action_columns

    def names(self, observed: Sequence[Hashable]) -> list[Hashable]:
        """Name the columns: x, action_lag1_low, x_lag1, action_lag2_low, x_lag2, ..."""
        names = [*observed]
        for lag in range(1, self.k):
            if self.labels is None:
                names += [f"{name}_lag{lag}" for name in self.action_columns]
                names += [f"no_action_lag{lag}"]
            else:
                names += [f"action_lag{lag}_{a}" for a in self.labels.tolist()]
            names += [f"{name}_lag{lag}" for name in observed]
        # scikit-learn reads names only where all of them are strings.
        names = names if self.k == 1 else [str(name) for name in names]
        twice = sorted({str(name) for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"The observations already have columns {twice}, which a history of "
                f"{self.k} would add. Rename them, or leave them out."
            )
        return names

    @property
    def no_action(self) -> NDArray[np.float64]:
        """The columns where no action was taken, (n_action_columns,)."""
        none = np.zeros(self.n_action_columns)
        none[-1] = self.labels is None
        return none

    def encode(self, action: AnyArray) -> NDArray[np.float64]:
        """Return actions, (m,) or (m, p), as columns, (m, n_action_columns)."""
        if self.labels is None:
            values = np.asarray(action, dtype=np.float64).reshape(len(action), -1)
            if values.shape[1] != len(self.action_columns):
                raise ValueError(
                    f"The actions have {values.shape[1]} numbers each; "
                    f"{len(self.action_columns)} were expected."
                )
            return np.hstack([values, np.zeros((len(values), 1))])
        same = np.asarray(action).reshape(-1, 1) == self.labels
        unknown = ~same.any(axis=1)
        if unknown.any():
            raise ValueError(
                f"The actions at {rows_text(unknown)} are none of those that the "
                f"history has columns for, {self.labels.tolist()}. Name all that there "
                "can be in actions=."
            )
        return same.astype(np.float64)

    def states(
        self,
        observed: States,
        coded: NDArray[np.float64],
        previous: Index,
        names: list[Hashable],
    ) -> States:
        """Return the histories of n rows, of which each follows another, or -1."""
        row, parts = np.arange(len(previous)), [observed]
        for _ in range(1, self.k):
            before = previous[row]
            there = before >= 0
            parts.append(np.where(there[:, None], coded[before], self.no_action))
            row = np.where(there, before, row)
            parts.append(take_rows(observed, row))
        return _beside(parts, names)

    def first(self, observed: States, names: list[Hashable]) -> States:
        """Return the histories in which episodes start."""
        n = len(observed)
        coded = np.zeros((n, self.n_action_columns))
        return self.states(observed, coded, np.full(n, -1, dtype=np.intp), names)

    def next(
        self, states: States, action: AnyArray, observed: States, names: list[Hashable]
    ) -> States:
        """Return the histories after one more action and observation."""
        if self.k == 1:
            return observed
        # All but the last lag, each of which becomes one older.
        kept = self.n_columns - self.n_action_columns - self.n_observed
        old: States
        if is_frame(states):
            old = take_columns(states, column_names(states)[:kept])
        else:
            old = states[:, :kept]
        return _beside([observed, self.encode(action), old], names)


def _beside(parts: list[Any], names: list[Hashable]) -> States:
    """Put tables and arrays side by side, under the index of the first."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if is_frame(first) and not is_pandas(first):
        return _renamed_beside(parts, [str(name) for name in names])
    if is_pandas(first):
        import pandas as pd

        index = first.index
        tables = [
            part.set_axis(index) if is_pandas(part) else pd.DataFrame(part, index=index)
            for part in parts
        ]
        return pd.concat(tables, axis=1).set_axis(names, axis=1)
    # Numbers keep the type of the observations; names of states stand beside numbers.
    dtype = first.dtype if first.dtype.kind in "fO" else np.float64
    dtype = dtype if first.dtype.kind in "biufO" else object
    return np.hstack([np.asarray(part).astype(dtype, copy=False) for part in parts])


def _renamed_beside(parts: list[Any], names: list[str]) -> Frame:
    """The same of other libraries than pandas, where no two names may be the same."""
    tables, place = [], 0
    for part in parts:
        own = names[place : place + part.shape[1]]
        place += part.shape[1]
        if is_frame(part):
            frame = as_narwhals(part)
            frame = frame.rename(dict(zip(frame.columns, own, strict=True)))
        else:
            backend = as_narwhals(parts[0]).implementation
            frame = nw.from_numpy(np.asarray(part), schema=own, backend=backend)
        tables.append(frame)
    return nw.concat(tables, how="horizontal").to_native()


class Previous(NamedTuple):
    """Which row stands before each in its episode, -1 where none does, (n,)."""

    rows: Index
    n_broken: int  # rows inside an episode that have none


def previous_rows(
    episode: AnyArray, step: NDArray[np.int64], goes_on: NDArray[np.bool_]
) -> Previous:
    """Find the row at step - 1 of each, unless its episode does not go on there."""
    links = link(episode, step)
    linked = np.flatnonzero((links.next_row >= 0) & goes_on)
    rows = np.full(len(step), -1, dtype=np.intp)
    rows[links.next_row[linked]] = linked
    return Previous(rows, int((~links.first & (rows < 0)).sum()))


def previous_of_log(log: Log) -> Previous:
    """Find which row each row of a log follows upon."""
    if log.episode is None:
        raise ValueError(
            "A history needs episodes, or those of two would mix: pass episode= to "
            "Transitions (all 0 for a single episode)."
        )
    step, not_done = log.step, ~log.terminated
    if step is None:
        now, then = comparable(log.state), comparable(log.next_state)
        # Rows out of order are known by their states alone; two steps apart are a gap.
        step = count_steps(log.episode, lambda i, j: 2 - rows_equal(then[i], now[j]))
    return previous_rows(log.episode, step, not_done)


# Fewer are the edges of blocks of time, and change little.
_BROKEN_SHARE = 0.05


def warn_of_broken_histories(previous: Previous, stacklevel: int) -> None:
    """Warn where many rows inside an episode have nothing before them."""
    n = len(previous.rows)
    if previous.n_broken <= _BROKEN_SHARE * n:
        return
    warnings.warn(
        f"At {previous.n_broken:,} of {n:,} rows the history starts anew inside an "
        "episode, because the row at step - 1 is not there, has no action, or is "
        "terminated. Make the history of the whole log before rows are drawn from it, "
        "or draw whole episodes (EpisodeKFold). [pitfalls: broken-history]",
        UserWarning,
        stacklevel=stacklevel + 1,
    )


def layout_of_log(log: Log, k: int, actions: ArrayLike | str | None) -> HistoryLayout:
    """Read the columns of a history off a log."""
    names = [*log.action_columns()]
    given = log.available_actions if actions is None else actions
    return HistoryLayout.of(k, log.n_features, log.action, names, given)


def observed_names(states: States) -> list[Hashable] | None:
    return column_names(states) if is_frame(states) else None


def histories(log: Log, layout: HistoryLayout) -> tuple[States, States, Previous]:
    """Return the histories of a log's states and next states."""
    previous = previous_of_log(log)
    names = layout.names(observed_names(log.state) or [])
    coded = layout.encode(log.action)
    now = layout.states(log.state, coded, previous.rows, names)
    after = layout.next(now, log.action, log.next_state, names)
    return now, after, previous
