"""A two-dimensional force with a known optimum: the share of what can be gained."""

from __future__ import annotations

from functools import cache
from typing import Any

from benchmarks.continuous_problems import POINT_MASS, OptimalForce, riccati
from benchmarks.report import Rows
from benchmarks.tables.continuous import compare, summary

TARGET = 0.9


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every method on every log; returns the table."""
    mine: tuple[Any, ...] = ()
    if side != "peers":
        from benchmarks import ours

        mine = ours.POINT_MASS
    compare(rows, POINT_MASS, share, mine, side, seeds)
    return table(rows)


@cache
def _ends() -> tuple[float, float]:
    """Mean return of the logger and of the optimum, on the episodes of every policy."""
    logger = POINT_MASS.returns(POINT_MASS.behaviour).mean()
    return float(logger), float(POINT_MASS.returns(OptimalForce()).mean())


def share(policy: Any) -> float:
    """How much of the optimum's gain over the logger a policy reaches."""
    logger, optimum = _ends()
    return float((POINT_MASS.returns(policy).mean() - logger) / (optimum - logger))


def table(rows: Rows) -> str:
    """Share of the optimum's gain, a line a method."""
    logger, optimum = _ends()
    text = [
        "Share of the optimum's gain in return over the logger, mean ± standard "
        "deviation over the logs, each method with its best setting, a peer at its "
        "best checkpoint; median processor seconds of one fit, one thread. The logger "
        f"{logger:.2f}, the optimum {optimum:.2f} on the same episodes "
        f"({riccati().value:.2f} by Riccati's recursion over all starts).",
        *summary(rows, POINT_MASS.name, 3, "share"),
    ]
    mine = [row for row in rows if row["method"].startswith("ours")]
    if mine:
        text.append(f"Wanted of ours: at least {TARGET}.")
    return "\n\n".join(text)
