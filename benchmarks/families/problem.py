"""What every problem offers, and the two ways to know a true value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.tuning_problems import Drawn
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.datasets import FiniteMDP

Array = NDArray[np.float64]
Outcome = tuple[Array, Array, NDArray[np.bool_]]
Actor = Callable[[Array, np.random.Generator], NDArray[Any]]

N_LOGS = 3  # seeds 0, 1, 2: of the logger's value where loggers differ by seed


class Problem(ABC):
    """A log for each seed, and the true value of a policy.

    Attributes
    ----------
    name : str
    discount : float
        What a method is given.
    logger_value, optimum : float
        Values of the policy that logs, and of the best or of a strong reference.
    """

    name: str
    discount: float
    optimum: float

    @abstractmethod
    def log(self, seed: int) -> Transitions:
        """The log of a seed."""

    @abstractmethod
    def value(self, policy: Any, seed: int = 0) -> float:
        """True value of what a policy predicts; luck is the same for every policy."""

    @abstractmethod
    def value_stochastic(self, policy: Any, seed: int = 0) -> float:
        """True value of a policy that draws its actions."""

    @property
    @abstractmethod
    def logger_value(self) -> float:
        """True value of the policy that logs."""

    def allowed(self, states: Array, seed: int = 0) -> NDArray[np.bool_] | None:
        """Which actions the logger may take, (n, n_actions); None where all."""
        return None

    def unlogged_share(
        self, policy: Any, states: Array, seed: int = 0
    ) -> tuple[float, float]:
        """Share of predictions, and of probability, on actions that are never logged.

        ``seed`` is of the log, where loggers differ.
        """
        allowed = self.allowed(np.asarray(states, dtype=float), seed)
        if allowed is None:
            return 0.0, 0.0
        rows = np.arange(len(allowed))
        predicted = np.asarray(policy.predict(states), dtype=int)
        probability = policy.predict_proba(states)
        on_allowed = probability * allowed[:, np.asarray(policy.classes_, dtype=int)]
        return (
            float(1.0 - allowed[rows, predicted].mean()),
            float(1.0 - on_allowed.sum(axis=1).mean()),
        )


def progress(problem: Problem, value: float) -> float:
    """Share of the way from the logger (0) to the reference (1) that a value is."""
    logger = problem.logger_value
    return (value - logger) / (problem.optimum - logger)


class Finite(Problem):
    """A finite process: exact values.

    Parameters
    ----------
    name, discount
    mdp : FiniteMDP
    codes : array of shape (n_states, d)
        The states as logs and policies see them.
    logger : array of shape (n_states, n_actions)
        Probabilities of the policy that logs.
    n_transitions : int
    horizon : int
        Steps after which a logged episode is cut.
    ends : bool
        Whether the value is of ``horizon`` steps, not of a process that never ends.
    noise : float
        Standard deviation of what logged rewards have beside their mean.
    """

    def __init__(
        self,
        name: str,
        discount: float,
        mdp: FiniteMDP,
        codes: Array,
        logger: Array,
        n_transitions: int,
        horizon: int,
        *,
        ends: bool = False,
        noise: float = 0.0,
    ) -> None:
        self.name, self.discount, self.mdp = name, discount, mdp
        self.codes, self.logger = codes, logger
        self.n_transitions, self.horizon = n_transitions, horizon
        self.noise, self._steps = noise, horizon if ends else None

    def log(self, seed: int) -> Transitions:
        rng = np.random.default_rng([seed, 0])
        log = self.mdp.sample(
            self.logger, self.n_transitions, rng, horizon=self.horizon
        )
        state, after = (self.codes[s[:, 0]] for s in (log.state, log.next_state))
        log = log.with_states(state, after)
        log.reward = log.reward + rng.normal(0.0, self.noise, len(log))
        return log

    def _exact(self, policy: NDArray[Any]) -> float:
        return float(self.mdp.policy_value(policy, self.discount, self._steps))

    def value(self, policy: Any, seed: int = 0) -> float:
        return self._exact(np.asarray(policy.predict(self.codes), dtype=int))

    def value_stochastic(self, policy: Any, seed: int = 0) -> float:
        table = np.zeros_like(self.logger)
        table[:, np.asarray(policy.classes_, int)] = policy.predict_proba(self.codes)
        return self._exact(table)

    @cached_property
    def logger_value(self) -> float:
        return self._exact(self.logger)

    @cached_property
    def optimum(self) -> float:
        # With a horizon the best stationary policy, or nearly: the logs are stationary.
        return self._exact(self.mdp.optimal_policy(self.discount))

    def allowed(self, states: Array, seed: int = 0) -> NDArray[np.bool_] | None:
        distances = (np.asarray(states)[:, None, :] - self.codes[None]) ** 2
        return self.logger[distances.sum(axis=2).argmin(axis=1)] > 0


class Step(NamedTuple):
    """One step of many episodes at once."""

    alive: NDArray[np.bool_]
    state: Array
    action: NDArray[Any]
    after: Array
    reward: Array
    ends: NDArray[np.bool_]


class Simulated(Problem):
    """A simulator that steps many episodes at once.

    A subclass gives `start`, `step`, `behave` and, for a reference, `best`. What the
    process draws it draws from ``rng``, in every episode and whatever the actions are,
    so that all policies meet the same luck.
    """

    length: ClassVar[int] = 1  # steps of a logged episode, if it does not end before
    n_episodes: ClassVar[int]
    n_observed: ClassVar[int | None] = None  # columns behind these are hidden
    value_length: ClassVar[int | None] = None  # None: as long as logged episodes
    value_episodes: ClassVar[int] = 1_000
    value_discount: ClassVar[float | None] = None  # None: `discount`

    @abstractmethod
    def start(self, rng: np.random.Generator, n: int) -> Array:
        """First states."""

    @abstractmethod
    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Next states, rewards, and whether episodes end."""

    @abstractmethod
    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        """The logger's actions; it sees what a policy sees."""

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        """The reference's actions."""
        raise NotImplementedError

    def _simulate(
        self, actor: Actor, n: int, length: int, entropy: list[int]
    ) -> Iterator[Step]:
        # The actor's draws are its own, or they would shift those of the process.
        luck, own = (np.random.default_rng([*entropy, k]) for k in (0, 1))
        state = self.start(luck, n)
        alive = np.ones(n, dtype=bool)
        for _ in range(length):
            action = actor(state[:, : self.n_observed], own)
            after, reward, ends = self.step(luck, state, action)
            yield Step(alive, state, action, after, reward, ends)
            alive, state = alive & ~ends, after
            if not alive.any():
                return

    def log(self, seed: int) -> Transitions:
        steps = list(self._simulate(self.behave, self.n_episodes, self.length, [seed]))
        alive = np.stack([step.alive for step in steps], axis=1)  # (n_episodes, length)
        episode, step = np.nonzero(alive)

        def rows(name: str) -> NDArray[Any]:
            return np.stack([getattr(step, name) for step in steps], axis=1)[alive]

        seen = slice(self.n_observed)
        return Transitions(
            rows("state")[:, seen],
            rows("action"),
            rows("reward"),
            rows("after")[:, seen],
            rows("ends"),
            is_initial=step == 0,
            episode=episode,
            step=step,
        )

    def _mean(self, actor: Actor, seed: int) -> float:
        total, discount = 0.0, self.discount
        if self.value_discount is not None:
            discount = self.value_discount
        # Other episodes than those of any log.
        steps = self._simulate(
            actor, self.value_episodes, self.value_length or self.length, [seed, 1]
        )
        for t, step in enumerate(steps):
            total += discount**t * float((step.reward * step.alive).mean())
        return total

    def value(self, policy: Any, seed: int = 0) -> float:
        def act(states: Array, rng: np.random.Generator) -> NDArray[Any]:
            return np.asarray(policy.predict(states)).reshape(len(states))

        return self._mean(act, seed)

    def value_stochastic(self, policy: Any, seed: int = 0) -> float:
        if hasattr(policy, "classes_"):
            return self.value(Drawn(policy), seed)

        def act(states: Array, rng: np.random.Generator) -> NDArray[Any]:
            return policy.sample(states, int(rng.integers(2**31))).reshape(len(states))

        return self._mean(act, seed)

    @cached_property
    def logger_value(self) -> float:
        return self._mean(self.behave, 0)

    @cached_property
    def optimum(self) -> float:
        return self._mean(self.best, 0)


def draw(rng: np.random.Generator, weights: Array) -> NDArray[np.intp]:
    """One column of each row of weights, by chance in their proportion."""
    reached = weights.cumsum(axis=1)
    return (reached <= rng.random((len(reached), 1)) * reached[:, -1:]).sum(axis=1)


def explore(
    rng: np.random.Generator, own: NDArray[Any], share: float, n_actions: int
) -> NDArray[Any]:
    """Actions of one's own, and anything in a share of the steps."""
    random = rng.random(len(own)) < share
    return np.where(random, rng.integers(n_actions, size=len(own)), own)
