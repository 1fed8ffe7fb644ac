"""`StackelbergPolicyCV` beside a default fit and the grid search that it replaces.

Time on logs of 10,000 rows, one thread; what is chosen, by true values; what rules of
dropping and choosing take; and how often the interval of ``value_`` holds where rewards
are noise.
"""

from __future__ import annotations

import time
from collections import defaultdict
from functools import partial
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np
from sklearn.base import clone

from benchmarks.families import CHOOSE, progress
from benchmarks.problems import CONTROL
from benchmarks.report import Rows, markdown
from benchmarks.suite.halves import HALVES
from benchmarks.trust.statistics import Quietly
from sklearn_stackelberg import (
    EpisodeKFold,
    StackelbergPolicyCV,
    StackelbergPolicyEstimator,
    Transitions,
)
from sklearn_stackelberg.model_selection import _halving

TIMED = {problem.name: problem for problem in CONTROL}
# Of the half that defaults are chosen by: quick ones, with room above the default.
VALUED = {
    problem.name: problem
    for problem in CHOOSE
    if problem.name in ("thermostat", "skewed doses", "FrozenLake 4x4 partial 2,000")
}
NOISE = "rewards that are noise"
N_LOGS = 2
N_NOISE = 40
# A search must not take longer than so many default fits, and be so many times faster
# than the grid search of its own candidates.
DEARER, FASTER = 12.0, 5.0

N_ROLLOUTS = 50

# Logs that nothing else was chosen by, and rules of a search: standard errors that are
# taken off in the choice, and the supports.
RULED_SEEDS = 100, 101, 102
_FINITE = "maintenance", "pricing", "service speed", "random process", "severity"
_LINES = "line, 10% random", "line, 30% random"
RULED = {
    problem.name: problem
    for problem in HALVES["choose"]
    if problem.name in ("ring", "FrozenLake 4x4 partial 2,000", *_FINITE, *_LINES)
}
RULES = tuple(
    {"doubt": doubt, "supports": supports}
    for doubt, supports in product(
        (0.0, 1.0, 2.0, 3.0), (["auto", 0.01], ["auto", 0.0, 0.01])
    )
)


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
) -> str:
    """Every log of every part; returns the tables. There are no peers."""
    parts = problems.split("|") if problems else [""]
    for name in (*TIMED, *VALUED, NOISE) if side != "peers" else ():
        if not any(text in name for text in parts):
            continue
        measure = _noise if name == NOISE else _timed if name in TIMED else _valued
        for seed in range(seeds or (N_NOISE if name == NOISE else N_LOGS)):
            key = {"problem": name, "seed": seed, "method": "ours", "setting": {}}
            rows.once(key, partial(measure, name, seed))
    ruled = [name for name in RULED if any(text in name for text in parts)]
    for seed, name in product(RULED_SEEDS[:seeds], ruled if side != "peers" else ()):
        for setting in ({}, *RULES):
            key = {"problem": name, "seed": seed, "method": "rule", "setting": setting}
            rows.once(key, partial(_ruled, name, seed, setting))
    return table(rows)


def _timed(name: str, seed: int) -> dict[str, Any]:
    problem = TIMED[name]
    log = problem.log(seed)
    found = measure(log, 0.99, grid=True)
    for method in ("default", "search"):
        policy = found.pop(method)
        found[f"{method}_value"] = float(problem.returns(policy, N_ROLLOUTS).mean())
    return found


def _valued(name: str, seed: int) -> dict[str, Any]:
    problem = VALUED[name]
    found = measure(problem.log(seed), problem.discount)
    for method in ("default", "search"):
        policy = found.pop(method)
        value = problem.value(policy, seed)
        way = problem.optimum - problem.logger_value
        found[f"{method}_value"] = value
        found[f"{method}_progress"] = (value - problem.logger_value) / way
    return found


def _ruled(name: str, seed: int, rule: dict[str, Any]) -> dict[str, Any]:
    """What a search takes by a rule; without one, the estimator's own setting."""
    problem = RULED[name]
    log, given = problem.log(seed), {"discount": problem.discount, "random_state": seed}
    with Quietly():
        if not rule:
            policy = StackelbergPolicyEstimator(**given).fit(log)
        else:
            with patch.object(_halving, "_DOUBT", rule["doubt"]):
                search = StackelbergPolicyCV(**given, supports=rule["supports"])
                policy = search.fit(log)
    return {"score": progress(problem, problem.value(policy, seed))}


