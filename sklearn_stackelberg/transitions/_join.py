"""Logs put together: from the lists of single episodes, and from other logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _checks as checks
from ._actions import check_actions
from ._checks import FIELDS
from ._frame import stack
from ._linking import count_steps


def chain_episodes(
    observations: Sequence, actions: Sequence, rewards: Sequence, terminated: Sequence
) -> dict[str, Any]:
    """Return the fields of the log that the episodes make, one list entry each."""
    n_episodes = {
        "observations": len(observations),
        "actions": len(actions),
        "rewards": len(rewards),
        "terminated": len(terminated),
    }
    if len(set(n_episodes.values())) > 1:
        raise ValueError(
            "Each list must have one entry per episode; got "
            + ", ".join(f"{name} {n:,}" for name, n in n_episodes.items())
            + ". terminated is one True or False per episode, not per step."
        )
    ended = checks.check_flags(terminated, "terminated", unit="episode")
    states, labels, gains, lengths = [], [], [], []
    for k, (seen, chosen, gained) in enumerate(
        zip(observations, actions, rewards, strict=True)
    ):
        states.append(checks.check_states(seen, f"observations[{k}]"))
        labels.append(check_actions(chosen, f"actions[{k}]"))
        gains.append(checks.check_reals(gained, f"rewards[{k}]"))
        lengths.append(len(labels[-1]))
        if (len(states[-1]), len(gains[-1])) != (lengths[-1] + 1, lengths[-1]):
            raise ValueError(
                f"Episode {k} has {len(states[-1])} observations, {lengths[-1]} "
                f"actions and {len(gains[-1])} rewards; T + 1 observations, T "
                "actions and T rewards were expected (the last observation is the "
                "state in which the episode ended)."
            )
        checks.check_same_columns(
            states[0], states[-1], ("observations[0]", f"observations[{k}]")
        )
    if not sum(lengths):
        raise ValueError("No episode has an action, so there is no transition.")
    episode = np.repeat(np.arange(len(lengths)), lengths)
    last = np.append(episode[1:] != episode[:-1], True)
    return {
        "state": stack([part[:-1] for part in states]),
        "action": checks.join_labels(labels, "actions"),
        "reward": np.concatenate(gains),
        "next_state": stack([part[1:] for part in states]),
        "terminated": last & ended[episode],
        "episode": episode,
        "step": count_steps(episode),
    }


def join_logs(logs: Sequence[Any]) -> tuple[dict[str, int], dict[str, Any]]:
    """Return the counts of left out rows and the fields of the logs joined."""
    if not logs:
        raise ValueError("concatenate needs at least one Transitions; got none.")
    for k, log in enumerate(logs):
        names = ("the states of the first log", f"those of log {k}")
        checks.check_same_columns(logs[0].state, log.state, names)
    fields: dict[str, Any] = {}
    for name in FIELDS:
        parts = [getattr(log, name) for log in logs]
        without = [k for k, part in enumerate(parts) if part is None]
        if without and len(without) < len(parts):
            raise ValueError(
                f"Some of the logs have {name} and others (arguments {without}) "
                "have not; give it to all of them or to none."
            )
        if without:
            fields[name] = None
        elif name == "action":
            fields[name] = checks.join_labels(parts, name)
        elif name == "episode":
            views = [log.episodes for log in logs]
            shifts = np.cumsum([0] + [len(view) for view in views])
            parts = [v.codes + s for v, s in zip(views, shifts, strict=False)]
            fields[name] = np.concatenate(parts)
        else:
            fields[name] = stack(parts)
    named = [log.action_names for log in logs if log.action_names]
    if len({*named}) > 1:
        raise ValueError(
            f"The logs' actions have different columns, {named[0]} and "
            f"{next(names for names in named if names != named[0])}; they must be the "
            "same, in the same order."
        )
    fields["action_names"] = named[0] if named else None
    left_out: dict[str, int] = {}
    for log in logs:
        for why, n in log.left_out.items():
            left_out[why] = left_out.get(why, 0) + n
    return left_out, fields
