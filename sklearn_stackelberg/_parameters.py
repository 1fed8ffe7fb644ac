"""Hyperparameters that no game can be played with, refused in a sentence."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np

from ._evaluation.estimate import check_level
from .kernels import check_kernel

# M and 2λn MᵀM + βI, in float64, and as much again to solve with.
_GAME_BYTES = 4 * 2**30


def check_parameters(estimator: Any) -> None:
    """Refuse hyperparameters out of range.

    Parameters
    ----------
    estimator : StackelbergPolicyEstimator

    Raises
    ------
    ValueError
        In a sentence that says what was given and what was expected.
    """
    params = estimator.get_params(deep=False)
    check_discount(params["discount"])
    for name, other in (("lam", " or 'calibrated'"), ("beta", "")):
        if isinstance(params[name], str) and repr(params[name]) in other:
            continue
        if not _is_real(params[name]) or not 0 < params[name] < np.inf:
            raise ValueError(
                f"{name} must be a positive finite number{other}, got {params[name]!r}."
            )
    check_level(params["confidence_level"])
    for name in ("ridge", "tol"):
        if not _is_real(params[name]) or not 0 <= params[name] < np.inf:
            raise ValueError(f"{name} must be a number >= 0, got {params[name]!r}.")
    for name in ("mirror_steps", "max_iter"):
        if not _is_whole(params[name]) or params[name] < 0:
            raise ValueError(f"{name} must be an integer >= 0, got {params[name]!r}.")
    components = params["n_components"]
    if components is not None and (not _is_whole(components) or components < 1):
        raise ValueError(
            f"n_components must be an integer >= 1, or None for every distinct state, "
            f"got {components!r}."
        )
    _check_bandwidth(params["bandwidth"])
    if not isinstance(params["kernel_params"], dict | None):
        raise ValueError(
            "kernel_params must be a dict of the kernel's parameters or None, got "
            f"{params['kernel_params']!r}."
        )
    for name, options in (
        ("initial_states", ("first", "all")),
        ("leader_gradient", ("total", "individual")),
        ("dtype", ("float64", "float32")),
    ):
        if params[name] not in options:
            raise ValueError(
                f"{name} must be one of {list(options)}, got {params[name]!r}."
            )
    check_kernel(params["kernel"])


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
            "measurements (doses, prices), round them to a few levels."
        )


def _check_bandwidth(bandwidth: Any) -> None:
    if isinstance(bandwidth, str) and bandwidth == "median":
        return
    if _is_real(bandwidth) or np.ndim(bandwidth) == 1:
        lengths = np.atleast_1d(bandwidth)
        if lengths.dtype.kind in "iuf" and np.all((lengths > 0) & (lengths < np.inf)):
            return
    raise ValueError(
        "bandwidth must be a positive finite number, one such number for each column, "
        f"or 'median', got {bandwidth!r}."
    )


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)
