"""Wide tables of trials: a row for each patient, with columns for each stage."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from ._checks import (
    check_actions,
    check_episodes,
    check_flags,
    check_propensities,
    check_reals,
    check_same_length,
    has_action,
    join_actions,
    missing,
    rows_text,
)
from ._columns import Column
from ._sources import Table, check_known, open_table
from ._stages import (
    Stage,
    allowed_actions,
    name_of,
    read_stages,
    refuse_unknown_future,
    state_names,
)
from ._tables import AnyArray, Frame, Index, Names, take_column, take_columns

UNMEASURED = (
    "are the last of a patient who was not terminated there, and the stage that would "
    "follow was not measured: their next state is unknown"
)

UNTREATED = "are patients without an action at any stage"


def wide_fields(
    df: Table,
    stages: Sequence[Mapping[str, Any]],
    state: Names | None,
    roles: Mapping[str, Hashable],
    fill: object,
    stage: Hashable | None,
) -> tuple[dict[str, int], dict[str, Any], dict[int, set[Any]] | None]:
    """Return the counts of what is left out, the fields, and a stage's actions."""
    plan = read_stages(stages)
    baseline = {} if state is None else state_names(state)
    named = {role: name for role, name in roles.items() if name is not None}
    refuse_unknown_future(plan, baseline, roles["reward"])
    source = open_table(df)
    wanted = [*baseline.values(), *named.values()]
    wanted += [name for one in plan for name in one.columns()]
    check_known(source.names, wanted)
    table = source.read(wanted)
    check_same_length({"df": len(table)})
    whole = {
        role: Column(take_column(table, name), f"{role} (column {name!r})")
        for role, name in named.items()
    }

    acted, actions = _acted(table, plan)  # (n, n_stages)
    treated = acted[:, 0]
    last = acted.sum(axis=1) - 1
    rows = np.flatnonzero(treated)
    ended = np.ones(len(table), dtype=bool)
    if "terminated" in whole:
        ended[rows] = whole["terminated"].read(check_flags, rows)
    closing = _closing(table, plan, {*baseline}, treated & ~ended, last)

    # Where each patient's stages stand in the log, patient by patient.
    recorded = acted | closing
    place = (np.cumsum(recorded).reshape(recorded.shape) - 1) * recorded
    states = _states(table, plan, baseline, recorded, fill)
    reaches = np.arange(len(plan)) == last[:, None]  # a patient's last action
    lost = reaches & (treated & ~ended & ~closing.any(axis=1))[:, None]
    kept = acted & ~lost
    if not kept.any():
        raise ValueError(
            "No transition can be made: no patient has an action whose next state, or "
            "end, is known. Check the columns of actions and of terminated."
        )
    patient, number = np.nonzero(kept)
    following = np.minimum(number + 1, len(plan) - 1)
    over = (reaches & ended[:, None])[kept]
    now = place[kept]
    after = np.where(over, now, place[patient, following])
    names = np.arange(len(table))
    if "episode" in whole:
        names = whole["episode"].read(check_episodes)
        _refuse_repeated(names, roles["episode"])
    fields: dict[str, Any] = {
        "state": _rows_of(states, now),
        "next_state": _rows_of(states, after),
        "action": _in_order(actions, acted, kept),
        "reward": _rewards(table, plan, acted, whole.get("reward"), reaches)[kept],
        "terminated": over,
        "episode": names[patient],
        "step": number + 1,
        "propensity": _propensities(table, plan, acted, kept),
    }
    allowed = allowed_actions(plan, fields["action"], number, stage)
    left_out = {UNTREATED: int((~treated).sum()), UNMEASURED: int(lost.sum())}
    left_out = {why: count for why, count in left_out.items() if count}
    return left_out, fields, allowed


def _acted(table: Frame, plan: list[Stage]) -> tuple[NDArray[np.bool_], list[AnyArray]]:
    """Whether a patient has an action at each stage, (n, n_stages), and which."""
    flags: list[NDArray[np.bool_]] = []
    actions: list[AnyArray] = []
    for k, one in enumerate(plan, 1):
        if len(one.action) == 1:
            values = take_column(table, one.action[0])
            column = Column(values, name_of(k, "action", one.action[0]))
        else:
            column = Column(take_columns(table, one.action), name_of(k, "action"))
        acts = has_action(*column)
        if flags and (skipped := acts & ~flags[-1]).any():
            raise ValueError(
                f"{column.name} is there and that of stage {k - 1} is missing at "
                f"{rows_text(skipped)}. Say what was done at the earlier stage, even "
                "where it was nothing (such as 'none'), or leave these rows out."
            )
        flags.append(acts)
        rows = np.flatnonzero(acts)
        actions.append(column.read(check_actions, rows))
        if column.is_float and actions[-1].ndim == 1 and len(rows) < len(acts):
            # Integers, but for the patients who did not get so far.
            whole = (actions[-1] % 1 == 0).all()
            actions[-1] = actions[-1].astype(np.int64) if whole else actions[-1]
    return np.stack(flags, axis=1), actions


def _closing(
    table: Frame,
    plan: list[Stage],
    baseline: set[Hashable],
    cut: NDArray[np.bool_],
    last: Index,
) -> NDArray[np.bool_]:
    """Stages without an action that hold the state in which a patient was cut."""
    closing = np.zeros((len(cut), len(plan)), dtype=bool)
    for k in range(1, len(plan)):
        own = [c for name, c in plan[k].state.items() if name not in baseline]
        if own:
            seen = [~missing(take_column(table, name)) for name in own]
            closing[:, k] = cut & (last == k - 1) & np.any(seen, axis=0)
    return closing


