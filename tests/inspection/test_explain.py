"""Short trees in the place of policies: recovered where there is one, and honest."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from itertools import product

import numpy as np
import pandas as pd
import pytest
from _logs import changed, dose_log, estimator, ignore_convergence
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_stackelberg import EpisodeKFold, Transitions
from sklearn_stackelberg.inspection import _explanation, _rule_tree, explain_policy
from sklearn_stackelberg.inspection._rule_tree import optimal_tree, rounded
from sklearn_stackelberg.metrics import doubly_robust_value, fitted_q_value
from sklearn_stackelberg.metrics._differences import difference

pytestmark = ignore_convergence


class Rules(BaseEstimator):
    """A policy of two splits: pulse > 90, and there age > 60."""

    discount = 0.5
    classes_ = np.array(["none", "low", "high"])

    def fit(self, X, y=None):  # needed, as of any last step of a pipeline
        self.is_fitted_ = True
        return self

    def predict(self, states):
        pulse, age = np.asarray(states, dtype=float)[:, :2].T
        return self.classes_[np.where(pulse > 90, np.where(age > 60, 1, 2), 0)]

    def predict_proba(self, states):
        return (self.predict(states)[:, None] == self.classes_) * 1.0


def ward_log(n_episodes=60, length=5, seed=0, frame=False, weight=None):
    """Pulse, age and noise; the reward follows what `Rules` does."""
    rng = np.random.default_rng(seed)
    n = n_episodes * length
    pulse, age = rng.integers(60, 121, n), rng.integers(40, 81, n)
    state = np.column_stack([pulse, age, rng.integers(0, 9, n)]).astype(float)
    after = np.roll(state, -1, axis=0)
    action = Rules.classes_[rng.integers(3, size=n)]
    good = Rules().predict(state) == action
    if frame:
        state, after = (
            pd.DataFrame(s, columns=["pulse", "age", "noise"]) for s in (state, after)
        )
    return Transitions(
        state,
        action,
        good + 0.1 * rng.normal(size=n),
        after,
        np.arange(n) % length == length - 1,
        episode=np.arange(n) // length,
        step=np.arange(n) % length,
        weight=weight,
    )


NAMES = ["pulse", "age", "noise"]


def explained(policy, log, y=None, **settings):
    """With few folds and depths, which are most of the time."""
    settings = {"cv": 2, "max_depth": 2} | settings
    return explain_policy(policy, log, y, **settings)


@pytest.fixture(scope="module")
def found():
    return explained(Rules(), ward_log(), max_depth=3, feature_names=NAMES)


# ---------------------------------------------------------------- identities


def test_a_policy_that_is_a_tree_is_recovered(found):
    assert found.agreement == 1.0
    assert found.loss.value == found.loss.standard_error == 0.0
    assert found.value.value == found.full_value.value
    assert found.depth == 2
    assert [rule.action for rule in found.rules] == ["none", "high", "low"]
    conditions = [rule.conditions for rule in found.rules]
    assert conditions == [
        ("pulse <= 90",),
        ("pulse > 90", "age <= 60"),
        ("pulse > 90", "age > 60"),
    ]
    log = ward_log(seed=1)
    assert_array_equal(found.tree_.predict(log.state), Rules().predict(log.state))


def test_the_tree_is_a_policy_that_metrics_take(found):
    log = ward_log(seed=2)
    for value in (doubly_robust_value, fitted_q_value):
        of_tree = value(found.tree_, log, discount=0.5)
        assert of_tree.value == pytest.approx(
            value(Rules(), log, discount=0.5).value, rel=1e-9
        )
    again = explained(found.tree_, log, discount=0.5)
    assert again.agreement == 1.0


def test_figures_of_the_rules(found):
    log = ward_log()
    assert sum(rule.n_rows for rule in found.rules) == len(log) == found.n_rows
    assert_allclose(sum(rule.share for rule in found.rules), 1.0)
    first = found.rules[0]
    inside = log.state[:, 0] <= 90
    assert first.n_rows == inside.sum()
    assert_allclose(first.share_logged, (log.action[inside] == "none").mean())
    assert first.share_agreeing == 1.0
    # Right is worth 1 more than wrong, and the logger was right in a third.
    assert first.advantage == pytest.approx(2 / 3, abs=0.15)
    assert found.n_episodes == 60
    assert found.fold_agreement == (1.0, 1.0)


def test_a_shorter_tree_is_said_to_lose_what_it_loses():
    found = explained(Rules(), ward_log(), max_depth=1)
    assert found.depth == 1
    # In each of as many discounted steps as five make.
    wrong = 1.0 - found.agreement
    assert 0.5 < found.loss.value / (1.94 * wrong) < 1.5
    assert found.loss.p_value() < 0.01
    assert 0.15 < wrong < 0.35
    assert "Beside the policy it loses 0." in str(found)
    better = replace(found, loss=difference(found.value, found.full_value))
    assert "Beside the policy it gains 0." in str(better)
    assert_array_equal(
        found.tree_.predict(ward_log()), found.tree_.predict(ward_log().state)
    )


def test_the_depth_is_the_smallest_that_decides_nearly_as_any_does():
    found = explained(Rules(), ward_log(), max_depth=3)
    one, two, three = (tried["agreement"] for tried in found.depths)
    assert found.agreement == two == three == 1.0 > one + 0.1
    assert found.depths[1]["loss"] == found.loss.value
    # The later of what decisions and what values ask for; values in any unit.
    for agreements, values, place in (
        ([0.5, 0.5, 0.5], [1.0, 1.0, 1.0], 0),
        ([0.5, 0.85, 0.92], [1.0, 1.0, 1.0], 1),
        ([0.5, 0.8, 0.92], [1.0, 1.0, 1.0], 2),
        ([0.9, 0.9, 0.9], [0.0, 0.95, 1.0], 1),
        ([0.9, 0.9, 0.9], [0.0, 0.85, 1.0], 2),
        ([0.9, 0.8, 0.5], [1.0, 0.5, 0.0], 0),
    ):
        in_cents = [100.0 * value - 7.0 for value in values]
        for worth in (values, in_cents):
            assert _explanation._shortest(agreements, worth) == place


def test_round_thresholds_part_the_same_rows():
    assert rounded(2.0, 3.0) == 2.0
    assert rounded(101.0, 199.0) == 150.0
    assert rounded(90.0, 100.0) == 90.0
    assert rounded(0.123, 0.1251) == 0.125
    assert rounded(-0.2, 0.3) == 0.0
    rng = np.random.default_rng(0)
    ends = np.sort(rng.normal(size=(200, 2)) * 10.0 ** rng.integers(-8, 9, (200, 1)))
    for low, high in ends:
        assert low <= rounded(low, high) < high
    assert rounded(1.7e9, np.nextafter(1.7e9, 2e9)) == 1.7e9


# -------------------------------------------------------------- invariances


def test_the_unit_of_rewards_and_their_origin_do_not_matter(found):
    log = ward_log()
    other = changed(log, reward=7.0 + 100.0 * log.reward)
    # Of episodes of one length a constant shifts all returns alike.
    moved = explained(Rules(), other, feature_names=NAMES)
    assert moved.to_text() == found.to_text()
    assert moved.loss.value == 0.0


def test_rows_in_another_order(found):
    log = ward_log()
    order = np.random.default_rng(0).permutation(len(log))
    shuffled = explained(Rules(), log[order], feature_names=NAMES)
    assert shuffled.to_text() == found.to_text()
    assert shuffled.agreement == 1.0


def test_a_weight_is_repetition():
    log, again = ward_log(30), ward_log(30)
    again.episode = again.episode + 1000
    twice = Transitions.concatenate(log, again)
    repeated = explained(Rules(), twice, feature_names=NAMES)
    log.weight = np.full(150, 2.0)
    weighted = explained(Rules(), log, feature_names=NAMES)
    assert repeated.agreement == weighted.agreement == 1.0
    for one, other in zip(repeated.rules, weighted.rules, strict=True):
        assert one.conditions == other.conditions
        assert one.share == pytest.approx(other.share)
        assert one.advantage == pytest.approx(other.advantage, rel=1e-6)
    zero = np.repeat([2.0, 0.0], 150)
    left_out = explained(Rules(), twice, feature_names=NAMES, sample_weight=zero)
    assert str(left_out) == str(weighted)


def test_the_same_twice():
    log = ward_log(15)
    one, two = (explained(Rules(), log, random_state=3) for _ in range(2))
    assert str(one) == str(two)
    assert one.value == two.value


# ------------------------------------------------------------------- tables


# The end of an episode is at its fifth step, whatever the state.
@pytest.mark.filterwarnings("ignore::sklearn_stackelberg.metrics.HiddenStateWarning")
def test_rules_are_in_the_columns_of_x_before_a_pipeline():
    log = ward_log(60, frame=True)
    rng = np.random.default_rng(0)
    ward = rng.choice(["<b>north</b>", "south"], size=len(log))
    X = log.state.assign(**{"<i>ward</i>": ward})
    X.loc[::9, "noise"] = np.nan
    reward = (log.action == "low") == (ward == "south")
    y = pd.DataFrame({"action": log.action, "reward": reward * 1.0})
    y["episode"], y["step"] = log.episode, log.step
    y["terminated"] = log.terminated
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer(
        [
            ("numbers", numbers, ["pulse", "age", "noise"]),
            ("text", OneHotEncoder(sparse_output=False), ["<i>ward</i>"]),
        ]
    )
    policy = make_pipeline(columns, estimator(deterministic=True, support=0.0))
    policy.fit(X, y)
    found = explained(policy, X, y)
    assert found.depth == 1
    first, second = (rule.conditions[0] for rule in found.rules)
    assert first in ("<i>ward</i> is not 'south'", "<i>ward</i> is not '<b>north</b>'")
    assert second == first.replace("is not", "is")
    assert found.agreement > 0.9
    assert len(found.tree_.predict(X)) == len(X)
    assert fitted_q_value(found.tree_, X, y, discount=0.9).value > 0.0
    html = found._repr_html_()
    assert "<i>" not in html
    assert "&lt;i&gt;ward" in html


def test_names_of_a_frame_and_of_the_policy():
    policy = Rules()
    assert explained(policy, ward_log(20, frame=True)).rules[0].conditions == (
        "pulse <= 90",
    )
    policy.feature_names_in_ = np.array(["heart", "years", "z"])
    found = explained(policy, ward_log(20))
    assert found.rules[0].conditions == ("heart <= 90",)


def test_missing_values_are_asked_for():
    log = ward_log(60)
    state = log.state.copy()
    rng = np.random.default_rng(0)
    gone = rng.random(len(log)) < 0.4
    state[gone, 2] = np.nan
    policy = make_pipeline(SimpleImputer(strategy="constant", fill_value=-9), Lacking())
    policy.fit(state)
    after = np.roll(state, -1, axis=0)
    log = log.with_states(state, after)
    found = explained(policy, log, discount=0.5, feature_names=NAMES)
    assert found.agreement == 1.0
    assert found.rules[0].conditions == ("noise is not missing",)
    assert found.rules[1].conditions == ("noise is missing",)


class Lacking(Rules):
    """What is missing decides."""

    def predict(self, states):
        return self.classes_[np.where(np.asarray(states)[:, 2] == -9, 2, 0)]


# ------------------------------------------------------------------ amounts


class Amounts(BaseEstimator):
    """A dose of one or two numbers, by the sign of the first column."""

    discount = 0.9

    def __init__(self, p=1):
        self.p = p

    def action_nodes(self, states):
        sign = np.where(np.asarray(states, dtype=float)[:, 0] > 0, 0.5, -0.5)
        return np.repeat(sign[:, None, None], self.p, axis=2), np.ones((len(sign), 1))


@pytest.mark.parametrize("p", [1, 2])
def test_amounts_that_are_a_tree_are_recovered(p):
    found = explained(Amounts(p), dose_log(200, p=p))
    assert found.depth == 1
    assert found.agreement == 1.0
    assert found.loss.value == 0.0
    assert [rule.action for rule in found.rules] == (
        [-0.5, 0.5] if p == 1 else [(-0.5, -0.5), (0.5, 0.5)]
    )
    states = np.array([[-1.0, 0.0], [1.0, 0.0]])
    assert found.tree_.predict(states).shape == ((2,) if p == 1 else (2, 2))
    assert f"take {'-0.5' if p == 1 else '(-0.5, -0.5)'} (" in found.to_text()


def test_actions_that_are_not_available_are_not_taken():
    log = ward_log(40)
    mask = np.ones((len(log), 3), dtype=bool)
    mask[np.arange(len(log)), log.state[:, 2].astype(int) % 3] = False
    mask[np.arange(len(log)), np.searchsorted(["high", "low", "none"], log.action)] = 1
    masked = Transitions(
        log.state,
        log.action,
        log.reward,
        log.next_state,
        log.terminated,
        episode=log.episode,
        step=log.step,
        available=mask,
        next_available=np.roll(mask, -1, axis=0),
    )
    policy = estimator(discount=0.5, deterministic=True).fit(masked)
    found = explained(policy, masked)
    tree = found.tree_[-1]
    chosen = tree.predict(found.tree_[:-1].transform(masked.state), available=mask)
    assert mask[np.arange(len(log)), np.searchsorted(tree.classes_, chosen)].all()
    # Of the log, as any policy.
    assert_array_equal(found.tree_.predict(masked), chosen)
    assert_array_equal(
        found.tree_.predict_proba(masked).argmax(1), tree.codes(log, mask)
    )
    named = pd.DataFrame(mask, columns=tree.classes_)[["none", "low", "high"]]
    assert_array_equal(found.tree_.predict(masked.state, available=named), chosen)
    # A rule names what is done in its rows, and nothing else.
    leaf = tree.rules_.apply(masked.state)
    for node, rule in zip(tree.rules_.leaves, found.rules, strict=True):
        assert {rule.action, *rule.otherwise} == {*chosen[leaf == node]}
        words = f"take {rule.action!r}"
        if rule.otherwise:
            words += f" where available, otherwise {rule.otherwise[0]!r}"
        assert f"{words} (" in str(rule)
    assert "where available" in found.to_text()
    assert "where available" in found._repr_html_()


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_depth": 0}, "max_depth must be an integer >= 1"),
        ({"discount": 1.5}, r"discount must be a number in \[0, 1\]"),
        ({"feature_names": ["a"]}, "feature_names has 1 names; one for each of the 3"),
        ({"confidence_level": 2}, "confidence_level must be a number strictly"),
        ({"optimal": "yes"}, "optimal must be True or False, got 'yes'"),
        ({"cv": EpisodeKFold(61)}, "cannot be made of 60 episodes"),
    ],
)
def test_bad_settings_are_refused_in_a_sentence(settings, words):
    with pytest.raises(ValueError, match=words):
        explained(Rules(), ward_log(), **settings)


def test_no_discount_and_no_policy():
    class Plain(Rules):
        discount = None

    with pytest.raises(ValueError, match="has no discount of its own"):
        explained(Plain(), ward_log(20))
    with pytest.raises(ValueError, match="has no predict_proba"):
        explained(object(), ward_log(20))
    dates = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=100)})
    log = ward_log(20)
    y = pd.DataFrame({"action": log.action, "reward": log.reward})
    pipeline = make_pipeline(Days(), Rules()).fit(dates)
    with pytest.raises(ValueError, match="holds dates or times"):
        explained(pipeline, dates, y)


class Days(BaseEstimator):
    def fit(self, X, y=None):
        self.is_fitted_ = True
        return self

    def transform(self, X):
        return np.tile(np.asarray(X["day"].dt.day)[:, None], (1, 3)).astype(float)


def test_the_training_log_is_warned_of():
    log = ward_log(30)
    policy = estimator(discount=0.5).fit(log)
    with pytest.warns(UserWarning, match="was learned from") as caught:
        explained(policy, log, max_depth=1)
    assert caught[0].filename == __file__


# ---------------------------------------------------------------- optimal trees

needs_pystreed = pytest.mark.skipif(
    find_spec("pystreed") is None, reason="optimal trees are found by pystreed"
)


class Either(Rules):
    """Of two splits of which neither helps alone."""

    def predict(self, states):
        pulse, age = np.asarray(states, dtype=float)[:, :2].T
        return self.classes_[1 + ((pulse > 90) != (age > 60))]


def logged_by_either():
    log = ward_log(n_episodes=200)
    # The reward follows what `Either` does.
    good = Either().predict(log.state) == log.action
    return changed(log, reward=good + 0.1 * np.sin(np.arange(len(log))))


@needs_pystreed
def test_an_optimal_tree_looks_two_splits_ahead():
    log = logged_by_either()
    found = explained(Either(), log, optimal=True, feature_names=NAMES)
    assert found.agreement == 1.0
    assert found.depth == 2
    assert len(found.rules) == 4
    assert found.loss.value == found.loss.standard_error == 0.0


@needs_pystreed
def test_the_optimal_tree_of_a_depth_is_the_best_of_all():
    rng = np.random.default_rng(0)
    columns = rng.integers(4, size=(120, 2)).astype(float)
    columns = np.column_stack([columns, np.ones(120)])  # one that says nothing
    cost = (
        rng.uniform(size=(120, 3))
        + 0.5 * rng.uniform(size=(4, 3))[columns[:, 0].astype(int)]
    )

    def best(rows, depth):
        leaf = cost[rows].sum(axis=0).min()
        if not depth:
            return leaf
        found = [leaf]
        for j, at in product(range(2), range(3)):
            low = columns[:, j] <= at
            if min((rows & low).sum(), (rows & ~low).sum()) >= 10:
                both = (best(rows & side, depth - 1) for side in (low, ~low))
                found.append(sum(both))
        return min(found)

    everything = np.ones(120, dtype=bool)
    for depth in (1, 2):
        tree = optimal_tree(
            columns, cost, depth, 10, lambda rows: int(cost[rows].sum(axis=0).argmin())
        )
        leaf = tree.apply(columns)
        paid = [cost[leaf == one].sum(axis=0).min() for one in tree.leaves]
        assert sum(paid) == pytest.approx(best(everything, depth), rel=1e-9)
        assert tree.depth <= depth
    constant = optimal_tree(columns[:, 2:], cost, 2, 10, lambda rows: 0)
    assert constant.depth == 0


@needs_pystreed
@pytest.mark.parametrize("limit", [30.0, 1e-6])
def test_a_search_that_is_cut_off_is_said_to_be(limit, monkeypatch):
    monkeypatch.setattr(_rule_tree, "TIME_LIMIT", limit)
    log = ward_log()
    found = explained(Either(), log, optimal=True, feature_names=NAMES)
    assert found.cut_off == (limit < 1.0)
    assert ("may not be optimal" in str(found)) == found.cut_off
    assert len(found.tree_.predict(log.state)) == len(log)


@needs_pystreed
def test_optimal_trees_are_of_discrete_actions():
    policy = estimator(action_distribution="candidates").fit(dose_log(100))
    with pytest.raises(ValueError, match="optimal=True is for discrete actions"):
        explained(policy, dose_log(100, seed=1), optimal=True)


def test_without_pystreed_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(_explanation, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install pystreed"):
        explained(Rules(), ward_log(), optimal=True)
