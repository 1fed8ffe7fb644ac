"""The arrays that describe finite processes: what they may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def distributions(
    values: ArrayLike, name: str, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the values, refused unless they are distributions on the last axis."""
    values = np.asarray(values, dtype=float)
    if values.shape != shape:
        raise ValueError(f"{name} has shape {values.shape}; expected {shape}.")
    wrong = ~np.isclose(values.sum(axis=-1), 1.0, rtol=0, atol=1e-6)
    wrong |= ~(values >= 0).all(axis=-1)
    if wrong.any():
        where = f" at {np.argwhere(wrong)[:10].tolist()}" if len(shape) > 1 else ""
        raise ValueError(
            f"{name} holds probabilities that are negative or do not sum to 1{where}."
        )
    return values


def ratio(above: NDArray[Any], below: NDArray[Any]) -> NDArray[np.float64]:
    """Return above / below, and 0 where nothing was counted."""
    return np.divide(above, below, out=np.zeros(above.shape), where=below > 0)


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


def integer_states(states: Any) -> NDArray[np.intp]:
    """Return states given as (n,), (n, 1) or one-hot (n, S) as integers, (n,)."""
    states = np.asarray(states)
    if states.ndim == 2 and states.shape[1] > 1:
        if not ((states == 0) | (states == 1)).all() or (states.sum(axis=1) != 1).any():
            raise ValueError(
                "Finite states are one column of integers or one-hot rows; got "
                f"{states.shape[1]} columns that are not one-hot."
            )
        return np.argmax(states, axis=1)
    return integers(states.reshape(-1), "state")


def size(given: int | None, values: NDArray[np.intp], name: str) -> int:
    """Return how many states or actions there are, at least those in values."""
    largest = int(values.max())
    if given is None:
        return largest + 1
    if largest >= given:
        raise ValueError(f"{name} {largest} was given, but n_{name}s is {given}.")
    return int(given)


def as_discount(discount: float) -> float:
    """Return the discount, refused outside [0, 1]."""
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount is {discount!r}; expected a number in [0, 1].")
    return float(discount)


def positive(count: int, name: str) -> int:
    """Return the count, refused unless it is a positive integer."""
    if int(count) != count or count < 1:
        raise ValueError(f"{name} is {count!r}; expected a positive integer.")
    return int(count)
