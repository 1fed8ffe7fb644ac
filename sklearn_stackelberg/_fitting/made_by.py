"""What a fit was made by, in words that are equal where hyperparameters are."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import Kernel

from ..networks import MLP
from .hyperparameters import FunctionClass, Hyperparameters

# Read by a first fit alone: its features, actions and precision stay.
_FIRST_FIT = (
    "kernel",
    "bandwidth",
    "kernel_params",
    "n_components",
    "linear_terms",
    "dtype",
    "action_type",
    "action_distribution",
    "candidates",
    "action_bounds",
)


def features_key(hp: Hyperparameters) -> tuple[str, ...]:
    """The same of all hyperparameters that lead to the same features of a log."""
    return *settings_of(hp).values(), described(hp.q_function), described(hp.policy)


def settings_of(hp: Hyperparameters) -> dict[str, str]:
    values = {name: getattr(hp, name) for name in _FIRST_FIT}
    return {name: _in_words(value) for name, value in values.items()}


def _in_words(value: Any) -> str:
    """The same for equal values, and for a function's copy that pickling makes."""
    if isinstance(value, dict):
        parts = [f"{key!r}: {_in_words(part)}" for key, part in sorted(value.items())]
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, np.ndarray | list | tuple):
        return "[" + ", ".join(map(_in_words, value)) + "]"
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return f"{value:.17g}"
    plain = not callable(value) or isinstance(value, Kernel)
    return repr(value) if plain else _name_of(value)


def described(function_class: FunctionClass) -> str:
    if isinstance(function_class, str | MLP):
        return repr(function_class)
    return _name_of(function_class)


def _name_of(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def refuse_other_settings(hp: Hyperparameters, before: dict[str, str]) -> None:
    """Refuse to go on from a fit with settings that only a first fit reads."""
    now = settings_of(hp)
    changed = [name for name, words in before.items() if now[name] != words]
    if changed:
        differences = [f"{n}={now[n]} (was {before[n]})" for n in changed]
        raise ValueError(
            f"The last fit is gone on with, and its features, actions and precision "
            f"stay; since then {' and '.join(differences)} was set. Set it back, or "
            "set warm_start=False and call fit to begin anew."
        )
