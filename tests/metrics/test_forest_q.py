"""Values by trees, and how much of their distance to the closed form is no chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from _logs import (
    changed,
    dose_log,
    estimator,
    ignore_convergence,
    walk_log,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.kernels._nystroem import LandmarkFeatures
from sklearn_stackelberg.metrics import (
    _forest_q,
    doubly_robust_value,
    fitted_q_value,
)
from sklearn_stackelberg.metrics._features import SpannedFeatures
from sklearn_stackelberg.metrics._fitted_q import FittedQSystem
from sklearn_stackelberg.metrics._forest_q import ForestQ, beyond_chance, disagreement
from sklearn_stackelberg.metrics._holdout import fitted_q
from sklearn_stackelberg.metrics._prepare import prepare_evaluation
from sklearn_stackelberg.metrics._settings import (
    QSettings,
    choose_system,
)

GAMMA = 0.9


class Mixed:
    """Takes each of three actions with a probability that the state moves."""

    classes_ = np.array([0, 1, 2])

    def predict_proba(self, states):
        share = 1.0 / (1.0 + np.exp(-np.asarray(states)[:, 0]))
        return np.column_stack([0.5 * share, 0.5 * share, 1.0 - share])


class Even:
    """Takes two of three actions, whatever the state."""

    classes_ = np.array([0, 1, 2])

    def predict_proba(self, states):
        return np.tile([0.5, 0.5, 0.0], (len(states), 1))


class Only(Even):
    """Takes the first of three actions."""

    def predict_proba(self, states):
        return np.tile([1.0, 0.0, 0.0], (len(states), 1))


class Always:
    classes_ = np.array([0, 1])

    def predict_proba(self, states):
        return np.tile([0.0, 1.0], (len(states), 1))


def forest(log, policy=None, discount=GAMMA):
    return ForestQ(prepare_evaluation(policy or Mixed(), log), discount)


def ended(log):
    """Half of the episodes are terminated."""
    last = np.append(log.episode[1:] != log.episode[:-1], True)
    return changed(log, terminated=last & (log.episode % 2 == 0))


def endless(n):
    return changed(walk_log(n), terminated=np.zeros(n))


def lonely_policy():
    """A policy that leads to where its log has few rows, and another such log."""
    log = ended(walk_log(180))
    return estimator(mirror_steps=2, max_iter=0).fit(log), log


# ------------------------------------------------------------------- identities


@pytest.mark.parametrize(
    "shape",
    [lambda log: changed(log, terminated=np.zeros(200)), ended],
    ids=["cut", "ended"],
)
def test_the_ratios_weigh_the_rewards_into_the_value(shape):
    found = forest(shape(walk_log(200)))
    assert_allclose(found.ratio @ found.data.reward, found.value, rtol=1e-4)
    # As often as there are steps: flow in is flow out.
    flow = found.ratio @ (1.0 - found.data.carried(GAMMA))
    assert_allclose(flow, 1.0, rtol=1e-4)
    assert (found.ratio >= -1e-6).all()


def test_equal_rewards_are_worth_what_they_add_up_to():
    log = endless(120)
    assert_allclose(forest(changed(log, reward=np.full(120, 2.0))).value, 20.0)


def test_what_is_never_logged_is_worth_the_mean_reward():
    log = endless(120)
    few = changed(log, action=np.zeros(120, dtype=int))

    data = replace(
        prepare_evaluation(Only(), few),
        probabilities=np.tile([0.5, 0.5, 0.0], (len(forest(log).data.states), 1)),
    )
    mean = data.mean_return(GAMMA)
    one = ForestQ(prepare_evaluation(Only(), few), GAMMA)
    # V = (K (r + γ V') + mean) / 2, of the same trees.
    found = ForestQ(data, GAMMA)
    assert min(mean, one.value) - 1e-9 <= found.value <= max(mean, one.value) + 1e-9
    assert abs(found.value) > 0.4 * abs(mean)


def test_a_policy_of_which_nothing_is_logged_is_worth_the_mean_reward():
    few = changed(endless(120), action=np.zeros(120, dtype=int))
    data = prepare_evaluation(Only(), few)
    # As of a part of a log, which may lack what the whole has.
    nothing = np.tile([0.0, 0.0, 1.0], (len(data.states), 1))
    found = ForestQ(replace(data, probabilities=nothing), GAMMA)
    assert_allclose(found.value, data.mean_return(GAMMA))
    assert np.isfinite(found.contributions).all()


def test_it_solves_bellmans_equation_of_its_own_means():
    found = forest(ended(walk_log(200)))
    data = found.data
    value = np.zeros(len(data.states))
    value[found._places] = found._values
    means = found._asked @ (found._leaves @ found.target)
    assert_allclose(value[found._places], means, atol=1e-4 * np.ptp(data.reward))


def test_states_far_apart_are_a_table():
    rng = np.random.default_rng(0)
    n, code = 2_000, np.array([0.0, 1.0, 10.0, 100.0])
    state, after = rng.integers(4, size=(2, n))
    action = rng.integers(2, size=n)
    reward = state * action + rng.normal(size=n)
    log = Transitions(code[state, None], action, reward, code[after, None])
    policy = Always()
    data = prepare_evaluation(policy, log)
    exact = fitted_q(data, GAMMA, QSettings(ridge=1e-9))
    assert exact.system.features.kernel_features.kernel_ == "delta"
    assert_allclose(ForestQ(data, GAMMA).value, exact.value, rtol=1e-3)


def test_contributions_are_by_leaving_out_to_first_order():
    found = forest(ended(walk_log(300)))
    psi = found.contributions
    assert psi.shape == (found.data.n_pieces,)
    first = found._initial_values
    target = found.target - found._own @ (found._leaves @ found.target)
    assert_allclose(
        psi.sum(), found.ratio @ target, atol=1e-9 * (1 + np.abs(first).max())
    )


# ------------------------------------------------------------------ invariances


def test_a_constant_on_rewards_and_their_unit_are_nothing():
    log = endless(200)
    plain = forest(log).value
    # But for ties of columns, which rounding decides.
    shifted, scaled = (
        forest(changed(log, reward=reward)).value
        for reward in (log.reward + 7.0, 1e6 * log.reward)
    )
    assert_allclose(shifted, plain + 70.0, rtol=1e-2)
    assert_allclose(scaled, 1e6 * plain, rtol=1e-2)


def test_the_units_of_states_are_nothing():
    log = walk_log(200)
    scale, shift = np.array([1e6, 1e-3]), np.array([1e7, -1.0])
    other = log.with_states(log.state * scale + shift, log.next_state * scale + shift)
    found, expected = (forest(each, Even()).value for each in (other, log))
    assert_allclose(found, expected, rtol=1e-6)


def test_a_weight_is_as_many_rows():
    log = ended(walk_log(90))
    again = log[np.tile(np.arange(90), 2)]
    again = changed(again, episode=np.append(log.episode, 1_000 + log.episode))
    twice = prepare_evaluation(Even(), log, sample_weight=np.full(90, 2.0))
    found = ForestQ(twice, GAMMA).value
    assert_allclose(forest(again, Even()).value, found, rtol=1e-6)
    assert abs(forest(log, Even()).value - found) > 1e-3


# ----------------------------------------------------------------- disagreement


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6), st.floats(1.0, 10.0))
def test_more_distance_is_less_chance(distance, error, times):
    found = beyond_chance(distance, error)
    assert 0.0 <= found <= distance
    assert beyond_chance(times * distance, error) >= found
    if distance <= error:
        assert found == 0.0
    if distance >= 2.0 * error:
        assert found == distance


def test_no_error_says_nothing():
    assert beyond_chance(1.0, float("nan")) == 0.0
    assert beyond_chance(0.0, 0.0) == 0.0
    assert beyond_chance(1.0, 0.0) == 1.0


@ignore_convergence
@pytest.mark.parametrize("metric", [fitted_q_value, doubly_robust_value])
def test_an_interval_is_wider_by_what_trees_say(metric, monkeypatch):
    policy, log = lonely_policy()
    with pytest.warns(UserWarning, match="Trees that solve .*: trees-disagree"):
        found = metric(policy, log, discount=GAMMA)
    assert found.bias_bound > found.standard_error
    monkeypatch.setattr(_forest_q, "beyond_chance", lambda *_: 0.0)
    plain = metric(policy, log, discount=GAMMA)
    assert (found.value, found.standard_error) == (plain.value, plain.standard_error)
    more = found.bias_bound - plain.bias_bound
    (low, high), (lower, upper) = plain.confidence_interval, found.limits
    expected = max(low - more, lower), min(high + more, upper)
    assert_allclose(found.confidence_interval, expected)


@ignore_convergence
def test_features_that_foretell_what_trees_say_are_believed(monkeypatch):
    policy, log = lonely_policy()
    fit = fitted_q(prepare_evaluation(policy, log), GAMMA)
    given = [fit.system], fit.value, fit.contributions
    assert disagreement(*given).bound > 0.0
    monkeypatch.setattr(_forest_q, "_foretells_better", lambda *_: False)
    found = disagreement(*given)
    assert found.bound == 0.0
    assert found.value != fit.value


def test_what_has_no_value_by_trees_is_not_asked():
    log = ended(walk_log(90))
    fit = fitted_q(
        prepare_evaluation(Even(), log[np.flatnonzero(log.episode < 4)]), GAMMA
    )
    few = disagreement([fit.system], fit.value, fit.contributions)
    assert fit.data.n_pieces < 20
    assert np.isnan(few.value)
    assert few.bound == 0.0
    whole = log.with_states(np.round(log.state), np.round(log.next_state))
    fit = fitted_q(prepare_evaluation(Even(), whole), GAMMA)
    if fit.system.features.kernel_features.kernel_ == "delta":
        found = disagreement([fit.system], fit.value, fit.contributions)
        assert np.isnan(found.value)


def test_amounts_have_trees_of_states_and_amounts():
    log = dose_log(200)
    policy = StackelbergPolicyEstimator(discount=0.0, random_state=0).fit(log)
    data = prepare_evaluation(policy, dose_log(200, seed=1))
    found = ForestQ(data, 0.0)
    assert found.logged.shape[1] == data.state.shape[1] + data.nodes.shape[2]
    assert abs(found.value - fitted_q(data, 0.0).value) < 0.3 * np.ptp(data.reward)


# ----------------------------------------------------------------- linear terms


def line_log(seed, slope, n_episodes=150):
    """Values go with a column whose ends a log seldom has."""
    rng = np.random.default_rng(seed)
    rows = []
    for episode in range(n_episodes):
        x = rng.standard_t(2, size=3)
        for step in range(6):
            action = int(rng.random() < 0.5)
            after = x + np.array([0.3 * action, 0.0, 0.0]) + 0.1 * rng.normal(size=3)
            reward = slope * x[0] + 0.1 * rng.normal()
            rows.append((episode, step, x, action, reward, after))
            x = after
    episode, step, state, action, reward, after = map(np.array, zip(*rows, strict=True))
    return Transitions(
        state, action, reward, after, step == 5, episode=episode, step=step
    )


@pytest.mark.parametrize("seed", range(3))
def test_linear_terms_are_for_values_that_are_linear(seed):
    for slope, wanted in ((1.0, True), (0.0, False)):
        data = prepare_evaluation(Always(), line_log(seed, slope)).by_steps(GAMMA)
        features = choose_system(data, GAMMA, QSettings()).features.kernel_features
        assert (features.linear_ is not None) is wanted


def test_a_kernel_that_is_named_has_no_linear_terms():
    data = prepare_evaluation(Always(), line_log(0, 1.0))
    auto, named = (
        fitted_q(data, GAMMA, QSettings(kernel)).system.features.kernel_features
        for kernel in ("auto", "rbf")
    )
    assert auto.linear_ is not None
    assert named.linear_ is None
    assert auto.n_features_out_ == auto.projection_.shape[1] + 1 + data.states.shape[1]


def step_log(seed, n=400):
    """Two actions, of which one is right, by steps of two columns."""
    rng = np.random.default_rng(seed)
    x, action = rng.uniform(size=(n, 2)), rng.integers(2, size=n)
    right = (x[:, 0] > 0.6) & (x[:, 1] < 0.7)
    reward = (action == right) + 0.2 * rng.normal(size=n)
    return Transitions(x, action, reward, x, np.ones(n))


class Right:
    classes_ = np.array([0, 1])

    def predict_proba(self, states):
        x = np.asarray(states)
        return np.eye(2)[((x[:, 0] > 0.6) & (x[:, 1] < 0.7)).astype(int)]


def test_steps_of_a_policy_have_columns_of_their_own():
    off = {"with": [], "without": []}
    for seed in range(8):
        data = prepare_evaluation(Right(), step_log(seed))
        chosen = choose_system(data, 0.0, QSettings())
        kernel = chosen.features.kernel_features
        assert chosen.features.phi(np.arange(3)).shape[1] == kernel.n_features_out_ + 2
        plain = FittedQSystem.from_kernel(data, 0.0, kernel, 0.03)
        for name, fit in (("with", chosen.solve()), ("without", plain.solve())):
            off[name].append((fit.value - 1.0) / fit.standard_error)
    assert np.mean(off["without"]) < -1.5
    assert abs(np.mean(off["with"])) < 0.8


def test_a_kernel_is_rough_where_values_break_off():
    rng = np.random.default_rng(0)
    x, action = rng.uniform(size=(2_500, 2)), rng.integers(2, size=2_500)
    right = (x[:, 0] > 0.6) & (x[:, 1] < 0.7)
    reward = (action == right) + 0.2 * rng.normal(size=2_500)
    data = prepare_evaluation(
        Right(), Transitions(x, action, reward, x, np.ones(2_500))
    )
    chosen = choose_system(data, 0.0, QSettings())
    assert chosen.features.kernel_features.kernel_ == "laplacian"


@pytest.mark.parametrize("n", [300, 900], ids=["spanned", "whole"])
def test_another_policy_has_columns_of_its_own(n):
    data = prepare_evaluation(Right(), step_log(0, n))
    features = LandmarkFeatures("laplacian", n_components=300, random_state=0).fit(
        data.state
    )
    system = FittedQSystem.from_kernel(data, 0.0, features, 0.03, with_policy=True)
    assert isinstance(system.features, SpannedFeatures) is (n == 300)
    other = prepare_evaluation(Left(), data.log)
    moved = system.on(other).solve()
    afresh = FittedQSystem.from_kernel(other, 0.0, features, 0.03, with_policy=True)
    assert_allclose(moved.value, afresh.solve().value, rtol=1e-8)
    part = system.part(np.arange(0, n, 2))
    assert (
        part.features.phi(np.arange(3)).shape == system.features.phi(np.arange(3)).shape
    )
    # A policy that does the same everywhere has none.
    same = prepare_evaluation(Always(), data.log)
    assert system.on(same).features.phi(np.arange(3)).shape[1] == (
        features.n_features_out_
    )


class Left(Right):
    def predict_proba(self, states):
        return np.eye(2)[(np.asarray(states)[:, 0] < 0.5).astype(int)]
