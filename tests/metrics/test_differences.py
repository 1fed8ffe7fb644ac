"""Differences of policies, to the logger too, and several policies at once."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from _logs import changed, ignore_few_episodes, random_mdp
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import norm
from scipy.stats import t as student_t
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from test_metrics import Constant, Table

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.metrics import (
    OffPolicyEstimate,
    compare_policies,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
    logged_value,
    value_difference,
)
from sklearn_stackelberg.metrics._estimate import freedom, with_error
from sklearn_stackelberg.metrics._simultaneous import simultaneous_quantile

EVERY = [
    (fitted_q_value, {}),
    (doubly_robust_value, {}),
    (doubly_robust_value, {"ratios": "importance"}),
    (importance_sampling_value, {}),
    (importance_sampling_value, {"weighted": False, "per_decision": False}),
]
ESTIMATORS = ["fitted_q", "doubly_robust", "importance"]


def bandit(n=300, seed=0, effect=1.0):
    """Two columns, and a logger whose probabilities are known."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(n, 2))
    chance = logger(state)
    action = (rng.random(n) < chance).astype(int)
    reward = 3.0 + state[:, 1] + effect * action * state[:, 0] + rng.normal(size=n)
    propensity = np.where(action == 1, chance, 1.0 - chance)
    everywhere = np.ones(n, dtype=bool)
    return Transitions(
        state,
        action,
        reward,
        state,
        everywhere,
        is_initial=everywhere,
        propensity=propensity,
    )


def logger(state):
    return 1.0 / (1.0 + np.exp(-0.7 * state[:, 0]))


class Rule:
    """A policy of two actions by the probability of the second."""

    classes_ = np.array([0, 1])

    def __init__(self, chance):
        self.chance = chance

    def predict_proba(self, states):
        chance = self.chance(np.asarray(states, dtype=float))
        return np.column_stack([1.0 - chance, chance])


