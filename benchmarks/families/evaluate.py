"""The problems that figures are reported on: nothing is chosen by them.

LunarLander is not among them: it needs Box2D.
"""

from __future__ import annotations

from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from benchmarks.families.problem import (
    Array,
    Finite,
    Outcome,
    Problem,
    Simulated,
    draw,
    explore,
)
from sklearn_stackelberg.datasets import FiniteMDP


class MountainCar(Simulated):
    """Gymnasium's MountainCar-v0; the logger pushes along in half of the steps."""

    name, discount, value_discount = "MountainCar", 0.99, 1.0
    n_episodes, length, value_episodes = 60, 200, 200

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack([rng.uniform(-0.6, -0.4, n), np.zeros(n)])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        position, speed = state.T
        speed = speed + 0.001 * (action - 1) - 0.0025 * np.cos(3.0 * position)
        speed = np.clip(speed, -0.07, 0.07)
        position = np.clip(position + speed, -1.2, 0.6)
        speed = np.where((position == -1.2) & (speed < 0.0), 0.0, speed)
        after = np.column_stack([position, speed])
        return after, np.full(len(state), -1.0), position >= 0.5

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        along = np.where(state[:, 1] >= 0.0, 2, 0)
        return explore(rng, along, 0.5, 3)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        # A known controller of two curves in the plane of position and speed.
        x, v = state.T
        low = np.minimum(-0.09 * (x + 0.25) ** 2 + 0.03, 0.3 * (x + 0.9) ** 4 - 0.008)
        high = -0.07 * (x + 0.38) ** 2 + 0.07
        return np.where((v > low) & (v < high), 2, 0)


