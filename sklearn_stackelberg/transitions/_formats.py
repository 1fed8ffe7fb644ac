"""Logs of Minari and D4RL. h5py and minari are imported only where they are used."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ._chains import LAST
from ._checks import check_flags, check_reals, rows_text
from ._join import chain_episodes
from ._linking import count_steps, encode
from ._tables import Index, Log, is_frame

AnyArray = NDArray[Any]


class Episode(Protocol):
    """What is used of Minari's `EpisodeData`."""

    id: Any
    observations: Any  # (T + 1, ...), or a dict or tuple of such
    actions: Any  # (T, ...)
    rewards: Any  # (T,)
    terminations: Any  # (T,)
    infos: Any


def read_minari(episodes: Iterable[Episode]) -> dict[str, Any]:
    """Return the fields of the log that a Minari dataset holds."""
    names, states, actions, rewards, ended = [], [], [], [], []
    propensities: list[AnyArray | None] = []
    for k, episode in enumerate(episodes):
        if not hasattr(episode, "terminations"):
            raise TypeError(
                f"Entry {k} of the dataset is a {type(episode).__name__}; from_minari "
                "takes a MinariDataset, as minari.load_dataset returns it, or its "
                "episodes. Of lists use Transitions.from_episodes."
            )
        flags = check_flags(episode.terminations, f"terminations of episode {k}")
        if flags[:-1].any():
            raise ValueError(
                f"Episode {k} terminates at step {int(np.argmax(flags))} and goes on "
                "after it. Split it there: an episode of Minari ends once."
            )
        names.append(episode.id)
        states.append(_side_by_side(episode.observations, f"observations of {k}"))
        actions.append(_one_space(episode.actions, k))
        rewards.append(np.asarray(episode.rewards, dtype=float).reshape(-1))
        ended.append(bool(flags[-1]) if len(flags) else False)
        infos = episode.infos if isinstance(episode.infos, Mapping) else {}
        noted = infos.get("propensity")
        # One more than actions, as all infos are: the last is of the end, and nothing.
        length = len(rewards[-1])
        known = None if noted is None else np.asarray(noted, dtype=float)[:length]
        propensities.append(known)
    if not names:
        raise ValueError("The dataset has no episodes.")
    fields = chain_episodes(states, actions, rewards, ended)
    if len({*names}) == len(names) and None not in names:
        fields["episode"] = np.asarray(names)[fields["episode"]]
    given = [known for known in propensities if known is not None]
    if len(given) == len(names):
        fields["propensity"] = np.concatenate(given)
    return fields


def _side_by_side(observations: object, name: str) -> AnyArray:
    """Observations of any space as (T + 1, d): their parts, side by side."""
    if isinstance(observations, Mapping):
        observations = tuple(observations.values())
    if isinstance(observations, tuple):
        return np.hstack([_side_by_side(part, name) for part in observations])
    array = np.asarray(observations)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"The {name} are of type {array.dtype}; numbers were expected. Texts need "
            "an encoding of your own: use Transitions.from_episodes."
        )
    return array.reshape(len(array), -1)


def _one_space(actions: object, k: int) -> AnyArray:
    if isinstance(actions, (Mapping, tuple)):
        raise ValueError(
            f"The actions of episode {k} are a {type(actions).__name__} of several "
            "parts; one array was expected. Number their combinations, or choose a "
            "part, and use Transitions.from_episodes."
        )
    array = np.asarray(actions)
    return array if array.ndim == 1 else array.reshape(len(array), -1)


def write_minari(log: Log, dataset_id: str, **settings: Any) -> Any:
    """Write a log as a dataset of Minari, which is returned."""
    try:
        import minari
        from minari.data_collector import EpisodeBuffer
    except ImportError as error:
        raise ImportError(
            "to_minari needs Minari and h5py: pip install 'minari[hdf5]'"
        ) from error
    state, following = np.asarray(log.state), np.asarray(log.next_state)
    action = log.action
    if action.dtype.kind not in "iuf" or state.dtype.kind not in "biuf":
        raise ValueError(
            f"Minari keeps numbers, and the log has {state.dtype} states and "
            f"{action.dtype} actions. Number the actions first: "
            "names, number = np.unique(log.action, return_inverse=True)."
        )
    # Named one by one: what a reader of the dataset will miss is to be known.
    lost = [n for n in ("available", "duration", "weight") if _given(log, n)]
    if is_frame(log.state):
        lost.append("the names of the columns")
    if lost:
        warnings.warn(
            f"Minari has no place for {', '.join(lost)}: left out. [pitfalls: minari]",
            UserWarning,
            stacklevel=3,
        )
    buffers = []
    for name, rows in _whole_episodes(log, state, following):
        length = len(rows)
        ended = np.zeros(length, dtype=bool)
        ended[-1] = log.terminated[rows[-1]]
        cut = np.zeros(length, dtype=bool)
        cut[-1] = not ended[-1]
        infos = {}
        if log.propensity is not None:
            infos["propensity"] = np.append(log.propensity[rows], np.nan)
        buffers.append(
            EpisodeBuffer(
                id=name,
                observations=np.vstack([state[rows], following[rows[-1:]]]),
                actions=action[rows],
                rewards=log.reward[rows],
                terminations=ended,
                truncations=cut,
                infos=infos,
            )
        )
    if "env" not in settings:
        settings.setdefault("observation_space", _space(state))
        settings.setdefault("action_space", _space(action))
    return minari.create_dataset_from_buffers(dataset_id, buffers, **settings)


