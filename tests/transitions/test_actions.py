"""What actions are taken for, with which note, and how far they may go."""

from __future__ import annotations

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from _logs import changed, staged_log, staged_rule
from numpy.testing import assert_array_equal
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import OnStates, Transitions, as_transitions
from sklearn_stackelberg.transitions._actions import action_type, check_bounds
from sklearn_stackelberg.transitions._tables import shared_next_rows

RNG = np.random.default_rng(0)
LEVELS = np.tile([0.0, 0.5, 1.0, 2.5], 25)
GRID = np.array([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)] * 5)


@pytest.mark.parametrize(
    ("action", "type_", "words"),
    [
        (np.array(["a", "b"]), "discrete", ""),
        (np.array([True, False]), "discrete", ""),
        (np.array([0, 1, 1]), "discrete", ""),
        (np.arange(20), "discrete", ""),
        (np.arange(21), "discrete", "21 different whole numbers from 0 to 20"),
        (np.arange(21.0), "discrete", "21 different whole numbers"),
        (LEVELS, "discrete", ""),
        (LEVELS[:7], "continuous", ""),  # fewer than two rows for each value
        (RNG.normal(size=100), "continuous", ""),
        (np.repeat(np.linspace(0, 1, 20), 2), "discrete", ""),
        (np.repeat(np.linspace(0, 1, 21), 9), "continuous", ""),
        (RNG.normal(size=(30, 2)), "continuous", ""),
        (GRID, "continuous", "4 different combinations of 2 whole numbers"),
        (GRID / 2, "continuous", "4 different combinations of 2 numbers"),
        (RNG.integers(99, size=(90, 3)).astype(float), "continuous", "3 whole numbers"),
    ],
)
def test_what_actions_are_taken_for_and_the_note(action, type_, words):
    found, note = action_type(action, "auto")
    assert found == type_
    assert words in note
    assert bool(words) == bool(note)
    if note:  # both readings, and how to choose
        assert "discrete" in note
        assert "action_type='continuous'" in note
    if action.ndim == 1:
        assert action_type(action[:, None]) == (found, note)
        assert action_type(np.flip(action)) == (found, note)
        assert action_type(action, "discrete") == ("discrete", "")
    if action.dtype.kind in "if":
        assert action_type(action, "continuous") == ("continuous", "")


def test_refused_action_types():
    with pytest.raises(ValueError, match=r"are 'a', 'b', 'c', 'd', 'e', \.\.\."):
        action_type(np.array([*"abcdefg"]), "continuous")
    with pytest.raises(ValueError, match=r"actions are False, True\. Set"):
        action_type(np.array([True, False]), "continuous")
    with pytest.raises(ValueError, match=r"2 numbers each.*return_inverse=True"):
        action_type(GRID, "discrete")
    with pytest.raises(ValueError, match="'auto', 'discrete', 'continuous'"):
        action_type(GRID, "box")


def test_the_advice_for_combinations_gives_discrete_actions():
    """What the notes advise is taken as discrete, and loses nothing."""
    choices, number = np.unique(GRID, axis=0, return_inverse=True)
    assert action_type(number) == ("discrete", "")
    assert_array_equal(choices[number], GRID)


def test_bounds_are_those_of_the_log_unless_given():
    action = RNG.normal(size=(50, 2))
    low, high = check_bounds(action)
    assert_array_equal(low, action.min(axis=0))
    assert_array_equal(high, action.max(axis=0))
    for given in [(-9, 9.0), ([-9, -9], 9), np.array([[-9.0, -9], [9, 9]])]:
        low, high = check_bounds(action, given)
        assert_array_equal([low, high], [[-9, -9], [9, 9]])
    assert_array_equal(check_bounds(action[:, 0], (-9, 9)), [[-9], [9]])
    assert_array_equal(check_bounds(action, check_bounds(action)), check_bounds(action))


