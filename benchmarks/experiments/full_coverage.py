"""Known dynamics and full coverage: is the optimum reached as the log grows?

Three finite processes, logged by random actions, so that every pair of state and action
is in the log; and the process itself, as a log of one row for each possible transition
whose weight is its probability. Values are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.experiments._base import (
    OURS,
    Row,
    Task,
    level_table,
    logged_by,
    made,
    scores,
    share,
    uniform,
)
from benchmarks.families.finite import garnet, service_speed, walls
from benchmarks.families.problem import Finite
from benchmarks.report import Clock
from sklearn_stackelberg import Transitions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_LOGS = 3
SIZES = (250, 1_000, 4_000, 16_000, 64_000)
KNOWN = 10**9  # stands for the process itself
# Rows that each pair counts as where the process itself is the log.
PER_PAIR = 10_000.0
PROBLEMS: tuple[Callable[[], Finite], ...] = (garnet, service_speed, walls)
EXACT = f"{OURS}, states kept apart"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    OURS: (OURS, {}),
    EXACT: (OURS, {"kernel": "delta", "n_components": None}),
    "Value iteration": ("Value iteration", {}),
}


@cache
def _process(make: Callable[[], Finite]) -> Finite:
    return make()


def known(problem: Finite) -> Transitions:
    """Every possible transition once, weighed by its probability."""
    mdp = problem.mdp
    state, action, after = np.argwhere(mdp.transition > 0.0).T
    return Transitions(
        problem.codes[state],
        action,
        mdp.reward[state, action, after],
        problem.codes[after],
        mdp.termination[state, action, after] > 0.5,
        weight=PER_PAIR * mdp.transition[state, action, after],
    )


def tasks(n_logs: int) -> Iterator[Task]:
    """Every size on every log, and the process itself once."""
    for make in PROBLEMS:
        name = _process(make).name
        for size in (*SIZES, KNOWN):
            for seed in range(n_logs if size != KNOWN else 1):
                for method in METHODS:
                    run = partial(_score, make, size, seed, method)
                    yield Task(name, seed, method, run, {"n": size})


def _score(
    make: Callable[[], Finite], size: int, seed: int, method: str
) -> dict[str, Any]:
    process = _process(make)
    if size == KNOWN:
        log = known(process)
    else:
        log = logged_by(process, uniform(process), size).log(seed)
    name, parameters = METHODS[method]
    with Clock() as clock:
        policy = made(name, process.discount, seed, **parameters).fit(log)
    return {"score": share(process, process.value(policy)), **clock.row()}


def table(rows: Sequence[Row]) -> str:
    """A line a method, a column a size."""
    return (
        "Share of the way from random actions (0) to the optimum (1), exact; mean ± "
        "standard deviation over the logs.\n\n"
        + level_table(rows, "n", list(METHODS), _size, 3)
    )


def _size(n: int) -> str:
    return "the process itself" if n == KNOWN else f"{n:,} rows"


def picture(rows: Sequence[Row]) -> Figure:
    """What is missing to the optimum by the size of the log."""
    from benchmarks.experiments._drawing import curves, legend_below, panels

    found = scores(rows, "problem", "method", "n")
    names = list(dict.fromkeys(key[0] for key in found))
    figure, every = panels(len(names))
    # The process itself stands one step of the sizes behind the last of them.
    last = SIZES[-1] * 4
    for axes, problem in zip(every, names, strict=True):
        own = {
            (key[1], last if key[2] == KNOWN else key[2]): values
            for key, values in found.items()
            if key[0] == problem
        }
        curves(axes, own, list(METHODS), [*SIZES, last])
        axes.axhline(1.0, color="black", lw=0.9)
        axes.set_xscale("log")
        axes.set_xticks([*SIZES, last], [*map("{:,}".format, SIZES), "process\nitself"])
        axes.minorticks_off()
        axes.set(title=problem, xlabel="rows of the log")
    every[0].set_ylabel("0 random actions, 1 the optimum")
    legend_below(figure, every[0], 3)
    return figure
