"""The candidate that a search selects by each criterion, relative to the best one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.model_selection import GridSearchCV

from benchmarks.report import Clock, Rows, markdown
from benchmarks.tuning_problems import PROBLEMS, TuningProblem
from sklearn_stackelberg import EpisodeKFold
from sklearn_stackelberg._problem.dataset import OfflineProblem
from sklearn_stackelberg._problem.rows import Rows as GameRows
from sklearn_stackelberg._problem.rows import feature_rows
from sklearn_stackelberg.game import anchored_reward
from sklearn_stackelberg.metrics import bellman_error, doubly_robust_value
from sklearn_stackelberg.metrics._holdout import fitted_q
from sklearn_stackelberg.metrics._lower_bound import lower_bound
from sklearn_stackelberg.metrics._prepare import prepare_evaluation
from sklearn_stackelberg.metrics._settings import QSettings
from sklearn_stackelberg.model_selection import PessimisticRefit
from sklearn_stackelberg.solvers._best_response import BestResponse
from sklearn_stackelberg.solvers._lstd_discrete import DiscreteLSTD

N_LOGS = 10
N_FOLDS = 3
# λ at which every candidate's pessimistic value is taken.
FIXED_LAM = 3.0
# Criterion: what it is called in the table.
CRITERIA = {
    "score": "`score`: Q of the training folds, corrected by the fold (default)",
    "fold": "fitted-Q on the fold",
    "fold_greedy": "fitted-Q on the fold, greedy policy",
    "whole": "fitted-Q on the whole log",
    "whole_greedy": "fitted-Q on the whole log, greedy policy",
    "robust": "doubly robust on the fold",
    "pessimistic": "pessimistic value on the fold, λ = 3",
    "bellman": "minus the Bellman error on the fold",
    "tournament": "tournament: mean rank by the eight above",
    "own": "the fit's own `policy_value_`, no folds",
    "lower_bound": "lower bound at 0.95 of the fit on the whole log, no folds",
    "refit": "fitted-Q of the fit on the whole log, no folds",
}
# Of each problem the default is computed on all logs, others on the first so many.
N_COMPARED_LOGS, N_DEAR_LOGS = 5, 2


class Criteria:
    """A scorer that returns every criterion; holds the whole log."""

    def __init__(self, log: Any, compared: bool, dear: bool) -> None:
        self.log, self.compared, self.dear = log, compared, dear

    def __call__(self, policy: Any, X: Any, y: Any = None) -> dict[str, float]:
        """Evaluate a policy that was fitted without the rows X."""
        discount = policy[-1].discount

        def value(log: Any, greedy: bool = False) -> float:
            return fitted_q(
                prepare_evaluation(policy, log, greedy=greedy), discount
            ).value

        scores = {"score": policy.score(X)}
        if self.compared:
            scores |= {"fold": value(X), "whole": value(self.log)}
        if self.dear:
            robust = doubly_robust_value(policy, X, discount=discount, n_folds=2)
            scores |= {
                "fold_greedy": value(X, greedy=True),
                "whole_greedy": value(self.log, greedy=True),
                "robust": robust.value,
                "pessimistic": pessimistic_value(policy, X),
                "bellman": -bellman_error(policy, X, discount=discount).value,
            }
        return scores


def pessimistic_value(policy: Any, X: Any) -> float:
    """v of the game at one λ for all, on held-out rows."""
    estimator, log = policy[-1], policy[:-1].transform(X)
    game = OfflineProblem.from_log(
        log,
        discount=estimator.discount,
        initial_states=estimator.initial_states,
    )
    features, anchor = estimator.features_, estimator.anchor_
    reward = anchored_reward(log.reward, log.terminated, anchor, estimator.discount)
    rows = GameRows(
        game.state_index,
        game.next_index,
        np.searchsorted(estimator.classes_, log.action),
        reward / estimator.reward_scale_,
        game.terminated,
        game.initial,
    )
    system = DiscreteLSTD(
        rows,
        feature_rows(features.transform, game.states, features.n_features_out_),
        len(estimator.classes_),
        estimator.discount,
    )
    theta = estimator.policy_.weight.detach().to(torch.float64)
    value = BestResponse(system, theta, FIXED_LAM, 1e-3).value
    unit = estimator.reward_scale_ / (1.0 - estimator.discount)
    return estimator.anchor_ + float(value) * unit


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every candidate of every log; returns the table."""
    for seed in range(seeds or N_LOGS) if side != "peers" else ():
        for problem in PROBLEMS:
            key = {"problem": problem.name, "seed": seed, "method": "ours"}
            rows.once(key | {"setting": {}}, partial(_search, problem, seed))
    return table(rows)


