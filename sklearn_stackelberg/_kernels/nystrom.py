"""Which rows are landmarks, and the whitening of their Gram matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Array = NDArray[np.floating]

# Landmark directions below this share of the largest eigenvalue are dropped: dividing
# by their square root would blow rounding up into features (float32 most of all).
_RANK_TOLERANCE = {"float64": 1e-10, "float32": 1e-8}
# Rows per landmark among which landmarks are drawn.
_LANDMARK_POOL = 20
_GRAM_BYTES = 2**31


def choose_landmarks(
    states: Array, wanted: int | None, rng: Any, *, every: bool = False
) -> Array:
    """Rows that a kernel is represented on.

    Parameters
    ----------
    states : array of shape (n, d)
    wanted : int or None
        None takes every distinct row.
    rng : numpy RandomState
    every : bool, default=False
        Whether nothing less than every distinct row will do.

    Returns
    -------
    array of shape (n_landmarks, d)

    Raises
    ------
    ValueError
        If their Gram matrix would not fit in memory, or not all of them are wanted.
    """
    distinct = _distinct_rows(states, wanted)
    if distinct is not None:
        _refuse_large_gram(len(distinct))
        return distinct
    if every:
        raise ValueError(
            f"kernel='delta' tells states apart only if each is a landmark, but "
            f"the log has more than n_components={wanted} distinct states. Set "
            "n_components=None, or use a smooth kernel such as 'rbf'."
        )
    _refuse_large_gram(wanted)
    # Equal rows would be one landmark counted often: draw among distinct ones, of a
    # part of the log where that holds enough of them.
    part = states
    if len(states) > _LANDMARK_POOL * wanted:
        part = states[rng.choice(len(states), _LANDMARK_POOL * wanted, False)]
    pool = np.unique(part, axis=0)
    if len(pool) < wanted:
        pool = np.unique(states, axis=0)
    return pool[np.sort(rng.choice(len(pool), wanted, replace=False))]


def whiten(gram: Array, dtype: str, kernel: Any) -> Array:
    """U Λ^(-1/2) of the Gram matrix, largest eigenvalue first.

    Parameters
    ----------
    gram : array of shape (n_landmarks, n_landmarks)
    dtype : {"float64", "float32"}
        Directions that hold only its rounding are dropped.
    kernel : object
        Named in messages.

    Returns
    -------
    array of shape (n_landmarks, n_features)

    Raises
    ------
    ValueError
        If the matrix is not symmetric, finite and positive semi-definite, or zero.
    """
    if not np.isfinite(gram).all():
        raise ValueError(
            f"The kernel {kernel!r} gave NaN or infinity on the logged states. Scale "
            "the states, or choose kernel parameters that suit their range."
        )
    if np.abs(gram - gram.T).max() > 1e-4 * np.abs(gram).max():
        raise ValueError(
            f"The kernel {kernel!r} is not symmetric: k(s, s') and k(s', s) differ by "
            f"up to {np.abs(gram - gram.T).max():.3g} on the landmarks."
        )
    values, vectors = eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    if not gram.any():
        raise ValueError(
            f"The kernel {kernel!r} is zero on all logged states, so it gives no "
            "features to learn from. Choose another, such as 'rbf'; with 'linear', add "
            "a column that is not zero."
        )
    largest = max(values[0], 0.0)
    if -values[-1] > 1e-6 * max(largest, np.finfo(float).tiny):
        raise ValueError(
            f"The kernel {kernel!r} is not positive semi-definite: the Gram matrix of "
            f"the landmarks has eigenvalues from {values[-1]:.3g} to {values[0]:.3g}."
        )
    kept = values > _RANK_TOLERANCE[dtype] * largest
    return vectors[:, kept] / np.sqrt(values[kept])


def _distinct_rows(states: Array, limit: int | None) -> Array | None:
    """The distinct rows, sorted; None if there are more than ``limit``."""
    # Most logs of measured states show more than ``limit`` in their first rows, and
    # need no sort of a million.
    if limit is not None and len(np.unique(states[: 4 * limit], axis=0)) > limit:
        return None
    distinct = np.unique(states, axis=0)
    return distinct if limit is None or len(distinct) <= limit else None


def _refuse_large_gram(n_landmarks: int) -> None:
    size = 8 * n_landmarks**2
    if size > _GRAM_BYTES:
        raise ValueError(
            f"{n_landmarks} landmarks need a Gram matrix of {size / 2**30:.1f} GiB, "
            f"more than the {_GRAM_BYTES / 2**30:.0f} GiB allowed. Set n_components to "
            "a few hundred landmarks."
        )
