"""Episodes as other libraries hand them over: lists, records, vector environments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._chains import LAST
from ._checks import check_flags, check_reals
from ._tables import check_states
from ._usage import Lost, lost_of

_RECORD = ("observations", "actions", "rewards", "terminations", "truncations")

_NAMES = ("observations", "actions", "rewards", "terminated")

_MODES = ("next_step", "same_step")


class EpisodeLists(NamedTuple):
    """Lists with one entry per episode."""

    observations: list[Any]  # T + 1 states each
    actions: list[Any]  # T
    rewards: list[Any]
    terminated: list[Any]  # a flag each
    left_out: dict[str, int]
    lost: Lost | None = None


def read_episodes(
    observations: Any,
    actions: Iterable[Any] | None,
    rewards: Iterable[Any] | None,
    terminated: Iterable[Any] | None,
    truncated: Iterable[Any] | None,
    autoreset: object,
) -> EpisodeLists:
    """Bring episodes, in whichever of the three ways they are given, into one."""
    # Gymnasium's own AutoresetMode is taken, by its name.
    mode = str(getattr(autoreset, "name", autoreset)).lower()
    if mode not in _MODES:
        raise ValueError(f"autoreset must be one of {[*_MODES]}, got {autoreset!r}.")
    if actions is None and rewards is None and terminated is None:
        return _from_records(observations)
    lists = []
    for name, given in zip(
        _NAMES, (observations, actions, rewards, terminated), strict=True
    ):
        if given is None:
            raise TypeError(
                f"from_episodes needs {name}, or episodes alone that have the "
                f"attributes {', '.join(_RECORD)}, as Minari's have."
            )
        # A generator is read once, and has no length.
        lists.append([*given])
    cuts = None if truncated is None else [*truncated]
    states, chosen, gains, ended = lists
    if len(chosen) == len(gains) == len(ended) == len(states) - 1:
        shapes = {np.shape(part) for part in gains}
        if len(shapes) == 1 and len(shapes.pop()) == 1:
            return _from_vector_env(states, chosen, gains, ended, cuts, mode)
    _check_one_each(dict(zip(_NAMES, lists, strict=True)) | {"truncated": cuts})
    lengths = [*map(len, chosen)]
    ended = [_end(f, t, "terminated", k) for k, (f, t) in _each(ended, lengths)]
    for k, (flag, length) in _each(cuts or [], lengths):
        _end(flag, length, "truncated", k)
    return EpisodeLists(states, chosen, gains, ended, {})


def _each(flags: list[Any], lengths: list[int]) -> Iterable[tuple[int, Any]]:
    return enumerate(zip(flags, lengths, strict=False))


def _check_one_each(lists: dict[str, Any]) -> None:
    sizes = {name: len(given) for name, given in lists.items() if given is not None}
    if len({*sizes.values()}) > 1:
        shown = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        raise ValueError(
            f"Each list must have one entry per episode, not per step; got {shown}. "
            "(Of a vector environment there is one entry per step of all "
            "environments, and one more of observations.)"
        )


def _end(flags: Any, length: int, name: str, k: int) -> Any:
    """The flag of an episode's end, where it is given for the episode or its steps."""
    if np.ndim(flags) == 0:
        return flags
    each = check_flags(flags, f"{name}[{k}]", unit="step")
    if len(each) != length:
        raise ValueError(
            f"{name}[{k}] has {len(each)} entries for {length} actions; one for each, "
            "or one for the episode, was expected."
        )
    if (early := np.flatnonzero(each[:-1])).size:
        raise ValueError(
            f"Episode {k} is {name} at step {early[0]} and goes on until step "
            f"{length - 1}. Split it there: the state that follows an end belongs to "
            "another episode."
        )
    return bool(each[-1]) if length else False


