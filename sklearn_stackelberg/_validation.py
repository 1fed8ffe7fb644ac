"""Checks of hyperparameters that several packages share."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

# M and 2λn MᵀM + βI, in float64, and as much again to solve with.
_GAME_BYTES = 4 * 2**30


def check_discount(discount: Any) -> None:
    """Refuse a discount under which values have no limit.

    Parameters
    ----------
    discount : object

    Raises
    ------
    ValueError
        In a sentence that says what was given and what was expected.
    """
    if not _is_real(discount) or not 0 <= discount < 1:
        raise ValueError(
            f"discount must be a number in [0, 1), got {discount!r}. 0 counts the next "
            "reward alone; 0.99 looks about 100 steps ahead."
        )


def check_table_size(n_actions: int, n_features: int) -> None:
    """Refuse a game whose matrices would not fit in memory, before they are built.

    Parameters
    ----------
    n_actions, n_features : int

    Raises
    ------
    ValueError
        With the size and the remedy.
    """
    size = 4 * 8 * (n_actions * n_features) ** 2
    if size > _GAME_BYTES:
        raise ValueError(
            f"{n_actions} actions times {n_features} features need matrices of "
            f"{size / 2**30:.1f} GiB, more than the {_GAME_BYTES / 2**30:.0f} GiB "
            "allowed. Set n_components lower, or group the actions; if they are "
            "measurements (doses, prices), set action_type='continuous', or round them "
            "to a few levels."
        )


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)


def check_level(confidence_level: Any) -> None:
    """Refuse what is not a probability strictly between 0 and 1."""
    if (
        not isinstance(confidence_level, Real)
        or isinstance(confidence_level, bool | np.bool_)
        or not 0 < confidence_level < 1
    ):
        raise ValueError(
            "confidence_level must be a number strictly between 0 and 1, such as "
            f"0.95; got {confidence_level!r}."
        )
