"""What is never available is never done, and nothing else changes."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from _logs import (
    EXACT,
    counts_of,
    dose_log,
    estimator,
    ignore_convergence,
    random_mdp,
    staged_log,
    staged_rule,
    uniform_log,
    walk_log,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import EpisodeKFold, OnStates, Transitions
from sklearn_stackelberg.model_selection import FittedQScorer
from sklearn_stackelberg.networks import MLP

pytestmark = [ignore_convergence, pytest.mark.usefixtures("short_response")]

LOG = staged_log()
NEW = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
NETWORKS = dict(
    q_function=MLP((5,)),
    policy=MLP((5,)),
    ridge=0.0,
    n_components=30,
    bandwidth="median",
    max_iter=3,
    mirror_steps=2,
    batch_size=50,
)
KINDS = {"kernel": {}, "every action supported": {"support": 0.0}, "network": NETWORKS}
every_kind = pytest.mark.parametrize(
    "kind", [*list(KINDS)[:2], pytest.param("network", marks=pytest.mark.slow)]
)
ignore_cuts = pytest.mark.filterwarnings("ignore:Cut episodes:UserWarning")


def masked(log, mask, after=None):
    """The log with masks in the order of its sorted actions."""
    names = ("state", "action", "reward", "next_state", "terminated", "episode", "step")
    return Transitions(
        **{name: getattr(log, name) for name in names},
        available=mask,
        next_available=mask if after is None else after,
    )


def table_of(log):
    """The log as X and y."""
    roles = ("action", "reward", "episode", "step", "terminated")
    y = pd.DataFrame({name: getattr(log, name) for name in roles})
    mask = zip(log.available_actions, log.available.T, strict=True)
    return log.state, y.assign(**{f"available_{label}": can for label, can in mask})


@every_kind
def test_what_is_not_available_has_probability_zero(kind):
    policy = estimator(**KINDS[kind]).fit(LOG)
    assert policy.classes_.tolist() == [*"abcd"]
    probabilities, mask = policy.predict_proba(NEW), staged_rule(NEW)
    assert (probabilities[~mask] == 0.0).all()
    assert (probabilities[mask] > 0.0).all()
    assert_allclose(probabilities.sum(axis=1), 1.0)
    for chosen in (policy.predict(NEW), policy.sample(np.tile(NEW, (50, 1)), 0)):
        codes = np.searchsorted(policy.classes_, chosen)
        assert np.tile(mask, (50, 1))[np.arange(len(codes)), codes].all()
    # The same where nothing of the log supports what is available.
    nowhere = np.array([[5.0, 5.0]])
    assert policy.predict_proba(nowhere, available=[[0, 1, 0, 0]]).tolist() == [
        [0.0, 1.0, 0.0, 0.0]
    ]
    assert np.isfinite(policy.score(LOG))


@every_kind
def test_a_mask_that_allows_everything_changes_nothing(kind):
    log = walk_log()
    everything = masked(log, np.ones((len(log), 3)))
    free = estimator(**KINDS[kind]).fit(log)
    same = estimator(**KINDS[kind]).fit(everything)
    probabilities = same.predict_proba(everything)
    assert_array_equal(probabilities, free.predict_proba(log.state))
    assert same.policy_value_ == free.policy_value_
    assert same.score(everything) == free.score(log)


def test_treatments_of_stages_are_the_treatments_of_each_stage(monkeypatch):
    # Under names of their own and a mask, or under the same two names.
    same_names = staged_log(labels="abab", available=None)
    settings = dict(kernel="delta", bandwidth="median", initial_states="first")
    own = estimator(**settings).fit(LOG)
    shared = estimator(**settings).fit(same_names)
    assert shared.classes_.tolist() == [*"ab"]
    expected = shared.predict_proba(NEW)
    assert expected.max() > 0.9
    assert_allclose(own.predict_proba(NEW)[:2, :2], expected[:2], atol=1e-8)
    assert_allclose(own.predict_proba(NEW)[2:, 2:], expected[2:], atol=1e-8)
    assert_allclose(own.q_values(NEW)[:2, :2], shared.q_values(NEW)[:2], atol=1e-8)
    assert_allclose(own.policy_value_, shared.policy_value_, rtol=1e-8)
    # What the policy does is a feature of the score's Q, of both stages or of each.
    assert own.score(LOG) == pytest.approx(shared.score(same_names), rel=1e-3)
    none = "sklearn_stackelberg.metrics._holdout.varied_actions"
    monkeypatch.setattr(none, lambda _: np.empty(0, dtype=int))
    own, shared = estimator(**settings).fit(LOG), estimator(**settings).fit(same_names)
    assert own.score(LOG) == pytest.approx(shared.score(same_names), rel=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_exact_limit_is_dynamic_programming_over_what_is_available(seed):
    mdp, discount = random_mdp(seed), 0.9
    log = uniform_log(mdp, 4000)
    allowed = np.random.default_rng(seed).random((mdp.n_states, 3)) < 0.5
    allowed[~allowed.any(axis=1), 0] = True
    assert not allowed.all()

    def rule(states):
        return allowed[np.asarray(states)[:, 0].astype(int)]

    possible = rule(log.state)[np.arange(len(log)), log.action]
    log = log[possible]
    counts = counts_of(log, mdp)
    values = np.zeros(mdp.n_states)
    for _ in range(500):
        q = counts._look_ahead(values, discount)
        values = np.where(allowed, q, -np.inf).max(axis=1)
    settings = dict(discount=discount, kernel="delta", bandwidth="median") | EXACT
    policy = estimator(**settings).fit(
        Transitions(
            log.state,
            log.action,
            log.reward,
            log.next_state,
            log.terminated,
            available=rule,
        )
    )
    states = counts.states()[counts.visits.sum(axis=1) > 0]
    chosen = policy.predict(states)
    assert allowed[states[:, 0], chosen].all()
    greedy = counts.policy_value(policy.predict(counts.states()), discount)
    best = counts.initial @ values
    assert best - greedy <= 1e-3 * abs(best)
    # What is not available would have been better somewhere.
    assert counts.optimal_value(discount) >= best


def test_the_ways_to_say_what_is_available_agree():
    by_rule = estimator().fit(LOG)
    expected = by_rule.predict_proba(NEW)
    mask = staged_rule(NEW)
    rows = estimator().fit(*table_of(LOG))
    frame = pd.DataFrame(mask, columns=[*"abcd"])[[*"dcab"]]
    for given in (mask, mask.tolist(), frame, staged_rule):
        assert_array_equal(rows.predict_proba(NEW, available=given), expected)
        assert_array_equal(by_rule.predict_proba(NEW, available=given), expected)
    # A log brings its own.
    assert_array_equal(rows.predict_proba(LOG), by_rule.predict_proba(LOG))
    assert_array_equal(rows.predict(LOG.episodes), by_rule.predict(LOG))
    assert rows.score(LOG) == by_rule.score(*table_of(LOG))
    assert_array_equal(
        rows.sample(NEW, 3, available=mask), by_rule.sample(NEW, random_state=3)
    )
    # What was given goes first; a policy learned without masks takes one too.
    only = np.eye(4, dtype=bool)
    assert_array_equal(by_rule.predict(NEW, available=only), [*"abcd"])
    free = estimator().fit(staged_log(available=None))
    assert_array_equal(free.predict_proba(NEW, available=only), only)
    assert free.predict_proba(LOG)[~LOG.available].max() == 0.0


def test_states_of_which_nothing_says_what_is_available_are_refused():
    rows = estimator().fit(*table_of(LOG))
    for method in (rows.predict, rows.predict_proba, rows.sample):
        with pytest.raises(ValueError, match="learned from a log with masks"):
            method(NEW)
    with pytest.raises(ValueError, match="learned from a log with masks"):
        rows.score(staged_log(available=None))
    for given, words in (
        (staged_rule(NEW)[:3], "3 rows for 4 states"),
        (staged_rule(NEW)[:, :3], "3 columns, and 4 were expected"),
        (np.zeros((4, 4)), r"no action of \['a', .* can be taken at rows 0, 1, 2, 3"),
        (pd.DataFrame(np.ones((4, 3)), columns=[*"abx"]), r"no column for \['c', 'd'"),
    ):
        with pytest.raises(ValueError, match=words):
            rows.predict(NEW, available=given)


def test_a_policy_with_a_callable_pickles():
    policy = estimator().fit(LOG)
    back = pickle.loads(pickle.dumps(policy))
    assert_array_equal(back.predict_proba(NEW), policy.predict_proba(NEW))


def test_a_pipeline_passes_masks_on():
    plain = make_pipeline(StandardScaler(), estimator()).fit(*table_of(LOG))
    whole = make_pipeline(OnStates(StandardScaler()), estimator()).fit(LOG)
    mask = staged_rule(NEW)
    expected = plain.predict_proba(NEW, available=mask)
    assert (expected[~mask] == 0.0).all()
    assert_array_equal(whole.predict_proba(NEW, available=mask), expected)
    assert_array_equal(
        whole.predict(LOG), plain.predict(LOG.state, available=LOG.available)
    )
    # The callable is of states before they were scaled.
    with pytest.raises(ValueError, match="learned from a log with masks"):
        whole.predict(NEW)
    assert whole.score(LOG) == plain.score(*table_of(LOG))


@pytest.mark.parametrize("scoring", [None, FittedQScorer()], ids=["score", "fitted Q"])
def test_searches_over_episodes_run_with_masks(scoring):
    grid, cv = {"lam": [1.0, 10.0]}, EpisodeKFold(2)
    search = GridSearchCV(
        estimator(), grid, cv=cv, scoring=scoring, error_score="raise"
    )
    by_log = search.fit(LOG).cv_results_["mean_test_score"]
    assert (search.predict_proba(NEW)[~staged_rule(NEW)] == 0.0).all()
    by_table = search.fit(*table_of(LOG)).cv_results_["mean_test_score"]
    assert_array_equal(by_table, by_log)
    assert np.isfinite(by_log).all()


@every_kind
def test_later_fits_need_masks_as_the_first_did(kind):
    settings = KINDS[kind] | {"warm_start": True}
    policy = estimator(**settings).fit(LOG)
    again = policy.fit(staged_log(seed=1))
    assert (again.predict_proba(NEW)[~staged_rule(NEW)] == 0.0).all()
    with pytest.raises(ValueError, match=r"has no masks .* was begun with them"):
        policy.fit(staged_log(available=None))
    policy = estimator(**settings).fit(staged_log(available=None))
    with pytest.raises(ValueError, match=r"has masks .* was begun without them"):
        policy.fit(LOG)


@ignore_cuts
def test_parts_of_a_log_bring_their_masks():
    policy = estimator(**NETWORKS)
    for part in (LOG[:100], LOG[100:]):
        policy.partial_fit(part)
    assert (policy.predict_proba(NEW)[~staged_rule(NEW)] == 0.0).all()
    # The second stage alone: all of its columns are there, and not all actions.
    policy.partial_fit(LOG[LOG.step == 1])
    assert (policy.predict_proba(NEW)[~staged_rule(NEW)] == 0.0).all()


@ignore_cuts
def test_a_training_fold_that_lacks_an_action_says_where_nothing_is_left():
    log = LOG[(LOG.action != "c") & (LOG.action != "d")]
    with pytest.raises(ValueError, match=r"next_available .*of \['a', 'b'\].* rows 0"):
        estimator().fit(log)
    # With one of them left, it is what is done.
    policy = estimator().fit(LOG[LOG.action != "c"])
    assert policy.predict_proba(NEW)[2:].tolist() == [[0.0, 0.0, 1.0]] * 2


def test_continuous_actions_have_no_masks():
    log = dose_log(n=60)
    log.action[:] = np.round(log.action, 1)
    levels = len(np.unique(log.action))
    mask = np.ones((60, levels), dtype=bool)
    given = masked(log, mask)
    with pytest.raises(ValueError, match="the logged actions are continuous"):
        estimator(action_type="continuous").fit(given)
    policy = estimator(action_type="continuous").fit(log)
    for call in (
        lambda: policy.predict(log.state, available=mask),
        lambda: policy.predict(given),
        lambda: policy.score(given),
    ):
        with pytest.raises(ValueError, match="actions are continuous"):
            call()


# As a table without closing rows, the log loses the last row of each episode.
@pytest.mark.filterwarnings("ignore:Of .* rows with:UserWarning")
def test_prerequisites_are_kept_to():
    # Six modules, each of which needs the one three before it, as a whole.
    rng, n_modules, rows = np.random.default_rng(0), 6, []

    def open_modules(states):
        done = np.asarray(states) >= 0.5
        return np.column_stack([np.ones((len(done), 3), dtype=bool), done[:, :3]])

    for episode in range(40):
        mastery = np.zeros(n_modules)
        for step in range(8):
            can = open_modules(mastery[None])[0]
            chance = can * (0.2 + (mastery < 0.5))
            action = rng.choice(n_modules, p=chance / chance.sum())
            after = mastery.copy()
            after[action] = min(1.0, mastery[action] + rng.uniform(0.2, 0.6))
            rows.append(
                (mastery, action, after.sum() - mastery.sum(), after, episode, step)
            )
            mastery = after
    state, action, reward, after, episode, step = map(np.array, zip(*rows, strict=True))
    log = Transitions(
        state, action, reward, after, episode=episode, step=step, available=open_modules
    )
    for settings in ({}, {"support": 0.0}):
        policy = estimator(n_components=30, **settings).fit(log)
        probabilities = policy.predict_proba(state)
        assert (probabilities * ~log.available).sum() == 0.0
        assert log.available[np.arange(len(log)), policy.predict(state)].all()
    # Without the mask and the support, they are not.
    free = estimator(n_components=30, support=0.0).fit(
        state, table_of(log)[1].iloc[:, :5]
    )
    assert (free.predict_proba(state) * ~log.available).sum(axis=1).mean() > 0.01
