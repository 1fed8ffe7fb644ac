"""Weights of a log's rows, and rows that repeat others."""

from __future__ import annotations

import copy
from collections.abc import Sized
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

from .._stored_rows import row_batches

# Written out, as `_discounting` has them: this module imports none of ours, so that
# metrics and problems can read it from low down.
Floats = NDArray[np.floating]
Weights = NDArray[np.float64]
Index = NDArray[np.intp]
Hashes = NDArray[np.uint64]


class WeighedRows(Protocol):
    """What is read of a log."""

    action: NDArray[Any]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    is_initial: NDArray[np.bool_]
    propensity: NDArray[np.float64] | None
    duration: NDArray[np.float64] | None
    weight: NDArray[np.float64] | None
    available: NDArray[np.bool_] | None
    next_available: NDArray[np.bool_] | None

    def __len__(self) -> int: ...
    def __getitem__(self, rows: Index, /) -> Self: ...


L = TypeVar("L", bound=WeighedRows)

# Where rows that differ have half as many states that differ, states are measured: rows
# that are equal all the same are copies, and no chance.
_MEASURED = 0.5

_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_ODD = np.uint64(0x9E3779B97F4A7C15)


def check_sample_weight(sample_weight: ArrayLike, n: int) -> Weights:
    """Return weights of the n rows of X."""
    weight: Weights = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}; one weight for each of the {n} "
            "rows was expected."
        )
    if weight.min() < 0 or not weight.any():
        raise ValueError(
            "sample_weight must be >= 0 and not zero everywhere; it goes from "
            f"{weight.min():g} to {weight.max():g}."
        )
    return weight


def n_given(X: object, y: object, log: WeighedRows) -> int:
    """How many rows X has: a table's may hold states alone, and weights count them."""
    if y is None:
        return len(log)
    return len(X) if isinstance(X, Sized) else len(np.asarray(X))


def weighted_log(
    log: L, rows: Index, n_given: int, sample_weight: ArrayLike | None
) -> tuple[L, Index]:
    """A log whose rows also count as often as the rows of X that they came from.

    ``rows`` are these, out of ``n_given``; returned with those of the rows that have a
    weight.
    """
    if sample_weight is None and log.weight is None:
        return log, rows
    weight = np.ones(len(log)) if log.weight is None else log.weight
    if sample_weight is not None:
        weight = weight * check_sample_weight(sample_weight, n_given)[rows]
    if not weight.any():
        raise ValueError(
            "All rows that are transitions have sample_weight 0; give some a weight."
        )
    # A row of weight 0 is as if it were not there: no state of it becomes a landmark.
    kept = np.flatnonzero(weight > 0)
    if len(kept) < len(log):
        log, rows, weight = log[kept], rows[kept], weight[kept]
    # As without weights, to the last digit.
    once = bool((weight == 1.0).all())
    return with_weight(log, None if once else weight), rows


def weighted(
    log: L, rows: Index, X: object, y: object, sample_weight: ArrayLike | None
) -> L:
    """The same of what `as_transitions` made of X and y."""
    return weighted_log(log, rows, n_given(X, y, log), sample_weight)[0]


def with_weight(log: L, weight: Weights | None) -> L:
    """The same log with other weights."""
    new = copy.copy(log)
    new.weight = weight
    return new


class EqualEpisodes(NamedTuple):
    """Episodes (or rows, where there are none) that repeat others, row by row."""

    first: Index  # rows of those that are the first of their kind, (m,)
    stands_for: Index  # the place among these of the row that each one repeats, (n,)
    kind: Index  # codes of the episodes' kinds, in order of appearance, (n,)
    by_chance: bool  # whether equal ones may as well be others

    def summed(self, weight: Floats) -> Weights:
        """Weights of the first ones, each with those that repeat it, (m,)."""
        return np.bincount(self.stands_for, weight, len(self.first)).astype(np.float64)


def equal_episodes(
    log: WeighedRows, episode: Index, state: Floats, next_state: Floats
) -> EqualEpisodes | None:
    """Find episodes whose rows are those of another one; None if there are none.

    Rows are in the order of the log, of which the states are given as numbers, (n, d),
    and the episodes by codes in the order of appearance, (n,); without episodes each
    row has its own. Names, steps and weights are not compared.
    """
    n = len(log)
    order = np.argsort(episode, kind="stable")
    lengths = np.bincount(episode)
    starts = np.cumsum(lengths) - lengths
    place = np.empty(n, dtype=np.intp)
    place[order] = np.arange(n) - np.repeat(starts, lengths)

    def of_episodes(content: Hashes) -> Hashes:
        # A sum over rows that know their places: equal where all of them are.
        placed = hashed_with(content, place.astype(np.uint64))
        whole = np.add.reduceat(placed[order], starts)
        return hashed_with(whole, lengths.astype(np.uint64))

    # Most logs are seen to hold no copies at a glance.
    glance = hashed_with(_bits(state[:, 0]), _bits(log.reward))
    if len(np.unique(of_episodes(glance))) == len(starts):
        return None
    of_state, content = _row_hashes(log, state, next_state)
    # Of 64 bits: a million episodes collide once in thirty million logs.
    _, first, kind = np.unique(
        of_episodes(content), return_index=True, return_inverse=True
    )
    if len(first) == len(starts):
        return None
    rank = np.empty(len(first), dtype=np.intp)
    rank[np.argsort(first)] = np.arange(len(first))
    original = first[kind][episode]  # the first episode of each row's kind, (n,)
    like = order[starts[original] + place]
    kept = np.flatnonzero(like == np.arange(n))
    at = np.empty(n, dtype=np.intp)
    at[kept] = np.arange(len(kept))
    n_states = len(np.unique(of_state))
    by_chance = n_states <= _MEASURED * len(np.unique(content))
    return EqualEpisodes(kept, at[like], rank[kind][episode], by_chance)


def _row_hashes(
    log: WeighedRows, state: Floats, next_state: Floats
) -> tuple[Hashes, Hashes]:
    """Hashes of the state of each row, and of all that is known of it, (n,) each."""
    of_state = _hashes_of(state)
    out = of_state
    optional = (log.propensity, log.duration, log.available, log.next_available)
    given = (log.action, log.reward, log.terminated, log.is_initial, *optional)
    for values in given:
        if values is not None:
            for column in values.reshape(len(state), -1).T:
                out = hashed_with(out, _bits(column))
    after = _hashes_of(next_state)
    # What follows an end is never used.
    after[log.terminated] = 0
    return of_state, hashed_with(out, after)


def _hashes_of(states: Floats) -> Hashes:
    out: Hashes = np.zeros(len(states), dtype=np.uint64)
    for some in row_batches(states):
        for column in states[some].T:
            out[some] = hashed_with(out[some], _bits(column))
    return out


def _bits(values: NDArray[np.generic]) -> Hashes:
    if values.dtype.kind not in "biuf":
        # Names by their number, which is the same for equal ones.
        return np.unique(values, return_inverse=True)[1].ravel().astype(np.uint64)
    # Zero has one sign.
    return (values.astype(np.float64) + 0.0).view(np.uint64)


def hashed_with(hashes: Hashes, more: Hashes) -> Hashes:
    """Hashes of pairs.

    By the last steps of SplitMix64 (Steele, Lea and Flood, 2014).
    """
    hashes = hashes * _ODD + more
    for shift, factor in zip((30, 27), _FACTORS, strict=True):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * factor
    return hashes ^ (hashes >> np.uint64(31))
