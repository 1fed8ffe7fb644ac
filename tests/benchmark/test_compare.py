"""`compare_methods`: what its figures are, and what becomes of methods that fail."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier

from sklearn_stackelberg import EpisodeKFold, StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.baselines import BehaviourCloning, DirectMethod
from sklearn_stackelberg.benchmark import compare_methods
from sklearn_stackelberg.benchmark._methods import METHODS, Facts, choose, key_of
from sklearn_stackelberg.metrics import logged_value, value_difference
from sklearn_stackelberg.model_selection import BlockKFold

FEW = ["best single action", "BC logistic", "direct-ridge"]


def one_step(n=240, seed=0, effect=1.0, n_columns=2, n_actions=2):
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(n, n_columns))
    action = rng.integers(n_actions, size=n)
    reward = effect * action * (state[:, 0] > 0) + rng.normal(size=n)
    return Transitions(state, action, reward, state, np.ones(n))


def episodes(n=60, length=4, seed=0):
    """A walk on five places; to be right of the middle is rewarded."""
    rng = np.random.default_rng(seed)
    place = rng.integers(5, size=n)
    rows = []
    for t in range(length):
        action = rng.integers(2, size=n)
        after = np.clip(place + 2 * action - 1, 0, 4)
        rows += [
            (e, t, place[e], action[e], float(after[e] > 2), after[e], t == length - 1)
            for e in range(n)
        ]
        place = after
    episode, step, state, action, reward, after, end = zip(*rows, strict=True)
    state, after = np.array(state)[:, None], np.array(after)[:, None]
    return Transitions(
        state, action, reward, after, terminated=end, episode=episode, step=step
    )


class Constant(BaseEstimator):
    """A policy that is the same in every fold."""

    def __init__(self, share=0.5):
        self.share = share

    def fit(self, log):
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, states):
        return np.tile([1 - self.share, self.share], (len(states), 1))


class Broken(BaseEstimator):
    def fit(self, log):
        raise RuntimeError("no luck\n today")


def test_the_rows_and_what_they_hold():
    log = one_step(effect=3.0)
    found = compare_methods(log, methods=FEW, discount=0.0)
    assert [r.method for r in found.rows] == [
        "Logger",
        "Best single action",
        "BC logistic",
        "Direct ridge",
    ]
    logger, best, cloned, direct = found.rows
    assert logger.difference is None
    assert logger.estimate.value == pytest.approx(logged_value(log, discount=0.0).value)
    for row in found.rows[1:]:
        low, high = row.difference_interval
        assert low < row.difference.value < high
        assert row.difference.value == pytest.approx(
            row.estimate.value - logger.estimate.value
        )
        assert row.seconds > 0
    # By half the effect in half of the states, or in all of them.
    assert direct.difference.value == pytest.approx(best.difference.value, abs=0.2)
    assert direct.difference_interval[0] > 0
    assert cloned.difference_interval[0] < 0 < cloned.difference_interval[1]


def test_the_mean_of_folds_with_the_error_of_all_episodes():
    log, cv = one_step(), EpisodeKFold(4, shuffle=True, random_state=1)
    log = Transitions(
        log.state,
        log.action,
        log.reward,
        log.state,
        log.terminated,
        episode=np.arange(len(log)),
    )
    found = compare_methods(log, methods={"half": Constant()}, discount=0.0, cv=cv)
    parts = [
        value_difference(
            Constant().fit(log),
            log[test],
            discount=0.0,
            n_folds=5,
            random_state=0,
        )
        for _, test in cv.split(log)
    ]
    row = found.rows[1]
    values = [part.policy.value for part in parts]
    assert row.estimate.value == pytest.approx(np.mean(values))
    errors = np.array([part.policy.standard_error for part in parts])
    # Each fold has a fourth of the episodes; within folds are E_k − 1 freedoms.
    expected = np.sqrt((errors**2).sum()) / 4
    assert row.estimate.standard_error == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("estimator", ["doubly_robust", "fitted_q"])
def test_episodes(estimator):
    names = ["value iteration", "LSPI kernel"]
    log = episodes()
    found = compare_methods(log, methods=names, discount=0.9, estimator=estimator)
    assert found.n_episodes == 60
    assert found.n_folds == 3
    for row in found.rows[1:]:
        assert not row.failure
        assert row.difference.value > 0.5
        assert estimator.split("_")[0] in row.estimate.method.lower()


def test_the_same_seed_gives_the_same_table():
    def figures(seed):
        found = compare_methods(
            one_step(100), methods=["direct-ridge"], discount=0.0, random_state=seed
        )
        drop = ("seconds", "megabytes")
        return [
            {k: v for k, v in row.items() if k not in drop}
            for row in found.to_dicts()[1:]
        ]

    assert figures(0) == figures(0)
    assert figures(0) != figures(1)


def test_a_method_that_fails_is_a_row():
    methods = {"works": Constant(), "does not": Broken()}
    found = compare_methods(one_step(), methods=methods, discount=0.0)
    row = found.rows[2]
    assert row.failure == "RuntimeError: no luck today"
    assert "failed: RuntimeError: no luck today" in str(found)
    assert np.isnan(found.to_dicts()[2]["value"])
    with pytest.raises(ValueError, match=r"No method could be .* no luck"):
        compare_methods(one_step(), methods={"bad": Broken()}, discount=0.0)


def test_a_method_that_is_for_other_logs_says_so_if_named():
    methods = ["BC ridge", "VI-LCB", "FQI kernel", "Direct ridge"]
    found = compare_methods(one_step(), methods=methods, discount=0.0)
    failures = [row.failure for row in found.rows[1:]]
    assert failures[0] == "it is for continuous actions"
    assert failures[1].startswith("it is for finite states")
    assert "one step" in failures[2]
    assert not failures[3]


def test_simultaneous_intervals_are_wider():
    def widths(simultaneous):
        found = compare_methods(
            one_step(100),
            methods=FEW[:2],
            discount=0.0,
            simultaneous=simultaneous,
        )
        return np.array([r.interval[1] - r.interval[0] for r in found.rows])

    assert (widths(True) > widths(False)).all()


def test_fits_are_silent_and_their_warnings_kept(capsys):
    class Loud(Constant):
        def fit(self, log):
            warnings.warn("mind the gap", UserWarning, stacklevel=2)
            return super().fit(log)

    found = compare_methods(one_step(), methods={"loud": Loud()}, discount=0.0)
    assert found.rows[1].warnings == ("mind the gap",)
    out = capsys.readouterr()
    assert not out.out
    assert not out.err
    compare_methods(one_step(), methods={"loud": Loud()}, discount=0.0, verbose=1)
    assert "1 warning, first: mind the gap" in capsys.readouterr().err


def test_an_action_that_a_fold_lacks():
    log = one_step(n_actions=2)
    action = log.action.astype(str)
    action[0] = "rare"
    log = Transitions(log.state, action, log.reward, log.state, log.terminated)
    found = compare_methods(log, methods=["BC logistic", "direct ridge"], discount=0.0)
    assert [row.failure for row in found.rows] == [""] * 3


def test_text_and_missing_values():
    log = one_step(n=200)
    frame = pd.DataFrame(log.state, columns=["x", "y"])
    frame.loc[::7, "y"] = np.nan
    frame["sex"] = np.where(np.arange(200) % 2, "f", "m")
    table = pd.DataFrame({"action": log.action, "reward": log.reward})
    found = compare_methods(frame, table, methods=FEW[2:], discount=0.0)
    assert [row.failure for row in found.rows] == [""] * 2
    # Of an array of objects, as of a frame.
    other = compare_methods(
        frame.to_numpy(dtype=object), table, methods=FEW[2:], discount=0.0
    )
    assert other.rows[1].estimate.value == pytest.approx(found.rows[1].estimate.value)
    frame["day"] = pd.Timestamp("2020-01-01")
    with pytest.raises(ValueError, match=r"dates or times in the columns .'day'"):
        compare_methods(frame, table, methods=FEW, discount=0.0)


def test_continuous_actions():
    rng = np.random.default_rng(0)
    state, action = rng.normal(size=(150, 1)), rng.uniform(-1, 1, size=150)
    reward = -((action - 0.5 * state[:, 0]) ** 2)
    log = Transitions(state, action, reward, state, np.ones(150))
    names = ["BC ridge", "LSPI kernel"]
    found = compare_methods(log, methods=names, discount=0.0)
    failures = [row.failure for row in found.rows[1:]]
    assert failures == ["", "it is for discrete actions"]
    assert found.rows[1].difference.value > 0


def test_one_trajectory_is_cut_into_blocks():
    rng = np.random.default_rng(0)
    action = rng.integers(2, size=400)
    state = np.concatenate([[0], np.cumsum(2 * action - 1)])[:, None] % 5
    log = Transitions(
        state[:-1],
        action,
        (state[1:, 0] == 2) * 1.0,
        state[1:],
        episode=np.zeros(400, int),
        step=np.arange(400),
    )
    found = compare_methods(log, methods=["value iteration"], discount=0.8)
    assert found.n_episodes == 20
    assert found.rows[1].difference.value > 0


def test_folds_that_are_none():
    log = episodes(n=9)
    with pytest.raises(ValueError, match="more than one; two parts"):
        compare_methods(log, methods=["BC logistic"], cv=_Once())
    with pytest.raises(ValueError, match="cuts 9 of 9 episodes"):
        compare_methods(log, methods=["BC logistic"], cv=BlockKFold(2, gap=0))
    with pytest.raises(ValueError, match="cv must be an integer >= 2"):
        compare_methods(log, cv=1)


class _Once:
    def split(self, log):
        yield np.arange(len(log)), np.arange(len(log))


def test_names_of_methods():
    keys = [one.key for one in METHODS]
    assert len(set(keys)) == len(keys)
    facts = Facts("discrete", True, 5, 100)
    with pytest.raises(ValueError, match="Did you mean direct-ridge"):
        choose(["direct-rigde"], facts)
    with pytest.raises(ValueError, match="an estimator with fit"):
        choose({"class": DirectMethod}, facts)
    for empty in ([], {}):
        with pytest.raises(ValueError, match="methods is empty"):
            choose(empty, facts)
    assert (
        choose("BC logistic", facts).methods == choose(["bc-logistic"], facts).methods
    )
    assert key_of("TD3+BC of d3rlpy") == "td3-bc-of-d3rlpy"


def test_installed_methods_of_a_log():
    chosen = choose("installed", Facts("discrete", False, 5, 100))
    names = {one.name for one in chosen.methods}
    assert {"Value iteration", "VI-LCB", "FQI kernel", "Stackelberg"} <= names
    assert chosen.skipped["Direct ridge"] == "for decisions of one step"
    assert chosen.skipped["BC ridge"] == "for continuous actions"
    assert names.isdisjoint(chosen.skipped)
    for method in chosen.methods:
        assert method.make(0.9, 0, "discrete").get_params()


def test_a_search_is_compared_once_there_is_one(monkeypatch):
    class Search(StackelbergPolicyEstimator):
        pass

    monkeypatch.setattr(
        "sklearn_stackelberg.StackelbergPolicyCV", Search, raising=False
    )
    (method,) = choose(["Stackelberg CV"], Facts("discrete", True, 5, 9)).methods
    assert method.make(0.5, 3, "discrete").get_params()["discount"] == 0.5


def test_policies_that_follow_noise_are_not_worth_it():
    """A seeded simulation: no policy is better than another, and none looks so."""
    gains, errors = [], []
    for seed in range(6):
        log = one_step(200, seed, effect=0.0, n_columns=5)
        method = DirectMethod(Nearest(), random_state=0)
        found = compare_methods(log, methods={"nearest": method}, discount=0.0)
        gains.append(found.rows[1].difference.value)
        errors.append(found.rows[1].difference.standard_error)
    assert abs(np.mean(gains)) < 2.5 * np.mean(errors) / np.sqrt(6)
    assert np.mean(errors) > 0.7 * np.std(gains, ddof=1)


class Nearest(BaseEstimator):
    """One nearest neighbour: it follows all the noise there is."""

    def fit(self, X, y):
        self.X_, self.y_ = X, y
        return self

    def predict(self, X):
        distance = ((X[:, None] - self.X_[None]) ** 2).sum(axis=2)
        return self.y_[distance.argmin(axis=1)]


def test_rare_outcomes_are_marked():
    log = one_step(200)
    reward = np.zeros(200)
    reward[np.flatnonzero(log.action == 1)[:4]] = 1.0
    log = Transitions(log.state, log.action, reward, log.state, log.terminated)
    methods = {"half": Constant(), "never": Constant(0.0), "always": Constant(1.0)}
    found = compare_methods(log, methods=methods, discount=0.0)
    assert [row.outcomes for row in found.rows[1:]] == [4.0, 0.0, 4.0]
    assert "§ Fewer than 10 decisions" in str(found)
    plain = compare_methods(one_step(100), methods=methods, discount=0.0)
    assert "§" not in str(plain)


def test_weights_are_of_the_log():
    log = one_step()
    weight = np.where(log.action == 1, 2.0, 1.0)
    found = compare_methods(
        log, methods=["direct ridge"], discount=0.0, sample_weight=weight
    )
    expected = logged_value(log, discount=0.0, sample_weight=weight)
    assert found.rows[0].estimate.value == pytest.approx(expected.value)


def test_the_logger_is_the_first_policy_by_shares():
    model = BehaviourCloning(DummyClassifier(strategy="prior"))
    found = compare_methods(one_step(), methods={"shares": model}, discount=0.0)
    low, high = found.rows[1].difference_interval
    assert low < 0 < high
