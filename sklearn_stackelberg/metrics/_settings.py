"""What the metrics may be asked for, and what they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from .._validation import check_discount, check_level


@dataclass(frozen=True)
class QSettings:
    """How Q is fitted: of the evaluator, which must not follow those it compares."""

    kernel: Any = "auto"
    bandwidth: Any = "median"
    n_components: int | None = 200
    ridge: float = 0.03
    random_state: Any = 0


def q_settings(
    kernel: Any, bandwidth: Any, n_components: Any, ridge: Any, random_state: Any
) -> QSettings:
    """The settings, checked; a kernel and its bandwidth check themselves."""
    if not is_real(ridge) or not 0 < ridge < np.inf:
        raise ValueError(f"ridge must be a positive finite number, got {ridge!r}.")
    if n_components is not None and (not is_whole(n_components) or n_components < 1):
        raise ValueError(
            "n_components must be an integer >= 1, or None for every distinct state, "
            f"got {n_components!r}."
        )
    if isinstance(bandwidth, str) and bandwidth != "median":
        raise ValueError(
            "bandwidth must be a positive number, one for each column, or 'median', "
            f"got {bandwidth!r}."
        )
    return QSettings(kernel, bandwidth, n_components, float(ridge), random_state)


def check_common(discount: Any, confidence_level: Any) -> None:
    """Refuse a discount or a level that is out of range."""
    check_discount(discount)
    check_level(confidence_level)


def check_clip(clip: Any) -> None:
    """Refuse a bound of the ratios that is none."""
    if clip is not None and (not is_real(clip) or not 0 < clip < np.inf):
        raise ValueError(f"clip must be a positive number or None, got {clip!r}.")


def check_iterations(n_iterations: Any) -> None:
    """Refuse what does not count regressions."""
    if not is_whole(n_iterations) or n_iterations < 1:
        raise ValueError(f"n_iterations must be an integer >= 1, got {n_iterations!r}.")


def check_choice(name: str, given: Any, options: Sequence[Any]) -> None:
    """Refuse what is none of the options."""
    if not any(given is option or given == option for option in options):
        raise ValueError(f"{name} must be one of {list(options)}, got {given!r}.")


def check_error_method(standard_error: Any, regressor: Any, n_bootstrap: Any) -> Any:
    """How the standard error is computed: "influence", "bootstrap" or None."""
    check_choice(
        "standard_error", standard_error, ("auto", "influence", "bootstrap", None)
    )
    if n_bootstrap is not None and (not is_whole(n_bootstrap) or n_bootstrap < 2):
        raise ValueError(
            f"n_bootstrap must be an integer >= 2 or None, got {n_bootstrap!r}."
        )
    if standard_error == "influence" and regressor is not None:
        raise ValueError(
            "standard_error='influence' is that of the closed form, and a regressor "
            "was given. Set standard_error='bootstrap', or use doubly_robust_value("
            "..., regressor=...), whose influence function holds for any Q."
        )
    if standard_error == "auto":
        return "influence" if regressor is None else "bootstrap"
    return standard_error


def is_real(value: Any) -> bool:
    """Whether a number measures something."""
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def is_whole(value: Any) -> bool:
    """Whether a number counts something."""
    return isinstance(value, Integral) and not isinstance(value, bool | np.bool_)
