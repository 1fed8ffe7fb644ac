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
COLUMNS = {
    method: [rule for rule in RULES if method == "game" or rule != "held-out value"]
    for method in SOLVERS
}
ALONE = (DEFAULT, TREES)  # what stands beside the game, without rounds


def _found(rows: Rows, problem: Problem, method: str) -> list[Row]:
    wanted = (problem.name, method)
    return [row for row in rows if (row["problem"], row["method"]) == wanted]


def _values(found: Sequence[Row], rule: str) -> list[float]:
    return [row["values"][RULES[rule](row)] for row in found]


def table(rows: Rows) -> str:
    """True values of both sets, apart, and what each rule of rounds gained."""
    parts = []
    for name, problems in PARTS.items():
        parts += [_true_values(rows, name, problems, method) for method in SOLVERS]
        parts.append(_against_none(rows, name, problems))
    return "\n\n".join(parts)


def _true_values(
    rows: Rows, name: str, problems: Sequence[Problem], method: str
) -> str:
    columns = [(method, rule) for rule in COLUMNS[method]]
    columns += [(other, "none") for other in ALONE if method == "game"]
    lines = []
    shares: dict[tuple[str, str], list[float]] = {column: [] for column in columns}
    for problem in problems:
        cells = []
        for column in columns:
            values = _values(_found(rows, problem, column[0]), column[1])
            cells.append(f"{np.mean(values):.2f}" if values else "")
            # A log's failure counts as one, however far it falls.
            kept = [max(-1.0, progress(problem, value)) for value in values]
            shares[column] += [float(np.mean(kept))] if kept else []
        if any(cells):
            known = [f"{problem.logger_value:.2f}", f"{problem.optimum:.2f}"]
            n_logs = len(_found(rows, problem, method))
            lines.append([problem.name, n_logs, *known, *cells])
    mean = [f"{np.mean(s):.2f}" if s else "" for s in shares.values()]
    lines.append(["share of the way, mean", "", "0", "1", *mean])
    headings = ["problem", "logs", "logger", "best"]
    headings += [rule if m == method else m for m, rule in columns]
    text = f"{name}, {method}: true value by rounds, mean over logs.\n\n"
    return text + markdown(headings, lines)


def _against_none(rows: Rows, name: str, problems: Sequence[Problem]) -> str:
    """How often each rule beats no round, and by how much of the way."""
    lines = []
    for method, rule in ((m, rule) for m in SOLVERS for rule in COLUMNS[m]):
        gains: list[float] = []
        taken: list[int] = []
        for problem in problems:
            found = _found(rows, problem, method)
            taken += [RULES[rule](row) for row in found]
            after, before = (
                [max(-1.0, progress(problem, v)) for v in _values(found, which)]
                for which in (rule, "none")
            )
            gains += list(np.subtract(after, before))
        if rule == "none" or not gains:
            continue
        better, worse = (sum(s * g > 0.01 for g in gains) for s in (1, -1))
        error = np.std(gains, ddof=1) / np.sqrt(len(gains))
        gain = f"{np.mean(gains):+.2f} ± {error:.2f}"
        rounds = f"{np.mean(taken):.1f}"
        lines.append([method, rule, rounds, better, worse, len(gains), gain])
    headings = ["", "rounds", "how many", "better", "worse", "of", "mean gain"]
    text = f"{name}: logs that a rule moves by more than 0.01 of the way, and the mean."
    return text + "\n\n" + markdown(headings, lines)
