"""The stochastic solver on a linear Q against the closed form, on the same features."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks import ours
from benchmarks.problems import CONTROL, DISCOUNT, FROZEN_LAKE, FrozenLakeProblem
from benchmarks.report import Clock, Rows, markdown

N_LOGS = 3
CLOSE, SAME = 0.01, 0.98
# Discrete actions: of continuous ones the two solvers' policies are linear in different
# features.
PROBLEMS = (
    (FROZEN_LAKE[0], {"kernel": "linear", "n_components": None}),
    (FROZEN_LAKE[1], {"kernel": "linear", "n_components": None}),
    (CONTROL[1], {"n_components": 50}),
    (CONTROL[0], {"n_components": 50}),
)
# Both run until they have converged.
CLOSED_FORM = {"solver": "closed_form", "tol": 1e-5, "max_iter": 500}
STOCHASTIC = {
    "solver": "stochastic",
    "tol": 1e-6,
    "max_iter": 100,
    # Gauss-Newton steps take a minibatch for the log: here it is.
    "batch_size": 10_000,
    "leader_learning_rate": 1.0,
}


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Both solvers on every log; returns the table."""
    for seed in range(seeds or N_LOGS) if side != "peers" else ():
        for problem, setting in PROBLEMS:
            key = {"problem": problem.name, "seed": seed, "method": ours.NAME}
            rows.once(key | {"setting": {}}, partial(_fit, problem, seed, setting))
    return table(rows)


def _fit(problem: Any, seed: int, setting: Mapping[str, Any]) -> dict[str, Any]:
    one_hot = isinstance(problem, FrozenLakeProblem)
    log = problem.log(seed, encode="one-hot") if one_hot else problem.log(seed)
    policies, seconds = [], []
    for solver in (CLOSED_FORM, STOCHASTIC):
        with Clock() as clock:
            policies.append(
                ours.estimator(
                    discount=DISCOUNT, random_state=seed, **{**setting, **solver}
                ).fit(log)
            )
        seconds.append(round(clock.cpu_seconds, 2))
    exact, sampled = policies
    # Of every state once: a softmax over so many states, not of the states' frequency.
    states = np.unique(np.asarray(log.state), axis=0)
    same = exact.predict(states) == sampled.predict(states)
    return {
        "score": abs(sampled.policy_value_ / exact.policy_value_ - 1.0),
        "value": exact.policy_value_,
        "sampled_value": sampled.policy_value_,
        "same": float(same.reshape(len(states), -1).all(axis=1).mean()),
        "seconds": seconds,
    }


def table(rows: Rows) -> str:
    """v of both, how far apart, and the share of states with the same action."""
    lines = [
        [
            row["problem"],
            row["seed"],
            f"{row['value']:.4g}",
            f"{row['sampled_value']:.4g}",
            f"{row['score']:.2%}",
            f"{row['same']:.1%}",
            " / ".join(f"{s:.1f}" for s in row["seconds"]),
            "yes" if row["score"] <= CLOSE and row["same"] >= SAME else "no",
        ]
        for row in sorted(rows, key=lambda r: (r["problem"], r["seed"]))
    ]
    headings = ["log", "seed", "v, closed form", "v, stochastic", "apart"]
    headings += ["same action", "s, closed form / stochastic"]
    headings += [f"within {CLOSE:.0%}, same on {SAME:.0%}"]
    return (
        "Q linear in the same features; v in units of discounted return, actions on "
        "every distinct logged state.\n\n" + markdown(headings, lines)
    )
