"""Rows that a policy was learned from are known again, and others are not."""

from __future__ import annotations

import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from _logs import estimator
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from sklearn_stackelberg import EpisodeKFold, OnStates, Transitions
from sklearn_stackelberg.datasets import FiniteMDP
from sklearn_stackelberg.inspection import coverage_report
from sklearn_stackelberg.metrics import TrainingRowsWarning, fitted_q_value
from sklearn_stackelberg.metrics._training_rows import TrainingRows
from sklearn_stackelberg.model_selection import FittedQScorer

LAKE = FiniteMDP.from_gymnasium("FrozenLake-v1")
WORDS = r"learned from \d+ % of the rows .*EpisodeKFold"


def lake(seed, n=1_000):
    return LAKE.sample(np.full((16, 4), 0.25), n, seed, horizon=100)


def corridor(seed, n=1_000):
    """Nothing but the actions is random, and episodes begin alike."""
    transition = np.zeros((6, 2, 6))
    for s in range(6):
        transition[s, 0, max(s - 1, 0)] = transition[s, 1, min(s + 1, 5)] = 1.0
    reward, start = np.zeros((6, 2)), np.eye(6)[0]
    process = FiniteMDP(transition, reward, start, np.arange(6) == 5)
    return process.sample(np.full((6, 2), 0.5), n, seed, horizon=30)


def bandit(seed, n=400):
    """Three contexts, two actions, two rewards, an episode for each row."""
    rng = np.random.default_rng(seed)
    x, action = rng.integers(3, size=(n, 1)), rng.choice(["a", "b"], size=n)
    reward = rng.integers(2, size=n)
    return Transitions(x, action, reward, x, np.ones(n), episode=np.arange(n))


def visits(seed, n=600):
    """Continuous states and rewards in episodes of thirty rows."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + 1, 3))
    action = rng.integers(2, size=n)
    reward = x[:-1, 0] * action + rng.normal(size=n)
    episode, step = np.divmod(np.arange(n), 30)
    return Transitions(x[:-1], action, reward, x[1:], episode=episode, step=step)


LOGS = {"lake": lake, "corridor": corridor, "bandit": bandit, "visits": visits}


@pytest.mark.parametrize("kind", LOGS)
def test_independent_logs_of_one_process_are_not_known(kind):
    for seed in range(20):
        known = TrainingRows.of(LOGS[kind](seed))
        assert known.share_of(LOGS[kind](1_000 + seed)) < 0.08


@pytest.mark.parametrize("kind", LOGS)
def test_parts_of_the_log_are_known_in_any_order(kind):
    for seed in range(5):
        log, rng = LOGS[kind](seed), np.random.default_rng(seed)
        known = TrainingRows.of(log)
        n, episodes = len(log), np.unique(log.episode)
        few = rng.permutation(episodes)[: len(episodes) // 4]
        parts = (np.arange(n), rng.permutation(n), rng.random(n) < 0.3)
        for rows in (*parts, np.isin(log.episode, few)):
            assert known.share_of(log[rows]) == 1.0
        half = Transitions.concatenate(log, LOGS[kind](seed + 50))
        # Their names are others now, so that runs alone are known.
        assert 0.4 < known.share_of(half) < 0.6


def test_without_episodes_the_order_of_the_rows_says_it():
    fields = ("state", "action", "reward", "next_state", "terminated")
    log, other = (
        Transitions(*[getattr(lake(seed), name) for name in fields])
        for seed in range(2)
    )
    known = TrainingRows.of(log)
    assert known.share_of(log[:300]) == 1.0
    assert known.share_of(other) == 0.0


def test_a_long_log_is_known_by_a_sample_that_is_the_same_in_each_part():
    log = visits(0, 30_000)
    known = TrainingRows.of(log)
    assert len(pickle.dumps(known)) < 40_000
    assert known.share_of(log[20_000:21_500]) == 1.0
    assert known.share_of(Transitions.concatenate(log, visits(1, 30_000))) == (
        pytest.approx(0.5, abs=0.05)
    )
    assert known.share_of(visits(2, 30_000)) == 0.0


@pytest.fixture(scope="module")
def fitted():
    log = visits(0)
    return estimator(discount=0.5).fit(log), log


def test_scores_and_metrics_warn_of_the_log_of_fit(fitted):
    policy, log = fitted
    for evaluated in (log, log[90:], pickle.loads(pickle.dumps(log))):
        with pytest.warns(TrainingRowsWarning, match=WORDS):
            policy.score(evaluated)
    for one in (policy, pickle.loads(pickle.dumps(policy))):
        with pytest.warns(TrainingRowsWarning, match="from 100 % of the rows"):
            fitted_q_value(one, log, discount=0.5)
    with pytest.warns(TrainingRowsWarning, match="from 50 % of the rows"):
        policy.score(Transitions.concatenate(log, visits(1)))


def test_held_out_logs_and_what_is_asked_for_pass_without_a_word(fitted):
    policy, log = fitted
    dummy = DummyClassifier(strategy="prior").fit(log.state, log.action)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.score(visits(1))
        fitted_q_value(policy, visits(1), discount=0.5)
        fitted_q_value(dummy, log, discount=0.5)
        cross_val_score(estimator(discount=0.5), log, cv=EpisodeKFold(2))
        # A reference that holds the training rows is one by intention.
        FittedQScorer(reference=log)(policy, log)
        coverage_report(policy, log, discount=0.5)


def test_the_last_step_of_a_pipeline_knows_the_log_as_it_saw_it():
    # Fitted and applied at once PCA rounds otherwise than later.
    log = visits(0)
    search = make_pipeline(OnStates(PCA(2)), estimator(discount=0.5)).fit(log)
    with pytest.warns(TrainingRowsWarning, match=r"from (99|100) %"):
        search.score(log)
    columns = pd.DataFrame(log.state, columns=[*"xyz"])
    decided = pd.DataFrame({"action": log.action, "reward": log.reward})
    decided["terminated"] = True
    policy = estimator(discount=0.5).fit(columns, decided)
    with pytest.warns(TrainingRowsWarning, match="from 100 %"):
        policy.score(columns, decided)


@pytest.mark.usefixtures("short_response")
def test_parts_of_a_fit_in_parts_are_all_known():
    log = visits(0)
    few = dict(mirror_steps=1, max_iter=2, n_components=20)
    policy = estimator(discount=0.5, solver="stochastic", **few)
    policy.partial_fit(log[:300]).partial_fit(log[300:])
    for part in (log[:300], log[300:]):
        with pytest.warns(TrainingRowsWarning, match="from 100 %"):
            policy.score(part)


def test_what_is_kept_depends_on_the_log_alone():
    one, other = TrainingRows.of(bandit(0)), TrainingRows.of(bandit(0))
    assert joblib.hash(one) == joblib.hash(other)
    # Of names, not Python's own hash, which differs from process to process.
    assert int(one.by_run.hashes[0]) == 70067017411274477
