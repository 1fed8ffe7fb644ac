"""When less support is worth it, and where an action is never taken."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks import ours
from benchmarks.families import progress
from benchmarks.families.barred import BARRED
from benchmarks.families.problem import Problem
from benchmarks.report import Rows, markdown
from benchmarks.suite.halves import HALVES
from benchmarks.tables.held_out import METRICS
from benchmarks.trust.statistics import Quietly, gain_cells, named
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
DOUBTS, MARGINS = (1.0, 0.5, 0.3, 0.2, 0.1), (0.0, 0.1, 0.2, 0.3)
# How unlikely it has to be that an action is not in a box of states by chance; at the
# first none is. Chosen by problems of many states whose loggers do not do everything
# everywhere.
EVIDENCE = 1e9, 4.0, 8.0, 16.0
# Logs from each of two first seeds, of the problems kept apart.
N_APART = 10
CHOSEN_BY = "modules", "bandit, good", "CartPole", "tank", "line"


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
) -> str:
    """Fit each log with both supports; returns the tables."""
    every = named((*HALVES["choose"], *BARRED), problems) if side != "peers" else ()
    for problem in [p for p in every if p.name.startswith(NAMES)]:
        n = seeds or next((n for k, n in N_LOGS.items() if k in problem.name), 10)
        for seed, support in product(range(n), SUPPORTS):
            key = {"problem": problem.name, "seed": seed, "method": ours.NAME}
            key["setting"] = {"support": support}
            rows.once(key, partial(_fit, problem, seed, support))
    for problem in [p for p in every if p.name.startswith(CHOSEN_BY) or p in BARRED]:
        n_logs = N_APART if problem in BARRED else 3
        logs = (*range(n_logs), *range(100, 100 + n_logs))
        for seed, evidence in product(logs, EVIDENCE):
            key = {"problem": problem.name, "seed": seed, "method": ours.NAME}
            key["setting"] = {"evidence": evidence}
            rows.once(key, partial(_fit_barred, problem, seed, evidence))
    return "\n\n".join(part for part in (table(rows), barred_table(rows)) if part)


def _fit_barred(problem: Problem, seed: int, evidence: float) -> dict[str, Any]:
    made = ours.estimator(discount=problem.discount, random_state=seed)
    # Also while it is evaluated: evaluators ask where nothing is taken, too.
    with (
        patch("sklearn_stackelberg._fitting.never_taken.EVIDENCE", evidence),
        Quietly(),
    ):
        policy = made.fit(log := problem.log(seed))
        states, truth = np.asarray(log.state), problem.value_stochastic(policy, seed)
        found: dict[str, Any] = {
            "score": progress(problem, problem.value(policy, seed)),
            "unlogged": problem.unlogged_share(policy, states, seed)[0],
        }
        for name, metric in METRICS.items() if problem in BARRED else ():
            held = problem.log(1_000 + seed)
            estimate = metric(policy, held, discount=problem.discount)
            low, high = estimate.confidence_interval
            off = (estimate.value - truth) / estimate.standard_error
            found[name] = {"off": off, "held": bool(low <= truth <= high)}
    return found


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


def barred_table(rows: Rows) -> str:
    """What each amount of evidence is worth: mean, worst log and barred share."""
    found: dict[str, dict[Any, list[dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows:
        if "evidence" in row["setting"]:
            found[row["problem"]][row["setting"]["evidence"]].append(row)

    def text(some: list[dict[str, Any]]) -> str:
        scores = [row["score"] for row in some]
        barred = 100.0 * np.mean([row["unlogged"] for row in some])
        return f"{np.mean(scores):.2f} ({min(scores):.2f}), {barred:.2f} %"

    lines = [
        [name, str(max(map(len, by.values())))]
        + [text(by[e]) if by[e] else "" for e in EVIDENCE]
        for name, by in found.items()
    ]
    heads = [
        "share (worst log), barred; evidence",
        "logs",
        "none",
        *map("{:g}".format, EVIDENCE[1:]),
    ]
    held = [
        [f"{name}, {metric}", str(max(map(len, by.values())))]
        + [
            f"{np.mean([row[metric]['held'] for row in by[e]]):.2f}, "
            f"{np.mean([row[metric]['off'] for row in by[e]]):+.2f}"
            for e in EVIDENCE
        ]
        for name, by in found.items()
        for metric in METRICS
        if all(metric in row for e in EVIDENCE for row in by[e]) and by[EVIDENCE[0]]
    ]
    second = ["interval holds, bias in errors; evidence", *heads[1:]]
    tables = [markdown(h, rows) for h, rows in ((heads, lines), (second, held)) if rows]
    return "\n\n".join(tables)


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
