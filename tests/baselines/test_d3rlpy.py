"""The adapter of d3rlpy, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.baselines import D3RLPyContinuous, D3RLPyDiscrete
from sklearn_stackelberg.baselines._d3rlpy import _unbroken, replay_buffer


def log_of(action, episode=None, step=None, terminated=None):
    n = len(action)
    state = np.arange(n, dtype=float)[:, None]
    return Transitions(
        state,
        action,
        np.arange(n, dtype=float),
        state + 1,
        terminated,
        episode=episode,
        step=step,
    )


def test_runs_of_steps_end_at_gaps_and_ends():
    log = log_of(
        [0, 1, 0, 1, 0, 1],
        episode=[1, 1, 1, 1, 2, 2],
        step=[3, 1, 2, 5, 1, 2],
        terminated=[False, False, False, False, True, True],
    )
    found = [rows.tolist() for rows in _unbroken(log)]
    assert found == [[1, 2, 0], [3], [4], [5]]


needs_d3rlpy = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("d3rlpy"),
    reason="d3rlpy is not installed (it pins a version of gymnasium)",
)


@needs_d3rlpy
def test_every_row_is_a_transition():
    log = log_of([0, 1, 0, 1], episode=[1, 1, 2, 2], terminated=[0, 1, 0, 0])
    action = np.array([[0], [1], [0], [1]])
    buffer = replay_buffer(log, log.state, log.next_state, action, 2)
    assert buffer.transition_count == 4


@needs_d3rlpy
@pytest.mark.parametrize("algorithm", ["DiscreteCQL", "DiscreteBCQ", "DiscreteBC"])
def test_discrete(algorithm):
    rng = np.random.default_rng(0)
    state, action = rng.normal(size=(300, 1)), rng.integers(2, size=300)
    reward = (action == (state[:, 0] > 0)).astype(float)
    log = Transitions(state, action, reward, state, np.ones(300))
    method = D3RLPyDiscrete(algorithm, discount=0.0, n_steps=300, random_state=0)
    method.set_params(settings={"learning_rate": 1e-2})
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    policy = method.fit(log)
    # What is drawn elsewhere is as if nothing had been seeded.
    assert torch.rand(1) == expected
    found = policy.predict_proba(state)
    np.testing.assert_array_equal(found.argmax(axis=1), policy.predict(state))
    if algorithm != "DiscreteBC":
        assert (policy.predict(state) == (state[:, 0] > 0)).mean() > 0.9


@needs_d3rlpy
def test_continuous():
    rng = np.random.default_rng(0)
    state, action = rng.normal(size=(300, 1)), rng.uniform(-2, 2, size=300)
    reward = -((action - np.clip(state[:, 0], -2, 2)) ** 2)
    log = Transitions(state, action, reward, state, np.ones(300))
    policy = D3RLPyContinuous(n_steps=200, discount=0.0, random_state=0).fit(log)
    found = policy.predict(state)
    assert found.shape == (300,)
    assert np.abs(found).max() <= 2.0 + 1e-5
    assert policy.action_nodes(state)[0].shape == (300, 1, 1)


@needs_d3rlpy
def test_an_unknown_algorithm():
    with pytest.raises(ValueError, match="no algorithm 'Nope'"):
        D3RLPyDiscrete("Nope").fit(log_of([0, 1]))
