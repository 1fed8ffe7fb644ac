"""Which kernel ``"auto"`` takes."""

from __future__ import annotations

import numpy as np
import pytest

from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions

N_STATES, LENGTH = 30, 20


def _log(value_of_state, seed=0, n_episodes=60):
    """A walk on a line of states; what an action pays hangs on the state."""
    rng = np.random.default_rng(seed)
    state = rng.integers(N_STATES, size=(n_episodes, LENGTH + 1))
    action = rng.integers(2, size=(n_episodes, LENGTH))
    pays = value_of_state[state[:, :-1]] * (2 * action - 1)
    reward = pays + rng.normal(0.0, 0.5, size=pays.shape)
    episode = np.repeat(np.arange(n_episodes), LENGTH)
    return Transitions(
        state[:, :-1].reshape(-1, 1).astype(float),
        action.ravel(),
        reward.ravel(),
        state[:, 1:].reshape(-1, 1).astype(float),
        episode=episode,
        step=np.tile(np.arange(LENGTH), n_episodes),
    )


SMOOTH = np.linspace(-1.0, 1.0, N_STATES)
ROUGH = np.random.default_rng(5).permutation(SMOOTH)


def _fit(log, **settings):
    return StackelbergPolicyEstimator(discount=0.5, random_state=0, **settings).fit(log)


def test_states_that_are_alike_share_what_is_known():
    policy = _fit(_log(SMOOTH))
    assert policy.features_.kernel_ == "rbf"
    states = np.arange(N_STATES)[:, None].astype(float)
    right = (policy.predict(states) == (SMOOTH > 0)).mean()
    alone = _fit(_log(SMOOTH), kernel="delta")
    assert right >= (alone.predict(states) == (SMOOTH > 0)).mean()
    assert right > 0.9


def test_states_whose_codes_say_nothing_are_apart():
    assert _fit(_log(ROUGH)).features_.kernel_ == "delta"


@pytest.mark.parametrize("value_of_state", [SMOOTH, ROUGH])
def test_the_choice_has_no_unit(value_of_state):
    log = _log(value_of_state)
    kernel = _fit(log).features_.kernel_
    paid = log[np.arange(len(log))]
    paid.reward = 1_000.0 * log.reward - 7.0
    moved = log.with_states(0.01 * log.state + 1e4, 0.01 * log.next_state + 1e4)
    assert _fit(paid).features_.kernel_ == kernel
    assert _fit(moved).features_.kernel_ == kernel


def test_a_repeated_episode_is_one_of_its_weight():
    log = _log(SMOOTH, n_episodes=20)
    twice = np.concatenate([np.arange(len(log)), np.arange(LENGTH)])
    again = log[twice]
    again.episode[len(log) :] = 20
    weight = np.where(np.arange(len(log)) < LENGTH, 2.0, 1.0)
    repeated, weighted = _fit(again), _fit_weighted(log, weight)
    assert repeated.features_.kernel_ == weighted.features_.kernel_


def _fit_weighted(log, weight):
    policy = StackelbergPolicyEstimator(discount=0.5, random_state=0)
    return policy.fit(log, sample_weight=weight)


def test_a_kernel_that_is_named_is_taken():
    for kernel in ("delta", "rbf", "laplacian"):
        assert _fit(_log(SMOOTH), kernel=kernel).features_.kernel_ == kernel
    # Lengths are of a kernel that has some.
    assert _fit(_log(ROUGH), bandwidth=2.0).features_.kernel_ == "rbf"


def test_few_episodes_say_nothing_of_likeness():
    assert _fit(_log(SMOOTH, n_episodes=2)).features_.kernel_ in ("delta", "rbf")
    log = _log(SMOOTH, n_episodes=40)
    one = Transitions(
        log.state,
        log.action,
        log.reward,
        log.next_state,
        episode=np.zeros(len(log), int),
        step=np.arange(len(log)),
    )
    assert _fit(one).features_.kernel_ == "delta"


def _trial(effect, seed=0, n=600):
    """Decisions of one step; what the second action adds hangs on the state."""
    rng = np.random.default_rng(seed)
    x, action = rng.normal(size=(n, 2)), rng.integers(2, size=n)
    reward = effect(x[:, 0]) * action + 0.3 * rng.normal(size=n)
    return Transitions(x, action, reward, x, np.ones(n))


def _breaks_off(x):
    return np.sign(np.sin(6.0 * x))


@pytest.mark.parametrize(
    ("effect", "kernel"),
    [(_breaks_off, "laplacian"), (np.square, "rbf"), (np.sin, "rbf")],
)
def test_many_states_have_a_rough_kernel_where_values_break_off(effect, kernel):
    log = _trial(effect)
    assert _fit(log).features_.kernel_ == kernel
    # By the log alone: not by its order, the seed, units, or rows that repeat.
    again = log[np.random.default_rng(1).permutation(len(log))]
    again.reward = 1_000.0 * again.reward - 7.0
    again = again.with_states(0.01 * again.state + 1e4, 0.01 * again.next_state + 1e4)
    other = StackelbergPolicyEstimator(discount=0.5, random_state=3)
    assert other.fit(again).features_.kernel_ == kernel
    twice = log[np.repeat(np.arange(len(log)), 2)]
    assert _fit(twice).features_.kernel_ == kernel


def test_a_rough_kernel_is_better_where_values_break_off():
    log, x = _trial(_breaks_off), np.linspace(-1.5, 1.5, 400)
    states = np.column_stack([x, np.zeros(400)])
    right = {
        kernel: (_fit(log, kernel=kernel).predict(states) == (_breaks_off(x) > 0))
        for kernel in ("auto", "rbf")
    }
    assert right["auto"].mean() > right["rbf"].mean() + 0.05


def test_two_episodes_say_nothing_of_roughness():
    log = _trial(_breaks_off)
    log.episode, log.terminated = np.repeat([0, 1], 300), np.zeros(600, bool)
    log.step = np.tile(np.arange(300), 2)
    assert _fit(log).features_.kernel_ == "rbf"
