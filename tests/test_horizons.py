"""A discount of 1 where every episode ends, and a policy for each stage."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from _logs import (
    changed,
    estimator,
    ignore_convergence,
    random_mdp,
    uniform_log,
    walk_log,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from sklearn_stackelberg import EpisodeKFold, StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.inspection import coverage_report
from sklearn_stackelberg.metrics import (
    bellman_error,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
    logged_value,
)
from sklearn_stackelberg.transitions._discounting import return_range


def ended_log(n=180):
    log = walk_log(n)
    return changed(log, terminated=log.step == 8)


def test_returns_of_a_trial_are_of_its_visits():
    log = ended_log()
    low, high = log.reward.min(), log.reward.max()
    n_steps = int(log.step.max()) + 1
    for discount in (0.0, 0.9, 1.0):
        length = (discount ** np.arange(n_steps)).sum()
        expected = min(low, length * low), max(high, length * high)
        assert_allclose(return_range(log, discount), expected)
    # What ends at other steps may go on for longer, and so may what was cut.
    early = changed(log, terminated=log.terminated | (np.arange(len(log)) == 4))
    cut = log[np.flatnonzero((log.episode != log.episode[0]) | (log.step < 5))]
    for other in (early, cut, log[log.episode == log.episode[0]]):
        assert return_range(other, 1.0)[1] > n_steps * high


def trial(n=300, seed=0):
    """Two stages with treatments of their own, and what they pay."""
    rng = np.random.default_rng(seed)
    x1 = rng.normal(size=(n, 2))
    a1 = rng.random(n) < expit(x1[:, 0])
    x2 = np.column_stack([0.5 * x1[:, 1] + a1, rng.normal(size=n)])
    x2[:, 0] += 0.5 * rng.normal(size=n)
    a2 = rng.random(n) < 0.5
    paid1 = a1 * x1[:, 0] + 0.3 * rng.normal(size=n)
    paid2 = (2 * a2 - 1) * (x2[:, 0] - x2[:, 1]) + 0.3 * rng.normal(size=n)
    return x1, a1, paid1, x2, a2, paid2


def staged(trial):
    x1, a1, paid1, x2, a2, paid2 = trial
    n = len(x1)
    log = Transitions(
        np.stack([x1, x2], axis=1).reshape(2 * n, 2),
        np.stack([np.where(a1, "b", "a"), np.where(a2, "d", "c")], axis=1).ravel(),
        np.stack([paid1, paid2], axis=1).ravel(),
        np.stack([x2, x2], axis=1).reshape(2 * n, 2),
        np.tile([False, True], n),
        episode=np.repeat(np.arange(n), 2),
        step=np.tile([1, 2], n),
    )
    return log.with_stage()


def least_squares(x, action, target):
    """Coefficients of an intercept and x for both actions, (3, 2)."""
    z = np.column_stack([np.ones(len(x)), x])
    arms = [np.linalg.lstsq(z[action == a], target[action == a])[0] for a in (0, 1)]
    return np.stack(arms, axis=1)


def q_learning(trial):
    """Q-functions of both stages by least squares, as callables of x."""
    x1, a1, paid1, x2, a2, paid2 = trial
    w2 = least_squares(x2, a2, paid2)
    q2 = lambda x: np.column_stack([np.ones(len(x)), x]) @ w2  # noqa: E731
    w1 = least_squares(x1, a1, paid1 + q2(x2).max(axis=1))
    return lambda x: np.column_stack([np.ones(len(x)), x]) @ w1, q2


LIMIT = {
    "q_function": "linear",
    "policy": "linear",
    "discount": 1.0,
    "initial_states": "first",
    "lam": 1e7,
    "beta": 1e-4,
    "ridge": 0.0,
    "support": 0,
    "mirror_steps": 1500,
    "max_iter": 0,
}


@ignore_convergence
@pytest.mark.parametrize("seed", range(2))
def test_the_limit_is_q_learning_by_stages(seed):
    given = trial(seed=seed)
    q1, q2 = q_learning(given)
    log = staged(given)
    policy = estimator(**LIMIT).fit(log)
    assert policy.classes_.tolist() == [*"abcd"]
    found = policy.q_values(log.state)
    x1, x2 = given[0], given[3]
    assert_allclose(found[1::2, 2:], q2(x2), atol=1e-4)
    # A softmax is not quite the largest of what is nearly equal.
    assert_allclose(found[::2, :2], q1(x1), atol=5e-3)
    best = policy.predict(log)
    assert_array_equal(best[1::2], np.array([*"cd"])[q2(x2).argmax(axis=1)])
    far = np.abs(np.diff(q1(x1), axis=1)[:, 0]) > 0.02
    assert_array_equal(best[::2][far], np.array([*"ab"])[q1(x1).argmax(axis=1)][far])


def test_no_treatment_of_another_stage_is_taken():
    log = staged(trial())
    assert log.state.shape == (600, 3)
    assert log.available_actions.tolist() == [*"abcd"]
    assert_array_equal(log.available[:2], [[1, 1, 0, 0], [0, 0, 1, 1]])
    assert_array_equal(log.next_available[0], [0, 0, 1, 1])
    policy = StackelbergPolicyEstimator(discount=1.0, random_state=0).fit(log)
    new = np.random.default_rng(1).normal(size=(50, 2)) * 5
    for stage, own in ((1, {"a", "b"}), (2, {"c", "d"})):
        states = np.column_stack([new, np.full(50, stage)])
        assert {*policy.predict(states).tolist()} <= own
        assert {*policy.sample(states, random_state=0).tolist()} <= own
    again = pickle.loads(pickle.dumps(log))
    assert_array_equal(again.available_rule(again.state), log.available)


def test_stages_are_columns_of_tables_and_of_logs_without_steps():
    log = walk_log(frame=True).with_stage("visit")
    assert [*log.state.columns] == [*log.next_state.columns] == ["x", "y", "visit"]
    assert_array_equal(log.state["visit"], log.step)
    assert_array_equal(log.next_state["visit"], log.step + ~log.terminated)
    # Every action at every stage: nothing to say.
    assert log.available is None
    with pytest.raises(ValueError, match="have a column 'visit' already"):
        log.with_stage("visit")
    plain = changed(walk_log(), step=None).with_stage()
    assert_array_equal(plain.state[:, -1], np.arange(90) % 9)


@ignore_convergence
def test_episodes_that_do_not_end_are_refused():
    log = ended_log()
    fitted = estimator(mirror_steps=2, max_iter=0).fit(log)
    cut = changed(log, terminated=log.terminated & (log.episode != 3))
    words = r"discount=1.0 needs every episode to end, and the last row of the episodes"
    with pytest.raises(ValueError, match=words + " 3 is not terminated"):
        estimator(discount=1.0).fit(cut)
    for estimate in (
        lambda: logged_value(cut, discount=1.0),
        lambda: fitted_q_value(fitted, cut, discount=1.0),
        lambda: coverage_report(fitted, cut, discount=1.0),
    ):
        with pytest.raises(ValueError, match=words):
            estimate()
    rows = Transitions(*[getattr(log, name) for name in LEAST])
    with pytest.raises(ValueError, match=r"and rows 0, 1, 2, .* is not terminated"):
        estimator(discount=1.0).fit(rows)


LEAST = ("state", "action", "reward", "next_state", "terminated")


@ignore_convergence
@pytest.mark.usefixtures("full_fits")
@pytest.mark.filterwarnings("ignore:The importance weights:UserWarning")
def test_a_discount_of_1_is_where_discounts_lead():
    log = ended_log()
    settings = {"mirror_steps": 20, "max_iter": 0}
    at, near = (
        estimator(discount=discount, **settings).fit(log)
        for discount in (1.0, 1 - 1e-9)
    )
    found = [fitted.q_values(log.state) for fitted in (at, near)]
    assert_allclose(*found, rtol=1e-4, atol=1e-6 * np.abs(found[0]).max())
    for name in ("policy_value_", "pessimism_", "anchor_", "reward_scale_"):
        assert_allclose(getattr(at, name), getattr(near, name), rtol=1e-4)
    for metric in (
        fitted_q_value,
        doubly_robust_value,
        importance_sampling_value,
        bellman_error,
    ):
        one, other = (metric(at, log, discount=g) for g in (1.0, 1 - 1e-9))
        assert_allclose(one.value, other.value, rtol=1e-4)
        assert_allclose(one.standard_error, other.standard_error, rtol=1e-3)
    one, other = (logged_value(log, discount=g) for g in (1.0, 1 - 1e-9))
    assert_allclose(one.value, log.reward.sum() / 20)
    assert_allclose(other.value, one.value, rtol=1e-5)
    assert_allclose(at.score(log), near.score(log), rtol=1e-4)


class Table:
    classes_ = np.arange(3)

    def predict_proba(self, states):
        return self.probabilities[np.asarray(states, dtype=int)[:, 0]]


@pytest.mark.parametrize("seed", range(2))
def test_without_a_discount_evaluation_is_exact_on_the_counts(seed):
    mdp = random_mdp(seed)
    log = uniform_log(mdp, 4000, seed)
    log = log[np.isin(log.episode, log.episode[log.terminated])]
    policy = Table()
    rng = np.random.default_rng(seed)
    policy.probabilities = rng.dirichlet(np.ones(3), size=mdp.n_states)
    counted = mdp.from_counts(log, n_states=mdp.n_states, n_actions=mdp.n_actions)
    expected = counted.policy_value(policy.probabilities, discount=1.0)
    found = fitted_q_value(policy, log, discount=1.0, kernel="delta", ridge=1e-7)
    assert_allclose(found.value, expected, rtol=1e-5)


@ignore_convergence
def test_calibration_works_without_a_discount():
    log = staged(trial(n=60))
    policy = estimator(
        discount=1.0,
        lam="calibrated",
        q_function="linear",
        policy="linear",
        initial_states="first",
        ridge=1e-3,
    ).fit(log)
    value = logged_value(log, discount=1.0).value
    assert value < policy.policy_value_ < 3.0
    train, test = next(EpisodeKFold(3).split(log))
    assert np.isfinite(policy.fit(log[train]).score(log[test]))
