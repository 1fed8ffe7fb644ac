"""Which row follows which: by episode and step."""

from __future__ import annotations

from collections.abc import Callable
from math import lgamma, log
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Links(NamedTuple):
    """How the n rows of a log hang together."""

    codes: NDArray[np.intp]  # the number of the row's episode, as `encode` gives it
    next_row: NDArray[np.intp]  # the row of the same episode at step + 1, or -1
    first: NDArray[np.bool_]  # whether the row has the smallest step of its episode
    last: NDArray[np.bool_]  # whether it has the largest


def encode(episode: NDArray[Any]) -> NDArray[np.intp]:
    """Return each row's episode as a number, from 0 in order of appearance."""
    if not episode.size:
        return np.empty(0, dtype=np.intp)
    # Rows of an episode mostly stand together: sort their names once for each run.
    starts = np.flatnonzero(np.append(True, episode[1:] != episode[:-1]))
    names = episode[starts]
    if names.dtype.kind in "iu" and (
        (span := int(names.max()) - int(names.min()) + 1) <= _DENSE * names.size
    ):
        # Whole numbers that stand close together need no sort.
        place = (names - names.min()).astype(np.intp)
        first_run = np.full(span, -1, dtype=np.intp)
        # Written backwards, so that what stays of each name is where it came first.
        first_run[place[::-1]] = np.arange(names.size)[::-1]
        present = np.flatnonzero(first_run >= 0)
        rank = np.empty(span, dtype=np.intp)
        rank[present[np.argsort(first_run[present])]] = np.arange(present.size)
    else:
        _, first_run, place = np.unique(names, return_index=True, return_inverse=True)
        rank = np.empty(first_run.size, dtype=np.intp)
        rank[np.argsort(first_run)] = np.arange(first_run.size)
    codes = rank[place.reshape(-1)]
    if names.size == episode.size:
        return codes
    return np.repeat(codes, np.diff(np.append(starts, episode.size)))


# A table of so many entries for each name costs less than to sort the names.
_DENSE = 4


class Places(NamedTuple):
    """Where the n rows of a log stand in time."""

    episode: NDArray[np.intp]  # (n,), codes from 0
    place: NDArray[np.intp]  # (n,), rows of the episode that stand before it in time
    size: NDArray[np.intp]  # (E,), rows of each episode


def places_in_time(
    n: int, episode: NDArray[Any] | None, step: NDArray[Any] | None
) -> Places:
    """Read off the place of rows that stand in order where they have no steps.

    Without episodes they are one.
    """
    codes = np.zeros(n, dtype=np.intp) if episode is None else encode(episode)
    order = np.lexsort((np.arange(n) if step is None else step, codes))
    size = np.bincount(codes)
    place = np.empty(n, dtype=np.intp)
    place[order] = np.arange(n) - (np.cumsum(size) - size)[codes[order]]
    return Places(codes, place, size)


def link(episode: NDArray[Any], step: NDArray[np.int64]) -> Links:
    """Find each row's successor, wherever it stands; refuse steps that repeat."""
    codes = encode(episode)
    order = _in_time(codes, step)
    code, at = codes[order], step[order]
    same = code[1:] == code[:-1]
    # Sorted int64: a difference that wraps around cannot be mistaken for 0 or 1.
    apart = at[1:] - at[:-1]
    twice = np.flatnonzero(same & (apart == 0))
    if twice.size:
        order = np.lexsort((step, codes))  # of two rows at one step, the first first
        examples = "; ".join(
            f"({episode[order[k]].item()!r}, {at[k]}) at rows {order[k]} "
            f"and {order[k + 1]}"
            for k in twice[:3]
        )
        raise ValueError(
            f"Each (episode, step) must name one row; {twice.size:,} repeat another: "
            f"{examples}. Drop them, or give each episode a name; bootstraps must draw "
            "whole episodes (log.episodes)."
        )
    next_row = np.full(step.size, -1, dtype=np.intp)
    follows = np.flatnonzero(same & (apart == 1))
    next_row[order[follows]] = order[follows + 1]
    first, last = np.ones((2, step.size), dtype=bool)
    first[order[1:][same]] = False
    last[order[:-1][same]] = False
    return Links(codes, next_row, first, last)


def _in_time(codes: NDArray[np.intp], step: NDArray[np.int64]) -> NDArray[np.intp]:
    """Rows by episode and then by step; those of one step in any order."""
    if not step.size:
        return np.empty(0, dtype=np.intp)
    low, high = int(step.min()), int(step.max())
    # One key where it fits into an integer: half the sorting, or none.
    if (high - low + 1) * (int(codes.max()) + 1) >= 2**62:
        return np.lexsort((step, codes))
    key = codes * (high - low + 1) + (step - low)
    if (key[1:] >= key[:-1]).all():
        return np.arange(step.size)
    return np.argsort(key)


