"""Two-stage trials without a discount: ours against Q-learning by stages.

Treatments have names of their own at each stage, and are available only there. The
process is polle's ``sim_two_stage``; values are exact up to 50,000 simulated patients,
the same for all methods of a log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Clock, Rows, markdown
from benchmarks.trust.policies import Array
from benchmarks.trust.processes import TwoStage
from benchmarks.trust.statistics import Quietly
from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions

N_LOGS, N_PATIENTS = 20, 800
# No log of these was used while anything was chosen.
FIRST_SEED = 1_000
NAMES = np.array([["first: wait", "first: treat"], ["then: wait", "then: treat"]])


def staged(log: Transitions) -> Transitions:
    """The log with names per stage, and the stage last among its columns."""
    stage = log.step.astype(int)
    return Transitions(
        log.state[:, 1:],
        NAMES[stage, log.action],
        log.reward,
        log.next_state[:, 1:],
        log.terminated,
        episode=log.episode,
        step=log.step,
    ).with_stage()


class Named:
    """A policy over names of stages, as the process asks: by stage, severity, luck."""

    def __init__(self, policy: Any) -> None:
        self.policy, self.foreign = policy, 0

    def predict(self, states: Array) -> NDArray[Any]:
        stage = states[:, 0].astype(int)
        chosen = self.policy.predict(np.column_stack([states[:, 1:], states[:, 0]]))
        treated = chosen == NAMES[stage, 1]
        self.foreign += int((~treated & (chosen != NAMES[stage, 0])).sum())
        return treated.astype(int)


class QLearning:
    """Least squares on an intercept and the state, arm by arm, from the last stage."""

    def fit(self, log: Transitions) -> QLearning:
        step = np.asarray(log.step)
        self.weights, after = {}, np.zeros(len(log))
        for stage in (1, 0):
            rows = np.flatnonzero(step == stage)
            z, target = _design(log.state[rows]), log.reward[rows] + after[rows]
            arms = []
            for name in NAMES[stage]:
                own = log.action[rows] == name
                arms.append(np.linalg.lstsq(z[own], target[own])[0])
            self.weights[stage] = np.stack(arms, axis=1)
            # Rows of a patient stand together, in the order of the stages.
            after[rows - 1] = (z @ self.weights[stage]).max(axis=1)
        return self

    def predict(self, states: Array) -> NDArray[Any]:
        stage = states[:, -1].astype(int)
        z = _design(states)
        place = np.zeros(len(states), dtype=int)
        for number, weight in self.weights.items():
            own = stage == number
            place[own] = (z[own] @ weight).argmax(axis=1)
        return NAMES[stage, place]


def _design(states: Array) -> Array:
    return np.column_stack([np.ones(len(states)), states[:, :-1]])


LINEAR = {"q_function": "linear", "policy": "linear"}
METHODS: Mapping[str, Callable[[], Any]] = {
    "Q-learning, least squares": QLearning,
    "ours, linear": partial(StackelbergPolicyEstimator, discount=1.0, **LINEAR),
    "ours, default features": partial(StackelbergPolicyEstimator, discount=1.0),
}
OURS = [name for name in METHODS if name.startswith("ours")]


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every method on every log; returns the table."""
    names = OURS if side == "ours" else [*METHODS]
    for seed in range(FIRST_SEED, FIRST_SEED + (seeds or N_LOGS)):
        for method in names if side != "peers" else [*{*METHODS} - {*OURS}]:
            key = {"problem": "two stages", "seed": seed, "method": method}
            rows.once(key | {"setting": {}}, partial(evaluate, method, seed))
    return table(rows)


def evaluate(method: str, seed: int) -> dict[str, Any]:
    """The value of what a method learns from one log."""
    process = TwoStage("two stages", N_PATIENTS, discount=1.0)
    log = staged(process.log(seed))
    policy = METHODS[method]()
    if "random_state" in getattr(policy, "get_params", dict)():
        policy.set_params(random_state=0)
    with Quietly(), Clock() as clock:
        named = Named(policy.fit(log))
    value = process.value(named, seed)
    return {"value": value, "foreign": named.foreign, **clock.row()}


def table(rows: Rows) -> str:
    """Mean values, and shares of Q-learning's."""
    by_method: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        by_method.setdefault(row["method"], {})[row["seed"]] = row
    peer = by_method.get("Q-learning, least squares", {})
    lines = []
    for method, found in by_method.items():
        shared = sorted({*found} & {*peer})
        values = np.array([found[seed]["value"] for seed in shared])
        theirs = np.array([peer[seed]["value"] for seed in shared])
        ratio = values / theirs
        lines.append(
            [
                method,
                len(shared),
                f"{values.mean():.4f}",
                f"{values.mean() / theirs.mean():.4f}",
                f"{ratio.min():.4f}",
                sum(row["foreign"] for row in found.values()),
                f"{np.median([row['cpu_seconds'] for row in found.values()]):.2f}",
            ]
        )
    columns = ["method", "logs", "mean value", "of Q-learning's", "least of a log"]
    columns += ["treatments of another stage", "seconds"]
    heading = f"Two stages, {N_PATIENTS} patients, no discount"
    return heading + "\n\n" + markdown(columns, lines)
