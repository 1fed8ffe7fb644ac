"""Doses: the share of the possible gain, by how the policy is given its actions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks import ours
from benchmarks.dose_problems import CHOSEN_BY, KEPT_APART, DoseProblem, share
from benchmarks.report import Clock, Rows, markdown, setting_text

N_LOGS = 2
WANTED = 0.9
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"candidates": 5},
    {"candidates": 15},
    {"max_iter": 50},
    {"support": 0.0},
    {"lam": 30.0},
    {"action_distribution": "gaussian"},
    {"action_distribution": "gaussian", "max_iter": 50},
)


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
    problem: DoseProblem, seed: int, setting: Mapping[str, Any]
) -> dict[str, float]:
    policy = ours.estimator(
        discount=problem.discount,
        action_type="continuous",
        random_state=0,
        **{**problem.setting, **setting},
    )
    log = problem.log(seed)
    with Clock() as clock:
        policy.fit(log)
    return {"score": share(problem, policy), **clock.row()}


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
        f"{name}": problem.setting
        for problem in (*CHOSEN_BY, *KEPT_APART)
        if problem.setting and (name := problem.name)
    }
    if settings:
        named = "; ".join(f"{n}: {setting_text(s)}" for n, s in settings.items())
        text.append(f"All other hyperparameters are the defaults, but for {named}.")
    return "\n\n".join(text)


def _part(rows: Rows, title: str, problems: tuple[DoseProblem, ...]) -> str:
    lines = []
    for setting in SETTINGS:
        cells = [_cell(rows, problem.name, setting) for problem in problems]
        lines.append([setting_text(setting), *cells])
    return markdown([title, *(problem.name for problem in problems)], lines)


def _cell(rows: Rows, name: str, setting: Mapping[str, Any]) -> str:
    found = [r for r in rows if r["problem"] == name and r["setting"] == setting]
    if not found:
        return ""
    scores = [row["score"] for row in found]
    seconds = statistics.median(row["cpu_seconds"] for row in found)
    return f"{statistics.fmean(scores):.2f} ({min(scores):.2f}; {seconds:.1f} s)"
