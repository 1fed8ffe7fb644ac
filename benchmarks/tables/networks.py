"""Networks on CartPole: who of the two players is at fault, and what was tried."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from benchmarks.ours import MLP_SETTING, estimator
from benchmarks.problems import CONTROL, DISCOUNT, ControlProblem
from benchmarks.report import Clock, Rows, markdown
from sklearn_stackelberg import OnStates, Transitions
from sklearn_stackelberg.networks import MLP, build_network

N_LOGS = 1
PROBLEMS = tuple(p for p in CONTROL if p.name.startswith("CartPole"))
KERNELS = {"q_function": "kernel", "policy": "kernel"}
KERNEL_SETTING = {**KERNELS, "support": 0.0, "max_iter": 0}
# What the kernels' row of `control` has on CartPole medium.
RIDGE = {"ridge": 1e-4, "beta": 0.01, "bandwidth": 0.5}
# Widths whose last layer alone is solved for, and its ridges.
HIDDEN, RIDGES = (32, 32), (1e-6, 1e-5, 1e-4)


def _fit(setting: dict[str, Any], log: Transitions, seed: int) -> Any:
    return estimator(discount=DISCOUNT, random_state=seed, **setting).fit(log)


def _last_layer(ridge: float, log: Transitions, seed: int) -> Any:
    """Random hidden layers, and the last one by the closed form with a ridge."""
    net = build_network(MLP(HIDDEN), log.shape[1], 1, seed=seed)
    hidden = torch.nn.Sequential(*list(net)[:-1])  # type: ignore[call-overload]

    def features(states: Any) -> Any:
        with torch.no_grad():
            found = hidden(torch.from_numpy(np.asarray(states, dtype=float))).numpy()
        # A squared length of about one, as kernel features have, for the ridge's sake.
        return found * 2.0

    setting = {**KERNEL_SETTING, "q_function": "linear", "policy": "linear"}
    setting |= {"ridge": ridge, "beta": 0.01}
    steps = make_pipeline(StandardScaler(), FunctionTransformer(features))
    policy = estimator(discount=DISCOUNT, random_state=seed, **setting)
    return make_pipeline(OnStates(steps), policy).fit(log)


METHODS: dict[str, Callable[[Transitions, int], Any]] = {
    "closed form, kernels with ridge": partial(_fit, {**KERNEL_SETTING, **RIDGE}),
    "closed form, kernels without": partial(_fit, KERNEL_SETTING),
    "networks": partial(_fit, MLP_SETTING),
    **{f"last layer solved, ridge {r:g}": partial(_last_layer, r) for r in RIDGES},
    "network Q, kernel policy": partial(_fit, {**MLP_SETTING, "policy": "kernel"}),
    "kernel Q, network policy": partial(
        _fit, {**MLP_SETTING, "q_function": "kernel", "solver": "stochastic"}
    ),
    "networks, support 0.2": partial(_fit, {**MLP_SETTING, "support": 0.2}),
    "networks, beta 1000": partial(_fit, {**MLP_SETTING, "beta": 1e3}),
    "networks, lam 0.1": partial(_fit, {**MLP_SETTING, "lam": 0.1}),
    "networks, 3 steps of Q": partial(_fit, {**MLP_SETTING, "follower_steps": 3}),
}


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    problems: str | None = None,
    methods: str | None = None,
) -> str:
    """Every remedy on every log; returns the table."""
    logs = [
        (problem, seed, problem.log(seed))
        for seed in range(seeds or N_LOGS)
        for problem in PROBLEMS
        if problems is None or problem.name in problems.split("|")
    ]
    for name in METHODS if methods is None else methods.split("|"):
        for problem, seed, log in logs:
            key = {"problem": problem.name, "seed": seed, "method": name}
            rows.once(key, partial(_row, problem, log, seed, name))
    return table(rows)


def _row(
    problem: ControlProblem, log: Transitions, seed: int, name: str
) -> dict[str, Any]:
    with Clock() as clock:
        policy = METHODS[name](log, seed)
    return {"score": float(problem.returns(policy).mean()), **clock.row()}


def table(rows: Rows) -> str:
    """Mean return of each remedy, and of its worst log."""
    lines = []
    for problem in PROBLEMS:
        for name in METHODS:
            found = [
                row["score"]
                for row in rows
                if (row["problem"], row["method"]) == (problem.name, name)
            ]
            if found:
                mean = f"{np.mean(found):.1f}"
                lines.append(
                    [problem.name, name, mean, f"{min(found):.1f}", len(found)]
                )
    headings = ["log", "what was fitted", "mean return", "worst log", "logs"]
    return "Return of 100 episodes.\n\n" + markdown(headings, lines)
