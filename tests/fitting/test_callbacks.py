"""A fit that is watched: printed lines, a callable, scikit-learn's callbacks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from _logs import estimator, ignore_convergence, walk_log
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

from sklearn_stackelberg import EpisodeKFold, StackelbergPolicyEstimator
from sklearn_stackelberg.model_selection import FittedQScorer

callback = pytest.importorskip(
    "sklearn.callback", reason="scikit-learn has callbacks from 1.9 on"
)
pytestmark = ignore_convergence
LOG = walk_log(n=60)


def few(**settings):
    """A fit of some ten evaluations."""
    return estimator(**dict(mirror_steps=5, max_iter=5) | settings)


class Recorder:
    """A callback of scikit-learn's protocol that notes what it hears."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.heard = []
        self.fitted = []

    def setup(self, estimator, context):
        self.heard.append("setup")

    def on_fit_task_begin(self, estimator, context):
        self.heard.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        assert X is LOG
        self.heard.append(f"end {context.task_name}")
        if fitted_estimator is not None:
            self.fitted.append(fitted_estimator)
        return self.stop_after is not None and len(self.fitted) >= self.stop_after

    def teardown(self, estimator, context):
        self.heard.append("teardown")


def test_silent_unless_asked(capsys):
    few().fit(LOG)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("verbose", "every"), [(1, 10), (2, 1), (True, 10)])
def test_verbose_prints_lines(capsys, verbose, every):
    policy = estimator(verbose=verbose).fit(LOG)
    lines = capsys.readouterr().out.splitlines()
    n = len(policy.history_["value"])
    assert len(lines) == -(-n // every)
    value = policy.history_["value"][0]
    assert lines[0].startswith(f"evaluation 0: value {value:.4g} (pessimism")


def test_callable_hears_the_history():
    heard = []
    policy = few(callback=heard.append).fit(LOG)
    assert len(heard) == len(policy.history_["value"])
    for name, values in policy.history_.items():
        assert_array_equal([entry[name] for entry in heard], values, name)


@pytest.mark.parametrize("n", [1, 5])
def test_callable_stops_the_fit(n):
    heard = []

    def enough(entry):
        heard.append(entry)
        return len(heard) == n

    policy = few(callback=enough).fit(LOG)
    assert len(policy.history_["value"]) == n
    assert policy.policy_value_ == max(policy.history_["value"])


def test_watching_changes_nothing():
    plain = few().fit(LOG)
    watched = few(callback=lambda entry: None)
    watched.set_callbacks(Recorder()).fit(LOG)
    assert watched.policy_value_ == plain.policy_value_
    assert_array_equal(watched.predict_proba(LOG), plain.predict_proba(LOG))


def test_callbacks_hear_each_evaluation_as_a_task():
    recorder = Recorder()
    policy = few().set_callbacks(recorder).fit(LOG)
    n = len(policy.history_["value"])
    inner = ["begin evaluation", "end evaluation"] * n
    assert recorder.heard == ["setup", "begin fit", *inner, "end fit", "teardown"]


def test_callbacks_get_a_policy_that_predicts():
    recorder = Recorder()
    policy = few(support=0.0).set_callbacks(recorder).fit(LOG)
    *during, last = recorder.fitted
    assert isinstance(last, StackelbergPolicyEstimator)
    assert_array_equal(last.predict_proba(LOG), policy.predict_proba(LOG))
    # The first evaluation is of the uniform policy, a later one the best.
    assert np.ptp(during[0].predict_proba(LOG)) == 0
    best = int(np.argmax(policy.history_["value"]))
    assert_array_equal(during[best].predict_proba(LOG), policy.predict_proba(LOG))
    assert_array_equal(during[best].q_values(LOG), policy.q_values(LOG))


def test_a_callback_stops_the_fit():
    policy = few().set_callbacks(Recorder(stop_after=3)).fit(LOG)
    assert len(policy.history_["value"]) == 3


def test_a_fit_that_fails_is_torn_down():
    recorder = Recorder()

    def fail(entry):
        raise RuntimeError("of the user's own")

    policy = few(callback=fail).set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="own"):
        policy.fit(LOG)
    assert recorder.heard[-1] == "teardown"
    assert not [name for name in vars(policy) if name.endswith("_")]


def test_a_monitor_of_scores():
    # scikit-learn's monitor scores where there is a y: a table of decisions.
    log = walk_log()
    X, y = log.state, pd.DataFrame({"action": log.action, "reward": log.reward})
    y["terminated"] = True
    prepare_evaluation = FittedQScorer(discount=0.9)
    monitor = callback.ScoringMonitor(scoring={"value": prepare_evaluation})
    policy = estimator(mirror_steps=3, max_iter=0).set_callbacks(monitor).fit(X, y)
    rows = monitor.get_logs().data
    scores = {row["task_id_path"]: row["value"] for row in rows}
    assert len(scores) == len(policy.history_["value"]) + 1
    assert scores[(0,)] == prepare_evaluation(policy, X, y)
    assert len(set(scores.values())) > 2


def test_a_monitor_of_the_default_score():
    log = walk_log()
    X, y = log.state, pd.DataFrame({"action": log.action, "reward": log.reward})
    y["terminated"] = True
    own = {"value": lambda policy, X, y: policy.score(X, y)}
    monitor = callback.ScoringMonitor(scoring=own)
    policy = estimator(mirror_steps=2, max_iter=0).set_callbacks(monitor).fit(X, y)
    scores = {row["task_id_path"]: row["value"] for row in monitor.get_logs().data}
    assert scores[(0,)] == policy.score(X, y)


def test_a_search_hands_its_callbacks_on():
    log, recorder = walk_log(), Spread()
    grid = {"lam": [1.0, 10.0]}
    policy = estimator(mirror_steps=3, max_iter=0)
    search = GridSearchCV(policy, grid, cv=EpisodeKFold(2)).set_callbacks(recorder)
    plain = GridSearchCV(policy, grid, cv=EpisodeKFold(2)).fit(log)
    search.fit(log)
    assert recorder.evaluations >= 5
    assert_array_equal(
        search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


class Spread:
    """A callback that a search hands on to its candidates."""

    max_propagation_depth = None
    evaluations = 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.evaluations += context.task_name == "evaluation"

    def teardown(self, estimator, context):
        pass
