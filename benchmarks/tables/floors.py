"""How often the lower bound of `lam="calibrated"` is below the true value, and how far.

The truth is of the policy that `predict` follows, on logs that nothing was chosen by.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.report import Clock, Rows, markdown
from benchmarks.trust import PROBLEMS, TrustProblem, by_name
from benchmarks.trust.statistics import (
    Quietly,
    column,
    each_log,
    of_problem,
    share_text,
)
from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.metrics import fitted_q_value

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
    """Three fits on every log; returns the table. There are no peers."""
    if side != "peers":
        for problem, seed in each_log(by_name(problems), seeds or N_LOGS, part):
            key = {"problem": problem.name, "seed": seed, "method": "ours"}
            rows.once(key | {"setting": {}}, partial(_fit, problem, seed))
    return table(rows)


def _fit(problem: TrustProblem, seed: int) -> dict[str, Any]:
    log = problem.log(seed)

    def learn(**given: Any) -> Any:
        settings = {"discount": problem.discount, "random_state": 0, **problem.setting}
        return StackelbergPolicyEstimator(**settings, **given).fit(log)

    with Quietly() as warned:
        try:
            with Clock() as clock:
                policy = learn(lam="calibrated", confidence_level=LEVEL)
        except ValueError as error:
            return {"refused": str(error), "cpu_seconds": clock.cpu_seconds}
        plain = fitted_q_value(policy, log, discount=problem.discount)
        fixed, default = learn(lam=3.0), learn()
    return {
        "lower_bound": float(policy.lower_bound_.value),
        "truth": problem.value(policy),
        "truth_stochastic": problem.value_stochastic(policy),
        "plain_value": plain.value,
        "plain_error": plain.standard_error,
        "reward_range": float(np.ptp(log.reward)),
        "lam": float(policy.lam_),
        "fixed": problem.value(fixed),
        "default": problem.value(default),
        "n_warnings": len(warned.messages),
        "cpu_seconds": clock.cpu_seconds,
    }


def table(rows: Rows) -> str:
    """One line a problem."""
    lines = []
    for problem in PROBLEMS:
        every = of_problem(rows, problem.name)
        found = [row for row in every if "lower_bound" in row]
        if not every:
            continue
        refused = len(every) - len(found)
        if not found:
            lines.append([problem.name, len(every), f"{refused} refused", *["–"] * 9])
            continue
        truth = column(found, "truth")
        below = truth - column(found, "lower_bound")
        # Rounding alone makes a bound at the least of all returns exceed it.
        holds = below >= -1e-9 * (1.0 + abs(truth))
        weights, counts = np.unique(column(found, "lam"), return_counts=True)
        lines.append(
            [
                problem.name,
                len(every),
                share_text(holds) + (f", {refused} refused" if refused else ""),
                f"{np.median(below / column(found, 'plain_error')):.2f}",
                f"{np.median(below / column(found, 'reward_range')):.3g}",
                f"{truth.mean():.4g}",
                f"{column(found, 'truth_stochastic').mean():.4g}",
                f"{column(found, 'fixed').mean():.4g}",
                f"{column(found, 'default').mean():.4g}",
                f"{problem.logger_value:.4g}",
                ", ".join(f"{w:g}: {c}" for w, c in zip(weights, counts, strict=True)),
                f"{np.median(column(found, 'cpu_seconds')):.1f}",
            ]
        )
    return markdown(
        [
            "problem",
            "logs",
            "bound holds (Wilson's 95 % interval)",
            "truth − bound, plain standard errors, median",
            "in ranges of the reward, median",
            "truth of `predict`",
            "of `predict_proba`",
            "of `predict` at λ = 3",
            "by default",
            "of the logger",
            "`lam_`",
            "processor seconds a fit",
        ],
        lines,
    )
