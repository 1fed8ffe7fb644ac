"""One trajectory falls into blocks of time, and errors are counted over them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import t as student_t
from sklearn.dummy import DummyClassifier

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.metrics import (
    bellman_error,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
)
from sklearn_stackelberg.metrics._data import time_blocks
from sklearn_stackelberg.metrics._holdout import fitted_q
from sklearn_stackelberg.metrics._prepare import prepare_evaluation

DISCOUNT = 0.9


class Steering:
    """Mostly pushes the state back to zero."""

    classes_ = np.array([0, 1])

    def predict_proba(self, states):
        up = 1.0 / (1.0 + np.exp(2.0 * np.asarray(states)[:, 0]))
        return np.stack([1.0 - up, up], axis=1)


def walk(n, rng, policy=None, m=1):
    """States (n + 1, m) of AR(1) processes that actions push, actions and rewards."""
    state, action, reward = np.zeros((n + 1, m)), *np.zeros((2, n, m))
    for t in range(n):
        up = 0.5 if policy is None else policy.predict_proba(state[t][:, None])[:, 1]
        action[t] = rng.random(m) < up
        push, noise = 0.3 * (2 * action[t] - 1), rng.normal(size=(2, m)) / 2.0
        state[t + 1] = 0.9 * state[t] + push + noise[0]
        reward[t] = noise[1] - np.abs(state[t + 1])
    return state, action, reward


def trajectory(n, seed, **fields):
    state, action, reward = walk(n, np.random.default_rng(seed))
    given = {"episode": np.zeros(n), "step": np.arange(n)} | fields
    return Transitions(
        state[:-1], action[:, 0].astype(int), reward[:, 0], state[1:], **given
    )


def test_one_trajectory_is_cut_into_about_root_n_blocks():
    log = trajectory(400, 0)
    data = prepare_evaluation(Steering(), log)
    assert data.n_pieces == 20
    assert_array_equal(data.pieces, np.repeat(np.arange(20), 20))
    assert data.counted == "20 blocks of 20 consecutive rows"
    # In time, whatever the order of the rows.
    order = np.random.default_rng(0).permutation(400)
    shuffled = prepare_evaluation(Steering(), log[order])
    assert_array_equal(shuffled.pieces, data.pieces[order])
    assert (
        prepare_evaluation(Steering(), log[:395]).counted
        == "20 blocks of 19 to 20 consecutive rows"
    )


def test_episodes_and_rows_stay_pieces_unless_a_length_is_asked_for():
    log = trajectory(400, 0, episode=np.repeat([3, 1], 200))
    data = prepare_evaluation(Steering(), log)
    assert_array_equal(data.pieces, data.episode)
    assert data.counted == "2 episodes"
    blocks = replace(data, block_length=50)
    assert_array_equal(blocks.pieces, np.repeat(np.arange(8), 50))
    assert blocks.counted == "8 blocks of 50 consecutive rows"
    bare = trajectory(60, 0, episode=None, step=None)
    data = prepare_evaluation(Steering(), bare)
    assert data.n_pieces == 60
    assert replace(data, block_length=20).n_pieces == 3
    assert_array_equal(time_blocks(log[195:203], lambda _: 2), [0, 0, 0, 1, 1, 2, 2, 3])


@pytest.mark.parametrize("metric", [fitted_q_value, doubly_robust_value, bellman_error])
def test_a_log_of_one_episode_has_a_standard_error(metric):
    log, given = trajectory(300, 1), {}
    if metric is bellman_error:
        given = {"q_function": lambda states: np.zeros((len(states), 2))}
    found = metric(Steering(), log, discount=DISCOUNT, **given)
    assert found.standard_error > 0
    assert found.n_episodes == 18
    assert "18 blocks of 16 to 17 consecutive rows" in found.error_method


def test_a_short_one_and_weights_of_one_have_none_and_say_so():
    found = fitted_q_value(Steering(), trajectory(40, 1), discount=DISCOUNT)
    assert np.isnan(found.standard_error)
    assert found.error_method == "1 episode alone has none"
    found = importance_sampling_value(Steering(), trajectory(60, 1), discount=0.1)
    assert np.isnan(found.standard_error)
    assert "fitted_q_value has one" in found.error_method


def test_blocks_left_out_are_what_leaving_them_out_changes():
    """As episodes: the residual of a block by a fit without it, exactly."""
    data = prepare_evaluation(Steering(), trajectory(150, 2))
    fit = fitted_q(data, DISCOUNT)
    own = np.flatnonzero(data.pieces == 4)
    rest = np.flatnonzero(data.pieces != 4)
    weight = data.weight.copy()
    weight[own] = 0.0
    system = fit.system.linear_system(weight)
    w = system.solve().reshape(fit.weight.shape)
    v, q = fit.system.features.values(w, fit.system.anchor)
    without = data.td_residual(v, q, DISCOUNT)
    assert_allclose(fit.left_out_residual[own], without[own], rtol=1e-6)
    assert len(rest) + len(own) == 150


def test_lam_can_be_calibrated_on_one_trajectory():
    policy = StackelbergPolicyEstimator(discount=DISCOUNT, lam="calibrated")
    assert policy.fit(trajectory(200, 3)).lower_bound_.standard_error > 0
    with pytest.raises(ValueError, match="at least two episodes"):
        policy.fit(trajectory(30, 3))


@pytest.mark.slow
@pytest.mark.parametrize("metric", [fitted_q_value, doubly_robust_value])
def test_intervals_of_one_trajectory_hold_the_truth(metric):
    rng = np.random.default_rng(0)
    _, _, reward = walk(100, rng, Steering(), m=5_000)
    truth = (DISCOUNT ** np.arange(100) @ reward).mean()
    held = 0
    for seed in range(15):
        found = metric(Steering(), trajectory(400, seed), discount=DISCOUNT)
        low, high = found.confidence_interval
        held += low <= truth <= high
        quantile = student_t.ppf(0.975, found.degrees_of_freedom)
        reach = quantile * found.standard_error + found.bias_bound
        assert_allclose(high - found.value, reach)
    # 93 to 97 % of 200; of 15 at 93 %, fewer than 11 are one in two hundred.
    assert held >= 11


def test_a_constant_policy_on_a_trajectory_needs_no_more_than_its_rows():
    log = trajectory(100, 4)
    dummy = DummyClassifier(strategy="prior").fit(log.state, log.action)
    assert np.isfinite(fitted_q_value(dummy, log, discount=0.5).standard_error)
