"""with_history: which observations and actions a state holds, and what changes none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from _logs import FIELDS, changed, dose_log, staged_log, walk_log
from numpy.testing import assert_array_equal
from sklearn.model_selection import KFold

from sklearn_stackelberg import EpisodeKFold, Transitions


def assert_same_log(left, right, but=()):
    for name in set(FIELDS) - set(but):
        assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    assert left.left_out == right.left_out


def cut_log(seed=0, lengths=(1, 2, 5, 9), frame=False) -> Transitions:
    """Whole episodes of random observations, each the state that the next row has."""
    rng = np.random.default_rng(seed)
    seen = [rng.normal(size=(length + 1, 2)) for length in lengths]
    actions = [rng.choice([*"abc"], size=length) for length in lengths]
    ends = [k % 2 == 0 for k in range(len(lengths))]
    log = Transitions.from_episodes(
        seen, actions, [np.arange(n) for n in lengths], ends
    )
    if not frame:
        return log
    now, after = (
        pd.DataFrame(s, columns=["x", "y"], index=np.arange(len(log)) + 50)
        for s in (log.state, log.next_state)
    )
    return log.with_states(now, after)


def by_hand(log, k, row, after=False) -> list[float]:
    """A row's history, or that of its next state, looked up a step at a time."""
    labels = sorted({*log.action})
    where = {
        (e, s): i for i, (e, s) in enumerate(zip(log.episode, log.step, strict=True))
    }
    path = [where[log.episode[row], s] for s in range(log.step[row] + 1)]
    seen = [log.state[i] for i in path] + [log.next_state[row]] * after
    done = [log.action[i] for i in path][: len(seen) - 1]
    found = [*seen[-1]]
    for lag in range(1, k):
        action = done[-lag] if lag <= len(done) else None
        found += [float(action == label) for label in labels]
        found += [*seen[max(len(seen) - 1 - lag, 0)]]
    return found


@pytest.mark.parametrize("k", [2, 3, 4])
def test_a_state_holds_the_last_observations_and_the_actions_between(k):
    log = cut_log()
    out = log.with_history(k)
    assert out.shape == (len(log), 2 * k + 3 * (k - 1))
    for row in range(len(log)):
        assert_array_equal(out.state[row], by_hand(log, k, row))
        assert_array_equal(out.next_state[row], by_hand(log, k, row, after=True))
    # So what follows a row is what the next one has.
    follows = np.flatnonzero(np.diff(log.episode) == 0)
    assert_array_equal(out.next_state[follows], out.state[follows + 1])
    assert_same_log(out, log, but=("state", "next_state"))


def test_one_observation_is_the_log_itself():
    for log in (cut_log(), cut_log(frame=True), staged_log(5)):
        out = log.with_history(1)
        assert out.state is log.state
        assert out.next_state is log.next_state
        assert out.available_rule is log.available_rule
        assert_same_log(out, log)


@pytest.mark.parametrize("with_steps", [True, False])
def test_folds_of_episodes_have_the_history_of_the_fold(with_steps):
    log = cut_log(lengths=(3, 4, 5, 6, 7, 3, 4))
    if not with_steps:
        log = changed(log, step=None)
    out = log.with_history(3)
    for train, test in EpisodeKFold(3).split(log):
        for rows in (train, test):
            fold = log[rows].with_history(3, actions=[*"abc"])
            assert_same_log(fold, out[rows])
    drawn = [4, 1, 1]
    fold = log.episodes[drawn].with_history(3, actions=[*"abc"])
    assert_same_log(fold, out.episodes[drawn])


def test_the_order_of_rows_changes_nothing():
    log = cut_log()
    order = np.random.default_rng(0).permutation(len(log))
    assert_same_log(log[order].with_history(3), log.with_history(3)[order])


def test_rows_of_two_episodes_never_mix():
    # One observation everywhere, so that only names of episodes tell them apart.
    log = changed(cut_log(), state=np.ones((17, 2)), next_state=np.ones((17, 2)))
    for given in (log, changed(log, step=None)):
        out = given.with_history(2).state
        assert_array_equal(out[:, 2:5].sum(axis=1), (log.step > 0).astype(float))
    with pytest.raises(ValueError, match="needs episodes, or those of two would mix"):
        changed(log, episode=None, step=None).with_history(2)


