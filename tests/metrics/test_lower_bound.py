"""The lower bound of a policy's value: its parts, and that it holds."""

from __future__ import annotations

import numpy as np
import pytest
from _logs import random_mdp, uniform_log
from numpy.testing import assert_allclose

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.metrics._lower_bound import LowerBound, highest_lower_bound


class Constant:
    """A policy that takes one action everywhere."""

    classes_ = np.array([0, 1])

    def __init__(self, action: int) -> None:
        self.action = action

    def predict_proba(self, X):
        return np.tile(np.eye(2)[self.action], (len(X), 1))


@pytest.fixture(scope="module")
def log() -> Transitions:
    return uniform_log(random_mdp(n_states=5, n_actions=2), 600)


def bound_of(log, *policies, level=0.95, discount=0.9):
    """Of policies that are the same, whatever rows they are learned from."""
    lams = range(len(policies))
    first = policies[0]
    return highest_lower_bound(
        log, discount, lambda rows: policies, first, level, lams
    )[1]


def test_a_bound_is_no_lower_than_returns_can_be():
    assert LowerBound(1.0, 5.0, 0.0, 2.0, lowest=0.0).value == 0.0
    assert LowerBound(1.0, 5.0, 0.0, 2.0, lowest=0.0).pessimism == 1.0
    assert LowerBound(1.0, 0.25, 0.0, 2.0, lowest=0.0).value == 0.5


def test_both_errors_count():
    assert_allclose(LowerBound(1.0, 3.0, 4.0, 2.0).value, 1.0 - 2.0 * 5.0)


def test_policies_that_do_not_depend_on_the_episodes_have_no_spread(log):
    bound = bound_of(log, Constant(1))
    assert_allclose(bound.spread, 0.0, atol=1e-12)


def test_policies_that_differ_by_fold_have_a_spread(log):
    def learn(rows):
        return [Constant(int(rows[0] == 0))]

    _, bound = highest_lower_bound(log, 0.9, learn, Constant(0), 0.95, [1.0])
    assert bound.spread > 0.0


def test_more_candidates_and_a_higher_level_are_lower_bounds(log):
    one = bound_of(log, Constant(1))
    two = bound_of(log, Constant(1), Constant(0))
    assert two.quantile > one.quantile
    assert two.value >= bound_of(log, Constant(0)).value - 0.5 * one.standard_error
    higher = bound_of(log, Constant(1), level=0.99)
    assert higher.value < one.value


@pytest.mark.parametrize("factor", [-3.0, 100.0])
def test_a_constant_added_to_rewards_moves_the_bound_alone(log, factor):
    one = bound_of(log, Constant(1))
    moved = log[:]
    moved.terminated = np.zeros(len(log), dtype=bool)
    still = bound_of(moved, Constant(1))
    moved = moved[:]
    moved.reward = moved.reward + factor
    other = bound_of(moved, Constant(1))
    assert_allclose(other.estimate - still.estimate, factor / 0.1, rtol=1e-6)
    assert_allclose(other.standard_error, still.standard_error, rtol=1e-6)
    assert one.quantile == pytest.approx(still.quantile, rel=0.1)


def test_learned_on_noise_the_bound_is_under_zero():
    # A policy that picks what went best on its rows: fresh rows say that it is worth 0.
    held = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        state, action = np.zeros((60, 1)), rng.integers(2, size=60)
        reward = rng.normal(size=60)
        log = Transitions(state, action, reward, state, np.ones(60, dtype=bool))

        def learn(rows, action=action, reward=reward):
            means = [reward[rows][action[rows] == a].mean() for a in (0, 1)]
            return [Constant(int(np.argmax(means)))]

        _, bound = highest_lower_bound(log, 0.0, learn, Constant(0), 0.95, [1.0])
        held.append(bound.value <= 0.0)
    # Of 40 logs at 95 %, fewer than 35 hold in one of two hundred runs.
    assert np.sum(held) >= 35
