"""Defaults, and what was chosen among, on the problems kept apart and on the others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks import ours
from benchmarks.families import CHOOSE, EVALUATE, Problem, progress
from benchmarks.report import Clock, Rows, markdown, setting_text

N_LOGS = 2
# One hyperparameter changed at a time, on the problems that it was chosen by alone.
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"deterministic": False},
    {"support": 0.0},
    {"support": 0.05},
    {"support": 0.3},
    {"beta": 0.01},
    {"beta": 1.0},
    {"beta": 10.0},
    {"lam": 1.0},
    {"lam": 100.0},
)
PARTS = {"kept apart": (EVALUATE, SETTINGS[:3]), "chosen by": (CHOOSE, SETTINGS)}


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every setting on every log; returns the tables."""
    for problems, settings in PARTS.values() if side != "peers" else ():
        for seed, problem in product(range(seeds or N_LOGS), problems):
            for setting in settings:
                key = {"problem": problem.name, "seed": seed, "method": ours.NAME}
                rows.once(
                    key | {"setting": setting}, partial(_fit, problem, seed, setting)
                )
    return table(rows)


def _fit(problem: Problem, seed: int, setting: Mapping[str, Any]) -> dict[str, Any]:
    log = problem.log(seed)
    with Clock() as clock:
        policy = ours.estimator(
            discount=problem.discount, random_state=seed, **setting
        ).fit(log)
    states = np.asarray(log.state, dtype=float)[:2_000]
    # A policy with probabilities is worth what it draws.
    drawn = not setting.get("deterministic", True)
    value_of = problem.value_stochastic if drawn else problem.value
    return {
        "score": progress(problem, value_of(policy, seed)),
        "unlogged": problem.unlogged_share(policy, states, seed)[0],
        **clock.row(),
    }


def table(rows: Rows) -> str:
    """Shares of the way from the logger to the reference, a column a setting."""
    text = []
    for part, (problems, settings) in PARTS.items():
        lines = []
        for problem in problems:
            cells = []
            for setting in settings:
                found = [
                    row
                    for row in rows
                    if row["problem"] == problem.name and row["setting"] == setting
                ]
                cells.append(_cell(found))
            lines.append([problem.name, *cells])
        names = [setting_text(setting) or "the defaults" for setting in settings]
        text.append(f"Problems {part}:\n\n{markdown(['problem', *names], lines)}")
    return "\n\n".join(text)


def _cell(found: list[dict[str, Any]]) -> str:
    if not found:
        return ""
    scores = [row["score"] for row in found]
    unlogged = max(row["unlogged"] for row in found)
    note = f", {100 * unlogged:.1f} % unlogged" if unlogged else ""
    return f"{np.mean(scores):.2f} ({min(scores):.2f}){note}"
