"""Logged doses, with true values: bandits, a thermostat, a stock, two of control."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks import ours
from benchmarks.continuous_problems import (
    PENDULUM,
    POINT_MASS,
    ContinuousProblem,
    OptimalForce,
    swing_up,
)
from sklearn_stackelberg import Transitions

Array = NDArray[np.float64]
Act = Callable[[Array], Array]  # states (n, d) to doses (n,)


class DoseProblem(Protocol):
    """A log, and the true value of acting in a way."""

    @property
    def name(self) -> str:
        """In the table."""

    @property
    def discount(self) -> float:
        """By which it is fitted."""

    @property
    def setting(self) -> Mapping[str, Any]:
        """Hyperparameters that are not the defaults."""

    def log(self, seed: int) -> Transitions:
        """The logged rows."""

    def value(self, policy: Any) -> float:
        """True value of an estimator's predictions."""

    @property
    def logger(self) -> float:
        """True value of the logger."""

    @property
    def best(self) -> float:
        """True value of the best of a grid of policies."""


def share(problem: DoseProblem, policy: Any) -> float:
    """The policy's gain over the logger, as a share of the grid's best gain."""
    gain = problem.best - problem.logger
    return (problem.value(policy) - problem.logger) / gain


@dataclass(frozen=True)
class DoseBandit:
    """One dose a person; ``reward(states, doses)`` is the mean, ``noise`` its spread.

    ``draw(states, rng)`` are the logger's doses. The grid's best takes, in each state,
    the best of 400 doses between the logger's quantiles 0.1 % and 99.9 %.
    """

    name: str
    n_rows: int
    n_columns: int
    draw: Callable[[Array, np.random.Generator], Array]
    reward: Callable[[Array, Array], Array]
    noise: float = 0.0
    discount: float = 0.0
    setting: Mapping[str, Any] = field(default_factory=dict)

    def log(self, seed: int) -> Transitions:
        rng = np.random.default_rng(seed)
        states = rng.normal(size=(self.n_rows, self.n_columns))
        doses = self.draw(states, rng)
        noise = self.noise * rng.normal(size=self.n_rows)
        reward = self.reward(states, doses) + noise
        ended = np.ones(self.n_rows, dtype=bool)
        return Transitions(states, doses, reward, states, ended)

    @cached_property
    def _fresh(self) -> tuple[Array, Array]:
        rng = np.random.default_rng(2**31)
        states = rng.normal(size=(10_000, self.n_columns))
        return states, self.draw(states, rng)

    def value(self, policy: Any) -> float:
        states = self._fresh[0]
        return float(self.reward(states, policy.predict(states)).mean())

    @cached_property
    def logger(self) -> float:
        return float(self.reward(*self._fresh).mean())

    @cached_property
    def best(self) -> float:
        states, doses = self._fresh
        grid = np.quantile(doses, np.linspace(0.001, 0.999, 400))
        every = [self.reward(states, np.full(len(states), dose)) for dose in grid]
        return float(np.max(every, axis=0).mean())


