"""The glucose simulator seen at random times: durations against a regular grid.

A patient is seen at midnight and then at each half hour with probability one in four.
A dose is held until the next time. What is logged is the state seen, the dose, and the
share of the time until then in range. Policies are let loose at random times as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.glucose.day import N_STEPS
from benchmarks.glucose.logger import DOSES, draw, logger_chances
from benchmarks.glucose.simulator import Days
from benchmarks.report import Clock, Rows, markdown
from benchmarks.trust.statistics import Quietly
from sklearn_stackelberg import OnStates, StackelbergPolicyEstimator, Transitions

N_LOGS, N_DAYS, MEAN_GAP = 5, 150, 4.0
# About a day ahead, in half hours.
DISCOUNT = 0.98
# Seed 1 was used to choose the gap and the discount.
FIRST_SEED, TRUE_SEED, TRUE_DAYS = 100, 20_000, 150
STATE = ["hour", "glucose", "trend", "insulin_on_board", "carbs_on_board"]

Decide = Callable[[pd.DataFrame], NDArray[Any]]


def live(decide: Decide, seed: int, n_days: int) -> tuple[pd.DataFrame, float]:
    """What is seen of some days, closing rows included, and the mean time in range."""
    days, rng = Days(seed, range(n_days)), np.random.default_rng([seed, n_days, 7])
    seen = rng.random((n_days, N_STEPS)) < 1.0 / MEAN_GAP
    seen[:, 0] = True
    dose, parts = np.zeros(n_days), []
    in_range = np.zeros((n_days, N_STEPS + 1))
    for step in range(N_STEPS + 1):
        states = days.observe()
        at = np.flatnonzero(seen[:, step]) if step < N_STEPS else np.arange(n_days)
        part = states.iloc[at].assign(day=at, step=step, dose=np.nan)
        if step < N_STEPS:
            dose[at] = part["dose"] = decide(states.iloc[at])
            in_range[:, step] = days.dose(dose)
        parts.append(part)
    table = pd.concat(parts).sort_values(["day", "step"]).reset_index(drop=True)
    # What came in until the next row of the day.
    before = np.cumsum(np.pad(in_range, ((0, 0), (1, 0))), axis=1)
    until = before[table["day"], table["step"]]
    table["in_range"] = np.append(np.diff(until), 0.0)
    return table, float(in_range[:, :-1].mean())


def with_durations(table: pd.DataFrame) -> Transitions:
    """A row for each time at which the patient was seen."""
    times = pd.Timestamp("2000-01-01") + pd.to_timedelta(30 * table["step"], "min")
    log = Transitions.from_frame(
        table.assign(time=times),
        state=STATE,
        action="dose",
        reward="in_range",
        episode="day",
        step="time",
        step_unit="30min",
    )
    return log.with_spread_rewards(DISCOUNT)


def on_a_grid(table: pd.DataFrame) -> Transitions:
    """A row for each half hour: what was seen last, and an even share of the reward."""
    lasts = -table["step"].diff(-1).where(table["dose"].notna(), -1.0).to_numpy()
    lasts = lasts.astype(int)
    row = np.repeat(np.arange(len(table)), lasts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lasts) - lasts, lasts)
    grid = table.iloc[row].reset_index(drop=True)
    grid["in_range"] /= lasts[row]
    grid["step"] += place
    # The clock goes on, whether or not anyone looks.
    grid["hour"] = grid["step"] % N_STEPS / 2.0
    return _by_step(grid)


def as_steps(table: pd.DataFrame) -> Transitions:
    """A row for each time seen, as if all were equally long."""
    return _by_step(table.assign(step=table.groupby("day").cumcount()))


def _by_step(table: pd.DataFrame) -> Transitions:
    roles = {"action": "dose", "reward": "in_range", "episode": "day", "step": "step"}
    return Transitions.from_frame(table, state=STATE, **roles)


METHODS: Mapping[str, Callable[[pd.DataFrame], Transitions]] = {
    "durations": with_durations,
    "grid of half hours, carried forward": on_a_grid,
    "times ignored": as_steps,
}


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every method on every log; returns the table. There are no peers."""
    for seed in range(FIRST_SEED, FIRST_SEED + (seeds or N_LOGS)):
        for method in METHODS if side != "peers" else ():
            key = {"problem": "glucose", "seed": seed, "method": method, "setting": {}}
            rows.once(key, partial(evaluate, method, seed))
    return table(rows)


def logged(seed: int) -> tuple[pd.DataFrame, float]:
    """A log, and the time in range of the logger on the days of the truth."""
    rng = np.random.default_rng([seed, 3])

    def decide(states: pd.DataFrame) -> NDArray[Any]:
        return np.take(DOSES, draw(logger_chances(states), rng.random(len(states))))

    return live(decide, seed, N_DAYS)[0], live(decide, TRUE_SEED, TRUE_DAYS)[1]


def evaluate(method: str, seed: int) -> dict[str, Any]:
    """What a policy learned in one way earns."""
    table, before = logged(seed)
    log = METHODS[method](table)
    policy = make_pipeline(
        OnStates(make_pipeline(SimpleImputer(), StandardScaler())),
        StackelbergPolicyEstimator(discount=DISCOUNT, random_state=0),
    )
    with Quietly(), Clock() as clock:
        policy.fit(log)
    earned = live(lambda s: policy.predict(s[STATE]), TRUE_SEED, TRUE_DAYS)[1]
    return {"value": earned, "logger": before, "n_rows": len(log), **clock.row()}


def table(rows: Rows) -> str:
    """Time in range, and what is gained over the logger."""
    by_method: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_method.setdefault(row["method"], []).append(row)
    gains = {
        method: np.array([row["value"] - row["logger"] for row in found])
        for method, found in by_method.items()
    }
    least = gains.get("grid of half hours, carried forward", np.array([np.nan]))
    lines = []
    for method, found in by_method.items():
        gain = gains[method]
        lines.append(
            [
                method,
                len(found),
                f"{np.mean([row['n_rows'] for row in found]):,.0f}",
                f"{np.mean([row['value'] for row in found]):.3f}",
                f"{gain.mean():+.3f} ({gain.min():+.3f} to {gain.max():+.3f})",
                f"{gain.mean() / least.mean():.2f}",
                f"{np.median([row['cpu_seconds'] for row in found]):.1f}",
            ]
        )
    columns = ["learned from", "logs", "rows", "time in range"]
    columns += ["gain over the logger", "of the grid's gain", "seconds"]
    heading = (
        f"Glucose at random times, {N_DAYS} days, a gap of {MEAN_GAP:g} half hours"
    )
    return heading + "\n\n" + markdown(columns, lines)
