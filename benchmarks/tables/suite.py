"""Methods as a user runs them, none tuned with a simulator, on a half of the suite.

``--half evaluate`` is for a release: whoever has chosen by it has no figure left.
1 is the best known policy of a problem and 0 the one that logs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled

from benchmarks.families import Problem, progress
from benchmarks.report import Clock, Rows, markdown
from benchmarks.suite.halves import FIRST_SEED, HALVES
from benchmarks.suite.methods import GRID, GRID_NAME, Method, ours, wanted_methods
from benchmarks.suite.scores import (
    REFUSED,
    Cells,
    Floats,
    cells,
    interval,
    is_below_logger,
    leads,
    ranks,
    shares,
)
from benchmarks.trust.statistics import Quietly, each_log, named
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.benchmark._methods import Facts, key_of

N_LOGS = 2


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    half: str = "choose",
    methods: str | None = None,
    problems: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """Every method on every log of a half; returns the tables of both halves."""
    chosen = named(HALVES[half], problems)
    for problem, number in each_log(chosen, seeds or N_LOGS, part):
        _run_log(rows, side, problem, FIRST_SEED[half] + number, methods)
    return table(rows)


def _run_log(
    rows: Rows, side: str, problem: Problem, seed: int, methods: str | None
) -> None:
    try:
        log = _log(problem, seed)
    # Gymnasium has an error of its own for what a simulator needs.
    except (ImportError, DependencyNotInstalled) as error:
        print(f"Left out: {problem.name}. {error}", file=sys.stderr)
        return
    facts = Facts.of(log, problem.discount, "auto")
    key = {"problem": problem.name, "seed": seed}
    for method in wanted_methods(methods, side):
        if method.is_installed and not method.not_for(facts):
            compute = partial(_of_method, problem, seed, method, facts.action_type)
            rows.once(key | {"method": method.name, "setting": {}}, compute)
    keys = [key_of(name) for name in (methods or GRID_NAME).split("|")]
    if side == "peers" or key_of(GRID_NAME) not in keys:
        return
    for setting in GRID:
        compute = partial(_of_setting, problem, seed, setting, facts.action_type)
        rows.once(key | {"method": GRID_NAME, "setting": setting}, compute)


# A log of glucose takes longer than a fit on it; methods of one seed run in a row.
@lru_cache(maxsize=1)
def _log(problem: Problem, seed: int) -> Transitions:
    return problem.log(seed)


def _of_method(
    problem: Problem, seed: int, method: Method, kind: str
) -> dict[str, Any]:
    return _scored(problem, seed, method.make(problem.discount, seed, kind))


def _of_setting(
    problem: Problem, seed: int, setting: dict[str, Any], kind: str
) -> dict[str, Any]:
    given = {**setting, "action_type": kind}
    return _scored(problem, seed, ours(problem.discount, seed, given))


def _scored(problem: Problem, seed: int, estimator: Any) -> dict[str, Any]:
    log = _log(problem, seed)
    try:
        with Quietly():
            with Clock() as clock:
                policy = estimator.fit(log)
            score = progress(problem, problem.value(policy, seed))
    # A method that fails, by whatever error, is a row of the table.
    except Exception as error:
        return {"score": None, "failed": f"{type(error).__name__}: {error}"[:300]}
    return {"score": score, **clock.row()}


def table(rows: Rows) -> str:
    """Each half: the methods over the problems, then each problem by method."""
    text = []
    for half, problems in HALVES.items():
        names = [problem.name for problem in problems]
        rows_of = [row for row in rows if row["problem"] in names]
        if rows_of:
            found = cells(rows_of)
            seen = [name for name in names if any(p == name for p, _ in found)]
            text += [f"The half to {half}, {len(seen)} of {len(names)} problems:"]
            text += [_overall(found, seen, rows_of), _by_problem(found, seen)]
            text += [_failures(rows_of)]
    return "\n\n".join(part for part in text if part)


def _methods(found: Cells) -> list[str]:
    """By their mean over problems, the grid's best first."""
    names = {method for _, method in found} - {GRID_NAME}

    def mean(name: str) -> float:
        return float(np.mean([c.mean for (_, m), c in found.items() if m == name]))

    return sorted(names, key=mean, reverse=True)


def _overall(
    found: Cells, problems: Sequence[str], rows: Sequence[dict[str, Any]]
) -> str:
    methods, lines = _methods(found), []
    every_rank = [ranks(found, problem, methods) for problem in problems]
    grids = [GRID_NAME] if any(m == GRID_NAME for _, m in found) else []
    for method in (*grids, *methods):
        own = {p: found[p, method] for p in problems if (p, method) in found}
        compared = [leads(found, p, method, methods) for p in own]
        rank = [one[method] for one in every_rank if method in one]
        below = [p for p, cell in own.items() if is_below_logger(cell)]
        seconds = [
            row["cpu_seconds"]
            for row in rows
            if row["method"] == method and "cpu_seconds" in row
        ]
        is_grid = method == GRID_NAME
        # One problem far below its logger would outweigh all others.
        groups = [cell.scores.clip(REFUSED) for cell in own.values()]
        of_best = shares(found, problems, method)
        lines.append(
            [
                method,
                len(own),
                _interval_text(groups, np.mean),
                _interval_text(groups, np.min),
                "1" if is_grid else _interval_text(of_best, np.mean),
                "1" if is_grid else _interval_text(of_best, np.min),
                "–" if is_grid else f"{np.mean(rank):.1f}",
                "–" if is_grid else f"{sum(map(bool, compared))} of {len(compared)}",
                len(below),
                f"{np.median(seconds):.1f}" if seconds else "–",
            ]
        )
    heads = ["method", "problems", "mean (95 %)", "worst (95 %)"]
    heads += ["of the grid's best: mean (95 %)", "worst (95 %)", "mean rank"]
    heads += ["first, or within a standard error", "below the logger", "s a fit"]
    return markdown(heads, lines)


def _interval_text(groups: Sequence[Floats], statistic: Any) -> str:
    if not groups:
        return "–"
    low, high = interval(groups, statistic)
    value = statistic([group.mean() for group in groups])
    return f"{value:.2f} ({low:.2f}, {high:.2f})"


def _by_problem(found: Cells, problems: Sequence[str]) -> str:
    """Mean over logs, the least in brackets, and what is missing to the grid's best."""
    grids = [GRID_NAME] if any(m == GRID_NAME for _, m in found) else []
    methods, lines = [*grids, *_methods(found)], []
    for problem in problems:
        best, texts = found.get((problem, GRID_NAME)), []
        for method in methods:
            cell = found.get((problem, method))
            text = f"{cell.mean:.2f}" if cell else ""
            if cell and len(cell.scores) > 1:
                text += f" ({cell.scores.min():.2f})"
            if cell and best and method != GRID_NAME:
                text += f", {cell.mean - best.mean:+.2f}"
            texts.append(text)
        lines.append([problem, *texts])
    return markdown(["problem", *methods], lines)


def _failures(rows: Sequence[dict[str, Any]]) -> str:
    failed = sorted(
        {
            f"- {row['problem']}, {row['method']}: {row['failed']}"
            for row in rows
            if row["score"] is None
        }
    )
    return "Failed, and counted as -1:\n" + "\n".join(failed) if failed else ""
