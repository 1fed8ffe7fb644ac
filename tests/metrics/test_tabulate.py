"""Estimates on a log in a file are those of the log in memory, and hold none of it."""

from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import pandas as pd
import pytest

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg import _stored_rows as stored_rows
from sklearn_stackelberg._problem import rows as problem_rows
from sklearn_stackelberg._stored_rows import ComputedRows
from sklearn_stackelberg.inspection import coverage_report
from sklearn_stackelberg.kernels import _nystroem as nystroem
from sklearn_stackelberg.metrics import _data as data
from sklearn_stackelberg.metrics import (
    bellman_error,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
    logged_value,
    value_difference,
)
from sklearn_stackelberg.metrics._tabulate import tabulate_policy

ROLES = {
    "action": "dose",
    "reward": "gain",
    "episode": "patient",
    "step": "visit",
    "terminated": "died",
}


def make_table(n_episodes=60, length=5, n_columns=2, seed=0, continuous=False):
    """Episodes of one length, half of which end for good."""
    rng = np.random.default_rng(seed)
    n = n_episodes * length
    x = rng.normal(size=(n, n_columns))
    dose = rng.uniform(-1, 1, size=n) if continuous else rng.integers(3, size=n)
    table = pd.DataFrame(x, columns=[f"x{j}" for j in range(n_columns)])
    visit, patient = np.arange(n) % length, np.arange(n) // length
    gain = x[:, 0] * dose + rng.normal(size=n)
    died = (visit == length - 1) & (patient % 2 == 0)
    own = {"dose": dose, "gain": gain, "patient": patient, "visit": visit}
    return table.assign(**own, died=died)


def read(table, in_file=True, **roles):
    roles = {**ROLES, "state": [c for c in table if c.startswith("x")], **roles}
    if not in_file:
        return Transitions.from_frame(table, **roles)
    return Transitions.from_blocks(
        [table[:170], table[170:]] if len(table) > 170 else [table], **roles
    )


def both(table):
    return read(table), read(table, in_file=False)


def fit(table, **settings):
    given = {"discount": 0.8, "n_components": 20, "random_state": 0} | settings
    given |= {"deterministic": False}
    return StackelbergPolicyEstimator(**given).fit(read(table, in_file=False))


@pytest.fixture
def short_batches(monkeypatch):
    monkeypatch.setattr(stored_rows, "_BATCH_BYTES", 2**10)
    monkeypatch.setattr(problem_rows, "HELD_BYTES", 0)


def by_importance(policy, log, **given):
    return doubly_robust_value(policy, log, ratios="importance", **given)


def of_logger(policy, log, **given):
    return logged_value(log, **given)


def of_a_difference(policy, log, **given):
    return value_difference(policy, log, **given)


def of_q(policy, log, **given):
    return bellman_error(policy, log, q_function=policy.q_values, **given)


ESTIMATES = [
    fitted_q_value,
    doubly_robust_value,
    by_importance,
    importance_sampling_value,
    of_logger,
    of_a_difference,
    of_q,
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("estimate", ESTIMATES, ids=lambda one: one.__name__)
def test_an_estimate_is_that_of_the_log_in_memory(estimate, short_batches):
    policy, table = fit(make_table()), make_table(seed=1)
    found, expected = (
        estimate(policy, read(table, in_file), discount=0.8)
        for in_file in (True, False)
    )
    for name in ("value", "standard_error"):
        figures = getattr(found, name), getattr(expected, name)
        assert figures[0] == pytest.approx(figures[1], rel=1e-10)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("estimate", [fitted_q_value, doubly_robust_value])
def test_an_estimate_of_doses_is_that_of_the_log_in_memory(estimate, short_batches):
    policy = fit(make_table(continuous=True))
    table = make_table(seed=1, continuous=True)
    found, expected = (
        estimate(policy, read(table, in_file), discount=0.8)
        for in_file in (True, False)
    )
    assert found.value == pytest.approx(expected.value, rel=1e-10)
    assert found.bias_bound == pytest.approx(expected.bias_bound, rel=1e-10)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_score_and_coverage_are_those_of_the_log_in_memory(short_batches):
    policy, table = fit(make_table()), make_table(seed=1)
    log, expected = read(table), read(table, in_file=False)
    assert policy.score(log) == pytest.approx(policy.score(expected), rel=1e-10)
    found, report = (
        coverage_report(policy, one, discount=0.8) for one in (log, expected)
    )
    np.testing.assert_allclose(found.ratio, report.ratio, rtol=1e-8)
    assert found.share_unseen == pytest.approx(report.share_unseen, rel=1e-10)
    names = [one.what for one in found.residuals.carried]
    assert sorted(names) == sorted(one.what for one in report.residuals.carried)


@pytest.mark.parametrize("in_file", [True, False])
def test_states_are_read_where_they_are_asked_for(in_file, short_batches):
    table = make_table()
    log = read(table, in_file)
    data = tabulate_policy(fit(table), log).by_steps(0.8)
    assert isinstance(data.states, ComputedRows)
    now = np.column_stack([np.asarray(log.state), log.step])
    after = np.column_stack([np.asarray(log.next_state), log.step + 1])
    goes_on = ~log.terminated
    np.testing.assert_array_equal(np.asarray(data.state), now)
    np.testing.assert_array_equal(np.asarray(data.next_state)[goes_on], after[goes_on])
    np.testing.assert_array_equal(data.state[log.terminated], now[log.terminated])
    np.testing.assert_array_equal(data.state[3:5, 1], now[3:5, 1])


N_ROWS, N_COLUMNS = 8_000, 100


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_estimate_holds_no_table(monkeypatch):
    # Of short logs, what is held at once is no small share.
    monkeypatch.setattr(stored_rows, "_BATCH_BYTES", 2**19)
    monkeypatch.setattr(nystroem, "_BATCH_BYTES", 2**19)
    monkeypatch.setattr(data, "BATCH_ROWS", 256)
    monkeypatch.setattr(problem_rows, "HELD_BYTES", 0)
    settings = {"linear_terms": False, "support": 0.0, "n_components": 10}
    table = make_table(60, n_columns=N_COLUMNS)
    policy = fit(table, bandwidth="median", kernel="rbf", **settings)
    log = read(make_table(N_ROWS // 5, n_columns=N_COLUMNS, seed=1))
    in_double = 8 * N_ROWS * N_COLUMNS
    few = {"discount": 0.8, "n_components": 10, "kernel": "linear"}
    estimates = {
        "score": policy.score,
        "predict": policy.predict,
        "q_values": policy.q_values,
        # Errors have a forest of 2,000 rows, and lengths the distances of 1,000.
        "fitted": partial(fitted_q_value, policy, standard_error=None, **few),
    }
    for name, estimate in estimates.items():
        tracemalloc.start()
        estimate(log)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 0.6 * in_double, name