def measure(log: Transitions, discount: float, grid: bool = False) -> dict[str, Any]:
    """Processor seconds of a fit, of a search, and of its candidates one by one.

    The last are those of `GridSearchCV` over the candidates that the search tried: each
    fitted and scored on one split, times the splits, and the best fitted again.
    """
    policy = StackelbergPolicyEstimator(discount=discount, random_state=0)
    row: dict[str, Any] = {"n_rows": len(log)}
    with Quietly():
        # The first fit of a process pays for imports and warm-up that no other does.
        clone(policy).fit(log[:300])
        begin = time.process_time()
        row["default"] = clone(policy).fit(log)
        row["default_seconds"] = time.process_time() - begin
        begin = time.process_time()
        search = StackelbergPolicyCV(policy, random_state=0).fit(log)
        row["search_seconds"] = time.process_time() - begin
        candidates = search.cv_results_["params"]
        row["search"], row["n_candidates"] = search, len(candidates)
        row["chosen"] = {k: str(v) for k, v in search.best_params_.items()}
        if search.value_ is not None:
            row["value"] = list(search.value_.confidence_interval)
        if grid:
            n_splits = search.n_splits_
            train, test = next(EpisodeKFold(n_splits).split(log))
            learning, held_out = log[train], log[test]
            begin = time.process_time()
            for params in candidates:
                one = clone(policy).set_params(**params)
                one.fit(learning).score(held_out)
            seconds = n_splits * (time.process_time() - begin)
            row["grid_seconds"] = seconds + row["default_seconds"]
    return row


def _noise(name: str, seed: int) -> dict[str, Any]:
    """One log of rewards that no action moves: every policy is worth 0."""
    rng = np.random.default_rng([seed, 12])
    n = 300
    state = rng.normal(size=(n, 3))
    log = Transitions(
        state,
        rng.integers(3, size=n),
        rng.normal(size=n),
        np.vstack([state[1:], state[:1]]),
        np.arange(n) % 5 == 4,
        episode=np.arange(n) // 5,
        step=np.arange(n) % 5,
    )
    policy = StackelbergPolicyEstimator(
        discount=0.9, n_components=40, random_state=seed
    )
    with Quietly():
        search = StackelbergPolicyCV(policy, random_state=seed).fit(log)
    assert search.value_ is not None
    low, high = search.value_.confidence_interval
    best = float(np.max(search.cv_results_["mean_test_score"]))
    return {"value": [low, high], "estimate": search.value_.value, "best": best}


def table(rows: Rows) -> str:
    """Times, values, and the intervals of noise."""
    text = []
    lines = [
        [
            row["problem"],
            row["seed"],
            row["n_candidates"],
            f"{row['default_seconds']:.1f}",
            f"{row['search_seconds']:.1f}",
            f"{row['search_seconds'] / row['default_seconds']:.1f}",
            _grid(row),
            f"{row['default_value']:.4g}",
            f"{row['search_value']:.4g}",
        ]
        for row in rows
        if row["problem"] != NOISE and row["method"] == "ours"
    ]
    heads = ["problem", "log", "candidates", "default fit, s", "search, s"]
    heads += [f"over a fit (≤ {DEARER:g})", f"grid search over it (≥ {FASTER:g})"]
    heads += ["true value, default", "chosen"]
    if lines:
        text.append(markdown(heads, lines))
    text += _rules([row for row in rows if row["method"] == "rule"])
    noise = [row for row in rows if row["problem"] == NOISE]
    if noise:
        low, high = np.array([row["value"] for row in noise]).T
        held, bound = ((low <= 0) & (high >= 0)).sum(), (low <= 0).sum()
        mean = np.mean([row["estimate"] for row in noise])
        best = np.mean([row["best"] for row in noise])
        text.append(
            f"Of {len(noise)} logs of 60 episodes whose rewards are noise, the "
            f"interval of `value_` held 0 on {held}, and its lower end was below on "
            f"{bound}; its mean is {mean:+.2f}, that of the highest scores "
            f"{best:+.2f}, that of the intervals' lengths {np.mean(high - low):.2f}."
        )
    return "\n\n".join(text)


def _rules(rows: list[dict[str, Any]]) -> list[str]:
    """What each rule takes, and its lead over the estimator's own setting."""
    found: dict[str, dict[tuple[str, int], float]] = defaultdict(dict)
    for row in rows:
        given = row["setting"].values()
        rule = " | ".join(str(value).strip("[]") for value in given) or "own"
        found[rule][row["problem"], row["seed"]] = max(row["score"], -1.0)
    own, lines = found.pop("own", {}), []
    for rule, scores in found.items():
        leads = defaultdict(list)
        for (problem, seed), score in scores.items():
            leads[problem].append(score - own[problem, seed])
        means = {problem: np.mean(some) for problem, some in leads.items()}
        worst = min(means, key=means.__getitem__)
        lead, log = np.mean(list(means.values())), min(map(min, leads.values()))
        cells = f"{lead:+.3f}", f"{means[worst]:+.2f} ({worst})", f"{log:+.2f}"
        lines.append([*rule.split(" | "), len(scores), *cells])
    heads = ["standard errors", "supports", "logs", "mean gain"]
    return [markdown([*heads, "worst problem", "worst log"], lines)] if lines else []


def _grid(row: dict[str, Any]) -> str:
    seconds = row.get("grid_seconds")
    return "" if seconds is None else f"{seconds / row['search_seconds']:.1f}"
