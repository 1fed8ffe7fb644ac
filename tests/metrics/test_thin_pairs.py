"""Pairs of a state and an action that have few rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.metrics import doubly_robust_value, fitted_q_value
from sklearn_stackelberg.metrics._estimate import spread
from sklearn_stackelberg.metrics._thin_pairs import thin_pairs_variance, widened


def test_variance_is_that_of_a_pair_drawn_to_its_state():
    # One state, two rows of action 0 without a spread, six of action 1 with one.
    action = np.array([0, 0, 1, 1, 1, 1, 1, 1])
    target = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    residual, mass = np.full(8, 0.5), np.array([0.5, 0.5] + [0.0] * 6)
    state = np.zeros((8, 1))
    found = thin_pairs_variance(mass, target, residual, state, action)
    of_state = (8 * target.var() + 2 * 0.25) / 10
    # Half of what two rows and two of the prior say, for a pair of two rows.
    assert_allclose(found, 1.0**2 * (2 * of_state / 4) / 2)


def test_nothing_is_added_where_a_pair_varies_as_its_state_does():
    action, target = np.repeat([0, 1], 4), np.tile([0.0, 1.0], 4)
    args = np.full(8, 0.125), target, np.full(8, 0.5), np.zeros((8, 1)), action
    assert thin_pairs_variance(*args) == 0.0


def test_order_of_rows_and_names_of_states_change_nothing():
    rng = np.random.default_rng(0)
    state, action = rng.integers(0, 4, (60, 1)).astype(float), rng.integers(0, 3, 60)
    mass, target, residual = rng.random((3, 60))
    order = rng.permutation(60)
    first = thin_pairs_variance(mass, target, residual, state, action)
    fields = (mass, target, residual, 7.0 - 2.0 * state, action)
    assert_allclose(thin_pairs_variance(*(f[order] for f in fields)), first)
    assert first > 0.0


def test_rows_in_plenty_need_nothing():
    rng = np.random.default_rng(0)
    few, many = 10, 10_000

    def share(n):
        action, target = np.tile([0, 1], n), rng.normal(size=2 * n)
        mass = np.where(action == 0, 1.0 / n, 0.0)
        args = target, np.ones(2 * n), np.zeros((2 * n, 1)), action
        return thin_pairs_variance(mass, *args) * n

    assert share(many) < 0.01 < np.mean([share(few) for _ in range(20)])


def test_widened_contributions_have_the_variance_added():
    psi = np.array([0.3, -0.1, 0.4, 0.0])
    wider = widened(psi, 0.25)
    assert_allclose(spread(wider) ** 2, spread(psi) ** 2 + 0.25)
    assert_allclose(wider.mean(), psi.mean())
    # Nothing to scale: the error has what they cannot show.
    assert_allclose(widened(np.ones(3), 0.25), 1.0)


class Always:
    """A policy of one action."""

    classes_ = np.array([0, 1])

    def __init__(self, action: int) -> None:
        self.action = action

    def predict_proba(self, states):
        return np.tile(np.eye(2)[self.action], (len(states), 1))


@pytest.mark.parametrize("metric", [fitted_q_value, doubly_robust_value])
def test_two_rows_of_one_outcome_are_not_certain(metric):
    # Action 1 was taken twice and failed twice; action 0 succeeds half of the times.
    action = np.array([0] * 38 + [1] * 2)
    reward = np.array([0.0, 1.0] * 19 + [0.0] * 2)
    order = np.random.default_rng(0).permutation(40)
    state, ended = np.zeros((40, 1)), np.ones(40, dtype=bool)
    log = Transitions(state, action[order], reward[order], state, terminated=ended)
    found = metric(Always(1), log, discount=0.0)
    assert found.standard_error > 0.2
    assert found.confidence_interval[1] > 0.4
    # Of the other action there are rows enough.
    other = metric(Always(0), log, discount=0.0)
    assert_allclose(other.standard_error, 0.5 / np.sqrt(38), rtol=0.1)
