"""Importance sampling and doubly robust, ours against SCOPE-RL's and OBP's own code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.peers.ope import (
    DISCOUNT,
    GivenPolicy,
    GivenQ,
    obp_values,
    scope_rl_values,
    shared_log,
)
from benchmarks.report import Rows, markdown
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.metrics import doubly_robust_value, importance_sampling_value

TOLERANCE = 1e-6
SCOPE_RL, OBP = "SCOPE-RL 0.2.1", "OBP 0.4.1"
Peers = Callable[[Transitions], dict[str, float]]
# Each peer, the steps of its episodes, its discount, and our names for its estimators.
PEERS: tuple[tuple[str, Peers, dict[str, Any], dict[str, dict[str, Any]]], ...] = (
    (
        SCOPE_RL,
        scope_rl_values,
        {"discount": DISCOUNT},
        {
            "TrajectoryWiseImportanceSampling": {
                "per_decision": False,
                "weighted": False,
            },
            "SelfNormalizedTIS": {"per_decision": False},
            "PerDecisionImportanceSampling": {"weighted": False},
            "SelfNormalizedPDIS": {},
            "DoublyRobust": {"ratios": "importance", "weighted": False},
            "SelfNormalizedDR": {"ratios": "importance"},
        },
    ),
    (
        OBP,
        obp_values,
        {"discount": 0.0},
        {
            "InverseProbabilityWeighting": {"weighted": False},
            "SelfNormalizedInverseProbabilityWeighting": {},
            "DoublyRobust": {"ratios": "importance", "weighted": False},
            "SelfNormalizedDoublyRobust": {"ratios": "importance"},
        },
    ),
)


def log_of(peer: str) -> Transitions:
    """The log that a peer is given: OBP knows single steps alone."""
    return shared_log() if peer == SCOPE_RL else shared_log(n_steps=1)


def ours(peer: str, settings: dict[str, Any], discount: float) -> float:
    """Our number, through the public functions."""
    given: dict[str, Any] = {"discount": discount, **settings}
    if "ratios" in settings:
        given |= {"regressor": GivenQ(), "n_iterations": 1}
        return float(doubly_robust_value(GivenPolicy(), log_of(peer), **given))
    return float(importance_sampling_value(GivenPolicy(), log_of(peer), **given))


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every estimator of both, on one log each; returns the table."""
    for peer, values, common, names in PEERS:
        theirs = values(log_of(peer)) if side != "ours" else {}
        for name, settings in names.items():
            key = {"problem": peer, "seed": 0, "method": name, "setting": settings}

            def compute(
                name: str = name,
                settings: dict[str, Any] = settings,
                peer: str = peer,
                discount: float = common["discount"],
                theirs: dict[str, float] = theirs,
            ) -> dict[str, Any]:
                mine = ours(peer, settings, discount)
                return {"score": mine, "theirs": theirs.get(name)}

            rows.once(key, compute)
    return table(rows)


def table(rows: Rows) -> str:
    """Both numbers, and how far they are from each other."""
    lines = []
    for row in rows:
        theirs = row["theirs"]
        apart = None if theirs is None else abs(row["score"] - theirs)
        lines.append(
            [
                row["problem"],
                row["method"],
                f"{row['score']:.9f}",
                "" if theirs is None else f"{theirs:.9f}",
                "" if apart is None else f"{apart:.1e}",
                "" if apart is None else ("yes" if apart <= TOLERANCE else "no"),
            ]
        )
    return (
        "One log, the same propensities, the same Q-function; ours through "
        "importance_sampling_value and doubly_robust_value(ratios='importance').\n\n"
        + markdown(
            ["peer", "its estimator", "ours", "theirs", "apart", "within 1e-6"], lines
        )
    )
