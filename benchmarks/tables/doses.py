"""Doses: the share of the possible gain, by how the policy is given its actions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks import dose_problems, ours
from benchmarks.dose_problems import DoseProblem, share
from benchmarks.families import Problem, progress
from benchmarks.families.amounts import Battery, Bids, Infusion, PatientDoses
from benchmarks.report import Clock, Rows, markdown, setting_text

N_LOGS = 2
WANTED = 0.9
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"beta": 0.1, "ridge": 1e-4},  # the defaults until 2026-11-27
    *({"beta": beta} for beta in (1e-2, 1e-3, 1e-5, 1e-6)),
    *({"ridge": ridge} for ridge in (0.0, 1e-5, 1e-4)),
    {"lam": 3.0},
    {"lam": 30.0},
    {"support": 0.0},
    {"max_iter": 50},
    {"action_distribution": "gaussian"},
)
CHOSEN_BY = (
    *dose_problems.CHOSEN_BY,
    PatientDoses(0.5, 0.6),
    PatientDoses(0.9, 0.3),
    Bids(),
    Infusion(),
)
KEPT_APART = (*dose_problems.KEPT_APART, Battery())


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every setting on every log; there is no peer here."""
    for problem in (*CHOSEN_BY, *KEPT_APART) if side != "peers" else ():
        for seed in range(seeds or N_LOGS):
            for setting in SETTINGS:
                key = {"problem": problem.name, "seed": seed, "method": "ours"}
                fit = partial(_fit, problem, seed, setting)
                rows.once(key | {"setting": setting}, fit)
    return table(rows)


def _fit(
    problem: DoseProblem | Problem, seed: int, setting: Mapping[str, Any]
) -> dict[str, float]:
    policy = ours.estimator(
        discount=problem.discount,
        action_type="continuous",
        random_state=0,
        **{**_own(problem), **setting},
    )
    log = problem.log(seed)
    with Clock() as clock:
        policy.fit(log)
    if isinstance(problem, Problem):
        score = progress(problem, problem.value(policy, seed))
    else:
        score = share(problem, policy)
    return {"score": score, **clock.row()}


def _own(problem: DoseProblem | Problem) -> dict[str, Any]:
    return {} if isinstance(problem, Problem) else dict(problem.setting)


def table(rows: Rows) -> str:
    """A line for each problem, its settings beside one another."""
    text = [
        "Share of the gain over the logger that the best of a grid of policies has, by "
        f"true values, of `predict`: mean over logs (the worst), and the median "
        f"processor seconds of a fit, one thread. Wanted of the defaults: {WANTED}.",
        _part(rows, "Defaults were chosen by", CHOSEN_BY),
        _part(rows, "Kept apart", KEPT_APART),
    ]
    settings = {
        problem.name: own
        for problem in (*CHOSEN_BY, *KEPT_APART)
        if (own := _own(problem))
    }
    if settings:
        named = "; ".join(f"{n}: {setting_text(s)}" for n, s in settings.items())
        text.append(f"All other hyperparameters are the defaults, but for {named}.")
    return "\n\n".join(text)


def _part(rows: Rows, title: str, problems: tuple[Any, ...]) -> str:
    lines = []
    for problem in problems:
        cells = [_cell(rows, problem.name, setting) for setting in SETTINGS]
        lines.append([problem.name, *cells])
    return markdown([title, *map(setting_text, SETTINGS)], lines)


def _cell(rows: Rows, name: str, setting: Mapping[str, Any]) -> str:
    found = [r for r in rows if r["problem"] == name and r["setting"] == setting]
    if not found:
        return ""
    scores = [row["score"] for row in found]
    seconds = statistics.median(row["cpu_seconds"] for row in found)
    return f"{statistics.fmean(scores):.2f} ({min(scores):.2f}; {seconds:.1f} s)"
