"""Value against the number of roll-outs that may be bought to choose a setting by.

The protocol of unifloral: candidates are learned from the log alone, roll-outs are
bought one by one by UCB, and the candidate of the highest mean so far is what is used.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled

from benchmarks.families import Problem, progress
from benchmarks.peers import grid
from benchmarks.report import Clock, Rows, markdown
from benchmarks.suite.halves import FIRST_SEED, HALVES
from benchmarks.suite.methods import GRID, ours
from benchmarks.suite.rollouts import episode_returns, has_episodes, upper_confidence
from benchmarks.trust.statistics import Quietly, each_log, named
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.baselines import LSPI
from sklearn_stackelberg.benchmark._methods import Facts, discrete

N_LOGS, N_RETURNS, N_REPEATS = 1, 60, 200
BUDGETS = (1, 5, 10, 25, 50, 100, 200)
NAMES = {"ours": "ours", "peers": "LSPI kernel"}
LSPI_GRID = (
    {},
    *grid(
        ridge=(1e-7, 1e-5, 1e-3, 1e-1),
        bandwidth=(0.5, 1.0, 2.0),
        n_components=(50, 200),
    ),
)


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    half: str = "choose",
    problems: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """All candidates of every log; returns the table."""
    sides = ("ours", "peers") if side == "both" else (side,)
    chosen = filter(has_episodes, named(HALVES[half], problems))
    for problem, number in each_log([*chosen], seeds or N_LOGS, part):
        _run_log(rows, sides, problem, FIRST_SEED[half] + number)
    return table(rows)


def _run_log(rows: Rows, sides: Sequence[str], problem: Problem, seed: int) -> None:
    try:
        log = problem.log(seed)
    # Gymnasium has an error of its own for what a simulator needs.
    except (ImportError, DependencyNotInstalled) as error:
        print(f"Left out: {problem.name}. {error}", file=sys.stderr)
        return
    not_for_lspi = discrete(Facts.of(log, problem.discount, "auto"))
    for who in sides:
        if who == "ours" or not not_for_lspi:
            key = {"problem": problem.name, "seed": seed, "method": NAMES[who]}
            compute = partial(_candidates, problem, log, seed, who)
            rows.once(key | {"setting": {}}, compute)


def _candidates(
    problem: Problem, log: Transitions, seed: int, who: str
) -> dict[str, Any]:
    truth, returns = [], []
    with Quietly(), Clock() as clock:
        for setting in GRID if who == "ours" else LSPI_GRID:
            if who == "ours":
                policy = ours(problem.discount, seed, setting)
            else:
                policy = LSPI(discount=problem.discount, random_state=seed, **setting)
            policy = policy.fit(log)
            truth.append(progress(problem, problem.value(policy, seed)))
            found = episode_returns(problem, policy, N_RETURNS, seed)
            returns.append(found.round(4).tolist())
    return {"truth": truth, "returns": returns, "cpu_seconds": clock.cpu_seconds}


def _by_budget(row: dict[str, Any]) -> list[float]:
    """Mean true value of what each budget chooses, over repeated purchases."""
    truth, returns = np.array(row["truth"]), np.array(row["returns"])
    rng = np.random.default_rng(0)
    chosen = [upper_confidence(returns, BUDGETS, rng) for _ in range(N_REPEATS)]
    return truth[np.array(chosen)].mean(axis=0).tolist()


def table(rows: Rows) -> str:
    """A line for each problem and family: the defaults, each budget, the best."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    for row in rows:
        # The first candidate is the defaults, which no roll-out is needed for.
        values = [row["truth"][0], *_by_budget(row), max(row["truth"])]
        found.setdefault((row["problem"], row["method"]), []).append(values)
    lines = [
        [*key, *(f"{value:.2f}" for value in np.mean(values, axis=0))]
        for key, values in found.items()
    ]
    for method in dict.fromkeys(method for _, method in found):
        means = [np.mean(v, axis=0) for (_, m), v in found.items() if m == method]
        lines.append(["mean", method, *(f"{v:.2f}" for v in np.mean(means, axis=0))])
    heads = ["problem", "candidates of", "defaults", *map(str, BUDGETS), "best"]
    return markdown(heads, lines)
