"""Partial coverage, from 1 % to 100 %, against methods that need it to be full.

Two meanings of coverage, on two finite processes with exact values:

- pairs: that share of all pairs of state and action, drawn at random, is ever logged;
  2,000 rows of them, as often each.
- exploration: the usual policy logs, and does anything in that share of the steps.

LSPI and fitted Q iteration have, at each level, the best of three ridges by the true
mean value, which no user could know; ours and the others have their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.experiments._base import (
    FREE,
    LOGGER,
    OURS,
    Row,
    Task,
    level_table,
    logged_by,
    made,
    scores,
    share,
)
from benchmarks.families.finite import garnet, severity
from benchmarks.families.problem import Finite, draw
from benchmarks.report import Clock
from sklearn_stackelberg import Transitions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_LOGS, N_ROWS = 4, 2_000
LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0)
PAIRS, EXPLORATION = "pairs", "exploration"
PROBLEMS: tuple[Callable[[], Finite], ...] = (severity, garnet)
RIDGES = ({"ridge": 1e-5}, {"ridge": 1e-3}, {"ridge": 1e-1})
METHODS: dict[str, tuple[dict[str, float], ...]] = {
    OURS: ({},),
    FREE: ({"support": 0.0},),
    "LSPI kernel": RIDGES,
    "FQI kernel": RIDGES,
    "VI-LCB": ({},),
    "BC logistic": ({},),
}
# Both peers as they come, beside their best ridge.
AS_THEY_COME = {name: f"{name}, as it comes" for name in ("LSPI kernel", "FQI kernel")}


@cache
def _process(make: Callable[[], Finite]) -> Finite:
    return make()


def log_of_pairs(problem: Finite, level: float, seed: int) -> Transitions:
    """Loose rows of a share of all pairs, as often each, of two actions at least."""
    rng = np.random.default_rng([seed, 3])
    n_states, n_actions = problem.logger.shape
    n_pairs = max(2, round(level * n_states * n_actions))
    every = rng.permutation(n_states * n_actions)
    pairs, rest = every[:n_pairs], every[n_pairs:]
    if len(np.unique(pairs % n_actions)) == 1:
        # Nothing can be learned where there is nothing to choose from.
        pairs[-1] = rest[rest % n_actions != pairs[0] % n_actions][0]
    state, action = np.divmod(rng.choice(pairs, N_ROWS), n_actions)
    after = draw(rng, np.asarray(problem.mdp.transition[state, action], dtype=float))
    reward = problem.mdp.reward[state, action, after]
    return Transitions(
        problem.codes[state],
        action,
        reward + rng.normal(0.0, problem.noise, N_ROWS),
        problem.codes[after],
    )


def explored(problem: Finite, level: float) -> Finite:
    """The process, logged by its usual policy that does anything in some steps."""
    n_actions = problem.logger.shape[1]
    usual = np.eye(n_actions)[problem.logger.argmax(axis=1)]
    logger = (1.0 - level) * usual + level / n_actions
    return logged_by(problem, logger, N_ROWS)


def tasks(n_logs: int) -> Iterator[Task]:
    """Every method on every log of both kinds."""
    for make in PROBLEMS:
        name = _process(make).name
        for kind in (PAIRS, EXPLORATION):
            for level in LEVELS:
                for seed in range(n_logs):
                    log = _log(make, kind, level, seed)
                    for method, settings in METHODS.items():
                        for setting in settings:
                            run = partial(_score, make, log, seed, method, setting)
                            yield Task(
                                f"{name}, {kind}",
                                seed,
                                method,
                                run,
                                {"level": level, **setting},
                            )
                if kind == EXPLORATION:
                    run = partial(_logger, make, level)
                    yield Task(f"{name}, {kind}", 0, LOGGER, run, {"level": level})


@cache
def _log(
    make: Callable[[], Finite], kind: str, level: float, seed: int
) -> Callable[[], Transitions]:
    """The log, sampled where it is first asked for."""

    @cache
    def log() -> Transitions:
        problem = _process(make)
        if kind == PAIRS:
            return log_of_pairs(problem, level, seed)
        return explored(problem, level).log(seed)

    return log


def _score(
    make: Callable[[], Finite],
    log: Callable[[], Transitions],
    seed: int,
    method: str,
    setting: dict[str, float],
) -> dict[str, Any]:
    problem, given = _process(make), log()
    policy = made(method.split(",")[0], problem.discount, seed, **setting)
    diverged = False
    with Clock() as clock:
        try:
            policy.fit(given)
        except ValueError as error:
            # Fitted Q iteration may: Q is infinite then.
            if "diverged" not in str(error):
                raise
            diverged = True
    pairs = np.column_stack([given.state, given.action])
    return {
        "score": 0.0 if diverged else share(problem, problem.value(policy)),
        "diverged": diverged,
        "logged_pairs": len(np.unique(pairs, axis=0)) / problem.logger.size,
        **clock.row(),
    }


def _logger(make: Callable[[], Finite], level: float) -> dict[str, float]:
    return {
        "score": share(_process(make), explored(_process(make), level).logger_value)
    }


def table(rows: Sequence[Row]) -> str:
    """A line a method, a column a level; then what share of pairs a log had."""
    pairs: dict[tuple[str, float], list[float]] = {}
    for row in rows:
        if row["method"] == OURS and row["problem"].endswith(EXPLORATION):
            key = row["problem"].split(",")[0], row["setting"]["level"]
            pairs.setdefault(key, []).append(row["logged_pairs"])
    seen = "; ".join(
        f"{name} "
        + ", ".join(
            f"{100 * np.mean(found):.0f} %"
            for (n, _), found in pairs.items()
            if n == name
        )
        for name in dict.fromkeys(name for name, _ in pairs)
    )
    default = [
        {**row, "method": AS_THEY_COME[row["method"]]}
        for row in rows
        if row["method"] in AS_THEY_COME and row["setting"]["ridge"] == 1e-5
    ]
    names = [*METHODS, *AS_THEY_COME.values(), LOGGER]
    fits = [row for row in rows if row["method"] == "FQI kernel"]
    infinite = sum(row.get("diverged", False) for row in fits)
    return (
        "Share of the way from random actions (0) to the optimum (1), exact; mean ± "
        "standard deviation over the logs.\n\n"
        + level_table([*rows, *default], "level", names, "{:.0%}".format)
        + f"\n\nPairs that were logged at all under exploration, by level: {seen}. "
        f"FQI kernel diverged in {infinite} of {len(fits)} fits, which count as random "
        "actions."
    )


def picture(rows: Sequence[Row]) -> Figure:
    """A panel for each process and meaning of coverage."""
    from benchmarks.experiments._drawing import curves, legend_below, panels

    found = scores(rows, "problem", "method", "level")
    names = list(dict.fromkeys(key[0] for key in found))
    figure, every = panels(len(names), 3.5, 3.8)
    for axes, problem in zip(every, names, strict=True):
        own = {key[1:]: values for key, values in found.items() if key[0] == problem}
        curves(axes, own, [*METHODS, LOGGER], LEVELS)
        axes.axhline(0.0, color="0.5", lw=0.9)
        axes.axhline(1.0, color="black", lw=0.9)
        axes.set_xscale("log")
        axes.set_xticks(LEVELS, map("{:.0%}".format, LEVELS))
        axes.minorticks_off()
        what = "pairs ever logged" if problem.endswith(PAIRS) else "random steps"
        axes.set(title=problem, xlabel=what, ylim=(-1.1, 1.1))
    every[0].set_ylabel("0 random actions, 1 the optimum")
    legend_below(figure, every[-1], 7)
    return figure
