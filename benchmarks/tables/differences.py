"""Differences to the policy that logged: coverage, and the size of the test."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.report import Clock, Rows, markdown
from benchmarks.trust import PROBLEMS, TrustProblem, by_name
from benchmarks.trust.policies import Policy
from benchmarks.trust.statistics import (
    Quietly,
    column,
    each_log,
    of_problem,
    share_text,
)
from sklearn_stackelberg.metrics import value_difference

N_LOGS = 200
LEVEL = 0.95


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """Two differences on every log; returns the table. There are no peers."""
    if side != "peers":
        for problem, seed in each_log(by_name(problems), seeds or N_LOGS, part):
            key = {"problem": problem.name, "seed": seed, "setting": {}}
            for name in ("target", "logger"):
                compute = partial(_compare, problem, seed, getattr(problem, name))
                rows.once(key | {"method": name}, compute)
    return table(rows)


def _compare(problem: TrustProblem, seed: int, policy: Policy) -> dict[str, Any]:
    log = problem.log(seed)
    with Quietly() as warned, Clock() as clock:
        found = value_difference(
            policy, log, baseline="logger", discount=problem.discount
        )
    low, high = found.confidence_interval
    known = policy is problem.logger
    return {
        "truth": 0.0 if known else problem.target_value - problem.logger_value,
        "value": found.value,
        "standard_error": found.standard_error,
        "bias_bound": found.bias_bound,
        "low": low,
        "high": high,
        "p_value": found.p_value(),
        "warned": warned.messages,
        "cpu_seconds": clock.cpu_seconds,
    }


def table(rows: Rows) -> str:
    """One line a problem."""
    lines = []
    for problem in PROBLEMS:
        every = of_problem(rows, problem.name)
        target = [row for row in every if row["method"] == "target"]
        logger = [row for row in every if row["method"] == "logger"]
        if not target or not logger:
            continue
        truth, value, error, low, high = (
            column(target, name)
            for name in ("truth", "value", "standard_error", "low", "high")
        )
        p_value = column(logger, "p_value")
        own = column(logger, "value") / column(logger, "standard_error")
        lines.append(
            [
                problem.name,
                len(target),
                share_text((low <= truth) & (truth <= high)),
                share_text(p_value < 1.0 - LEVEL),
                f"{truth.mean():.3g}",
                f"{np.nanmean((value - truth) / error):+.2f}",
                f"{np.mean(high - low):.3g}",
                f"{np.nanmean(own):+.2f} ± {np.nanstd(own):.2f}",
                f"{np.mean(column(target, 'bias_bound') > 0.0):.2f}",
                f"{np.median(column(target, 'cpu_seconds')):.2f}",
            ]
        )
    return markdown(
        [
            "problem",
            "logs",
            "intervals that hold the difference (Wilson's 95 %)",
            "test rejects where the policy is the logger",
            "true difference",
            "bias, standard errors",
            "mean width",
            "the logger's difference in standard errors",
            "with a bound of the bias",
            "s each",
        ],
        lines,
    )
