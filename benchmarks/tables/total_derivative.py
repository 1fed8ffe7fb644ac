"""The effect of the total derivative: against the individual one, on ten logs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks import ours
from benchmarks.continuous_problems import PENDULUM, ContinuousProblem
from benchmarks.peers import grid
from benchmarks.problems import (
    CONTROL,
    DISCOUNT,
    FROZEN_LAKE,
    ControlProblem,
    FrozenLakeProblem,
    frozen_lake,
)
from benchmarks.report import Clock, Rows, markdown

N_LOGS = 10
GRADIENTS = ("total", "individual")
# Where the steps along the derivative start: where mirror steps end (the default), or
# at the uniform policy.
STARTS = {40: "mirror steps", 0: "uniform"}
LIMITS = {
    # A tolerance at which neither derivative ends before it has converged.
    "closed_form": {"max_iter": 100, "tol": 1e-4},
    # Iterations, of which mirror steps are the first 40 for either gradient.
    "stochastic": {"max_iter": 80, "tol": 1e-6, "leader_learning_rate": 0.3},
}
PROBLEMS: tuple[FrozenLakeProblem | ControlProblem | ContinuousProblem, ...] = (
    FROZEN_LAKE[0],
    CONTROL[1],
    replace(PENDULUM, name="Pendulum, 10,000", n_transitions=10_000),
)
CLOSED_FORM = grid(
    mirror_steps=tuple(STARTS), leader_gradient=GRADIENTS, solver=("closed_form",)
)
STOCHASTIC = grid(leader_gradient=GRADIENTS, solver=("stochastic",))


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Both gradients on every log; returns the table."""
    for seed in range(seeds or N_LOGS) if side != "peers" else ():
        for problem in PROBLEMS:
            # The stochastic solver on the small log alone, where it is cheap.
            more = STOCHASTIC if problem is PROBLEMS[0] else ()
            for setting in (*CLOSED_FORM, *more):
                key = {"problem": problem.name, "seed": seed, "method": ours.NAME}
                rows.once(
                    key | {"setting": setting}, partial(_fit, problem, seed, setting)
                )
    return table(rows)


def _fit(problem: Any, seed: int, setting: Mapping[str, Any]) -> dict[str, Any]:
    one_hot = isinstance(problem, FrozenLakeProblem)
    log = problem.log(seed, encode="one-hot") if one_hot else problem.log(seed)
    setting = {**LIMITS[setting["solver"]], **setting}
    if one_hot:
        setting = {"kernel": "linear", "n_components": None, **setting}
    elif isinstance(problem, ContinuousProblem):
        setting = {**ours.TORQUE, **ours.PENDULUM_GRID[0], **setting}
    with Clock() as clock:
        policy = ours.estimator(discount=DISCOUNT, random_state=seed, **setting).fit(
            log
        )
    if one_hot:
        states = frozen_lake(problem.map_name, "one-hot").states()
        # The policy itself, which the gradient moves: its modes may stay.
        score = problem.success(policy.predict_proba(states))
    else:
        score = float(problem.returns(policy).mean())
    return {
        "score": score,
        "value": policy.policy_value_,
        "steps": policy.n_iter_,
        "residual": policy.measure_equilibrium(log).leader_gradient_norm,
        **clock.row(),
    }


def table(rows: Rows) -> str:
    """A line a problem, solver, start and gradient; then each pair's difference."""
    lines, text = [], []
    for problem in PROBLEMS:
        for solver, start in (
            *(("closed_form", steps) for steps in STARTS),
            ("stochastic", None),
        ):
            found = {
                gradient: _rows(rows, problem.name, solver, start, gradient)
                for gradient in GRADIENTS
            }
            where = STARTS[40 if start is None else start]
            for gradient, by_seed in found.items():
                if by_seed:
                    lines.append(
                        [problem.name, solver, where, gradient, *_means(by_seed)]
                    )
            if all(found.values()):
                text.append(
                    f"{problem.name}, {solver}, from {where}: total less individual, "
                    f"{_difference(found, 'score', 'true value')}; "
                    f"{_difference(found, 'value', 'v')}."
                )
    headings = ["log", "solver", "starts from", "gradient", "true value", "v"]
    headings += ["steps", "s", "|D v| at the end", "logs"]
    return (
        f"Mean ± standard deviation over the logs; default hyperparameters but for "
        f"{LIMITS['closed_form']} of the closed form and {LIMITS['stochastic']} of the "
        f"stochastic solver, and the Pendulum's {ours.PENDULUM_GRID[0]}. FrozenLake: "
        "exact success of π; others: return of `predict` over 100 episodes; v in units "
        "of discounted return.\n\n"
        + markdown(headings, lines)
        + "\n\n"
        + "\n".join(text)
    )


def _rows(
    rows: Rows, problem: str, solver: str, start: int | None, gradient: str
) -> dict[int, dict[str, Any]]:
    return {
        row["seed"]: row
        for row in rows
        if row["problem"] == problem
        and row["setting"]["solver"] == solver
        and row["setting"].get("mirror_steps") == start
        and row["setting"]["leader_gradient"] == gradient
    }


def _means(by_seed: dict[int, dict[str, Any]]) -> list[str]:
    found = list(by_seed.values())

    def mean(name: str) -> float:
        return statistics.fmean(row[name] for row in found)

    cells = [
        f"{mean(name):.3g} ± {np.std([row[name] for row in found]):.2g}"
        for name in ("score", "value")
    ]
    return [
        *cells,
        f"{mean('steps'):.0f}",
        f"{mean('cpu_seconds'):.2f}",
        f"{mean('residual'):.1e}",
        str(len(found)),
    ]


def _difference(found: dict[str, dict[int, Any]], name: str, words: str) -> str:
    """Mean difference on the same logs, with its standard error."""
    total, individual = (found[gradient] for gradient in GRADIENTS)
    both = sorted(set(total) & set(individual))
    apart = [total[seed][name] - individual[seed][name] for seed in both]
    error = np.std(apart, ddof=1) / math.sqrt(len(apart)) if len(apart) > 1 else np.nan
    return f"{words} {np.mean(apart):+.3g} ± {error:.2g}"
