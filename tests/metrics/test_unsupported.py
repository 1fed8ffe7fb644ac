"""What a log cannot show is said, and the features of pairs follow the log."""

from __future__ import annotations

import numpy as np
import pytest
from _logs import changed
from numpy.testing import assert_allclose

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.inspection import coverage_report
from sklearn_stackelberg.metrics import _self_check, fitted_q_value
from sklearn_stackelberg.metrics._features import ContinuousFeatures
from sklearn_stackelberg.metrics._holdout import fitted_q
from sklearn_stackelberg.metrics._prepare import prepare_evaluation
from sklearn_stackelberg.metrics._self_check import (
    Choice,
    PairFeatures,
    choose_features,
)
from sklearn_stackelberg.metrics._settings import QSettings, choose_system
from sklearn_stackelberg.metrics._unsupported import bias_bound, unsupported_share


class Follow:
    """A discrete policy from a function of the states."""

    classes_ = np.array([0, 1])

    def __init__(self, choose):
        self.choose = choose

    def predict_proba(self, states):
        return np.eye(2)[self.choose(np.asarray(states)).astype(int)]


class Gain:
    """A continuous policy: a times the state's first column, plus b."""

    def __init__(self, a, b=0.0, nodes=(0.0,)):
        self.a, self.b, self.nodes = a, b, np.array(nodes)

    def action_nodes(self, states):
        mean = self.a * np.asarray(states)[:, :1] + self.b
        actions = mean[:, :, None] + self.nodes[None, :, None]
        return actions, np.full(actions.shape[:2], 1.0 / len(self.nodes))


class Peak:
    """What is best of `test_values_are_not_drawn_down_where_a_policy_goes`."""

    def action_nodes(self, states):
        best = 0.5 + 0.4 * np.tanh(np.asarray(states)[:, :1])
        return best[:, :, None], np.ones((len(best), 1))


def bandit(n, d, barred, seed=0):
    """Both actions by halves; the first never where x > 0, if that is barred."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    action = rng.integers(2, size=n)
    action[barred & (x[:, 0] > 0)] = 1
    reward = x[:, 0] * (action - 0.5) + rng.normal(size=n)
    return Transitions(x, action, reward, x, np.ones(n))


G0 = {"discount": 0.0}
GAIN, SPREAD, DISCOUNT = -0.4, 0.5, 0.9


def control_log(n_episodes, seed=0, n_steps=20):
    """x' = 0.9 x + a / 2 + noise of 0.2, costs x² + a² / 10."""
    rng = np.random.default_rng(seed)
    x, rows = rng.normal(size=n_episodes), []
    for step in range(n_steps):
        action = GAIN * x + SPREAD * rng.normal(size=n_episodes)
        after = 0.9 * x + 0.5 * action + 0.2 * rng.normal(size=n_episodes)
        cost = x**2 + 0.1 * action**2
        rows.append([x, action, -cost, after, np.arange(n_episodes), x * 0 + step])
        x = after
    x, action, reward, after, episode, step = np.stack(rows, axis=2).reshape(6, -1)
    return Transitions(
        x[:, None],
        action,
        reward,
        after[:, None],
        np.zeros(len(x)),
        is_initial=step == 0,
        episode=episode.astype(int),
        step=step.astype(int),
    )


def control_value(gain):
    """Of a = gain x from x ~ N(0, 1): V = −(P x² + c), by its own equation."""
    cost, pull = 1.0 + 0.1 * gain**2, 0.9 + 0.5 * gain
    p = cost / (1.0 - DISCOUNT * pull**2)
    return -(p + DISCOUNT * p * 0.2**2 / (1.0 - DISCOUNT))


def fit_of(policy, log, discount, **settings):
    return fitted_q(prepare_evaluation(policy, log), discount, QSettings(**settings))


def small_features(data):
    system = choose_system(data, DISCOUNT, QSettings(n_components=20))
    return system.features.kernel_features


# ---------------------------------------------------------------- unsupported actions


@pytest.mark.parametrize(("n", "d"), [(300, 1), (300, 2), (300, 5), (300, 30)])
def test_a_covered_policy_is_supported(n, d):
    fit = fit_of(Follow(lambda s: s[:, 0] > 0), bandit(n, d, False), 0.0)
    assert unsupported_share(fit.system) == bias_bound(fit.system) == 0.0


