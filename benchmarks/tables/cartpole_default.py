"""CartPole with default hyperparameters: return, and time against DiscreteCQL."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from functools import partial
from typing import Any

from benchmarks.peers import d3rlpy_peers
from benchmarks.problems import CARTPOLE_DEFAULT
from benchmarks.report import Clock, Rows, markdown, setting_text

N_SEEDS = 10
GOOD_RETURN = 475.0
CQL = "d3rlpy DiscreteCQL"


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Both sides on every log, one after the other; returns the table."""
    for seed in range(seeds or N_SEEDS):
        log = CARTPOLE_DEFAULT.log(seed)
        key = {"problem": CARTPOLE_DEFAULT.name, "seed": seed}
        if side != "peers":
            mine = {**key, "method": "ours", "setting": {}}
            rows.once(mine, partial(_ours, log, seed))
        if side != "ours":
            for setting in ({}, d3rlpy_peers.FASTER):
                theirs = {**key, "method": CQL, "setting": setting}
                rows.once(theirs, partial(_cql, log, seed, setting))
    return table(rows)


def _ours(log: Any, seed: int) -> dict[str, Any]:
    from benchmarks import ours

    if seed == 0:
        # The first fit of a process pays for imports and warm-up that no later one
        # does; d3rlpy's 10,000 steps do not feel theirs.
        ours.fit_default(log, seed)
    with Clock() as clock:
        policy = ours.fit_default(log, seed)
    return {"score": float(CARTPOLE_DEFAULT.returns(policy).mean()), **clock.row()}


def _cql(log: Any, seed: int, setting: dict[str, Any]) -> dict[str, Any]:
    """Train, and evaluate checkpoints until one is good; evaluation is not timed."""
    passed: dict[str, Any] = {"good_seconds": None, "good_steps": None}
    last: dict[str, Any] = {}

    def look(steps: int, seconds: float, policy: Any) -> bool:
        last.update(seconds=round(seconds, 4))
        if passed["good_steps"] is None or steps == d3rlpy_peers.N_STEPS:
            last["score"] = float(CARTPOLE_DEFAULT.returns(policy).mean())
            if passed["good_steps"] is None and last["score"] >= GOOD_RETURN:
                passed.update(good_steps=steps, good_seconds=round(seconds, 4))
        return False

    d3rlpy_peers.fit_learner(
        log, seed, config="DiscreteCQLConfig", at_checkpoint=look, **setting
    )
    return {**last, **passed}


def table(rows: Rows) -> str:
    """One line a log and side, then the figures of interest."""
    found = sorted(rows, key=lambda r: (r["seed"], r["method"] != "ours"))
    lines = [
        [
            row["seed"],
            row["method"],
            setting_text(row["setting"]),
            f"{row['score']:.1f}",
            f"{row['seconds']:.2f}",
            "–" if row.get("good_steps") is None else row["good_steps"],
            "–" if row.get("good_seconds") is None else f"{row['good_seconds']:.2f}",
        ]
        for row in found
    ]
    headings = ["log", "method", "setting", "mean return", "fit, s"]
    headings += [f"first checkpoint ≥ {GOOD_RETURN:.0f}, steps", "s"]
    return markdown(headings, lines) + "\n\n" + "\n".join(_figures(found))


def _figures(found: Iterable[dict[str, Any]]) -> list[str]:
    """The sentences under the table."""
    mine = {row["seed"]: row for row in found if row["method"] == "ours"}
    theirs: dict[int, list[dict[str, Any]]] = {}
    for row in found:
        if row["method"] == CQL:
            theirs.setdefault(row["seed"], []).append(row)
    text = []
    if mine:
        good = sum(row["score"] >= GOOD_RETURN for row in mine.values())
        text.append(f"Ours: at least {GOOD_RETURN:.0f} on {good} of {len(mine)} logs.")
    both = sorted(set(mine) & set(theirs))
    full = [min(r["seconds"] for r in theirs[s]) / mine[s]["seconds"] for s in both]
    # The peer's better setting counts: the one that is good first.
    first = [
        min(r["good_seconds"] for r in theirs[s] if r["good_seconds"])
        / mine[s]["seconds"]
        for s in both
        if any(r["good_seconds"] for r in theirs[s])
    ]
    for what, ratios in (("all its steps", full), ("its first good checkpoint", first)):
        if ratios:
            text.append(
                f"DiscreteCQL's time over ours, {what}: median "
                f"{statistics.median(ratios):.1f}, least {min(ratios):.1f} "
                f"({len(ratios)} logs)."
            )
    return text