def test_bounds_of_32_bits_hold_what_they_round():
    action = np.array([[0.1], [-0.3]], dtype=np.float32)
    assert float(action[0, 0]) > 0.1  # by rounding
    check_bounds(action, (-0.3, 0.1))


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ((1, -1), "wrong way round in column 0: low=1 is not below high=-1"),
        (([-9, 9], [9, 9]), "wrong way round in column 1"),
        ((-np.inf, 1), "must be finite"),
        ((np.nan, 1), "must be finite"),
        ((-1, 1, 2), r"pair \(low, high\).*2 columns"),
        (([1, 2, 3], 4), r"pair \(low, high\)"),
        (5, r"pair \(low, high\)"),
        (("a", "b"), r"pair \(low, high\)"),
        ((-1, 9), r"outside action_bounds.*at rows 1, 3 \(for example \[0.0, -2.0\]\)"),
    ],
)
def test_bad_bounds(bounds, words):
    action = np.array([[0.0, 1], [0, -2], [1, 3], [-4, 0]])
    with pytest.raises(ValueError, match=words):
        check_bounds(action, bounds)


def test_an_action_that_never_varies_leaves_nothing_to_choose():
    with pytest.raises(ValueError, match="column 1 of the action is 3 in all 4 rows"):
        check_bounds(np.array([[0.0, 3], [1, 3], [2, 3], [3, 3]]))
    with pytest.raises(ValueError, match="the logged action is 3 in all 2 rows"):
        check_bounds(np.array([3, 3]))
    check_bounds(np.array([3, 3]), (0, 5))


# ---------------------------------------------------------------- masks

LOG = staged_log(n=20)
MASK = LOG.available
LABELS = [*"abcd"]


def frame_of(log, **columns):
    """The log as a table, with a column of masks for each action."""
    return pd.DataFrame(
        {"stage": log.state[:, 0], "x": log.state[:, 1], "action": log.action}
        | {name: getattr(log, name) for name in ("reward", "episode", "step")}
        | {"terminated": log.terminated}
        | dict(zip(columns or LABELS, log.available.T, strict=True))
    )


ROLES = {name: name for name in ("action", "reward", "episode", "step", "terminated")}
READ = {"state": ["stage", "x"], **ROLES}


def assert_same_masks(log, expected=LOG):
    assert_array_equal(log.available_actions, expected.available_actions)
    for name in ("available", "next_available"):
        assert_array_equal(getattr(log, name), getattr(expected, name))
        assert getattr(log, name).dtype == bool


def parts(array):
    return [array[i : i + 2] for i in range(0, len(array), 2)]


WAYS = {
    "arrays": lambda: staged_log(
        n=20, available=MASK.tolist(), next_available=np.roll(MASK, -1, axis=0) * 1.0
    ),
    "frames": lambda: staged_log(
        n=20,
        available=pd.DataFrame(MASK, columns=LABELS)[[*"dbca"]],
        next_available=pd.DataFrame(LOG.next_available, columns=LABELS),
    ),
    "a callable that returns a frame": lambda: staged_log(
        n=20, available=lambda s: pd.DataFrame(staged_rule(s), columns=LABELS)
    ),
    "a table": lambda: Transitions.from_frame(
        frame_of(LOG), available=[*"cadb"], **READ
    ),
    "a table's columns by action": lambda: Transitions.from_frame(
        frame_of(LOG, p=0, q=0, r=0, s=0),
        available={"a": "p", "b": "q", "c": "r", "d": "s"},
        **READ,
    ),
    "a table and a callable": lambda: Transitions.from_frame(
        frame_of(LOG), available=staged_rule, **READ
    ),
    "a decision table": lambda: as_transitions(
        LOG.state,
        frame_of(LOG).rename(columns=lambda c: f"available_{c}" if c in LABELS else c),
    ),
    "a structured array": lambda: as_transitions(
        LOG.state,
        frame_of(LOG)
        .rename(columns=lambda c: f"available_{c}" if c in LABELS else c)
        .to_records(index=False),
    ),
    "episodes": lambda: Transitions.from_episodes(
        [np.vstack([s, s[-1:]]) for s in parts(LOG.state)],
        parts(LOG.action),
        parts(LOG.reward),
        [True] * 20,
        [np.vstack([m, m[-1:]]) for m in parts(MASK)],
    ),
    "episodes and a callable": lambda: Transitions.from_episodes(
        [np.vstack([s, s[-1:]]) for s in parts(LOG.state)],
        parts(LOG.action),
        parts(LOG.reward),
        [True] * 20,
        staged_rule,
    ),
    "its own table": lambda: Transitions.from_frame(
        LOG.to_frame(),
        available={label: f"available_{label}" for label in LABELS},
        **READ | {"state": ["state_0", "state_1"]},
    ),
    "two logs": lambda: Transitions.concatenate(LOG[:10], LOG[10:]),
    "episodes drawn": lambda: LOG.episodes[np.arange(20)],
    "other states": lambda: LOG.with_states(2 * LOG.state, LOG.next_state),
    "a scaler": lambda: OnStates(StandardScaler()).fit_transform(LOG),
    "a pickle": lambda: pickle.loads(pickle.dumps(LOG)),
}


