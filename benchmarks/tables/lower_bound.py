"""How often the calibrated lower bound is below the true value, and how far."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.problems import (
    CARTPOLE_DEFAULT,
    DISCOUNT,
    ControlProblem,
    FrozenLakeProblem,
)
from benchmarks.report import Clock, Rows, markdown
from benchmarks.tuning_problems import Drawn
from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.metrics import fitted_q_value

N_LOGS = 200
N_ROLLOUTS = 100
LEVEL = 0.95
PROBLEMS: tuple[FrozenLakeProblem | ControlProblem, ...] = (
    FrozenLakeProblem("4x4 mediocre 3,000", "4x4", "mediocre", 3_000),
    FrozenLakeProblem("4x4 mediocre 10,000", "4x4", "mediocre", 10_000),
    CARTPOLE_DEFAULT,
)


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """A fit at the level on every log; returns the table."""
    for problem in PROBLEMS if side != "peers" else ():
        for seed in range(seeds or N_LOGS):
            key = {"problem": problem.name, "seed": seed, "method": "ours"}
            rows.once(key | {"setting": {}}, partial(_fit, problem, seed))
    return table(rows)


def _fit(problem: Any, seed: int) -> dict[str, Any]:
    log = problem.log(seed)
    finite = isinstance(problem, FrozenLakeProblem)
    policy = StackelbergPolicyEstimator(
        discount=DISCOUNT,
        lam="calibrated",
        confidence_level=LEVEL,
        kernel="delta" if finite else "rbf",
        initial_states="first",
        random_state=0,
    )
    with Clock() as clock:
        policy.fit(log)
    plain = fitted_q_value(policy, log, discount=DISCOUNT)
    return {
        "lower_bound": policy.policy_value_,
        "value": policy.lower_bound_.estimate,
        "standard_error": policy.lower_bound_.standard_error,
        "plain_error": plain.standard_error,
        "lam": policy.lam_,
        "truth": _truth(problem, policy),
        "cpu_seconds": clock.cpu_seconds,
    }


def _truth(problem: Any, policy: Any) -> float:
    """Discounted value of the policy from the start."""
    if isinstance(problem, FrozenLakeProblem):
        states = np.asarray(problem.mdp.states()).reshape(-1, 1)
        return float(problem.mdp.policy_value(policy.predict_proba(states), DISCOUNT))
    steps = problem.returns(Drawn(policy), N_ROLLOUTS)
    return float(np.mean((1 - DISCOUNT**steps) / (1 - DISCOUNT)))


def table(rows: Rows) -> str:
    """One line a problem."""
    lines = []
    for problem in PROBLEMS:
        found = [row for row in rows if row["problem"] == problem.name]
        if not found:
            continue
        get = {
            name: np.array([row[name] for row in found])
            for name in (
                "lower_bound", "value", "standard_error", "plain_error", "lam",
                "truth", "cpu_seconds",
            )
        }  # fmt: skip
        under = get["truth"] - get["lower_bound"]
        weights, counts = np.unique(get["lam"], return_counts=True)
        lines.append(
            [
                problem.name,
                len(found),
                f"{np.mean(under >= 0):.3f}",
                f"{np.mean(under / get['standard_error']):.2f}",
                f"{np.mean(under / get['plain_error']):.2f}",
                f"{np.mean(get['truth']):.3g}",
                f"{np.mean(get['value']):.3g}",
                f"{np.mean(get['lower_bound']):.3g}",
                f"{np.mean(get['standard_error']):.2g}",
                ", ".join(f"{w:g}: {c}" for w, c in zip(weights, counts, strict=True)),
                f"{np.mean(get['cpu_seconds']):.1f}",
            ]
        )
    return markdown(
        [
            "log",
            "logs",
            "bound holds",
            "truth − bound, in its standard errors",
            "in plain standard errors",
            "truth",
            "fitted-Q",
            "bound",
            "standard error",
            "`lam_`",
            "processor seconds a fit",
        ],
        lines,
    )
