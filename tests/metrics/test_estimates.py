"""Estimates with errors: importance sampling, doubly robust, the Bellman error."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from _logs import (
    FIELDS,
    changed,
    estimator,
    ignore_few_episodes,
    random_mdp,
    uniform_log,
    walk_log,
)
from numpy.testing import assert_allclose
from scipy.linalg import lu_solve
from scipy.stats import t as student_t
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from test_metrics import Constant, Table, random_table

from sklearn_stackelberg import Transitions, game
from sklearn_stackelberg._linalg import factorise
from sklearn_stackelberg.datasets import FiniteMDP
from sklearn_stackelberg.metrics import (
    OffPolicyEstimate,
    bellman_error,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
)
from sklearn_stackelberg.metrics import _features as features
from sklearn_stackelberg.metrics import _jackknife as jackknife
from sklearn_stackelberg.metrics._holdout import fitted_q
from sklearn_stackelberg.metrics._prepare import prepare_evaluation
from sklearn_stackelberg.metrics._settings import QSettings, fit_features

pytestmark = ignore_few_episodes

METRICS = (fitted_q_value, importance_sampling_value, doubly_robust_value)
FOUR = (*METRICS, bellman_error)


def mdp_log(seed=0, n=1500):
    """A log of a random process by a logger that is not uniform, and a policy."""
    mdp = random_mdp(seed)
    logger = 0.5 * random_table(mdp, seed + 50).probabilities + 0.5 / 3
    return mdp, mdp.sample(logger, n, seed, horizon=8), random_table(mdp, seed)


def logger_of(log, mdp):
    """The policy that logged, read off its propensities."""
    probabilities = np.zeros((mdp.n_states, mdp.n_actions))
    probabilities[log.state[:, 0], log.action] = log.propensity
    # A pair that was not logged has what is left, and is never needed.
    left = (probabilities == 0).sum(axis=1, keepdims=True)
    rest = (1 - probabilities.sum(axis=1, keepdims=True)) / np.maximum(left, 1)
    return Table(np.where(probabilities == 0, rest, probabilities))


def whole_log(n=90, **fields):
    """A log of a walk in which no episode ends before its last row."""
    log = walk_log(n)
    return changed(log, terminated=log.step == 8, **fields)


def broken(log, kept):
    """Some rows of a log, without the warning that its episodes are cut."""
    given = {name: getattr(log, name) for name in FIELDS}
    return changed(log, **{k: v[kept] for k, v in given.items() if v is not None})


def twice(log):
    """Every episode, and every episode again by another name."""
    again = changed(log, episode=log.episode + 10_000)
    return Transitions.concatenate(log, again)


class WithQ(Table):
    """A policy that comes with a Q-function."""

    def __init__(self, probabilities, q):
        super().__init__(probabilities)
        self.q = q

    def q_values(self, states):
        return self.q[np.asarray(states)[:, 0].astype(int)]


class Told(LinearRegression):
    """A regressor that knows Q beforehand, on integer states and one-hot actions."""

    def __init__(self, q=None):
        self.q = q

    def fit(self, X, y):
        return self

    def predict(self, X):
        return (self.q[X[:, 0].astype(int)] * X[:, 1:]).sum(axis=1)


# ---------------------------------------------------------------- the estimate itself


def estimate(**fields):
    given = dict(
        value=12.3,
        standard_error=0.8,
        effective_sample_size=45.2,
        n_episodes=120,
        n_transitions=5000,
        method="Fitted-Q evaluation",
        error_method="the influence function over 120 episodes",
    )
    return OffPolicyEstimate(**{**given, **fields})


def test_it_is_a_number_a_row_and_a_sentence():
    found = estimate()
    assert float(found) == 12.3
    frame = pd.DataFrame([asdict(found), asdict(estimate(value=1.0))])
    assert frame["value"].tolist() == [12.3, 1.0]
    assert str(found) == (
        "Fitted-Q evaluation: value 12.30 ± 0.80 (standard error by the influence "
        "function over 120 episodes), 95 % interval [10.72, 13.88]; effective "
        "sample size 45.2 of 5,000 rows."
    )
    assert str(estimate(effective_unit="episodes")).endswith("45.2 of 120 episodes.")
    with pytest.raises(AttributeError):
        found.value = 3.0


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (1234.567, 87.6, "value 1,235 ± 88 "),
        (0.0123456, 0.00123, "value 0.0123 ± 0.0012 "),
        (3.0, np.nan, "value 3, without a standard error (the influence"),
        (2e-12, 3e-13, "value 2e-12 ± 3e-13 "),
    ],
)
def test_two_figures_of_the_error_are_shown(value, error, words):
    assert words in str(estimate(value=value, standard_error=error))


def test_the_interval_is_student_t():
    low, high = estimate(n_episodes=5, confidence_level=0.9).confidence_interval
    reach = 0.8 * student_t.ppf(0.95, 4)
    assert_allclose([low, high], [12.3 - reach, 12.3 + reach])
    assert estimate(n_episodes=1, standard_error=np.nan).n_episodes == 1


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("metric", METRICS)
def test_scale_order_and_names_are_nothing(metric):
    _, log, policy = mdp_log()
    found = metric(policy, log, discount=0.9)
    assert found.n_transitions == 1500
    assert found.n_episodes == len(log.episodes)
    scaled = metric(policy, changed(log, reward=-8.0 * log.reward), discount=0.9)
    assert_allclose(scaled.value, -8.0 * found.value, rtol=1e-9)
    assert_allclose(scaled.standard_error, 8.0 * found.standard_error, rtol=1e-9)
    if metric is doubly_robust_value:
        return  # its folds follow the order in which episodes appear
    order = np.random.default_rng(0).permutation(1500)
    shuffled = metric(policy, log[order], discount=0.9)
    assert_allclose(shuffled.value, found.value, rtol=1e-8)
    assert_allclose(shuffled.standard_error, found.standard_error, rtol=1e-8)
    renamed = changed(log, episode=np.array([f"e{e}" for e in log.episode]))
    assert_allclose(metric(policy, renamed, discount=0.9).value, found.value)


@pytest.mark.parametrize("metric", [fitted_q_value, importance_sampling_value])
def test_as_many_episodes_again_halve_the_variance(metric):
    mdp, log, _ = mdp_log()
    policy = Table(0.2 * random_table(mdp).probabilities + 0.8 / 3)
    once, again = (metric(policy, given, discount=0.9) for given in (log, twice(log)))
    assert_allclose(again.value, once.value, rtol=2e-3)
    ratio = once.standard_error / again.standard_error
    assert_allclose(ratio, np.sqrt(2), rtol=0.02)
    ratio = again.effective_sample_size / once.effective_sample_size
    assert_allclose(ratio, 2, rtol=0.02)


def test_what_is_covered_is_known():
    """The spread over fresh logs is what the standard errors say."""
    mdp, _, policy = mdp_log()
    logger = 0.5 * random_table(mdp, 50).probabilities + 0.5 / 3
    truth = mdp.policy_value(policy.probabilities, 0.9)
    for metric in (fitted_q_value, doubly_robust_value):
        found = [
            metric(policy, mdp.sample(logger, 600, seed), discount=0.9)
            for seed in range(25)
        ]
        values = np.array([f.value for f in found])
        errors = np.array([f.standard_error for f in found])
        assert abs(values.mean() - truth) < 4 * values.std() / np.sqrt(25)
        assert 0.7 < errors.mean() / values.std() < 1.5
        inside = [low <= truth <= high for low, high in intervals(found)]
        assert np.mean(inside) > 0.8


def intervals(found):
    return [f.confidence_interval for f in found]


@pytest.mark.parametrize("metric", FOUR)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"discount": 1.1}, r"discount must be a number in \[0, 1\]"),
        ({"confidence_level": 1.0}, "confidence_level must be .* between 0 and 1"),
        ({"confidence_level": True}, "confidence_level must be .* got True"),
    ],
)
def test_common_settings_out_of_range(metric, settings, words):
    with pytest.raises(ValueError, match=words):
        metric(Constant(0.5, 0.5), walk_log(), **({"discount": 0.9} | settings))


@pytest.mark.parametrize("metric", FOUR)
def test_a_policy_of_unlogged_actions_is_refused(metric):
    log = walk_log()
    log = changed(log[log.action != 2], propensity=None)
    with pytest.raises(ValueError, match=r"50 % of its probability .*: \[2\]"):
        metric(Constant(0.25, 0.25, 0.5), log, discount=0.9)


@pytest.mark.parametrize(
    ("metric", "settings", "words"),
    [
        (fitted_q_value, {"ridge": 0.0}, "ridge must be a positive finite"),
        (fitted_q_value, {"n_components": 0}, "n_components must be an integer >= 1"),
        (fitted_q_value, {"bandwidth": "mean"}, "or 'median', got 'mean'"),
        (fitted_q_value, {"kernel": "rbff"}, "kernel='rbff' is unknown"),
        (fitted_q_value, {"standard_error": "yes"}, "standard_error must be one of"),
        (fitted_q_value, {"n_bootstrap": 1}, "n_bootstrap must be an integer >= 2"),
        (fitted_q_value, {"n_iterations": 0}, "n_iterations must be an integer >= 1"),
        (
            fitted_q_value,
            {"standard_error": "influence", "regressor": LinearRegression()},
            "'influence' is that of the closed form",
        ),
        (
            importance_sampling_value,
            {"clip": 0.0},
            "clip must be a positive finite",
        ),
        (importance_sampling_value, {"n_folds": 11}, "n_folds=11 cannot .* 10 episod"),
        (doubly_robust_value, {"n_folds": 1}, "n_folds must be an integer >= 2"),
        (doubly_robust_value, {"n_folds": 11}, "n_folds=11 cannot .* 10 episodes"),
        (doubly_robust_value, {"ratios": "both"}, r"ratios must be one of \['density"),
    ],
)
def test_own_settings_out_of_range(metric, settings, words):
    with pytest.raises(ValueError, match=words):
        metric(Constant(0.4, 0.3, 0.3), whole_log(), **{"discount": 0.9} | settings)


# ---------------------------------------------------------------- fitted Q


def test_the_bootstrap_agrees_with_the_influence_function():
    _, log, policy = mdp_log(2, n=3000)
    by_influence = fitted_q_value(policy, log, discount=0.9)
    drawn = fitted_q_value(policy, log, discount=0.9, standard_error="bootstrap")
    assert drawn.value == by_influence.value
    assert_allclose(drawn.standard_error, by_influence.standard_error, rtol=0.15)
    assert "200 bootstraps over" in str(drawn)
    none = fitted_q_value(policy, log, discount=0.9, standard_error=None)
    assert none.value == by_influence.value
    assert np.isnan(none.standard_error)


@pytest.mark.parametrize("episodes", [True, False])
@pytest.mark.parametrize("rows", [4096, 10])
def test_leaving_out_is_fitting_without(episodes, rows, monkeypatch):
    monkeypatch.setattr("sklearn_stackelberg.metrics._data.BATCH_ROWS", rows)
    log = walk_log(n=60)
    if not episodes:
        log = changed(log, episode=None, step=None)
    data = prepare_evaluation(Constant(0.5, 0.2, 0.3), log)
    fit = fitted_q(data, 0.9, QSettings(n_components=15))
    for episode in (0, 3):
        held = np.flatnonzero(data.episode == episode)
        weight = data.weight.copy()
        weight[held] = 0.0
        system = fit.system.linear_system(weight)  # the anchor stays
        w = np.linalg.solve(system.M.numpy(), system.c.numpy()).reshape(
            fit.weight.shape
        )
        value, q = fit.system.features.values(w, fit.system.anchor)
        residual = data.log.reward + data.carried(0.9) * value[data.next_index]
        residual -= q
        assert_allclose(fit.left_out_residual[held], residual[held], rtol=1e-6)
        assert np.abs(fit.left_out_residual[held] - fit.residual[held]).max() > 1e-3


@pytest.mark.parametrize("kernel", ["linear", "delta", "rbf"])
@pytest.mark.parametrize("cached_rows", [7, 512])
def test_sums_over_rows_are_those_of_their_features(kernel, cached_rows, monkeypatch):
    monkeypatch.setattr(features, "_CACHED_ROWS", cached_rows)
    data = prepare_evaluation(Constant(0.5, 0.2, 0.3), walk_log(n=90))
    for settings in (QSettings(kernel), QSettings(kernel, n_components=200)):
        mapped = fit_features(data, settings)
        made = (features.evaluation_features, features.spanned_features)
        for of in (make(data, mapped) for make in made):
            rng = np.random.default_rng(0)
            weight, carried = rng.random((2, 90))
            for rows in (slice(20, 80), np.arange(0, 90, 3)):
                z, d = of.logged(rows), of.difference(rows, carried[rows])
                expected = (z * weight[rows, None]).T @ d
                found = of.moments(rows, weight[rows], carried[rows])
                assert_allclose(found, expected, atol=1e-12)
            start = data.initial_state
            found = of.weighted_mean(start, weight[: len(start)])
            assert_allclose(found, weight[: len(start)] @ of.mean(start), atol=1e-12)


def test_long_episodes_are_left_out_by_a_smaller_system():
    log = changed(walk_log(n=60), episode=np.arange(60) // 30, step=np.arange(60) % 30)
    policy = Constant(0.5, 0.2, 0.3)
    few = fitted_q(prepare_evaluation(policy, log), 0.9, QSettings("linear"))
    assert few.weight.size < 30
    monolith = few.left_out_residual
    d = few.system.difference(np.arange(60))
    z = few.system.features.logged(np.arange(60))
    left = few.linear.M.numpy()
    own = np.arange(30)
    h = d[own] @ np.linalg.solve(left, z[own].T) / 60
    expected = np.linalg.solve(np.eye(30) - h, few.residual[own])
    assert_allclose(monolith[own], expected, rtol=1e-8)


def lone_log(n=40):
    """Bandit episodes; the first alone is in state 1, and in it took one action."""
    rng = np.random.default_rng(0)
    state = np.zeros((n, 1))
    state[0] = 1.0
    reward = rng.random(n)
    return Transitions(
        state, np.zeros(n, int), reward, state, np.ones(n), episode=np.arange(n)
    )


@pytest.mark.parametrize("ridge", [1e-300, 1e-15, 1e-12])
def test_what_one_episode_alone_knows_is_not_certain(ridge):
    """Without it nothing is known there: the value may be anything that returns are."""
    log = lone_log()
    settings = QSettings("delta", n_components=None, ridge=ridge)
    fit = fitted_q(prepare_evaluation(Constant(1.0), log), 0.0, settings)
    assert np.flatnonzero(np.isnan(fit.left_out_residual)).tolist() == [0]
    assert_allclose(fit.standard_error, np.ptp(log.reward))


@pytest.mark.parametrize("length", [1, 4])
def test_an_episode_that_the_rest_cannot_do_without(length):
    """By the smaller of the two systems, and by its own."""
    difference = reached = np.eye(length)[:, :1] if length > 1 else np.eye(1, 3)
    residual = np.ones(length)
    found = jackknife.without_itself(difference, reached, residual)
    assert np.isnan(found).all()
    half = jackknife.without_itself(difference / 2, reached, residual)
    assert_allclose(half, 1.0 + (np.arange(length) == 0))


def test_equations_that_are_singular_but_for_rounding_are_refused():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(30, 29))
    with pytest.raises(ValueError, match=r"reciprocal condition.*larger ridge"):
        factorise(half @ half.T)  # of rank 29: no pivot is exactly 0
    with pytest.raises(ValueError, match="reciprocal condition number 0"):
        factorise(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="NaN or infinity"):
        factorise(np.full((2, 2), np.nan))
    good = half @ half.T + 1e-10 * np.eye(30)
    right = rng.normal(size=30)
    assert_allclose(good @ lu_solve(factorise(good), right), right, atol=1e-4)


def test_ratios_weigh_rewards_into_the_value():
    _, log, policy = mdp_log()
    fit = fitted_q(prepare_evaluation(policy, log), 0.9, QSettings(ridge=1e-7))
    weighed = fit.data.weight @ (fit.ratio * log.reward)
    assert_allclose(weighed, fit.value, rtol=1e-5)
    # What flows in flows out: Σ p ω (1 − γ g) = 1.
    mass = fit.data.weight * fit.ratio
    assert_allclose(mass @ (1 - fit.data.carried(0.9)), 1.0, rtol=1e-5)


def test_ratios_of_the_logger_are_even():
    """Every state and action that is visited is visited as often as it is."""
    log = changed(walk_log(n=90), terminated=np.ones(90), is_initial=np.ones(90))
    constant = Constant(*np.bincount(log.action) / 90)
    fit = fitted_q(
        prepare_evaluation(constant, log), 0.0, QSettings("delta", n_components=None)
    )
    found = fitted_q(
        prepare_evaluation(
            constant,
            changed(log, state=np.zeros((90, 1)), next_state=np.zeros((90, 1))),
        ),
        0.0,
        QSettings(ridge=1e-9),
    )
    assert fit.effective_sample_size < found.effective_sample_size
    assert_allclose(found.effective_sample_size, 90.0)


@pytest.mark.filterwarnings("ignore:The value rests on a handful:UserWarning")
def test_values_stay_where_the_rewards_allow():
    for seed in range(5):
        log = walk_log(n=40, seed=seed, offset=0.0)
        for ridge in (1e-9, 1e-3, 0.03):
            found = fitted_q_value(
                Constant(0.1, 0.1, 0.8), log, discount=0.99, ridge=ridge
            )
            assert 100 * log.reward.min() <= found.value <= 100 * log.reward.max()
            assert 0 <= found.standard_error <= 100 * np.ptp(log.reward) * 40


def test_any_regressor_finds_what_the_closed_form_finds():
    mdp = random_mdp(1, encode="one-hot")
    log, policy = uniform_log(mdp, 1200, 1), random_table(mdp, 3)
    exact = fitted_q_value(policy, log, discount=0.8, ridge=1e-8).value
    trees = ExtraTreesRegressor(1, bootstrap=False, random_state=0)
    found = fitted_q_value(
        policy, log, discount=0.8, regressor=trees, n_bootstrap=4, n_iterations=60
    )
    # A tree that is grown to the end averages the equal rows.
    assert_allclose(found.value, exact, rtol=3e-3)
    assert found.standard_error > 0
    assert "by ExtraTreesRegressor" in found.method
    assert "4 bootstraps" in found.error_method
    weight = np.random.default_rng(0).integers(0, 3, size=1200)
    options = dict(discount=0.8, sample_weight=weight)
    expected = fitted_q_value(policy, log, ridge=1e-8, **options).value
    found = fitted_q_value(
        policy, log, regressor=trees, standard_error=None, n_iterations=60, **options
    )
    assert_allclose(found.value, expected, rtol=3e-3)


def test_finite_states_have_a_feature_each_and_measured_ones_have_not():
    log = walk_log(n=300)
    data = prepare_evaluation(Constant(0.5, 0.2, 0.3), log)
    assert fit_features(data, QSettings()).kernel.nu == 2.5
    few = changed(log, state=np.sign(log.state), next_state=np.sign(log.next_state))
    data = prepare_evaluation(Constant(0.5, 0.2, 0.3), few)
    assert fit_features(data, QSettings()).kernel == "delta"
    # Where fewer than ten rows stand for each, they are drawn together.
    data = prepare_evaluation(Constant(0.5, 0.2, 0.3), few[:27])
    assert fit_features(data, QSettings()).kernel != "delta"


# ---------------------------------------------------------------- importance sampling


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("per_decision", [True, False])
def test_the_logger_earns_the_mean_return(weighted, per_decision):
    mdp, log, _ = mdp_log()
    found = importance_sampling_value(
        logger_of(log, mdp),
        log,
        discount=0.9,
        weighted=weighted,
        per_decision=per_decision,
    )
    returns = np.bincount(log.episode, 0.9**log.step * log.reward)
    assert_allclose(found.value, returns.mean(), rtol=1e-12)
    error = returns.std(ddof=1) / np.sqrt(len(returns))
    assert_allclose(found.standard_error, error, rtol=1e-9)
    assert_allclose(found.effective_sample_size, len(returns), rtol=1e-12)


def by_hand(log, ratio, discount, *, per_decision, weighted, clip=np.inf):
    """Episode by episode, step by step."""
    names = np.unique(log.episode)
    rho = np.ones((len(names), log.step.max() + 1))
    reward = np.zeros_like(rho)
    for e, name in enumerate(names):
        rows = np.flatnonzero(log.episode == name)
        rows = rows[np.argsort(log.step[rows])]
        product = 1.0
        for t in range(rho.shape[1]):
            if t < len(rows):
                product *= ratio[rows[t]]
                reward[e, t] = log.reward[rows[t]]
            rho[e, t] = min(product, clip)
    if not per_decision:
        rho = np.tile(rho[:, -1:], rho.shape[1])
    total = rho.sum(axis=0) if weighted else len(names)
    return float(
        ((rho * reward).sum(axis=0) / total) @ discount ** np.arange(len(rho[0]))
    )


@ignore_few_episodes
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("per_decision", [True, False])
@pytest.mark.parametrize("clip", [None, 1.5])
def test_importance_sampling_is_its_definition(weighted, per_decision, clip):
    _, log, policy = mdp_log(3, n=300)
    options = dict(per_decision=per_decision, weighted=weighted)
    found = importance_sampling_value(policy, log, discount=0.8, clip=clip, **options)
    ratio = policy.probabilities[log.state[:, 0], log.action] / log.propensity
    expected = by_hand(log, ratio, 0.8, clip=clip or np.inf, **options)
    assert_allclose(found.value, expected, rtol=1e-10)
    # Rows stand anywhere, and steps may begin anywhere.
    order = np.random.default_rng(0).permutation(len(log))
    moved = changed(log, step=log.step + 5 * log.episode)[order]
    again = importance_sampling_value(policy, moved, discount=0.8, clip=clip, **options)
    assert_allclose(again.value, expected, rtol=1e-10)


def test_one_step_logs_need_no_episodes():
    log = changed(walk_log(), terminated=np.ones(90), episode=None, step=None)
    log = changed(log, propensity=np.full(90, 1 / 3), is_initial=np.ones(90))
    policy = Constant(0.5, 0.3, 0.2)
    ratio = 3 * policy.probabilities[log.action]
    found = importance_sampling_value(policy, log, discount=0.9)
    assert_allclose(found.value, np.average(log.reward, weights=ratio))
    assert found.n_episodes == 90
    assert_allclose(found.effective_sample_size, ratio.sum() ** 2 / (ratio**2).sum())
    assert "90 rows, each taken as independent" in str(found)


@pytest.mark.parametrize("model", [None, LogisticRegression(C=1e6), GaussianNB()])
def test_propensities_can_be_estimated(model):
    rng = np.random.default_rng(0)
    state = rng.normal(size=(4000, 1))
    chance = 1 / (1 + np.exp(-2 * state[:, 0]))
    action = (rng.random(4000) < chance).astype(int)
    propensity = np.where(action == 1, chance, 1 - chance)
    log = Transitions(
        state, action, state[:, 0] * action, state, np.ones(4000), propensity=propensity
    )
    policy = Constant(0.5, 0.5)
    known = importance_sampling_value(policy, log, discount=0.0)
    assert "logged propensities" in known.method
    given = log if model is not None else changed(log, propensity=None)
    found = importance_sampling_value(
        policy, given, discount=0.0, propensity_model=model
    )
    name = type(model or LogisticRegression()).__name__
    assert f"estimated by {name} in 5 folds" in found.method
    assert abs(found.value - known.value) < 3 * known.standard_error
    assert found.value != known.value


def test_estimated_propensities_are_of_other_episodes():
    """A classifier that remembers is no better than one that guesses."""

    class Memory(GaussianNB):
        def fit(self, X, y):
            self.seen_ = {tuple(row): label for row, label in zip(X, y, strict=True)}
            return super().fit(X, y)

        def predict_proba(self, X):
            assert not any(tuple(row) in self.seen_ for row in X)
            return super().predict_proba(X)

    importance_sampling_value(
        Constant(0.3, 0.3, 0.4), whole_log(), discount=0.9, propensity_model=Memory()
    )


def test_broken_episodes_are_named():
    log = whole_log(propensity=np.full(90, 1 / 3))
    policy = Constant(0.3, 0.3, 0.4)

    def words_of(given):
        with pytest.raises(ValueError, match=r"fitted_q_value|episode") as caught:
            importance_sampling_value(policy, given, discount=0.9)
        return str(caught.value)

    kept = (log.step != 4) | ~np.isin(log.episode, [2, 5])
    assert words_of(broken(log, kept)).startswith("Episodes 2, 5 skip steps")
    kept = (log.step != 0) | (log.episode != 7)
    assert words_of(broken(log, kept)).startswith(
        "Episodes 7 begin after their first step"
    )
    assert "does not say which episode" in words_of(
        changed(log, episode=None, step=None)
    )
    ends = changed(log, terminated=(log.step == 3) & (log.episode == 1))
    assert "row 12 terminated inside an episode" in words_of(ends)


def test_a_policy_that_no_episode_follows_is_refused():
    log = whole_log(propensity=np.full(90, 1 / 3))
    never = changed(log, action=np.where(log.step == 1, 0, log.action))
    with pytest.raises(ValueError, match="for more than 1 step: all importance weigh"):
        importance_sampling_value(Constant(0.0, 0.5, 0.5), never, discount=0.9)
    first = changed(log, action=np.where(log.step == 0, 0, log.action))
    with pytest.raises(ValueError, match=r"for any step: .* 100 % of the discounted"):
        importance_sampling_value(Constant(0.0, 0.5, 0.5), first, discount=0.9)
    # What is too far off to matter is not known, and does not matter.
    assert importance_sampling_value(Constant(0.0, 0.5, 0.5), never, discount=0.01)


# ---------------------------------------------------------------- doubly robust


def test_without_q_it_is_importance_sampling():
    mdp, log, policy = mdp_log()
    log = changed(log, terminated=log.terminated | (log.step == 7))
    nothing = Told(np.zeros((mdp.n_states, mdp.n_actions)))
    for weighted in (True, False):
        found = doubly_robust_value(
            policy,
            log,
            discount=0.9,
            ratios="importance",
            regressor=nothing,
            weighted=weighted,
            n_iterations=1,
        )
        expected = importance_sampling_value(
            policy, log, discount=0.9, weighted=weighted
        )
        assert_allclose(found.value, expected.value, rtol=1e-9)
        assert_allclose(found.standard_error, expected.standard_error, rtol=1e-9)
        assert_allclose(
            found.effective_sample_size, expected.effective_sample_size, rtol=1e-9
        )


@pytest.mark.filterwarnings("ignore:The importance weights of one step, π:UserWarning")
@pytest.mark.parametrize("ratios", ["importance", "density"])
def test_with_the_true_q_no_weight_matters(ratios):
    """Rewards and next states of certainty: δ is 0 in every row."""
    transition = np.zeros((4, 2, 4))
    transition[np.arange(4), 0, (np.arange(4) + 1) % 4] = 1.0
    transition[np.arange(4), 1, np.arange(4)] = 1.0
    reward = np.arange(8.0).reshape(4, 2)
    mdp = FiniteMDP(transition, reward, np.full(4, 0.25))
    policy = Table([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7], [0.2, 0.8]])
    log = mdp.sample(np.full((4, 2), 0.5), 600, 0, horizon=6)
    log = changed(log, propensity=np.random.default_rng(0).uniform(0.1, 1, size=600))
    q = mdp.q_values(policy.probabilities, 0.9)
    found = doubly_robust_value(
        policy, log, discount=0.9, ratios=ratios, regressor=Told(q), n_iterations=1
    )
    value = (policy.probabilities * q).sum(axis=1)[log.state[log.is_initial, 0]]
    assert_allclose(found.value, value.mean(), rtol=1e-9)
    error = value.std(ddof=1) / np.sqrt(len(value))
    assert_allclose(found.standard_error, error, rtol=1e-9)


@pytest.mark.parametrize("ratios", ["importance", "density"])
def test_a_wrong_q_is_put_right_by_the_weights(ratios):
    mdp = random_mdp(0)
    policy = Table(0.3 * random_table(mdp).probabilities + 0.7 / 3)
    logger = np.full((6, 3), 1 / 3)
    log = mdp.sample(logger, 20_000, 1)
    truth = mdp.policy_value(policy.probabilities, 0.8)
    rng = np.random.default_rng(0)
    wrong = mdp.q_values(policy.probabilities, 0.8)
    wrong = np.clip(wrong + rng.normal(1.0, 1.0, wrong.shape), *_range(log, 0.8))
    start = mdp.initial @ (policy.probabilities * wrong).sum(axis=1)
    found = doubly_robust_value(
        policy, log, discount=0.8, ratios=ratios, regressor=Told(wrong), n_iterations=1
    )
    assert abs(start - truth) > 10 * found.standard_error
    assert abs(found.value - truth) < 3 * found.standard_error


def _range(log, discount):
    return log.reward.min() / (1 - discount), log.reward.max() / (1 - discount)


@pytest.mark.parametrize(("beyond", "error"), [(0.5, 0.5), (1e9, None)])
def test_a_value_beyond_all_returns_is_not_a_sure_one(beyond, error):
    policy, log = Constant(0.5, 0.3, 0.2), walk_log(60)
    fit, other = (fitted_q(prepare_evaluation(policy, log), 0.8) for _ in range(2))
    low, high = fit.data.return_range(0.8)
    assert low < fit.value < high
    # Values that Q does not bear out: what is over the end is error too.
    vars(other)["_unlimited"] = high + beyond
    assert other.value == high
    assert other.standard_error >= (error or high - low) * (1 - 1e-12)
    assert other.standard_error <= high - low


def test_clipping_leans_on_q():
    _, log, policy = mdp_log()
    sizes = []
    for ratios in ("importance", "density"):
        for clip in (None, 1.0, 0.01):
            found = doubly_robust_value(
                policy, log, discount=0.9, ratios=ratios, clip=clip
            )
            sizes.append(found.effective_sample_size)
            if clip is not None:
                assert f"clipped at {clip:g}" in found.method
    assert sizes[0] < sizes[1] < sizes[2]


# ---------------------------------------------------------------- the peers' numbers

# `python -m benchmarks ope_peers`, the column "theirs": SCOPE-RL 0.2.1 and OBP 0.4.1.
THEIRS = {
    ("SCOPE-RL 0.2.1", "TrajectoryWiseImportanceSampling"): 32.12694809960543,
    ("SCOPE-RL 0.2.1", "SelfNormalizedTIS"): 10.495498078290751,
    ("SCOPE-RL 0.2.1", "PerDecisionImportanceSampling"): 16.106909404123318,
    ("SCOPE-RL 0.2.1", "SelfNormalizedPDIS"): 10.766881853738175,
    ("SCOPE-RL 0.2.1", "DoublyRobust"): 15.452819364239422,
    ("SCOPE-RL 0.2.1", "SelfNormalizedDR"): 10.782225173345182,
    ("OBP 0.4.1", "InverseProbabilityWeighting"): 1.5124966091565417,
    ("OBP 0.4.1", "SelfNormalizedInverseProbabilityWeighting"): 1.4825623942252792,
    ("OBP 0.4.1", "DoublyRobust"): 1.4981140506071593,
    ("OBP 0.4.1", "SelfNormalizedDoublyRobust"): 1.4833801964877702,
}


@ignore_few_episodes
def test_numbers_of_scope_rl_and_obp():
    pytest.importorskip("gymnasium")
    from benchmarks.tables.ope_peers import PEERS, log_of, ours

    compared = {
        (peer, name): ours(peer, settings, common["discount"])
        for peer, _, common, names in PEERS
        for name, settings in names.items()
    }
    assert compared.keys() == THEIRS.keys()
    # It is beyond all returns, and ours are held to them.
    beyond = ("SCOPE-RL 0.2.1", "TrajectoryWiseImportanceSampling")
    reward = log_of(beyond[0]).reward
    assert reward.max() * 10 < THEIRS[beyond]
    assert compared.pop(beyond) < THEIRS[beyond]
    for key in compared:
        theirs = THEIRS[key]
        assert compared[key] == pytest.approx(theirs, abs=1e-6), key


# ---------------------------------------------------------------- the Bellman error


def residuals(log, mdp, policy, q, discount):
    value = (policy.probabilities * q).sum(axis=1)
    after = discount * ~log.terminated * value[log.next_state[:, 0]]
    return log.reward + after - q[log.state[:, 0], log.action]


def test_it_is_the_games_bellman_error():
    mdp, log, policy = mdp_log(n=400)
    q = np.random.default_rng(0).normal(size=(mdp.n_states, 3))
    found = bellman_error(
        WithQ(policy.probabilities, q), log, discount=0.9, unbiased=False
    )
    features = fit_features(prepare_evaluation(policy, log), QSettings())
    z = (
        np.eye(3)[log.action][:, :, None]
        * features.transform(log.state.astype(float))[:, None, :]
    )
    delta = residuals(log, mdp, policy, q, 0.9)
    expected = game.bellman_error(
        torch.from_numpy(delta), torch.from_numpy(z.reshape(400, -1))
    )
    assert_allclose(found.value, float(expected), rtol=1e-10)
    # And that of pairs that are written out.
    same = (log.state == log.state.T) & (log.action[:, None] == log.action)
    apart = log.episode[:, None] != log.episode
    pairs = same * np.outer(delta, delta)
    assert_allclose(found.value, pairs.mean(), rtol=1e-10)
    unbiased = bellman_error(
        policy, log, discount=0.9, q_function=WithQ(policy.probabilities, q).q_values
    )
    assert_allclose(unbiased.value, pairs[apart].mean(), rtol=1e-9)
    # Leaving out each episode in turn.
    left = []
    for episode in np.unique(log.episode):
        rest = log.episode != episode
        both = apart & rest[:, None] & rest
        left.append(pairs[both].mean())
    count = len(left)
    error = np.sqrt((count - 1) / count * ((left - np.mean(left)) ** 2).sum())
    assert_allclose(unbiased.standard_error, error, rtol=1e-8)


def test_the_true_q_has_none_on_average():
    mdp, _, policy = mdp_log()
    q = mdp.q_values(policy.probabilities, 0.9)
    values = []
    for seed in range(60):
        log = mdp.sample(np.full((6, 3), 1 / 3), 300, seed)
        values.append(
            [
                bellman_error(
                    WithQ(policy.probabilities, q + wrong),
                    log,
                    discount=0.9,
                    unbiased=unbiased,
                ).value
                for wrong, unbiased in ((0.0, True), (0.0, False), (3.0, True))
            ]
        )
    values = np.array(values)
    error = values.std(axis=0) / np.sqrt(60)
    assert abs(values[:, 0].mean()) < 3 * error[0]
    assert values[:, 1].mean() > 5 * error[1]
    assert values[:, 2].mean() > 5 * error[2]


def test_a_q_function_must_be_there_and_fit():
    _, log, policy = mdp_log(n=100)
    with pytest.raises(ValueError, match="a Table, has no q_values: give a q_function"):
        bellman_error(policy, log, discount=0.9)
    with pytest.raises(
        ValueError, match=r"shape \(.*, 2\) for .* states and 3 actions"
    ):
        bellman_error(
            policy, log, discount=0.9, q_function=lambda s: np.zeros((len(s), 2))
        )
    one = log[log.episode == log.episode[0]]
    with pytest.raises(ValueError, match="holds one episode"):
        bellman_error(
            Constant(*np.bincount(one.action, minlength=3) / len(one)),
            one,
            discount=0.9,
            q_function=lambda s: np.zeros((len(s), 3)),
        )


def test_one_episode_has_no_standard_error():
    log = whole_log(n=9, propensity=np.full(9, 1 / 3))
    policy = Constant(*np.bincount(log.action, minlength=3) / 9)
    for metric in (fitted_q_value, importance_sampling_value):
        found = metric(policy, log, discount=0.9)
        assert np.isnan(found.standard_error)
        assert "without a standard error (1 episode alone has none)" in str(found)


def test_fewer_episodes_than_ten_are_as_many_folds():
    log = uniform_log(random_mdp(n_states=3, n_actions=2), 300).episodes[np.arange(4)]
    policy = estimator(kernel="delta", bandwidth="median").fit(log)
    estimate = doubly_robust_value(policy, log, discount=0.9)
    assert "Q in 4 folds" in str(estimate)
    assert estimate == doubly_robust_value(policy, log, discount=0.9, n_folds=4)
    with pytest.raises(ValueError, match="n_folds=2 cannot be made of 1 episode"):
        doubly_robust_value(policy, log.episodes[[0]], discount=0.9)
