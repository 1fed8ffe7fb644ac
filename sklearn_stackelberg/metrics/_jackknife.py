"""The independent pieces of a log: left out one by one, or drawn anew."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import lu_solve

from .._linalg import factors_and_rcond
from .._typing import Floats, Index
from . import _data

# I − H is a difference of numbers near 1 that carry the rounding of M's factors: what
# is left of it below this is rounding. With the ridges of the package it is 1e-5.
_SMALLEST_REMAINDER = 1e-10


def row_groups(pieces: Index) -> Iterator[Index]:
    """Rows, some whole pieces at a time, each piece's rows together."""
    order = np.argsort(pieces, kind="stable")
    ends = np.cumsum(np.bincount(pieces))
    start = 0
    while start < len(order):
        # Of each, several numbers for each feature are held.
        reach = np.searchsorted(ends, start + _data.BATCH_ROWS // 4, side="right")
        # At least one piece, however long.
        end = ends[max(reach - 1, np.searchsorted(ends, start, side="right"))]
        yield order[start:end]
        start = end


def without_itself(difference: Floats, reached: Floats, residual: Floats) -> Floats:
    """(I − D G)⁻¹ δ of one piece, D (k, p) and G = (M⁻¹ z p)ᵀ (p, k).

    NaN where the rest of the log cannot be solved alone.
    """
    k, p = difference.shape
    # Either of the two, whichever is smaller: one is singular where the other is.
    hat = difference @ reached.T if k <= p else reached.T @ difference
    left = np.eye(len(hat)) - hat
    factor, rcond = factors_and_rcond(left)
    remainder = rcond * np.abs(left).sum(axis=0).max()  # 1 / |(I − H)⁻¹|
    if not remainder > _SMALLEST_REMAINDER * max(1.0, np.abs(hat).sum(axis=0).max()):
        return np.full(k, np.nan)
    if k <= p:
        return lu_solve(factor, residual)
    # Woodbury's identity: the inverse by way of the p x p matrix.
    return residual + difference @ lu_solve(factor, reached.T @ residual)


def rows_without_themselves(
    difference: Floats, reached: Floats, residual: Floats
) -> Floats:
    """The same of many pieces of one row each, (k,)."""
    hat = np.einsum("ij,ij->i", difference, reached)
    left = 1.0 - hat
    known = np.abs(left) > _SMALLEST_REMAINDER * np.maximum(1.0, np.abs(hat))
    return np.divide(residual, left, out=np.full(len(hat), np.nan), where=known)


def drawn_times(data: _data.EvaluationData, rng: np.random.RandomState) -> Index:
    """How often a bootstrap of pieces draws each row, (n,)."""
    n = data.n_pieces
    while True:
        times = np.bincount(rng.randint(n, size=n), minlength=n)[data.pieces]
        # Without any initial row there is nothing that a value could be read off.
        if times[data.initial].any():
            return times