def test_a_history_ends_where_an_episode_was_terminated():
    log = cut_log(lengths=(6,) * 10)
    ended = np.zeros(len(log), dtype=bool)
    ended[2] = True
    out = changed(log, terminated=ended).with_history(2)
    assert not out.state[3, 2:5].any()
    assert out.state[4, 2:5].any()


def test_gaps_are_starts_and_many_of_them_a_warning():
    log = cut_log(lengths=(30,))
    one = np.delete(np.arange(30), 14)
    out = log[one].with_history(2, actions=[*"abc"])
    assert np.flatnonzero(out.state[:, 2:5].sum(axis=1) == 0).tolist() == [0, 14]
    rows = next(KFold(3, shuffle=True, random_state=0).split(log))[0]
    message = r"At \d of 20 rows the history starts anew inside an episode"
    with pytest.warns(UserWarning, match=message):
        log[rows].with_history(2)
    with pytest.warns(UserWarning, match="rows the history starts anew"):
        changed(log, step=None)[rows].with_history(2)


def test_columns_of_a_frame_have_names():
    log = cut_log(frame=True)
    out = log.with_history(3)
    one = ["action_lag1_a", "action_lag1_b", "action_lag1_c", "x_lag1", "y_lag1"]
    two = [name.replace("lag1", "lag2") for name in one]
    assert [*out.state.columns] == ["x", "y", *one, *two]
    assert [*out.next_state.columns] == [*out.state.columns]
    assert_array_equal(out.state.index, log.state.index)
    assert_array_equal(out.state, cut_log().with_history(3).state)
    assert_array_equal(out.next_state, cut_log().with_history(3).next_state)
    # As they are, and not all of one type.
    table = log.state.assign(ward=[*"uv" * 8, "u"], n=np.arange(17))
    mixed = log.with_states(table, table).with_history(2).state
    assert [*mixed["ward_lag1"][:4]] == [*"uvvv"]
    assert mixed["n_lag1"].dtype == int
    numbered = log.with_states(
        *(s.set_axis([0, 1], axis=1) for s in (table[["x", "y"]],) * 2)
    )
    assert [*numbered.with_history(2).state.columns][:3] == ["0", "1", "action_lag1_a"]
    twice = table.rename(columns={"y": "x_lag1"})
    with pytest.raises(ValueError, match=r"already have columns \['x_lag1'\]"):
        log.with_states(twice, twice).with_history(2)


def test_amounts_stand_as_they_are_beside_whether_there_are_any():
    log = dose_log(60)
    out = log.with_history(2).state
    first = log.step == 0
    assert_array_equal(out[:, 3], first)
    assert_array_equal(out[~first, 2], log.action[np.flatnonzero(~first) - 1])
    assert not out[first, 2].any()
    two = dose_log(60, p=2)
    assert two.with_history(3).shape == (60, 2 * 3 + 3 * 2)
    # Whole numbers are labels, unless they are said to be amounts.
    whole = changed(log, action=np.arange(60) % 3)
    assert whole.with_history(2).n_features == 2 + 3 + 2
    assert whole.with_history(2, actions="numbers").n_features == 2 + 2 + 2
    assert whole.with_history(2, actions=range(5)).n_features == 2 + 5 + 2


def test_available_actions_have_the_columns_and_masks_remain():
    log = staged_log(5)
    out = log.with_history(2)
    assert out.n_features == 2 + 4 + 2
    assert_array_equal(out.available, log.available)
    assert_array_equal(out.next_available, log.next_available)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "O"])
def test_the_type_of_states(dtype):
    log = walk_log()
    log = changed(
        log, state=log.state.astype(dtype), next_state=log.state.astype(dtype)
    )
    expected = "f8" if dtype == "i8" else dtype
    out = log.with_history(2)
    assert out.state.dtype == out.next_state.dtype == expected


@pytest.mark.parametrize(
    ("k", "actions", "message"),
    [
        (0, None, "k is 0; a positive"),
        (2.0, None, "k is 2.0; a positive"),
        (True, None, "k is True; a positive"),
        (2, "labels", "actions is 'labels'; a list"),
        (2, ["a", "b"], r"actions at row.* are none of those .*\['a', 'b'\]"),
        (2, [0, 1], "are none of those"),
        (2, "numbers", "needs numbers"),
    ],
)
def test_what_is_refused(k, actions, message):
    with pytest.raises(ValueError, match=message):
        cut_log().with_history(k, actions=actions)
