"""The methods that the benchmarks compare with, each carefully implemented."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Policy(Protocol):
    """What a roll-out needs."""

    def predict(self, states: NDArray[Any]) -> NDArray[Any]:
        """The action of each state."""
        ...


@dataclass(frozen=True)
class Method:
    """A way from a log to a policy, and the settings that it may choose from.

    Parameters
    ----------
    name : str
    fit : callable
        ``fit(log, random_state, **setting)``, giving a policy.
    settings : tuple of mappings
        The grid; the report gives a method its best setting of each problem.
    """

    name: str
    fit: Callable[..., Any]
    settings: tuple[Mapping[str, Any], ...] = field(default=({},))


def grid(**values: tuple[Any, ...]) -> tuple[dict[str, Any], ...]:
    """Every combination of the values, as keyword arguments."""
    settings: list[dict[str, Any]] = [{}]
    for key, options in values.items():
        settings = [{**s, key: option} for s in settings for option in options]
    return tuple(settings)


def as_floats(values: Any) -> NDArray[np.float64]:
    """States as a two-dimensional float array, one row a state."""
    array = np.asarray(values, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else array
