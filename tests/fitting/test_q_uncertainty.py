"""Standard deviations of Q in single states, and the sets that they lead to."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import t as student_t

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.datasets import FiniteMDP
from sklearn_stackelberg.solvers import ClosedForm

FAST = dict(solver=ClosedForm(tol=1e-3), random_state=0)


def true_q(x):
    return np.stack([np.sin(x[:, 0]) / 2, 0.6 * x[:, 1], 0.4 - 0.3 * x[:, 0]], axis=1)


def bandit(seed, n=300):
    rng = np.random.default_rng(seed)
    x, action = rng.normal(size=(n, 2)), rng.integers(3, size=n)
    reward = true_q(x)[np.arange(n), action] + rng.normal(size=n) / 2
    return Transitions(x, action, reward, x, np.ones(n))


def estimator(**settings):
    return StackelbergPolicyEstimator(**{"discount": 0.0} | FAST | settings)


@pytest.fixture(scope="module")
def fitted():
    return estimator().fit(bandit(0))


def test_intervals_of_q_hold_the_truth_and_sets_the_best_action():
    x = np.random.default_rng(9).normal(size=(300, 2))
    truth, held, best = true_q(x), [], []
    for seed in range(8):
        policy = estimator().fit(bandit(seed))
        q, std = policy.q_values(x, return_std=True)
        held.append(np.abs(q - truth) <= student_t.ppf(0.975, 299) * std)
        best.append(policy.predict_set(x)[np.arange(300), truth.argmax(axis=1)])
    # Over 100 logs 93 % and 99 %.
    assert 0.88 < np.mean(held) < 0.98
    assert np.mean(best) > 0.93


def test_of_equal_states_it_is_the_sampling_error_of_means():
    rng = np.random.default_rng(0)
    x, action = rng.integers(2, size=(4_000, 1)), rng.integers(2, size=4_000)
    reward = rng.normal(size=4_000) * (1 + 2 * action) + 5 * x[:, 0]
    log = Transitions(x, action, reward, x, np.ones(4_000))
    policy = estimator().fit(log)
    q, std = policy.q_values([[0], [1]], return_std=True)
    for s in range(2):
        for a in range(2):
            own = reward[(x[:, 0] == s) & (action == a)]
            assert_allclose(q[s, a], own.mean(), atol=0.02)
            assert_allclose(std[s, a], own.std() / np.sqrt(len(own)), rtol=0.02)
    # Of a state that was never logged, as far as Q differs in the log.
    _, far = policy.q_values([[7]], return_std=True)
    assert_allclose(far, policy.evaluation_.uncertainty.spread)


def test_it_grows_away_from_the_log_to_the_spread_of_q(fitted):
    way = np.stack([np.linspace(0, 40, 9), np.zeros(9)], axis=1)
    _, std = fitted.q_values(way, return_std=True)
    assert (std[1:] > 2.0 * std[0]).all()
    spread = fitted.evaluation_.uncertainty.spread
    assert_allclose(std[-1], spread, rtol=1e-3)
    # Nothing is decided there; all supported actions are in the set.
    assert fitted.predict_set([[40.0, 0.0]]).sum() >= 2


def test_an_action_given_picks_its_column(fitted):
    x, action = np.zeros((3, 2)), [2, 0, 1]
    q, std = fitted.q_values(x, return_std=True)
    one, its = fitted.q_values(x, action, return_std=True)
    assert_allclose(one, q[[0, 1, 2], action])
    assert_allclose(its, std[[0, 1, 2], action])
    assert fitted.q_values(x).shape == (3, 3)


def test_sets_hold_the_best_and_grow_with_the_level(fitted):
    x = np.random.default_rng(1).normal(size=(200, 2))
    sizes = []
    for level in (0.01, 0.5, 0.95, 0.9999):
        found = fitted.predict_set(x, confidence_level=level)
        assert found.dtype == bool
        assert found.any(axis=1).all()
        sizes.append(found.sum(axis=1))
    assert all((a <= b).all() for a, b in pairwise(sizes))
    again = pickle.loads(pickle.dumps(fitted)).predict_set(x)
    assert (again == fitted.predict_set(x)).all()


def test_actions_that_cannot_be_taken_are_in_no_set(fitted):
    x = np.zeros((2, 2))
    mask = np.array([[True, False, False], [False, True, True]])
    found = fitted.predict_set(x, available=mask)
    assert not found[~mask].any()
    assert found[0, 0]
    with pytest.raises(ValueError, match="confidence_level"):
        fitted.predict_set(x, confidence_level=1.5)


def test_of_a_chain_of_states_it_holds_the_value_of_the_policy():
    """The noise of later rewards is in it, and what the ridge takes off."""
    transition = np.full((4, 2, 4), 0.05)
    for s in range(4):
        transition[s, 0, (s - 1) % 4] += 0.8
        transition[s, 1, (s + 1) % 4] += 0.8
    process = FiniteMDP(transition, np.eye(4)[:, :2], np.full(4, 0.25))
    states, held = np.arange(4)[:, None], []
    for seed in range(20):
        log = process.sample(np.full((4, 2), 0.5), 800, seed, horizon=20)
        policy = estimator(discount=0.8).fit(log)
        truth = process.q_values(policy.predict_proba(states), discount=0.8)
        q, std = policy.q_values(states, return_std=True)
        held.append(np.abs(q - truth) <= student_t.ppf(0.975, 39) * std)
    assert np.mean(held) > 0.85


def test_continuous_actions_have_a_range():
    rng = np.random.default_rng(0)
    x, dose = rng.normal(size=(400, 1)), rng.uniform(-2, 2, size=400)
    reward = -((dose - x[:, 0]) ** 2) + 0.1 * rng.normal(size=400)
    log = Transitions(x, dose, reward, x, np.ones(400))
    policy = estimator().fit(log)
    low, high = policy.predict_interval([[0.0], [1.0]])
    best = policy.predict([[0.0], [1.0]])
    assert low.shape == high.shape == (2,)
    assert (low <= high).all()
    assert low[0] <= 0.5
    assert high[1] >= 0.5
    assert np.isfinite(best).all()
    q, std = policy.q_values([[0.0]], return_std=True)
    assert q.shape == std.shape == (1, len(policy.candidates_))
    one, its = policy.q_values([[0.0]], [policy.candidates_[3, 0]], return_std=True)
    assert_allclose([one[0], its[0]], [q[0, 3], std[0, 3]], rtol=1e-5)
    assert not hasattr(policy, "predict_set")
    gaussian = estimator(action_distribution="gaussian").fit(log)
    with pytest.raises(ValueError, match="no candidates to compare"):
        gaussian.predict_interval([[0.0]])
    assert gaussian.q_values([[0.0]], [0.5], return_std=True)[1] > 0


def test_one_short_episode_has_none():
    log = bandit(0, 30)
    one = Transitions(log.state, log.action, log.reward, log.state, episode=[0] * 30)
    policy = estimator().fit(one)
    with pytest.raises(ValueError, match="one short episode"):
        policy.predict_set(log)