def cut_episodes(
    episode: NDArray[Any],
    step: NDArray[np.int64],
    ends: NDArray[np.bool_],
    acted: NDArray[np.bool_],
) -> NDArray[Any]:
    """Give the parts names of their own, 0, 1, ..., that episodes fall into at `ends`.

    Names stay as they are if no end stands inside an episode.
    """
    codes = encode(episode)
    order = np.lexsort((step, codes))
    same = codes[order][1:] == codes[order][:-1]
    ends, acted = ends[order], acted[order]
    # A row without an action right behind an end holds the state that it was cut in.
    begins = same & ends[:-1] & acted[1:]
    begins[1:] |= same[1:] & same[:-1] & ends[:-2] & ~acted[1:-1]
    if not begins.any():
        return episode
    part = np.empty(codes.size, dtype=np.intp)
    part[order] = np.cumsum(np.append(True, begins | ~same))
    return encode(part)


def count_steps(
    episode: NDArray[Any],
    jump: Callable[..., NDArray[np.intp]] | None = None,
) -> NDArray[np.int64]:
    """Count each episode's rows from 0 in the order in which they stand.

    `jump(before, after)`, of arrays of rows, may say how far apart neighbours are.
    """
    codes = encode(episode)
    order = np.argsort(codes, kind="stable")
    same = codes[order][1:] == codes[order][:-1]
    apart = 1 if jump is None else jump(order[:-1], order[1:])
    # Counted through all episodes at once, from which each one's start is taken away.
    reached = np.concatenate([[0], np.cumsum(np.where(same, apart, 0))])
    starts = np.concatenate([[0], np.flatnonzero(~same) + 1])
    lengths = np.diff(np.append(starts, codes.size))
    step = np.empty(codes.size, dtype=np.int64)
    step[order] = reached - np.repeat(reached[starts], lengths)
    return step


# A shuffled fold must not be refused: fewer than one order in a billion looks so.
_CHANCE = 1e-9


def refuse_scattered_episodes(episode: NDArray[Any], name: str) -> None:
    """Refuse an episode whose rows stand in two places, where no step orders them."""
    starts = np.flatnonzero(np.append(True, episode[1:] != episode[:-1]))
    runs = encode(episode[starts])
    n_runs = np.bincount(runs)
    if n_runs.max() == 1:
        return
    first, second = np.flatnonzero(runs == np.argmax(n_runs > 1))[:2]
    n_scattered = int((n_runs > 1).sum())
    more = f" ({n_scattered:,} episodes do)" if n_scattered > 1 else ""
    before = starts[first + 1] - 1
    several = before > starts[first]
    here = f"rows {starts[first]} to {before}" if several else f"row {before}"
    raise ValueError(
        f"{name} {episode[starts[first]].item()!r} appears in two places, at {here} "
        f"and again from row {starts[second]} on{more}; without step, the rows of an "
        "episode must stand together and in the order of time. Give the step of each "
        "row, or sort the table by episode and time. Splits that shuffle rows do this "
        "as well: draw whole episodes with EpisodeKFold."
    )


def refuse_backward_steps(
    episode: NDArray[Any],
    step: NDArray[np.int64],
    links: Links,
    acted: NDArray[np.bool_],
    ended: NDArray[np.bool_],
) -> None:
    """Refuse steps that count down along the rows of every episode.

    They may be a countdown, and then step + 1 is the row *before*; where the ends of
    episodes have the largest steps, the rows are only listed newest first.
    """
    codes = links.codes
    same = codes[1:] == codes[:-1]
    n_episodes = codes.size - int(same.sum())
    if not same.any() or n_episodes > codes.max() + 1:
        return  # of one row each, or mixed with each other
    if not (step[1:] < step[:-1])[same].all():
        return
    long = ~(links.first & links.last)
    # An episode of one row has its end first and last. Where no row is terminated, a
    # row without an action is one that holds the state after the last step.
    ends = long & (ended if (long & ended).any() else ~acted & links.last)
    if ends.any() and links.last[ends].all():
        return
    if ends.any() and links.first[ends].all():
        why = f"and the row that terminates it, row {np.argmax(ends)}, has the smallest"
    elif lgamma(n_episodes + 1) - lgamma(codes.size + 1) < log(_CHANCE):
        # Of n! orders of the rows, only (number of episodes)! look like this one.
        why = "and no end shows whether the largest or the smallest comes last"
    else:
        return
    row = int(np.argmax(same))
    raise ValueError(
        f"The steps run backwards: they fall from row to row in every episode, as in "
        f"{episode[row].item()!r} from {step[row]} to {step[row + 1]} at rows {row} "
        f"and {row + 1}, {why}. Steps must rise with time: number a countdown upwards; "
        "if the table is newest first, sort it by episode and step."
    )


def gaps_in_words(
    episode: NDArray[Any], step: NDArray[np.int64], gaps: NDArray[np.bool_], used: str
) -> str:
    """Why steps that leave more rows out than they link are no numbers of decisions."""
    row = int(np.argmax(gaps))
    later = np.flatnonzero((episode == episode[row]) & (step > step[row]))
    following = later[np.argmin(step[later])]
    return (
        f"The steps leave gaps: {used} can be used, and {int(gaps.sum()):,} have no "
        f"row at step + 1 although their episode goes on, as in {episode[row].item()!r}"
        f" from {step[row]} to {step[following]} at rows {row} and {following}. If "
        "steps count in tens, days or hours, number the decisions of each episode one "
        "by one: sort by time and use df.groupby(episode).cumcount(). If rows were "
        "drawn one by one (KFold, train_test_split, resample), draw whole episodes: "
        "EpisodeKFold."
    )
