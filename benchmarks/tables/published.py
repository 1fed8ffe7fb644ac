"""Our estimates of a published example, on its own log, beside what was printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from benchmarks.report import Clock, Rows, markdown
from benchmarks.trust.policies import Probabilities
from benchmarks.trust.published import N_PATIENTS, TREAT_ALL, sim_two_stage
from benchmarks.trust.statistics import Quietly
from sklearn_stackelberg.metrics import doubly_robust_value, fitted_q_value

NAME = "polle, always treat"
# The nearest to an undiscounted return of two steps: 1 in 10,000 is less than an error.
DISCOUNT = 0.9999
METHODS: Mapping[str, Callable[..., Any]] = {
    "fitted-Q": fitted_q_value,
    "doubly robust": doubly_robust_value,
    "doubly robust, importance": partial(doubly_robust_value, ratios="importance"),
    # Of the actions and states and all their products, as a linear model with
    # interactions has them.
    "fitted-Q by linear regression": partial(
        fitted_q_value,
        regressor=make_pipeline(
            PolynomialFeatures(2, interaction_only=True), LinearRegression()
        ),
        n_iterations=2,
    ),
}

ALWAYS = Probabilities(lambda s: np.tile([0.0, 1.0], (len(s), 1)), 2)


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every method on the one log; returns the table."""
    for method in METHODS if side != "peers" else ():
        key = {"problem": NAME, "seed": 1, "method": method, "setting": {}}
        rows.once(key, partial(evaluate, method))
    return table(rows)


def evaluate(method: str) -> dict[str, Any]:
    """One estimate."""
    log = sim_two_stage(N_PATIENTS, seed=1).log
    with Quietly(), Clock() as clock:
        found = METHODS[method](ALWAYS, log, discount=DISCOUNT)
    return {
        "value": found.value,
        "standard_error": found.standard_error,
        **clock.row(),
    }


def table(rows: Rows) -> str:
    """Ours and the printed one."""
    value, error, truth = TREAT_ALL
    lines = [["`polle::policy_eval`, as printed", f"{value:.4f}", f"{error:.4f}", "–"]]
    for row in rows:
        combined = float(np.hypot(row["standard_error"], error))
        lines.append(
            [
                row["method"],
                f"{row['value']:.4f}",
                f"{row['standard_error']:.4f}",
                f"{(row['value'] - value) / combined:+.2f}",
            ]
        )
    heading = (
        f"polle's two-stage example, 2,000 patients, always treat; truth {truth:g}"
    )
    columns = ["estimate", "value", "standard error"]
    columns.append("from the printed one, in combined errors")
    return heading + "\n\n" + markdown(columns, lines)
