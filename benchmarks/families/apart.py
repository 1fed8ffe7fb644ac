"""Problems that nothing was chosen by, whose actions are labels."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from benchmarks.continuous_problems import swing_up
from benchmarks.families.environments import at_random, land
from benchmarks.families.problem import Array, Simulated, draw
from benchmarks.problems import lean

TORQUES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])


class FiveTorques(gym.ActionWrapper[Any, int, Any]):
    """Pendulum-v1, whose torque is one of five."""

    def __init__(self) -> None:
        super().__init__(gym.make("Pendulum-v1"))
        self.action_space = gym.spaces.Discrete(len(TORQUES))

    def action(self, action: int) -> Array:
        """The torque of a label."""
        return TORQUES[[int(action)]]


def _near(observation: Any) -> int:
    """The label nearest to a controller's torque."""
    torque = float(swing_up(np.asarray(observation, dtype=float))[0])
    return int(np.abs(TORQUES - torque).argmin())


def _spin(observation: Any) -> int:
    """Torque with the second joint's speed."""
    return 2 if observation[5] > 0.0 else 0


class Thresholds(Simulated):
    """Three treatments, of which thresholds of two of four columns say which is right.

    The logger goes by the first column, gradually.
    """

    name, discount = "thresholds of two columns", 0.0
    n_episodes, value_episodes = 800, 100_000

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack([rng.normal(size=(n, 3)), rng.uniform(20.0, 80.0, n)])

    def right(self, state: Array) -> NDArray[np.intp]:
        """The treatment that works."""
        return np.where(state[:, 3] > 60.0, 2, (state[:, 0] > 0.3).astype(int))

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        works = 0.8 * (action.astype(int) == self.right(state))
        reward = works + 0.2 * state[:, 1] + rng.normal(0.0, 0.5, len(state))
        return state, reward, np.ones(len(state), dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        weights = np.exp(
            np.column_stack([-state[:, 0], state[:, 0], 0.0 * state[:, 0]])
        )
        return draw(rng, weights)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return self.right(state)


APART = (
    Thresholds(),
    at_random("Pendulum, five torques", FiveTorques(), 10_000, _near, 0.7, 5),
    at_random("LunarLander, 70 % random", "LunarLander-v3", 15_000, land, 0.7, 4),
    at_random("CartPole, 80 % random", "CartPole-v1", 5_000, lean(0.0), 0.8, 2),
    at_random("Acrobot, 50 % random", "Acrobot-v1", 10_000, _spin, 0.5, 3),
)
