"""How often `coverage_report` finds that states do not say all, where it is so and not.

Of each problem a policy that is known, or one that imitates half of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.problems import CONTROL
from benchmarks.report import Clock, Rows, markdown
from benchmarks.suite.halves import HALVES
from benchmarks.tables.held_out import halves
from benchmarks.trust import by_name
from benchmarks.trust.added import Drifting
from benchmarks.trust.processes import Fishery
from benchmarks.trust.statistics import Quietly, column, each_log, named, of_problem
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.baselines import BehaviourCloning
from sklearn_stackelberg.inspection import coverage_report
from sklearn_stackelberg.metrics._residual_check import Carried

N_LOGS = 20


@dataclass(frozen=True)
class Case:
    """A problem of which some columns are seen, and whether that is all that matters.

    Parameters
    ----------
    name : str
    log : callable
        Of a seed.
    discount : float
    hidden : str
        What matters and is not seen.
    chosen_by : bool
        Whether the thresholds were chosen by it.
    policy : object, default=None
        None imitates half of the log, and is evaluated on the other.
    """

    name: str
    log: Callable[[int], Transitions]
    discount: float
    hidden: str
    chosen_by: bool
    policy: Any = None


def _without(problem: Any, columns: Sequence[int]) -> Callable[[int], Transitions]:
    def log(seed: int) -> Transitions:
        whole = problem.log(seed)
        return whole.with_states(
            whole.state[:, list(columns)], whole.next_state[:, list(columns)]
        )

    return log


def _known(problem: Any, hidden: str, chosen_by: bool = True) -> Case:
    log, target = problem.log, problem.target
    return Case(problem.name, log, problem.discount, hidden, chosen_by, target)


def _cases() -> list[Case]:
    """Of a problem from which columns are taken, what they say is hidden."""
    lasting = {"thermostat": "the hour", "random intercepts": "a patient's level"}
    cases = [
        _known(problem, lasting.get(problem.name, ""))
        for problem in by_name(
            "episodes, |ring|chain|Frozen|stock|queues|intercepts|blood|quadratic|therm"
        )
    ]
    cartpole, acrobot = CONTROL[1], CONTROL[2]
    positions = _without(cartpole, (0, 2))
    cases += [
        Case(cartpole.name, cartpole.log, 0.99, "", True),
        Case(f"{cartpole.name}, positions alone", positions, 0.99, "velocities", True),
        Case(acrobot.name, acrobot.log, 0.99, "", True),
    ]
    families = {p.name: p for half in HALVES.values() for p in half}

    def family(name: str, hidden: str, columns: Sequence[int] | None = None) -> Case:
        problem = families[name]
        log = problem.log if columns is None else _without(problem, columns)
        shown = name + (f", without {hidden}" if columns is not None else "")
        # Looked at once, as they are, while the thresholds were chosen.
        chosen_by = columns is None and name not in ("MountainCar", "LunarLander")
        return Case(shown, log, problem.discount, hidden, chosen_by)

    pressure = by_name("blood pressure")[0]
    body = "what the body still holds of insulin and meals"
    glucose = [_known(problem, body, False) for problem in by_name("glucose")]
    fisheries = [
        Case(name, Fishery(name, seen).log, Fishery.discount, hidden, False)
        for name, seen, hidden in (
            ("fishery", 2, ""),
            ("fishery, without the warmth", 1, "a warmth that lasts"),
        )
    ]
    drifting = [
        Case(process.name, process.log, 0.0, hidden, False, Drifting.target)
        for process, hidden in (
            (Drifting("drift, date shown", 3), ""),
            (Drifting("drift", 2), "the date"),
            (Drifting("drift, the logger as it was", 2, False), "a date without a say"),
        )
    ]
    return [
        *cases,
        *glucose,
        *fisheries,
        family("sepsis", ""),
        family("recommender", ""),
        family("tank, energy is paid", ""),
        family("tutoring", "a student's trait"),
        family("MountainCar", ""),
        family("MountainCar", "velocity", [0]),
        family("LunarLander", ""),
        family("LunarLander", "velocities", [0, 1, 4, 6, 7]),
        family("recommender", "tastes", [3, 4, 5, 6]),
        family("tank, energy is paid", "level", [1, 2]),
        *drifting,
        Case(
            "blood pressure, without the trait",
            _without(pressure, [0]),
            pressure.discount,
            "what a drug does to whom",
            False,
        ),
    ]


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """Every case on every log; returns the table. There are no peers."""
    chosen = named(_cases(), problems)
    if side != "peers":
        for case, number in each_log(chosen, seeds or N_LOGS, part):
            # Other logs than those that were looked at.
            seed = 100 + number
            key = {"problem": case.name, "seed": seed, "method": "ours"}
            rows.once(key | {"setting": {}}, partial(_check, case, seed))
    return table(rows)


def _check(case: Case, seed: int) -> dict[str, Any]:
    log, policy = case.log(seed), case.policy
    if policy is None:
        learned_on, log = halves(log, seed)
        policy = BehaviourCloning().fit(learned_on)
    with Quietly(), Clock() as clock:
        found = coverage_report(policy, log, discount=case.discount).residuals
    if found is None:
        return {"refused": "no residuals", "cpu_seconds": clock.cpu_seconds}
    before = found.of_row_before
    surest = found.carried[0] if found.carried else Carried("", 0.0, 0.0)
    return {
        "step_share": found.step_share,
        "of_steps": found.steps_matter,
        "of_row_before": before and before.what,
        "drifts": found.drift is not None,
        "correlation": abs(surest.correlation),
        "z": abs(surest.z),
        "cpu_seconds": clock.cpu_seconds,
    }


def table(rows: Rows) -> str:
    """One line a case: those that nothing was chosen by first."""
    lines = []
    for case in sorted(_cases(), key=lambda case: (case.chosen_by, not case.hidden)):
        every = of_problem(rows, case.name)
        mine = [row for row in every if "refused" not in row]
        if not mine:
            continue
        of_steps = column(mine, "of_steps")
        before = np.array([row["of_row_before"] is not None for row in mine])
        # Rows from before 2026-11-27, 23:00, know nothing of it.
        drifts = np.array([row.get("drifts", False) for row in mine])
        lines.append(
            [
                case.name,
                case.hidden or "nothing",
                "yes" if case.chosen_by else "no",
                len(mine),
                f"{np.mean((of_steps > 0) | before | drifts):.2f}",
                f"{of_steps.mean():.2f}",
                f"{before.mean():.2f}",
                f"{drifts.mean():.2f}",
                f"{np.median(column(mine, 'step_share')):+.2f}",
                f"{np.median(column(mine, 'correlation')):.2f}",
                f"{np.median(column(mine, 'z')):.1f}",
            ]
        )
    heads = ["problem", "hidden", "thresholds chosen by it", "logs", "warned of"]
    heads += ["by the step", "by the row before", "by the place", "share of the step"]
    heads += ["surest correlation", "its z"]
    return markdown(heads, lines)
