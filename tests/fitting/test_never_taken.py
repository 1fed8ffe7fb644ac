"""Where a log never takes an action, though it does so beside."""

from __future__ import annotations

import numpy as np
import pytest
from _logs import barred_log
from numpy.testing import assert_array_equal

from sklearn_stackelberg._fitting.never_taken import NeverTaken
from sklearn_stackelberg.kernels._columns import StateColumns


def never_taken(states, codes, weight=None, episode=None, at=None):
    one, n_actions = np.ones(len(codes)), codes.max() + 1
    at = states if at is None else at
    columns = StateColumns("float32", standardise=True).fit(at)
    found = NeverTaken(columns, n_actions).fit(
        states,
        codes,
        one if weight is None else weight,
        np.arange(len(codes)) if episode is None else episode,
        np.ones(states.shape[1]),
    )
    if found is None:
        return np.zeros((len(at), n_actions), dtype=bool)
    return found(at)


def test_weights_are_no_evidence_that_an_action_is_never_taken():
    states, codes, _ = barred_log(n=400)
    once = never_taken(states, codes)
    assert once.any()
    assert_array_equal(never_taken(states, codes, weight=np.full(400, 3.0)), once)
    # Hardly anything is known of rows of which one has nearly all the weight.
    assert not never_taken(
        states, codes, weight=np.where(np.arange(400), 1.0, 1e6)
    ).any()


def test_rows_of_no_weight_are_no_rows():
    states, codes, _ = barred_log(n=600)
    # All of one action, which is then nowhere, and never beside anything.
    some = codes != 2
    left_out = never_taken(states, codes, weight=1.0 * some)
    assert_array_equal(left_out, never_taken(states[some], codes[some], at=states))
    assert not left_out[:, 2].any()


def test_the_order_of_rows_is_nothing():
    states, codes, _ = barred_log(n=3000)
    once, order = never_taken(states, codes), np.random.default_rng(1).permutation(3000)
    assert_array_equal(never_taken(states[order], codes[order]), once[order])


@pytest.mark.parametrize(("n_columns", "n_actions"), [(1, 2), (4, 10), (20, 4)])
def test_what_is_taken_at_random_is_hardly_ever_barred(n_columns, n_actions):
    rng, found = np.random.default_rng(0), []
    for _ in range(5):
        states = rng.normal(size=(1000, n_columns))
        found += [never_taken(states, rng.integers(n_actions, size=1000)).mean()]
    assert np.mean(found) < 0.003


@pytest.mark.parametrize("rule", ["sum", "product"])
def test_what_is_barred_by_two_columns_together_is_found(rule):
    rng = np.random.default_rng(0)
    states = rng.normal(size=(2000, 4))
    one, other = states[:, 1], states[:, 2]
    barred = one - 0.5 * other < 0.0 if rule == "sum" else one * other < 0.0
    codes = np.where(barred, 0, rng.integers(2, size=2000))
    found = never_taken(states, codes)[:, 1]
    assert found[barred].mean() > 0.8
    assert found[~barred].mean() < 0.02


def test_a_state_so_far_off_that_products_overflow_is_on_a_side():
    states, codes, _ = barred_log(n=600)
    columns = StateColumns("float32", standardise=True).fit(states)
    one = np.ones(600)
    found = NeverTaken(columns, 6).fit(states, codes, one, np.arange(600), np.ones(6))
    assert found is not None
    # Warnings are errors here.
    assert not found(np.full((1, 6), 1e30)).all()


def test_boxes_of_few_rows_do_not_reach_too_far():
    # Two actions at each of two stages, and nothing else is barred.
    rng, stage = np.random.default_rng(0), np.arange(120) % 2
    states = np.column_stack([rng.normal(size=(120, 2)), stage])
    found = never_taken(states, 2 * stage + rng.integers(2, size=120))
    assert_array_equal(found, (np.arange(4) // 2)[None] != stage[:, None])


def test_rows_of_few_episodes_do_not_bar_a_drug_that_a_patient_keeps():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(150), 14)
    states = np.column_stack([rng.normal(size=150)[patient], rng.normal(size=2100)])
    codes = (rng.random(150) < 0.1)[patient].astype(int)
    assert never_taken(states, codes)[:, 1].mean() > 0.2
    assert not never_taken(states, codes, episode=patient).any()
    # One trajectory has no others to compare with: rows count.
    one = np.zeros(2100, dtype=int)
    assert_array_equal(
        never_taken(states, codes, episode=one), never_taken(states, codes)
    )
