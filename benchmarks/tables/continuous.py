"""What the tables of continuous problems share: methods, logs and times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from benchmarks.continuous_problems import ContinuousProblem
from benchmarks.peers import Method, d3rlpy_continuous
from benchmarks.report import Clock, Rows, best_settings, markdown, setting_text

N_LOGS = 5
FASTER = 4.0  # the best peer's time over ours

Score = Callable[[Any], float]


def compare(
    rows: Rows,
    problem: ContinuousProblem,
    score: Score,
    mine: tuple[Method, ...],
    side: str,
    seeds: int | None,
) -> None:
    """Fit every method on every log.

    A peer's row holds all its checkpoints: the report gives it the best of them.
    """
    methods = [(method, fit) for method in mine if side != "peers"]
    if side != "ours":
        train = partial(_train, bounds=problem.bounds)
        methods += [(learner, train) for learner in d3rlpy_continuous.LEARNERS]
    # One method after the other: the slowest last.
    for method, run in methods:
        for seed in range(seeds or N_LOGS):
            log = problem.log(seed)
            for setting in method.settings:
                key = {"problem": problem.name, "seed": seed, "method": method.name}
                rows.once(
                    key | {"setting": setting},
                    partial(run, method, setting, log, seed, score),
                )


def fit(
    method: Method, setting: Mapping[str, Any], log: Any, seed: int, score: Score
) -> dict[str, Any]:
    """One fit of ours: its score, its value and its time."""
    with Clock() as clock:
        policy = method.fit(log, seed, **setting)
    return {"score": score(policy), **clock.row()}


def _train(
    peer: Method,
    setting: Mapping[str, Any],
    log: Any,
    seed: int,
    score: Score,
    bounds: tuple[float, float],
) -> dict[str, Any]:
    """Train a peer and score its checkpoints; scoring is not timed."""
    checkpoints: list[dict[str, float]] = []
    start, paused = time.process_time(), 0.0

    def look(steps: int, seconds: float, policy: Any) -> bool:
        nonlocal paused
        now = time.process_time()
        if steps % d3rlpy_continuous.SCORED_EVERY == 0:
            checkpoints.append(
                {
                    "steps": steps,
                    "score": score(policy),
                    "seconds": round(seconds, 4),
                    "cpu_seconds": round(now - start - paused, 4),
                }
            )
        paused += time.process_time() - now
        return False

    peer.fit(log, seed, bounds=bounds, at_checkpoint=look, **setting)
    return {**checkpoints[-1], "checkpoints": checkpoints}


def spread(rows: Rows) -> Iterator[dict[str, Any]]:
    """Every checkpoint as a row of its own, its steps part of the setting."""
    for row in rows:
        for checkpoint in row.get("checkpoints", [{}]):
            steps = {"steps": checkpoint["steps"]} if checkpoint else {}
            yield {**row, **checkpoint, "setting": {**row["setting"], **steps}}


def summary(rows: Rows, name: str, digits: int, what: str) -> list[str]:
    """A table of each method at its best, and the sentence about the best peer."""
    best = sorted(
        (e for e in best_settings(spread(rows)) if e["problem"] == name),
        key=lambda entry: -entry["mean"],
    )
    lines = [
        [
            entry["method"],
            f"{entry['mean']:.{digits}f} ± {entry['sd']:.{digits}f}",
            f"{entry['low']:.{digits}f}",
            f"{entry['seconds']:.1f}",
            setting_text(entry["setting"]),
            entry["n"],
        ]
        for entry in best
    ]
    headings = ["method", what, "worst log", "fit, s", "setting", "logs"]
    text = [markdown(headings, lines)]
    mine = [entry for entry in best if entry["method"].startswith("ours")]
    peers = [entry for entry in best if not entry["method"].startswith("ours")]
    if mine and peers:
        text.append(_verdict(mine[0], peers[0], digits))
    return text


def _verdict(mine: dict[str, Any], peer: dict[str, Any], digits: int) -> str:
    met = "at least" if mine["mean"] >= peer["mean"] else "below"
    ratio = peer["seconds"] / mine["seconds"]
    quick = "met" if ratio >= FASTER else "not met"
    return (
        f"{mine['method']} {mine['mean']:.{digits}f}, {met} the best peer's "
        f"{peer['mean']:.{digits}f} ({peer['method']}); {mine['seconds']:.1f} s "
        f"against {peer['seconds']:.1f} s to that checkpoint, {ratio:.1f} times as "
        f"long (wanted: {FASTER:.0f}, {quick})."
    )
