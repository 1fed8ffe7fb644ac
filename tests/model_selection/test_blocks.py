"""Folds that are blocks of time, with a gap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from _logs import estimator
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, TimeSeriesSplit, cross_val_score

from sklearn_stackelberg import EpisodeKFold, Transitions
from sklearn_stackelberg.model_selection import BlockKFold


def trajectory(lengths=(60,), *, step=True, order=None, seed=0):
    """Episodes that do not end, of a state that remembers the last."""
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    state = rng.normal(size=(n + 1, 2)).cumsum(axis=0) / 5.0
    action = rng.integers(2, size=n)
    reward = action * state[:-1, 0] + rng.normal(size=n)
    episode = np.repeat(np.arange(len(lengths)), lengths)
    steps = np.concatenate([np.arange(m) for m in lengths]) if step else None
    log = Transitions(
        state[:-1], action, reward, state[1:], episode=episode, step=steps
    )
    return log if order is None else log[order]


@pytest.mark.parametrize("lengths", [(60,), (41, 23), (3, 50)])
@pytest.mark.parametrize("gap", [None, 0, 4])
def test_blocks_of_every_episode_with_a_gap_on_both_sides(lengths, gap):
    order = np.random.default_rng(1).permutation(sum(lengths))
    log = trajectory(lengths, order=order)
    times = np.zeros(len(log), int)
    for train, test in BlockKFold(5, gap=gap).split(log):
        times[test] += 1
        assert not np.intersect1d(train, test).size
        assert_array_equal(train, np.sort(train))
        for number, length in enumerate(lengths):
            rows = np.flatnonzero(log.episode == number)
            own = np.intersect1d(rows, test)
            kept = log.step[np.intersect1d(rows, train)]
            if not len(own):
                assert_array_equal(np.sort(kept), np.arange(length))
                continue
            tested = np.sort(log.step[own])
            assert_array_equal(tested, np.arange(tested[0], tested[-1] + 1))
            assert abs(len(tested) - length / 5) < 1
            wide = round(np.sqrt(length)) if gap is None else gap
            left_out = np.arange(tested[0] - wide, tested[-1] + wide + 1)
            assert_array_equal(np.sort(kept), np.setdiff1d(np.arange(length), left_out))
    assert_array_equal(times, 1)


def test_a_log_its_table_its_groups_and_rows_in_order_have_the_same_blocks():
    log = trajectory()
    table = pd.DataFrame({"action": log.action, "reward": log.reward})
    decided = table.assign(episode=0, step=log.step)
    folds = BlockKFold(4, gap=3)
    expected = list(folds.split(log))
    for given in (
        (log.state, None),
        (log.state, table),
        (log.state, decided),
        (log.state, decided.to_records(index=False)),
        (log.state, table, np.zeros(60)),
        (trajectory(step=False),),
    ):
        for (train, test), found in zip(expected, folds.split(*given), strict=True):
            assert_array_equal(train, found[0])
            assert_array_equal(test, found[1])
    assert folds.get_n_splits(log) == 4
    assert clone(folds, safe=False).gap == 3
    assert repr(folds) == "BlockKFold(gap=3, n_splits=4)"


def test_searches_take_it_and_no_cut_episode_is_reported():
    policy = estimator(discount=0.5, n_components=20, support=0.0, max_iter=5)
    for log in (trajectory((300,)), trajectory((150, 150)), trajectory((300,))):
        scores = cross_val_score(policy, log, cv=BlockKFold(3))
        assert np.isfinite(scores).all()
    search = GridSearchCV(policy, {"lam": [1.0]}, cv=BlockKFold(3))
    # Through a pickle, too: other processes know a log by that.
    assert search.fit(trajectory((300,))[:280]).best_score_ < 100.0


def test_one_trajectory_can_be_split_by_time_by_hand():
    log = trajectory((300,))
    estimator(discount=0.5).fit(log[:250])
    train, _ = list(TimeSeriesSplit(3).split(log.state))[1]
    estimator(discount=0.5).fit(log[train])
    with pytest.warns(UserWarning, match=r"Cut episodes.*BlockKFold\(5\)"):
        estimator(discount=0.5).fit(log[::2])


def test_other_splitters_lead_to_it():
    with pytest.raises(ValueError, match=r"of 1 episode\. Use BlockKFold"):
        list(EpisodeKFold(2).split(trajectory()))
    log = trajectory()
    bare = Transitions(log.state, log.action, log.reward, log.next_state)
    with pytest.raises(ValueError, match="in order of time, use BlockKFold"):
        list(EpisodeKFold(2).split(bare))


def test_what_cannot_be_split_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="n_splits must be an integer >= 2; got 1"):
        BlockKFold(1)
    with pytest.raises(ValueError, match=r"gap must be an integer >= 0; got 1\.5"):
        BlockKFold(gap=1.5)
    with pytest.raises(ValueError, match=r"n_splits=9 blocks .* of 8 rows, .*2 episo"):
        list(BlockKFold(9).split(trajectory((8, 5))))
    with pytest.raises(ValueError, match=r"A gap of 40 rows .* leaves no row of 60"):
        list(BlockKFold(2, gap=40).split(trajectory()))
    with pytest.raises(ValueError, match="view of a log's episodes"):
        list(BlockKFold().split(trajectory().episodes))
    with pytest.raises(ValueError, match="X 60, episode 59"):
        list(BlockKFold().split(trajectory(), groups=np.zeros(59)))
