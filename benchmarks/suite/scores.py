"""From rows to figures: shares of the best, ranks, and how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.suite.methods import GRID_NAME
from benchmarks.trust.statistics import N_BOOTSTRAP

Floats = NDArray[np.float64]

# Of a method that refuses a log: as far below the logger as the best is above it.
REFUSED = -1.0
# Where the grid gains less than this on the logger, a share of its gain is noise.
LEAST_GAIN = 0.05


class Cell(NamedTuple):
    """What a method reaches on the logs of a problem."""

    seeds: tuple[int, ...]
    scores: Floats  # (n_logs,): 0 the logger, 1 the reference

    @property
    def mean(self) -> float:
        return float(self.scores.mean())

    @property
    def error(self) -> float:
        """Standard error over logs; 0 of one log, which says nothing of it."""
        n = len(self.scores)
        return float(self.scores.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0


Cells = Mapping[tuple[str, str], Cell]  # by problem and method


def cells(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Cell]:
    """Scores of each log; of the grid its best setting's on that log."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        score = REFUSED if row["score"] is None else float(row["score"])
        of_log = found.setdefault((row["problem"], row["method"]), {})
        of_log[row["seed"]] = max(score, of_log.get(row["seed"], -np.inf))
    return {
        key: Cell(tuple(sorted(of)), np.array([of[seed] for seed in sorted(of)]))
        for key, of in found.items()
    }


def share(cell: Cell, best: Cell) -> Floats:
    """Scores over the grid's best on the same logs; empty where that gains nothing."""
    seeds = [seed for seed in cell.seeds if seed in best.seeds]
    own = [cell.scores[cell.seeds.index(seed)] for seed in seeds]
    top = [best.scores[best.seeds.index(seed)] for seed in seeds]
    gained = np.array(top) > LEAST_GAIN
    # A single log far below the logger would outweigh all others.
    return np.maximum(np.array(own)[gained] / np.array(top)[gained], REFUSED)


def shares(found: Cells, problems: Sequence[str], method: str) -> list[Floats]:
    """Of each problem that the method and the grid were run on."""
    every = [
        share(found[p, method], found[p, GRID_NAME])
        for p in problems
        if (p, method) in found and (p, GRID_NAME) in found
    ]
    return [one for one in every if len(one)]


def ranks(found: Cells, problem: str, methods: Sequence[str]) -> dict[str, float]:
    """1 is the best mean; equal means share their ranks."""
    means = {m: found[problem, m].mean for m in methods if (problem, m) in found}
    return {
        m: 1.0
        + sum(other > mean for other in means.values())
        + 0.5 * (sum(other == mean for other in means.values()) - 1)
        for m, mean in means.items()
    }


def leads(
    found: Cells, problem: str, method: str, methods: Sequence[str]
) -> bool | None:
    """Whether none is better by more than a standard error of the difference."""
    if (problem, method) not in found:
        return None
    own = found[problem, method]
    others = [found[problem, m] for m in methods if (problem, m) in found]
    best = max(others, key=lambda cell: cell.mean)
    seeds = [seed for seed in own.seeds if seed in best.seeds]
    if best is own or not seeds:
        return True
    # The logs are the same, so that their luck cancels.
    difference = Cell(
        tuple(seeds),
        np.array(
            [
                best.scores[best.seeds.index(s)] - own.scores[own.seeds.index(s)]
                for s in seeds
            ]
        ),
    )
    return difference.mean <= difference.error


def is_below_logger(cell: Cell) -> bool:
    """Whether the mean is below 0 by more than its standard error."""
    return cell.mean < -cell.error


def interval(
    groups: Sequence[Floats], statistic: Callable[[Floats], float]
) -> tuple[float, float]:
    """Percentiles of a statistic of the problems' means.

    Problems are drawn anew, and then the logs of each.
    """
    if not groups:
        return float("nan"), float("nan")
    rng = np.random.default_rng(0)
    # (N_BOOTSTRAP, n_problems): the mean of drawn logs, of each problem.
    means = np.column_stack(
        [rng.choice(one, size=(N_BOOTSTRAP, len(one))).mean(axis=1) for one in groups]
    )
    drawn = rng.integers(len(groups), size=means.shape)
    values = [statistic(row) for row in np.take_along_axis(means, drawn, axis=1)]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
