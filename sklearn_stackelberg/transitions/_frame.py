"""Tables of logged decisions: reading one into the fields of a log, and writing one.

pandas is imported only where the user brings a DataFrame or asks for one.
"""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np

from . import _checks as checks
from ._decision_table import Column, chain_rows, read_fields, take_states
from ._linking import comparable, count_steps, link, rows_equal


def read_frame(
    df: Any, state: Any, names: dict[str, Any]
) -> tuple[dict[str, int], int, dict[str, Any]]:
    """Link the rows of a table; `names` gives each role's column, or None.

    Returns the rows left out by reason, the number of rows without an action inside an
    episode, and the fields of the log.
    """
    states = [*state] if isinstance(state, (list, np.ndarray)) else [state]
    names = {role: name for role, name in names.items() if name is not None}
    action = names.pop("action")
    actions = [*action] if isinstance(action, (list, np.ndarray)) else [action]
    _check_columns(df, states, actions, names)

    columns = {
        role: Column(df[name], f"{role} (column {name!r})")
        for role, name in {"action": actions[0], **names}.items()
    }
    several = len(actions) > 1
    if several:
        columns["action"] = Column(df[actions], f"action (columns {actions})")
    chain = chain_rows(columns, len(df))
    fields = read_fields(columns, chain) | take_states(df[states], chain)
    fields["action_names"] = tuple(actions) if several else None
    checks.check_states(fields["state"])
    return chain.left_out, chain.n_without_action, fields


def write_frame(log: Any) -> Any:
    """Write a log as a DataFrame, with rows that hold the states where it is cut."""
    import pandas as pd

    n = len(log)
    now, then = comparable(log.state), comparable(log.next_state)
    if log.episode is None:
        episode, step = np.arange(n), np.zeros(n, dtype=np.int64)
    else:
        episode, step = log.episode, log.step
    if step is None:
        # Two steps apart leaves room for a closing row between rows not chained.
        step = count_steps(
            episode,
            lambda i, j: 2 - (rows_equal(then[i], now[j]) & ~log.terminated[i]),
        )
    next_row = link(episode, step).next_row
    linked = next_row >= 0
    broken = linked & ~log.terminated & ~rows_equal(then, now[next_row])
    if broken.any():
        raise ValueError(
            "A table cannot hold this log: the next state is not the state of the "
            f"same episode's row at step + 1 at {checks.rows_text(broken)}. Give "
            "the rows that do not follow each other different episodes or steps."
        )
    unused = log.terminated & rows_equal(then, now)
    closing = np.flatnonzero(~linked & ~unused)
    total = n + closing.size

    def column(values: np.ndarray, last: Any) -> np.ndarray:
        return np.concatenate([values, np.broadcast_to(last, closing.size)])

    # Nullable types: a plain column of integers cannot hold the missing actions.
    nullable = {"i": "Int64", "u": "UInt64", "f": "Float64", "b": "boolean"}
    dtype = nullable.get(log.action.dtype.kind, object)
    actions = {
        name: pd.Series(values.astype(object), dtype=dtype).reindex(range(total))
        for name, values in log.action_columns().items()
    }
    fields = {
        "reward": column(log.reward, np.nan),
        "episode": column(episode, episode[closing]),
        "step": column(step, step[closing] + 1),
        "terminated": column(log.terminated, False),
        "is_initial": column(log.is_initial, False),
    }
    if log.propensity is not None:
        fields["propensity"] = column(log.propensity, np.nan)
    states = stack([log.state, log[closing].next_state])
    if not checks.is_frame(states):
        names = [f"state_{j}" for j in range(log.n_features)]
        states = pd.DataFrame(states, columns=names)
    clash = [name for name in actions if name in fields]
    if clash:
        raise ValueError(
            f"The action's columns {clash} bear the names of fields of the log; rename "
            "them in the table that the log is made of."
        )
    fields = actions | fields
    clash = [name for name in states.columns if name in fields]
    if clash:
        raise ValueError(
            f"The state columns {clash} bear the names of fields of the log; rename "
            "them, for example with log.with_states(log.state.add_prefix('state_'), "
            "log.next_state.add_prefix('state_'))."
        )
    frame = pd.concat([states, pd.DataFrame(fields)], axis=1)
    order = np.argsort(np.append(np.arange(n), closing), kind="stable")
    return frame.take(order).reset_index(drop=True)


def stack(parts: list) -> Any:
    """Put tables of the same columns, or vectors, one below the other."""
    if not checks.is_frame(parts[0]):
        return np.concatenate(parts)
    import pandas as pd

    return pd.concat(parts, ignore_index=True)


def _check_columns(df: Any, states: list, actions: list, names: dict[str, Any]) -> None:
    """Refuse columns that `df` does not have, naming those that it has."""
    if not checks.is_frame(df):
        raise TypeError(
            f"from_frame needs a pandas DataFrame; got {type(df).__name__}. Call "
            ".to_pandas() on it, or pandas.DataFrame(...)."
        )
    for role, given in (("state", states), ("action", actions)):
        if not given:
            raise ValueError(
                f"{role} must name at least one column; got an empty list."
            )
    known = [*df.columns]
    others = [*actions, *names.values()]
    by_text = {str(name).lower(): name for name in known}
    problems = []
    for name in dict.fromkeys([*states, *others]):
        if name not in known:
            near = difflib.get_close_matches(str(name).lower(), by_text, n=3)
            hint = " or ".join(repr(by_text[text]) for text in near)
            problems.append(f"{name!r}" + (f" (did you mean {hint}?)" if near else ""))
    if problems:
        shown = ", ".join(repr(name) for name in known[:20])
        raise ValueError(
            f"The table has no column {', nor '.join(problems)}. Its columns are "
            f"{shown}{', ...' if len(known) > 20 else ''}."
        )
    for name in [*states, *others]:
        if max(known.count(name), states.count(name), actions.count(name)) > 1:
            raise ValueError(
                f"Column {name!r} occurs more than once, in the table or in state or "
                "action; each must be named once. Rename it, or leave it out."
            )
    chosen = [*(("action", name) for name in actions), ("reward", names["reward"])]
    for role, name in chosen:
        if name in states:
            raise ValueError(
                f"Column {name!r} is both the {role} and part of the state. A "
                f"policy cannot know the {role} before it acts: leave it out of state "
                "(an earlier one may stand there as a column of its own)."
            )
    checks.check_same_length({"df": len(df)})
