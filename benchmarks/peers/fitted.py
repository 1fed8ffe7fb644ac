"""Fitted peers: extra trees, and kernel features with fitted Q and with LSPI.

They are those of `sklearn_stackelberg.baselines`.
"""

from __future__ import annotations

from typing import Any

from sklearn.ensemble import ExtraTreesRegressor

from benchmarks.peers import Method, grid
from sklearn_stackelberg.baselines import (
    LSPI,
    FittedQIteration,
    KernelFittedQIteration,
)

# Per row of the log, so that one grid serves every length.
RIDGE = 1e-3


def fit_extra_trees(
    log: Any, random_state: int, *, min_samples: int = 5, **setting: Any
) -> FittedQIteration:
    """Fitted Q iteration with extra trees; nodes of fewer rows are not split."""
    trees = ExtraTreesRegressor(n_estimators=50, min_samples_split=min_samples)
    return FittedQIteration(trees, random_state=random_state, **setting).fit(log)


def fit_kernel_fqi(
    log: Any, random_state: int, *, ridge: float = RIDGE, **setting: Any
) -> KernelFittedQIteration:
    """Fitted Q iteration by ridge regression on kernel features."""
    return KernelFittedQIteration(
        ridge=ridge, random_state=random_state, **_renamed(setting)
    ).fit(log)


def fit_lspi(
    log: Any, random_state: int, *, ridge: float = RIDGE, **setting: Any
) -> LSPI:
    """Least-squares policy iteration on kernel features."""
    return LSPI(ridge=ridge, random_state=random_state, **_renamed(setting)).fit(log)


def _renamed(setting: dict[str, Any]) -> dict[str, Any]:
    """Settings by the names of the package, ``n_landmarks`` among them."""
    names = {"n_landmarks": "n_components"}
    return {names.get(name, name): value for name, value in setting.items()}


KERNEL_GRID = grid(bandwidth=(0.5, 1.0, 2.0), ridge=(1e-5, 1e-4, 1e-3))
METHODS = (
    # A forest for each action took as long and did worse on CartPole random.
    Method("FQI extra trees", fit_extra_trees, ({"per_action": False},)),
    Method("FQI kernel features", fit_kernel_fqi, KERNEL_GRID),
    Method("LSPI kernel features", fit_lspi, KERNEL_GRID),
)