def two_stages(n=300, seed=0):
    """The second state follows the first action; the log knows its probabilities."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    rows = []
    for stage in (0.0, 1.0):
        state = np.column_stack([x, np.full(n, stage)])
        chance = logger(state)
        action = (rng.random(n) < chance).astype(int)
        reward = action * x * (0.5 + 0.5 * stage) + 0.5 * rng.normal(size=n)
        propensity = np.where(action == 1, chance, 1.0 - chance)
        x = 0.5 * x + action - 0.5 + 0.5 * rng.normal(size=n)
        after = np.column_stack([x, np.full(n, stage + 1.0)])
        rows.append((state, action, reward, after, propensity))
    state, action, reward, after, propensity = (
        np.stack(part, axis=1).reshape(2 * n, *part[0].shape[1:])
        for part in zip(*rows, strict=True)
    )
    return Transitions(
        state,
        action,
        reward,
        after,
        np.tile([False, True], n),
        episode=np.repeat(np.arange(n), 2),
        step=np.tile([0, 1], n),
        propensity=propensity,
    )


class Chain:
    """A finite process, its logger and another policy."""

    def __init__(self, end=0.1):
        self.mdp = random_mdp(3, n_states=5, n_actions=2)
        self.mdp.termination[:] = end
        self.logger = np.full((5, 2), 0.5)
        second = np.linspace(0.2, 0.8, 5)
        self.policy = np.column_stack([1.0 - second, second])

    def log(self, n=900, seed=0):
        return self.mdp.sample(self.logger, n, seed, horizon=20)


def estimate_of(value=2.0, psi=None, **fields):
    psi = np.random.default_rng(0).normal(size=40) if psi is None else psi
    error = np.sqrt(len(psi) / (len(psi) - 1) * ((psi - psi.mean()) ** 2).sum())
    given = dict(
        value=value,
        standard_error=float(error),
        effective_sample_size=30.0,
        n_episodes=len(psi),
        n_transitions=4 * len(psi),
        method="A method",
        error_method="the influence function",
        contributions=psi,
        pieces=np.arange(len(psi)),
    )
    return OffPolicyEstimate(**{**given, **fields})


# ---------------------------------------------------------------- arithmetic


@pytest.mark.parametrize(("metric", "settings"), EVERY)
def test_contributions_are_what_the_error_is_of(metric, settings):
    log = two_stages(80)
    policy = Rule(lambda s: 0.3 + 0.0 * s[:, 0])
    found = metric(policy, log, discount=0.9, **settings)
    psi = found.contributions
    assert psi.shape == (80,)
    assert found.pieces.tolist() == list(range(80))
    error = np.sqrt(80 / 79 * ((psi - psi.mean()) ** 2).sum())
    assert_allclose(found.standard_error, error, rtol=1e-12)
    # An episode's own contribution stays with its name, wherever its rows stand.
    order = np.random.default_rng(1).permutation(160)
    moved = metric(policy, log[order], discount=0.9, **settings)
    assert sorted(moved.pieces) == sorted(found.pieces)
    if metric is not doubly_robust_value:  # whose folds follow the order
        same = moved - found
        assert_allclose([same.value, same.standard_error], 0.0, atol=1e-8)


@pytest.mark.parametrize(("metric", "settings"), EVERY)
def test_a_policy_less_itself_is_nothing(metric, settings):
    log = two_stages(60)
    policy = Rule(lambda s: 0.6 + 0.0 * s[:, 0])
    found = metric(policy, log, discount=0.9, **settings)
    nothing = found - found
    assert nothing.value == nothing.standard_error == 0.0
    assert nothing.confidence_interval == (0.0, 0.0)
    assert nothing.p_value() == 1.0
    assert nothing.p_value(1.0) == 0.0
    once = (found + 9.0).ratio(found + 9.0)
    assert once.value == 1.0
    assert once.standard_error == 0.0


numbers = st.floats(-100, 100, allow_nan=False)


@given(numbers, numbers, st.integers(0, 1000))
def test_estimates_are_added_as_numbers_are(a, b, seed):
    first, second = np.random.default_rng(seed).normal(size=(2, 12))
    one, other = estimate_of(a, first, bias_bound=0.5), estimate_of(b, second)
    there, back = one - other, other - one
    assert there.value == -back.value == (-back).value
    assert_allclose(there.standard_error, back.standard_error, rtol=1e-12)
    assert_allclose(there.contributions, -back.contributions, rtol=1e-12)
    assert_allclose((there + other).contributions, first, atol=1e-12)
    assert there.bias_bound == back.bias_bound == 0.5
    # Var(a ± b) = Var a + Var b ± 2 Cov.
    squares = (one + other).standard_error ** 2 + there.standard_error**2
    separate = one.standard_error**2 + other.standard_error**2
    assert_allclose(squares, 2 * separate, rtol=1e-9)
    shifted = 3.0 - 2.0 * (one + 1.0) / 2.0
    assert_allclose(shifted.value, 2.0 - a, atol=1e-9)
    assert_allclose(shifted.standard_error, one.standard_error)
    assert shifted.bias_bound == 0.5
    assert_allclose(sum([one, other]).value, a + b)


def test_pieces_are_paired_by_name():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 20))
    order = rng.permutation(20)
    one = estimate_of(1.0, first)
    other = estimate_of(0.0, second[order], pieces=np.arange(20)[order])
    assert_allclose((one - other).contributions, first - second)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (estimate_of(pieces=np.arange(1, 41)), "not of the same pieces of one log"),
        (estimate_of(psi=np.zeros(3)), "40 in 160 rows, and 3 in 12 rows"),
        (estimate_of(contributions=None), "does not keep what each episode contribut"),
    ],
)
def test_what_cannot_be_paired_is_refused(other, words):
    for operation in (
        lambda: estimate_of() - other,
        lambda: estimate_of().ratio(other),
    ):
        with pytest.raises(ValueError, match=words):
            operation()
    with pytest.raises(TypeError):
        estimate_of() - "a"


def test_a_number_is_called_what_it_is():
    one, other = estimate_of(), estimate_of(1.0)
    found = {
        "value": (one, one + other, 2 * one + 1),
        "difference": (one - other, 2 * (one - other), (one - other) + (one - other)),
        "ratio": ((one + 90.0).ratio(other + 90.0),),
    }
    for noun, estimates in found.items():
        for estimate in estimates:
            assert f": {noun} {estimate.value:.0f}" in str(estimate)
            assert f">{noun}<" in estimate._repr_html_()


def test_a_p_value_is_where_the_interval_ends():
    found = estimate_of(bias_bound=0.7)
    for end in found.confidence_interval:
        assert_allclose(found.p_value(end), 0.05, rtol=1e-9)
    assert found.p_value(found.value + 0.6) == 1.0
    score = (2.0 - 0.7) / found.standard_error
    df = found.degrees_of_freedom
    assert_allclose(found.p_value(), 2 * student_t.sf(score, df))


def test_degrees_of_freedom_fall_where_few_pieces_contribute():
    rng = np.random.default_rng(0)
    even = rng.uniform(-1, 1, size=200)
    assert freedom(even) == 199.0
    # Satterthwaite: the variance of the variance of t's of 9 has κ = 3 + 6 / 5.
    tails = rng.standard_t(9, size=200_000)
    assert_allclose(freedom(tails), 2 * len(tails) / 3.2, rtol=0.1)
    alone = np.r_[np.zeros(199), 1.0]
    assert freedom(alone) < 3.0
    assert freedom(np.zeros(5)) == 4.0
    # Neither units nor order nor an offset count.
    other = 3.0 - 7.0 * rng.permutation(tails[:50])
    assert_allclose(freedom(other), freedom(tails[:50]))


def test_a_ratio_is_by_the_delta_method():
    rng = np.random.default_rng(0)
    first, second = 0.01 * rng.normal(size=(2, 50))
    one, other = estimate_of(3.0, first), estimate_of(2.0, first + second)
    # The derivative of the ratio along the contributions.
    step = 1e-6
    along = (3.0 + step * first) / (2.0 + step * (first + second))
    found = one.ratio(other)
    assert found.value == 1.5
    assert_allclose(found.contributions, (along - 1.5) / step, rtol=1e-4)
    with pytest.raises(ValueError, match="value to divide by is 0"):
        one.ratio(estimate_of(0.0))
    with pytest.warns(UserWarning, match=r"less than 3 of its standard errors"):
        one.ratio(estimate_of(0.01, second))


def test_intervals_stay_inside_the_limits():
    found = estimate_of(limits=(0.0, 3.0))
    assert found.confidence_interval == (0.0, 3.0)
    assert (found - found * 0.5).limits == (-1.5, 3.0)
    assert (-found + 1.0).limits == (-2.0, 1.0)
    # An error beyond the contributions stays with every function of the estimate, but
    # no error is more than all that there can be.
    wide = replace(found, standard_error=20.0)
    assert (wide - found).standard_error == 6.0
    extra = 20.0**2 - found.standard_error**2
    wide, found = (replace(one, limits=(-np.inf, np.inf)) for one in (wide, found))
    assert_allclose((wide - found).standard_error, np.sqrt(extra))


def test_bias_is_shown_apart():
    text = "up to 0.70 of it because the log has few rows, or none, of what the policy"
    shown = estimate_of(psi=np.eye(30)[0], bias_bound=0.7)
    for words in (str, with_error):
        assert text in words(shown)
        assert "up to" not in words(replace(shown, bias_bound=0.0))
        assert "up to" not in words(replace(shown, bias_bound=1e-12))
    # Without how either was found, a sentence of both is one.
    _, _, interval = str(shown).partition(", 95 %")
    assert interval.partition(";")[0] in with_error(shown)
    unknown = replace(shown, standard_error=np.nan, bias_bound=0.0)
    assert with_error(unknown).endswith(" (without a standard error)")
    html = replace(shown, method="a < b")._repr_html_()
    assert "<th>value</th>" in html
    assert "<caption>a &lt; b</caption>" in html
    assert "<th>95 % interval</th><td>[" in html


# ---------------------------------------------------------------- the logger


def test_the_logger_is_the_mean_return():
    log = two_stages(50)
    returns = np.bincount(log.episode, 0.9**log.step * log.reward)
    found = logged_value(log, discount=0.9)
    assert_allclose(found.value, returns.mean())
    assert_allclose(found.standard_error, returns.std(ddof=1) / np.sqrt(50))
    assert_allclose(found.contributions, (returns - returns.mean()) / 50)
    one_step = logged_value(bandit(), discount=0.0)
    assert_allclose(one_step.value, bandit().reward.mean())


def test_weights_are_repetitions_of_episodes():
    log = two_stages(30)
    times = np.random.default_rng(0).integers(0, 3, size=30)
    drawn = np.repeat(np.arange(30), times)
    rows = (2 * drawn[:, None] + [0, 1]).ravel()
    again = changed(log[rows], episode=np.arange(2 * len(drawn)) // 2)
    weighted = logged_value(log, discount=0.9, sample_weight=times[log.episode])
    assert_allclose(weighted.value, logged_value(again, discount=0.9).value)


@pytest.mark.parametrize("end", [0.1, 0.02])
def test_a_cut_end_is_followed_by_the_loggers_value(end):
    chain = Chain(end)
    truth = chain.mdp.policy_value(chain.logger, 0.9)
    found = [logged_value(chain.log(400, seed), discount=0.9) for seed in range(20)]
    assert "what follows a cut end" in found[0].method
    values = np.array([one.value for one in found])
    assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(20)
    errors = np.mean([one.standard_error for one in found])
    # 16 % is the standard deviation of that of 20.
    assert 0.7 < errors / values.std(ddof=1) < 1.4
    # What is cut after one step is all V.
    log = chain.log()
    first = changed(log[log.step == 0], terminated=np.zeros((log.step == 0).sum()))
    rows = np.r_[np.arange(len(log))]
    assert np.isfinite(logged_value(log[rows], discount=0.9).standard_error)
    assert np.isfinite(logged_value(first, discount=0.9).standard_error)


def test_rows_of_no_whole_episodes_have_a_value_too():
    chain = Chain()
    log = chain.log(2000)
    rows = changed(log, episode=None, step=None, is_initial=log.is_initial)
    found = logged_value(rows, discount=0.9)
    assert found.method == "Fitted-Q evaluation of the logger"
    assert len(found.contributions) == 2000
    truth = chain.mdp.policy_value(chain.logger, 0.9)
    assert abs(found.value - truth) < 3 * found.standard_error


def test_never_ending_rewards_shift_values_and_no_differences():
    chain = Chain(0.0)
    log = chain.log()
    policy = Table(chain.policy)
    raised = changed(log, reward=log.reward + 2.0)
    one, other = (logged_value(each, discount=0.9) for each in (log, raised))
    assert_allclose(other.value - one.value, 20.0, rtol=1e-9)
    for estimator in ("fitted_q", "doubly_robust"):
        one, other = (
            value_difference(policy, each, discount=0.9, estimator=estimator)
            for each in (log, raised)
        )
        assert_allclose(other.value, one.value, rtol=1e-6)
        assert_allclose(other.standard_error, one.standard_error, rtol=1e-6)


# ---------------------------------------------------------------- differences


def test_the_difference_of_a_bandit_is_the_textbooks():
    log = bandit()
    policy = Rule(lambda s: 1.0 / (1.0 + np.exp(-2.0 * s[:, 0])))
    found = value_difference(
        policy, log, discount=0.0, estimator="importance", weighted=False
    )
    chance = policy.predict_proba(log.state)[np.arange(300), log.action]
    terms = (chance / log.propensity - 1.0) * log.reward
    assert_allclose(found.value, terms.mean())
    assert_allclose(found.standard_error, terms.std(ddof=1) / np.sqrt(300))
    separate = np.hypot(found.policy.standard_error, found.baseline.standard_error)
    assert found.standard_error < 0.8 * separate
    assert_allclose(found.lift.value, found.policy.value / found.baseline.value)
    assert ": difference " in str(found)
    assert "<th>difference</th>" in found._repr_html_()
    assert ": value " in str(found.policy)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_policy_is_its_own_baseline(estimator):
    log = two_stages(60)
    policy = Rule(lambda s: 0.6 + 0.0 * s[:, 0])
    settings = dict(discount=0.9, estimator=estimator)
    found = value_difference(policy, log, baseline=policy, **settings)
    assert found.value == found.standard_error == 0.0
    other = Rule(lambda s: 0.3 + 0.0 * s[:, 0])
    there = value_difference(policy, log, baseline=other, **settings)
    back = value_difference(other, log, baseline=policy, **settings)
    assert_allclose(there.value, -back.value)
    assert_allclose(there.standard_error, back.standard_error)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_the_logger_earns_what_was_logged(share):
    """Importance sampling knows it exactly, so that nothing is left to test.

    Not where episodes are cut either: what follows it does not count, and says so.
    """
    log = two_stages()
    log.terminated &= log.episode >= share * 300
    settings = {"discount": 0.9, "estimator": "importance"}
    said = f"{int(300 * share)} of 300 episodes are cut, .* {81 * share:.0f} % of the"
    with pytest.warns(UserWarning, match=said) if share else nullcontext():
        found = value_difference(Rule(logger), log, **settings)
    assert found.value == found.standard_error == 0.0
    assert found.p_value() == 1.0


@ignore_few_episodes
@pytest.mark.parametrize("estimator", ESTIMATORS[1:])
def test_a_logger_of_one_action_is_a_policy_of_one(estimator):
    """What follows a cut end is estimated for both alike, or for none."""
    log = two_stages()
    never = np.zeros(len(log), dtype=bool)
    log = changed(log, action=never.astype(int), terminated=never, propensity=None)
    only = Constant(1.0)
    found = value_difference(only, log, discount=0.95, estimator=estimator)
    assert found.value == pytest.approx(0.0, abs=1e-9)
    assert found.standard_error == pytest.approx(0.0, abs=1e-9)


def steeper(state):
    return 1.0 / (1.0 + np.exp(-2.0 * state[:, 0]))


# Logs, and the policy that logged them.
LOGGERS = {
    "bandit": (lambda seed: bandit(150, seed), Rule(logger), 0.0),
    "two stages": (lambda seed: two_stages(100, seed), Rule(logger), 0.9),
    "chain": (lambda seed: Chain().log(500, seed), Table(Chain().logger), 0.9),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGGERS)
def test_the_test_has_its_size(name):
    """On a few small logs; `python -m benchmarks differences` has hundreds."""
    make, policy, discount = LOGGERS[name]
    found = [
        value_difference(policy, make(seed=seed), discount=discount, n_components=40)
        for seed in range(15)
    ]
    values = np.array([one.value for one in found])
    errors = np.mean([one.standard_error for one in found])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(15)
    # 19 % is the standard deviation of that of 15.
    assert 0.65 < errors / values.std(ddof=1) < 1.5
    # Of 15 tests at 5 %, more than 3 are one in two hundred.
    assert sum(one.p_value() < 0.05 for one in found) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["doubly_robust", "fitted_q"])
def test_intervals_hold_the_difference_of_a_chain(estimator):
    chain = Chain()
    truth = chain.mdp.policy_value(chain.policy, 0.9)
    truth -= chain.mdp.policy_value(chain.logger, 0.9)
    held = 0
    for seed in range(15):
        found = value_difference(
            Table(chain.policy), chain.log(600, seed), discount=0.9, estimator=estimator
        )
        low, high = found.confidence_interval
        held += low <= truth <= high
    # Of 15 at 95 %, fewer than 12 are one in two hundred.
    assert held >= 12


def test_pipelines_and_tables_are_seen_through():
    log = bandit(80)
    log.state[3, 0] = np.nan
    y = pd.DataFrame({"action": log.action, "reward": log.reward})
    policy = make_pipeline(SimpleImputer(), DummyClassifier(strategy="prior"))
    policy.fit(log.state, log.action)
    found = value_difference(policy, log.state, y, discount=0.0)
    imputed = policy[0].transform(log.state)
    expected = value_difference(policy[1], imputed, y, discount=0.0)
    assert_allclose(found.value, expected.value)
    assert_allclose(found.standard_error, expected.standard_error)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"estimator": "tournament"}, "estimator must be one of"),
        ({"discount": 1.1}, "discount must be a number"),
        (
            {"estimator": "fitted_q", "standard_error": "bootstrap", "n_bootstrap": 2},
            "does not keep what each episode contributes",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(settings, words):
    settings = {"discount": 0.0} | settings
    with pytest.raises(ValueError, match=words):
        value_difference(Constant(0.5, 0.5), bandit(40), **settings)


# ---------------------------------------------------------------- several at once


def test_one_estimate_has_students_quantile():
    # Of uniform contributions, whose tails are no heavier than a normal's.
    psi = np.random.default_rng(0).uniform(-1, 1, size=(30, 1))
    assert simultaneous_quantile(psi, 0.95) == pytest.approx(student_t.ppf(0.975, 29))
    one_sided = simultaneous_quantile(psi, 0.95, one_sided=True)
    assert one_sided == pytest.approx(student_t.ppf(0.95, 29))
    # Of the same estimate thrice, too, and of two that nothing moves.
    same = np.hstack([psi, 2.0 * psi, -psi, np.zeros((30, 2))])
    assert simultaneous_quantile(same, 0.95) == pytest.approx(2.045, abs=0.04)
    assert np.isfinite(simultaneous_quantile(np.zeros((30, 2)), 0.95))


@given(st.integers(2, 6), st.integers(0, 100), st.booleans())
def test_it_is_between_one_alone_and_bonferroni(m, seed, one_sided):
    rng = np.random.default_rng(seed)
    psi = rng.normal(size=(50, m)) @ rng.normal(size=(m, m))
    found = simultaneous_quantile(psi, 0.9, one_sided)
    alpha = 0.1 if one_sided else 0.05
    df = min(freedom(column) for column in psi.T)
    assert student_t.isf(alpha, df) <= found <= student_t.isf(alpha / m, df)
    assert found == simultaneous_quantile(psi, 0.9, one_sided)


def test_independent_estimates_have_the_quantile_of_the_largest():
    psi, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(4000, 6)))
    # P(all |z| < q) = (2 Φ(q) − 1)⁵: five centred columns, orthogonal to a constant.
    psi = psi[:, 1:] - psi[:, 1:].mean(axis=0)
    expected = norm.ppf(0.5 + 0.5 * 0.95**0.2)
    assert simultaneous_quantile(psi, 0.95) == pytest.approx(expected, abs=0.03)


POLICIES = {
    "even": Rule(lambda s: 0.5 + 0.0 * s[:, 0]),
    "steep": Rule(steeper),
    "never": Rule(lambda s: 0.1 + 0.0 * s[:, 0]),
}


def test_policies_side_by_side():
    log = bandit(120)
    found = compare_policies(POLICIES, log, discount=0.0)
    psi = np.column_stack([row.estimate.contributions for row in found.rows])
    quantile = simultaneous_quantile(psi, 0.95)
    for row, (name, policy) in zip(found.rows, POLICIES.items(), strict=True):
        alone = value_difference(policy, log, discount=0.0)
        assert row.policy == name
        assert row.group is None
        assert row.difference.value == alone.value
        assert row.estimate == doubly_robust_value(policy, log, discount=0.0)
        low, high = row.interval
        reach = quantile * row.estimate.standard_error + row.estimate.bias_bound
        assert_allclose(high - low, 2 * reach)
        # Wider than alone.
        ends, inside = row.difference_interval, alone.confidence_interval
        assert ends[0] < inside[0]
        assert inside[1] < ends[1]
    frame = pd.DataFrame(found.to_dicts())
    assert frame["policy"].tolist() == list(POLICIES)
    assert (frame["difference_low"] < frame["difference"]).all()
    assert str(found).endswith("95 % intervals, all at once.")
    assert str(found).startswith("policy  value")
    assert "less logger" in str(found)
    assert found._repr_html_().count("<tr>") == 4


def test_a_policy_is_the_baseline():
    log = bandit(120)
    found = compare_policies(POLICIES, log, discount=0.0, baseline="even")
    assert found.rows[0].difference is None
    assert found.rows[1].difference.baseline == found.rows[0].estimate
    assert "difference" not in found.to_dicts()[0]
    alone = compare_policies(
        POLICIES, log, discount=0.0, baseline=None, simultaneous=False
    )
    assert all(row.difference is None for row in alone.rows)
    for row in alone.rows:
        assert_allclose(row.interval, row.estimate.confidence_interval)
    assert "each alone" in str(alone)
    assert "less" not in str(alone)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_groups_are_of_initial_states(estimator):
    chain = Chain()
    log = chain.log(4000)
    found = compare_policies(
        {"policy": Table(chain.policy)},
        log,
        discount=0.9,
        groups=np.where(log.state[:, 0] < 2, "low", "high"),
        estimator=estimator,
    )
    assert [row.group for row in found.rows] == [None, "high", "low"]
    initial = chain.mdp.initial
    for row, states in zip(
        found.rows, ([0, 1, 2, 3, 4], [2, 3, 4], [0, 1]), strict=True
    ):
        share = initial[states] / initial[states].sum()
        truth = share @ chain.mdp.state_values(chain.policy, 0.9)[states]
        assert abs(row.estimate.value - truth) < 3.5 * row.estimate.standard_error
        low, high = row.difference_interval
        less = truth - share @ chain.mdp.state_values(chain.logger, 0.9)[states]
        assert low < less < high
    # Each episode is of one group.
    first, *parts = (row.estimate.contributions for row in found.rows)
    assert all(len(part) == len(first) for part in parts)
    assert "all " in str(found)
    assert "high" in str(found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"baseline": "nobody"}, "baseline must be 'logger', None or a name of"),
        ({"groups": np.zeros(3)}, r"groups has shape \(3,\)"),
        ({"groups": np.arange(300) > 297}, "Group True has 2 episodes; at least 5"),
        (
            {"groups": np.r_[np.nan, np.zeros(299)]},
            r"no label in 1 rows \(rows \[0\]\)",
        ),
        ({"estimator": "none"}, "estimator must be one of"),
        (
            {"baseline": None, "estimator": "fitted_q", "standard_error": None},
            "keeps no contributions",
        ),
    ],
)
def test_comparisons_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        compare_policies(POLICIES, bandit(), discount=0.0, **settings)
    with pytest.raises(ValueError, match="policies is empty"):
        compare_policies({}, bandit(), discount=0.0)


# ---------------------------------------------------------------- what is warned of


def rewards_below_zero(n=60, propensity=0.5):
    """Costs of eight steps, the logger a coin."""
    rng = np.random.default_rng(1)
    x, action = rng.normal(size=8 * n), rng.integers(2, size=8 * n)
    frame = pd.DataFrame({"x": x, "action": action, "propensity": propensity})
    frame["episode"], frame["step"] = np.arange(8 * n) // 8, np.arange(8 * n) % 8
    frame["terminated"] = frame["step"] == 7
    frame["reward"] = -1.0 * (action != (x > 0))
    return frame[["x"]], frame.drop(columns="x")


@ignore_few_episodes
@pytest.mark.parametrize("propensity", [1.0, 0.01])
@pytest.mark.parametrize(("metric", "settings"), EVERY[2:])
def test_wrong_propensities_are_named(propensity, metric, settings):
    X, y = rewards_below_zero(propensity=propensity)
    settings = {"discount": 0.9, "weighted": False} | settings
    with pytest.warns(UserWarning, match=r"average .* where 1 was expected: the prop"):
        found = metric(Constant(0.5, 0.5), X, y, **settings)
    # Nothing is reported that rewards of -1 and 0 cannot add up to.
    assert -10.0 <= found.value <= 0.0
    assert found.standard_error <= 10.0 + 1e-12
    low, high = found.confidence_interval
    assert -10.0 - 1e-12 <= low <= high <= 0.0


def test_few_effective_episodes_are_warned_of():
    X, y = rewards_below_zero()
    policy = Rule(lambda s: np.where(s[:, 0] > 0, 0.9, 0.1))
    for metric, settings in EVERY[2:4]:
        with pytest.warns(
            UserWarning, match=r"effective sample size of \d.* of 60, by"
        ):
            metric(policy, X, y, discount=0.9, **settings)
    # Even weights help little where rewards are rare.
    log = changed(bandit(), reward=np.arange(300) < 4, propensity=np.full(300, 0.5))
    with pytest.warns(UserWarning, match=r"size of 1\d.* of 300, by what each"):
        importance_sampling_value(Constant(0.5, 0.5), log, discount=0.0)
    # Of a small log whose weights are even Student's t knows it.
    importance_sampling_value(Constant(0.5, 0.5), *rewards_below_zero(6), discount=0.9)


def test_propensities_are_not_fitted_to_noise():
    """Ratios to those that were estimated are 1 on average: no warning."""
    rng = np.random.default_rng(1)
    state = rng.normal(size=(300, 6))
    action = (rng.random(300) < logger(state)).astype(int)
    log = Transitions(state, action, action, state, np.ones(300, bool))
    assert importance_sampling_value(Rule(steeper), log, discount=0.0).value > 0.4


def test_propensities_that_ignore_the_state_are_named():
    """A coin's, of a logger that is none: the mean weight of a coin is 1 with them."""
    log = bandit(1500)
    importance_sampling_value(Constant(0.5, 0.5), log, discount=0.0)
    log = changed(log, propensity=np.full(1500, 0.5))
    with pytest.warns(UserWarning, match=r"of action \d where column 0 is (low|high)"):
        importance_sampling_value(Constant(0.5, 0.5), log, discount=0.0)
