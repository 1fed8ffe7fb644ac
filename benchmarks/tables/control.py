"""CartPole and Acrobot: mean return and time to fit, against d3rlpy and fitted Q."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from benchmarks.peers import Method, d3rlpy_peers, fitted
from benchmarks.problems import CONTROL, ControlProblem
from benchmarks.report import Clock, Rows, best_settings, markdown, setting_text
from sklearn_stackelberg import Transitions

N_LOGS = 5


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every method on every log; returns the table."""
    methods: list[Method] = []
    if side != "peers":
        from benchmarks import ours

        methods += [ours.CONTROL, ours.CONTROL_MLP]
    if side != "ours":
        methods += [*fitted.METHODS, *d3rlpy_peers.METHODS]
    logs = [
        (problem, seed, problem.log(seed))
        for seed in range(seeds or N_LOGS)
        for problem in CONTROL
    ]
    # One method after the other, so that a slow one keeps no other waiting.
    for method in methods:
        for problem, seed, log in logs:
            for setting in method.settings:
                key = {"problem": problem.name, "seed": seed}
                key |= {"method": method.name, "setting": setting}
                rows.once(key, partial(_fit, problem, log, seed, method, setting))
    return table(rows)


def _fit(
    problem: ControlProblem,
    log: Transitions,
    seed: int,
    method: Method,
    setting: Mapping[str, Any],
) -> dict[str, Any]:
    with Clock() as clock:
        policy = method.fit(log, seed, **setting)
    return {"score": float(problem.returns(policy).mean()), **clock.row()}


def table(rows: Rows) -> str:
    """Mean return, time and setting of each method's best setting."""
    best = sorted(
        best_settings(rows),
        key=lambda e: ([p.name for p in CONTROL].index(e["problem"]), -e["mean"]),
    )
    lines = [
        [
            entry["problem"],
            entry["method"],
            f"{entry['mean']:.1f} ± {entry['sd']:.1f}",
            f"{entry['low']:.1f}",
            f"{entry['seconds']:.2f}",
            setting_text(entry["setting"]),
            entry["n"],
        ]
        for entry in best
    ]
    headings = [
        "log",
        "method",
        "mean return",
        "worst log",
        "fit, s",
        "setting",
        "logs",
    ]
    return (
        "Return of 100 episodes, mean ± standard deviation over the logs, each method "
        "with its best setting of the problem; median seconds of one fit.\n\n"
        + markdown(headings, lines)
        + "\n\n"
        + "\n".join(_verdicts(best))
    )


def _verdicts(best: list[dict[str, Any]]) -> list[str]:
    """A sentence a problem: ours against the best peer, and d3rlpy's times."""
    text = []
    for problem in CONTROL:
        found = {e["method"]: e for e in best if e["problem"] == problem.name}
        both = [found.pop(n) for n in ("ours", "ours mlp") if n in found]
        if not both or not found:
            continue
        mine = max(both, key=lambda entry: entry["mean"])
        top = max(found.values(), key=lambda entry: entry["mean"])
        met = "at least" if mine["mean"] >= top["mean"] else "below"
        times = [e["seconds"] for n, e in found.items() if n.startswith("d3rlpy")]
        text.append(
            f"{problem.name}: {mine['method']} {mine['mean']:.1f}, {met} the best "
            f"peer's {top['mean']:.1f} ({top['method']}); {mine['seconds']:.2f} s "
            f"against {min(times, default=float('nan')):.2f} s of d3rlpy's fastest."
        )
        if len(both) == 2:
            apart = both[1]["mean"] - both[0]["mean"]
            text[-1] += f" Networks less kernel: {apart:+.1f}."
    return text
