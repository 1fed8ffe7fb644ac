"""FrozenLake: exact success of the predicted policies, against tabular peers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.peers import Method, tabular
from benchmarks.problems import (
    DISCOUNT,
    FROZEN_LAKE,
    FrozenLakeProblem,
    frozen_lake,
)
from benchmarks.report import Clock, Rows, best_settings, markdown, setting_text

N_LOGS = 10
# On the good logger, the share of the best peer's mean that ours is to reach.
GOOD_SHARE = 0.95


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every method on every log; returns the table."""
    for problem in FROZEN_LAKE:
        for seed in range(seeds or N_LOGS):
            if side != "ours":
                _peers(rows, problem, seed)
            if side != "peers":
                _ours(rows, problem, seed)
    return table(rows)


def _peers(rows: Rows, problem: FrozenLakeProblem, seed: int) -> None:
    mdp = problem.mdp
    counts = tabular.Counts.of(problem.log(seed), mdp.n_states, mdp.n_actions)
    for method in tabular.METHODS:
        _every_setting(rows, problem, seed, method, counts, DISCOUNT)


def _ours(rows: Rows, problem: FrozenLakeProblem, seed: int) -> None:
    from benchmarks import ours

    log = problem.log(seed, encode="one-hot")
    _every_setting(rows, problem, seed, ours.FROZEN_LAKE, log, seed)


def _every_setting(
    rows: Rows, problem: FrozenLakeProblem, seed: int, method: Method, *given: Any
) -> None:
    """A row for each setting of a method."""
    states = frozen_lake(problem.map_name, "one-hot").states()

    def compute(setting: Mapping[str, Any]) -> dict[str, Any]:
        with Clock() as clock:
            policy = method.fit(*given, **setting)
        if hasattr(policy, "predict"):
            policy = policy.predict(states)
        return {"score": problem.success(policy), **clock.row()}

    for setting in method.settings:
        key = {"problem": problem.name, "seed": seed}
        key |= {"method": method.name, "setting": setting}
        rows.once(key, partial(compute, setting))


def table(rows: Rows) -> str:
    """Mean exact success of each method's best setting, on the logs that all have."""
    seeds: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        seeds[row["problem"]][row["method"]].add(row["seed"])
    shared = {name: set.intersection(*of.values()) for name, of in seeds.items()}
    best = best_settings(row for row in rows if row["seed"] in shared[row["problem"]])
    by_problem: dict[str, dict[str, dict[str, Any]]] = {}
    for entry in best:
        by_problem.setdefault(entry["problem"], {})[entry["method"]] = entry
    names = ["ours", *(method.name for method in tabular.METHODS)]
    lines = []
    for problem in FROZEN_LAKE:
        found = by_problem.get(problem.name, {})
        cells = [
            f"{found[n]['mean']:.3f} ± {found[n]['sd']:.3f}"
            f" ({setting_text(found[n]['setting'])})"
            if n in found
            else "–"
            for n in names
        ]
        peers = [found[n]["mean"] for n in names[1:] if n in found]
        met = "–"
        if "ours" in found and peers:
            share = GOOD_SHARE if problem.logger == "good" else 1.0
            met = "yes" if found["ours"]["mean"] > share * max(peers) else "no"
        optimum = problem.success(problem.mdp.optimal_policy(DISCOUNT))
        n_logs = len(shared.get(problem.name, ()))
        lines.append([problem.name, *cells, f"{optimum:.3f}", met, n_logs])
    return (
        "Exact success within the time limit, mean ± standard deviation over the logs, "
        "each method with its best setting of the cell.\n\n"
        + markdown(["log", *names, "optimum", "target met", "logs"], lines)
    )