@pytest.mark.parametrize("d", [1, 5, 13])
def test_an_action_that_was_never_logged_near_the_state_is_not(d):
    log = bandit(1000, d, True)
    fit = fit_of(Follow(lambda s: 0 * s[:, 0]), log, 0.0)
    expected = (log.state[:, 0] > 0).mean()
    assert unsupported_share(fit.system) == pytest.approx(expected, abs=0.02)
    low, high = fit.data.return_range(0.0)
    assert_allclose(
        bias_bound(fit.system), (high - low) * unsupported_share(fit.system)
    )
    # Twice the rewards, twice the bound.
    twice = fit_of(fit.data.policy, changed(log, reward=2 * log.reward), 0.0)
    assert_allclose(bias_bound(twice.system), 2 * bias_bound(fit.system))


def test_the_first_unsupported_action_is_discounted():
    """0 leads to 1, where the policy's action was never logged."""
    state = np.tile([0.0, 1.0], 40)[:, None]
    log = Transitions(
        state,
        np.zeros(80, dtype=int),
        state[:, 0],
        1.0 - state,
        np.tile([0, 1], 40),
        is_initial=np.tile([1, 0], 40),
        episode=np.repeat(np.arange(40), 2),
        step=np.tile([0, 1], 40),
    )
    # Its first action elsewhere, so that it is known.
    log = changed(log, action=np.where(np.arange(80) == 0, 1, log.action))
    fit = fit_of(Follow(lambda s: s[:, 0] == 1), log, 0.8, ridge=1e-9)
    assert unsupported_share(fit.system) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("policy", "low", "high"),
    [
        (Gain(-0.7), 0.0, 0.005),
        (Gain(GAIN, nodes=(-0.5, 0.0, 0.5)), 0.0, 0.005),
        (Gain(GAIN, 4 * SPREAD), 0.9, 1.0),
        (Gain(GAIN, nodes=(0.0, 4 * SPREAD)), 0.8, 1.0),
    ],
)
def test_continuous_actions_beyond_the_logger_s_are_unsupported(policy, low, high):
    log = control_log(60)
    log.action[:2] = [-4.0, 4.0]  # within the log's range all of them are
    share = unsupported_share(fit_of(policy, log, DISCOUNT).system)
    assert low <= share <= high


@pytest.mark.filterwarnings("ignore:The value rests on a handful:UserWarning")
def test_the_report_says_it_and_warns():
    log = bandit(400, 2, True)
    policy = Follow(lambda s: 0 * s[:, 0])
    with pytest.warns(UserWarning, match="actions that the log does not support"):
        report = coverage_report(policy, log, discount=0.0, min_effective_rows=0)
    expected = unsupported_share(fit_of(policy, log, 0.0).system)
    assert report.unsupported_share == expected
    # The bias bound of an interval is that of the report, to the last digit.
    value = fitted_q_value(policy, log, discount=0.0)
    assert report.bias_bound == value.bias_bound > 0.0
    assert f"(a bias bound of {value.bias_bound:.3g})" in str(report)
    said = f"Up to {100 * expected:.0f} % of its value, after actions that the log"
    assert said in str(report)
    settings = {"discount": 0.0, "min_effective_rows": 0, "max_unsupported": 0.6}
    assert coverage_report(policy, log, **settings).warnings == []


# ---------------------------------------------------------------- features of pairs


def test_features_of_pairs_are_their_kernel_and_quadratic_columns():
    log = control_log(20)
    state, action = log.state, log.action[:, None]
    for smoothness in (None, 1.5, 2.5):
        rng = np.random.RandomState(0)
        features = PairFeatures(smoothness, 1.0, "median", 50, rng).fit(state, action)
        z, k = features.transform(state, action), features.projection_.shape[1]
        assert z.shape[1] == features.n_features_out_ == k + 1 + 2 + 3
        gram = features.state_gram(state) * features.action_gram(action)
        assert_allclose(gram, features.gram(state, action), rtol=1e-9)
        assert_allclose((gram @ features.projection_), z[:, :k], atol=1e-9)
        # Any quadratic function is in their span.
        y = 1.0 + state[:, 0] * action[:, 0] - action[:, 0] ** 2
        fitted = np.linalg.lstsq(z[:, k:], y, rcond=None)[0]
        assert_allclose(z[:, k:] @ fitted, y, atol=1e-9)
    many = np.random.default_rng(0).normal(size=(400, 12))
    wide = PairFeatures(None, 1.0, "median", 50, np.random.RandomState(0))
    assert wide.fit(many, action).terms(many, action).shape == (400, 1 + 2 * 13)