def stock_keeping() -> Finite:
    """A shop: stock of up to 30, three states of demand, orders of 0, 2, ... 14.

    Reward: 2 a piece sold, less 1 a piece ordered, 2 an order, 0.1 a piece kept. The
    logger fills up to 12, and orders anything in 3 of 10 weeks.
    """
    size, means, n_orders = 30, (2.0, 4.0, 7.0), 8
    regime = np.array([[0.8, 0.2, 0.0], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])
    codes = np.array([(s, m) for s in range(size + 1) for m in means])
    transition = np.zeros((size + 1, 3, n_orders, size + 1, 3))
    reward = np.zeros((size + 1, 3, n_orders))
    for stock, now, order in product(range(size + 1), range(3), range(n_orders)):
        full = min(size, stock + 2 * order)
        sold = np.arange(full + 1)
        chance = poisson.pmf(sold, means[now])
        chance[-1] += 1.0 - chance.sum()
        transition[stock, now, order, full - sold] = np.outer(chance, regime[now])
        earned = chance @ (2.0 * sold - 0.1 * (full - sold))
        reward[stock, now, order] = earned - 2 * order - 2.0 * (order > 0)
    n_states = len(codes)
    mdp = FiniteMDP(
        transition.reshape(n_states, n_orders, n_states),
        reward.reshape(n_states, n_orders),
        np.full(n_states, 1 / n_states),
    )
    fill = np.clip((12 - codes[:, 0]) // 2, 0, n_orders - 1).astype(int)
    logger = 0.7 * np.eye(n_orders)[fill] + 0.3 / n_orders
    return Finite("stock keeping", 0.95, mdp, codes, logger, 2_000, 50, noise=2.0)


def sepsis() -> Finite:
    """Intensive care, after the simulator of Oberst and Sontag (2019), with 360 states.

    State: heart rate and blood pressure (-1, 0, 1), oxygen (-1, 0), glucose (-2 ... 2),
    diabetes, antibiotics so far. Action: antibiotics, ventilation and vasopressors, on
    or off (8). Three values out of order are death (-1); all in order, and nothing
    given, is discharge (+1). The physician is optimal, but for one treatment, on or
    off, in 3 of 10 decisions.
    """
    levels = ((-1, 0, 1), (-1, 0, 1), (-1, 0), (-2, -1, 0, 1, 2), (0, 1), (0, 1))
    codes = np.array(list(product(*levels)), dtype=float)
    sick, end = codes[:, 5], len(codes)
    transition = np.zeros((end, 8, end))
    treatments = list(product((0, 1), repeat=3))

    def drift(size: int, at: float, down: float, up: float) -> Array:
        """A level's next: one lower, one higher, or the same."""
        place = int(at)
        chance = np.zeros(size)
        for move, weight in ((-1, down), (1, up), (0, 1.0 - down - up)):
            chance[min(max(place + move, 0), size - 1)] += weight
        return chance

    for row, (heart, pressure, oxygen, glucose, diabetic, before) in enumerate(codes):
        for action, (drug, air, pump) in enumerate(treatments):
            # Antibiotics work from the second dose on, and bring values down.
            cure = 0.5 if drug and before else 0.1 * drug
            swing = 0.3 if diabetic else 0.1
            parts = (
                drift(3, heart + 1, 0.05 + cure * (heart > 0), 0.15 * (1 - cure)),
                drift(3, pressure + 1, 0.15 + 0.3 * cure * (pressure > 0), 0.6 * pump),
                drift(2, oxygen + 1, 0.02 if air else 0.15, 0.7 if air else 0.05),
                drift(
                    5,
                    glucose + 2,
                    swing * (0.5 + (glucose > 0)),
                    swing * (0.5 + (glucose < 0) + diabetic * pump),
                ),
                np.eye(2)[int(diabetic)],
                np.eye(2)[drug],
            )
            joint = np.ones(1)
            for part in parts:
                joint = np.outer(joint, part).ravel()
            transition[row, action] = joint
    wrong = (codes[:, :4] != 0).sum(axis=1)
    shape = transition.shape
    dead = np.broadcast_to(wrong >= 3, shape)
    well = np.broadcast_to(wrong == 0, shape) & (np.arange(8) == 0)[:, None]
    start = (wrong == 2) & (sick == 0)
    mdp = FiniteMDP(transition, 1.0 * well - dead, start / start.sum(), well | dead)
    best = mdp.optimal_policy(0.99)
    logger = 0.7 * np.eye(8)[best]
    for bit in (1, 2, 4):
        logger += 0.1 * np.eye(8)[best ^ bit]
    return Finite("sepsis", 0.99, mdp, codes, logger, 5_000, 20, ends=True)


class Chemotherapy(Simulated):
    """Six months of doses in [0, 1], after Zhao, Kosorok and Zeng (2009).

    State: toxicity, tumour, month. The trial draws doses at random. Rewards are
    theirs: -60 for death, 15 for a cure, 5 for a change by 0.5 of either.
    """

    discount, n_episodes, length = 0.9, 300, 6

    def __init__(self, name: str, doses: int | None) -> None:
        self.name, self.doses = name, doses

    def start(self, rng: np.random.Generator, n: int) -> Array:
        return np.column_stack([rng.uniform(0.0, 2.0, (n, 2)), np.zeros(n)])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        after, change, hazard = self._month(state, self._dose(action))
        dies = rng.random(len(state)) < -np.expm1(-hazard)
        reward = np.where(dies, -60.0, change)
        return after, reward, dies | (after[:, 2] == self.length)

    def _dose(self, action: NDArray[Any]) -> Array:
        if self.doses is None:
            return np.clip(action, 0.0, 1.0)
        return action / (self.doses - 1.0)

    @staticmethod
    def _month(state: Array, dose: Array) -> tuple[Array, Array, Array]:
        """Next states, rewards of who lives, hazards of death."""
        toxicity, tumour, month = state.T
        worse = toxicity + 0.1 * tumour + 1.2 * (dose - 0.5)
        worse = np.maximum(worse, 0.0)
        grown = tumour + 0.15 * toxicity - 1.2 * (dose - 0.5)
        grown = np.where(tumour > 0.0, np.maximum(grown, 0.0), 0.0)
        reward = 5.0 * (worse - toxicity <= -0.5) - 5.0 * (worse - toxicity >= 0.5)
        reward += 5.0 * (grown - tumour <= -0.5) - 5.0 * (grown - tumour >= 0.5)
        reward = np.where(grown == 0.0, reward + 15.0 * (tumour > 0.0), reward)
        after = np.column_stack([worse, grown, month + 1.0])
        return after, reward, np.exp(-4.0 + worse + grown)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        if self.doses is None:
            return rng.uniform(0.0, 1.0, len(state))
        return rng.integers(self.doses, size=len(state))

    @cached_property
    def optimum(self) -> float:
        # Who lives goes the way that doses say: the best of 4,096 sequences of four.
        start = self.start(np.random.default_rng(0), 100)
        sequences = np.array(list(product(np.linspace(0.0, 1.0, 4), repeat=6)))
        n, k = len(start), len(sequences)
        state, alive, total = np.tile(start, (k, 1)), np.ones(n * k), np.zeros(n * k)
        for month, doses in enumerate(sequences.T):
            state, reward, hazard = self._month(state, np.repeat(doses, n))
            lives = alive * np.exp(-hazard)
            total += self.discount**month * (lives * reward - 60.0 * (alive - lives))
            alive = lives
        return float(total.reshape(k, n).max(axis=0).mean())


class Tutoring(Simulated):
    """Fifteen exercises on three topics, each of use only after the one before it.

    State: the three topics as a test sees them, fatigue, step. Actions: an exercise on
    a topic, or a break. The reward is what is learned, and a trait of the student that
    is never seen (standard deviation 1 a step).
    """

    name, discount = "tutoring", 0.95
    n_episodes, length, n_observed = 150, 15, 5

    def start(self, rng: np.random.Generator, n: int) -> Array:
        known = rng.uniform(0.0, 0.4, (n, 3)) * (1.0, 0.5, 0.2)
        zero = np.zeros((n, 2))
        # Behind what is seen: the trait, and what is truly known.
        seen = known + rng.normal(0.0, 0.05, (n, 3))
        return np.column_stack([seen, zero, rng.normal(size=n), known])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        tired, step, trait, known = state[:, 3], state[:, 4], state[:, 5], state[:, 6:]
        before = np.column_stack([np.ones(len(state)), known[:, :2]])
        studied = np.eye(4)[action.astype(int)][:, :3]
        gain = 0.4 * (1.0 - known) * before * (1.0 - tired)[:, None] * studied
        known = known + gain * rng.uniform(0.5, 1.5, len(state))[:, None]
        tired = np.where(action == 3, 0.4 * tired, np.minimum(tired + 0.15, 1.0))
        reward = 10.0 * (known - state[:, 6:]) @ (1.0, 1.5, 2.0) + trait
        seen = known + rng.normal(0.0, 0.05, known.shape)
        after = np.column_stack([seen, tired, step + 1.0, trait, known])
        return after, reward, after[:, 4] == self.length

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return explore(rng, state[:, :3].argmin(axis=1), 0.5, 4)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        seen, tired = state[:, :3].clip(0.0, 1.0), state[:, 3]
        before = np.column_stack([np.ones(len(state)), seen[:, :2]])
        gain = (1.0 - seen) * before * (2.5, 2.5, 2.0)
        return np.where(tired > 0.35, 3, gain.argmax(axis=1))


def admission() -> Finite:
    """Two queues of up to 9 and two kinds of jobs: refuse, or send to one of them.

    A refused job costs 1 or 4, each job that waits 0.2 a step, and everything 2 more.
    The second server is slow. The logger admits 9 of 10 and sends them anywhere.
    """
    size, served, price = 9, (0.45, 0.25), (1.0, 4.0)
    states = list(product(range(size + 1), range(size + 1), range(2)))
    index = {state: row for row, state in enumerate(states)}
    transition = np.zeros((len(states), 3, len(states)))
    reward = np.zeros((len(states), 3))
    for (first, second, kind), action in product(states, range(3)):
        row, queues = index[first, second, kind], [first, second]
        refused = action == 0 or queues[action - 1] == size
        if not refused:
            queues[action - 1] += 1
        reward[row, action] = -2.0 - price[kind] * refused - 0.2 * sum(queues)
        for done in product((0, 1), repeat=2):
            chance, left = 1.0, []
            for q, d, rate in zip(queues, done, served, strict=True):
                chance *= rate if d else 1.0 - rate
                left.append(max(q - d, 0))
            for following, share in ((0, 0.6), (1, 0.4)):
                transition[row, action, index[*left, following]] += chance * share
    start = np.array([float(s[:2] == (0, 0)) for s in states])
    mdp = FiniteMDP(transition, reward, start / start.sum())
    logger = np.tile([0.1, 0.45, 0.45], (len(states), 1))
    codes = np.array(states, dtype=float)
    return Finite("admission to queues", 0.98, mdp, codes, logger, 4_000, 100)


class Anticoagulant(Simulated):
    """A weekly dose, right within a fifth for its patient; logged doses are skewed.

    State: age, weight, genotype, another drug. Reward: minus the squared log ratio to
    the right dose, and noise. The logger knows the patient by half.
    """

    name, discount, n_episodes = "anticoagulant doses", 0.0, 2_000

    def start(self, rng: np.random.Generator, n: int) -> Array:
        age, weight = rng.normal(65.0, 12.0, n), rng.normal(80.0, 16.0, n)
        genotype, drug = rng.binomial(2, 0.35, n), rng.random(n) < 0.2
        return np.column_stack([age, weight, genotype, drug])

    @staticmethod
    def right(state: Array) -> Array:
        """Right dose of each patient."""
        age, weight, genotype, drug = state.T
        log = 3.5 - 0.015 * (age - 65.0) + 0.01 * (weight - 80.0)
        return np.exp(log - 0.5 * genotype - 0.4 * drug)

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        ratio = np.log(np.maximum(action, 0.1) / self.right(state))
        reward = -(ratio**2) + rng.normal(0.0, 0.2, len(state))
        return state, reward, np.ones(len(state), dtype=bool)

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        noise = rng.normal(0.0, 0.6, len(state))
        return np.exp(0.5 * np.log(self.right(state)) + 0.5 * 3.5 + noise)

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return self.right(state)


class Recommender(Simulated):
    """Sessions in which one of twenty items is shown after the other.

    State: three tastes of the user, -1 or 1, and the kind of the last item, as four
    columns. A click is worth 1; an item of the same kind again bores. One in five users
    leaves after each item. Six items are never shown to users whose first taste is 1:
    there each is a complaint, -2.
    """

    name, discount = "recommender", 0.9
    n_episodes, length, n_items, n_kinds = 800, 30, 20, 4
    _rng = np.random.default_rng(20)
    items = _rng.normal(size=(3, n_items))
    kind = np.arange(n_items) % n_kinds
    barred = np.arange(n_items) >= n_items - 6

    def start(self, rng: np.random.Generator, n: int) -> Array:
        tastes = 2.0 * rng.integers(2, size=(n, 3)) - 1.0
        return np.column_stack([tastes, np.zeros((n, self.n_kinds))])

    def step(
        self, rng: np.random.Generator, state: Array, action: NDArray[Any]
    ) -> Outcome:
        rows, action = np.arange(len(state)), action.astype(int)
        clicks = rng.random(len(state)) < self._chance(state)[rows, action]
        complains = ~self.allowed(state)[rows, action]
        last = np.eye(self.n_kinds)[self.kind[action]]
        after = np.column_stack([state[:, :3], last])
        leaves = rng.random(len(state)) < 0.2
        return after, np.where(complains, -2.0, 1.0 * clicks), leaves

    def _chance(self, state: Array) -> Array:
        logit = state[:, :3] @ self.items - 1.0 - 1.5 * state[:, 3 + self.kind]
        return 1.0 / (1.0 + np.exp(-logit))

    def allowed(self, states: Array, seed: int = 0) -> NDArray[np.bool_]:
        return ~(self.barred & (states[:, :1] > 0.0))

    def behave(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return draw(rng, self.allowed(state) * (0.1 + self._chance(state)))

    def best(self, state: Array, rng: np.random.Generator) -> NDArray[Any]:
        return np.where(self.allowed(state), self._chance(state), -1.0).argmax(axis=1)


EVALUATE: tuple[Problem, ...] = (
    MountainCar(),
    stock_keeping(),
    sepsis(),
    Chemotherapy("chemotherapy, eleven doses", 11),
    Chemotherapy("chemotherapy, any dose", None),
    Tutoring(),
    admission(),
    Anticoagulant(),
    Recommender(),
)
