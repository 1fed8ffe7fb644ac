"""Which kernel few states get, by what foretells held-out episodes."""

import numpy as np
import pytest

from sklearn_stackelberg.kernels import _choice
from sklearn_stackelberg.kernels._choice import choose_kernel

N_STATES, LENGTH, N_EPISODES = 12, 20, 30


def chosen(worth):
    """Of a walk along a line, by what its states are worth."""
    rng = np.random.default_rng(0)
    steps = rng.integers(-1, 2, size=(N_EPISODES, LENGTH))
    place = (rng.integers(N_STATES, size=(N_EPISODES, 1)) + steps.cumsum(1)) % N_STATES
    state, after = place[:, :-1].ravel(), place[:, 1:].ravel()
    n = len(state)
    reward = worth[state] + 0.1 * rng.normal(size=n)
    return choose_kernel(
        state[:, None].astype(float),
        after[:, None].astype(float),
        steps[:, 1:].ravel() + 1,
        reward - reward.mean(),
        np.full(n, 0.5),
        episode=np.repeat(np.arange(N_EPISODES), LENGTH - 1),
        weight=np.full(n, 1.0 / n),
        n_components=100,
        rng=np.random.RandomState(0),
    )


def test_states_without_likeness_are_equal_or_not():
    assert chosen(np.random.default_rng(1).permutation(N_STATES)) == "delta"


def test_worth_that_is_smooth_in_the_states_has_a_smooth_kernel():
    assert chosen(np.sin(2.0 * np.pi * np.arange(N_STATES) / N_STATES)) == "rbf"


@pytest.mark.parametrize(
    ("errors", "kernel"),
    [
        ([[1, 1, 1], [0.9, 0.9, 0.9], [0.8, 0.8, 0.8]], "rbf"),
        # By the mean it would be the smooth one, for its own V₀ alone.
        ([[1, 1, 1], [0.9, 0.9, 0.9], [0.95, 0.95, 0.1]], "laplacian"),
        ([[1, 1, 1], [1.1, 0.9, 0.9], [0.95, 1.0, 0.1]], "delta"),
        ([[1, 1, 1], [0.995, 0.995, 0.995], [0.995, 0.995, 0.995]], "delta"),
    ],
)
def test_a_smoother_kernel_foretells_each_v_better(errors, kernel, monkeypatch):
    found = [np.array(error, dtype=float) for error in errors]
    monkeypatch.setattr(_choice, "_errors", lambda *_: found)
    assert chosen(np.zeros(N_STATES)) == kernel
