"""Weights by the inverse probability of staying, by hand, and what they put right."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from benchmarks.tables.censoring import LOGGER, TARGET, loss, true_value, visits
from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.metrics import fitted_q_value, logged_value
from sklearn_stackelberg.preprocessing import censoring_weights
from sklearn_stackelberg.transitions import as_transitions

G = 0.9


class Known(ClassifierMixin, BaseEstimator):
    """Stays with a probability of half in states over 0, and always in others."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        stays = np.where(X[:, 0] > 0, 0.5, 1.0)
        return np.column_stack([1.0 - stays, stays])


def small():
    """Two patients of three visits; the second is lost at the third."""
    X = np.array([[-1.0], [1.0], [2.0], [1.0], [1.0], [-1.0]])
    y = pd.DataFrame({"episode": [*"aaabbb"], "step": [0, 1, 2, 0, 1, 2]})
    y["action"], y["reward"] = [0, 1, 0, 1, 0, 1], [0.0, 1.0, 2.0, 3.0, 4.0, np.nan]
    y["terminated"] = [False, False, True, False, False, False]
    y["censored"] = [False] * 5 + [True]
    return X, y


def test_weights_are_products_along_episodes():
    X, y = small()
    found = censoring_weights(X, y, classifier=Known())
    assert_allclose(found, [1, 2, 4, 2, 4, 0])
    # Of two at risk at each step both stayed, and one of two at the last.
    found = censoring_weights(X, y, classifier=Known(), stabilized=True)
    assert_allclose(found, [1, 2, 2, 2, 4, 0])
    found = censoring_weights(X, y, classifier=Known(), clip=3)
    assert_allclose(found, [1, 2, 3, 2, 3, 0])
    # Wherever the rows stand.
    order = np.random.default_rng(0).permutation(6)
    mixed = censoring_weights(
        X[order], y.iloc[order], classifier=Known(), stabilized=True
    )
    assert_allclose(mixed, np.array([1, 2, 2, 2, 4, 0])[order])


def test_rows_of_a_log_are_whole_and_what_is_behind_them_is_lost():
    X, y = small()
    log = as_transitions(X, y)
    lost = np.array([False, False, False, False, True])
    found = censoring_weights(log, censored=lost, classifier=Known())
    assert_allclose(found, [1, 1, 2, 1, 2])


def test_of_finite_states_weights_count_those_who_began():
    rng = np.random.default_rng(0)
    state, action = rng.integers(3, size=500), rng.integers(2, size=500)
    lost = rng.random(500) < 0.2 * state
    y = pd.DataFrame({"action": action, "reward": np.where(lost, np.nan, 1.0 * state)})
    y["censored"] = lost
    X, tree = state[:, None].astype(float), DecisionTreeClassifier()
    weight = censoring_weights(X, y, classifier=tree)
    cell = 2 * state + action
    assert_allclose(np.bincount(cell, weight), np.bincount(cell))
    # The mean is that of all, as if nobody had been lost.
    value = logged_value(X, y, discount=0.0, sample_weight=weight).value
    assert_allclose(value, state.mean())
    assert logged_value(X, y, discount=0.0).value < state.mean() - 0.1


@pytest.mark.parametrize("library", ["pandas", "polars", None])
def test_a_pipeline_encodes_its_columns(library):
    rng = np.random.default_rng(0)
    ill, age = rng.integers(2, size=300), rng.normal(size=300)
    y = pd.DataFrame({"action": rng.choice(["a", "b"], 300), "reward": 1.0})
    y["censored"] = rng.random(300) < 0.1 + 0.4 * ill
    y["reward"] = y["reward"].where(~y["censored"])
    words = np.where(ill, "ill", "well")
    X = np.column_stack([words, age.astype(object)])
    columns = [0]
    if library is not None:
        frames = pytest.importorskip(library)
        X, columns = frames.DataFrame({"state": words, "age": age}), ["state"]
    encode = OneHotEncoder(drop=["well"], sparse_output=False), columns
    model = LogisticRegression(C=10.0)
    classifier = make_pipeline(
        make_column_transformer(encode, remainder="passthrough"), model
    )
    found = censoring_weights(X, y, classifier=classifier)
    numbers = np.column_stack([ill, age])
    assert_allclose(found, censoring_weights(numbers, y, classifier=model), rtol=1e-4)
    with pytest.raises(ValueError, match="holds text that is no number"):
        censoring_weights(X, y)
    # Of a log staying is foretold from the next states, too.
    episode, step = np.divmod(np.arange(300), 2)
    given = {"action": y["action"], "reward": np.ones(300), "terminated": [False] * 300}
    given |= {"episode": episode, "step": step}
    lost = (step == 1) & (ill == 1)
    columns = ["state", "next_state"] if library else [0, 2]
    encode = OneHotEncoder(drop=["well", "well"], sparse_output=False), columns
    classifier = make_pipeline(
        make_column_transformer(encode, remainder="passthrough"), model
    )
    weights = [
        censoring_weights(
            Transitions(states, next_state=states, **given), censored=lost, classifier=c
        )
        for states, c in ((X, classifier), (numbers, model))
    ]
    assert_allclose(*weights, rtol=1e-4)
    assert weights[0].max() > 1.0


