"""The logged problems with continuous actions: a torque, a force in a plane."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from benchmarks.problems import N_EPISODES, ROLLOUT_SEED
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.datasets import log_episodes, rollout_returns

Array = NDArray[np.float64]
Controller = Callable[[Array], Array]
Behaviour = Callable[[Any, np.random.Generator], Array]


@dataclass(frozen=True)
class ContinuousProblem:
    """A log of a problem with continuous actions, and the returns of a policy.

    Parameters
    ----------
    name : str
    env : str or gymnasium.Env
        A Gymnasium id, or an environment, which is copied.
    n_transitions : int
    behaviour : callable ``(observation, rng) -> action``
    bounds : (float, float)
        Of every column of the action; the environment clips there.
    """

    name: str
    env: Any
    n_transitions: int
    behaviour: Behaviour
    bounds: tuple[float, float]

    def log(self, seed: int) -> Transitions:
        """Log ``n_transitions`` rows."""
        env = gym.make(self.env) if isinstance(self.env, str) else deepcopy(self.env)
        return log_episodes(env, self.behaviour, self.n_transitions, seed)

    def returns(self, policy: Any, n_episodes: int = N_EPISODES) -> Array:
        """Returns of episodes whose seeds are the same for every policy."""
        return np.asarray(rollout_returns(self.env, policy, n_episodes, ROLLOUT_SEED))


def noisy(
    controller: Controller, random: float, noise: float, bounds: tuple[float, float]
) -> Behaviour:
    """A controller with Gaussian noise that is uniform at ``random`` of the steps."""
    low, high = bounds

    def behave(observation: Any, rng: np.random.Generator) -> Array:
        action = np.atleast_1d(controller(np.asarray(observation, dtype=float)))
        if rng.random() < random:
            return rng.uniform(low, high, size=len(action))
        return np.clip(action + noise * rng.normal(size=len(action)), low, high)

    return behave


# ----------------------------------------------------------------------- Pendulum-v1


def swing_up(observation: Array) -> Array:
    """Pump energy until the pendulum can stand, then hold it upright.

    The rod weighs 1, is 1 long and g is 10: its energy is θ̇²/6 + 5 cos θ, 5 when it
    stands still upright.
    """
    cosine, sine, speed = observation
    angle = np.arctan2(sine, cosine)
    if cosine > 0.9:
        return np.array([-(8.0 * angle + 2.0 * speed)])
    missing = 5.0 - (speed**2 / 6.0 + 5.0 * cosine)
    return np.array([missing * (1.0 if speed >= 0.0 else -1.0)])


TORQUE = (-2.0, 2.0)
PENDULUM = ContinuousProblem(
    "Pendulum", "Pendulum-v1", 50_000, noisy(swing_up, 0.5, 1.0, TORQUE), TORQUE
)

# ------------------------------------------------------------- a point mass in a plane


class PointMass(gym.Env):
    """A mass in a plane, pushed by a force; linear, with quadratic costs and noise.

    State (position, velocity) in four numbers, action a force in [-1, 1]². The reward
    is − (|position|² + 0.1 |velocity|² + |force|²) / 10, an episode 50 steps.
    """

    TIME_STEP, HORIZON, FORCE = 0.2, 50, (-1.0, 1.0)
    # The wind blows the velocity round: what pushes along one axis moves the other.
    A = np.block(
        [
            [np.eye(2), TIME_STEP * np.eye(2)],
            [np.zeros((2, 2)), np.array([[0.95, 0.10], [-0.10, 0.95]])],
        ]
    )
    B = np.vstack([0.5 * TIME_STEP**2 * np.eye(2), TIME_STEP * np.eye(2)])
    STATE_COST = np.diag([1.0, 1.0, 0.1, 0.1]) / 10.0
    FORCE_COST = np.eye(2) / 10.0
    NOISE = np.array([0.0, 0.0, 0.02, 0.02])
    START = np.array([0.8, 0.8, 0.2, 0.2])

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.action_space = gym.spaces.Box(*self.FORCE, (2,), np.float64)

    def reset(self, **kwargs: Any) -> tuple[Array, dict[str, Any]]:
        """Start anywhere in a box around the origin."""
        super().reset(seed=kwargs.get("seed"))
        self._step = 0
        self._state = self.np_random.uniform(-self.START, self.START)
        return self._state.copy(), {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Push for one time step."""
        force = np.clip(np.asarray(action, dtype=float), *self.FORCE)
        state = self._state
        reward = -(state @ self.STATE_COST @ state + force @ self.FORCE_COST @ force)
        blow = self.NOISE * self.np_random.normal(size=4)
        self._state = self.A @ state + self.B @ force + blow
        self._step += 1
        done = self._step == self.HORIZON
        return self._state.copy(), float(reward), False, done, {}


class Optimum(NamedTuple):
    """The optimum: the gain of each step, and the mean return."""

    gains: tuple[Array, ...]  # (2, 4) each; force = − gain · state
    value: float


def riccati() -> Optimum:
    """The optimum of `PointMass` if force had no bounds, by Riccati's recursion.

    No policy within the bounds earns more, so that a share of it is never flattered.
    """
    A, B = PointMass.A, PointMass.B
    cost, constant = np.zeros((4, 4)), 0.0
    gains: list[Array] = []
    for _ in range(PointMass.HORIZON):
        constant += float(np.diag(PointMass.NOISE**2).ravel() @ cost.ravel())
        inner = PointMass.FORCE_COST + B.T @ cost @ B
        gain = np.linalg.solve(inner, B.T @ cost @ A)
        cost = PointMass.STATE_COST + A.T @ cost @ (A - B @ gain)
        gains.insert(0, gain)
    spread = np.diag(PointMass.START**2 / 3.0)  # of a uniform start
    return Optimum(tuple(gains), -(float(np.trace(cost @ spread)) + constant))


class OptimalForce:
    """Riccati's optimum as a policy of roll-outs that all start together."""

    def __init__(self) -> None:
        self._gains = iter(riccati().gains)

    def predict(self, states: Array) -> Array:
        """The force of each state, all of them at the same step."""
        return -states @ next(self._gains).T


def poor_feedback(state: Array) -> Array:
    """A push towards the origin, too weak, 80° off, and with little damping."""
    rotation = np.array([[0.174, -0.985], [0.985, 0.174]])
    return -0.4 * rotation @ state[:2] - 0.3 * state[2:]


POINT_MASS = ContinuousProblem(
    "point mass",
    PointMass(),
    20_000,
    noisy(poor_feedback, 0.0, 0.3, PointMass.FORCE),
    PointMass.FORCE,
)