@pytest.mark.parametrize("way", WAYS)
def test_masks_are_the_same_whichever_way_they_come(way):
    assert_same_masks(WAYS[way]())


def test_a_fold_keeps_the_columns_of_the_actions_that_it_lacks():
    fold = LOG[LOG.step == 0]
    assert set(fold.action) == {"a", "b"}
    assert_array_equal(fold.available_actions, LABELS)
    assert_array_equal(fold.available, MASK[LOG.step == 0])
    assert_array_equal(fold.next_available, LOG.next_available[LOG.step == 0])
    assert fold.available_rule is staged_rule


def test_a_log_without_masks_has_nothing_of_them():
    log = staged_log(n=3, available=None)
    names = {"available", "next_available", "available_actions", "available_rule"}
    assert not names & {*vars(log)} | names & {*vars(log[:2])}
    assert names <= {*vars(LOG)}
    assert joblib.hash(LOG) == joblib.hash(staged_log(n=20)) == joblib.hash(LOG[:])
    assert joblib.hash(LOG) != joblib.hash(WAYS["arrays"]())  # which has no rule


@pytest.mark.parametrize(
    ("action", "names"),
    [
        ([0, 1, 0], ["1", "0", "7"]),
        ([0, 1, 0], [1, 0, 7]),
        ([0.5, 1.0, 0.5], ["1", "0.5", "2.5"]),
        ([False, True, False], ["True", "False"]),
    ],
)
def test_columns_of_masks_are_read_as_the_actions_type(action, names):
    mask = pd.DataFrame(np.ones((3, len(names))), columns=names)
    log = Transitions([[0]] * 3, action, [0] * 3, [[0]] * 3, [1] * 3, available=mask)
    assert log.available_actions.dtype == log.action.dtype
    assert_array_equal(log.available_actions[:2], np.unique(action))
    # What follows an end may be anything, and is not asked for.
    assert log.next_available is log.available
    fold = log[:2]
    assert fold.next_available is fold.available


def test_where_next_states_are_the_next_rows_the_masks_must_be_too():
    state = np.zeros((3, 1))
    mask = np.array([[1, 1], [1, 0], [1, 1]], dtype=bool)
    given = dict(state=state, action=[0, 0, 1], reward=[0] * 3, next_state=state)
    log = Transitions(**given, available=mask, next_available=mask)
    assert shared_next_rows(log.state, log.next_state).tolist() == [1, 2, -1]
    assert shared_next_rows(log.state, log.next_state, log).tolist() == [-1, -1, -1]
    with pytest.raises(ValueError, match=r"cannot hold this log.*rows 0, 1"):
        changed(
            log, episode=[0] * 3, step=[0, 1, 2], available=mask, next_available=mask
        ).to_frame()


def given(**fields):
    """A log of three rows, the last of them terminated."""
    return Transitions(
        **dict(
            state=[[0.0]] * 3,
            action=["a", "b", "a"],
            reward=[0.0] * 3,
            next_state=[[0.0]] * 3,
            terminated=[False, False, True],
        )
        | fields
    )


