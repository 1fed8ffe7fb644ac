"""What the fitted policy must equal: dynamic programming, least squares, itself."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from _logs import (
    EXACT,
    changed,
    counts_of,
    estimator,
    ignore_convergence,
    random_mdp,
    uniform_log,
    walk_log,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process.kernels import Matern
from sklearn.linear_model import LinearRegression

from sklearn_stackelberg.datasets import FiniteMDP, log_episodes
from sklearn_stackelberg.transitions._discounting import return_range

pytestmark = ignore_convergence

STATES = np.random.default_rng(7).normal(size=(200, 2))
# A narrow kernel, whose Gram matrix is well conditioned, and a short climb on a smooth
# game: rounding stays rounding.
NARROW = dict(bandwidth=0.3, beta=1.0, tol=1e-2)


def assert_same_policy(left, right, states=STATES, *, factor=1.0, tol=1e-8, order=None):
    """Same actions and probabilities; values times the factor, to `tol` relative."""
    probabilities, others = left.predict_proba(states), right.predict_proba(states)
    q_values, other_values = left.q_values(states), right.q_values(states)
    if order is not None:
        others, other_values = others[:, order], other_values[:, order]
    assert len(np.unique(probabilities.argmax(axis=1))) > 1  # else it could not differ
    assert_array_equal(others.argmax(axis=1), probabilities.argmax(axis=1))
    assert_allclose(others, probabilities, rtol=0, atol=tol)
    scale = np.abs(q_values).max()
    assert_allclose(other_values / factor, q_values, rtol=0, atol=tol * scale)
    assert_allclose(right.policy_value_ / factor, left.policy_value_, rtol=tol)


# ---------------------------------------------------------------- finite states


def finite_problem(name, encode):
    if name == "lake":
        lake = gymnasium.make("FrozenLake-v1", map_name="4x4")
        return FiniteMDP.from_gymnasium(lake, encode=encode)
    return random_mdp(int(name), encode=encode)


@pytest.mark.parametrize("name", ["0", "1", "2", "lake"])
def test_exact_limit_is_dynamic_programming_on_the_counts(name):
    discount, probabilities = 0.95, {}
    for kernel, encode in (("linear", "one-hot"), ("delta", "integer")):
        mdp = finite_problem(name, encode)
        log = uniform_log(mdp, 4000)
        counts = counts_of(log, mdp)
        logged = counts.visits.sum(axis=1) > 0  # all but where episodes end
        assert (counts.visits[logged] > 0).all()
        states = counts.states()[logged]
        policy = estimator(
            discount=discount, kernel=kernel, bandwidth="median", **EXACT
        )
        policy.fit(log)

        behaviour = np.zeros((mdp.n_states, mdp.n_actions))
        behaviour[:, 0] = 1.0
        behaviour[logged] = probabilities[kernel] = policy.predict_proba(states)
        expected = counts.q_values(behaviour, discount)[logged]
        assert_allclose(policy.q_values(states), expected, rtol=0, atol=1e-6)
        value = counts.policy_value(behaviour, discount)
        assert_allclose(policy.policy_value_, value, atol=1e-6)

        greedy = counts.policy_value(policy.predict(counts.states()), discount)
        best = counts.optimal_value(discount)
        assert best - greedy <= 1e-3 * abs(best)
        # Not every policy is within 0.1 %.
        uniform = np.full_like(behaviour, 1.0 / mdp.n_actions)
        assert counts.policy_value(uniform, discount) < best - 1e-2 * abs(best)
    assert_allclose(probabilities["linear"], probabilities["delta"], rtol=0, atol=1e-6)
    assert_array_equal(*(p.argmax(axis=1) for p in probabilities.values()))


def test_smaller_lam_is_more_pessimistic():
    mdp = random_mdp(0)
    log = uniform_log(mdp, 1000)
    values, losses = [], []
    for lam in (0.1, 1.0, 10.0, 1e4):
        policy = estimator(kernel="delta", bandwidth="median", ridge=0.0, lam=lam)
        policy.fit(log)
        values.append(policy.policy_value_)
        losses.append(policy.pessimism_)
    assert (np.diff(values) > 0).all()
    assert (np.diff(losses) < 0).all()
    assert losses[-1] > 0
    # What was given up is what lies between the value and the exact one.
    assert values[-1] <= counts_of(log, mdp).optimal_value(0.9)


# ---------------------------------------------------------------- no look ahead


@pytest.mark.parametrize("offset", [1.0, -1.0])
def test_without_discount_it_is_least_squares_of_the_rewards(offset):
    log = walk_log()
    states = np.column_stack([np.ones(len(log)), log.state])
    slopes = np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])[log.action]
    noise = np.random.default_rng(1).normal(scale=0.1, size=len(log))
    reward = 2 * offset + (slopes * log.state).sum(axis=1) + noise
    log = changed(log, state=states, next_state=states, reward=reward)
    settings = dict(kernel="linear", bandwidth="median", support=0.0) | EXACT
    policy = estimator(discount=0.0, **settings).fit(log)
    seen = np.column_stack([np.ones(len(STATES)), STATES])
    expected = np.empty((len(seen), 3))
    for action in range(3):
        rows = log.action == action
        model = LinearRegression(fit_intercept=False)
        model.fit(log.state[rows], log.reward[rows])
        expected[:, action] = model.predict(seen)
    assert_allclose(policy.q_values(seen), expected, rtol=0, atol=1e-6)
    # Hence a bandit: the action of the largest predicted reward.
    gap = np.diff(np.sort(expected, axis=1)[:, -2:], axis=1)[:, 0]
    clear = gap > 0.2
    assert clear.mean() > 0.5
    best = expected.argmax(axis=1)
    assert len(np.unique(best[clear])) > 1
    assert_array_equal(policy.predict(seen)[clear], best[clear])


def test_without_discount_it_is_kernel_least_squares_of_the_rewards():
    log = walk_log()
    # Directions that the states hardly have need a larger λ still.
    settings = EXACT | dict(lam=1e12, beta=1e-12, n_components=12)
    policy = estimator(discount=0.0, **settings).fit(log)
    assert_allclose(policy.anchor_, log.reward.mean())
    features, reward = policy.features_.transform, log.reward - policy.anchor_
    for action in range(3):
        rows = log.action == action
        model = LinearRegression(fit_intercept=False)
        model.fit(features(log.state[rows]), reward[rows])
        expected = policy.anchor_ + model.predict(features(STATES))
        assert_allclose(policy.q_values(STATES)[:, action], expected, atol=1e-6)


def test_without_discount_the_next_state_is_nothing():
    log = walk_log()
    left = estimator(discount=0.0).fit(log)
    other = changed(log, next_state=log.next_state[::-1] + 3.0)
    assert_same_policy(left, estimator(discount=0.0).fit(other), tol=1e-12)


# ---------------------------------------------------------------- units and names


@pytest.mark.parametrize("offset", [1.0, -1.0])
@pytest.mark.parametrize("initial_states", ["first", "all"])
def test_reward_units_change_values_alone(initial_states, offset):
    log = walk_log(offset=offset)
    settings = dict(initial_states=initial_states, **NARROW)
    left = estimator(**settings).fit(log)
    for factor, tol in ((1024.0, 1e-15), (1e12, 1e-8), (1e-12, 1e-8)):
        right = estimator(**settings).fit(changed(log, reward=log.reward * factor))
        assert_same_policy(left, right, factor=factor, tol=tol)


def test_actions_renamed_in_order():
    log = walk_log()
    left = estimator(**NARROW).fit(log)
    for names in (["a", "b", "c"], [-7, 0, 900], [0.25, 0.5, 4.0]):
        names = np.array(names)
        right = estimator(**NARROW).fit(changed(log, action=names[log.action]))
        assert_same_policy(left, right, tol=1e-15)
        assert right.classes_.dtype == names.dtype
        assert_array_equal(right.classes_, names)
        assert_array_equal(right.predict(STATES), names[left.predict(STATES)])


def test_actions_renamed_out_of_order():
    log = walk_log()
    names = np.array([2, 0, 1])
    left = estimator(**NARROW).fit(log)
    right = estimator(**NARROW).fit(changed(log, action=names[log.action]))
    assert_same_policy(left, right, tol=1e-6, order=names)


def test_boolean_actions_are_actions():
    log = walk_log(n_actions=2)
    left = estimator(**NARROW).fit(log)
    right = estimator(**NARROW).fit(changed(log, action=log.action == 1))
    assert_same_policy(left, right, tol=1e-15)
    assert right.predict(STATES).dtype == bool


def test_episodes_renumbered():
    log = walk_log()
    settings = dict(initial_states="first", **NARROW)
    left = estimator(**settings).fit(log)
    for episode in (900 - 7 * log.episode, [f"patient {e}" for e in log.episode]):
        renamed = changed(log, episode=episode, is_initial=None)
        assert_same_policy(left, estimator(**settings).fit(renamed), tol=1e-15)


@pytest.mark.parametrize("bandwidth", [0.3, "median"])
@pytest.mark.parametrize("initial_states", ["first", "all"])
def test_rows_permuted(initial_states, bandwidth):
    log = walk_log()
    # A forest of behaviour policies draws rows by their place: without it.
    settings = NARROW | dict(initial_states=initial_states, bandwidth=bandwidth)
    settings |= dict(support=0.0)
    left = estimator(**settings).fit(log)
    shuffled = log[np.random.default_rng(0).permutation(len(log))]
    right = estimator(**settings).fit(shuffled)
    # Sums of other orders round otherwise: within a wide kernel that is magnified.
    assert_same_policy(left, right, tol=1e-8 if bandwidth == 0.3 else 1e-4)


@pytest.mark.parametrize("bandwidth", [0.3, "median"])
def test_every_row_twice_is_twice_the_weight_of_the_error(bandwidth):
    # λ multiplies n E_K, and E_K is a mean: twice the rows at half the λ is the same.
    log = walk_log()
    # Mirror steps measure a quantile, which interpolates between few states.
    settings = NARROW | dict(mirror_steps=0, bandwidth=bandwidth, support=0.0)
    # Rows without episodes count in full, however often they are there.
    log = changed(log, episode=None, step=None)
    left = estimator(lam=10.0, **settings).fit(log)
    twice = log[np.repeat(np.arange(90), 2)]
    right = estimator(lam=5.0, **settings).fit(twice)
    assert_allclose(right.bandwidth_, left.bandwidth_, rtol=1e-12)
    assert_same_policy(left, right, tol=1e-8 if bandwidth == 0.3 else 1e-4)


@pytest.mark.parametrize("column", [0, 1])
def test_columns_in_other_units(column):
    log = walk_log()
    units = np.ones(2)
    units[column] = 1024.0  # rounds nothing
    scaled = changed(log, state=log.state * units, next_state=log.next_state * units)
    left = estimator(bandwidth="median").fit(log)
    right = estimator(bandwidth="median").fit(scaled)
    assert_allclose(right.bandwidth_, left.bandwidth_ * units, rtol=1e-12)
    assert_array_equal(right.predict(STATES * units), left.predict(STATES))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kernel", ["rbf", "laplacian", Matern([1.0, 1.0, 2e3])])
def test_a_large_column_changes_no_action(kernel, dtype):
    log, rng = walk_log(), np.random.default_rng(3)
    seconds = np.round(7200 * rng.random((len(log), 1)))  # of two hours
    state, after = (
        np.hstack([np.round(1024 * s) / 1024, seconds])
        for s in (log.state, log.next_state)
    )
    # Mirror steps alone: L-BFGS would make rounding grow.
    settings = dict(kernel=kernel, bandwidth="median", dtype=dtype, max_iter=0)
    settings |= dict(n_components=50, beta=1.0)

    def actions_and_score(units, offset):
        moved = [s * units + offset for s in (state, after)]
        moved = changed(log, state=moved[0], next_state=moved[1])
        policy = estimator(**settings).fit(moved)
        return policy.predict(moved), policy.score(moved)

    actions, score = actions_and_score(np.ones(3), np.zeros(3))
    cases = [(np.ones(3), np.array([2.0**30, 0.0, 1.7e9]))]
    if isinstance(kernel, str):  # a callable has its own length scale
        cases.append((np.array([1.0, 2.0**20, 1.0]), np.zeros(3)))
    for case in cases:
        found, other = actions_and_score(*case)
        assert_array_equal(found, actions)
        assert_allclose(other, score, rtol=1e-3 if dtype == "float32" else 1e-6)


# ---------------------------------------------------------------- precision


def noisy_controller(observation, rng):
    if rng.random() < 0.6:
        return int(rng.integers(2))
    return int(observation[2] + 0.2 * observation[3] > 0)


def test_single_precision_takes_the_same_actions():
    log = log_episodes("CartPole-v1", noisy_controller, 5000, random_state=4)
    states = log_episodes("CartPole-v1", noisy_controller, 2000, random_state=5)
    settings = dict(discount=0.99, lam=3.0, beta=50.0, ridge=0.0, bandwidth="median")
    settings |= dict(n_components=200, tol=1e-2)
    double = estimator(dtype="float64", **settings).fit(log)
    single = estimator(dtype="float32", **settings).fit(log)
    actions = double.predict(states)
    assert min(np.bincount(actions)) > 0.2 * len(actions)
    assert np.mean(single.predict(states) == actions) >= 0.99
    for policy, dtype in ((double, np.float64), (single, np.float32)):
        assert policy.predict_proba(states).dtype == dtype
        assert policy.q_values(states).dtype == dtype
        assert policy.features_.transform(states.state).dtype == dtype
        assert policy.classes_.dtype == log.action.dtype
        assert type(policy.policy_value_) is float


# ---------------------------------------------------------------- thin logs


@pytest.mark.parametrize("n", [2, 30])
def test_one_episode(n):
    log = changed(
        walk_log(n=n),
        action=np.arange(n) % 2,
        episode=np.zeros(n),
        step=np.arange(n),
        is_initial=None,
    )
    policy = estimator(initial_states="first").fit(log)
    first = log.state[:1]
    value = (policy.predict_proba(first) * policy.q_values(first)).sum()
    # No more and no less than such rewards add up to.
    assert_allclose(policy.policy_value_, np.clip(value, *return_range(log, 0.9)))


def test_constant_states_leave_the_best_action():
    log = walk_log(n=300)
    one = np.zeros((300, 1), dtype=int)
    log = changed(log, state=one, next_state=one)
    policy = estimator(bandwidth="median", **EXACT).fit(log)
    counts = FiniteMDP.from_counts(log)
    expected = counts.q_values(policy.predict_proba(one[:1]), 0.9)
    assert_allclose(policy.q_values(one[:1]), expected, atol=1e-6)
    assert (policy.predict(one) == counts.optimal_policy(0.9)).all()


def test_rewards_that_are_all_zero_are_worth_nothing():
    log = changed(walk_log(), reward=np.zeros(90))
    policy = estimator(**NARROW).fit(log)
    assert np.isfinite(policy.predict_proba(STATES)).all()
    # b'A⁻¹b is all that is left; the follower wants it negative, which no return is.
    assert policy.history_["value"][-1] < 0.0
    assert policy.policy_value_ == 0.0
    assert_allclose(policy.pessimism_, 0.0, atol=1e-12)
