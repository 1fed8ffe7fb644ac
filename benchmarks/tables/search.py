"""The cost of a grid search: two processes against one, and its single fits."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from joblib import parallel_config
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ParameterGrid

from benchmarks.report import Clock, Rows, markdown
from benchmarks.tuning_problems import PROBLEMS
from sklearn_stackelberg import EpisodeKFold, Transitions

PROBLEM = next(problem for problem in PROBLEMS if "CartPole" in problem.name)
N_FOLDS = 3
N_LANDMARKS = 200
# Two processes must be so many times faster than one, and one must not cost more than
# so many times what its fits cost alone.
FASTER, DEARER = 1.6, 1.2


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Time the fits and both searches, one after the other; there is no peer here."""
    for seed in range(seeds or 1) if side != "peers" else ():
        key = {"problem": PROBLEM.name, "seed": seed, "method": "ours", "setting": {}}
        rows.once(key, partial(_measure, seed))
    return table(rows)


def _measure(seed: int) -> dict[str, Any]:
    log = PROBLEM.log(seed)
    return measure(log, PROBLEM.grid())


def measure(log: Transitions, grid: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Seconds of fits and scores one by one, and of the search in 1 and 2 processes.

    The search's are those of ``GridSearchCV.fit`` without the last fit on all folds,
    which the single fits do not hold either; two processes are started anew.
    """
    policy = PROBLEM.pipeline().set_params(policy__n_components=N_LANDMARKS)
    folds = EpisodeKFold(N_FOLDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # The first fit of a process pays for imports and warm-up that no other does.
        clone(policy).fit(log).score(log)
        fits, scores, means = _one_by_one(policy, log, grid, folds)
        row: dict[str, Any] = {
            "n_rows": len(log),
            "n_candidates": len(means),
            "fits_seconds": fits,
            "scores_seconds": scores,
        }
        for n_jobs in (1, 2):
            search = GridSearchCV(policy, grid, cv=folds, n_jobs=n_jobs, refit=False)
            with parallel_config("loky", inner_max_num_threads=1), Clock() as clock:
                search.fit(log)
            found = search.cv_results_["mean_test_score"]
            if not np.allclose(found, means, rtol=1e-9):
                raise AssertionError(f"n_jobs={n_jobs}: {found} where {means} is due.")
            row[f"search_{n_jobs}_seconds"] = round(clock.seconds, 4)
    row["score"] = row["search_1_seconds"] / row["search_2_seconds"]
    return row


def _one_by_one(
    policy: Any, log: Transitions, grid: Mapping[str, Any], folds: EpisodeKFold
) -> tuple[float, float, list[float]]:
    """Sum of the seconds of the fits, and of the scores, and the mean scores."""
    fits = scores = 0.0
    means = []
    for params in ParameterGrid(grid):
        values = []
        for train, test in folds.split(log):
            learning, held_out = log[train], log[test]
            candidate = clone(policy).set_params(**params)
            with Clock() as clock:
                candidate.fit(learning)
            fits += clock.seconds
            with Clock() as clock:
                values.append(candidate.score(held_out))
            scores += clock.seconds
        means.append(float(np.mean(values)))
    return round(fits, 4), round(scores, 4), means


def table(rows: Rows) -> str:
    """Seconds of each, and the two ratios."""
    lines = [
        [
            row["seed"],
            f"{row['fits_seconds']:.1f}",
            f"{row['fits_seconds'] + row['scores_seconds']:.1f}",
            f"{row['search_1_seconds']:.1f}",
            f"{row['search_2_seconds']:.1f}",
            f"{row['score']:.2f}",
            f"{row['search_1_seconds'] / row['fits_seconds']:.2f}",
        ]
        for row in rows
    ]
    headings = ["log", "fits one by one, s", "fits and scores, s", "n_jobs=1, s"]
    headings += ["n_jobs=2, s", f"n_jobs=1 over 2 (≥ {FASTER})"]
    headings += [f"n_jobs=1 over fits (≤ {DEARER})"]
    shown = next(iter(rows), None)
    size = f"{shown['n_candidates']} candidates, " if shown else ""
    size += f"{shown['n_rows']:,} transitions, " if shown else ""
    return (
        f"GridSearchCV with the default score: {size}{N_FOLDS} folds of whole "
        f"episodes, {N_LANDMARKS} landmarks, one thread a process.\n\n"
        + markdown(headings, lines)
    )
