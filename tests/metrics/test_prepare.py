"""What is evaluated: the last step of pipelines and searches, on the log it sees."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from _logs import (
    changed,
    estimator,
    ignore_convergence,
    ignore_few_episodes,
    staged_log,
    staged_rule,
    walk_log,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import EpisodeKFold, OnStates, Transitions
from sklearn_stackelberg.inspection import coverage_report
from sklearn_stackelberg.metrics import (
    bellman_error,
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
)
from sklearn_stackelberg.metrics._importance_weights import propensities
from sklearn_stackelberg.metrics._prepare import prepare_evaluation, unwrap

pytestmark = [ignore_convergence, ignore_few_episodes]
METRICS = (
    fitted_q_value,
    importance_sampling_value,
    doubly_robust_value,
    bellman_error,
)


def table(n=150, seed=0):
    """States, and decisions about them; each episode's last row has no action."""
    rng = np.random.default_rng(seed)
    step = np.arange(n) % 10
    states = pd.DataFrame(
        {"x": 3 + np.cumsum(rng.normal(size=n)) / 5, "y": 100 * rng.normal(size=n)}
    )
    y = pd.DataFrame({"episode": np.arange(n) // 10, "step": step})
    y["action"] = pd.array(rng.integers(2, size=n), dtype="Int64")
    y["reward"] = states["x"] + rng.normal(size=n)
    y["propensity"] = 0.5
    y.loc[step == 9, ["action", "reward", "propensity"]] = None
    return states, y


def joined(states, y):
    return Transitions.from_frame(
        states.join(y),
        state=["x", "y"],
        **{name: name for name in y.columns},
    )


@pytest.fixture(scope="module")
def routes():
    """One pipeline, fitted on the log and on the table, and what to evaluate it on."""
    states, y = table()
    log = joined(states, y)
    first = make_pipeline(OnStates(StandardScaler()), estimator()).fit(log)
    second = make_pipeline(StandardScaler(), estimator()).fit(states, y)
    return (first, joined(*table(seed=1))), (second, *table(seed=1))


@pytest.mark.parametrize("metric", METRICS)
def test_both_routes_are_alike(routes, metric):
    by_log, by_table = (metric(*route, discount=0.9) for route in routes)
    assert by_log == by_table


def test_a_pipeline_is_its_last_step_on_what_it_transforms(routes):
    (pipeline, log), _ = routes
    inner = pipeline[0].transform(log)
    for metric in METRICS:
        expected = metric(pipeline[-1], inner, discount=0.9)
        assert metric(pipeline, log, discount=0.9) == expected


def test_a_search_is_the_best_that_it_found(routes):
    (pipeline, log), _ = routes
    search = GridSearchCV(
        pipeline, {"stackelbergpolicyestimator__lam": [1.0, 10.0]}, cv=EpisodeKFold(2)
    ).fit(log)
    nested = make_pipeline("passthrough", search)
    expected = fitted_q_value(search.best_estimator_, log, discount=0.9)
    assert fitted_q_value(search, log, discount=0.9) == expected
    assert fitted_q_value(nested, log, discount=0.9) == expected


def test_transformers_of_states_alone_are_applied_to_both_states(routes):
    (_, log), (pipeline, *_) = routes
    _, inner, rows, n_given = unwrap(pipeline, log)
    assert_allclose(inner.state, pipeline[0].transform(log.state))
    assert_allclose(inner.next_state, pipeline[0].transform(log.next_state))
    assert_array_equal(rows, np.arange(n_given))


@pytest.mark.parametrize("frame", [True, False])
def test_what_follows_an_end_is_not_transformed(routes, frame):
    (_, log), (pipeline, *_) = routes
    terminated = log.step == 8
    after = log.next_state.copy()
    after.loc[terminated] = np.inf
    ended = changed(log, terminated=terminated, next_state=after)
    if not frame:
        pipeline = make_pipeline(StandardScaler(), pipeline[-1])
        pipeline[0].fit(log.state.to_numpy())
        ended = ended.with_states(ended.state.to_numpy(), after.to_numpy())
    assert np.isfinite(fitted_q_value(pipeline, ended, discount=0.9).value)


def test_weights_are_of_the_rows_of_the_table(routes):
    _, (pipeline, states, y) = routes
    weight = np.random.default_rng(0).integers(0, 3, size=len(states))
    data = prepare_evaluation(pipeline, states, y, sample_weight=weight)
    kept = y["action"].notna().to_numpy() & (weight > 0)
    assert_array_equal(data.rows, np.flatnonzero(kept))
    assert_allclose(data.weight, weight[kept] / weight[kept].sum())
    only = np.where(y["action"].isna(), 1.0, 0.0)
    with pytest.raises(ValueError, match="All rows that are transitions have"):
        prepare_evaluation(pipeline, states, y, sample_weight=only)
    with pytest.raises(
        ValueError, match=r"shape \(81,\); one weight for each of the 15"
    ):
        prepare_evaluation(pipeline, states, y, sample_weight=np.ones(81))


class Policy:
    """Any probabilities."""

    def __init__(self, probabilities, classes=(0, 1, 2)):
        self.probabilities, self.classes_ = probabilities, np.array(classes)

    def predict_proba(self, states):
        return np.broadcast_to(
            self.probabilities, (len(states), np.size(self.probabilities))
        )


def test_classes_stand_in_any_order():
    log = walk_log()
    found = prepare_evaluation(Policy([0.2, 0.5, 0.3], [2, 0, 1]), log)
    assert_array_equal(np.array([2, 0, 1])[found.codes], log.action)
    one = fitted_q_value(Policy([0.2, 0.5, 0.3], [2, 0, 1]), log, discount=0.9)
    other = fitted_q_value(Policy([0.5, 0.3, 0.2]), log, discount=0.9)
    assert_allclose(one.value, other.value)


def test_the_greedy_policy_is_what_predict_returns(routes):
    (pipeline, log), _ = routes

    class Certain:
        classes_ = pipeline.classes_

        def predict_proba(self, states):
            return np.equal.outer(pipeline.predict(states), self.classes_).astype(float)

    greedy = fitted_q_value(pipeline, log, discount=0.9, greedy=True)
    soft = fitted_q_value(pipeline, log, discount=0.9)
    inner = pipeline[0].transform(log)
    certain = Certain()
    assert_array_equal(
        prepare_evaluation(pipeline, log, greedy=True).probabilities[: len(log)],
        certain.predict_proba(log.state),
    )
    assert greedy != soft
    assert len(inner) == len(log)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (
            Policy([0.5, 0.4, 0.2]),
            r"returned \[0.5, 0.4, 0.2\] for the state \[.*\]; pr",
        ),
        (Policy([1.2, -0.2, 0.0]), "probabilities that sum to 1 were expected"),
        (Policy([np.nan, 0.5, 0.5]), "probabilities that sum to 1 were expected"),
        (Policy([0.5, 0.5]), r"shape \(1.*, 2\) for 1.* states and 3 classes_"),
        (StandardScaler(), "a StandardScaler, has no predict_proba"),
        (estimator(), "has no classes_: it must be a fitted object"),
    ],
)
def test_what_is_no_policy_is_refused(policy, words):
    with pytest.raises(ValueError, match=words):
        fitted_q_value(policy, walk_log(), discount=0.9)


