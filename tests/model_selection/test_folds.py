"""Folds of whole episodes, on a log, on its episodes and on its decision table."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.model_selection import (
    KFold,
    cross_val_score,
    learning_curve,
)

from sklearn_stackelberg import EpisodeKFold, Transitions, as_transitions

STATES = ["x", "y"]
ROLES = {name: name for name in ("action", "reward", "episode", "step")}


def make_table(lengths=2 * (4, 6, 3, 5, 2, 7, 4, 3), seed=0):
    """Episodes, each with a row that holds its last state."""
    rng = np.random.default_rng(seed)
    lengths = np.array(lengths)
    n = lengths.sum()
    step = np.concatenate([np.arange(m) for m in lengths])
    last = np.append(step[1:] == 0, True)
    table = pd.DataFrame(rng.normal(size=(n, 2)), columns=STATES)
    table["action"] = np.where(last, None, rng.choice(["go", "stay"], n))
    table["reward"] = np.where(last, np.nan, table["x"] + rng.normal(size=n))
    table["episode"] = np.repeat(rng.permutation(len(lengths)), lengths)
    return table.assign(step=step)


@pytest.fixture(scope="module")
def table():
    return make_table()


@pytest.fixture(scope="module")
def log(table):
    return Transitions.from_frame(table, state=STATES, **ROLES)


def evaluation_features(folds):
    return [(train.tolist(), test.tolist()) for train, test in folds]


# ---------------------------------------------------------------- folds


@pytest.mark.slow
@given(
    lengths=st.lists(st.integers(1, 5), min_size=2, max_size=12),
    n_splits=st.integers(2, 12),
    seed=st.none() | st.integers(0, 9),
    data=st.data(),
)
def test_folds_are_those_of_kfold_over_the_episodes(lengths, n_splits, seed, data):
    names = data.draw(st.permutations(range(len(lengths))))
    rows = data.draw(st.permutations(range(sum(lengths))))
    episode = np.repeat(names, lengths)[rows]
    n = len(episode)
    log = Transitions(
        np.zeros((n, 1)), range(n), np.ones(n), np.ones((n, 1)), episode=episode
    )
    order = {"shuffle": seed is not None, "random_state": seed}
    if n_splits > len(lengths):
        with pytest.raises(
            ValueError, match=f"{n_splits} folds .*{len(lengths)} episodes"
        ):
            next(EpisodeKFold(n_splits, **order).split(log))
        return
    folds = list(EpisodeKFold(n_splits, **order).split(log))
    view = log.episodes
    expected = list(KFold(n_splits, **order).split(view))
    for (train, test), (train_, test_) in zip(folds, expected, strict=True):
        for found, chosen in ((train, train_), (test, test_)):
            assert_array_equal(found, np.flatnonzero(np.isin(view.codes, chosen)))
    assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), range(n))
    assert evaluation_features(
        EpisodeKFold(n_splits, **order).split(view)
    ) == evaluation_features(expected)


def test_episodes_are_read_from_x_or_y_or_groups(table, log):
    folds = EpisodeKFold(3, shuffle=True, random_state=1)
    expected = [set(log.episode[test]) for _, test in folds.split(log)]
    assert sorted(map(len, expected)) == [5, 5, 6]
    decided = table.drop(columns=STATES)
    for X, y, groups in (
        (table[STATES], decided, None),
        (table[STATES].to_numpy(), decided.to_records(index=False), None),
        (table[STATES], None, table["episode"]),
        (table[STATES], np.zeros(len(table)), table["episode"].tolist()),
        (table[STATES], None, table["episode"].astype(str)),
    ):
        for (train, test), episodes in zip(
            folds.split(X, y, groups), expected, strict=True
        ):
            assert set(table["episode"].iloc[test]) == episodes
            assert not set(table["episode"].iloc[train]) & episodes
            assert len(train) + len(test) == len(table)
    # What is given as groups goes before what X and y hold.
    thirds = np.arange(len(log)) * 3 // len(log)
    for X, y in ((log, None), (log.state, None)):
        for _, test in EpisodeKFold(3).split(X, y, thirds):
            assert len(np.unique(thirds[test])) == 1


def test_episodes_without_a_transition_follow_the_one_above(table):
    idle = pd.DataFrame(
        {"action": None, "reward": 0.0, "episode": 90 + np.arange(2), "step": 0}
    )
    decided = table.drop(columns=STATES)
    parts = [idle[:1], decided[:10], idle[1:], decided[10:]]
    more = pd.concat(parts, ignore_index=True)
    kept = np.flatnonzero(~more["episode"].isin([90, 91]))
    for shuffled in ({}, {"shuffle": True, "random_state": 3}):
        folds = EpisodeKFold(4, **shuffled)
        old = folds.split(np.zeros((len(decided), 1)), decided)
        new = folds.split(np.zeros((len(more), 1)), more)
        for (_, test), (_, test_) in zip(old, new, strict=True):
            assert_array_equal(np.intersect1d(test_, kept), kept[test])
            assert (0 in test_) == (1 in test_)
            assert (11 in test_) == (10 in test_)


def test_without_episode_each_row_of_a_table_is_one():
    y = pd.DataFrame({"action": [0, 1] * 5, "reward": 1.0})
    X = np.zeros((10, 1))
    expected = evaluation_features(KFold(3).split(X))
    assert evaluation_features(EpisodeKFold(3).split(X, y)) == expected
    assert evaluation_features(EpisodeKFold(3).split(as_transitions(X, y))) == expected


def test_shuffled_folds_are_seeded(log):
    once, again = (
        evaluation_features(EpisodeKFold(3, shuffle=True, random_state=5).split(log))
        for _ in "12"
    )
    assert once == again
    assert once != evaluation_features(
        EpisodeKFold(3, shuffle=True, random_state=6).split(log)
    )
    assert once != evaluation_features(EpisodeKFold(3).split(log))
    drawn = EpisodeKFold(3, shuffle=True, random_state=np.random.RandomState(5))
    assert evaluation_features(drawn.split(log)) == once
    assert evaluation_features(drawn.split(log)) != once


def test_it_looks_like_a_splitter_of_scikit_learn(log):
    folds = EpisodeKFold(3, shuffle=True, random_state=0)
    assert repr(folds) == "EpisodeKFold(n_splits=3, random_state=0, shuffle=True)"
    assert folds.get_n_splits() == folds.get_n_splits(log) == 3
    assert EpisodeKFold().n_splits == 5
    copy = pickle.loads(pickle.dumps(folds))
    assert evaluation_features(copy.split(log)) == evaluation_features(folds.split(log))


@pytest.mark.parametrize("n_splits", [1, 0, -3, 2.0, "3", None])
def test_bad_numbers_of_folds(n_splits):
    with pytest.raises(ValueError, match="n_splits must be an integer >= 2"):
        EpisodeKFold(n_splits)


def test_bad_settings():
    with pytest.raises(TypeError, match="shuffle must be True or False; got 1"):
        EpisodeKFold(shuffle=1)
    with pytest.raises(ValueError, match=r"no effect unless.*shuffle=True"):
        EpisodeKFold(random_state=0)


def test_fewer_episodes_than_folds(table, log):
    decided = table.drop(columns=STATES)
    words = r"n_splits=17 folds .* of 16 episodes\. Set n_splits to at most 16, or"
    for X, y in ((log, None), (log.episodes, None), (table[STATES], decided)):
        with pytest.raises(ValueError, match=words):
            next(EpisodeKFold(17).split(X, y))
    one = log.episodes[[0]]
    with pytest.raises(ValueError, match=r"of 1 episode\. Use BlockKFold.*KFold"):
        next(EpisodeKFold(2).split(one))


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (
            None,
            r"groups \(None\), in X \(a ndarray, not a Transitions\) and in y \(None",
        ),
        (np.zeros(6), r"y \(a ndarray, not a table"),
        ([0] * 6, r"y \(a list, not a table"),
    ],
)
def test_no_episodes_to_be_read(y, words):
    with pytest.raises(ValueError, match=f"no episodes to make folds of.*{words}"):
        next(EpisodeKFold(2).split(np.zeros((6, 1)), y))


def test_other_bad_splits(log, table):
    bare = Transitions(log.state, log.action, log.reward, log.next_state)
    with pytest.raises(ValueError, match=r"X \(a Transitions without episode\)"):
        next(EpisodeKFold(2).split(bare))
    with pytest.raises(ValueError, match="no rows"):
        next(EpisodeKFold(2).split(log[[]]))
    with pytest.raises(ValueError, match=r"groups is missing.*row 3"):
        next(EpisodeKFold(2).split(np.zeros((6, 1)), None, [1, 1, 2, None, 2, 2]))
    with pytest.raises(ValueError, match="inconsistent numbers"):
        next(EpisodeKFold(2).split(table[STATES], table[:5]))
    with pytest.raises(ValueError, match="y has no 'reward'"):
        next(EpisodeKFold(2).split(table[STATES], table.drop(columns="reward")))


# ------------------------------------------------- scikit-learn's tools

# What they make of the folds of a policy: tests/test_sklearn_tools.py.


class Recorder(BaseEstimator):
    """Keeps the logs that it was fitted to."""

    seen = []  # noqa: RUF012

    def fit(self, X, y=None):
        self.seen.append(as_transitions(X, y))
        self.fitted_ = True
        return self

    def score(self, X, y=None):
        self.seen.append(as_transitions(X, y))
        return 0.0


def test_learning_curves_train_on_more_and_more_episodes(table, log):
    Recorder.seen.clear()
    sizes, _, scores = learning_curve(
        Recorder(), log.episodes, None, cv=EpisodeKFold(4), train_sizes=[2, 4, 6]
    )
    assert sizes.tolist() == [2, 4, 6]
    assert scores.shape == (3, 4)
    counted = [len(fold.episodes) for fold in Recorder.seen]
    assert sorted(set(counted)) == [2, 4, 6]
    lengths = dict(zip(log.episodes.labels, log.episodes.lengths, strict=True))
    for fold in Recorder.seen:
        for name, length in zip(
            fold.episodes.labels, fold.episodes.lengths, strict=True
        ):
            assert lengths[name] == length
    # Over rows the last of the episodes may be cut, and it says so; once.
    Recorder.seen.clear()
    with pytest.warns(UserWarning, match="Cut episodes") as caught:
        learning_curve(
            Recorder(), log, None, cv=EpisodeKFold(4), train_sizes=[0.4, 1.0]
        )
    assert len(caught) == 1
    decided = table.drop(columns=STATES)
    sizes, *_ = learning_curve(
        Recorder(), table[STATES], decided, cv=EpisodeKFold(4), train_sizes=[0.4, 1.0]
    )
    assert sizes[-1] == min(len(a) for a, _ in EpisodeKFold(4).split(table, decided))


def test_groups_reach_the_folds_by_metadata_routing(table):
    folds = EpisodeKFold(2)
    assert folds.get_metadata_routing().split.requests == {"groups": True}
    groups = table["episode"].to_numpy()
    y = table.drop(columns=[*STATES, "episode", "step"])
    Recorder.seen.clear()
    # Each row alone is an episode here; the groups keep the right ones together.
    with sklearn.config_context(enable_metadata_routing=True):
        cross_val_score(
            Recorder(), table[STATES], y, cv=folds, params={"groups": groups}
        )
        deaf = EpisodeKFold(2).set_split_request(groups=None)
        with pytest.raises(ValueError, match="groups"):
            cross_val_score(
                Recorder(), table[STATES], y, cv=deaf, params={"groups": groups}
            )
    first = Recorder.seen[1].state["x"].to_numpy()
    held = np.isin(table["x"], first) & table["action"].notna()
    whole = np.isin(groups, groups[held]) & table["action"].notna()
    assert_array_equal(held, whole)