def _states(
    table: Frame,
    plan: list[Stage],
    baseline: dict[Hashable, Hashable],
    recorded: NDArray[np.bool_],
    fill: object,
) -> tuple[dict[Hashable, AnyArray], Any]:
    """The columns of all recorded states, patient by patient, and their library."""
    patient, number = np.nonzero(recorded)
    names = dict.fromkeys([*baseline, *(name for one in plan for name in one.state)])
    if not names:
        raise ValueError(
            "There is no state: name its columns in state=, or in the stages."
        )
    columns: dict[Hashable, AnyArray] = {}
    for name in names:
        held = [one.state.get(name, baseline.get(name)) for one in plan]
        parts = {
            k: _values(table, column)[recorded[:, k]]
            for k, column in enumerate(held)
            if column is not None
        }
        value = fill.get(name, 0) if isinstance(fill, Mapping) else fill
        if len(parts) < len(plan):
            value = _checked_fill(value, [*parts.values()], name)
        joined = np.concatenate(
            [
                parts[k] if k in parts else np.full(recorded[:, k].sum(), value)
                for k in range(len(plan))
            ]
        )
        # Stage by stage so far, and to be patient by patient.
        columns[name] = np.empty(len(patient), dtype=joined.dtype)
        columns[name][np.argsort(number, kind="stable")] = joined
    given: Any = table
    return columns, nw.get_native_namespace(given)


def _values(table: Frame, name: Hashable) -> AnyArray:
    given: Any = take_column(table, name)
    return nw.from_native(given, series_only=True).to_numpy()


def _checked_fill(value: object, parts: list[AnyArray], name: Hashable) -> object:
    """Refuse to fill a column of text with a number, and the other way round."""
    numbers = all(part.dtype.kind in "biuf" for part in parts)
    if value is None:
        return np.nan if numbers else None
    if numbers == isinstance(value, str):
        raise ValueError(
            f"The state column {name!r} holds {'' if numbers else 'no '}numbers, and "
            f"not all stages have one; it cannot be filled with {value!r} there. Say "
            f"what stands there: fill={{{name!r}: {0 if numbers else 'none'!r}}}."
        )
    return value


def _rows_of(states: tuple[dict[Hashable, AnyArray], Any], rows: Index) -> Any:
    """Some of the states, as a table of the library that they are from."""
    columns, namespace = states
    taken: dict[Any, Any] = {name: values[rows] for name, values in columns.items()}
    # Of arrays of objects not every library makes a column of text.
    taken = {k: v.tolist() if v.dtype == object else v for k, v in taken.items()}
    return nw.from_dict(taken, backend=namespace).to_native()


def _in_order(
    parts: list[AnyArray], acted: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> AnyArray:
    """What was read stage by stage, patient by patient."""
    joined = join_actions(parts, "action")
    stages_first = np.flatnonzero(acted.T)  # places in a table of (n_stages, n)
    place = np.empty(acted.size, dtype=np.intp)
    place[stages_first] = np.arange(len(joined))
    return joined[place.reshape(acted.T.shape).T[kept]]


def _read(
    table: Frame,
    role: str,
    k: int,
    column: Hashable,
    check: Callable[..., AnyArray],
    acted: NDArray[np.bool_],
) -> tuple[Index, AnyArray]:
    """The patients who got to stage k, and what a column of it says of them."""
    rows = np.flatnonzero(acted[:, k])
    values = take_column(table, column)
    return rows, Column(values, name_of(k + 1, role, column)).read(check, rows)


def _rewards(
    table: Frame,
    plan: list[Stage],
    acted: NDArray[np.bool_],
    final: Column | None,
    reaches: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """The rewards of each stage, (n, n_stages), with that of the end at the last."""
    rewards = np.zeros(acted.shape)
    for k, one in enumerate(plan):
        if one.reward is not None:
            rows, read = _read(table, "reward", k, one.reward, check_reals, acted)
            rewards[rows, k] = read
    if final is not None:
        rows = np.flatnonzero(acted[:, 0])
        rewards[reaches] += final.read(check_reals, rows)
    elif all(one.reward is None for one in plan):
        raise ValueError(
            "There is no reward: give the column of the outcome at the end, "
            "reward=..., or the 'reward' of a stage."
        )
    return rewards


def _propensities(
    table: Frame,
    plan: list[Stage],
    acted: NDArray[np.bool_],
    kept: NDArray[np.bool_],
) -> NDArray[np.float64] | None:
    given = [one.propensity for one in plan]
    if without := [k for k, one in enumerate(given, 1) if one is None]:
        if len(without) < len(given):
            raise ValueError(
                f"Stages {without} have no 'propensity' and others do; give it to all "
                "of them (a column, or a number) or to none."
            )
        return None
    propensity = np.ones(acted.shape)
    for k, one in enumerate(given):
        if isinstance(one, float):
            propensity[:, k] = one
        else:
            check = check_propensities
            rows, read = _read(table, "propensity", k, one, check, acted)
            propensity[rows, k] = read
    return propensity[kept]


def _refuse_repeated(names: AnyArray, column: Hashable | None) -> None:
    unique, counts = np.unique(names, return_counts=True)
    if len(unique) < len(names):
        name = unique[np.argmax(counts > 1)]
        rows = np.flatnonzero(names == name)
        raise ValueError(
            f"Column {column!r} names {name.item()!r} at rows {rows[0]} and {rows[1]}; "
            "a wide table has one row for each episode. A table with a row for each "
            "decision is read by from_frame."
        )