def test_means_over_nodes_are_of_all_columns():
    log, policy = control_log(10), Gain(-0.5, nodes=(-0.3, 0.1, 0.2))
    data = prepare_evaluation(policy, log)
    features = small_features(data)
    places = np.arange(len(data.states))
    mean = ContinuousFeatures(data, features).mean(places)
    expected = np.mean(
        [features.transform(data.states, data.nodes[:, j]) for j in range(3)], axis=0
    )
    assert_allclose(mean[:, :-1], expected, atol=1e-9)


def near(data, reach, action):
    """Eq. (85) of one action in each state of the data, (N,)."""
    square = ((action[:, None] - data.nodes) ** 2).sum(axis=2) / reach**2
    return (data.probabilities * np.exp(-0.5 * square**4)).sum(axis=1)


def test_the_last_column_is_the_policy_s():
    log, policy = control_log(10), Gain(-0.5, nodes=(-0.3, 0.1, 0.2))
    data = prepare_evaluation(policy, log)
    features = small_features(data)
    z = ContinuousFeatures(data, features)
    places, rows = np.arange(len(data.states)), np.arange(len(data))
    reach = 4.0 * len(log) ** (-1 / 3) * log.action.std()
    by_node = [near(data, reach, data.nodes[:, j]) for j in range(3)]
    assert_allclose(z.mean(places)[:, -1], np.mean(by_node, axis=0))
    action = np.zeros((len(data.states), 1))
    action[data.state_index] = np.reshape(log.action, (-1, 1))
    expected = near(data, reach, action)[data.state_index]
    assert_allclose(z.logged(rows)[:, -1], expected)
    # Another policy has its own, and a part of the log that of the whole.
    other = prepare_evaluation(Gain(0.3), log)
    own = ContinuousFeatures(other, features)
    assert_allclose(z.of(other).logged(rows), own.logged(rows))
    assert_allclose(z.of(other).mean(places), own.mean(places))
    part = z.of(data.take(rows[20:50])).logged(np.arange(30))
    assert_allclose(part, z.logged(rows[20:50]))


def test_candidates_that_states_share_have_the_same_column():
    log = control_log(10)
    data = prepare_evaluation(Gain(0.0, nodes=(-0.3, 0.1, 0.2)), log)
    features = small_features(data)
    assert data.has_shared_nodes
    shared = ContinuousFeatures(data, features).mean(np.arange(9))
    data = prepare_evaluation(Gain(0.0, nodes=(-0.3, 0.1, 0.2)), log)
    vars(data)["has_shared_nodes"] = False
    assert_allclose(ContinuousFeatures(data, features).mean(np.arange(9)), shared)


@pytest.mark.filterwarnings("ignore:Trees that solve:UserWarning")
def test_values_are_not_drawn_down_where_a_policy_goes(monkeypatch):
    """A peak of which few rows are near, in six columns that hide it."""

    def bias():
        off = []
        for seed in range(8):
            rng = np.random.default_rng(seed)
            x, a = rng.normal(size=(300, 6)), rng.uniform(size=300)
            best = 0.5 + 0.4 * np.tanh(x[:, 0])
            y = np.exp(-30.0 * (a - best) ** 2) + 0.2 * rng.normal(size=300)
            value = fitted_q_value(Peak(), Transitions(x, a, y, x, np.ones(300)), **G0)
            off.append((value.value - 1.0) / value.standard_error)
        return np.mean(off)

    with_column = bias()
    monkeypatch.delattr(PairFeatures, "policy_reach")
    assert abs(with_column) < 0.5 * abs(bias())


class RightDose:
    """A dose that is right by its ratio."""

    def action_nodes(self, states):
        best = np.exp(3.0 + np.asarray(states) @ [[0.5], [0.4], [-0.3]])
        return best[:, :, None], np.ones((len(best), 1))


