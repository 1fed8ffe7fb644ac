"""Pendulum with continuous torque: return and time to fit, against d3rlpy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from benchmarks.continuous_problems import PENDULUM
from benchmarks.report import Rows, markdown, setting_text
from benchmarks.tables.continuous import compare, fit, summary

# The same log, other landmarks.
N_LANDMARK_SEEDS = 5
ONE_LOG = "Pendulum, log 0"


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every method on every log, then ours on one log; returns the table."""
    mine: tuple[Any, ...] = ()
    if side != "peers":
        from benchmarks import ours

        mine = (ours.PENDULUM,)
    compare(rows, PENDULUM, _score, mine, side, seeds)
    for method in mine:
        log = PENDULUM.log(0)
        for setting in method.settings:
            for seed in range(N_LANDMARK_SEEDS):
                key = {"problem": ONE_LOG, "seed": seed, "method": method.name}
                rows.once(
                    key | {"setting": setting},
                    partial(fit, method, setting, log, seed, _score),
                )
    return table(rows)


def _score(policy: Any) -> float:
    return float(PENDULUM.returns(policy).mean())


def table(rows: Rows) -> str:
    """Return of every method, and how ours moves with the landmarks."""
    logger = PENDULUM.returns(PENDULUM.behaviour).mean()
    text = [
        "Return of 100 episodes, mean ± standard deviation over the logs, each method "
        "with its best setting, a peer at its best checkpoint; median processor "
        f"seconds of one fit, one thread. The logger: {logger:.0f}.",
        *summary(rows, PENDULUM.name, 1, "mean return"),
    ]
    found = [row for row in rows if row["problem"] == ONE_LOG]
    if found:
        headings = ["random_state", "setting", "mean return", "fit, s"]
        lines = [
            [
                r["seed"],
                setting_text(r["setting"]),
                f"{r['score']:.1f}",
                f"{r['cpu_seconds']:.1f}",
            ]
            for r in found
        ]
        scores = [row["score"] for row in found]
        text += [
            "Ours on one log, with other landmarks:",
            markdown(headings, lines),
            f"Spread over landmarks: {np.mean(scores):.1f} ± {np.std(scores):.1f}, "
            f"from {min(scores):.1f} to {max(scores):.1f}.",
        ]
    return "\n\n".join(text)
