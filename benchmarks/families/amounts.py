"""Problems whose actions are amounts: bids, doses, an infusion, a battery."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families.problem import Array, Outcome, Simulated


class PatientDoses(Simulated):
    """One dose, right within a fifth for its patient; logged doses are log-normal.

    Parameters
    ----------
    known : float
        Share of the right dose, on the scale of logarithms, that the logger follows.
    spread : float
        Standard deviation of the logarithm of what it gives around that.
    """

    discount, n_episodes = 0.0, 1_000

    def __init__(self, known: float, spread: float) -> None:
        self.name = f"patients' doses, {known:.0%} known"
        self.known, self.spread = known, spread

    def start(self, rng: np.random.Generator, n: int) -> Array:
        count, flag = rng.binomial(2, 0.35, n), rng.random(n) < 0.2
        return np.column_stack([rng.normal(size=(n, 2)), count, flag])

    @staticmethod
    def _right(state: Array) -> Array:
        return 3.0 + state @ np.array([0.2, -0.2, -0.5, -0.4])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        ratio = np.log(np.maximum(action, 0.1)) - self._right(state)
        reward = -(ratio**2) + rng.normal(0.0, 0.2, len(state))
        return state, reward, np.ones(len(state), dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        center = self.known * self._right(state) + (1.0 - self.known) * 3.0
        return np.exp(center + rng.normal(0.0, self.spread, len(state)))

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return np.exp(self._right(state))


class Bids(Simulated):
    """Bids in first-price auctions: what is won is its worth less the bid.

    State: the worth, and two columns of which one says how high others bid.
    """

    name, discount, n_episodes, value_episodes = "bids", 0.0, 3_000, 20_000

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack([rng.lognormal(0.0, 0.6, n), rng.normal(size=(n, 2))])

    @staticmethod
    def _others(state: Array) -> Array:
        return np.exp(-0.5 + 0.4 * state[:, 1])  # their median

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        # Others' highest bid is log-logistic.
        chance = rng.random(len(state))
        highest = self._others(state) * (chance / (1.0 - chance)) ** 0.25
        wins = np.maximum(action, 0.0) > highest
        reward = np.where(wins, state[:, 0] - action, 0.0)
        return state, reward, np.ones(len(state), dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return state[:, 0] * rng.uniform(0.3, 1.1, len(state))

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        share = np.linspace(0.0, 1.0, 201)
        bid = state[:, :1] * share
        odds = (bid / self._others(state)[:, None]) ** 4
        gain = (state[:, :1] - bid) * odds / (1.0 + odds)
        return state[:, 0] * share[gain.argmax(axis=1)]


class Infusion(Simulated):
    """A drug is run in for two hours so that its effect stays at a target.

    State: concentration in the blood and where the drug acts, the patient's weight and
    age. The logger follows a table by weight, and changes it at random.
    """

    name, discount = "infusion", 0.9
    n_episodes, length, value_episodes = 250, 24, 2_000

    def start(self, rng: np.random.Generator, n: int) -> Array:
        weight, age = rng.normal(size=(2, n)).clip(-2.0, 2.0)
        return np.column_stack([np.zeros((n, 2)), weight, age])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        blood, site, weight, age = state.T
        rate = np.clip(action, 0.0, 20.0)
        cleared = 0.25 * np.exp(0.2 * weight - 0.2 * age)
        after = blood * np.exp(-cleared) + 0.2 * rate * np.exp(-0.25 * weight)
        after *= np.exp(rng.normal(0.0, 0.05, len(state)))
        there = site + 0.3 * (after - site)
        reward = -np.abs(there - 3.0) - 0.5 * np.maximum(after - 5.0, 0.0)
        ends = np.zeros(len(state), dtype=bool)
        return np.column_stack([after, there, weight, age]), reward, ends

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        rate = 4.0 + 1.0 * state[:, 2] + 2.0 * (state[:, 1] < 2.0)
        return np.clip(rate * rng.uniform(0.3, 1.9, len(state)), 0.0, 20.0)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        blood, site, weight, age = state.T
        # What brings the blood to a level above the target while the effect is below.
        level = np.clip(3.0 + 1.5 * (3.0 - site), 2.0, 5.0)
        kept = blood * np.exp(-0.25 * np.exp(0.2 * weight - 0.2 * age))
        return np.clip((level - kept) * 5.0 * np.exp(0.25 * weight), 0.0, 20.0)


class Battery(Simulated):
    """Power is bought (an amount above 0) and sold (below 0) at an hourly price.

    State: charge, price, sine and cosine of the hour.
    """

    name, discount = "battery", 0.95
    n_episodes, length, value_episodes, value_length = 120, 72, 1_000, 72

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return self._state(rng, rng.uniform(0.0, 1.0, n), np.zeros(n), rng.random(n))

    def _state(
        self, rng: np.random.Generator, charge: Array, hour: Array, luck: Array
    ) -> Array:
        angle = 2.0 * np.pi * hour / 24.0
        price = 1.0 - 0.5 * np.cos(angle) + 0.6 * (luck - 0.5)
        return np.column_stack([charge, price, np.sin(angle), np.cos(angle)])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        charge, price, sine, cosine = state.T
        amount = np.clip(action, -0.25, 0.25)
        amount = np.clip(amount, -charge, 1.0 - charge)
        lost = 0.05 * np.abs(amount)
        reward = -price * (amount + lost)
        hour = np.arctan2(sine, cosine) * 12.0 / np.pi + 1.0
        after = self._state(rng, charge + amount, hour, rng.random(len(state)))
        return after, reward, np.zeros(len(state), dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        amount = 0.15 * (1.0 - state[:, 1]) + rng.normal(0.0, 0.12, len(state))
        return np.clip(amount, -0.25, 0.25)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        # The best of a few hundred thresholds of the price by the hour.
        limit = 0.8 + 0.3 * (state[:, 2] - state[:, 3])
        return np.where(state[:, 1] < limit, 0.25, -0.25)
