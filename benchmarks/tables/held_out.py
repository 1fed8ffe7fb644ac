"""Coverage of 95 % intervals on held-out logs: a policy that is known, a learned one.

`intervals` has policies that are known on four other problems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from benchmarks.report import Clock, Rows, markdown
from benchmarks.trust import PROBLEMS, TrustProblem, by_name
from benchmarks.trust.statistics import (
    Quietly,
    column,
    each_log,
    of_problem,
    share_text,
)
from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.metrics import doubly_robust_value, fitted_q_value

N_LOGS = 200
# Of logs that are ten times as long there are fewer, by this.
FEWER = 2
METRICS: Mapping[str, Callable[..., Any]] = {
    "fitted-Q": fitted_q_value,
    "doubly robust": doubly_robust_value,
}
KNOWN, LEARNED, TENFOLD = "known", "learned", "known, 10 n"


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """Both metrics of both policies on every log; returns the table."""
    n_logs = seeds or N_LOGS
    if side != "peers":
        for problem, seed in each_log(by_name(problems), n_logs, part):
            key = {"problem": problem.name, "seed": seed, "setting": {}}
            for policy in (KNOWN, LEARNED, TENFOLD):
                if policy == TENFOLD and (
                    problem.tenfold is None or seed >= max(1, n_logs // FEWER)
                ):
                    continue
                compute = partial(_evaluate, problem, seed, policy)
                rows.once(key | {"method": policy}, compute)
    return table(rows)


def _evaluate(problem: TrustProblem, seed: int, which: str) -> dict[str, Any]:
    log = problem.log(seed, tenfold=which == TENFOLD)
    seconds: dict[str, float] = {}
    policy: Any = problem.target
    if which == LEARNED:
        learned_on, log = halves(log, seed)
        with Quietly(), Clock() as clock:
            policy = StackelbergPolicyEstimator(
                discount=problem.discount, random_state=0, **problem.setting
            ).fit(learned_on)
        # What the metrics evaluate where nothing else is asked of them.
        truth = problem.value_stochastic(policy)
        seconds["fit"] = clock.cpu_seconds
    else:
        truth = problem.target_value
    found = {}
    for name, metric in METRICS.items():
        with Quietly() as warned, Clock() as clock:
            try:
                estimate = metric(policy, log, discount=problem.discount)
            except ValueError as error:
                found[name] = {"refused": str(error)}
                continue
        low, high = estimate.confidence_interval
        found[name] = {
            "value": estimate.value,
            "standard_error": estimate.standard_error,
            "bias_bound": estimate.bias_bound,
            "low": low,
            "high": high,
            "effective_sample_size": estimate.effective_sample_size,
            "warned": warned.messages,
        }
        seconds[name] = clock.cpu_seconds
    return {"truth": truth, "found": found, "cpu_seconds": seconds}


def halves(log: Transitions, seed: int) -> tuple[Transitions, Transitions]:
    """Two halves of the episodes, drawn at random."""
    episodes = np.unique(log.episode)
    rng = np.random.default_rng([seed, 3])
    first = rng.permutation(episodes)[: len(episodes) // 2]
    inside = np.isin(log.episode, first)
    return log[np.flatnonzero(inside)], log[np.flatnonzero(~inside)]


def marked(found: Mapping[str, Any]) -> bool:
    """Whether an estimate refuses, or says that it rests on no data, or on too little.

    It says so where its bound of the bias reaches further than its sampling error does,
    and where states do not hold all that matters (`HiddenStateWarning`).
    """
    if "refused" in found or not np.isfinite(found["standard_error"]):
        return True
    if any("leaves of the Bellman equation" in text for text in found["warned"]):
        return True
    reach = (found["high"] - found["low"]) / 2.0 - found["bias_bound"]
    return found["bias_bound"] > max(reach, 0.0)


def table(rows: Rows) -> str:
    """One line a problem, a policy and a metric."""
    lines = []
    for problem in PROBLEMS:
        every = of_problem(rows, problem.name)
        for policy in (KNOWN, LEARNED, TENFOLD):
            mine = [row for row in every if row["method"] == policy]
            for name in METRICS if mine else ():
                lines.append([problem.name, policy, name, *_cells(mine, name)])
    headings = ["problem", "policy", "metric", "logs", "refused or marked"]
    headings += ["intervals that hold the truth, where not (Wilson's 95 %)", "of all"]
    headings += ["mean truth", "bias, standard errors", "bias", "mean width"]
    headings += ["spread of the values over standard error", "s each"]
    return markdown(headings, lines)


def _cells(rows: list[dict[str, Any]], name: str) -> list[str]:
    every = [row["found"][name] | {"truth": row["truth"]} for row in rows]
    given = [one for one in every if "value" in one]
    cells = [str(len(every)), f"{np.mean([marked(one) for one in every]):.2f}"]
    if not given:
        return [*cells, *["–"] * 8]
    truth, low, high = (column(given, key) for key in ("truth", "low", "high"))
    value, error = column(given, "value"), column(given, "standard_error")
    # Where the truth is an end of the range that the interval is clipped to.
    slack = 1e-9 * (1.0 + abs(truth))
    inside = (low - slack <= truth) & (truth <= high + slack)
    counted = inside[[not marked(one) for one in given]]
    seconds = [row["cpu_seconds"][name] for row in rows if name in row["cpu_seconds"]]
    off = value - truth
    return [
        *cells,
        share_text(counted),
        share_text(inside),
        f"{truth.mean():.4g}",
        f"{np.nanmean(off / error):+.2f}",
        f"{off.mean():+.3g}",
        f"{np.mean(high - low):.3g}",
        f"{off.std() / np.nanmean(error):.2f}",
        f"{np.median(seconds):.2f}",
    ]
