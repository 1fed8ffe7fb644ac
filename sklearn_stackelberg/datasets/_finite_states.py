"""States of a finite process as integers, and what can be done in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class AvailableIn:
    """The rule of a log: which actions are available in finite states."""

    def __init__(self, available: NDArray[np.bool_]) -> None:
        self._available = available

    def __call__(self, states: ArrayLike) -> Any:
        # Named columns: a log need not hold every action.
        import pandas as pd

        return pd.DataFrame(self._available[integer_states(states)])


def as_mask(available: ArrayLike, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask, refused unless something can be done in every state."""
    mask = np.array(available)
    if mask.shape != shape or mask.dtype != bool:
        raise ValueError(
            f"available has shape {mask.shape} and type {mask.dtype}; expected a bool "
            f"for each state and action, {shape}."
        )
    if not mask.any(axis=1).all():
        states = np.flatnonzero(~mask.any(axis=1))[:10].tolist()
        raise ValueError(
            f"available says that nothing can be done in the states {states}; allow an "
            "action there (any, where a state is terminal)."
        )
    return mask


def integers(values: ArrayLike, name: str) -> NDArray[np.intp]:
    """Return the values, refused unless they are integers from 0."""
    values = np.asarray(values)
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        wrong = values[:5]
    else:
        whole = values.astype(np.intp)
        wrong = values[(whole != values) | (whole < 0)][:5]
        if not len(wrong):
            return whole
    raise ValueError(f"{name} must hold integers from 0; got {wrong.tolist()}.")


def integer_states(states: ArrayLike) -> NDArray[np.intp]:
    """Return states given as (n,), (n, 1) or one-hot (n, S) as integers, (n,)."""
    states = np.asarray(states)
    # One column holds integers, though they be 0 and 1.
    if states.ndim == 2 and states.shape[1] > 1:
        if not ((states == 0) | (states == 1)).all() or (states.sum(axis=1) != 1).any():
            raise ValueError(
                "Finite states are one column of integers or one-hot rows; got "
                f"{states.shape[1]} columns that are not one-hot."
            )
        return np.argmax(states, axis=1)
    return integers(states.reshape(-1), "state")
