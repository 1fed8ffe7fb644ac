"""Episodes as the independent pieces of a log: in turns, left out, drawn anew."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .judged import JudgedLog
from .nodes import Floats

# Rows that are held at once.
BATCH_ROWS = 4096


def row_groups(judged: JudgedLog) -> Iterator[NDArray[np.intp]]:
    """Rows, some whole episodes at a time, each episode's rows together."""
    order = np.argsort(judged.episode, kind="stable")
    ends = np.cumsum(np.bincount(judged.episode))
    start = 0
    while start < len(order):
        reach = np.searchsorted(ends, start + BATCH_ROWS, side="right")
        # At least one episode, however long.
        end = ends[max(reach - 1, np.searchsorted(ends, start, side="right"))]
        yield order[start:end]
        start = end


def pieces(codes: NDArray[np.intp]) -> list[slice]:
    """Slices of equal codes that stand together."""
    cuts = np.flatnonzero(np.diff(codes)) + 1
    return [
        slice(start, end)
        for start, end in zip([0, *cuts], [*cuts, len(codes)], strict=True)
    ]


def without_itself(difference: Floats, reached: Floats, residual: Floats) -> Floats:
    """(I − D G)⁻¹ δ of one episode, D (k, p) and G = (M⁻¹ z p)ᵀ (p, k)."""
    k, p = difference.shape
    try:
        if k <= p:
            return np.linalg.solve(np.eye(k) - difference @ reached.T, residual)
        # The same by a smaller system.
        inner = np.linalg.solve(
            np.eye(p) - reached.T @ difference, reached.T @ residual
        )
        return residual + difference @ inner
    except np.linalg.LinAlgError:  # the rest of the log could not be solved alone
        return residual


def drawn_times(judged: JudgedLog, rng: np.random.RandomState) -> NDArray[np.intp]:
    """How often each episode is drawn, (E,), such that there is an initial row."""
    first = np.unique(judged.episode[judged.initial])
    while True:
        drawn = rng.randint(judged.n_episodes, size=judged.n_episodes)
        times = np.bincount(drawn, minlength=judged.n_episodes)
        if times[first].any():
            return times
