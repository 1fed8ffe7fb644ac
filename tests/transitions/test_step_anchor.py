"""Values measured from what a log returns from each step on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.transitions._step_anchor import StepAnchor
from sklearn_stackelberg.transitions._weights import with_weight


def visits(n=40, length=6, seed=0, lost=0.0, **columns):
    """Patients of so many visits by design, of whom some end before."""
    rng = np.random.default_rng(seed)
    ends = rng.random((n, length)) < lost
    ends[:, -1] = True
    step = np.tile(np.arange(length), (n, 1))
    last = ends.argmax(axis=1)[:, None]
    kept = step <= last
    episode = np.repeat(np.arange(n), length).reshape(n, length)
    state = rng.normal(size=(n, length + 1, 2))
    return Transitions(
        state[:, :-1][kept],
        rng.integers(2, size=(n, length))[kept],
        rng.normal(3.0, 1.0, size=(n, length))[kept],
        state[:, 1:][kept],
        (step == last)[kept],
        episode=episode[kept],
        step=step[kept],
        **columns,
    )


def returns(log, reward, discount):
    power = discount ** log.step.astype(float)
    return np.bincount(log.episode, power * reward)


@given(
    lost=st.sampled_from([0.0, 0.05]),
    discount=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 50),
)
def test_what_is_taken_off_is_what_is_added_at_the_start(lost, discount, seed):
    log = visits(lost=lost, seed=seed)
    anchor = StepAnchor.of(log, discount)
    plain = returns(log, log.reward, discount)
    moved = returns(log, anchor.reward(log, discount), discount)
    assert_allclose(moved + anchor.of_rows(log)[log.step == 0], plain)


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_nothing_that_depends_on_the_step_alone_is_left(discount):
    log = visits()
    other = log[:]
    other.reward = log.reward + np.array([7.0, -2, 0, 100, 1e3, 5])[log.step]
    one, two = (StepAnchor.of(each, discount) for each in (log, other))
    rewards = one.reward(log, discount), two.reward(other, discount)
    assert_allclose(*rewards, atol=1e-9)
    mean = np.bincount(log.step, log.reward) / 40
    assert_allclose(rewards[0], log.reward - mean[log.step], atol=1e-12)


def test_the_anchor_is_the_mean_return_from_the_step_on():
    log = visits()
    anchor = StepAnchor.of(log, 0.9)
    power = 0.9 ** np.arange(6)
    reward = log.reward.reshape(40, 6)
    expected = [(reward[:, t:] @ power[: 6 - t]).mean() for t in range(6)]
    assert_allclose(anchor.values[:-1], expected, atol=1e-12)


def test_a_weight_is_a_repetition():
    log = visits(lost=0.05)
    weight = 1.0 + log.episode % 3
    one = StepAnchor.of(with_weight(log, weight), 0.9)
    parts = [log[log.episode % 3 >= k] for k in range(3)]
    rows = np.concatenate([np.flatnonzero(log.episode % 3 >= k) for k in range(3)])
    names = np.concatenate([p.episode + 1000 * k for k, p in enumerate(parts)])
    repeated = Transitions(
        log.state[rows],
        log.action[rows],
        log.reward[rows],
        log.next_state[rows],
        log.terminated[rows],
        episode=names,
        step=log.step[rows],
    )
    assert_allclose(StepAnchor.of(repeated, 0.9).values, one.values)


def test_there_is_none_where_steps_do_not_say_when_episodes_end():
    assert StepAnchor.of(visits(lost=0.3, n=200), 0.9) is None
    assert StepAnchor.of(visits(length=1), 0.9) is None
    log = visits()
    never = log[:]
    never.terminated = np.zeros(len(log), dtype=bool)
    assert StepAnchor.of(never, 0.9) is None
    for name, steps in (
        ("dates", 7 * log.step),
        ("far apart", 10_000 * log.step),
    ):
        other = log[:]
        other.step = steps
        assert StepAnchor.of(other, 0.9) is None, name
    # Every number from 0 to 10 is somebody's, but next to none follows the one before.
    other = log[:]
    other.step = 2 * log.step + log.episode % 2
    assert StepAnchor.of(other, 0.9) is None
    # Rows that are known by no episode have no step.
    least = ("state", "action", "reward", "next_state", "terminated")
    other = Transitions(*(getattr(log, name) for name in least))
    assert StepAnchor.of(other, 0.9) is None


def test_steps_may_begin_with_any_number():
    log, other = visits(), visits()
    other.step = log.step - 3
    one, two = (StepAnchor.of(each, 0.9) for each in (log, other))
    assert_allclose(one.values, two.values)
    assert_allclose(one.reward(log, 0.9), two.reward(other, 0.9))


def test_what_is_cut_at_the_last_step_goes_on_as_it_was():
    log = visits(n=200)
    cut = log[:]
    cut.terminated = log.terminated & (log.episode % 10 > 0)
    anchor = StepAnchor.of(cut, 0.9)
    mean = np.bincount(log.step, log.reward)[-1] / 200
    assert anchor.values[-1] == pytest.approx(mean / (1.0 - 0.9 / 10))
    assert anchor.values[-2] == pytest.approx(anchor.values[-1])
