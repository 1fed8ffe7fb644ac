"""The effect of each default: one hyperparameter changed at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks import ours
from benchmarks.problems import (
    CARTPOLE_DEFAULT,
    CONTROL,
    DISCOUNT,
    FROZEN_LAKE,
    ControlProblem,
    FrozenLakeProblem,
    frozen_lake,
)
from benchmarks.report import Clock, Rows, markdown, setting_text

N_LOGS = 3
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"lam": 0.3},
    {"lam": 1.0},
    {"lam": 10.0},
    {"lam": 100.0},
    {"beta": 1e-5},
    {"beta": 1e-4},
    {"beta": 1e-2},
    {"ridge": 1e-5},
    {"ridge": 1e-4},
    {"initial_states": "first"},
    {"max_iter": 0},
    {"tol": 1e-3},
    {"mirror_steps": 10},
    {"n_components": 100},
    {"n_components": 400},
    {"leader_gradient": "individual"},
)
PROBLEMS: tuple[FrozenLakeProblem | ControlProblem, ...] = (
    FROZEN_LAKE[0],
    FROZEN_LAKE[2],
    FROZEN_LAKE[5],
    CARTPOLE_DEFAULT,
    *CONTROL[:2],
    # A fifth of the log of the control table: seventeen fits of 50,000 rows are long.
    replace(CONTROL[2], name="Acrobot medium, 10,000", n_transitions=10_000),
)


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every setting on every log; returns the table."""
    for problem in PROBLEMS if side != "peers" else ():
        for seed in range(seeds or N_LOGS):
            for setting in SETTINGS:
                key = {"problem": problem.name, "seed": seed, "method": ours.NAME}
                rows.once(
                    key | {"setting": setting}, partial(_fit, problem, seed, setting)
                )
    return table(rows)


def _fit(problem: Any, seed: int, setting: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(problem, FrozenLakeProblem):
        log = problem.log(seed, encode="one-hot")
        with Clock() as clock:
            policy = ours.estimator(
                discount=DISCOUNT, kernel="linear", random_state=seed, **setting
            ).fit(log)
        states = frozen_lake(problem.map_name, "one-hot").states()
        score = problem.success(policy.predict(states))
    else:
        log = problem.log(seed)
        with Clock() as clock:
            policy = ours.estimator(
                discount=DISCOUNT, random_state=seed, **setting
            ).fit(log)
        score = float(problem.returns(policy).mean())
    return {"score": score, "value": policy.policy_value_, **clock.row()}


def table(rows: Rows) -> str:
    """Mean score, pessimistic value and seconds, a row a setting."""
    lines = []
    for setting in SETTINGS:
        cells = []
        for problem in PROBLEMS:
            entries = [
                row
                for row in rows
                if row["problem"] == problem.name and row["setting"] == setting
            ]
            if not entries:
                cells.append("")
                continue
            score, value, seconds = (
                np.mean([row[name] for row in entries])
                for name in ("score", "value", "cpu_seconds")
            )
            digits = 2 if isinstance(problem, FrozenLakeProblem) else 0
            cells.append(f"{score:.{digits}f} ({value:.{digits}f}; {seconds:.1f} s)")
        lines.append([setting_text(setting) or "the defaults", *cells])
    return markdown(["changed", *(problem.name for problem in PROBLEMS)], lines)
