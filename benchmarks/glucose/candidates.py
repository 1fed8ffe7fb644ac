"""Write what the example's candidates, and the logger, truly earn, beside the example.

python -m benchmarks.glucose.candidates [--days N]

Runs ``examples/plot_tune_without_simulator.py``, fits each candidate of its search to
its training days, and lets it loose on the simulated patient.
"""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from benchmarks.glucose.day import N_STEPS
from benchmarks.glucose.logger import DOSES, draw, logger_chances
from benchmarks.glucose.simulator import ROLLOUT_SEED, Days
from benchmarks.glucose.uva_padova import FloatArray

EXAMPLE = Path(__file__).parents[2] / "examples" / "plot_tune_without_simulator.py"
TABLE = EXAMPLE.with_name("glucose_true_values.csv")


class Logger:
    """Who made the log, as a policy."""

    classes_ = np.array(DOSES)

    def predict_proba(self, states: pd.DataFrame) -> FloatArray:
        """Return the chance of each dose, (n, 5)."""
        return logger_chances(states)


def rewards(policies: list[Any], n_days: int, greedy: bool) -> FloatArray:
    """Let policies live the same days, (n_policies, n_days, 48).

    Parameters
    ----------
    policies : list of fitted estimators
    n_days : int
    greedy : bool
        Whether to give the dose that is predicted, or to draw it.
    """
    days = Days(ROLLOUT_SEED, list(range(n_days)) * len(policies))
    rng = np.random.default_rng([ROLLOUT_SEED, n_days, 3])
    steps = []
    for _ in range(N_STEPS):
        states, uniform = days.observe(), rng.random(n_days)
        doses = []
        for number, policy in enumerate(policies):
            own = states.iloc[number * n_days : (number + 1) * n_days]
            if greedy:
                doses.append(policy.predict(own))
            else:
                place = draw(policy.predict_proba(own), uniform)
                doses.append(np.take(policy.classes_, place))
        steps.append(days.dose(np.concatenate(doses)))
    return np.stack(steps, axis=1).reshape(len(policies), n_days, N_STEPS)


def discounted(reward: FloatArray, discount: float) -> FloatArray:
    """Value of days, (..., 48) to (...), as if each next day were like it."""
    power = discount ** np.arange(N_STEPS)
    return reward @ power / (1 - discount**N_STEPS)


def candidates(n_days: int) -> pd.DataFrame:
    """Return a row for each candidate of the example's search, and the logger's."""
    TABLE.unlink(missing_ok=True)  # the example draws no truth that is out of date
    example = runpy.run_path(str(EXAMPLE))
    search, discount = example["search"], example["DISCOUNT"]
    grid = search.cv_results_["params"]
    policies = [
        clone(search.estimator)
        .set_params(**params)
        .fit(example["X_train"], example["y_train"])
        for params in grid
    ]
    lines = [{k.split("__")[-1]: v for k, v in params.items()} for params in grid]
    table = pd.DataFrame(lines)
    for name, greedy in (("truth", False), ("truth_greedy", True)):
        reward = rewards(policies, n_days, greedy)
        value = discounted(reward, discount)
        table[name] = value.mean(axis=1)
        table[f"{name}_error"] = value.std(axis=1, ddof=1) / np.sqrt(n_days)
    table["in_range"] = reward.mean(axis=(1, 2))  # of the predicted doses
    reward = rewards([Logger()], n_days, greedy=False)
    value = discounted(reward, discount)
    logger = {
        "truth": value.mean(),
        "truth_error": value.std(ddof=1) / np.sqrt(n_days),
        "in_range": reward.mean(),
    }
    return pd.concat([table, pd.DataFrame([logger])], ignore_index=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=200)
    found = candidates(parser.parse_args().days)
    found.to_csv(TABLE, index=False, float_format="%.6g", lineterminator="\n")
    print(found.to_string(index=False, float_format="%.4g"))