def _from_records(given: Any) -> EpisodeLists:
    """Read Minari's EpisodeData, or what has its attributes."""
    records = [given] if hasattr(given, _RECORD[0]) else [*given]
    for k, record in enumerate(records):
        lacking = [name for name in _RECORD if not hasattr(record, name)]
        if lacking:
            raise TypeError(
                f"Entry {k} is a {type(record).__name__}, which has no "
                f"{' and no '.join(lacking)}. Give observations, actions, rewards and "
                "terminated as lists with one entry per episode, or episodes that have "
                f"the attributes {', '.join(_RECORD)}."
            )
    states, actions, rewards = (
        [getattr(record, name) for record in records] for name in _RECORD[:3]
    )
    lengths = [*map(len, actions)]
    ends = [
        [_end(getattr(r, name), t, name, k) for k, (r, t) in _each(records, lengths)]
        for name in _RECORD[3:]
    ]
    return EpisodeLists(states, actions, rewards, ends[0], {})


def _from_vector_env(
    states: Sequence[Any],
    actions: Sequence[Any],
    rewards: Sequence[Any],
    terminated: Sequence[Any],
    truncated: Sequence[Any] | None,
    mode: str,
) -> EpisodeLists:
    """Cut what Gymnasium's vector environments return, a step at a time, at ends."""
    seen = _stacked(states, check_states, "observations")
    gains = _stacked(rewards, check_reals, "rewards")
    done = _stacked(terminated, check_flags, "terminated")
    cut = np.zeros_like(done)
    if truncated is not None:
        cut = _stacked(truncated, check_flags, "truncated")
    chosen = np.stack([np.asarray(action) for action in actions])
    n_steps, n_envs = gains.shape
    shapes = {seen.shape[1], *done.shape[1:], *cut.shape[1:], chosen.shape[1]}
    if shapes != {n_envs} or len(cut) != n_steps:
        raise ValueError(
            f"Of {n_steps} steps of {n_envs} environments, rewards have shape "
            f"{gains.shape}, observations {seen.shape}, actions {chosen.shape}, "
            f"terminated {done.shape} and truncated {cut.shape}; the first two axes "
            "must be steps and environments, with one step more of observations."
        )
    ends = done | cut
    # In the step after an end the environment is reset, whatever the action is.
    resets = np.zeros_like(ends)
    if mode == "next_step":
        resets[1:] = ends[:-1]
        _check_resets(resets, ends, gains)
    out = EpisodeLists([], [], [], [], {})
    lost: list[float] = []
    for env in range(n_envs):
        starts = np.flatnonzero(resets[:, env] if mode == "next_step" else ends[:, env])
        for piece in np.split(np.arange(n_steps), starts + 1):
            piece = piece[~resets[piece, env]]
            if not piece.size:
                continue
            last, following = piece[-1], np.append(piece, piece[-1] + 1)
            if mode == "same_step" and ends[last, env]:
                # What was returned is the next episode's first state, not this one's
                # last, which is of no use where the episode terminated.
                following[-1] = last
                if not done[last, env]:
                    lost.append(gains[last, env])
                    piece, following = piece[:-1], following[:-1]
                    if not piece.size:
                        continue
            out.observations.append(seen[following, env])
            out.actions.append(chosen[piece, env])
            out.rewards.append(gains[piece, env])
            out.terminated.append(done[piece[-1], env])
    if not lost:
        return out
    return out._replace(left_out={LAST: len(lost)}, lost=lost_of(np.array(lost)))


def _stacked(
    parts: Sequence[Any], check: Callable[[Any, str], Any], name: str
) -> NDArray[Any]:
    return np.stack([check(part, f"{name}[{t}]") for t, part in enumerate(parts)])


def _check_resets(
    resets: NDArray[np.bool_], ends: NDArray[np.bool_], gains: NDArray[np.float64]
) -> None:
    wrong = resets & (ends | (gains != 0.0))
    if wrong.any():
        step, env = np.argwhere(wrong)[0]
        raise ValueError(
            f"Environment {env} ends at step {step - 1}, and at step {step}, in which "
            "it would be reset, it has a reward or ends again. Give "
            "autoreset='same_step' if it was reset in the step of its end."
        )
