"""The Markov chain that a policy makes of a finite process: values and episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from .._typing import Floats

# Episodes drawn at once to begin with: few rows are lost if they are long.
_FIRST_BATCH = 32

_ROW = [
    *((name, np.intp) for name in ("episode", "step", "state", "action", "next_state")),
    ("terminated", bool),
]


def chain_values(
    chain: Floats,
    stops: NDArray[np.bool_],
    reward: Floats,
    discount: float,
    horizon: int | None,
) -> Floats:
    """Return the value of each state, NaN where its return has no limit.

    chain (S, S) holds the probabilities of going on, stops (S,) where the episode
    may end, reward (S,) the mean reward of a step.
    """
    n_states = len(chain)
    if horizon is not None:
        values = np.zeros(n_states)
        for _ in range(horizon):
            values = reward + discount * chain @ values
        return values
    # v = r + discount P v, which has one solution where the discount is below 1.
    if discount < 1.0:
        return np.linalg.solve(np.eye(n_states) - discount * chain, reward)
    # Undiscounted: I - chain is singular on classes of states that are never left.
    # Such a class is worth 0 when it pays nothing, and has no value when it pays.
    n_classes, of = connected_components(chain > 0, connection="strong")
    left = np.zeros(n_classes, dtype=bool)
    source, target = np.nonzero(chain)
    left[of[source[of[source] != of[target]]]] = True
    left[of[stops]] = True
    trapped = ~left[of]  # (S,)
    endless = np.zeros(n_classes, dtype=bool)
    endless[of[trapped & (reward != 0)]] = True
    diverges = endless[of]
    for _ in range(n_states):
        diverges |= (chain > 0) @ diverges
    values = np.where(diverges, np.nan, 0.0)
    free = np.flatnonzero(~trapped & ~diverges)
    values[free] = np.linalg.solve(
        np.eye(len(free)) - chain[np.ix_(free, free)], reward[free]
    )
    return values


def sample_episodes(
    process: tuple[Floats, Floats, Floats, Floats],
    n_rows: int,
    rng: np.random.Generator,
    horizon: int | None,
) -> NDArray[Any]:
    """Return n_rows rows of whole episodes, but for the last, which is cut.

    process holds the initial distribution (S,), the policy (S, A), the transition
    (S, A, S) and the termination (S, A, S) probabilities.
    """
    *drawn, termination = process
    tables = [_cumulative(probabilities) for probabilities in drawn]
    # No episode needs more rows than the log has.
    limit = n_rows if horizon is None else min(n_rows, horizon)
    parts: list[NDArray[Any]] = []
    missing, n_episodes, batch = n_rows, 0, _FIRST_BATCH
    while missing > 0:
        part = _batch(tables, termination, rng, batch, limit, missing)[:missing]
        part["episode"] += n_episodes
        n_episodes = int(part["episode"][-1]) + 1
        parts.append(part)
        missing -= len(part)
        # A tenth more than the mean length says: a batch too many costs more than rows.
        mean_length = (n_rows - missing) / n_episodes
        batch = max(_FIRST_BATCH, int(1.1 * missing / mean_length))
    return np.concatenate(parts)


def _batch(
    tables: list[Floats],
    termination: Floats,
    rng: np.random.Generator,
    batch: int,
    limit: int,
    missing: int,
) -> NDArray[Any]:
    """Return episodes stepped together, sorted by episode and step.

    All are whole, or the first `missing` rows are whole episodes and the start of one:
    keeping whatever ended first would fill the log with short episodes.
    """
    initial, policy, transition = tables
    alive = np.arange(batch)
    state = _draw(np.broadcast_to(initial, (batch, len(initial))), rng)
    length = np.zeros(batch, dtype=np.intp)
    steps: list[tuple[NDArray[Any], ...]] = []
    for _ in range(limit):
        action = _draw(policy[state], rng)
        after = _draw(transition[state, action], rng)
        stop = rng.random(len(alive)) < termination[state, action, after]
        steps.append((alive, state, action, after, stop))
        length[alive] += 1
        alive, state = alive[~stop], after[~stop]
        # Enough once the episodes up to the first living one fill the log.
        if not len(alive) or length[: alive[0] + 1].sum() >= missing:
            break
    columns = [np.concatenate(column) for column in zip(*steps, strict=True)]
    rows = np.empty(len(columns[0]), dtype=_ROW)
    rows["step"] = np.repeat(np.arange(len(steps)), [len(kept[0]) for kept in steps])
    names = ("episode", "state", "action", "next_state", "terminated")
    for name, column in zip(names, columns, strict=True):
        rows[name] = column
    return rows[np.lexsort((rows["step"], rows["episode"]))]


def _cumulative(probabilities: Floats) -> Floats:
    sums = np.cumsum(probabilities, axis=-1)
    # Exactly 1 from the last possible outcome on: rounding can draw no other.
    return sums / sums[..., -1:]


def _draw(cumulative: Floats, rng: np.random.Generator) -> NDArray[np.intp]:
    return (cumulative <= rng.random((len(cumulative), 1))).sum(axis=1)