@dataclass(frozen=True)
class Process:
    """Steps of many copies at once, over time steps that repeat daily.

    ``start(n, rng)`` are hidden states (n,), ``observe(hidden, k, rng)`` what is seen
    of them at step k, (n, d), ``act(states, rng)`` the logger's doses and
    ``step(hidden, states, doses, rng)`` the next hidden states and the rewards. The
    grid's best is that of ``grid``, functions of the states.
    """

    name: str
    n_episodes: int
    n_steps: int
    start: Callable[[int, np.random.Generator], Array]
    observe: Callable[[Array, int, np.random.Generator], Array]
    act: Callable[[Array, np.random.Generator], Array]
    step: Callable[[Array, Array, Array, np.random.Generator], tuple[Array, Array]]
    grid: Sequence[Act]
    discount: float = 0.95
    setting: Mapping[str, Any] = field(default_factory=dict)

    def simulate(
        self, act: Act | None, n: int, n_steps: int, seed: int
    ) -> tuple[Array, Array, Array]:
        """States, doses and rewards of n copies, step by step; None is the logger."""
        rng = np.random.default_rng(seed)
        hidden, rows = self.start(n, rng), []
        for k in range(n_steps):
            states = self.observe(hidden, k, rng)
            # Drawn in any case, so that all policies meet the same noise.
            logged = self.act(states, rng)
            doses = logged if act is None else act(states)
            hidden, reward = self.step(hidden, states, doses, rng)
            rows.append((states, doses, reward))
        states, doses, rewards = (np.stack(part) for part in zip(*rows, strict=True))
        return states, doses, rewards

    def log(self, seed: int) -> Transitions:
        simulated = self.simulate(None, self.n_episodes, self.n_steps + 1, seed)
        states, doses, rewards = (np.swapaxes(part, 0, 1) for part in simulated)
        d, n = states.shape[2], self.n_episodes * self.n_steps
        return Transitions(
            states[:, :-1].reshape(n, d),
            doses[:, :-1].ravel(),
            rewards[:, :-1].ravel(),
            states[:, 1:].reshape(n, d),
            episode=np.repeat(np.arange(self.n_episodes), self.n_steps),
            step=np.tile(np.arange(self.n_steps), self.n_episodes),
        )

    def _discounted(self, act: Act | None, n: int = 400) -> float:
        # 0.95 ** 120 is 0.002.
        _, _, rewards = self.simulate(act, n, 120, 2**31)
        return float((self.discount ** np.arange(120) @ rewards).mean())

    def value(self, policy: Any) -> float:
        return self._discounted(policy.predict)

    @cached_property
    def logger(self) -> float:
        return self._discounted(None)

    @cached_property
    def best(self) -> float:
        # The best of many on few copies, and its value on all.
        few = [self._discounted(act, 100) for act in self.grid]
        return self._discounted(self.grid[int(np.argmax(few))])


@dataclass(frozen=True)
class Control:
    """A problem of `continuous_problems`, its best a controller that is known."""

    problem: ContinuousProblem
    controller: Callable[[], Any]
    discount: float = 0.99
    setting: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.problem.name}, {self.problem.n_transitions:,}"

    def log(self, seed: int) -> Transitions:
        return self.problem.log(seed)

    def value(self, policy: Any) -> float:
        return float(self.problem.returns(policy).mean())

    @cached_property
    def logger(self) -> float:
        return float(self.problem.returns(self.problem.behaviour).mean())

    @cached_property
    def best(self) -> float:
        return self.value(self.controller())


# ---------------------------------------------------------------------- doses once


def lognormal(
    states: Array, rng: np.random.Generator, slope: float = 0.0, spread: float = 1.2
) -> Array:
    """Doses over decades, with a median of e² in the mean state."""
    return rng.lognormal(2.0 + slope * states[:, 0], spread)


SKEWED = DoseBandit(
    "skewed doses, 7 for all", 2_000, 1, lognormal, lambda s, a: -(np.log(a / 7.0) ** 2)
)
SKEWED_BY_STATE = DoseBandit(
    "skewed doses by state",
    2_000,
    2,
    partial(lognormal, slope=0.3),
    lambda s, a: -((np.log(a) - 1.5 - 0.7 * s[:, 0] + 0.4 * s[:, 1]) ** 2),
    noise=1.0,
)
EVEN = DoseBandit(
    "even doses by state",
    2_000,
    2,
    lambda s, rng: rng.uniform(0.0, 10.0, size=len(s)),
    lambda s, a: -(((a - 5.0 - 2.0 * np.tanh(s[:, 0] - s[:, 1])) / 5.0) ** 2),
    noise=0.5,
)


def _effect_and_harm(states: Array, doses: Array) -> Array:
    """Saturates in the dose, at half of it by the state, and harms in proportion."""
    half = 4.0 * np.exp(0.6 * states[:, 0])
    return 3.0 * doses / (doses + half) - doses / 20.0