def test_logarithms_of_doses_are_taken_if_they_foretell(monkeypatch):
    """Of doses that span no decades."""
    off = {}
    for span in (4.0, np.inf):
        monkeypatch.setattr(_self_check, "_SPAN", span)
        off[span] = []
        for seed in range(3):
            rng = np.random.default_rng(seed)
            x = rng.normal(size=(800, 3))
            right = RightDose().action_nodes(x)[0][:, 0, 0]
            dose = np.exp(0.5 * np.log(right) + 1.5 + 0.6 * rng.normal(size=800))
            y = -(np.log(dose / right) ** 2) + 0.2 * rng.normal(size=800)
            fit = fit_of(RightDose(), Transitions(x, dose, y, x, np.ones(800)), 0.0)
            features = fit.system.features.kernel_features
            assert features.action_scale_.is_log.all() == (span == 4.0)
            off[span].append(fit.value)
    assert np.abs(off[4.0]).mean() < 0.7 * np.abs(off[np.inf]).mean()


def test_what_is_chosen_follows_the_log():
    data = prepare_evaluation(Gain(-0.7), control_log(60))
    choice = choose_features(data, DISCOUNT, 0.03, "median", 200)
    assert choice.smoothness is not None
    # Of a reward that jumps at many actions short lengths foretell more.
    rng = np.random.default_rng(0)
    x, a = rng.uniform(size=(1500, 1)), rng.uniform(size=1500)
    log = Transitions(x, a, np.floor(8 * a) % 2, x, np.ones(1500))
    data = prepare_evaluation(Gain(0.1, 0.4), log)
    rough = choose_features(data, 0.0, 0.03, "median", 200)
    assert rough.smoothness is None or rough.multiple < 1
    assert rough.ridge < Choice().ridge
    # Too few episodes to hold any out.
    one = prepare_evaluation(Gain(-0.7), control_log(2))
    assert choose_features(one, DISCOUNT, 0.03, "median", 200) == Choice()


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_a_ridge_is_made_smaller_where_that_costs_no_error(noise):
    """Where nothing is left to chance it is; beside noise it would widen errors."""
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=(1500, 2)), rng.uniform(size=1500)
    y = a * np.exp(-(x[:, 0] ** 2))
    log = Transitions(x, a, y + noise * rng.standard_t(3, size=1500), x, np.ones(1500))
    fit = fit_of(Gain(0.0, 0.8), log, 0.0)
    share = fit.system.features.kernel_features.ridge_share
    whole = fit.system.with_ridge(fit.system.ridge / share).solve()
    assert fit.standard_error <= 1.03 * whole.standard_error
    if noise:
        assert share >= 0.3
        return
    truth = 0.8 * np.exp(-(x[:, 0] ** 2)).mean()
    assert share == 0.01
    assert abs(fit.value - truth) < abs(whole.value - truth)


def test_a_named_kernel_is_taken_with_its_ridge():
    data = prepare_evaluation(Gain(-0.7), control_log(10))
    settings = QSettings("laplacian", n_components=20, ridge=0.05)
    system = choose_system(data, DISCOUNT, settings)
    assert system.ridge == 0.05
    assert not isinstance(system.features.kernel_features, PairFeatures)


def test_lengths_and_multiples_of_a_bandwidth_are_kept():
    data = prepare_evaluation(Gain(-0.7), control_log(10))
    for bandwidth in ([0.5], [0.5, 0.2]):
        settings = QSettings(bandwidth=bandwidth, n_components=20)
        features = choose_system(data, DISCOUNT, settings).features.kernel_features
        lengths = getattr(features.kernel_, "lengths", features.bandwidth_)
        assert_allclose(lengths[: len(bandwidth)], bandwidth)


def test_the_bias_of_control_falls_with_the_log():
    """Before, 1.9 standard errors at 400 episodes; five logs give it to 0.4."""
    gain, errors = -0.8, {}
    truth = control_value(gain)
    for n_episodes in (25, 250):
        fits = [
            fit_of(Gain(gain), control_log(n_episodes, seed), DISCOUNT, n_components=75)
            for seed in range(5)
        ]
        scaled = [(fit.value - truth) / fit.standard_error for fit in fits]
        errors[n_episodes] = np.mean([fit.value - truth for fit in fits])
        assert abs(np.mean(scaled)) < 1.0
    assert abs(errors[250]) < 0.1
