"""Weights are repetition: the same policy and the same values, 1e-10."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import EpisodeKFold, StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.inspection import coverage_report
from sklearn_stackelberg.metrics import (
    bellman_error,
    compare_policies,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
    logged_value,
    value_difference,
)
from sklearn_stackelberg.model_selection import DoublyRobustScorer, FittedQScorer
from sklearn_stackelberg.networks import MLP
from sklearn_stackelberg.solvers import Stochastic

G = 0.9
EXACT = dict(rtol=1e-10, atol=1e-10)


def make_log(seed=0, n_episodes=40, kind="measured"):
    """Episodes of two to four steps, the last of some of them truncated."""
    rng = np.random.default_rng(seed)
    rows = []
    for episode in range(n_episodes):
        x = rng.normal(size=2)
        length = 2 + int(rng.integers(3))
        for step in range(length):
            action = int(rng.integers(3))
            reward = x[0] * (action - 1) - 0.1 * x[1] ** 2 + 0.1 * rng.normal()
            after = 0.7 * x + 0.3 * action + 0.3 * rng.normal(size=2)
            if kind == "finite":
                x, after = np.round(x).clip(-1, 1), np.round(after).clip(-1, 1)
                reward = float(np.round(reward))
            end = step == length - 1 and episode % 3 > 0
            rows.append((x, action, reward, after, end, episode, step))
            x = after
    state, action, reward, after, end, episode, step = map(
        np.array, zip(*rows, strict=True)
    )
    if kind == "continuous":
        action = action + rng.uniform(-0.5, 0.5, size=len(action))
    return Transitions(
        state,
        action,
        reward,
        after,
        end,
        episode=episode,
        step=step,
        propensity=np.full(len(action), 1 / 3) if kind != "continuous" else None,
    )


def times(log, seed=1, low=0):
    """How often each episode stands in the log."""
    return np.random.default_rng(seed).integers(low, 4, size=log.episode.max() + 1)


def repeated(log, counts):
    """The log in which episodes stand so often, copies behind all of the log."""
    parts = [np.flatnonzero(counts[log.episode] > k) for k in range(int(counts.max()))]
    out = log[np.concatenate(parts)]
    out.episode = np.concatenate(
        [log.episode[rows] + 1000 * k for k, rows in enumerate(parts)]
    )
    return out


def pair(kind="measured", seed=0, **kwargs):
    log = make_log(seed, kind=kind, **kwargs)
    counts = times(log)
    return log, counts[log.episode].astype(float), repeated(log, counts)


FITS = {
    "defaults": ("measured", {}),
    "finite": ("finite", {}),
    "one ridge": ("measured", {"ridge": 1e-3}),
    "linear": ("measured", {"q_function": "linear", "policy": "linear"}),
    "few rows": ("measured", {"n_components": None, "initial_states": "first"}),
    "single": ("measured", {"dtype": "float32"}),
    "stochastic": (
        "measured",
        {"solver": Stochastic(max_iter=6, batch_size=16), "n_components": 20},
    ),
    "networks": (
        "measured",
        {
            "solver": Stochastic(max_iter=6, batch_size=16),
            "q_function": MLP((8,)),
            "policy": MLP((8,)),
        },
    ),
    "candidates": ("continuous", {}),
    "gaussian": ("continuous", {"action_distribution": "gaussian"}),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.usefixtures("short_response")
@pytest.mark.parametrize("name", FITS)
def test_a_fit_with_weights_is_one_with_repetitions(name):
    kind, settings = FITS[name]
    log, weight, again = pair(kind)
    policy = StackelbergPolicyEstimator(discount=G, random_state=0, **settings)
    weighted = policy.fit(log, sample_weight=weight)
    at = log.action if name == "gaussian" else None
    value, q = weighted.policy_value_, weighted.q_values(log, at)
    taken, pessimism = weighted.predict(log), weighted.pessimism_
    test = make_log(7, kind=kind)
    score = weighted.score(test)
    other = policy.fit(again)
    assert_allclose(other.policy_value_, value, **EXACT)
    assert_allclose(other.pessimism_, pessimism, **EXACT)
    assert_allclose(other.q_values(log, at), q, **EXACT)
    assert_allclose(other.predict(log), taken, **EXACT)
    assert_allclose(other.score(test), score, **EXACT)
    # And that is not the log without weights.
    assert abs(policy.fit(log).policy_value_ - value) > 1e-4


@functools.cache
def fitted(kind="measured"):
    policy = StackelbergPolicyEstimator(discount=G, deterministic=False)
    return policy.fit(make_log(5, kind=kind))


ESTIMATES = {
    "fitted q": fitted_q_value,
    "fitted q by counts": lambda *a, **k: fitted_q_value(*a, kernel="delta", **k),
    "doubly robust": doubly_robust_value,
    "doubly robust, steps": lambda *a, **k: doubly_robust_value(
        *a, ratios="importance", clip=5.0, **k
    ),
    "importance": importance_sampling_value,
    "importance, plain": lambda *a, **k: importance_sampling_value(
        *a, weighted=False, **k
    ),
    "importance, estimated": lambda *a, **k: importance_sampling_value(
        *a, propensity_model=LogisticRegression(tol=1e-12, max_iter=10_000), **k
    ),
    "logger": lambda policy, *a, **k: logged_value(*a, **k),
    "Bellman error": bellman_error,
    "Bellman error, biased": lambda *a, **k: bellman_error(*a, unbiased=False, **k),
    "difference": value_difference,
    "score": lambda policy, *a, discount, **k: policy.score(*a, **k),
    "coverage": coverage_report,
}
few = pytest.mark.filterwarnings(
    "ignore:(The (importance weights|value rests)|Trees that solve|"
    ".* are cut, not terminated)"
)


def number(found):
    return float(getattr(found, "value", found))


@few
@pytest.mark.parametrize("name", ESTIMATES)
def test_estimates_with_weights_are_those_with_repetitions(name):
    log, weight, again = pair(seed=3)
    if "counts" in name:
        log = log.with_states(np.round(log.state), np.round(log.next_state))
        again = again.with_states(np.round(again.state), np.round(again.next_state))
    policy, estimate = fitted(), ESTIMATES[name]
    weighted = estimate(policy, log, discount=G, sample_weight=weight)
    assert_allclose(
        number(estimate(policy, again, discount=G)), number(weighted), **EXACT
    )
    plain = estimate(policy, log, discount=G)
    assert abs(number(plain) - number(weighted)) > 1e-6
    # The log's own weights are as good as those that are given, and multiply them.
    own = log[:]
    own.weight = 0.5 * weight
    twice = np.full(len(log), 2.0)
    found = estimate(policy, own, discount=G, sample_weight=twice)
    assert_allclose(number(found), number(weighted), **EXACT)
    # Rows of weight 0 are as if they were not there.
    kept = np.flatnonzero(weight)
    left = estimate(policy, log[kept], discount=G, sample_weight=weight[kept])
    assert_allclose(number(left), number(weighted), **EXACT)


@pytest.mark.parametrize("metric", [fitted_q_value, bellman_error])
@pytest.mark.parametrize("kind", ["finite", "continuous"])
def test_the_same_of_other_logs(kind, metric):
    log, weight, again = pair(kind, seed=4, n_episodes=60)
    policy, options = fitted(kind), {}
    if metric is bellman_error:
        # Of few states, equal episodes are not known to be copies.
        options = {"unbiased": False, "q_function": lambda s, *a: s @ np.ones((2, 3))}
        if kind == "continuous":
            options["q_function"] = lambda s, a: s[:, 0] + a[:, 0]
    weighted = metric(policy, log, discount=G, sample_weight=weight, **options)
    found = metric(policy, again, discount=G, **options)
    assert_allclose(found.value, weighted.value, **EXACT)


@few
def test_comparisons_take_weights():
    log, weight, again = pair(seed=3)
    policies = {"one": fitted(), "other": fitted("finite")}
    label = np.where(log.state[:, 0] > 0, "high", "low")
    found = compare_policies(
        policies, log, discount=G, groups=label, sample_weight=weight
    )
    label = np.where(again.state[:, 0] > 0, "high", "low")
    expected = compare_policies(policies, again, discount=G, groups=label)
    for one, other in zip(found.rows, expected.rows, strict=True):
        assert_allclose(one.estimate.value, other.estimate.value, **EXACT)


def test_standard_errors_are_of_episodes_however_much_they_weigh():
    log = make_log(3, n_episodes=200)
    policy = DummyClassifier(strategy="uniform").fit(log.state, log.action)
    four, again = np.full(len(log), 4.0), repeated(log, np.full(200, 4))
    # Of equal weights it is that of the log itself, but for the ridge: a log that
    # counts four times is no larger sample.
    plain = fitted_q_value(policy, log, discount=G, ridge=0.03)
    heavy = fitted_q_value(policy, log, discount=G, ridge=0.12, sample_weight=four)
    assert_allclose(heavy.standard_error, plain.standard_error, rtol=1e-6)
    # Repetitions claim to be further episodes, and halve the error.
    for metric, rtol in ((doubly_robust_value, 0.01), (fitted_q_value, 0.3)):
        heavy = metric(policy, log, discount=G, sample_weight=four)
        found = metric(policy, again, discount=G)
        assert_allclose(found.standard_error, 0.5 * heavy.standard_error, rtol=rtol)


# ---------------------------------------------------------------- routes


def table(log):
    """The log as states and a decision table, with rows that hold a state alone."""
    df = log.to_frame()
    y = df[["action", "reward", "episode", "step", "terminated"]]
    return df[["state_0", "state_1"]].to_numpy(), y


def test_a_weight_of_a_table_follows_its_row():
    log = make_log()
    X, y = table(log)
    order = np.random.default_rng(0).permutation(len(X))
    weight = np.random.default_rng(1).uniform(0.5, 2.0, size=len(X))
    # A forest of the logged actions would move with the order of the rows.
    policy = StackelbergPolicyEstimator(discount=G, support=0.0, bandwidth=1.0)
    policy.fit(X[order], y.iloc[order], sample_weight=weight[order])
    value, score = (
        policy.policy_value_,
        policy.score(X[order], y.iloc[order], weight[order]),
    )
    column = y.assign(sample_weight=weight)
    assert_allclose(policy.fit(X, column).policy_value_, value, rtol=1e-6)
    assert_allclose(policy.score(X, column), score, rtol=1e-6)
    rows = np.flatnonzero(y["action"].notna())
    same = policy.fit(log, sample_weight=weight[rows])
    assert_allclose(same.policy_value_, value, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn_stackelberg.metrics.TrainingRowsWarning")
def test_pipelines_and_searches_hand_weights_on():
    X, y = table(make_log())
    weight = np.random.default_rng(1).uniform(0.1, 3.0, size=len(X))
    plain = StackelbergPolicyEstimator(discount=G, random_state=0)
    pipe = make_pipeline(StandardScaler(), plain)
    alone = pipe.fit(X, y, stackelbergpolicyestimator__sample_weight=weight)
    value, lams = alone[-1].policy_value_, [1.0, 10.0]
    assert value != pipe.fit(X, y)[-1].policy_value_
    folds = EpisodeKFold(2)
    grid = {"stackelbergpolicyestimator__lam": lams}
    with sklearn.config_context(enable_metadata_routing=True):
        # Both have to ask: of a score that does not scikit-learn says so, and has NaN.
        policy = StackelbergPolicyEstimator(discount=G, random_state=0)
        policy.set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        routed = make_pipeline(scaler, policy)
        assert routed.fit(X, y, sample_weight=weight)[-1].policy_value_ == value
        with pytest.warns(UserWarning, match="set_score_request"):
            lost = cross_val_score(
                routed, X, y, cv=folds, params={"sample_weight": weight}
            )
        assert np.isnan(lost).all()
        policy.set_score_request(sample_weight=True)
        search = GridSearchCV(routed, grid, cv=folds).fit(X, y, sample_weight=weight)
        for number, (train, test) in enumerate(folds.split(X, y)):
            for row, lam in enumerate(lams):
                own = StandardScaler().fit(X[train])
                alone = StackelbergPolicyEstimator(discount=G, lam=lam, random_state=0)
                alone.fit(own.transform(X[train]), y.iloc[train], weight[train])
                expected = alone.score(
                    own.transform(X[test]), y.iloc[test], weight[test]
                )
                found = search.cv_results_[f"split{number}_test_score"][row]
                assert_allclose(found, expected)
        for scorer in (FittedQScorer(), DoublyRobustScorer(n_folds=2)):
            scorer.set_score_request(sample_weight=True)
            found = cross_val_score(
                routed, X, y, cv=folds, scoring=scorer, params={"sample_weight": weight}
            )
            train, test = next(folds.split(X, y))
            part = routed.fit(X[train], y.iloc[train], sample_weight=weight[train])
            expected = scorer(part, X[test], y.iloc[test], sample_weight=weight[test])
            assert_allclose(found[0], expected)


@pytest.mark.usefixtures("short_response")
def test_parts_of_a_log_take_weights():
    log, weight, _ = pair()
    settings = {"discount": G, "solver": Stochastic(batch_size=16), "random_state": 0}
    policy = StackelbergPolicyEstimator(n_components=10, **settings)
    policy.partial_fit(log, sample_weight=weight)
    weighted = policy.q_values(log)
    kept = np.flatnonzero(weight)
    own = log[kept]
    own.weight = weight[kept]
    other = StackelbergPolicyEstimator(n_components=10, **settings).partial_fit(own)
    assert_array_equal(other.q_values(log), weighted)
    last = StackelbergPolicyEstimator(n_components=10, **settings).partial_fit(log)
    assert np.abs(last.q_values(log) - weighted).max() > 1e-3


def test_rows_of_no_weight_are_left_out_of_a_fit():
    log = make_log()
    weight = (np.arange(len(log)) % 4 > 0).astype(float)
    policy = StackelbergPolicyEstimator(discount=G, random_state=0)
    value = policy.fit(log, sample_weight=weight).policy_value_
    left = log[np.flatnonzero(weight)]
    with pytest.warns(UserWarning, match="episodes"):
        assert policy.fit(left).policy_value_ == value
    # What they hold does not matter.
    wild = log[:]
    wild.reward = np.where(weight > 0, log.reward, 1e9)
    assert policy.fit(wild, sample_weight=weight).policy_value_ == value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w[:-1], r"one weight for each of the \d+ rows"),
        (lambda w: np.zeros(len(w)), "not zero everywhere"),
        (lambda w: -w, "must be >= 0"),
        (lambda w: np.where(np.arange(len(w)) == 2, np.nan, w), "contains NaN"),
        (lambda w: pd.Series(w).astype(str).radd("a"), "could not convert|dtype"),
    ],
)
def test_bad_weights_get_a_sentence(change, words):
    log = make_log()
    policy, weight = StackelbergPolicyEstimator(discount=G), np.ones(len(log))
    for method in (policy.fit, fitted().score):
        with pytest.raises(ValueError, match=words):
            method(log, sample_weight=change(weight))
