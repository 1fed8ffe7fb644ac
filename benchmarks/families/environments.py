"""Gymnasium's environments whose actions are amounts, or whose rewards are scarce."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.continuous_problems import (
    PENDULUM,
    POINT_MASS,
    Behaviour,
    riccati,
    swing_up,
)
from benchmarks.families.problem import Array, Problem
from benchmarks.problems import ROLLOUT_SEED, noisy
from benchmarks.tuning_problems import Drawn
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.datasets import log_episodes, rollout_returns


class Sampled:
    """A policy of amounts that are drawn, seeded."""

    def __init__(self, policy: Any) -> None:
        self.policy, self._rng = policy, np.random.default_rng(0)

    def predict(self, states: Any) -> Any:
        """One action for each state."""
        return self.policy.sample(states, int(self._rng.integers(2**31)))


@dataclass(frozen=True)
class Environment(Problem):
    """The value is the mean return of episodes that are the same for every policy.

    Parameters
    ----------
    name : str
    env : str or gymnasium.Env
    n_transitions : int
    behave : callable ``(observation, rng) -> action``
    reference : float or callable
        What a strong policy earns, or such a policy, which is rolled out.
    """

    name: str
    env: Any
    n_transitions: int
    behave: Behaviour
    reference: Any
    discount: float = 0.99
    n_episodes: int = 50

    def log(self, seed: int) -> Transitions:
        env = gym.make(self.env) if isinstance(self.env, str) else deepcopy(self.env)
        return log_episodes(env, self.behave, self.n_transitions, seed)

    def _mean(self, actor: Any, seed: int) -> float:
        # Beyond the seeds of any log.
        start = ROLLOUT_SEED + seed
        returns = rollout_returns(self.env, actor, self.n_episodes, start)
        return float(returns.mean())

    def value(self, policy: Any, seed: int = 0) -> float:
        return self._mean(policy, seed)

    def value_stochastic(self, policy: Any, seed: int = 0) -> float:
        drawn = Drawn if hasattr(policy, "classes_") else Sampled
        return self._mean(drawn(policy), seed)

    @cached_property
    def logger_value(self) -> float:
        return self._mean(self.behave, 0)

    @cached_property
    def optimum(self) -> float:  # type: ignore[override]
        if callable(self.reference):
            return self._mean(self.reference, 0)
        return float(self.reference)


def _along(observation: Any, force: float) -> Array:
    """Push the way that the car moves."""
    return np.array([force if observation[1] >= 0.0 else -force])


def _push(observation: Any, rng: np.random.Generator) -> Array:
    """Any force, in 85 of 100 steps: some episodes do not reach the top."""
    if rng.random() < 0.85:
        return rng.uniform(-1.0, 1.0, 1)
    return _along(observation, 1.0)


def _save(observation: Any, rng: np.random.Generator) -> Array:
    # Energy is paid for: 0.4 earns 97.0, 0.6 95.6, and all the force 89.3.
    return _along(observation, 0.4)


# What Gymnasium's controller asks of the environment.
def at_random(
    name: str,
    env: Any,
    n_transitions: int,
    controller: Callable[[Any], int],
    random: float,
    n_actions: int,
) -> Environment:
    """Logged by a controller that is noisy, and held against it without the noise."""
    behave, reference = (noisy(controller, p, n_actions) for p in (random, 0.0))
    return Environment(name, env, n_transitions, behave, reference)


_DISCRETE = SimpleNamespace(unwrapped=SimpleNamespace(continuous=False))


def land(observation: Any) -> int:
    """Gymnasium's own controller of LunarLander."""
    from gymnasium.envs.box2d.lunar_lander import heuristic

    return int(heuristic(_DISCRETE, observation))


def _swing(observation: Any, rng: np.random.Generator) -> Array:
    return np.clip(swing_up(np.asarray(observation, dtype=float)), *PENDULUM.bounds)


TORQUE = Environment("Pendulum", "Pendulum-v1", 10_000, PENDULUM.behaviour, _swing)
# The bound of Riccati: no policy within the limits of the force earns more.
FORCE = Environment(
    POINT_MASS.name, POINT_MASS.env, 8_000, POINT_MASS.behaviour, riccati().value
)
HILL = Environment(
    "MountainCar, any force", "MountainCarContinuous-v0", 8_000, _push, _save
)
# Undiscounted returns of at most 1,000 steps; solved is 200.
LANDER = at_random("LunarLander", "LunarLander-v3", 15_000, land, 0.4, 4)
