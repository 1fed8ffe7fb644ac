"""Rows that last: γ^d of the next value, whatever learns from them or evaluates."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from _logs import (
    changed,
    dose_log,
    estimator,
    ignore_convergence,
    ignore_few_episodes,
    walk_log,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import ExtraTreesRegressor

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.inspection import coverage_report
from sklearn_stackelberg.metrics import (
    bellman_error,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
    logged_value,
)
from sklearn_stackelberg.transitions._discounting import return_range, row_discount

pytestmark = ignore_few_episodes

LASTS = np.array([[1, 2], [3, 1], [2, 4]])  # of a decision, by state and action


class Forced:
    """A policy of decision states 0, 1, 2; inside a gap what was begun goes on."""

    classes_ = np.array([0, 1])
    chosen = np.array([[0.3, 0.7], [0.8, 0.2], [0.5, 0.5]])

    def predict_proba(self, states):
        code = np.asarray(states)[:, 0].astype(int)
        decided = self.chosen[np.minimum(code, 2)]
        return np.where((code < 3)[:, None], decided, np.eye(2)[code % 2])


def decisions(n_episodes=150, seed=0):
    """Episodes of four decisions: state, action, wage, next state, (E, 4) each."""
    rng = np.random.default_rng(seed)
    state = rng.integers(3, size=(n_episodes, 5))
    action = rng.integers(2, size=(n_episodes, 4))
    for t in range(4):
        moved = (state[:, t] + action[:, t] + (rng.random(n_episodes) < 0.3)) % 3
        state[:, t + 1] = moved
    wage = 0.5 * state[:, :4] - action[:, :4] + rng.normal(size=(n_episodes, 4))
    return state[:, :-1], action, wage, state[:, 1:]


def both_logs(seed=0, propensity=False):
    """One row a decision; and a row each unit of time, its place in the gap a state.

    Episodes end after one to four decisions: where all ended after the fourth, values
    would be measured from those of the step, of which the two logs have others.
    """
    state, action, wage, after = decisions(seed=seed)
    lasts = LASTS[state, action]
    e, t = np.indices(state.shape)
    end = np.random.default_rng(seed).integers(4, size=(len(state), 1))
    flat = [
        part[t <= end] for part in (state, action, wage, after, lasts, e, t, t == end)
    ]
    s, a, w, after, d, e, t, ends = flat
    common = {"terminated": ends, "episode": e, "step": t}
    if propensity:
        common["propensity"] = np.full(len(s), 0.5)
    long = Transitions(
        s[:, None], a, w * d, after[:, None], duration=d.astype(float), **common
    )
    # Codes from 4 on, even where action 0 is going on: a state, an action, a place.
    inside = 10 + 20 * s[:, None] + 2 * np.arange(4) + a[:, None]
    row = np.repeat(np.arange(len(s)), d)
    place = np.arange(len(row)) - np.repeat(np.cumsum(d) - d, d)
    now = np.where(place == 0, s[row], inside[row, np.maximum(place - 1, 0)])
    last = place == d[row] - 1
    then = np.where(last, after[row], inside[row, np.minimum(place, 3)])
    masks = [np.where(code < 3, True, code % 2 == [[0], [1]]).T for code in (now, then)]
    order = np.cumsum(np.ones(len(row))) - 1
    first = np.searchsorted(e[row], e[row])
    fields = {} if not propensity else {"propensity": np.where(place == 0, 0.5, 1.0)}
    short = Transitions(
        now[:, None],
        a[row],
        w[row],
        then[:, None],
        last & ends[row],
        episode=e[row],
        step=(order - first).astype(int),
        available=masks[0],
        next_available=masks[1],
        **fields,
    )
    return long, short


# A row that is repeated has the noise of the one before.
@pytest.mark.filterwarnings("ignore::sklearn_stackelberg.metrics.HiddenStateWarning")
@pytest.mark.parametrize("discount", [0.0, 0.5, 0.9, 1.0])
def test_a_row_that_lasts_is_that_row_repeated(discount):
    long, short = both_logs()
    long = long.with_spread_rewards(discount)
    value = logged_value(short, discount=discount).value
    assert_allclose(logged_value(long, discount=discount).value, value, rtol=1e-12)
    values = [
        fitted_q_value(
            Forced(), log, discount=discount, kernel="delta", ridge=1e-9
        ).value
        for log in (long, short)
    ]
    assert_allclose(values[0], values[1], rtol=1e-6, atol=1e-8)
    long, short = both_logs(propensity=True)
    long = long.with_spread_rewards(discount)
    settings = {"discount": discount, "weighted": False}
    one, other = (
        importance_sampling_value(Forced(), log, **settings).value
        for log in (long, short)
    )
    assert_allclose(one, other, rtol=1e-12)


@ignore_convergence
@pytest.mark.parametrize("discount", [0.5, 0.9, 1.0])
def test_a_policy_learned_from_rows_that_last_is_that_of_rows_repeated(discount):
    long, short = both_logs()
    long = long.with_spread_rewards(discount)
    states = np.arange(3)[:, None]
    exact = {
        "kernel": "delta",
        "lam": 1e7,
        "beta": 1e-6,
        "ridge": 0.0,
        "support": 0,
        "bandwidth": "median",
    }
    exact |= {"initial_states": "first", "mirror_steps": 200, "max_iter": 0}
    one, other = (
        estimator(discount=discount, **exact).fit(log) for log in (long, short)
    )
    every = np.ones((3, 2), dtype=bool)
    assert_array_equal(one.predict(states), other.predict(states, available=every))
    found, repeated = (fitted.q_values(states) for fitted in (one, other))
    assert_allclose(found, repeated, atol=1e-3)
    assert np.ptp(found) > 0.5


def test_the_residuals_inside_a_gap_add_up_to_that_of_the_row():
    """Σ γ^j δ_j = r + γ^k V(s') − Q(s, a), whatever Q is."""
    rng = np.random.default_rng(3)
    gamma, k = 0.8, 5
    q, wage = rng.normal(size=k + 1), rng.normal(size=k)
    steps = wage + gamma * q[1:] - q[:-1]
    power = gamma ** np.arange(k)
    assert_allclose(power @ steps, power @ wage + gamma**k * q[-1] - q[0])


def with_ones(log):
    return changed(log, duration=np.ones(len(log)))


@ignore_convergence
@pytest.mark.parametrize("make", [walk_log, dose_log], ids=["discrete", "continuous"])
def test_durations_of_one_are_none(make):
    log = make()
    one, other = estimator().fit(log), estimator().fit(with_ones(log))
    for name in ("policy_value_", "pessimism_", "anchor_", "reward_scale_"):
        assert getattr(one, name) == getattr(other, name)
    assert_array_equal(one.q_values(log.state), other.q_values(log.state))
    assert_array_equal(one.predict(log.state), other.predict(log.state))
    assert one.score(log) == other.score(with_ones(log))


@ignore_convergence
@pytest.mark.filterwarnings("ignore:The importance weights:UserWarning")
@pytest.mark.filterwarnings("ignore:Trees that solve:UserWarning")
def test_durations_of_one_are_none_in_every_estimate():
    log = walk_log(180)
    log = changed(log, terminated=(log.step == 8) & (log.episode % 2 == 0))
    policy = estimator(mirror_steps=2, max_iter=0).fit(log)
    ones = with_ones(log)
    trees = ExtraTreesRegressor(5, random_state=0)
    estimates = [
        lambda log: fitted_q_value(policy, log, discount=0.9),
        lambda log: fitted_q_value(
            policy, log, discount=0.9, regressor=trees, n_iterations=3
        ),
        lambda log: importance_sampling_value(policy, log, discount=0.9, clip=50.0),
        lambda log: doubly_robust_value(policy, log, discount=0.9),
        lambda log: doubly_robust_value(
            policy, log, discount=0.9, ratios="importance", clip=50.0
        ),
        lambda log: logged_value(log, discount=0.9),
        lambda log: bellman_error(policy, log, discount=0.9),
    ]
    for estimate in estimates:
        one, other = estimate(log), estimate(ones)
        assert one.value == other.value, one
        assert one.standard_error == other.standard_error
        assert_array_equal(one.contributions, other.contributions)
    reports = [coverage_report(policy, each, discount=0.9) for each in (log, ones)]
    assert reports[0].share_followed == reports[1].share_followed


@ignore_convergence
@pytest.mark.filterwarnings("ignore:The importance weights:UserWarning")
@pytest.mark.filterwarnings("ignore:Trees that solve:UserWarning")
def test_the_unit_of_time_is_nothing_but_a_unit():
    log = walk_log(180)
    rng = np.random.default_rng(0)
    d = rng.uniform(0.3, 3.0, len(log))
    ends = (log.step == 8) & (log.episode % 2 == 0)
    hours = changed(log, duration=d, terminated=ends)
    minutes = changed(hours, duration=60 * d)
    gamma = 0.9, 0.9 ** (1 / 60)
    fits = [
        estimator(discount=g, mirror_steps=10, max_iter=0).fit(each)
        for g, each in zip(gamma, (hours, minutes), strict=True)
    ]
    assert_allclose(fits[0].policy_value_, fits[1].policy_value_, rtol=1e-8)
    q = [fitted.q_values(log.state) for fitted in fits]
    assert_allclose(q[0], q[1], rtol=1e-7, atol=1e-8)
    for metric in (
        fitted_q_value,
        doubly_robust_value,
        importance_sampling_value,
        bellman_error,
    ):
        one, other = (
            metric(fits[0], each, discount=g)
            for g, each in zip(gamma, (hours, minutes), strict=True)
        )
        assert_allclose(one.value, other.value, rtol=1e-7)
        assert_allclose(one.standard_error, other.standard_error, rtol=1e-6)
    one, other = (
        logged_value(each, discount=g)
        for g, each in zip(gamma, (hours, minutes), strict=True)
    )
    assert_allclose(one.value, other.value, rtol=1e-9)
    assert_allclose(return_range(hours, gamma[0]), return_range(minutes, gamma[1]))


@ignore_convergence
@pytest.mark.usefixtures("short_response")
@pytest.mark.parametrize("solver", ["closed_form", "stochastic"])
def test_both_solvers_take_durations(solver):
    log = walk_log()
    log = changed(log, duration=1.0 + (log.action == 0) * 5.0)
    settings = {"lam": 1.0, "solver": solver, "n_components": 10}
    if solver == "stochastic":
        settings |= {"mirror_steps": 5, "max_iter": 15, "batch_size": None}
        settings |= {"leader_learning_rate": 0.05, "learning_rate": 0.05}
    plain, lasting = (
        estimator(**settings).fit(each).predict_proba(log.state)[:, 0].mean()
        for each in (changed(log, duration=None), log)
    )
    # All rewards are about 1: waiting for the next ones costs.
    assert lasting < plain


def test_rewards_in_a_gap_come_in_evenly_if_so_said():
    log = changed(walk_log(), duration=np.full(90, 3.0))
    spread = log.with_spread_rewards(0.5)
    assert_allclose(spread.reward, log.reward * (1 + 0.5 + 0.25) / 3)
    assert_array_equal(log.with_spread_rewards(1.0).reward, log.reward)
    assert_array_equal(walk_log().with_spread_rewards(0.5).reward, log.reward)


def test_the_unit_of_returns_is_that_of_an_average_row():
    log = walk_log()
    assert row_discount(log, 0.9) == 0.9
    assert row_discount(with_ones(log), 0.9) == 0.9
    twos = changed(log, duration=np.full(90, 2.0))
    assert_allclose(row_discount(twos, 0.9), 0.81)
    # As γ goes to 1, a hundred average episodes.
    ends = log.terminated.mean()
    assert_allclose(1 - row_discount(log, 1.0), ends / 100)
    assert row_discount(log, 1 - ends / 99) == 1 - ends / 99


# ---------------------------------------------------------------- times as steps


def glucose_table(pd):
    seen = pd.to_datetime(
        ["2024-01-01 08:00", "2024-01-01 08:20", "2024-01-01 09:00", "2024-01-02 00:00"]
    )
    table = pd.DataFrame({"seen": [*seen, seen[0], seen[1]], "patient": [*"aaaabb"]})
    table["level"] = [100.0, 140.0, 120.0, 90.0, 80.0, 85.0]
    table["dose"] = ["low", "high", "low", None, "low", "low"]
    return table.assign(gain=[0.0, 1.0, 2.0, np.nan, 3.0, 4.0])


ROLES = {"state": "level", "action": "dose", "reward": "gain", "episode": "patient"}


@pytest.mark.parametrize(
    "unit", ["5min", " 300 s", timedelta(minutes=5), np.timedelta64(5, "m")], ids=str
)
def test_times_are_linked_to_the_next_with_their_difference(unit):
    pd = pytest.importorskip("pandas")
    table = glucose_table(pd).sample(frac=1.0, random_state=1)
    log = Transitions.from_frame(table, **ROLES, step="seen", step_unit=unit)
    order = np.lexsort((log.step, log.episode))
    assert_array_equal(log.duration[order], [4.0, 8.0, 15 * 12.0, 4.0])
    assert_array_equal(log.step[order], [0, 1, 2, 0])
    assert log.next_state["level"].to_numpy()[order].tolist() == [140, 120, 90, 85]
    assert log.n_left_out == 1  # the last of b, of which nothing follows


def test_numbers_are_times_as_well():
    pd = pytest.importorskip("pandas")
    table = glucose_table(pd).assign(seen=[0, 3, 10, 31.5, 7, 8])
    log = Transitions.from_frame(table, **ROLES, step="seen", step_unit=7)
    assert_allclose(log.duration, np.array([3, 7, 21.5, 1]) / 7)
    # Steps that are no times find no next row here, but one.
    with pytest.raises(ValueError, match="not a whole number"):
        Transitions.from_frame(table, **ROLES, step="seen")


def test_times_with_a_zone_and_days():
    pd = pytest.importorskip("pandas")
    table = glucose_table(pd)
    log = Transitions.from_frame(table, **ROLES, step="seen", step_unit="1h")
    zoned = table.assign(seen=table["seen"].dt.tz_localize("Europe/Berlin"))
    other = Transitions.from_frame(zoned, **ROLES, step="seen", step_unit="1h")
    assert_array_equal(log.duration, other.duration)
    days = table[:3].assign(seen=[day.date() for day in table["seen"][[0, 3, 0]]])
    days.loc[2, "patient"] = "c"
    log = Transitions.from_frame(days, **ROLES, step="seen", step_unit="D")
    assert log.duration.tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        ({}, {"step_unit": "5 parsecs"}, "is no span of time above 0"),
        ({}, {"step_unit": "0min"}, "is no span of time above 0"),
        ({}, {"step_unit": 5}, "is no span of time above 0"),
        ({}, {"step_unit": "1h", "step": None}, "was given without step="),
        ({}, {"step_unit": "1h", "duration": "level"}, "was given with duration="),
        ({"seen": [0, 1, 2, 3, 0, 1]}, {"step_unit": "1h"}, "a number above 0 was ex"),
        ({"seen": [0, 1, 1, 3, 0, 1]}, {"step_unit": 1}, "repeats the time .* row 2"),
        ({"seen": [*"abcdab"]}, {"step_unit": "1h"}, "times .* or numbers were expe"),
    ],
)
def test_times_that_say_nothing_are_refused(change, settings, words):
    pd = pytest.importorskip("pandas")
    table = glucose_table(pd).assign(**change)
    with pytest.raises(ValueError, match=words):
        Transitions.from_frame(table, **ROLES, **{"step": "seen"} | settings)
