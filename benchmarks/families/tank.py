"""A level to be held with a pump whose energy is paid for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families.problem import Array, Outcome, Simulated, explore

_MOVES = np.array([-0.2, -0.05, 0.0, 0.05, 0.2])
# Of the reference: the best of 125 linear controllers, by roll-outs of other seeds.
AT, LEVEL, DEMAND = 0.2, 0.2, 0.6


class Tank(Simulated):
    """A tank between 0 and 10, to be held near 6; a pump that is made faster or slower.

    State: level, speed of the pump (0 to 1), demand as it is metered. Energy goes with
    the cube of the speed, so that haste is dear. The logger reacts to the level alone,
    and does anything in four steps of ten.
    """

    name, discount = "tank, energy is paid", 0.97
    n_episodes, length, n_observed = 60, 100, 3
    value_length, value_episodes = 150, 400

    def start(self, rng: np.random.Generator, n: int) -> Array:
        level, speed = rng.uniform(2.0, 9.0, n), rng.uniform(0.2, 0.7, n)
        demand = 0.5 + rng.normal(0.0, 0.1, n)
        # Behind what is metered: the true demand.
        metered = demand + rng.normal(0.0, 0.03, n)
        return np.column_stack([level, speed, metered, demand])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        level, speed, _, demand = state.T
        speed = np.clip(speed + _MOVES[action.astype(int)], 0.0, 1.0)
        # A full tank pushes back.
        level = level + 1.2 * speed * (1.0 - 0.03 * level) - demand
        reward = -0.1 * (level - 6.0) ** 2 - 1.5 * speed**3
        reward -= 3.0 * ((level < 0.0) | (level > 10.0))
        level = np.clip(level, 0.0, 10.0)
        demand = 0.5 + 0.9 * (demand - 0.5) + rng.normal(0.0, 0.06, len(state))
        metered = demand + rng.normal(0.0, 0.03, len(state))
        after = np.column_stack([level, speed, metered, demand])
        return after, reward, np.zeros(len(state), dtype=bool)

    @staticmethod
    def _towards(speed: Array, wanted: Array) -> NDArray[Any]:
        gap = np.abs(speed[:, None] + _MOVES - np.clip(wanted, 0.0, 1.0)[:, None])
        return gap.argmin(axis=1)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        own = self._towards(state[:, 1], 0.5 + 0.2 * (6.0 - state[:, 0]))
        return explore(rng, own, 0.4, 5)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        level, speed, metered = state.T
        return self._towards(speed, AT + LEVEL * (5.7 - level) + DEMAND * metered)
