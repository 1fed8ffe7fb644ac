"""What actions are taken for, with which note, and how far they may go."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklearn_stackelberg.transitions._actions import action_type, check_bounds

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
    """What the notes tell the user to do is taken as discrete, and loses nothing."""
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
