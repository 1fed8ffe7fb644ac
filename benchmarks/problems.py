"""The logged problems of the benchmarks: logger, size and score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.envs.toy_text.frozen_lake import MAPS
from numpy.typing import NDArray

from sklearn_stackelberg import Transitions
from sklearn_stackelberg.datasets import FiniteMDP, log_episodes, rollout_returns

DISCOUNT = 0.99
N_EPISODES = 100  # of every roll-out
ROLLOUT_SEED = 20_000

Behaviour = Callable[[Any, np.random.Generator], int]
Mixture = Literal["step", "episode"]


class EpisodeMixture(gym.Wrapper):
    """An environment that picks, at each reset, which behaviour logs the episode.

    Parameters
    ----------
    env : gymnasium.Env
    behaviours : sequence of callables ``(observation, rng) -> action``
    weights : sequence of float
        The share of the episodes that each behaviour logs.
    seed : int
        Of the draws of behaviours alone.
    """

    def __init__(
        self,
        env: gym.Env,
        behaviours: Sequence[Behaviour],
        weights: Sequence[float],
        seed: int,
    ) -> None:
        super().__init__(env)
        self._behaviours = list(behaviours)
        self._weights = np.asarray(weights, dtype=float)
        self._rng = np.random.default_rng([seed, 1])
        self._current = self._behaviours[0]

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode and draw who logs it."""
        drawn = self._rng.choice(len(self._behaviours), p=self._weights)
        self._current = self._behaviours[drawn]
        return self.env.reset(**kwargs)

    def behave(self, observation: Any, rng: np.random.Generator) -> int:
        """Give the current logger's action."""
        return self._current(observation, rng)


def noisy(controller: Callable[[Any], int], random: float, n_actions: int) -> Behaviour:
    """A controller that takes a uniform action with probability ``random``."""

    def behave(observation: Any, rng: np.random.Generator) -> int:
        if rng.random() < random:
            return int(rng.integers(n_actions))
        return int(controller(observation))

    return behave


def from_table(table: NDArray[np.float64]) -> Behaviour:
    """A behaviour that draws from the rows of a (n_states, n_actions) table."""
    cumulative = np.cumsum(table, axis=1)

    def behave(observation: Any, rng: np.random.Generator) -> int:
        row = cumulative[int(np.asarray(observation).ravel()[0])]
        return int(np.searchsorted(row, rng.random() * row[-1], side="right"))

    return behave


# --------------------------------------------------------------------- FrozenLake


@cache
def frozen_lake(map_name: str, encode: str = "integer") -> FiniteMDP:
    """The exact slippery FrozenLake of a map, ``"4x4"`` or ``"8x8"``."""
    env = gym.make("FrozenLake-v1", map_name=map_name, is_slippery=True)
    return FiniteMDP.from_gymnasium(env, encode=encode)


@dataclass(frozen=True)
class FrozenLakeProblem:
    """A FrozenLake log and the exact success of a policy.

    The mediocre logger is half uniform, half a controller that is optimal but prefers
    one random action in a third of the states (holes and goal not counted). The
    partial one is the same and in half of the states never logs one random action.
    The good one is half uniform, half optimal.

    Parameters
    ----------
    name : str
    map_name : {"4x4", "8x8"}
    logger : {"mediocre", "partial", "good"}
    n_transitions : int
    mixture : {"step", "episode"}
        Whether "half" is of the steps, or of the episodes.
    """

    name: str
    map_name: str
    logger: Literal["mediocre", "partial", "good"]
    n_transitions: int
    mixture: Mixture = "step"

    @property
    def mdp(self) -> FiniteMDP:
        """The exact problem."""
        return frozen_lake(self.map_name)

    @property
    def horizon(self) -> int:
        """Steps before the time limit."""
        return {"4x4": 100, "8x8": 200}[self.map_name]

    @property
    def decision_states(self) -> NDArray[np.intp]:
        """The states where an action changes something: neither hole nor goal."""
        tiles = "".join(MAPS[self.map_name])
        return np.array([i for i, tile in enumerate(tiles) if tile in "SF"])

    def behaviour_tables(self, seed: int) -> tuple[NDArray[np.float64], ...]:
        """The uniform logger's and the controller's action probabilities."""
        rng = np.random.default_rng([seed, 0])
        states = self.decision_states
        greedy = np.array(self.mdp.optimal_policy(DISCOUNT), dtype=int)
        n_states, n_actions = len(greedy), 4
        if self.logger != "good":
            wrong = rng.choice(states, size=round(len(states) / 3), replace=False)
            greedy[wrong] = rng.integers(n_actions, size=len(wrong))
        uniform = np.full((n_states, n_actions), 1.0 / n_actions)
        controller = np.eye(n_actions)[greedy]
        if self.logger == "partial":
            barred = rng.choice(states, size=round(len(states) / 2), replace=False)
            action = rng.integers(n_actions, size=len(barred))
            for table in (uniform, controller):
                table[barred, action] = 0.0
                # A controller that prefers what is barred is left with the other three.
                idle = table.sum(axis=1) == 0.0
                table[idle] = uniform[idle]
                table /= table.sum(axis=1, keepdims=True)
        return uniform, controller

    def log(self, seed: int, encode: str = "integer") -> Transitions:
        """Log ``n_transitions`` rows; both the logger and its luck follow ``seed``.

        ``encode`` is how states are written: one integer column, or ``"one-hot"``.
        """
        tables = self.behaviour_tables(seed)
        mdp = frozen_lake(self.map_name, encode)
        rng = np.random.default_rng([seed, 2])
        if self.mixture == "step":
            mixed = 0.5 * tables[0] + 0.5 * tables[1]
            return mdp.sample(mixed, self.n_transitions, rng, horizon=self.horizon)
        # Whole episodes of either logger, shuffled.
        halves = [
            mdp.sample(table, self.n_transitions, rng, horizon=self.horizon)
            for table in tables
        ]
        return _interleaved(halves, self.n_transitions, rng)

    def success(self, policy: NDArray[Any]) -> float:
        """Exact probability of reaching the goal within the time limit.

        Parameters
        ----------
        policy : array of shape (n_states,) or (n_states, n_actions)
            An action per state, or its probabilities.
        """
        return float(self.mdp.policy_value(policy, discount=1.0, horizon=self.horizon))


