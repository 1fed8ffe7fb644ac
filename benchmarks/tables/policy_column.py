"""Bias and intervals of learned policies over amounts: a column, ridge and logarithms.

Policies are learned on other logs, so that all that is off is the evaluator's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from benchmarks.families.amounts import Battery, Bids, Infusion, PatientDoses
from benchmarks.families.evaluate import Anticoagulant, Chemotherapy
from benchmarks.families.problem import Simulated
from benchmarks.report import Rows, markdown
from benchmarks.tables.held_out import METRICS
from benchmarks.trust import PROBLEMS
from benchmarks.trust.added import Discounts, Titration
from benchmarks.trust.statistics import Quietly, named, share_text
from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.metrics import _self_check
from sklearn_stackelberg.metrics._self_check import PairFeatures

N_LOGS = 32
# Logs of each policy; the next one has another policy.
EACH = 8
# Of bids and doses fewer would be off by as much as the estimates are.
EPISODES = 40_000
# Episodes that do not end are cut in a log, but not in what an estimate is of: of
# rewards behind these steps the weight is under 0.001.
LENGTHS = {"infusion": 80, "battery": 160}


class Setting(NamedTuple):
    """What an evaluator of amounts has; None is without."""

    reach: float | None = 4.0  # of the policy's column
    growth: float | None = None  # of the error, by a smaller ridge
    log: bool = False  # whether logarithms of amounts are tried


REACHES = Setting(None), Setting(3.0), Setting(4.0), Setting(5.0)
# Of problems kept apart: without, the column alone, with the ridge, and with all.
CHOSEN = Setting(None), Setting(), Setting(growth=1.02), Setting(4.0, 1.02, True)
GROWTHS = *CHOSEN, Setting(growth=1.05)

_TRUST = {problem.name: problem.process for problem in PROBLEMS}
CHOSEN_BY = (Discounts(1_000), PatientDoses(0.9, 0.3), Bids())
# That the ridge was too large was found by the battery, that doses are compared by
# their logarithms by the last, after it had been kept apart for the others.
GROWTH_BY = (*CHOSEN_BY, Battery(), Anticoagulant())
KEPT_APART = (
    Infusion(),
    Titration(),
    Chemotherapy("chemotherapy, any dose", None),
    _TRUST["linear-quadratic"],
    _TRUST["thermostat, hour shown"],
)


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
) -> str:
    """Both metrics on every log by every setting; returns the table."""
    every = (*GROWTH_BY, *KEPT_APART) if side != "peers" else ()
    for problem in named(every, problems):
        assert isinstance(problem, Simulated)
        settings = [*CHOSEN]
        for chosen_by, tried in ((CHOSEN_BY, REACHES), (GROWTH_BY, GROWTHS)):
            settings += tried if problem in chosen_by else ()
        for seed, setting in product(range(seeds or N_LOGS), dict.fromkeys(settings)):
            key = {"problem": problem.name, "seed": seed, "method": "ours"}
            compute = partial(_evaluate, problem, seed, setting)
            rows.once(key | {"setting": _named(setting)}, compute)
    return table(rows)


def _named(setting: Setting) -> dict[str, float | None]:
    named = {"reach": setting.reach}
    named |= {"growth": setting.growth} if setting.growth else {}
    return named | ({"log": True} if setting.log else {})


@cache
def _policy(problem: Simulated, number: int) -> tuple[Any, float]:
    """A policy of a log of its own, and its true value."""
    policy = StackelbergPolicyEstimator(
        discount=problem.discount, action_type="continuous", random_state=0
    )
    with Quietly():
        policy.fit(problem.log(1_000 + number))
    kind, length = type(problem), LENGTHS.get(problem.name, problem.value_length)
    with (
        mock.patch.object(kind, "value_episodes", EPISODES),
        mock.patch.object(kind, "value_length", length),
    ):
        return policy, problem.value_stochastic(policy)


@contextmanager
def _set(setting: Setting) -> Iterator[None]:
    with ExitStack() as stack:
        if setting.reach is None:
            # Features without the attribute have no column.
            without = property(lambda self: getattr(None, "policy_reach"))  # noqa: B009
            stack.enter_context(
                mock.patch.object(PairFeatures, "policy_reach", without)
            )
        else:
            stack.enter_context(mock.patch.object(_self_check, "_REACH", setting.reach))
        # No error is under 0: the ridge stays. And no amounts span so much.
        growth, span = setting.growth or -1.0, np.inf
        stack.enter_context(mock.patch.object(_self_check, "_GROWTH", growth))
        if not setting.log:
            stack.enter_context(mock.patch.object(_self_check, "_SPAN", span))
        yield


def _evaluate(problem: Simulated, seed: int, setting: Setting) -> dict[str, Any]:
    policy, truth = _policy(problem, seed // EACH)
    log = problem.log(2_000 + seed)
    found = {}
    for name, metric in METRICS.items():
        with Quietly(), _set(setting):
            estimate = metric(policy, log, discount=problem.discount)
        low, high = estimate.confidence_interval
        found[name] = {
            "off": estimate.value - truth,
            "standard_error": estimate.standard_error,
            "holds": bool(low <= truth <= high),
        }
    return {"found": found}


def table(rows: Rows) -> str:
    """A line for each problem and metric, settings beside one another."""
    return "\n\n".join(
        [
            "Of the value of a policy that was learned on another log: bias in "
            "standard errors, the mean standard error, and the share of intervals of "
            "95 % that hold it (Wilson's interval); by the reach of the policy's "
            "column, by how much a smaller ridge may raise the error, and with "
            "logarithms of amounts, if these are tried.",
            _part(rows, "The reach was chosen by", CHOSEN_BY, REACHES),
            _part(rows, "The growth was chosen by", GROWTH_BY, GROWTHS),
            _part(rows, "Kept apart", KEPT_APART, CHOSEN),
        ]
    )


def _part(
    rows: Rows, title: str, problems: tuple[Any, ...], settings: tuple[Setting, ...]
) -> str:
    lines = []
    for problem in problems:
        for name in METRICS:
            cells = [_cell(rows, problem.name, name, one) for one in settings]
            lines.append([problem.name, name, *cells])
    heads = [
        ("no column" if reach is None else f"{reach:g}")
        + (f", ridge while {growth:g}" if growth else "")
        + ", logarithms" * log
        for reach, growth, log in settings
    ]
    return markdown([title, "estimate", *heads], lines)


def _cell(rows: Rows, problem: str, metric: str, setting: Setting) -> str:
    found = [
        row["found"][metric]
        for row in rows
        if row["problem"] == problem and row["setting"] == _named(setting)
    ]
    if not found:
        return ""
    off, error = (
        np.array([one[key] for one in found]) for key in ("off", "standard_error")
    )
    holds = share_text([one["holds"] for one in found])
    return f"{np.mean(off / error):+.2f}, {error.mean():.3g}, {holds}"