def _search(problem: TuningProblem, seed: int) -> dict[str, Any]:
    log = problem.log(seed)
    compared, dear = seed < N_COMPARED_LOGS, seed < N_DEAR_LOGS
    with Clock() as clock:
        search = GridSearchCV(
            problem.pipeline(),
            problem.grid(),
            scoring=Criteria(log, compared, dear),
            cv=EpisodeKFold(N_FOLDS),
            refit=False,
            error_score="raise",
        ).fit(log)
    scores = {
        name: search.cv_results_[f"mean_test_{name}"].tolist()
        for name in CRITERIA
        if f"mean_test_{name}" in search.cv_results_
    }
    splits = [
        search.cv_results_[f"split{k}_test_score"].tolist() for k in range(N_FOLDS)
    ]
    folds_free: dict[str, list[float]] = {"own": [], "refit": [], "lower_bound": []}
    truth: list[float] = []
    greedy_truth: list[float] = []
    for params in search.cv_results_["params"]:
        policy = problem.pipeline().set_params(**params).fit(log)
        folds_free["own"].append(policy[-1].policy_value_)
        if compared:
            fit = fitted_q(
                prepare_evaluation(policy, log), problem.discount, QSettings()
            )
            folds_free["refit"].append(fit.value)
        if dear:
            folds_free["lower_bound"].append(lower_bound(fit, 0.95).value)
        truth.append(problem.truth(policy, greedy=False))
        greedy_truth.append(problem.truth(policy, greedy=True))
    scores |= {name: found for name, found in folds_free.items() if found}
    return {
        "params": search.cv_results_["params"],
        "truth": truth,
        "greedy_truth": greedy_truth,
        "scores": scores,
        "splits": splits,
        "cpu_seconds": clock.cpu_seconds,
    }


def final_scores(row: dict[str, Any], name: str) -> NDArray[np.float64]:
    """Each candidate's score, larger being better."""
    scores = row["scores"]
    if name != "tournament":
        return np.asarray(scores[name], dtype=float)
    criteria = list(CRITERIA)[:8]
    return np.mean([rankdata(scores[k]) for k in criteria], axis=0)


def chosen(row: dict[str, Any], name: str, truth: str = "truth") -> float:
    """True value of a criterion's choice over that of the best candidate."""
    values = np.asarray(row[truth])
    return float(values[int(np.argmax(final_scores(row, name)))] / values.max())


def one_error(row: dict[str, Any], truth: str = "truth") -> float:
    """The same of the most pessimistic candidate within a standard error."""
    results = {"mean_test_score": np.array(row["scores"]["score"])}
    results |= {
        f"split{k}_test_score": np.array(split) for k, split in enumerate(row["splits"])
    }
    results["param_lam"] = np.array([p["policy__lam"] for p in row["params"]])
    values = np.asarray(row[truth])
    return float(values[PessimisticRefit()(results)] / values.max())


def table(rows: Rows) -> str:
    """One line a criterion, one column a problem, for π and for its modes."""
    parts = []
    for truth, who in (("truth", "the policy"), ("greedy_truth", "`predict`")):
        lines = [
            _line(text, rows, name, partial(chosen, name=name, truth=truth))
            for name, text in CRITERIA.items()
        ]
        rule = "`score`, `refit=PessimisticRefit()`"
        lines.append(_line(rule, rows, "score", partial(one_error, truth=truth)))
        drawn = "a candidate drawn at random"
        lines.append(_line(drawn, rows, "score", partial(_average, truth=truth)))
        names = [problem.name for problem in PROBLEMS]
        heading = f"True value of {who}, chosen over best: mean (least)"
        columns = ["criterion", "logs", *names, "all"]
        parts.append(f"{heading}\n\n" + markdown(columns, lines))
    return "\n\n".join(parts)


def _line(
    text: str, rows: Rows, needed: str, share: Callable[[dict[str, Any]], float]
) -> list[str]:
    """Values of a criterion's choices, on the logs that it was computed on."""
    needed = "lower_bound" if needed == "tournament" else needed
    means, cells, logs = [], [], 0
    for problem in PROBLEMS:
        mine = [row for row in rows if row["problem"] == problem.name]
        found = [share(row) for row in mine if needed in row["scores"]]
        logs = max(logs, len(found))
        means.append(float(np.mean(found)) if found else np.nan)
        cells.append(f"{means[-1]:.2f} ({min(found, default=np.nan):.2f})")
    return [text, str(logs), *cells, f"{np.mean(means):.3f}"]


def _average(row: dict[str, Any], truth: str) -> float:
    return float(np.mean(row[truth]) / np.max(row[truth]))
