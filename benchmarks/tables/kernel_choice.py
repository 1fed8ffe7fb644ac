"""Which kernel ``"auto"`` takes, beside each of those that it chooses among."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import chain
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks import ours
from benchmarks.families import progress
from benchmarks.families.finite_apart import FINITE_APART
from benchmarks.families.problem import Problem
from benchmarks.families.queues import QUEUES
from benchmarks.families.shapes import SHAPES
from benchmarks.report import Rows, markdown
from benchmarks.suite.halves import HALVES
from benchmarks.trust.statistics import Quietly, each_log, gain_cells, named
from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg._fitting import state_inputs
from sklearn_stackelberg.kernels import _choice

N_LOGS, N_FEW = 3, 12
APART = "cliff", "storage", "perishable", "wards"
# Polling has more states than landmarks, so that "auto" asks whether they are rough.
FEW = (
    *("tandem", "repairs", "overflow"),
    *("ring", "FrozenLake 4x4 partial 2,000", "FrozenLake 8x8 partial 10,000"),
    *("maintenance", "pricing", "service speed", "random process"),
    *("grid with a wall", "severity"),
)
MANY = (
    "polling",
    *("bandit, good logger, costs", "bandit, uniform logger, gains"),
    *("CartPole 60 % random", "CartPole medium", "Acrobot medium, 10,000"),
    *("tank, energy is paid", "line, 10% random", "line, 30% random"),
)
KERNELS = ("delta", "laplacian", "rbf")
# Of errors, for each V₀, of a kernel over those of the kernels before: whether it is
# taken.
RULES: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    ("mean under 0.99 (before)", lambda ratio: bool(np.prod(ratio) < 0.99**3)),
    ("each under 0.95", lambda ratio: bool(np.all(ratio < 0.95))),
    ("each under 0.98", lambda ratio: bool(np.all(ratio < 0.98))),
    ("each under 0.99 (now)", lambda ratio: bool(np.all(ratio < 0.99))),
    ("each under 1", lambda ratio: bool(np.all(ratio < 1.0))),
    ("mean under 0.98", lambda ratio: bool(np.prod(ratio) < 0.98**3)),
    ("mean under 1", lambda ratio: bool(np.prod(ratio) < 1.0)),
    ("most under 0.98", lambda ratio: bool(np.mean(ratio < 0.98) > 0.5)),
    ("smoothest V₀ under 0.98", lambda ratio: bool(ratio[-1] < 0.98)),
)
SHARES = 0.9, 0.95, 0.98, 0.99, 1.0


def every() -> list[Problem]:
    """Few states, those kept apart, then many."""
    by_name = {problem.name: problem for problem in HALVES["choose"]}
    made = [make() for make in (*QUEUES, *FINITE_APART)]
    by_name |= {problem.name: problem for problem in made}
    return [*(by_name[name] for name in (*FEW, *APART, *MANY)), *SHAPES]


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """Fit each log with each kernel; returns the tables."""
    chosen = named(every(), problems) if side != "peers" else ()
    few = [problem for problem in chosen if _is_few(problem.name)]
    many = [problem for problem in chosen if not _is_few(problem.name)]
    for problem, seed in chain(
        each_log(few, seeds or N_FEW, part), each_log(many, seeds or N_LOGS, part)
    ):
        for kernel in ("auto", *KERNELS):
            if kernel == "delta" and not _is_few(problem.name):
                continue
            key = {"problem": problem.name, "seed": seed, "method": ours.NAME}
            key["setting"] = {"kernel": kernel}
            rows.once(key, partial(_fit, problem, seed, kernel))
    return table(rows)


def _fit(problem: Problem, seed: int, kernel: str) -> dict[str, Any]:
    log, errors = problem.log(seed), []
    measured = _choice._errors

    def recorded(*given: Any) -> Any:
        found = measured(*given)
        errors.extend(error.tolist() for error in found)
        return found

    # The rough one has the lengths that "auto" gives it.
    forced = kernel == "laplacian" and not _is_few(problem.name)
    lengths = {} if forced else {"bandwidth": _choice.LENGTHS.get(kernel, "relevance")}
    with Quietly(), ExitStack() as patches:
        patches.enter_context(patch.object(_choice, "_errors", recorded))
        if forced:
            patches.enter_context(patch.object(state_inputs, "are_rough", _always))
        policy = StackelbergPolicyEstimator(
            discount=problem.discount,
            random_state=seed,
            kernel="auto" if forced else kernel,
            **lengths,
        ).fit(log)
    # Where all actions are worth the same there is no way to go.
    moves = problem.optimum > problem.logger_value
    score = progress(problem, problem.value(policy, seed)) if moves else 0.0
    return {"score": score, "taken": policy.features_.kernel_, "errors": errors}


def _is_few(name: str) -> bool:
    return name in (*FEW, *APART)


def _always(*_: Any, **__: Any) -> bool:
    return True


def table(rows: Rows) -> str:
    """What each kernel is worth, and what rules of choosing would take."""
    found: dict[tuple[str, Any], dict[str, Any]] = defaultdict(dict)
    for row in rows:
        # Trials of one shape and length are one line.
        name, *columns = re.split(r"(, \d+ col\.)", row["problem"])
        key = name + "".join(columns[1:]), (*columns[:1], row["seed"])
        found[key][row["setting"]["kernel"]] = row
    logs = {key: by for key, by in found.items() if {"auto", "rbf"} <= by.keys()}
    if not logs:
        return ""
    lines = []
    for name in dict.fromkeys(name for name, _ in logs):
        mine = [by for (other, _), by in logs.items() if other == name]
        taken = Counter(by["auto"]["taken"] for by in mine)
        lines.append(
            [
                *(name, str(len(mine))),
                *(_mean(mine, kernel) for kernel in (*KERNELS, "auto")),
                ", ".join(f"{kernel} {n}" for kernel, n in taken.most_common()),
            ]
        )
    heads = ("problem", "logs", *KERNELS, '"auto"', "takes")
    few = {key: by for key, by in logs.items() if key[0] in FEW}
    apart = {key: by for key, by in logs.items() if key[0] in APART}
    many = {key: by for key, by in logs.items() if not _is_few(key[0])}
    smoother, as_smooth = (
        [[name, *_gains(some, partial(_of_few, rule))] for name, rule in RULES]
        for some in (few, apart)
    )
    rougher = [
        [name.format(s), *_gains(many, partial(_of_many, each, s))]
        for name, each in (("both under {:g}", True), ("mean under {:g}", False))
        for s in SHARES
    ]
    heads_of = ("logs", "mean gain", "worst problem", "worst log")
    return "\n\n".join(
        [
            markdown(heads, lines),
            markdown(("few states: a smoother one where", *heads_of), smoother),
            markdown(("the same, kept apart", *heads_of), as_smooth),
            markdown(("many states: a rough one where", *heads_of), rougher),
        ]
    )


def _mean(logs: list[dict[str, Any]], kernel: str) -> str:
    scores = [by[kernel]["score"] for by in logs if kernel in by]
    return f"{np.mean(scores):.2f}" if scores else ""


def _gains(
    logs: Mapping[Any, Any], rule: Callable[[Any], tuple[str, str]]
) -> list[str]:
    """By problem, of what a rule takes over another kernel; scores from −1 on."""
    gains: dict[str, list[float]] = defaultdict(list)
    for (name, _), by in logs.items():
        # Behind the fit's own are those of the score that `support` is chosen by.
        new, old = (by[kernel]["score"] for kernel in rule(by["auto"]["errors"]))
        gains[name].append(max(new, -1.0) - max(old, -1.0))
    if not gains:
        return ["0"]
    return [str(len(logs)), *gain_cells(gains, "+")]


def _of_few(rule: Callable[[Any], bool], errors: Any) -> tuple[str, str]:
    """By a rule, and by that of before."""
    return _smoothest(errors, rule), _smoothest(errors, RULES[0][1])


def _smoothest(errors: Any, rule: Callable[[Any], bool]) -> str:
    chosen, least = 0, np.array(errors[0])
    for number, error in enumerate(map(np.array, errors[1:3]), start=1):
        if rule(error / least):
            chosen = number
        least = np.minimum(least, error)
    return KERNELS[chosen]


def _of_many(each: bool, share: float, errors: Any) -> tuple[str, str]:
    """By a share, of each V₀ or in the mean, and always the smooth one."""
    smooth, rough = np.array(errors[:2])
    ratio = rough / smooth
    mean = np.prod(ratio) ** (1.0 / len(ratio))
    is_rough = bool((ratio.max() if each else mean) < share)
    return ("laplacian" if is_rough else "rbf"), "rbf"
