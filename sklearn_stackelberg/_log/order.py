"""Tables whose rows or steps run in an order that cannot be meant."""

from __future__ import annotations

from math import lgamma, log

import numpy as np

from .linking import Links, encode

# A shuffled fold must not be refused: fewer than one order in a billion looks so.
_CHANCE = 1e-9


def refuse_scattered_episodes(episode: np.ndarray, name: str) -> None:
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
    here = (
        f"rows {starts[first]} to {before}"
        if before > starts[first]
        else (f"row {before}")
    )
    raise ValueError(
        f"{name} {episode[starts[first]].item()!r} appears in two places, at {here} "
        f"and again from row {starts[second]} on{more}; without step, the rows of an "
        "episode must stand together and in the order of time. Give the step of each "
        "row, or sort the table by episode and time, and give different episodes "
        "different names. Splits and draws that shuffle rows do this as well: draw "
        "whole episodes with EpisodeKFold."
    )


def refuse_backward_steps(
    episode: np.ndarray,
    step: np.ndarray,
    links: Links,
    acted: np.ndarray,
    ended: np.ndarray,
) -> None:
    """Refuse steps that count down along the rows of every episode.

    They may be a countdown, and then step + 1 is the row *before*. Where rows are in
    mixed order nothing is said, and where the ends of episodes have the largest steps
    the rows are only listed newest first.
    """
    codes = encode(episode)
    same = codes[1:] == codes[:-1]
    n_episodes = codes.size - int(same.sum())
    if not same.any() or n_episodes > codes.max() + 1:
        return  # of one row each, or mixed with each other
    if not (step[1:] < step[:-1])[same].all():
        return
    long = ~(links.first & links.last)
    ends = long & (ended if (long & ended).any() else ~acted & links.last)
    if ends.any() and links.last[ends].all():
        return
    if ends.any() and links.first[ends].all():
        why = f"and the row that terminates it, row {np.argmax(ends)}, has the smallest"
    elif lgamma(n_episodes + 1) - lgamma(codes.size + 1) < log(_CHANCE):
        # Of n! orders of the rows, only (number of episodes)! look like this one.
        why = "and no end tells whether the largest or the smallest comes last"
    else:
        return
    row = int(np.argmax(same))
    raise ValueError(
        f"The steps run backwards: they fall from row to row in every episode, as in "
        f"{episode[row].item()!r} from {step[row]} to {step[row + 1]} at rows {row} "
        f"and {row + 1}, {why}. The next state is looked for at step + 1, so steps "
        "must rise with time. If they count down to the end, number them upwards; if "
        "the table is newest first, sort it by episode and step."
    )
