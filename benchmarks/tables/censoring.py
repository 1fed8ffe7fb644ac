"""Coverage of 95 % intervals where who is lost depends on the state, with weights.

The sicker a patient is, the likelier is the loss before the outcome of a visit is
known: those whose first visits are known are healthier than those who began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.report import Clock, Rows, markdown
from benchmarks.trust.statistics import Quietly, column, share_text
from sklearn_stackelberg.metrics import (
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
    logged_value,
)
from sklearn_stackelberg.preprocessing import censoring_weights

Floats = NDArray[np.float64]

N_LOGS = 100
N_PATIENTS = 400
DISCOUNT = 0.9
# Logs from here on: smaller seeds were looked at while the table was written.
_FIRST_SEED = 10_000
# Patients that the true values are counted over: to 0.003.
_N_TRUTH = 400_000
# A patient is cured, or dies, at each visit with this probability.
_END = 0.25

WEIGHTED, STABLE, PLAIN, WHOLE = "weights", "stabilised", "none", "nobody lost"
WEIGHTS_OF = (WEIGHTED, STABLE, PLAIN, WHOLE)


class Target:
    """Treats the sicker ones, most of the time."""

    classes_ = np.array([0, 1])

    def predict_proba(self, states: Floats) -> Floats:
        treats = 1.0 / (1.0 + np.exp(-2.0 * np.asarray(states)[:, 0]))
        return np.column_stack([1.0 - treats, treats])


class Logger(Target):
    """Treats nearly as often as not."""

    def predict_proba(self, states: Floats) -> Floats:
        treats = 1.0 / (1.0 + np.exp(-0.5 * np.asarray(states)[:, 0]))
        return np.column_stack([1.0 - treats, treats])


TARGET, LOGGER = Target(), Logger()


def _visit(
    x: Floats, action: NDArray[np.intp], rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Rewards and next states: severity falls by treatment, which costs a little."""
    after = 0.8 * x + rng.normal(scale=0.4, size=x.shape)
    after[:, 0] -= 0.6 * action
    reward = -after[:, 0] - 0.3 * action + 0.2 * rng.normal(size=len(x))
    return reward, after


def loss(x: Floats) -> Floats:
    """Probability that a visit's outcome is never known."""
    return 1.0 / (1.0 + np.exp(1.6 - 1.2 * x[:, 0]))


@lru_cache
def true_value(policy: Target) -> float:
    """By simulation of patients that nobody loses."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(_N_TRUTH, 2))
    total, weight = 0.0, np.full(_N_TRUTH, 1.0 / _N_TRUTH)
    while len(x) > 100:
        action = (rng.random(len(x)) < policy.predict_proba(x)[:, 1]).astype(np.intp)
        reward, after = _visit(x, action, rng)
        total += float(weight @ reward)
        going_on = rng.random(len(x)) >= _END
        x, weight = after[going_on], DISCOUNT * weight[going_on]
    return total


def visits(
    seed: int, n_patients: int = N_PATIENTS, lossy: bool = True
) -> tuple[Floats, pd.DataFrame]:
    """States and a decision table of the visits of patients, some lost on the way."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_patients, 2))
    who, parts, states, step = np.arange(n_patients), [], [], 0
    while len(who):
        chance = LOGGER.predict_proba(x)
        action = (rng.random(len(who)) < chance[:, 1]).astype(np.intp)
        reward, after = _visit(x, action, rng)
        lost = (rng.random(len(who)) < loss(x)) & lossy
        ended = (rng.random(len(who)) < _END) & ~lost
        table = {
            "episode": who,
            "step": step,
            "action": action,
            "reward": np.where(lost, np.nan, reward),
            "terminated": ended,
            "censored": lost,
            "propensity": chance[np.arange(len(who)), action],
        }
        states.append(x)
        parts.append(pd.DataFrame(table))
        going_on = ~lost & ~ended
        x, who, step = after[going_on], who[going_on], step + 1
    return np.concatenate(states), pd.concat(parts, ignore_index=True)


Estimate = Callable[..., Any]
ESTIMATES: Mapping[str, Estimate] = {
    "fitted-Q": fitted_q_value,
    "doubly robust": doubly_robust_value,
    "importance": importance_sampling_value,
    "logger": lambda policy, *args, **kwargs: logged_value(*args, **kwargs),
}


def evaluate(seed: int, patients: str, n_patients: int = N_PATIENTS) -> dict[str, Any]:
    """All estimates on one log."""
    X, y = visits(seed, n_patients, lossy=patients != WHOLE)
    weight = None
    if patients in (WEIGHTED, STABLE):
        weight = censoring_weights(X, y, stabilized=patients == STABLE)
    found, seconds = {}, {}
    for name, estimate in ESTIMATES.items():
        with Quietly(), Clock() as clock:
            one = estimate(TARGET, X, y, discount=DISCOUNT, sample_weight=weight)
        low, high = one.confidence_interval
        truth = true_value(LOGGER if name == "logger" else TARGET)
        found[name] = {"value": one.value, "low": low, "high": high, "truth": truth}
        found[name]["standard_error"] = one.standard_error
        seconds[name] = clock.cpu_seconds
    return {"found": found, "cpu_seconds": seconds}


def run(
    rows: Rows,
    side: str = "both",
    seeds: int | None = None,
    *,
    problems: str | None = None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """All estimates on every log, with weights, without, and where nobody is lost."""
    for seed in range(seeds or N_LOGS):
        if side == "peers" or seed % part[1] != part[0]:
            continue
        for patients in WEIGHTS_OF:
            key = {"problem": "visits", "seed": seed, "setting": {}}
            compute = partial(evaluate, _FIRST_SEED + seed, patients)
            rows.once(key | {"method": patients}, compute)
    return table(rows)


def table(rows: Rows) -> str:
    """One line an estimate and a way to weigh."""
    lines = []
    for name in ESTIMATES:
        for patients in WEIGHTS_OF:
            mine = [row["found"][name] for row in rows if row["method"] == patients]
            if not mine:
                continue
            truth, low, high, value, error = (
                column(mine, key)
                for key in ("truth", "low", "high", "value", "standard_error")
            )
            cells = [share_text((low <= truth) & (truth <= high))]
            cells += [f"{truth[0]:.3f}", f"{(value - truth).mean():+.3f}"]
            cells += [f"{(high - low).mean():.3f}"]
            cells += [f"{value.std(ddof=1) / error.mean():.2f}"]
            lines.append([name, patients, str(len(mine)), *cells])
    headings = ["estimate", "weights", "logs"]
    headings += ["intervals that hold the truth (Wilson's 95 %)", "truth", "bias"]
    headings += ["mean width", "spread of the values over standard error"]
    return markdown(headings, lines)
