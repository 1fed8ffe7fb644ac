"""Poor loggers that do anything in some of their steps, where the rare is better."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families.problem import Array, Outcome, Simulated, explore


class Line(Simulated):
    """A place that costs its square, and five pushes; the logger pushes away from 0.

    ``random`` is the share of its steps that are anything.
    """

    discount, n_episodes, length, value_episodes = 0.95, 60, 30, 500
    PUSH = np.array([-0.4, -0.2, 0.0, 0.2, 0.4])

    def __init__(self, random: float) -> None:
        self.random, self.name = random, f"line, {random:.0%} random"

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.normal(size=(n, 1))

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        place, push = state[:, 0], self.PUSH[action.astype(int)]
        reward = -(place**2) - 0.6 * push**2
        moved = np.clip(place + push + rng.normal(0.0, 0.05, len(state)), -3.0, 3.0)
        return moved[:, None], reward, np.zeros(len(state), dtype=bool)

    def _towards(self, wanted: Array) -> NDArray[Any]:
        return np.abs(np.clip(wanted, -0.4, 0.4)[:, None] - self.PUSH).argmin(axis=1)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return explore(rng, self._towards(0.32 * state[:, 0]), self.random, 5)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return self._towards(-state[:, 0])


class Greenhouse(Simulated):
    """Heating in three steps and a window, by the hour, for two days.

    State: temperature, humidity, temperature outside. The logger heats whenever it is
    under 26 degrees and never opens the window; a fifth of its steps are anything.
    """

    name, discount = "greenhouse", 0.95
    n_episodes, length, value_episodes = 60, 48, 400
    # Of the reference: the best of 70 rules of two thresholds, on episodes of its own.
    WARM, DAMP = 19.0, 0.72

    def start(self, rng: np.random.Generator, n: int) -> Array:
        inside, damp = rng.uniform(12.0, 28.0, n), rng.uniform(0.4, 0.9, n)
        return np.column_stack([inside, damp, rng.normal(9.0, 4.0, n)])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        inside, damp, outside = state.T
        heat, is_open = np.divmod(action.astype(int), 2)
        loss = 0.08 + 0.22 * is_open
        inside = inside + loss * (outside - inside) + 1.6 * heat
        inside = inside + rng.normal(0.3, 0.3, len(state))
        damp = damp + 0.04 - 0.16 * is_open * damp - 0.015 * heat
        damp = np.clip(damp + rng.normal(0.0, 0.02, len(state)), 0.2, 1.0)
        outside = 9.0 + 0.9 * (outside - 9.0) + rng.normal(0.0, 1.5, len(state))
        reward = -0.02 * (inside - 20.0) ** 2 - 6.0 * np.maximum(damp - 0.75, 0.0)
        reward = reward - 0.25 * heat
        after = np.column_stack([inside, damp, outside])
        return after, reward, np.zeros(len(state), dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return explore(rng, np.where(state[:, 0] < 26.0, 4, 0), 0.2, 6)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        inside, damp, _ = state.T
        heat = (inside < self.WARM + 1.0).astype(int) + (inside < self.WARM - 2.0)
        return 2 * heat + (damp > self.DAMP)


class Retention(Simulated):
    """Customers by the month: nothing, a letter, a small or a large discount, a call.

    State: how much they buy, how often they were bothered, age of the contract. The
    logger gives the large discount to all who buy little, and nothing to the others; a
    tenth of its steps are anything.
    """

    name, discount = "retention", 0.9
    n_episodes, length, value_episodes = 500, 12, 2_000
    COST = np.array([0.0, 0.05, 0.3, 0.9, 0.6])
    LIFT = np.array([0.0, 0.15, 0.2, 0.25, 0.7])

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack(
            [rng.normal(0.0, 1.0, n), np.zeros(n), rng.uniform(size=n)]
        )

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        buys, bothered, age = state.T
        action = action.astype(int)
        lift = self.LIFT[action] * (1.0 - 0.6 * np.tanh(bothered))
        # A call helps whom it finds unhappy, and annoys who buys anyway.
        lift = np.where(action == 4, lift * np.where(buys < 0.0, 1.0, -0.7), lift)
        paid = np.exp(0.5 * buys) * (1.0 - 0.25 * (action == 3) - 0.1 * (action == 2))
        reward = paid - self.COST[action] + rng.normal(0.0, 0.5, len(state))
        buys = 0.9 * buys + lift - 0.1 + rng.normal(0.0, 0.3, len(state))
        bothered = 0.6 * bothered + np.array([0.0, 0.4, 0.1, 0.1, 0.8])[action]
        leaves = rng.random(len(state)) < 1.0 / (1.0 + np.exp(3.0 + buys))
        return np.column_stack([buys, bothered, age + 0.1]), reward, leaves

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return explore(rng, np.where(state[:, 0] < 0.3, 3, 0), 0.1, 5)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        buys, bothered, _ = state.T
        rest = np.where(bothered < 1.5, 1, 0)
        return np.where((buys < 0.0) & (bothered < 0.9), 4, rest)
