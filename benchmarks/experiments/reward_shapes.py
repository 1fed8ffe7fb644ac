"""CartPole under three rewards: the same transitions, and three ways to pay for them.

Two loggers: a controller that is random in 60 % of its steps, whose clone is good
already, and a random one. The score is the same whatever was paid: the steps that the
pole stays up, 500 at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.experiments._base import OURS, Row, Task, made, scores, spread
from benchmarks.experiments.partial_coverage import RIDGES
from benchmarks.families.problem import Array
from benchmarks.problems import CARTPOLE_DEFAULT, CONTROL, DISCOUNT
from benchmarks.report import Clock, markdown
from sklearn_stackelberg import Transitions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_LOGS, N_EPISODES = 3, 30
# Where Gymnasium ends an episode: metres of the cart, radians of the pole.
_FAR, _TILTED = 2.4, 12.0 * np.pi / 180.0


def _every_step(log: Transitions) -> Array:
    return np.ones(len(log))


def _at_the_fall(log: Transitions) -> Array:
    return -np.asarray(log.terminated, dtype=float)


def _upright(log: Transitions) -> Array:
    position, _, angle, _ = np.asarray(log.next_state, dtype=float).T
    return 1.0 - 0.5 * (position / _FAR) ** 2 - 0.5 * (angle / _TILTED) ** 2


SHAPES: Mapping[str, Callable[[Transitions], Array]] = {
    "1 a step": _every_step,
    "-1 at the fall": _at_the_fall,
    "upright and centred": _upright,
}
LOGGERS = {
    "60 % random": CARTPOLE_DEFAULT,
    "random": replace(CONTROL[0], n_transitions=5_000),
}
METHODS: dict[str, tuple[dict[str, float], ...]] = {
    OURS: ({},),
    "LSPI kernel": RIDGES,
    "FQI kernel": RIDGES,
    "BC logistic": ({},),
}


def tasks(n_logs: int) -> Iterator[Task]:
    """Every method on every log under every reward."""
    for logger, seed, shape in product(LOGGERS, range(n_logs), SHAPES):
        for method, settings in METHODS.items():
            for setting in settings:
                run = partial(_score, logger, shape, seed, method, setting)
                yield Task(f"{logger}, {shape}", seed, method, run, setting)


@cache
def _logged(logger: str, seed: int) -> Transitions:
    return LOGGERS[logger].log(seed)


def paid(log: Transitions, shape: str) -> Transitions:
    """The log with other rewards."""
    log = log[np.arange(len(log))]
    log.reward = SHAPES[shape](log)
    return log


def _score(
    logger: str, shape: str, seed: int, method: str, setting: dict[str, float]
) -> dict[str, Any]:
    log = paid(_logged(logger, seed), shape)
    with Clock() as clock:
        policy = made(method, DISCOUNT, seed, **setting).fit(log)
    steps = CARTPOLE_DEFAULT.returns(policy, N_EPISODES)
    return {"score": float(steps.mean()), **clock.row()}


def table(rows: Sequence[Row]) -> str:
    """A line a method, a column a reward."""
    found, lines = scores(rows, "problem", "method"), []
    for logger, method in product(LOGGERS, METHODS):
        own = [found.get((f"{logger}, {shape}", method)) for shape in SHAPES]
        if any(each is not None for each in own):
            lines.append([logger, method, *map(_cell, own)])
    return (
        "Steps that the pole stays up, 500 at most; mean ± standard deviation over the "
        "logs, and the worst log.\n\n" + markdown(["logger", "method", *SHAPES], lines)
    )


def _cell(values: Array | None) -> str:
    return "–" if values is None else f"{spread(values, 0)} ({values.min():.0f})"


def picture(rows: Sequence[Row]) -> Figure:
    """Every log as a mark, methods side by side under each reward."""
    from benchmarks.experiments._drawing import legend_below, marks, panels

    found = scores(rows, "problem", "method")
    figure, every = panels(len(LOGGERS), 5.5, 3.8)
    for axes, logger in zip(every, LOGGERS, strict=True):
        own = {
            (method, shape): found[f"{logger}, {shape}", method]
            for method, shape in product(METHODS, SHAPES)
            if (f"{logger}, {shape}", method) in found
        }
        marks(axes, own, list(METHODS), list(SHAPES))
        axes.axhline(500.0, color="black", lw=0.9)
        axes.set(title=f"logger: {logger}", ylim=(0, 520))
    every[0].set_ylabel("steps that the pole stays up")
    legend_below(figure, every[0], 4)
    return figure
