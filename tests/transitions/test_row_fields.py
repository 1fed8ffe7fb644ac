"""The optional fields of a row: how long it lasts, and how often it counts."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
from _logs import FIELDS, changed, walk_log
from numpy.testing import assert_array_equal
from sklearn.preprocessing import StandardScaler

from sklearn_stackelberg import EpisodeKFold, OnStates, Transitions
from sklearn_stackelberg.transitions import as_transitions

OPTIONAL = ("duration", "weight")


def make_log(frame=False):
    log = walk_log(frame=frame)
    rng = np.random.default_rng(1)
    n = len(log)
    return changed(
        log, duration=rng.uniform(0.5, 3.0, n), weight=rng.integers(3, size=n)
    )


def assert_same(left, right):
    for name in FIELDS:
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert_array_equal(np.asarray(a), np.asarray(b), err_msg=name)


def test_a_log_without_them_is_as_ever():
    log = walk_log()
    assert log.duration is None
    assert log.weight is None
    assert not {*OPTIONAL} & {*vars(log)}
    assert joblib.hash(log) != joblib.hash(changed(log, duration=np.ones(len(log))))


def test_folds_views_and_transformed_logs_carry_them():
    log = make_log()
    rows = next(EpisodeKFold(3).split(log))[0]
    drawn = log.episodes[[2, 0, 2]]
    scaled = OnStates(StandardScaler()).fit_transform(log)
    for name in OPTIONAL:
        values = getattr(log, name)
        assert values.dtype == np.float64
        assert_array_equal(getattr(log[rows], name), values[rows])
        assert_array_equal(getattr(drawn, name)[:9], values[18:27])
        assert_array_equal(getattr(scaled, name), values)
        assert_array_equal(
            getattr(Transitions.concatenate(log, log[:9]), name),
            np.concatenate([values, values[:9]]),
        )
    assert "with episode, step, duration, weight" in repr(log)
    assert "\nduration:      0.5" in str(log.describe())
    with pytest.raises(ValueError, match=r"Some of the logs have duration and others"):
        Transitions.concatenate(log, walk_log())


def test_all_routes_read_the_same():
    log = make_log(frame=True)
    # What goes on as the table says it: the rows of an episode chained.
    state = log.state.copy()
    table = Transitions(
        log.state,
        log.action,
        log.reward,
        state.shift(-1).ffill(),
        log.step == 8,
        episode=log.episode,
        step=log.step,
        duration=log.duration,
        weight=log.weight,
    ).to_frame()
    roles = {"state": ["x", "y"], "weight": "sample_weight"}
    names = ("action", "reward", "episode", "step", "terminated", "duration")
    read = Transitions.from_frame(table, **roles, **{name: name for name in names})
    for name in OPTIONAL:
        assert_array_equal(getattr(read, name), getattr(log, name))
    y = table.drop(columns=["x", "y"])
    assert_same(as_transitions(table[["x", "y"]], y), read)
    cuts = np.arange(9, 90, 9)
    again = Transitions.from_episodes(
        [np.vstack([s, s[-1]]) for s in np.split(log.state.to_numpy(), cuts)],
        np.split(log.action, cuts),
        np.split(log.reward, cuts),
        np.ones(10),
        duration=np.split(log.duration, cuts),
        weight=np.split(log.weight, cuts),
    )
    for name in OPTIONAL:
        assert_array_equal(getattr(again, name), getattr(log, name))


def test_closing_rows_need_neither():
    pd = pytest.importorskip("pandas")
    y = pd.DataFrame({"action": ["a", "b", None], "reward": [0.0, 1.0, None]})
    y = y.assign(episode=0, step=[0, 1, 2])
    y = y.assign(duration=[2, 3, None], sample_weight=[1, 0, None])
    log = as_transitions(np.arange(3)[:, None], y)
    assert_array_equal(log.duration, [2.0, 3.0])
    assert_array_equal(log.weight, [1.0, 0.0])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("duration", 0.0, r"^duration must be above 0, .* it is 0 at row 4\.$"),
        ("duration", -1.0, r"it is -1 at row 4"),
        ("duration", np.nan, r"duration is NaN or infinite at row 4"),
        ("weight", -0.5, r"^weight must not be negative; it is -0.5 at row 4\.$"),
        ("weight", np.inf, r"weight is NaN or infinite at row 4"),
    ],
)
def test_other_values_are_refused(field, value, words):
    values = np.ones(90)
    values[4] = value
    with pytest.raises(ValueError, match=words):
        changed(walk_log(), **{field: values})


def test_weights_that_are_all_0_are_refused():
    with pytest.raises(ValueError, match=r"0 at every row, so that no row counts"):
        changed(walk_log(), weight=np.zeros(90))


def test_lists_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match=r"duration must have one number for each act"):
        Transitions.from_episodes([[[0], [1]]], [[0]], [[1]], [True], duration=[[1, 2]])


def test_a_column_weight_is_not_taken_for_that_of_the_row():
    pd = pytest.importorskip("pandas")
    y = pd.DataFrame({"action": [0, 1], "reward": [0.0, 1.0], "weight": [70.0, 80.0]})
    with pytest.raises(ValueError, match=r"did you mean 'weight' for 'sample_weight'"):
        as_transitions([[0.0], [1.0]], y)
