"""HistoryStates: equal to with_history on logs and on tables; in use, in pipelines."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from _logs import FIELDS, dose_log, estimator, ignore_convergence, walk_log
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import (
    EpisodeKFold,
    HistoryStates,
    OnStates,
    Transitions,
    as_transitions,
)
from sklearn_stackelberg.metrics import fitted_q_value

ROLES = {"episode": "who", "step": "visit", "action": "dose"}


def table(dose=("low", "high"), n_episodes=20, seed=0) -> pd.DataFrame:
    """Visits of equal number, the last of which has no dose, or ends the episode."""
    rng = np.random.default_rng(seed)
    df = pd.DataFrame({"who": np.repeat(np.arange(n_episodes), 6)})
    df["visit"] = np.tile(np.arange(6), n_episodes)
    df["x"], df["y"] = rng.normal(size=(2, len(df)))
    df["dose"] = rng.choice(np.array(dose), size=len(df))
    df["gain"] = df["x"] * (df["dose"] == dose[0])
    last = df["visit"] == 5
    df["died"] = last & (df["who"] % 2 == 0)
    df.loc[last & ~df["died"], ["dose", "gain"]] = None
    return df


def log_of(df) -> Transitions:
    roles = dict(action="dose", episode="who", step="visit", terminated="died")
    return Transitions.from_frame(df, state=["x", "y"], reward="gain", **roles)


def decisions(df) -> pd.DataFrame:
    names = dict(who="episode", visit="step", dose="action", gain="reward")
    return df[[*names, "died"]].rename(columns={**names, "died": "terminated"})


def seen(df) -> pd.DataFrame:
    return df[["who", "visit", "dose", "x", "y"]]


def assert_same_log(left, right):
    for name in set(FIELDS) - {"next_state"}:
        assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    # What follows a terminated row may be anything.
    assert_array_equal(left.next_or_own_state(), right.next_or_own_state())


def chained(log) -> Transitions:
    """The log with the next row's state as each row's next state in its episode."""
    rows = np.minimum(np.arange(len(log)) + 1, len(log) - 1)
    return log.with_states(log.state, log[rows].state)


@pytest.mark.parametrize("dose", [("low", "high"), (1, 2), (0.25, 0.5)])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_table_becomes_the_log_with_history(dose, k, shuffled):
    df = table(dose)
    if shuffled:
        df = df.sample(frac=1.0, random_state=0)
    history = HistoryStates(k, **ROLES).fit(seen(df))
    X = history.transform(seen(df))
    expected = log_of(df).with_history(k)
    assert [*X.columns] == [*expected.state.columns]
    assert [*history.get_feature_names_out()] == [*X.columns]
    assert_array_equal(X.index, df.index)
    assert_same_log(as_transitions(X, decisions(df)), expected)
    # Of one learned on the log, or on some of its episodes, too.
    assert_same_log(HistoryStates(k).fit_transform(log_of(df)), expected)
    some = df[df["who"] < 5]
    assert_same_log(HistoryStates(k).fit(log_of(some)).transform(log_of(df)), expected)


def test_rows_without_steps_are_in_order_and_own_actions_are_not_used():
    df = table()
    X = seen(df).drop(columns="visit")
    history = HistoryStates(3, episode="who", action="dose").fit(X)
    out = history.transform(X)
    assert out.equals(HistoryStates(3, **ROLES).fit_transform(seen(df)))
    # A patient whose last visit is now, and whose dose is to be chosen.
    now = X[X["who"] == 3][:4].assign(dose=["low", "high", "low", None])
    other = now.assign(dose=["low", "high", "low", "high"])
    assert history.transform(now).equals(history.transform(other))
    alone = history.transform(now[:1].assign(dose=None))
    assert alone.equals(history.first(now[["x", "y"]][:1]))
    with pytest.raises(ValueError, match="appears in two places"):
        history.transform(X.sample(frac=1.0, random_state=0))


@pytest.mark.parametrize("log", [walk_log(), walk_log(frame=True), dose_log(90, p=2)])
def test_histories_in_use_are_those_of_the_log(log):
    log = chained(log)
    log.terminated[:] = False
    history = HistoryStates(3).fit(log)
    out = history.transform(log)
    assert_array_equal(
        history.next(out.state, log.action, log.next_state), out.next_state
    )
    for start in np.flatnonzero(log.step == 0)[:2]:
        state = history.first(log.state[start : start + 1])
        assert_array_equal(state, out.state[start : start + 1])
        for row in range(start, start + 4):
            now = log[[row]]
            state = history.next(state, now.action, now.next_state)
            assert_array_equal(state, out.next_state[row : row + 1])


@ignore_convergence
def test_a_pipeline_of_tables_and_one_of_logs_agree():
    df = table()
    steps = (
        OnStates(StandardScaler()),
        estimator(n_components=20, max_iter=5, support=0.0),
    )
    of_logs = make_pipeline(HistoryStates(2), *map(clone, steps)).fit(log_of(df))
    of_tables = make_pipeline(HistoryStates(2, **ROLES), StandardScaler(), steps[1])
    of_tables.fit(seen(df), decisions(df))
    history = of_logs[0]
    states = log_of(df).with_history(2).state
    assert_array_equal(
        of_tables.predict(seen(df)),
        of_tables.predict(
            history.transform(HistoryStates(2, **ROLES).fit_transform(seen(df)))
        ),
    )
    # A table holds rows that a log has no transition of, and scales by them, too.
    assert np.mean(of_logs.predict(states) == of_tables.predict(states)) > 0.9
    assert np.isfinite(of_logs.score(log_of(df)))
    assert np.isfinite(of_tables.score(seen(df), decisions(df)))
    inner = log_of(df).with_history(2)
    direct = make_pipeline(*map(clone, steps)).fit(inner)
    assert_array_equal(direct.predict(states), of_logs.predict(states))
    values = [
        fitted_q_value(*given, discount=0.9, random_state=0).value
        for given in ((of_logs, log_of(df)), (direct, inner))
    ]
    assert_allclose(*values, rtol=1e-12)


@ignore_convergence
def test_a_search_chooses_the_length_of_the_history():
    df = table(n_episodes=12)
    policy = estimator(n_components=10, max_iter=2, mirror_steps=2, support=0.0)
    for history, given in (
        (HistoryStates(), (log_of(df),)),
        (HistoryStates(**ROLES), (seen(df), decisions(df))),
    ):
        lengths = {"historystates__k": [1, 2]}
        pipeline = make_pipeline(history, clone(policy))
        search = GridSearchCV(
            pipeline, lengths, cv=EpisodeKFold(2), error_score="raise"
        )
        search.fit(*given)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_parameters_clone_pickle_and_names():
    log = walk_log()
    history = HistoryStates(2, actions=[0, 1, 2])
    assert joblib.hash(clone(history)) == joblib.hash(history)
    with pytest.raises(NotFittedError):
        history.transform(log)
    history.fit(log)
    loaded = pickle.loads(pickle.dumps(history))
    assert_same_log(loaded.transform(log.episodes), history.transform(log))
    own = ["x0", "x1", *(f"action_lag1_{a}" for a in range(3)), "x0_lag1", "x1_lag1"]
    assert [*history.get_feature_names_out()] == own
    assert [*history.get_feature_names_out(["u", "v"])][-1] == "v_lag1"


def test_what_is_refused():
    df = table()
    history = HistoryStates(2, **ROLES)
    with pytest.raises(TypeError, match="got a DataFrame and episode=None"):
        HistoryStates().fit(seen(df))
    with pytest.raises(TypeError, match="got a ndarray and episode='who'"):
        history.fit(np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"no columns \['visit'\]; it has"):
        history.fit(seen(df).drop(columns="visit"))
    history.fit(seen(df))
    with pytest.raises(
        ValueError, match=r"columns \['x', 'y'\]; columns \['x', 'y', 'a"
    ):
        history.transform(df[["x", "y"]])
    with pytest.raises(ValueError, match=r"log's states: there are 2 columns"):
        history.transform(walk_log())
    with pytest.raises(ValueError, match=r"columns \['y', 'x'\]; columns \['x', 'y'\]"):
        history.first(df[["y", "x"]])
    start = history.first(df[["x", "y"]][:1])
    with pytest.raises(ValueError, match="actions at row 0 are none of those"):
        history.next(start, ["middle"], df[["x", "y"]][:1])
    doses = HistoryStates(2).fit(dose_log(90, p=2))
    with pytest.raises(ValueError, match="have 1 numbers each; 2 were expected"):
        doses.next(doses.first(np.ones((1, 2))), [0.5], np.ones((1, 2)))
