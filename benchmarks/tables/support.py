"""When less support is worth it, and how many trees have to agree on an action."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks import ours
from benchmarks.families import progress
from benchmarks.families.problem import Problem
from benchmarks.report import Rows, markdown
from benchmarks.suite.halves import HALVES
from benchmarks.trust.statistics import gain_cells
from sklearn_stackelberg._fitting import make_fit
from sklearn_stackelberg._fitting.hyperparameters import Hyperparameters
from sklearn_stackelberg._problem.action_space import read_actions
from sklearn_stackelberg._problem.dataset import OfflineProblem
from sklearn_stackelberg.solvers._best_response import BestResponse

# Logs of a problem: as many as take a few minutes.
N_LOGS = {"FrozenLake 8x8": 6, "tank": 6, "CartPole": 6, "grid": 6, "modules": 2}
NAMES = (
    *("ring", "bandit, good", "FrozenLake", "CartPole", "maintenance", "pricing"),
    *("service speed", "random process", "grid", "severity", "tank", "line", "modules"),
)
SUPPORTS = 0.2, 0.01
# Of λ, and of v: less support has to be worth so much more at so much of λ.
# Shares of the trees that have to agree, and the problems that they are compared on: of
# many states, whose loggers do not do everything everywhere.
AGREED = 0.0, 0.5, 0.7, 0.85, 1.0
DISAGREED = "modules", "bandit, good", "CartPole", "tank", "line"
DOUBTS, MARGINS = (1.0, 0.5, 0.3, 0.2, 0.1), (0.0, 0.1, 0.2, 0.3)


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Fit each log with both supports; returns the tables."""
    chosen = [p for p in HALVES["choose"] if p.name.startswith(NAMES)]
    for problem in chosen if side != "peers" else ():
        n = seeds or next((n for k, n in N_LOGS.items() if k in problem.name), 10)
        for seed, support in product(range(n), SUPPORTS):
            key = {"problem": problem.name, "seed": seed, "method": ours.NAME}
            key["setting"] = {"support": support}
            rows.once(key, partial(_fit, problem, seed, support))
    trees = [p for p in HALVES["choose"] if p.name.startswith(DISAGREED)]
    for problem in trees if side != "peers" else ():
        for seed, agreed in product((*range(3), *range(100, 103)), AGREED):
            key = {"problem": problem.name, "seed": seed, "method": ours.NAME}
            key["setting"] = {"agreed": agreed}
            rows.once(key, partial(_fit_where_trees_agree, problem, seed, agreed))
    return "\n\n".join(part for part in (table(rows), agreed_table(rows)) if part)


def _fit_where_trees_agree(
    problem: Problem, seed: int, agreed: float
) -> dict[str, Any]:
    log = problem.log(seed)
    made = ours.estimator(discount=problem.discount, random_state=seed)
    # Also while the policy is followed: what it may do hangs on it.
    with patch("sklearn_stackelberg._fitting.support.AGREED", agreed):
        policy = made.fit(log)
        states = np.asarray(log.state)
        return {
            "score": progress(problem, problem.value(policy, seed)),
            "unlogged": problem.unlogged_share(policy, states, seed)[0],
        }


def _fit(problem: Problem, seed: int, support: float) -> dict[str, Any]:
    log = problem.log(seed)
    made = ours.estimator(discount=problem.discount, random_state=seed, support=support)
    policy = made.fit(log)
    hp = Hyperparameters.from_estimator(made)
    actions, _ = read_actions(log, hp.action_type, hp.action_bounds)
    given = OfflineProblem.from_log(
        log, discount=hp.discount, initial_states=hp.initial_states, estimator=made
    )
    fit, theta = make_fit(hp, given, actions), policy._state.policy
    values = {}
    for doubt in DOUBTS:
        weight = fit.weight(doubt * float(hp.lam))
        response = BestResponse(fit.solver_problem, theta, weight, fit.beta)
        values[str(doubt)] = response.credible_value
    score = progress(problem, problem.value(policy, seed))
    return {"score": score, "values": values}


def agreed_table(rows: Rows) -> str:
    """What each share of trees that have to agree is worth: mean and worst log."""
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if "agreed" in row["setting"]:
            found[row["problem"]][row["setting"]["agreed"]].append(row["score"])
    lines = [
        [name, str(max(map(len, by.values())))]
        + [f"{np.mean(by[a]):.2f} ({min(by[a]):.2f})" if by[a] else "" for a in AGREED]
        for name, by in found.items()
    ]
    heads = ["of trees that agree", "logs", *(f"{a:g}" for a in AGREED)]
    return markdown(heads, lines) if lines else ""


def table(rows: Rows) -> str:
    """What each rule gains over a support of 0.2, and what each support is worth."""
    found: dict[tuple[str, int], dict[float, Any]] = defaultdict(dict)
    for row in rows:
        if "support" in row["setting"]:
            found[row["problem"], row["seed"]][row["setting"]["support"]] = row
    pairs = {key: two for key, two in found.items() if len(two) == len(SUPPORTS)}
    if not pairs:
        return ""
    lines = [_rule(pairs, d, m) for d, m in product(DOUBTS, MARGINS)]
    heads = ("of λ", "more", "logs", "mean gain", "worst problem", "worst log")
    names = dict.fromkeys(name for name, _ in pairs)
    worth = []
    for name in names:
        logs = [two for (other, _), two in pairs.items() if other == name]
        cells = [f"{np.mean([two[s]['score'] for two in logs]):.2f}" for s in SUPPORTS]
        worth.append([name, str(len(logs)), *cells])
    supports = [str(support) for support in SUPPORTS]
    return "\n\n".join(
        [markdown(heads, lines), markdown(["problem", "logs", *supports], worth)]
    )


def _rule(
    pairs: dict[tuple[str, int], dict[float, Any]], doubt: float, margin: float
) -> list[str]:
    """How often a rule takes less support, and what it gains; scores from −1 on."""
    gains, taken = defaultdict(list), 0
    for (name, _), two in pairs.items():
        near, far = (two[support] for support in SUPPORTS)
        value = max(near["values"]["1.0"], near["values"][str(doubt)])
        takes = far["values"][str(doubt)] > value + margin * abs(value)
        gain = max(far["score"], -1.0) - max(near["score"], -1.0)
        gains[name].append(takes * gain)
        taken += takes
    rule = f"{doubt:g}", f"{margin:g}", f"{taken} of {len(pairs)}"
    return [*rule, *gain_cells(gains)]