def test_without_a_mark_all_states_are_initial_and_weighted():
    log = changed(walk_log(), is_initial=np.zeros(90))
    weight = np.arange(90.0)
    data = prepare_evaluation(Policy([0.2, 0.5, 0.3]), log, sample_weight=weight)
    assert_allclose(data.initial_weight, weight[1:] / weight.sum())
    assert_array_equal(data.take(np.arange(5)).initial, np.arange(5))


# ---------------------------------------------------------------- masks


class Chances:
    """A policy of given probabilities, whatever it is said to be available."""

    classes_ = np.array([*"dcba"])

    def __init__(self, *chances):
        self.chances = np.array(chances)

    def predict_proba(self, states):
        return self.chances[np.asarray(states)[:, 0].astype(int)]


class Restricted(Chances):
    """Which renormalises what is available."""

    def predict_proba(self, states, available):
        found = super().predict_proba(states) * available
        return found / found.sum(axis=1, keepdims=True)


def test_masks_are_passed_to_policies_that_take_them():
    log = staged_log()
    order = [3, 2, 1, 0]  # of classes_, which need not be sorted
    data = prepare_evaluation(Restricted([0.25] * 4, [0.25] * 4), log)
    mask = staged_rule(data.states)[:, order]
    assert_array_equal(data.probabilities, mask / 2)
    # Those that do not may know it themselves.
    known = prepare_evaluation(Chances([0, 0, 0.5, 0.5], [0.5, 0.5, 0, 0]), log)
    assert_array_equal(known.probabilities, data.probabilities)
    greedy = prepare_evaluation(
        Restricted(*2 * [[0.4, 0.3, 0.2, 0.1]]), log, greedy=True
    )
    assert_array_equal(greedy.probabilities.argmax(axis=1), 2 - 2 * data.states[:, 0])


def test_probability_of_what_is_not_available_is_refused_by_rows():
    wrong = Chances([0, 0.1, 0.5, 0.4], [0.5, 0.5, 0, 0])
    with pytest.raises(ValueError, match=r"not available in .* of rows 0, 2, 4, 6, 8,"):
        prepare_evaluation(wrong, staged_log())
    weight = np.r_[np.zeros(2), np.ones(4)]
    later = Chances([0, 0, 0.5, 0.5], [0.5, 0.4, 0, 0.1])
    with pytest.raises(ValueError, match="of rows 2, 3, 4, 5"):
        prepare_evaluation(later, staged_log(n=3), sample_weight=weight)
    second = staged_log()[1::2]
    frame = pd.DataFrame(second.available[:, 1:], columns=[*"bcd"])
    second = changed(second, available=frame)
    with pytest.raises(ValueError, match=r"available has no column for \['a'\]"):
        prepare_evaluation(wrong, second)


def test_evaluation_is_of_what_is_available():
    log = staged_log(n=400)
    policy = Restricted([0.0, 0.0, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0])
    same = staged_log(n=400, labels="abab", available=None)

    class Same(Chances):
        classes_ = np.array([*"ab"])

    # The same two names in both stages need no masks.
    alike = Same([0.5, 0.5], [0.0, 1.0])
    for metric in (fitted_q_value, importance_sampling_value, doubly_robust_value):
        found = metric(policy, log, discount=0.9)
        assert found.value == pytest.approx(
            metric(alike, same, discount=0.9).value, rel=0.02
        )


def test_estimated_propensities_are_of_what_could_be_taken():
    log = staged_log(n=50)

    class Uniform(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict_proba(self, X):
            return np.full((len(X), 4), 0.25)

    data = prepare_evaluation(Restricted(*2 * [[0.25] * 4]), log)
    logger, _ = propensities(data, Uniform(), 5, 0)
    assert_array_equal(logger, 0.5)


def test_coverage_does_not_count_what_is_never_available():
    log = staged_log()
    policy = estimator(kernel="delta", bandwidth="median", support=0.0).fit(log)
    report = coverage_report(policy, log, discount=0.9, kernel="delta")
    assert report.share_unseen == report.share_unseen_logged == 0.0
    # What is not available is in fact unseen.
    assert (report.support[~log.available] == 0.0).all()