def _interleaved(
    logs: Sequence[Transitions], n_transitions: int, rng: np.random.Generator
) -> Transitions:
    """Whole episodes, each from a log picked at random, until there are enough rows."""
    starts = [np.flatnonzero(np.asarray(log.step) == 0) for log in logs]
    ends = [np.append(s[1:], len(log)) for s, log in zip(starts, logs, strict=True)]
    used, parts, n_rows = [0] * len(logs), [], 0
    while n_rows < n_transitions:
        which = int(rng.integers(len(logs)))
        start, end = starts[which][used[which]], ends[which][used[which]]
        used[which] += 1
        parts.append(logs[which][start : min(end, start + n_transitions - n_rows)])
        n_rows += len(parts[-1])
    return Transitions.concatenate(*parts)


FROZEN_LAKE = (
    FrozenLakeProblem("4x4 mediocre 2,000", "4x4", "mediocre", 2_000),
    FrozenLakeProblem("4x4 mediocre 10,000", "4x4", "mediocre", 10_000),
    FrozenLakeProblem("8x8 mediocre 10,000", "8x8", "mediocre", 10_000),
    FrozenLakeProblem("8x8 mediocre 50,000", "8x8", "mediocre", 50_000),
    FrozenLakeProblem("8x8 partial 10,000", "8x8", "partial", 10_000),
    FrozenLakeProblem("8x8 good 10,000", "8x8", "good", 10_000),
)

# ------------------------------------------------------------ CartPole and Acrobot


@dataclass(frozen=True)
class ControlProblem:
    """A log of a control problem and the mean return of a policy.

    Parameters
    ----------
    name : str
    env_id : str
    n_transitions : int
    behaviours : tuple of callables
    weights : tuple of float
        The share of the episodes that each behaviour logs.
    """

    name: str
    env_id: str
    n_transitions: int
    behaviours: tuple[Behaviour, ...]
    weights: tuple[float, ...] = (1.0,)

    def log(self, seed: int) -> Transitions:
        """Log ``n_transitions`` rows."""
        mixture = EpisodeMixture(
            gym.make(self.env_id), self.behaviours, self.weights, seed
        )
        return log_episodes(mixture, mixture.behave, self.n_transitions, seed)

    def returns(self, policy: Any, n_episodes: int = N_EPISODES) -> NDArray[np.float64]:
        """Returns of episodes whose seeds are the same for every policy."""
        return np.asarray(
            rollout_returns(self.env_id, policy, n_episodes, ROLLOUT_SEED)
        )


def lean(offset: float) -> Callable[[Any], int]:
    """Push right when the pole leans, or is about to lean, to the right."""
    return lambda observation: observation[2] + 0.2 * observation[3] + offset > 0


def _swing(observation: Any) -> int:
    """Torque +1 while the second joint's speed is positive, else none."""
    return 2 if observation[5] > 0 else 1


CARTPOLE_DEFAULT = ControlProblem(
    "CartPole 60 % random", "CartPole-v1", 5_000, (noisy(lean(0.0), 0.6, 2),)
)
CONTROL = (
    ControlProblem(
        "CartPole random", "CartPole-v1", 10_000, (noisy(lean(0.0), 1.0, 2),)
    ),
    ControlProblem(
        "CartPole medium",
        "CartPole-v1",
        5_000,
        (noisy(lean(0.1), 1.0, 2), noisy(lean(0.1), 0.2, 2)),
        (0.5, 0.5),
    ),
    ControlProblem(
        "Acrobot medium",
        "Acrobot-v1",
        50_000,
        (noisy(_swing, 1.0, 3), noisy(_swing, 0.3, 3)),
        (0.3, 0.7),
    ),
)


def problem(name: str) -> FrozenLakeProblem | ControlProblem:
    """The problem of that name.

    Raises
    ------
    KeyError
        When no problem has the name; the message lists those that exist.
    """
    every = {p.name: p for p in (*FROZEN_LAKE, CARTPOLE_DEFAULT, *CONTROL)}
    if name not in every:
        raise KeyError(f"No problem is called {name!r}; there are {sorted(every)}.")
    return every[name]
