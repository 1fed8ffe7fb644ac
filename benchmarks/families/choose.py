"""The problems on which methods and defaults are chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families.finite import FINITE
from benchmarks.families.problem import N_LOGS, Array, Finite, Problem, Simulated, draw
from benchmarks.problems import (
    CARTPOLE_DEFAULT,
    CONTROL,
    ROLLOUT_SEED,
    ControlProblem,
    FrozenLakeProblem,
    frozen_lake,
)
from benchmarks.tuning_problems import Drawn
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.datasets import FiniteMDP, rollout_returns


def ring(name: str, shift: float, n_states: int = 6) -> Finite:
    """States in a ring; the way to what pays is mostly logged the other way."""
    transition = np.zeros((n_states, 3, n_states))
    here = np.arange(n_states)
    for action, move in enumerate((-1, 0, 1)):
        transition[here, action, (here + move) % n_states] += 0.8
        transition[here, action, here] += 0.2
    pays = np.append(np.zeros(n_states - 2), [1.0, 2.0])
    reward = np.repeat(pays[:, None], 3, axis=1) + shift
    mdp = FiniteMDP(transition, reward, np.full(n_states, 1 / n_states))
    logger = np.tile([0.85, 0.05, 0.1], (n_states, 1))
    codes = here[:, None].astype(float)
    return Finite(name, 0.95, mdp, codes, logger, 1_800, 30, noise=0.5)


class Modules(Simulated):
    """Nine modules; one whose prerequisites are missing is never given.

    State: what is known of each, and a student's skill. To take a module too early
    costs 0.3 and teaches nothing.
    """

    name, discount = "modules with prerequisites", 0.9
    n_episodes, length, value_length, value_episodes = 200, 15, 45, 500
    n_modules = 9
    needs = tuple(
        () if k < 3 else (k - 3,) if k < 6 else (k - 3, k - 5) for k in range(n_modules)
    )
    worth = np.random.default_rng(0).uniform(0.3, 1.5, n_modules)

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack([np.zeros((n, self.n_modules)), rng.normal(size=n)])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        rows, action = np.arange(len(state)), action.astype(int)
        gain = 0.35 + 0.1 * state[:, -1] + rng.normal(0.0, 0.1, len(state))
        ready = self.allowed(state)[rows, action]
        after = state.copy()
        known = np.minimum(1.0, state[rows, action] + gain.clip(0.0) * ready)
        after[rows, action] = known
        reward = self.worth[action] * (known - state[rows, action])
        reward -= np.where(ready, 0.05, 0.3)
        return after, reward, np.zeros(len(state), dtype=bool)

    def allowed(self, states: Array, seed: int = 0) -> NDArray[np.bool_]:
        return np.column_stack(
            [(states[:, list(need)] >= 0.5).all(axis=1) for need in self.needs]
        )

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        unknown = state[:, : self.n_modules] < 0.5
        return draw(rng, self.allowed(state) * (0.2 + unknown))

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        # What a step teaches, and a part of the worth of what needs the module.
        opens = np.array(
            [
                sum(self.worth[j] for j, need in enumerate(self.needs) if k in need)
                for k in range(self.n_modules)
            ]
        )
        known = state[:, : self.n_modules]
        gain = np.minimum(1.0 - known, 0.35) * self.worth
        gain += 0.2 * opens * (known < 0.5)
        return np.where(self.allowed(state), gain, -1.0).argmax(axis=1)


class SkewedDoses(Simulated):
    """Doses spread over two decades, 7 right for everybody; the state says nothing."""

    name, discount, n_episodes = "skewed doses", 0.0, 1_500

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.normal(size=(n, 1))

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        reward = -(np.log(np.maximum(action, 1e-3) / 7.0) ** 2)
        return state, reward, np.ones(len(state), dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return rng.lognormal(2.0, 1.2, len(state))

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return np.full(len(state), 7.0)


class Thermostat(Simulated):
    """A room to be kept within a degree of 22 at the least cooling, by the hour.

    State: temperature and heat load; the hour of the day is hidden.
    """

    name, discount = "thermostat", 0.95
    n_episodes, length, n_observed = 28, 168, 2
    value_length, value_episodes = 120, 400

    def _load(self, rng: np.random.Generator, hour: Array) -> Array:
        busy = (hour >= 8) & (hour < 20)
        return 1.0 + 0.5 * busy + rng.normal(0.0, 0.15, len(hour))

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack(
            [np.full(n, 22.0), self._load(rng, np.zeros(n)), np.zeros(n)]
        )

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        warm, load, hour = state.T
        off = np.maximum(np.abs(warm - 22.0) - 1.0, 0.0)
        reward = -0.1 * (action / 10.0) ** 2 - 0.5 * off**2
        drift = 0.15 * (22.0 - warm) + 1.5 * load - 0.055 * action
        warm = warm + drift + rng.normal(0.0, 0.25, len(state))
        hour = (hour + 1) % 24
        after = np.column_stack([warm, self._load(rng, hour), hour])
        return after, reward, np.zeros(len(state), dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        noise = rng.normal(0.0, 14.0, len(state))
        return np.clip(30.0 + 10.0 * (state[:, 0] - 22.0) + noise, 0.0, 100.0)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        # The best of a grid of linear controllers.
        warm, load = state[:, 0] - 22.0, state[:, 1] - 1.25
        return np.clip(21.0 + 9.0 * warm + 18.0 * load, 0.0, 100.0)


class Bandit(Simulated):
    """Five actions, four covariates, a reward that bends with them.

    The good logger is right in 70 % of the rows, and rewards are costs there; the
    other is uniform, and rewards stand on 20.
    """

    discount, n_episodes, n_actions = 0.0, 1_000, 5
    _rng = np.random.default_rng(5)
    slope, bend = _rng.normal(size=(4, 5)), _rng.normal(size=(4, 5))

    def __init__(self, name: str, right: float, offset: float) -> None:
        self.name, self.right, self.offset = name, right, offset

    def mean(self, state: Array) -> Array:
        """Mean reward of each action."""
        return self.offset + state @ self.slope + np.sin(2.0 * state) @ self.bend

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.normal(size=(n, 4))

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        mean = self.mean(state)[np.arange(len(state)), action.astype(int)]
        reward = mean + rng.normal(0.0, 2.0, len(state))
        return state, reward, np.ones(len(state), dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        uniform = rng.integers(self.n_actions, size=len(state))
        informed = rng.random(len(state)) < self.right
        return np.where(informed, self.best(state, rng), uniform)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return self.mean(state).argmax(axis=1)


class FrozenLake(Problem):
    """A FrozenLake that bars actions; the value is the exact chance of success."""

    discount = 0.99

    def __init__(self, problem: FrozenLakeProblem) -> None:
        self.name, self.problem = f"FrozenLake {problem.name}", problem
        self.states = frozen_lake(problem.map_name, "one-hot").states()

    def log(self, seed: int) -> Transitions:
        return self.problem.log(seed, encode="one-hot")

    def value(self, policy: Any, seed: int = 0) -> float:
        return self.problem.success(np.asarray(policy.predict(self.states), dtype=int))

    def value_stochastic(self, policy: Any, seed: int = 0) -> float:
        table = np.zeros((len(self.states), 4))
        table[:, np.asarray(policy.classes_, int)] = policy.predict_proba(self.states)
        return self.problem.success(table)

    def _logger(self, seed: int) -> Array:
        uniform, controller = self.problem.behaviour_tables(seed)
        return 0.5 * uniform + 0.5 * controller

    @cached_property
    def logger_value(self) -> float:
        values = [self.problem.success(self._logger(seed)) for seed in range(N_LOGS)]
        return float(np.mean(values))

    @cached_property
    def optimum(self) -> float:
        return self.problem.success(self.problem.mdp.optimal_policy(self.discount))

    def allowed(self, states: Array, seed: int = 0) -> NDArray[np.bool_]:
        return self._logger(seed)[np.asarray(states).argmax(axis=1)] > 0


@dataclass(frozen=True)
class Control(Problem):
    """A Gymnasium environment; the value is the mean return of an episode."""

    problem: ControlProblem
    optimum: float
    discount: float = 0.99
    n_episodes: int = 50

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.problem.name

    def log(self, seed: int) -> Transitions:
        return self.problem.log(seed)

    def value(self, policy: Any, seed: int = 0) -> float:
        returns = rollout_returns(
            self.problem.env_id, policy, self.n_episodes, ROLLOUT_SEED + seed
        )
        return float(returns.mean())

    def value_stochastic(self, policy: Any, seed: int = 0) -> float:
        return self.value(Drawn(policy), seed)

    @cached_property
    def logger_value(self) -> float:
        def mean_return(seed: int) -> float:
            log = self.log(seed)
            # But the last, which the end of the log cuts.
            return float(np.bincount(log.episode, log.reward)[:-1].mean())

        return float(np.mean([mean_return(seed) for seed in range(N_LOGS)]))


def _lake(name: str, map_name: Any, n_transitions: int) -> FrozenLake:
    return FrozenLake(FrozenLakeProblem(name, map_name, "partial", n_transitions))


CHOOSE: tuple[Problem, ...] = (
    ring("ring", 0.0),
    ring("ring, rewards less 10", -10.0),
    Modules(),
    SkewedDoses(),
    Thermostat(),
    Bandit("bandit, good logger, costs", 0.7, -10.0),
    Bandit("bandit, uniform logger, gains", 0.0, 20.0),
    _lake("4x4 partial 2,000", "4x4", 2_000),
    _lake("8x8 partial 10,000", "8x8", 10_000),
    Control(CARTPOLE_DEFAULT, 500.0),
    Control(CONTROL[1], 500.0),
    # The best that the literature's controllers reach is about -75.
    Control(
        replace(CONTROL[2], name="Acrobot medium, 10,000", n_transitions=10_000), -75.0
    ),
    *(make() for make in FINITE),
)
