"""Continuous actions under partial coverage: a force in a plane, and a torque.

A poor controller logs, with little noise of its own, and in a share of the steps it
does anything. The point mass has a known optimum; of Pendulum the return is reported.
LSPI, whose actions are few, has the logged ones rounded to a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import ours
from benchmarks.continuous_problems import (
    PENDULUM,
    POINT_MASS,
    Array,
    ContinuousProblem,
    noisy,
    poor_feedback,
    swing_up,
)
from benchmarks.experiments._base import (
    FREE,
    LOGGER,
    OURS,
    Row,
    Task,
    level_table,
    made,
    scores,
)
from benchmarks.problems import DISCOUNT
from benchmarks.report import Clock
from benchmarks.tables.continuous_lq import share
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.baselines import LSPI

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_LOGS, N_EPISODES = 3, 50
LEVELS = (0.01, 0.1, 0.3, 1.0)
TUNED = f"{OURS}, tuned before"
GRIDS: Mapping[str, Array] = {
    PENDULUM.name: np.linspace(-2.0, 2.0, 5)[:, None],
    POINT_MASS.name: np.array(list(product((-0.6, 0.0, 0.6), repeat=2))),
}


class Rounded:
    """A method of discrete actions whose actions are points of a grid."""

    def __init__(self, method: Any, grid: Array) -> None:
        self._method, self._grid = method, grid

    def fit(self, log: Transitions) -> Rounded:
        """Learn from the nearest points."""
        action = np.asarray(log.action, dtype=float).reshape(len(log), -1)
        distance = ((action[:, None] - self._grid) ** 2).sum(axis=2)
        rounded = log[np.arange(len(log))]
        rounded.action = distance.argmin(axis=1)
        self._method.fit(rounded)
        return self

    def predict(self, states: Any) -> Array:
        """The point of each state, (n, p)."""
        return self._grid[np.asarray(self._method.predict(states), dtype=int)]


def _weak(observation: Array) -> Array:
    return 0.4 * np.clip(swing_up(observation), *PENDULUM.bounds)


def logged(name: str, level: float) -> ContinuousProblem:
    """A problem whose logger does anything in that share of the steps."""
    if name == PENDULUM.name:
        behaviour = noisy(_weak, level, 0.2, PENDULUM.bounds)
        return replace(PENDULUM, n_transitions=10_000, behaviour=behaviour)
    behaviour = noisy(poor_feedback, level, 0.1, POINT_MASS.bounds)
    return replace(POINT_MASS, n_transitions=5_000, behaviour=behaviour)


def _default(log: Transitions, seed: int, name: str) -> Any:
    return made(OURS, DISCOUNT, seed, action_type="continuous").fit(log)


def _free(log: Transitions, seed: int, name: str) -> Any:
    given = {"action_type": "continuous", "support": 0.0}
    return made(OURS, DISCOUNT, seed, **given).fit(log)


def _tuned(log: Transitions, seed: int, name: str) -> Any:
    if name == PENDULUM.name:
        return ours.fit_torque(log, seed, **ours.PENDULUM_GRID[0])
    return ours.fit_force(log, seed, **ours.CANDIDATES_GRID[0])


def _clone(log: Transitions, seed: int, name: str) -> Any:
    return made("BC extra trees", DISCOUNT, seed, action_type="continuous").fit(log)


def _lspi(log: Transitions, seed: int, name: str) -> Any:
    method = LSPI(discount=DISCOUNT, n_components=100, random_state=seed)
    return Rounded(method, GRIDS[name]).fit(log)


METHODS: Mapping[str, Callable[[Transitions, int, str], Any]] = {
    OURS: _default,
    FREE: _free,
    TUNED: _tuned,
    "LSPI on a grid": _lspi,
    "BC extra trees": _clone,
}


@cache
def _log(name: str, level: float, seed: int) -> Transitions:
    return logged(name, level).log(seed)


def tasks(n_logs: int) -> Iterator[Task]:
    """Every method on every log."""
    for name in GRIDS:
        # An episode of Pendulum is four times as long.
        for level in LEVELS:
            for seed in range(
                n_logs if name == POINT_MASS.name else max(1, n_logs - 1)
            ):
                for method in METHODS:
                    run = partial(_score, name, level, seed, method)
                    yield Task(name, seed, method, run, {"level": level})
            run = partial(_of_logger, name, level)
            yield Task(name, 0, LOGGER, run, {"level": level})


def _score(name: str, level: float, seed: int, method: str) -> dict[str, Any]:
    log = _log(name, level, seed)
    with Clock() as clock:
        policy = METHODS[method](log, seed, name)
    return {"score": _earned(name, policy), **clock.row()}


def _of_logger(name: str, level: float) -> dict[str, float]:
    return {"score": _earned(name, logged(name, level).behaviour)}


def _earned(name: str, policy: Any) -> float:
    if name == POINT_MASS.name:
        return share(policy)
    return float(PENDULUM.returns(policy, N_EPISODES).mean())


def table(rows: Sequence[Row]) -> str:
    """A line a method, a column a share of random steps."""
    names = [*METHODS, LOGGER]
    by_name = [[r for r in rows if r["problem"] == name] for name in GRIDS]
    torque, force = (
        level_table(own, "level", names, "{:.0%}".format, digits) if own else ""
        for own, digits in zip(by_name, (0, 2), strict=True)
    )
    return (
        "Point mass: share of the optimum's gain over the logger of the table "
        "`continuous_lq`; mean ± standard deviation over the logs, by the share of "
        f"random steps.\n\n{force}\n\nPendulum: return of {N_EPISODES} episodes.\n\n"
        f"{torque}"
    )


def picture(rows: Sequence[Row]) -> Figure:
    """A panel for each problem."""
    from benchmarks.experiments._drawing import curves, legend_below, panels

    found = scores(rows, "problem", "method", "level")
    figure, every = panels(2, 4.6, 3.8)
    for axes, name in zip(every, (POINT_MASS.name, PENDULUM.name), strict=True):
        own = {key[1:]: values for key, values in found.items() if key[0] == name}
        curves(axes, own, [*METHODS, LOGGER], LEVELS)
        axes.set_xscale("log")
        axes.set_xticks(LEVELS, map("{:.0%}".format, LEVELS))
        axes.minorticks_off()
        axes.set(title=name, xlabel="random steps")
    every[0].axhline(1.0, color="black", lw=0.9)
    every[0].set(ylabel="share of the optimum's gain", ylim=(-3.0, 1.2))
    every[1].set(ylabel="return")
    legend_below(figure, every[0], 3)
    return figure
