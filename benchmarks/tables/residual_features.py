"""Features grown on the Bellman residual: no round, one, two, or as many as pay."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks.families import CHOOSE, EVALUATE, Problem, progress
from benchmarks.peers.fitted import fit_extra_trees
from benchmarks.report import Clock, Rows, markdown
from benchmarks.residual_features import LSPI, Coded, Game, grow
from sklearn_stackelberg import EpisodeKFold, StackelbergPolicyEstimator

N_LOGS, N_ROUNDS = 3, 2
SOLVERS = {"game": Game, "LSPI": LSPI}
DEFAULT, TREES = "estimator", "FQI extra trees"
# A round is taken where its feature lowers the squared residuals of rows that it was
# not fitted to by so many standard errors over episodes.
EVIDENCE = 2.0

# The ring twice would count it double: a constant in the reward moves none of these.
CHOSEN_ON = tuple(p for p in CHOOSE if p.name != "ring, rewards less 10")
PARTS = {"EVALUATE": EVALUATE, "CHOOSE": CHOSEN_ON}

Row = Mapping[str, Any]
Fit = Callable[[Problem, int], Row]


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every method on every log; returns the tables."""
    ours: dict[str, Fit] = {DEFAULT: _default, "game": partial(_grown, "game")}
    peers: dict[str, Fit] = {"LSPI": partial(_grown, "LSPI"), TREES: _trees}
    # The slowest last, so that it keeps no other waiting.
    work = (ours if side != "peers" else {}) | (peers if side != "ours" else {})
    slow = {TREES: work.pop(TREES)} if TREES in work else {}
    problems = [problem for part in PARTS.values() for problem in part]
    for methods, seed, problem in product(
        (work, slow), range(seeds or N_LOGS), problems
    ):
        for method, compute in methods.items():
            if method in peers and _is_continuous(problem):
                continue
            key = {"problem": problem.name, "seed": seed, "method": method}
            rows.once(key, partial(compute, problem, seed))
    return table(rows)


def _is_continuous(problem: Problem) -> bool:
    return np.asarray(problem.log(0).action).dtype.kind == "f"


def _default(problem: Problem, seed: int) -> Row:
    log = problem.log(seed)
    with Clock() as clock:
        policy = StackelbergPolicyEstimator(
            discount=problem.discount, random_state=seed
        ).fit(log)
    return {"values": [problem.value(policy)], **clock.row()}


def _trees(problem: Problem, seed: int) -> Row:
    # What comes later is worth less than a hundredth of the whole, or nearly.
    horizons = 1 if problem.discount == 0.0 else 5.0 / (1.0 - problem.discount)
    log = problem.log(seed)
    with Clock() as clock:
        policy = fit_extra_trees(
            log,
            seed,
            discount=problem.discount,
            n_iterations=math.ceil(min(50, horizons)),
        )
    return {"values": [problem.value(policy)], **clock.row()}


def _grown(method: str, problem: Problem, seed: int) -> Row:
    """Values of 0, 1, ... rounds on the log, and what speaks for each round."""
    data, solve = Coded.of(problem.log(seed)), SOLVERS[method]
    with Clock() as clock:
        whole = grow(solve, data, problem.discount, seed, N_ROUNDS)
        folds = EpisodeKFold(3, shuffle=True, random_state=seed)
        train, test = next(folds.split(data.log))
        part = grow(solve, data[train], problem.discount, seed, N_ROUNDS, data[test])
    row = {
        "values": [problem.value(solution) for solution in whole.solutions],
        "out_of_bag": whole.out_of_bag,
        "held_out": part.held_out,
        **clock.row(),
    }
    if method == "game":
        log = data[test].log
        row["held_out_values"] = [
            solution.held_out_value(log) for solution in part.solutions
        ]
    return row


# -------------------------------------------------------------------------- rules


def _while(name: str, row: Row) -> int:
    """As many rounds as the evidence of that name supports, one after the other."""
    n = 0
    while n < len(row[name]) and row[name][n] > EVIDENCE:
        n += 1
    return n


def _by_value(row: Row) -> int:
    before, after = row.get("held_out_values", (0.0, 0.0))
    return int(after > before)


RULES: dict[str, Callable[[Row], int]] = {
    "none": lambda row: 0,
    "one": lambda row: 1,
    "two": lambda row: 2,
    "held-out residual": partial(_while, "held_out"),
    "held-out value": _by_value,
    "out of bag": partial(_while, "out_of_bag"),
}
COLUMNS = [
    (DEFAULT, "none"),
    *(("game", rule) for rule in RULES),
    *(("LSPI", rule) for rule in RULES if rule != "held-out value"),
    (TREES, "none"),
]


def _found(rows: Rows, problem: Problem, method: str) -> list[Row]:
    wanted = (problem.name, method)
    return [row for row in rows if (row["problem"], row["method"]) == wanted]


def _values(found: Sequence[Row], rule: str) -> list[float]:
    return [row["values"][RULES[rule](row)] for row in found]


def table(rows: Rows) -> str:
    """True values of both sets, apart, and what is left of them on the whole."""
    return "\n\n".join(_part(rows, name, PARTS[name]) for name in PARTS)


def _part(rows: Rows, name: str, problems: Sequence[Problem]) -> str:
    headings = ["problem", "logger", "best", *(f"{m}: {rule}" for m, rule in COLUMNS)]
    lines, shares = [], {column: [] for column in COLUMNS}
    for problem in problems:
        cells = []
        for method, rule in COLUMNS:
            values = _values(_found(rows, problem, method), rule)
            cells.append(f"{np.mean(values):.2f}" if values else "")
            # A log's failure counts as one, however far it falls.
            kept = [max(-1.0, progress(problem, value)) for value in values]
            shares[method, rule] += [np.mean(kept)] if kept else []
        known = [f"{problem.logger_value:.2f}", f"{problem.optimum:.2f}"]
        lines.append([problem.name, *known, *cells])
    mean = [f"{np.mean(s):.2f} ({len(s)})" if s else "" for s in shares.values()]
    lines.append(["share of the way (problems)", "0", "1", *mean])
    text = f"{name}, true values, mean over logs:\n\n" + markdown(headings, lines)
    return text + "\n\n" + _against_none(rows, problems)


def _against_none(rows: Rows, problems: Sequence[Problem]) -> str:
    """How often each rule beats no round, and by how much of the way."""
    lines = []
    for method, rule in COLUMNS:
        if method not in SOLVERS or rule == "none":
            continue
        gains, taken = [], []
        for problem in problems:
            found = _found(rows, problem, method)
            taken += [RULES[rule](row) for row in found]
            pairs = zip(_values(found, rule), _values(found, "none"), strict=True)
            gains += [
                max(-1.0, progress(problem, after)) - max(-1.0, progress(problem, was))
                for after, was in pairs
            ]
        if gains:
            moved = [
                f"{sum(g > 0.01 for g in gains)}",
                f"{sum(g < -0.01 for g in gains)}",
            ]
            lines.append(
                [
                    method,
                    rule,
                    f"{np.mean(taken):.1f}",
                    *moved,
                    f"{np.mean(gains):+.2f}",
                ]
            )
    headings = ["", "rounds", "mean number", "logs better", "logs worse", "mean gain"]
    return markdown(headings, lines)
