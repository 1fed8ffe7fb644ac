"""Times and stages: steps that are dates, the stage as a state, episodes that end."""

from __future__ import annotations

import re
from collections.abc import Hashable
from datetime import timedelta
from numbers import Real
from typing import Any

import numpy as np

from ._actions import action_type
from ._checks import Flags, Floats, check_episodes, check_reals, rows_text
from ._columns import Column
from ._linking import encode, places_in_time
from ._tables import Log, States, column_names, is_frame, take_column, with_column


def refuse_endless(log: Log, discount: float) -> None:
    """Refuse a discount of 1 where an episode does not end, and returns may not."""
    if discount < 1.0:
        return
    places = places_in_time(len(log), log.episode, log.step)
    last = places.place == places.size[places.episode] - 1
    # Rows of no known episode can only end where they are.
    cut = ~log.terminated & (last if log.episode is not None else True)
    if not cut.any():
        return
    where = rows_text(cut)
    if log.episode is not None:
        names = list(dict.fromkeys(log.episode[cut].tolist()))
        shown = ", ".join(map(repr, names[:5]))
        more = f", ... ({len(names):,} in all)" if len(names) > 5 else ""
        where = f"the last row of the episodes {shown}{more}"
    raise ValueError(
        f"discount=1.0 needs every episode to end, and {where} is not terminated: what "
        "follows is not known, and without a discount it may have no limit. Set a "
        "discount below 1, leave these episodes out, or give terminated to the log."
    )


# Units of time by the names that pandas has for them, in microseconds.
_UNITS = {
    **dict.fromkeys(("us", "microsecond", "microseconds"), 1.0),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 1e3),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1e6),
    **dict.fromkeys(("min", "minute", "minutes"), 6e7),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3.6e9),
    **dict.fromkeys(("d", "day", "days"), 8.64e10),
    **dict.fromkeys(("w", "week", "weeks"), 6.048e11),
}

StepUnit = float | str | timedelta | np.timedelta64


def number_times(columns: dict[str, Column], unit: StepUnit) -> dict[str, Column]:
    """Columns with times as steps: numbered in each episode, with durations.

    Where nothing follows a row its duration is 1, and is not used.
    """
    if "step" not in columns or "duration" in columns:
        what = "with duration=" if "step" in columns else "without step="
        raise ValueError(
            f"step_unit={unit!r} was given {what}; it says in what unit the times in "
            "the column step= are, whose differences are the durations."
        )
    if "episode" not in columns:
        return columns  # refused where rows are linked, as all steps without one are
    episode = columns["episode"].read(check_episodes)
    time = _read_times(columns["step"], unit)
    codes = encode(episode)
    order = np.lexsort((time, codes))
    same = codes[order][1:] == codes[order][:-1]
    apart = np.diff(time[order])
    if (twice := same & (apart == 0)).any():
        bad = np.zeros(len(time), dtype=bool)
        bad[order[1:][twice]] = True
        raise ValueError(
            f"{columns['step'].name} repeats the time of another row of the same "
            f"episode at {rows_text(bad)}; each time may have one row. Drop the others."
        )
    duration = np.ones(len(time))
    duration[order[:-1][same]] = apart[same]
    step = places_in_time(len(time), episode, time).place
    return columns | {
        "step": Column(step.astype(np.int64), columns["step"].name),
        "duration": Column(duration, f"The time to the next {columns['step'].name}"),
    }


def _read_times(column: Column, unit: StepUnit) -> Floats:
    """Times in a unit, (n,)."""
    values: Any = column.values
    if getattr(getattr(values, "dt", None), "tz", None) is not None:
        values = values.dt.tz_convert(None)
    times = np.asarray(values)
    if times.dtype.kind in "biuf":
        # numpy counts its spans of time among the real numbers.
        span = isinstance(unit, np.timedelta64)
        if span or not isinstance(unit, Real) or not unit > 0:
            raise ValueError(
                f"step_unit={unit!r} was given, and {column.name} holds numbers: a "
                "number above 0 was expected, the unit of the discount in theirs."
            )
        return check_reals(times, column.name) / float(unit)
    try:
        times = times.astype("datetime64[us]")
    except (TypeError, ValueError):
        raise ValueError(
            f"{column.name} has dtype {times.dtype}, such as {times[0]!r}; with "
            "step_unit times (datetime64) or numbers were expected. Convert them, for "
            "example with pandas.to_datetime(...)."
        ) from None
    if (absent := np.isnat(times)).any():
        raise ValueError(f"{column.name} has no time at {rows_text(absent)}.")
    # From the first, so that microseconds are whole numbers of a float.
    return (times - times.min()).astype(float) / _microseconds(unit)


def _microseconds(unit: StepUnit) -> float:
    if isinstance(unit, str):
        found = re.fullmatch(r"\s*(\d*\.?\d*)\s*([A-Za-z]+)\s*", unit)
        size = _UNITS.get(found[2].lower()) if found else None
        if found and size and float(found[1] or 1) > 0:
            return size * float(found[1] or 1)
    elif isinstance(unit, timedelta | np.timedelta64):
        span = np.timedelta64(unit) / np.timedelta64(1, "us")
        if span > 0:
            return float(span)
    raise ValueError(
        f"step_unit={unit!r} is no span of time above 0; expected was one such as "
        "'5min', '12h', '1D' or a timedelta."
    )


class StageActions:
    """Which actions were logged at a stage: what a policy may choose from there."""

    def __init__(self, column: Hashable, logged: dict[int, set[Any]]) -> None:
        self.column, self.logged = column, logged
        # A stage that was not logged may have any.
        self.actions = np.array(sorted(set().union(*logged.values())))

    def __call__(self, states: States) -> Flags:
        if is_frame(states):
            stage = np.asarray(take_column(states, self.column))
        else:
            stage = np.asarray(states)[:, -1]
        out = np.ones((len(stage), len(self.actions)), dtype=bool)
        for number, actions in self.logged.items():
            out[stage == number] = np.isin(self.actions, list(actions))
        return out


def add_stage(log: Log, name: str) -> tuple[States, States, StageActions | None]:
    """States and next states with their stage behind them, and what can be done there.

    None where every stage has all actions.
    """
    stage = places_in_time(len(log), log.episode, None).place
    if log.step is not None:
        stage = log.step
    tables: list[States] = []
    # After an end there is no stage: a terminated row's own state stays its next.
    after = stage + ~log.terminated
    for states, number in ((log.state, stage), (log.next_state, after)):
        if is_frame(states) and name in column_names(states):
            raise ValueError(
                f"The states have a column {name!r} already; give another name."
            )
        tables.append(with_column(states, name, number))
    # Amounts are no treatments of a stage.
    if log.action.ndim == 2 or action_type(log.action)[0] == "continuous":
        return tables[0], tables[1], None
    logged = {
        int(number): {*log.action[stage == number].tolist()}
        for number in np.unique(stage)
    }
    differ = len({frozenset(actions) for actions in logged.values()}) > 1
    return tables[0], tables[1], StageActions(name, logged) if differ else None
