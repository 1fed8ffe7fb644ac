"""The processes: noise, clicks, trials, patients, linear-quadratic control, a chain."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from benchmarks.families.problem import Finite, Outcome, Simulated, draw
from benchmarks.trust.policies import Array, Gaussian, Probabilities
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.datasets import FiniteMDP


class Logged(Simulated):
    """A process whose logger is known.

    `step` gives mean rewards, so that true values need fewer episodes; what a log has
    beside them is `noise`.
    """

    logger: Any  # Probabilities, or what can `draw` an amount of each state
    shortest: ClassVar[int | None] = None  # episodes are cut at random from this on

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        if isinstance(self.logger, Probabilities):
            return draw(rng, self.logger.predict_proba(state))
        return np.asarray(self.logger.draw(state, rng))

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        """What logged rewards have beside their means, (n,)."""
        return np.zeros(len(log))

    def log(self, seed: int) -> Transitions:
        log = super().log(seed)
        rng = np.random.default_rng([seed, 2])
        if self.shortest is not None:
            last = rng.integers(self.shortest, self.length + 1, self.n_episodes)
            log = log[np.flatnonzero(log.step < last[log.episode])]
        log.reward = log.reward + self.noise(log, rng)
        return log


class Noise(Logged):
    """Rewards that nothing has an effect on: every policy is worth the same.

    Parameters
    ----------
    name : str
    n_columns : int
        Of the states, which are new and independent at every step.
    n_episodes, length : int
        Of one step each, the discount is 0.
    rate : float, default=None
        Rewards are 1 with this probability and 0 else. None is standard normal.
    n_actions : int, default=3
    """

    def __init__(
        self,
        name: str,
        n_columns: int,
        n_episodes: int,
        length: int = 1,
        rate: float | None = None,
        n_actions: int = 3,
    ) -> None:
        self.name, self.n_columns, self.rate = name, n_columns, rate
        self.n_episodes, self.length = n_episodes, length  # type: ignore[misc]
        self.discount = 0.9 if length > 1 else 0.0
        rows = [np.linspace(0.5, 1.5, n_actions)] if rate else [np.ones(n_actions)]
        self.logger = Probabilities(
            lambda states: np.repeat(rows, len(states), axis=0), n_actions
        )

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.normal(size=(n, self.n_columns))

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        ends = np.full(len(state), self.length == 1)
        return self.start(rng, len(state)), np.zeros(len(state)), ends

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        if self.rate is None:
            return rng.normal(size=len(log))
        return 1.0 * (rng.random(len(log)) < self.rate)

    def value(self, policy: Any, seed: int = 0) -> float:
        return (self.rate or 0.0) / (1.0 - self.discount)

    value_stochastic = value


class TwoStage(Logged):
    """Two treatments, the second by how the first went: polle's ``sim_two_stage``.

    C is normal around L, a treatment A is given with probability expit(C) and pays C;
    the next C is normal around L / 2 + A. Each stage also pays an L of its own, that no
    treatment changes. State: stage, C, and L. Nordland and Holst (2023).
    """

    length, value_episodes = 2, 50_000

    def __init__(self, name: str, n_episodes: int, discount: float = 0.99) -> None:
        self.name, self.discount = name, discount
        self.n_episodes = n_episodes  # type: ignore[misc]
        self.logger = Probabilities(
            lambda s: np.stack([expit(-s[:, 1]), expit(s[:, 1])], axis=1), 2
        )

    def start(self, rng: np.random.Generator, n: int) -> Array:
        luck = rng.normal(size=n)
        return np.column_stack([np.zeros(n), luck + rng.normal(size=n), luck])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        stage, severity, luck = state.T
        after = 0.5 * luck + action + rng.normal(size=len(state))
        paid = action * severity + luck * (stage == 0)
        return (
            np.column_stack([stage + 1.0, after, rng.normal(size=len(state))]),
            paid,
            stage == 1,
        )

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        return rng.normal(size=len(log))


class RandomIntercepts(Logged):
    """Patients of 5 to 20 visits whose rewards all have an intercept of the patient's.

    State: severity and a fixed trait. Drugs 1 and 2 lower the severity, 2 by the trait;
    each costs. The intercept's standard deviation is 1, that of a visit's noise 0.5.
    """

    name, discount = "random intercepts", 0.9
    n_episodes, length, shortest = 100, 20, 5
    # 0.9 ** 80 is 0.0002.
    value_length, value_episodes = 80, 2_000
    logger = Probabilities(
        lambda s: np.stack(
            [np.ones(len(s)), np.exp(0.7 * s[:, 0]), np.full(len(s), 0.7)], axis=1
        ),
        3,
    )

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack([rng.normal(1.0, 1.0, n), rng.normal(size=n)])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        severity, trait = state.T
        relief = np.select([action == 1, action == 2], [0.6, 0.6 + 0.6 * trait], 0.0)
        after = 0.6 + 0.4 * severity - relief + rng.normal(0.0, 0.5, len(state))
        reward = -severity - 0.2 * (action > 0)
        return np.column_stack([after, trait]), reward, np.zeros(len(state), dtype=bool)

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        own = rng.normal(size=self.n_episodes)[log.episode]
        return own + rng.normal(0.0, 0.5, len(log))


class BloodPressure(Logged):
    """Patients of six visits, by design: no column says when the last one is.

    State: the pressure over 140 mmHg, in 10 mmHg, and a fixed trait. A drug lowers the
    pressure, by the trait, and costs; the reward is minus the pressure at the visit, so
    that what all rewards have in common is ten times what they differ by.
    """

    name, discount = "blood pressure, six visits", 0.9
    n_episodes, length, n_observed = 100, 6, 2
    value_episodes = 20_000
    usual = -14.0
    logger = Probabilities(
        lambda s: np.stack([np.ones(len(s)), np.exp(0.5 * s[:, 0])], axis=1), 2
    )

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack(
            [rng.normal(0.5, 1.0, n), rng.normal(size=n), np.ones(n)]
        )

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        over, trait, visit = state.T
        after = 0.2 + 0.6 * over - action * (0.5 + 0.5 * trait)
        after = after + rng.normal(0.0, 0.5, len(state))
        paid = self.usual - over - 0.2 * action
        return np.column_stack([after, trait, visit + 1.0]), paid, visit == self.length

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        return rng.normal(0.0, 0.5, len(log))


class Fishery(Logged):
    """A stock of fish that grows by a logistic curve, and four efforts to catch it.

    State: the stock, and the warmth of the water, which lasts and moves the growth. The
    reward is what is caught, less the effort.

    Parameters
    ----------
    name : str
    n_observed : int
        1 hides the warmth.
    """

    discount, n_episodes, length = 0.9, 60, 20
    value_length, value_episodes = 80, 5_000
    caught = np.array([0.0, 0.15, 0.3, 0.5])
    logger = Probabilities(lambda s: np.ones((len(s), 4)), 4)

    def __init__(self, name: str, n_observed: int) -> None:
        self.name, self.n_observed = name, n_observed  # type: ignore[misc]

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack([rng.uniform(0.2, 1.2, n), rng.normal(size=n)])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        stock, warmth = state.T
        n = len(state)
        catch = stock * self.caught[action.astype(int)]
        growth = 0.5 * (1.0 - stock) + 0.15 * warmth + rng.normal(0.0, 0.05, n)
        left = np.clip(stock - catch + growth * stock, 0.01, 3.0)
        warmth = 0.9 * warmth + rng.normal(0.0, 0.44, n)
        reward = catch - 0.02 * action
        return np.column_stack([left, warmth]), reward, np.zeros(n, dtype=bool)

    def noise(self, log: Transitions, rng: np.random.Generator) -> Array:
        return rng.normal(0.0, 0.02, len(log))


class LinearQuadratic(Logged):
    """A number that a force moves: x' = 0.9 x + 0.4 a + noise, reward -x² - a² / 2."""

    discount, length = 0.9, 20
    # 0.9 ** 80 is 0.0002.
    value_length, value_episodes = 80, 2_000
    a, b, cost, disturbance = 0.9, 0.4, 0.5, 0.3
    starts = (-2.0, 2.0)
    logger = Gaussian(lambda s: 0.3 - 0.4 * s[:, 0], 0.5)

    def __init__(self, name: str, n_episodes: int) -> None:
        self.name = name
        self.n_episodes = n_episodes  # type: ignore[misc]

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return rng.uniform(*self.starts, (n, 1))

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        x = state[:, 0]
        after = self.a * x + self.b * action
        after = after + self.disturbance * rng.normal(size=len(x))
        reward = -(x**2) - self.cost * action**2
        return after[:, None], reward, np.zeros(len(x), dtype=bool)

    def exact(self, slope: float, offset: float, deviation: float) -> float:
        """Value of an action normal around slope · x + offset.

        V(x) = p x² + q x + c solves V = r + γ E V(x'), coefficient by coefficient.
        """
        g, closed, pushed = self.discount, self.a + self.b * slope, self.b * offset
        spread = self.disturbance**2 + (self.b * deviation) ** 2
        p = -(1.0 + self.cost * slope**2) / (1.0 - g * closed**2)
        q = 2.0 * g * p * closed * pushed - 2.0 * self.cost * slope * offset
        q /= 1.0 - g * closed
        c = g * (p * (pushed**2 + spread) + q * pushed)
        c = (c - self.cost * (offset**2 + deviation**2)) / (1.0 - g)
        low, high = self.starts
        mean, square = (low + high) / 2, (low**2 + low * high + high**2) / 3
        return p * square + q * mean + c


