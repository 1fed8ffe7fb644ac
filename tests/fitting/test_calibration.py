"""λ from a confidence level: what is found, and what its floor is made of."""

from __future__ import annotations

import numpy as np
import pytest
from _logs import changed, estimator, ignore_convergence, random_mdp, uniform_log
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from sklearn_stackelberg import Transitions
from sklearn_stackelberg._fitting.calibration import LAMS
from sklearn_stackelberg.metrics import fitted_q_value
from sklearn_stackelberg.metrics._holdout import fitted_q
from sklearn_stackelberg.metrics._lower_bound import (
    LowerBound,
    guarded_error,
    lower_bound,
)
from sklearn_stackelberg.metrics._prepare import prepare_evaluation

pytestmark = ignore_convergence


@pytest.fixture(scope="module")
def log() -> Transitions:
    return uniform_log(random_mdp(n_states=5, n_actions=2), 600)


def calibrated(**settings):
    return estimator(
        **dict(lam="calibrated", kernel="delta", bandwidth="median", ridge=0.0)
        | settings
    )


@pytest.fixture(scope="module")
def policy(log):
    return calibrated(initial_states="first").fit(log)


def test_the_bound_is_the_value_less_quantile_times_error(policy):
    floor = policy.lower_bound_
    assert policy.policy_value_ == floor.value
    assert_allclose(floor.value, floor.estimate - floor.quantile * floor.standard_error)
    assert_allclose(policy.pessimism_, floor.quantile * floor.standard_error)
    assert floor.quantile == norm.ppf(1 - 0.05 / len(LAMS))


def test_the_value_is_what_the_metric_says_of_the_policy(log, policy):
    estimate = fitted_q_value(policy, log, discount=0.9)
    assert_allclose(policy.lower_bound_.estimate, estimate.value, rtol=1e-9)
    assert policy.lower_bound_.standard_error >= estimate.standard_error * (1 - 1e-9)


def test_no_other_weight_has_a_higher_floor(log, policy):
    limits = []
    for lam in LAMS:
        other = calibrated(lam=lam, initial_states="first").fit(log)
        assert other.lower_bound_ is None
        assert other.lam_ == lam
        fit = fitted_q(prepare_evaluation(other, log), 0.9)
        limits.append(lower_bound(fit, 0.95, len(LAMS)).value)
        if lam == policy.lam_:
            assert_array_equal(other.policy_.weight, policy.policy_.weight)
            assert_array_equal(other.q_function_.weight, policy.q_function_.weight)
    assert policy.lam_ == LAMS[int(np.argmax(limits))]
    assert_allclose(policy.policy_value_, max(limits), rtol=1e-9)


def test_a_higher_level_is_a_lower_floor(log):
    levels = (0.5, 0.9, 0.99)
    floors = [calibrated(confidence_level=p).fit(log).policy_value_ for p in levels]
    assert floors[0] > floors[1] > floors[2]


@pytest.mark.parametrize("factor", [2.0**-7, 1024.0])
def test_rewards_in_other_units_give_the_same_policy(log, policy, factor):
    scaled = changed(log, reward=log.reward * factor)
    other = calibrated(initial_states="first").fit(scaled)
    assert other.lam_ == policy.lam_
    assert_allclose(other.policy_value_, policy.policy_value_ * factor, rtol=1e-6)
    assert_array_equal(other.predict(log.state), policy.predict(log.state))


def test_values_are_counted_from_every_state_where_that_is_asked_for(log):
    policy = calibrated(initial_states="all").fit(log)
    everywhere = changed(log, is_initial=np.ones(len(log), dtype=bool))
    estimate = fitted_q_value(policy, everywhere, discount=0.9)
    assert_allclose(policy.lower_bound_.estimate, estimate.value, rtol=1e-9)


def test_what_went_well_each_time_is_not_taken_for_certain():
    # Action 1 was tried twice and paid 1 both times; action 0 pays 0 or 1.
    action = np.r_[np.zeros(40, int), 1, 1]
    reward = np.r_[np.tile([0.0, 1.0], 20), 1.0, 1.0]
    state = np.zeros((42, 1))
    log = Transitions(
        state, action, reward, state, np.ones(42, bool), episode=np.arange(42)
    )

    class Lucky:
        classes_ = np.array([0, 1])

        def predict_proba(self, X):
            return np.tile([0.0, 1.0], (len(X), 1))

    fit = fitted_q(prepare_evaluation(Lucky(), log), 0.0)
    assert fit.standard_error < 0.05
    # Two draws as noisy as the log's rows are on average.
    spread = np.sqrt(np.mean(fit.left_out_residual**2))
    assert guarded_error(fit) > 0.95 * spread / np.sqrt(2)


def test_a_floor_is_no_lower_than_returns_can_be():
    assert LowerBound(1.0, 5.0, 2.0, lowest=0.0).value == 0.0
    assert LowerBound(1.0, 5.0, 2.0, lowest=0.0).pessimism == 1.0
    assert LowerBound(1.0, 0.25, 2.0, lowest=0.0).value == 0.5


def test_one_short_episode_has_no_floor(log):
    # From 50 rows on it has one, by blocks of time.
    single = changed(log[:40], episode=np.zeros(40, int), step=None, is_initial=None)
    with pytest.raises(ValueError, match="at least two episodes"):
        calibrated().fit(single)


@pytest.mark.parametrize("lam", ["0.95", "auto", 0.0, None])
def test_a_weight_that_is_none_is_refused(log, lam):
    with pytest.raises(ValueError, match="lam must be a positive finite number or"):
        calibrated(lam=lam).fit(log)


@pytest.mark.parametrize("level", [0, 1, 95, "0.95", None, True])
def test_a_level_that_is_none_is_refused(log, level):
    with pytest.raises(ValueError, match="confidence_level must be a number strictly"):
        calibrated(confidence_level=level).fit(log)
