"""What a search selects by each of several rules, and how well they rank.

A log's candidates are fitted once on each training fold and once on all rows. All
rules are read from the former, and true values are of the latter, as `predict` acts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from benchmarks.families import CHOOSE, EVALUATE
from benchmarks.families.choose import FrozenLake
from benchmarks.families.problem import Problem
from benchmarks.problems import FrozenLakeProblem
from benchmarks.report import Clock, Rows, markdown
from benchmarks.trust import PROBLEMS as WITH_POLICIES
from benchmarks.trust.statistics import Quietly, bootstrap, each_log, named, of_problem
from sklearn_stackelberg import EpisodeKFold, StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.metrics import doubly_robust_value, fitted_q_value

Array = NDArray[np.float64]

N_LOGS = 10
N_FOLDS = 3
LEVEL = 0.95
CANDIDATES: tuple[dict[str, float], ...] = (
    {"lam": 0.01},
    {"lam": 1.0},
    {"lam": 10.0},
    {"lam": 100.0},
    {"lam": 10.0, "bandwidth": 0.5},
    {"lam": 10.0, "bandwidth": 2.0},
    {"lam": 100.0, "bandwidth": 0.5},
)


def _named(problems: Sequence[Any], *names: str) -> list[Any]:
    by_name = {problem.name: problem for problem in problems}
    return [by_name[name] for name in names]


def _process(problem: Any) -> Problem:
    return problem.process


PROBLEMS: tuple[Problem, ...] = (
    FrozenLake(FrozenLakeProblem("4x4 mediocre 4,000", "4x4", "mediocre", 4_000)),
    *_named(
        CHOOSE,
        "FrozenLake 4x4 partial 2,000",
        "ring, rewards less 10",
        "bandit, good logger, costs",
    ),
    *_named(
        EVALUATE,
        "MountainCar",
        "stock keeping",
        "chemotherapy, eleven doses",
        "tutoring",
        "admission to queues",
    ),
    *map(
        _process,
        _named(
            WITH_POLICIES,
            "ring of 15",
            "two stages, n = 300",
            "random intercepts",
            "linear-quadratic",
            "thermostat",
        ),
    ),
)


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """Every candidate of every log; returns the table. There are no peers."""
    chosen = named(PROBLEMS, problems)
    if side != "peers":
        for problem, seed in each_log(chosen, seeds or N_LOGS, part):
            key = {"problem": problem.name, "seed": seed, "method": "ours"}
            rows.once(key | {"setting": {}}, partial(_candidates, problem, seed))
    return table(rows)


def _candidates(problem: Problem, seed: int) -> dict[str, Any]:
    log = problem.log(seed)
    folds = list(EpisodeKFold(N_FOLDS).split(log))
    figures: dict[str, list[list[float]]] = {}
    truth = []
    with Quietly(), Clock() as clock:
        for candidate in CANDIDATES:
            by_fold = [
                _held_out(_fit(problem, log[train], candidate), log[test])
                for train, test in folds
            ]
            for name in by_fold[0]:
                one = [fold[name] for fold in by_fold]
                figures.setdefault(name, []).append(one)
            policy = _fit(problem, log, candidate)
            truth.append(problem.value(policy, seed))
    return {
        "truth": truth,
        "logger": problem.logger_value,
        "figures": figures,
        "cpu_seconds": clock.cpu_seconds,
    }


def _fit(problem: Problem, log: Transitions, candidate: Mapping[str, float]) -> Any:
    return StackelbergPolicyEstimator(
        discount=problem.discount, random_state=0, **candidate
    ).fit(log)


def _held_out(policy: Any, log: Transitions) -> dict[str, float | None]:
    """What the rules are read from; None where a policy cannot be evaluated."""
    discount = policy.discount

    def figure(compute: Callable[[], Any], name: str) -> dict[str, float | None]:
        try:
            found = compute()
        except ValueError:
            return {name: None, f"{name}_error": None}
        reach = found.standard_error
        reach = float(reach) if np.isfinite(reach) else None
        return {name: float(found.value), f"{name}_error": reach}

    try:
        score = float(policy.score(log))
    except ValueError:
        score = None
    greedy = {"discount": discount, "greedy": True}
    return {
        "score": score,
        **figure(lambda: fitted_q_value(policy, log, discount=discount), "drawn"),
        **figure(lambda: fitted_q_value(policy, log, **greedy), "fitted"),
        **figure(
            lambda: doubly_robust_value(policy, log, n_folds=2, **greedy), "robust"
        ),
    }


# -------------------------------------------------------------------------- the rules


def _of(row: Mapping[str, Any], name: str) -> Array:
    """A figure of all candidates and folds; what could not be evaluated is last."""
    found = np.array(row["figures"][name], dtype=float)  # (n_candidates, n_folds)
    worst = np.inf if name.endswith("_error") else -np.inf
    return np.where(np.isnan(found), worst, found)


def _mean(name: str, row: Mapping[str, Any]) -> Array:
    return _of(row, name).mean(axis=1)


def _pessimistic(name: str, z: float, row: Mapping[str, Any]) -> Array:
    """The mean of the folds' values less z of their standard errors."""
    value, error = _of(row, name), _of(row, f"{name}_error")
    with np.errstate(invalid="ignore"):
        return np.nan_to_num((value - z * error).mean(axis=1), nan=-np.inf)