def _given(log: Log, name: str) -> bool:
    return getattr(log, name, None) is not None


def _space(values: AnyArray) -> Any:
    from gymnasium import spaces

    if values.ndim == 1 and values.dtype.kind in "iu":
        low = int(values.min())
        return spaces.Discrete(int(values.max()) - low + 1, start=low)
    shape = (1,) if values.ndim == 1 else values.shape[1:]
    if values.dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, shape, values.dtype.type)
    low, high = values.min(), values.max()
    return spaces.Box(low, high, shape, values.dtype.type)


def _whole_episodes(
    log: Log, state: AnyArray, following: AnyArray
) -> Iterator[tuple[int, Index]]:
    """A number for each episode, and its rows in order, refused where any lacks."""
    if log.episode is None:
        raise ValueError(
            "A dataset of Minari is a list of episodes, and the log has none: pass "
            "episode= to Transitions."
        )
    codes = encode(log.episode)
    step = count_steps(log.episode) if log.step is None else log.step
    order = np.lexsort((step, codes))
    same = codes[order][1:] == codes[order][:-1]
    now, then = order[:-1][same], order[1:][same]
    broken = step[then] != step[now] + 1
    broken |= log.terminated[now]
    broken |= ~_equal(following[now], state[then])
    if broken.any():
        bad = np.zeros(len(codes), dtype=bool)
        bad[then[broken]] = True
        raise ValueError(
            "An episode of Minari is one chain of states, and these rows do not go on "
            f"from the row before them: {rows_text(bad)}. Give each piece an episode "
            "of its own."
        )
    pieces = np.split(order, np.flatnonzero(~same) + 1)
    return enumerate(pieces)


def _equal(left: AnyArray, right: AnyArray) -> NDArray[np.bool_]:
    return ((left == right) | ((left != left) & (right != right))).all(axis=1)


class D4RL(NamedTuple):
    """The fields of a log, and the rows that are no transition, by reason."""

    fields: dict[str, Any]
    left_out: dict[str, int]


def read_d4rl(source: object) -> D4RL:
    """Return the fields of the log that a D4RL dictionary or HDF5 file holds."""
    with _open(source) as table:
        keys = ("observations", "actions", "rewards", "terminals")
        missing = [key for key in keys if key not in table]
        if missing:
            raise ValueError(
                f"The D4RL data have no {', '.join(missing)}; they hold "
                f"{sorted(map(str, table))[:12]}."
            )
        read = (*keys, "timeouts", "next_observations")
        data = {key: np.asarray(table[key]) for key in read if key in table}
    lengths = {key: len(values) for key, values in data.items()}
    if len({*lengths.values()}) > 1:
        raise ValueError(
            f"The D4RL arrays have different lengths, {lengths}; each needs one entry "
            "for each step."
        )
    state = data["observations"].reshape(lengths["observations"], -1)
    n = len(state)
    if not n:
        raise ValueError("The D4RL arrays are empty; one row or more was expected.")
    ended = check_flags(data["terminals"].reshape(-1), "terminals")
    after, following = data.get("next_observations"), np.vstack([state[1:], state[-1:]])
    if after is not None:
        after = after.reshape(n, -1)
    if "timeouts" in data:
        cut = check_flags(data["timeouts"].reshape(-1), "timeouts")
    elif after is not None:
        # An episode was cut where the next row does not start from the next state.
        cut = ~_equal(after, following)
    else:
        raise ValueError(
            "The D4RL data have neither timeouts nor next_observations, so that "
            "nothing says where an episode was cut and the next row begins another. "
            "Add timeouts: all False if every episode ends with terminals."
        )
    last = ended | cut
    last[-1] = True
    episode = np.append(0, np.cumsum(last[:-1]))
    # Rows that terminate have no next state; a cut row's is in next_observations only.
    kept = np.ones(n, dtype=bool) if after is not None else ended | ~last
    if not kept.any():
        raise ValueError(
            "Each row of the D4RL data is the last of an episode cut by timeouts, and "
            "there are no next_observations: no row has a next state."
        )
    if after is None:
        after = np.where(ended[:, None], state, following)
    action = data["actions"]
    fields = {
        "state": state,
        "action": action if action.ndim == 1 else action.reshape(n, -1),
        "reward": check_reals(data["rewards"].reshape(-1), "rewards"),
        "next_state": after,
        "terminated": ended,
        "episode": episode,
        "step": count_steps(episode),
    }
    fields = {name: values[kept] for name, values in fields.items()}
    return D4RL(fields, {LAST: n - int(kept.sum())} if not kept.all() else {})


@contextmanager
def _open(source: object) -> Iterator[Mapping[str, Any]]:
    """Give a dictionary as it is, a path as an open HDF5 file."""
    if isinstance(source, Mapping):
        yield source
        return
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            f"from_d4rl takes a dictionary of arrays, as env.get_dataset() returns it, "
            f"or the path of an HDF5 file; got a {type(source).__name__}."
        )
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "An HDF5 file is read by h5py, not installed: pip install h5py"
        ) from error
    with h5py.File(source, "r") as file:
        yield file
