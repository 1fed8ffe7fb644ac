"""Logs of continuous actions, and policies over them without an estimator."""

from __future__ import annotations

import numpy as np

from sklearn_stackelberg import Transitions


class Mixture:
    """In every state the same candidates, more probable the nearer to a line."""

    discount = 0.8

    def __init__(self, candidates, slope=0.5, width=1.0):
        self.candidates = np.asarray(candidates, dtype=float)  # (C, p)
        self.slope, self.width = slope, width

    def probabilities(self, states):
        mean = self.slope * np.asarray(states, dtype=float)[:, :1]
        away = ((self.candidates[None] - mean[:, :, None]) ** 2).sum(axis=2)
        probabilities = np.exp(-away / self.width)
        return probabilities / probabilities.sum(axis=1, keepdims=True)

    def action_nodes(self, states):
        probabilities = self.probabilities(states)
        return np.broadcast_to(
            self.candidates, (len(probabilities), *self.candidates.shape)
        ), probabilities

    def predict(self, states):
        return self.candidates[self.probabilities(states).argmax(axis=1)]


class Labelled(Mixture):
    """The same policy, its candidates being labels."""

    @property
    def classes_(self):
        return self.candidates[:, 0]

    def predict_proba(self, states):
        return self.probabilities(states)


class Linear:
    """A straight line with a spread of a few nodes."""

    discount = 0.8

    def __init__(self, slope, spread=0.3, order=5):
        points, weights = np.polynomial.hermite_e.hermegauss(order)
        self.slope = np.atleast_2d(slope)  # (p, d)
        p = len(self.slope)
        grid = np.stack(np.meshgrid(*[points] * p, indexing="ij"), axis=-1)
        weight = np.stack(np.meshgrid(*[weights] * p, indexing="ij"), axis=-1)
        self.offsets = spread * grid.reshape(-1, p)
        self.weights = weight.reshape(-1, p).prod(axis=1) / weights.sum() ** p

    def predict(self, states):
        return np.asarray(states, dtype=float) @ self.slope.T

    def action_nodes(self, states):
        mean = self.predict(states)
        shape = (len(mean), len(self.weights))
        return mean[:, None] + self.offsets, np.broadcast_to(self.weights, shape)


def linear_log(n_episodes=20, n_steps=10, p=1, seed=0):
    """Two states that drift to 0 and are pushed, at a quadratic cost."""
    rng = np.random.default_rng(seed)
    push = np.eye(2, p) + 0.3
    now, rows = rng.uniform(-1, 1, size=(n_episodes, 2)), []
    for _ in range(n_steps):
        action = 0.6 * rng.normal(size=(n_episodes, p))
        noise = 0.1 * rng.normal(size=now.shape)
        then = 0.7 * now + 0.5 * action @ push.T + noise
        rows.append(
            (now, action, -(now**2).sum(axis=1) - 0.3 * (action**2).sum(axis=1))
        )
        now = then
    state, action, reward = (np.stack(part, axis=1) for part in zip(*rows, strict=True))
    after = np.concatenate([state[:, 1:], now[:, None]], axis=1)
    n = n_episodes * n_steps
    return Transitions(
        state.reshape(n, 2),
        action.reshape(n, p),
        reward.ravel(),
        after.reshape(n, 2),
        episode=np.repeat(np.arange(n_episodes), n_steps),
        step=np.tile(np.arange(n_steps), n_episodes),
    )


def grid_log(n=600, seed=0):
    """Few states and few doses: what can be counted."""
    rng = np.random.default_rng(seed)
    state = rng.integers(4, size=(n, 1)).astype(float)
    action = rng.choice([0.0, 0.5, 1.5], size=n)
    after = (state + (action > rng.random(n))[:, None]) % 4
    ended = rng.random(n) < 0.1
    return Transitions(
        state,
        action,
        state[:, 0] * action + rng.normal(size=n),
        after,
        ended,
        episode=np.arange(n) // 6,
        step=np.arange(n) % 6,
    )
