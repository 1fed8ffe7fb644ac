"""Methods as a user runs them, none tuned with a simulator, on both halves of problems.

1 is the best known policy of a problem and 0 the one that logs. ``--problems`` takes a
part; the problems kept apart are looked at once for each release.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families import CHOOSE, EVALUATE, Problem, progress
from benchmarks.peers import grid
from benchmarks.report import Clock, Rows, markdown
from benchmarks.trust.statistics import Quietly, bootstrap
from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.benchmark._methods import Facts, Method, known_methods

N_LOGS = 2
OURS = ("Stackelberg", "Stackelberg calibrated", "Stackelberg CV")
PEERS = (
    "BC boosting",
    "BC extra trees",
    "Direct ridge",
    "Direct extra trees",
    "Direct boosting",
    "VI-LCB",
    "FQI extra trees",
    "FQI boosting",
    "FQI kernel",
    "LSPI kernel",
    "d3rlpy BCQ",
    "d3rlpy CQL",
    "d3rlpy TD3+BC",
    "d3rlpy IQL",
)
# What the best setting of ours is taken from, by the true value.
GRID_NAME = "best of a grid"
GRID = grid(lam=(1.0, 10.0, 100.0), support=(0.0, 0.05, 0.2))
HALVES = {"kept apart": EVALUATE, "chosen by": CHOOSE}


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """Every method on every log; returns the tables."""
    wanted = (problems or "").split("|")
    for seed in range(part[0], seeds or N_LOGS, part[1]):
        for problem in (*EVALUATE, *CHOOSE):
            if any(name in problem.name for name in wanted):
                _run_log(rows, side, problem, seed)
    return table(rows)


def _run_log(rows: Rows, side: str, problem: Problem, seed: int) -> None:
    names = {"both": (*OURS, *PEERS), "ours": OURS, "peers": PEERS}[side]
    log = problem.log(seed)
    facts = Facts.of(log, problem.discount, "auto")
    key = {"problem": problem.name, "seed": seed, "setting": {}}
    for method in known_methods():
        fits = method.name in names and not method.not_for(facts)
        if fits and method.is_installed:
            compute = partial(_of_method, problem, seed, method, facts)
            rows.once(key | {"method": method.name}, compute)
    for setting in GRID if side != "peers" else ():
        compute = partial(_of_setting, problem, seed, setting)
        rows.once(key | {"method": GRID_NAME, "setting": setting}, compute)


def _of_method(
    problem: Problem, seed: int, method: Method, facts: Facts
) -> dict[str, Any]:
    made = method.make(problem.discount, seed, facts.action_type)
    return _scored(problem, seed, made)


def _of_setting(problem: Problem, seed: int, setting: dict[str, Any]) -> dict[str, Any]:
    made = StackelbergPolicyEstimator(
        discount=problem.discount, random_state=seed, **setting
    )
    return _scored(problem, seed, made)


def _scored(problem: Problem, seed: int, estimator: Any) -> dict[str, Any]:
    log = problem.log(seed)
    try:
        with Quietly(), Clock() as clock:
            policy = estimator.fit(log)
        score = progress(problem, problem.value(policy, seed))
    except ValueError as error:
        # A method that refuses a log is a row of the table.
        return {"score": None, "failed": str(error)}
    return {"score": score, **clock.row()}


def table(rows: Rows) -> str:
    """Both halves: each problem by method, and the methods over the problems."""
    text = []
    for half, problems in HALVES.items():
        names = [p.name for p in problems]
        found = [row for row in rows if row["problem"] in names]
        if found:
            text += [f"Problems {half}:", _by_problem(found, names), _over(found)]
    return "\n\n".join(text)


def _scores(found: Sequence[dict[str, Any]], problem: str, method: str) -> list[float]:
    """Of each log; of the grid the best."""
    of_log: dict[int, list[float]] = {}
    for row in found:
        if (row["problem"], row["method"]) == (problem, method):
            score = -1.0 if row["score"] is None else float(row["score"])
            of_log.setdefault(row["seed"], []).append(score)
    return [max(of_log[seed]) for seed in sorted(of_log)]


def _methods(found: Sequence[dict[str, Any]]) -> list[str]:
    present = {row["method"] for row in found}
    return [name for name in (GRID_NAME, *OURS, *PEERS) if name in present]


def _by_problem(found: Sequence[dict[str, Any]], problems: Sequence[str]) -> str:
    methods = _methods(found)
    lines = []
    for problem in problems:
        cells = [_scores(found, problem, method) for method in methods]
        if any(cells):
            texts = [f"{np.mean(c):.2f} ({min(c):.2f})" if c else "" for c in cells]
            lines.append([problem, *texts])
    return markdown(["problem", *methods], lines)


def _over(found: Sequence[dict[str, Any]]) -> str:
    """Mean and worst over the problems that a method is for, and how often it leads."""
    problems = sorted({row["problem"] for row in found})
    methods = _methods(found)
    pairs = product(problems, methods)
    means = {pair: np.mean(s) for pair in pairs if (s := _scores(found, *pair))}
    lines = []
    for method in methods:
        own = [float(means[p, method]) for p in problems if (p, method) in means]
        low, high = bootstrap(own, lambda values: float(np.mean(values)))
        shares = _shares(found, problems, method)
        cpu = [row["cpu_seconds"] for row in found if _timed(row, method)]
        lines.append(
            [
                method,
                len(own),
                f"{np.mean(own):.2f} ({low:.2f}, {high:.2f})",
                f"{min(own):.2f}",
                f"{np.mean(shares):.2f}, {min(shares):.2f}" if len(shares) else "",
                _leads(means, problems, method),
                f"{np.median(cpu):.1f}" if cpu else "",
            ]
        )
    return markdown(
        [
            "method",
            "problems",
            "mean (95 % over problems)",
            "worst",
            "of the grid's best: mean, worst",
            "first, or within 0.03",
            "processor s a fit, median",
        ],
        lines,
    )


def _shares(
    found: Sequence[dict[str, Any]], problems: Sequence[str], method: str
) -> NDArray[np.float64]:
    """Scores over the grid's best, where that gains anything, at least -1."""
    shares = []
    for problem in problems:
        own, best = (_scores(found, problem, m) for m in (method, GRID_NAME))
        if own and best and np.mean(best) > 0.05:
            shares.append(max(-1.0, float(np.mean(own) / np.mean(best))))
    return np.array(shares)


def _timed(row: dict[str, Any], method: str) -> bool:
    return row["method"] == method and "cpu_seconds" in row


def _leads(
    means: dict[tuple[str, str], Any], problems: Sequence[str], method: str
) -> str:
    """Problems in which no method but the grid's best is better by more than 0.03."""
    took, led = 0, 0
    for problem in problems:
        if (problem, method) not in means:
            continue
        others = [v for (p, m), v in means.items() if p == problem and m != GRID_NAME]
        took += 1
        led += bool(means[problem, method] >= max(others) - 0.03)
    return f"{led} of {took}"
