"""λ from a confidence level: what is found, and how it is reported."""

from __future__ import annotations

import numpy as np
import pytest
from _logs import changed, estimator, ignore_convergence, random_mdp, uniform_log
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_stackelberg import Transitions
from sklearn_stackelberg._fitting.calibration import LAMS
from sklearn_stackelberg.metrics import doubly_robust_value

pytestmark = ignore_convergence


@pytest.fixture(scope="module")
def log() -> Transitions:
    return uniform_log(random_mdp(n_states=5, n_actions=2), 300)


def calibrated(**settings):
    return estimator(
        **dict(lam="calibrated", kernel="delta", bandwidth="median", ridge=0.0)
        | settings
    )


@pytest.fixture(scope="module")
def policy(log):
    return calibrated(initial_states="first").fit(log)


def test_the_bound_is_the_estimate_less_quantile_times_error(policy):
    bound = policy.lower_bound_
    assert policy.policy_value_ == bound.value
    error = np.hypot(bound.standard_error, bound.spread)
    assert_allclose(bound.value, bound.estimate - bound.quantile * error)
    assert_allclose(policy.pessimism_, bound.quantile * error)


def test_the_policy_is_that_of_its_weight_on_all_episodes(log, policy):
    assert policy.lam_ in LAMS
    other = calibrated(lam=policy.lam_, initial_states="first").fit(log)
    assert other.lower_bound_ is None
    assert_array_equal(other.policy_.weight, policy.policy_.weight)
    assert_array_equal(other.q_function_.weight, policy.q_function_.weight)


def test_the_same_log_gives_the_same_bound(log, policy):
    again = calibrated(initial_states="first").fit(log)
    assert again.policy_value_ == policy.policy_value_


def test_a_higher_level_is_a_lower_bound(log):
    levels = (0.5, 0.9, 0.99)
    bounds = [calibrated(confidence_level=p).fit(log).policy_value_ for p in levels]
    assert bounds[0] > bounds[1] > bounds[2]


@pytest.mark.parametrize("factor", [2.0**-7, 1024.0])
def test_rewards_in_other_units_give_the_same_policy(log, policy, factor):
    scaled = changed(log, reward=log.reward * factor)
    other = calibrated(initial_states="first").fit(scaled)
    assert other.lam_ == policy.lam_
    assert_allclose(other.policy_value_, policy.policy_value_ * factor, rtol=1e-6)
    assert_array_equal(other.predict(log.state), policy.predict(log.state))


def test_values_are_counted_as_metrics_do_whatever_the_policy_is_learned_for(log):
    policy = calibrated(initial_states="all").fit(log)
    everywhere = changed(log, is_initial=np.ones(len(log), dtype=bool))
    other = calibrated(initial_states="all").fit(everywhere)
    assert other.lower_bound_.estimate != policy.lower_bound_.estimate
    found = doubly_robust_value(policy, log, discount=0.9)
    apart = abs(found.value - policy.lower_bound_.estimate)
    assert apart < 2.0 * found.standard_error


def test_one_trajectory_has_a_bound_by_blocks(log):
    single = changed(log, episode=np.zeros(len(log), int), step=None, is_initial=None)
    bound = calibrated().fit(single).lower_bound_
    assert bound.lowest < bound.value < bound.estimate


@pytest.mark.parametrize("lam", ["0.95", "auto", 0.0, None])
def test_a_weight_that_is_none_is_refused(log, lam):
    with pytest.raises(ValueError, match="lam must be a positive finite number or"):
        calibrated(lam=lam).fit(log)


@pytest.mark.parametrize("level", [0, 1, 95, "0.95", None, True])
def test_a_level_that_is_none_is_refused(log, level):
    with pytest.raises(ValueError, match="confidence_level must be a number strictly"):
        calibrated(confidence_level=level).fit(log)


def test_two_episodes_of_different_actions_have_a_bound_that_says_nothing():
    state, action = np.zeros((40, 1)), np.repeat([0, 1], 20)
    log = Transitions(
        state, action, action, state, episode=action, step=np.tile(np.arange(20), 2)
    )
    bound = calibrated().fit(log).lower_bound_
    assert np.isfinite(bound.value)
    assert bound.value == bound.lowest