def test_nobody_lost_weighs_all_alike():
    X, y = visits(0, 50, lossy=False)
    assert_array_equal(censoring_weights(X, y), np.ones(len(X)))


def test_folds_keep_a_forest_from_knowing_who_was_lost():
    X, y = visits(0, 200)
    forest = RandomForestClassifier(30, random_state=0)
    stays = 1.0 / (1.0 - loss(X))
    first = (y["step"] == 0) & ~y["censored"]
    options = {"classifier": forest}
    known = censoring_weights(X, y, **options)[first]
    held = censoring_weights(X, y, **options, n_folds=5)[first]
    assert known.mean() < 0.95 * stays[first].mean() < held.mean()
    again = censoring_weights(X, y, **options, n_folds=5)[first]
    assert_array_equal(again, held)


def test_censored_decisions_are_left_out_and_counted():
    X, y = small()
    log = as_transitions(X, y)
    assert len(log) == 5
    ((why, count),) = log.left_out.items()
    assert "censored" in why
    assert count == 1
    frame = y.assign(x=X[:, 0])
    roles = {name: name for name in y.columns}
    same = Transitions.from_frame(frame, state="x", **roles)
    assert same.left_out == log.left_out
    assert_array_equal(same.reward, log.reward)


def with_(**columns):
    X, y = small()
    return X, y.assign(**columns)


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        (small(), {"censored": np.zeros(6)}, "leave censored= out"),
        ((small()[0], np.zeros(6)), {}, "give the decision table y"),
        ((small()[0], small()[1].drop(columns="censored")), {}, "no column 'censored'"),
        (with_(censored=[False, True] * 3), {}, "row at step \\+ 1 is there"),
        (with_(censored=[False, False, True] * 2), {}, "outcome is known"),
        ((as_transitions(*small()),), {}, "say by censored="),
        (
            (as_transitions(*small()),),
            {"censored": [True, False, False, False, False]},
            "not the last of an episode that goes on",
        ),
        ((as_transitions(*small()),), {"censored": [True]}, "1"),
        (small(), {"clip": -1.0}, "clip must be"),
        (
            (pd.DataFrame(small()[0], columns=["action_0"]), small()[1]),
            {},
            "Rename them",
        ),
        (small(), {"n_folds": 1}, "n_folds must be"),
    ],
)
def test_what_says_nothing_of_who_was_lost(given, options, words):
    with pytest.raises(ValueError, match=words):
        censoring_weights(*given, **options)


def test_weights_put_right_what_a_loss_that_hangs_on_the_state_does():
    # benchmarks/tables/censoring.py has 100 logs, and their intervals.
    bias = {"weighted": [], "plain": [], "logger": []}
    for seed in range(8):
        X, y = visits(seed, 300)
        weight = censoring_weights(X, y)
        for name, given in (("weighted", weight), ("plain", None)):
            found = fitted_q_value(
                TARGET,
                X,
                y,
                discount=G,
                sample_weight=given,
                n_components=60,
                standard_error=None,
            )
            bias[name].append(found.value - true_value(TARGET))
        found = logged_value(X, y, discount=G, sample_weight=weight)
        bias["logger"].append(found.value - true_value(LOGGER))
    error = {name: np.std(b, ddof=1) / np.sqrt(8) for name, b in bias.items()}
    mean = {name: np.mean(b) for name, b in bias.items()}
    assert abs(mean["weighted"]) < 3 * error["weighted"]
    assert abs(mean["logger"]) < 3 * error["logger"]
    assert mean["plain"] > 3 * error["plain"]
    # On the same logs, so that their noise falls out.
    apart = np.subtract(bias["plain"], bias["weighted"])
    assert apart.mean() > 5 * apart.std(ddof=1) / np.sqrt(8)
    assert apart.mean() > 0.15


def test_learning_takes_them():
    X, y = visits(0, 100)
    policy = StackelbergPolicyEstimator(discount=G, random_state=0, n_components=30)
    plain = policy.fit(X, y).policy_value_
    weighted = policy.fit(X, y, sample_weight=censoring_weights(X, y)).policy_value_
    # Those who stayed were the healthier ones.
    assert weighted < plain
