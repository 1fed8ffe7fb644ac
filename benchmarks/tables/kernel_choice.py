"""Which kernel ``"auto"`` takes, beside each of those that it chooses among."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks import ours
from benchmarks.families import progress
from benchmarks.families.problem import Problem
from benchmarks.families.queues import QUEUES
from benchmarks.families.shapes import SHAPES
from benchmarks.report import Rows, markdown
from benchmarks.suite.halves import HALVES
from benchmarks.trust.statistics import Quietly
from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.kernels import _choice

N_LOGS = 3
# Polling has more states than landmarks, so that "auto" asks whether they are rough.
FEW = (
    *("tandem", "repairs", "overflow"),
    *("ring", "FrozenLake 4x4 partial 2,000", "FrozenLake 8x8 partial 10,000"),
    *("maintenance", "pricing", "service speed", "random process"),
    *("grid with a wall", "severity"),
)
MANY = (
    "polling",
    *("bandit, good logger, costs", "bandit, uniform logger, gains"),
    *("CartPole 60 % random", "CartPole medium", "Acrobot medium, 10,000"),
    *("tank, energy is paid", "line, 10% random", "line, 30% random"),
)
KERNELS = ("delta", "laplacian", "rbf")
# Of errors, for each V₀, of a kernel over those of the kernels before: whether it is
# taken.
RULES: Mapping[str, Callable[[Any], bool]] = {
    "each under 0.98 (before)": lambda ratio: bool(np.all(ratio < 0.98)),
    "mean under 0.98 (now)": lambda ratio: bool(np.prod(ratio) < 0.98 ** len(ratio)),
    "mean under 0.99": lambda ratio: bool(np.prod(ratio) < 0.99 ** len(ratio)),
    "mean under 1": lambda ratio: bool(np.prod(ratio) < 1.0),
    "most under 0.98": lambda ratio: bool(np.mean(ratio < 0.98) > 0.5),
    "own V₀ under 0.98": lambda ratio: bool(ratio[-1] < 0.98),
}


def every() -> list[Problem]:
    """Few states, then many."""
    by_name = {problem.name: problem for problem in HALVES["choose"]}
    by_name |= {problem.name: problem for problem in (make() for make in QUEUES)}
    return [*(by_name[name] for name in (*FEW, *MANY)), *SHAPES]


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """Fit each log with each kernel; returns the tables."""
    parts = problems.split("|") if problems else [""]
    wanted = [p for p in every() if any(text in p.name for text in parts)]
    jobs = list(product(range(seeds or N_LOGS), wanted if side != "peers" else ()))
    for seed, problem in jobs[part[0] :: part[1]]:
        for kernel in ("auto", *KERNELS):
            if kernel == "delta" and problem.name not in FEW:
                continue
            key = {"problem": problem.name, "seed": seed, "method": ours.NAME}
            key["setting"] = {"kernel": kernel}
            rows.once(key, partial(_fit, problem, seed, kernel))
    return table(rows)


def _fit(problem: Problem, seed: int, kernel: str) -> dict[str, Any]:
    log, errors = problem.log(seed), []
    measured = _choice._errors

    def recorded(*given: Any) -> Any:
        found = measured(*given)
        errors.extend(error.tolist() for error in found)
        return found

    with Quietly(), patch.object(_choice, "_errors", recorded):
        policy = StackelbergPolicyEstimator(
            discount=problem.discount, random_state=seed, kernel=kernel
        ).fit(log)
    # Where all actions are worth the same there is no way to go.
    moves = problem.optimum > problem.logger_value
    score = progress(problem, problem.value(policy, seed)) if moves else 0.0
    return {"score": score, "taken": policy.features_.kernel_, "errors": errors}


def table(rows: Rows) -> str:
    """What each kernel is worth, and what rules of choosing would take."""
    found: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    for row in rows:
        found[row["problem"], row["seed"]][row["setting"]["kernel"]] = row
    logs = {key: by for key, by in found.items() if {"auto", "rbf"} <= by.keys()}
    if not logs:
        return ""
    lines = []
    for name in dict.fromkeys(name for name, _ in logs):
        mine = [by for (other, _), by in logs.items() if other == name]
        taken = Counter(by["auto"]["taken"] for by in mine)
        lines.append(
            [
                *(name, str(len(mine))),
                *(_mean(mine, kernel) for kernel in (*KERNELS, "auto")),
                ", ".join(f"{kernel} {n}" for kernel, n in taken.most_common()),
            ]
        )
    heads = ("problem", "logs", *KERNELS, '"auto"', "takes")
    few = {key: by for key, by in logs.items() if len(by["auto"]["errors"]) == 3}
    rules = [[name, *_gains(few, rule)] for name, rule in RULES.items()] if few else []
    gains = ("of few states, a smoother kernel is taken", "logs")
    gains += ("mean gain over each", "worst problem", "worst log")
    return "\n\n".join([markdown(heads, lines), markdown(gains, rules)])


def _mean(logs: list[dict[str, Any]], kernel: str) -> str:
    scores = [by[kernel]["score"] for by in logs if kernel in by]
    return f"{np.mean(scores):.2f}" if scores else ""


def _gains(logs: Mapping[Any, Any], rule: Callable[[Any], bool]) -> list[str]:
    """By problem, over the rule of before; scores from −1 on."""
    gains: dict[str, list[float]] = defaultdict(list)
    before = RULES["each under 0.98 (before)"]
    for (name, _), by in logs.items():
        errors = np.array(by["auto"]["errors"])
        new, old = (by[_taken(errors, one)]["score"] for one in (rule, before))
        gains[name].append(max(new, -1.0) - max(old, -1.0))
    means = {name: float(np.mean(some)) for name, some in gains.items()}
    worst = min(means, key=means.__getitem__)
    log = min((min(some), name) for name, some in gains.items())
    return [
        *(str(len(logs)), f"{np.mean(list(means.values())):+.3f}"),
        f"{means[worst]:+.2f} ({worst})",
        f"{log[0]:+.2f} ({log[1]})",
    ]


def _taken(errors: Any, rule: Callable[[Any], bool]) -> str:
    chosen, least = 0, errors[0]
    for number, error in enumerate(errors[1:], start=1):
        if rule(error / least):
            chosen = number
        least = np.minimum(least, error)
    return KERNELS[chosen]