TOXIC = DoseBandit(
    "effect and harm",
    1_500,
    2,
    # Clinicians give more where less is needed.
    lambda s, rng: rng.gamma(1.2, 12.0 * np.exp(-0.3 * s[:, 0])),
    _effect_and_harm,
    noise=0.5,
)

# ----------------------------------------------------------------- doses in sequence


def _thermostat_step(
    hidden: Array, states: Array, doses: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    reward = -0.1 * (doses / 10.0) ** 2
    reward = reward - 0.5 * np.maximum(abs(hidden - 22.0) - 1.0, 0.0) ** 2
    drift = 0.15 * (22.0 - hidden) + 1.5 * states[:, 1] - 0.055 * doses
    return hidden + drift + rng.normal(0.0, 0.25, len(hidden)), reward


def _line(states: Array, at: float, warm: float, load: float) -> Array:
    dose = at + warm * (states[:, 0] - 22.0) + load * (states[:, 1] - 1.2)
    return np.clip(dose, 0.0, 100.0)


THERMOSTAT = Process(
    "thermostat",
    28,
    168,
    start=lambda n, rng: np.full(n, 22.0),
    observe=lambda t, k, rng: np.column_stack(
        [t, 1.0 + 0.5 * (8 <= k % 24 < 20) + rng.normal(0.0, 0.15, len(t))]
    ),
    act=lambda s, rng: np.clip(
        30.0 + 10.0 * (s[:, 0] - 22.0) + rng.normal(0.0, 14.0, len(s)), 0.0, 100.0
    ),
    step=_thermostat_step,
    grid=[
        partial(_line, at=at, warm=warm, load=load)
        for at in (10.0, 15.0, 20.0, 25.0, 30.0)
        for warm in (2.0, 5.0, 8.0, 11.0)
        for load in (0.0, 10.0, 20.0, 30.0)
    ],
)


def _stock_step(
    hidden: Array, states: Array, doses: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    demand = rng.gamma(4.0, states[:, 1] / 4.0)
    left = hidden + doses - demand
    # What is not there is not sold; what is ordered is paid for and stored.
    reward = 2.0 * np.minimum(demand, hidden + doses) - doses - 0.1 * left.clip(0.0)
    return np.clip(left, 0.0, 60.0), reward


STOCK = Process(
    "stock",
    40,
    100,
    start=lambda n, rng: rng.uniform(0.0, 20.0, n),
    observe=lambda stock, k, rng: np.column_stack(
        [stock, 5.0 + 3.0 * np.sin(k / 4.0) + rng.normal(0.0, 0.3, len(stock))]
    ),
    # Nothing on most days, and then a lot.
    act=lambda s, rng: np.where(
        rng.random(len(s)) < 0.5 + 0.4 * (s[:, 0] > 8.0),
        0.0,
        rng.exponential(10.0, len(s)),
    ),
    step=_stock_step,
    grid=[
        lambda s, up=up, by=by: np.maximum(up + by * s[:, 1] - s[:, 0], 0.0)
        for up in (-2.0, 0.0, 2.0, 5.0, 10.0)
        for by in (0.0, 0.5, 1.0, 1.5, 2.0)
    ],
)


class _SwingUp:
    """The logger of Pendulum without its noise."""

    def predict(self, states: Array) -> Array:
        return np.array([np.clip(swing_up(state), -2.0, 2.0) for state in states])


# At the median's bandwidth no setting of the table is better than the logger.
TORQUE = Control(
    replace(PENDULUM, n_transitions=10_000),
    _SwingUp,
    setting={
        name: ours.TORQUE[name] for name in ("bandwidth", "action_bounds", "ridge")
    }
    | dict(ours.PENDULUM_GRID[0]),
)
FORCE = Control(replace(POINT_MASS, n_transitions=10_000), OptimalForce)

# Defaults were chosen by these,
CHOSEN_BY: tuple[DoseProblem, ...] = (
    SKEWED,
    SKEWED_BY_STATE,
    THERMOSTAT,
    TORQUE,
    FORCE,
)
# and never by these.
KEPT_APART: tuple[DoseProblem, ...] = (EVEN, TOXIC, STOCK)
