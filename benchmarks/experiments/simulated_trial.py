"""Simulated trials of several treatments, by the number of patients.

The summary of the paper has no equations of a simulated trial. So: patients of ACTG
320 drawn anew with an outcome by a formula (two arms, exact values), and six months of
one of eleven doses of a chemotherapy by the equations of Zhao, Kosorok and Zeng (2009).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from benchmarks.experiments._base import OURS, Row, Task, level_table, made, scores
from benchmarks.families import progress
from benchmarks.families.evaluate import Chemotherapy
from benchmarks.families.problem import Simulated
from benchmarks.families.trial import Trial
from benchmarks.report import Clock
from sklearn_stackelberg import Transitions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# No log of the suite, of which both are problems to evaluate on, has these seeds.
N_LOGS, FIRST_SEED = 5, 7_000
SIZES = (100, 300, 1_000)
PROBLEMS: tuple[Simulated, ...] = (
    Trial(),
    Chemotherapy("chemotherapy, eleven doses", 11),
)
METHODS = {
    PROBLEMS[0].name: (OURS, "Direct ridge", "Direct extra trees"),
    PROBLEMS[1].name: (OURS, "FQI kernel", "BC logistic"),
}


@cache
def _problem(name: str) -> Simulated:
    return next(problem for problem in PROBLEMS if problem.name == name)


def log_of(name: str, size: int, seed: int) -> Transitions:
    """The trial of so many patients."""
    trial = copy(_problem(name))
    trial.n_episodes = size  # type: ignore[misc]
    return trial.log(seed)


def tasks(n_logs: int) -> Iterator[Task]:
    """Every method on every trial."""
    for problem in PROBLEMS:
        for size in SIZES:
            for seed in range(FIRST_SEED, FIRST_SEED + n_logs):
                for method in METHODS[problem.name]:
                    run = partial(_score, problem.name, size, seed, method)
                    yield Task(problem.name, seed, method, run, {"patients": size})


def _score(name: str, size: int, seed: int, method: str) -> dict[str, Any]:
    problem, log = _problem(name), log_of(name, size, seed)
    with Clock() as clock:
        policy = made(method, problem.discount, seed).fit(log)
    return {"score": progress(problem, problem.value(policy)), **clock.row()}


def table(rows: Sequence[Row]) -> str:
    """A line a method, a column a number of patients."""
    names = list(dict.fromkeys(name for names in METHODS.values() for name in names))
    return (
        "Share of the way from the randomised treatment (0) to the best known (1); "
        "mean ± standard deviation over the trials.\n\n"
        + level_table(rows, "patients", names, "{} patients".format)
    )


def picture(rows: Sequence[Row]) -> Figure:
    """A panel for each trial."""
    from benchmarks.experiments._drawing import curves, panels

    found = scores(rows, "problem", "method", "patients")
    figure, every = panels(2, 4.6, 3.6)
    for axes, problem in zip(every, PROBLEMS, strict=True):
        own = {k[1:]: values for k, values in found.items() if k[0] == problem.name}
        curves(axes, own, METHODS[problem.name], SIZES)
        axes.axhline(0.0, color="0.5", lw=0.9)
        axes.axhline(1.0, color="black", lw=0.9)
        axes.set_xscale("log")
        axes.set_xticks(SIZES, map("{:,}".format, SIZES))
        axes.minorticks_off()
        axes.set(title=problem.name, xlabel="patients", ylim=(-0.9, 1.1))
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    every[0].set_ylabel("0 randomised, 1 the best known")
    return figure