YES = np.ones((3, 2), dtype=bool)
NOT_B = np.array([[1, 1], [1, 0], [1, 1]], dtype=bool)
NOTHING = np.array([[1, 1], [1, 1], [0, 0]], dtype=bool)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(available=YES), "without next_available.* next states of rows 0, 1,"),
        (dict(next_available=YES), "without available"),
        (dict(available=NOT_B, next_available=YES), "not available at row 1 .*'b'"),
        (dict(available=NOTHING, next_available=YES), "no action .* at row 2"),
        (dict(available=YES, next_available=~YES), "next_available .* at rows 0, 1"),
        (dict(available=np.ones((3, 3)), next_available=YES), "3 columns, and 2 "),
        (dict(available=2 * YES, next_available=YES), "'a' must be True or False"),
        (dict(available=YES[:2], next_available=YES), "action 3, available 2"),
        (dict(available=lambda s: YES, next_available=YES), "beside a callable"),
        (
            dict(available=pd.DataFrame(YES, columns=[*"ac"]), next_available=YES),
            r"actions \['a', 'c'\], and next_available for \['a', 'b'\]",
        ),
        (
            dict(available=lambda s: pd.DataFrame(YES, columns=[*"ac"])),
            r"no column for the logged actions \['b'\]",
        ),
        (
            dict(available=lambda s: pd.DataFrame(YES, columns=[*"aa"])),
            r"more than one column for the actions \['a'\]",
        ),
        (
            dict(
                action=[0, 1, 0],
                available=lambda s: pd.DataFrame(YES, columns=["0", "one"]),
            ),
            "not all actions of the type .* such as 0",
        ),
        (dict(action=np.ones((3, 2)), available=YES), "actions are continuous"),
    ],
)
def test_masks_that_cannot_be_used_are_refused_in_a_sentence(fields, words):
    with pytest.raises(ValueError, match=words):
        given(**fields)


def test_a_tables_masks_are_refused_by_its_own_rows():
    table = frame_of(LOG)
    table.loc[7, table.action[7]] = False
    shuffled = table.iloc[::-1].reset_index(drop=True)
    with pytest.raises(ValueError, match="not available at row 32"):
        Transitions.from_frame(shuffled, available=LABELS, **READ)
    table = frame_of(LOG).astype({"c": object})
    table.loc[4, "c"] = None
    with pytest.raises(ValueError, match=r"available_c .*column 'c'.* row 4"):
        Transitions.from_frame(table, available=LABELS, **READ)
    with pytest.raises(ValueError, match="no column 'e'"):
        Transitions.from_frame(table, available=[*"abce"], **READ)
    with pytest.raises(ValueError, match="one column for each, named 'available_'"):
        as_transitions(LOG.state, frame_of(LOG).assign(available=1))
    wide = frame_of(LOG).assign(action_0=0.5, action_1=1.5, available_a=True)
    with pytest.raises(ValueError, match="actions are continuous"):
        as_transitions(LOG.state, wide.drop(columns="action"))


def test_rows_after_an_end_need_no_mask():
    table = frame_of(LOG)[:4].astype(dict.fromkeys(LABELS, object))
    closing = table.iloc[[1]].assign(action=None, reward=None, step=2)
    closing[LABELS] = None
    closed = pd.concat([table, closing], ignore_index=True)
    read = Transitions.from_frame(closed, available=LABELS, **READ)
    assert_same_masks(read, LOG[:4])


def test_logs_with_other_masks_are_not_joined():
    with pytest.raises(ValueError, match="have available and others"):
        Transitions.concatenate(LOG, staged_log(n=2, available=None))
    other = staged_log(n=8, labels="abcx")
    with pytest.raises(ValueError, match="masks of the first log have columns"):
        Transitions.concatenate(LOG, other)
    both = Transitions.concatenate(LOG, LOG)
    assert both.available_rule is staged_rule
    assert Transitions.concatenate(LOG, WAYS["arrays"]()).available_rule is None
    # A rule is of states as they were, which transformed ones are not.
    assert LOG.with_states(2 * LOG.state, LOG.next_state).available_rule is None


def test_masks_are_described():
    assert "available:     2 to 2, mean 2 actions" in str(LOG.describe())
    assert repr(LOG).endswith("with episode, step, available>")
