"""What a short tree keeps of what a policy gains, by true values.

Of `explain_policy` with trees of depth 3 at most, on problems that neither how they are
grown nor how deep was chosen by; and of optimal trees, where pystreed is installed.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from itertools import product
from typing import Any

from benchmarks.report import Clock, Rows, markdown
from benchmarks.suite.halves import HALVES
from benchmarks.trust.statistics import Quietly
from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.inspection import explain_policy

N_LOGS = 2
WANTED = 0.85
NAMES = (
    "bandit, uniform logger, gains",
    "stock keeping",
    "admission to queues",
    "greenhouse",
    "retention",
)
PROBLEMS = {p.name: p for half in HALVES.values() for p in half if p.name in NAMES}
SETTINGS: tuple[dict[str, Any], ...] = (
    {"max_depth": 3},
    {"max_depth": 3, "optimal": True},
)


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Both kinds of trees of each policy; returns the table. There are no peers."""
    usable = SETTINGS if find_spec("pystreed") else SETTINGS[:1]
    for seed, name in product(range(seeds or N_LOGS), NAMES if side != "peers" else ()):
        for setting in usable:
            key = {"problem": name, "seed": seed, "method": "ours", "setting": setting}
            rows.once(key, partial(_explain, name, seed, setting))
    return table(rows)


def _explain(name: str, seed: int, setting: dict[str, Any]) -> dict[str, Any]:
    problem = PROBLEMS[name]
    with Quietly():
        policy = StackelbergPolicyEstimator(discount=problem.discount, random_state=0)
        policy.fit(problem.log(seed))
        # Trees are chosen by held-out values: of another log.
        with Clock() as clock:
            found = explain_policy(policy, problem.log(1_000 + seed), **setting)
    return {
        "policy": problem.value(policy, seed),
        "tree": problem.value(found.tree_, seed),
        "logger": problem.logger_value,
        "depth": found.depth,
        **clock.row(),
    }


def table(rows: Rows) -> str:
    """A line for each log, greedy and optimal trees beside one another."""
    lines = []
    for row in rows:
        gain = row["policy"] - row["logger"]
        values = [f"{row[key]:.4g}" for key in ("logger", "policy", "tree")]
        kind = "optimal" if row["setting"].get("optimal") else "greedy"
        share = f"{(row['tree'] - row['logger']) / gain:.2f}"
        seconds = f"{row['cpu_seconds']:.0f}"
        line = [row["problem"], row["seed"], kind, *values, share, row["depth"]]
        lines.append([*line, seconds])
    heads = ["problem", "log", "trees", "logger", "policy", "tree"]
    heads += [f"share of the gain (≥ {WANTED})", "depth", "s"]
    return markdown(heads, lines)