def _pooled(name: str, row: Mapping[str, Any]) -> Array:
    """A lower bound of the mean over folds, whose episodes are independent."""
    value, error = _of(row, name), _of(row, f"{name}_error")
    pooled = np.sqrt((error**2).sum(axis=1)) / error.shape[1]
    with np.errstate(invalid="ignore"):
        bound = value.mean(axis=1) - float(norm.ppf(LEVEL)) * pooled
    return np.nan_to_num(bound, nan=-np.inf)


def _tournament(row: Mapping[str, Any]) -> Array:
    """How often a candidate beats another, over folds and figures."""
    figures = np.concatenate(
        [_of(row, name) for name in ("score", "fitted", "robust")], axis=1
    )
    beats = figures[:, None, :] - np.where(np.isfinite(figures), figures, 0.0)[None]
    return (beats > 0).sum(axis=(1, 2)) + 0.5 * (beats == 0).sum(axis=(1, 2))


RULES: dict[str, Callable[[Mapping[str, Any]], Array]] = {
    "`score` (default)": partial(_mean, "score"),
    "fitted-Q": partial(_mean, "drawn"),
    "fitted-Q, greedy": partial(_mean, "fitted"),
    "doubly robust, greedy": partial(_mean, "robust"),
    "fitted-Q, greedy, less a standard error": partial(_pessimistic, "fitted", 1.0),
    "doubly robust, greedy, less a standard error": partial(
        _pessimistic, "robust", 1.0
    ),
    "tournament of `score`, fitted-Q and doubly robust": _tournament,
    "lower bound at 95 %, fitted-Q": partial(_pooled, "fitted"),
    "lower bound at 95 %, doubly robust": partial(_pooled, "robust"),
}


def attained(row: Mapping[str, Any], value: float) -> float:
    """A value over that of the best candidate.

    Where values are costs, or of both signs, a ratio says nothing: what is missing to
    the best is divided by the larger of the best's and the logger's size. For rewards
    of one sign that is the ratio.
    """
    best = max(row["truth"])
    return 1.0 - (best - value) / max(abs(best), abs(row["logger"]))


def chosen(row: Mapping[str, Any], rule: str) -> float:
    """What the choice of a rule attains."""
    return attained(row, row["truth"][int(np.argmax(RULES[rule](row)))])


def correlation(row: Mapping[str, Any], rule: str) -> float:
    """Spearman's, of the rule's figures with true values; 0 where one is constant."""
    scores, truth = RULES[rule](row), np.asarray(row["truth"])
    if np.ptp(truth) == 0.0 or len(set(scores)) == 1:
        return 0.0
    return float(spearmanr(scores, truth).statistic)


def table(rows: Rows) -> str:
    """Of all rules over all problems; then by problem."""
    found = {p.name: of_problem(rows, p.name) for p in PROBLEMS}
    found = {name: mine for name, mine in found.items() if mine}
    if not found:
        return ""
    overall, parts = [], []
    drawn = "a candidate drawn at random"
    for rule in (*RULES, drawn):
        means = {name: [_attains(row, rule) for row in r] for name, r in found.items()}
        # Logs are drawn anew within each problem, and problems are fixed.
        averages = np.array([np.mean(one) for one in means.values()])
        worst = min(means, key=lambda name: np.mean(means[name]))
        low, high = _over_problems(means)
        ranks = "–"
        if rule in RULES:
            every = [[correlation(r, rule) for r in mine] for mine in found.values()]
            ranks = f"{np.mean([np.mean(one) for one in every]):+.2f}"
        overall.append(
            [
                rule,
                f"{averages.mean():.3f} ({low:.3f}, {high:.3f})",
                f"{averages.min():.2f} ({worst})",
                ranks,
            ]
        )
    heads = ["rule", "chosen over best (95 % bootstrap)", "least of a problem"]
    parts.append(markdown([*heads, "Spearman's ρ"], overall))
    for title, figure in (
        ("Chosen over best", _attains),
        ("Spearman's rank correlation", correlation),
    ):
        lines = []
        for name, mine in found.items():
            cells = [_cell(mine, partial(figure, rule=rule)) for rule in RULES]
            lines.append([name, len(mine), *cells])
        heading = ["problem", "logs", *RULES]
        parts.append(f"{title}, mean (95 % bootstrap over logs)\n\n")
        parts[-1] += markdown(heading, lines)
    seconds = [row["cpu_seconds"] for mine in found.values() for row in mine]
    parts.append(f"Processor seconds a log: {np.mean(seconds):.0f} on average.")
    return "\n\n".join(parts)


def _attains(row: Mapping[str, Any], rule: str) -> float:
    if rule in RULES:
        return chosen(row, rule)
    return float(np.mean([attained(row, value) for value in row["truth"]]))


def _cell(rows: Sequence[Any], figure: Callable[[Any], float]) -> str:
    values = [figure(row) for row in rows]
    low, high = bootstrap(values, lambda drawn: float(np.mean(drawn)))
    return f"{np.mean(values):.2f} ({low:.2f}, {high:.2f})"


def _over_problems(values: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = [
        np.mean(rng.choice(one, size=(2_000, len(one))), axis=1)
        for one in values.values()
    ]
    low, high = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
    return float(low), float(high)
