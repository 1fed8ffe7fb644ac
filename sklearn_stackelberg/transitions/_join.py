"""Logs put together: from the lists of single episodes, and from other logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import check_actions, check_flags, check_reals, join_actions
from ._linking import count_steps, encode
from ._tables import (
    FIELDS,
    AvailableRule,
    Log,
    check_same_columns,
    check_states,
    stack,
    take_rows,
)


def chain_episodes(
    observations: Sequence[object],
    actions: Sequence[object],
    rewards: Sequence[object],
    terminated: Sequence[bool],
    available: Sequence[ArrayLike] | AvailableRule | None = None,
) -> dict[str, Any]:
    """Return the fields of the log that the episodes make, one list entry each."""
    ended = check_flags(terminated, "terminated", unit="episode")
    states, chosen, gains, lengths = [], [], [], []
    each = zip(observations, actions, rewards, strict=True)
    for k, (seen, done, gained) in enumerate(each):
        name = f"observations[{k}]"
        states.append(check_states(seen, name))
        chosen.append(check_actions(done, f"actions[{k}]"))
        gains.append(check_reals(gained, f"rewards[{k}]"))
        lengths.append(len(chosen[-1]))
        if (len(states[-1]), len(gains[-1])) != (lengths[-1] + 1, lengths[-1]):
            raise ValueError(
                f"Episode {k} has {len(states[-1])} observations, {lengths[-1]} "
                f"actions and {len(gains[-1])} rewards; T + 1 observations (the last "
                "of the end), T actions and T rewards were expected."
            )
        check_same_columns(states[0], states[-1], ("observations[0]", name))
    # Episodes that ended before any action are let through beside others.
    if not sum(lengths):
        raise ValueError("No episode has an action, so there is no transition.")
    episode = np.repeat(np.arange(len(lengths)), lengths)
    # terminated is said of an episode, and holds at its last row alone.
    last = np.append(episode[1:] != episode[:-1], True)
    now, after = slice(None, -1), slice(1, None)
    masks: dict[str, Any] = {"available": available}
    if available is not None and not callable(available):
        parts = [check_states(p, f"available[{k}]") for k, p in enumerate(available)]
        if [*map(len, parts)] != [*map(len, states)]:
            raise ValueError(
                "available must have one row for each observation of each episode; got "
                f"{[*map(len, parts)]} rows for {[*map(len, states)]} observations."
            )
        masks["available"] = stack([take_rows(part, now) for part in parts])
        masks["next_available"] = stack([take_rows(part, after) for part in parts])
    return masks | {
        "state": stack([take_rows(part, now) for part in states]),
        "action": join_actions(chosen, "actions"),
        "reward": np.concatenate(gains),
        "next_state": stack([take_rows(part, after) for part in states]),
        "terminated": last & ended[episode],
        "episode": episode,
        "step": count_steps(episode),
    }


def chain_values(
    lengths: list[int], **given: Sequence[ArrayLike] | None
) -> dict[str, NDArray[np.float64]]:
    """Return, of what is given, one number for each action of these episodes."""
    fields = {}
    for name, parts in given.items():
        if parts is None:
            continue
        vectors = [check_reals(part, f"{name}[{k}]") for k, part in enumerate(parts)]
        if (found := [len(vector) for vector in vectors]) != lengths:
            raise ValueError(
                f"{name} must have one number for each action of each episode; got "
                f"{found} for {lengths} actions."
            )
        fields[name] = np.concatenate(vectors)
    return fields


def join_logs(logs: Sequence[Log]) -> tuple[dict[str, int], dict[str, Any]]:
    """Return the counts of left out rows and the fields of the logs joined."""
    if not logs:
        raise ValueError("concatenate needs at least one Transitions; got none.")
    for k, log in enumerate(logs):
        # A list of logs is the likely slip, and would fail on its lack of fields.
        if not hasattr(log, "is_initial"):
            raise TypeError(
                f"concatenate takes Transitions one by one, and argument {k} is a "
                f"{type(log).__name__}: use Transitions.concatenate(*logs)."
            )
        names = ("the states of the first log", f"those of log {k}")
        check_same_columns(logs[0].state, log.state, names)
    fields: dict[str, Any] = {}
    for name in FIELDS:
        parts = [getattr(log, name) for log in logs]
        # Not filled with a default: what some logs lack would be made up for them.
        without = [k for k, part in enumerate(parts) if part is None]
        if without and len(without) < len(parts):
            raise ValueError(
                f"Some of the logs have {name} and others (arguments {without}) "
                "have not; give it to all of them or to none."
            )
        if without:
            fields[name] = None
        elif name == "action":
            fields[name] = join_actions(parts, name)
        elif name == "episode":
            codes = [encode(part) for part in parts]
            # Numbers of their own for each log: two may use the same names.
            n_before = np.cumsum([0, *(c.max(initial=-1) + 1 for c in codes[:-1])])
            shifted = [c + n for c, n in zip(codes, n_before, strict=True)]
            fields[name] = np.concatenate(shifted)
        else:
            fields[name] = stack(parts)
    # Logs that name no columns go with any: they are of the same number of them.
    named = [log.action_names for log in logs if log.action_names]
    if len({*named}) > 1:
        raise ValueError(
            f"The logs' actions have different columns, {named[0]} and "
            f"{next(names for names in named if names != named[0])}."
        )
    fields["action_names"] = named[0] if named else None
    # Masks that some logs lack are refused above, as any field is.
    labels, rule = logs[0].available_actions, logs[0].available_rule
    for k, log in enumerate(logs):
        theirs = log.available_actions
        if labels is not None and not np.array_equal(labels, np.asarray(theirs)):
            raise ValueError(
                f"The masks of the first log have columns for the actions {labels}, "
                f"and those of log {k} for {theirs}; give them as DataFrames with the "
                "same columns."
            )
        rule = rule if log.available_rule == rule else None
    fields |= {"available_actions": labels, "available_rule": rule}
    left_out: Counter[str] = Counter()
    for log in logs:
        left_out.update(log.left_out)
    return dict(left_out), fields