def chain(n_episodes: int) -> Finite:
    """Eight places in a row: 1 is earned at the right end, lost at the left one.

    An action fails in 1 of 5 steps. The discount is 0.99, and there are few episodes.
    """
    n = 8
    transition, reward = np.zeros((n, 2, n)), np.zeros((n, 2))
    for place in range(n):
        for action, move in enumerate((-1, 1)):
            for moved, chance in ((move, 0.8), (-move, 0.2)):
                to = min(max(place + moved, 0), n - 1)
                transition[place, action, to] += chance
                reward[place, action] += chance * ((to == n - 1) - 1.0 * (to == 0))
    ends = np.isin(np.arange(n), (0, n - 1))
    start = ~ends / (n - 2)
    mdp = FiniteMDP(transition, np.where(ends[:, None], 0.0, reward), start, ends)
    codes = np.arange(n)[:, None].astype(float)
    logger = np.full((n, 2), 0.5)
    return WholeEpisodes("chain", 0.99, mdp, codes, logger, n_episodes, 100)


class WholeEpisodes(Finite):
    """A finite process whose log is a number of episodes; ``n_transitions`` is that."""

    def log(self, seed: int) -> Transitions:
        rng = np.random.default_rng([seed, 0])
        # Far more rows than are needed: all episodes but the first ones are left out.
        rows = self.n_transitions * self.horizon
        log = self.mdp.sample(self.logger, rows, rng, horizon=self.horizon)
        return log[np.flatnonzero(log.episode < self.n_transitions)]
