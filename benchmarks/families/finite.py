"""Finite processes to choose by: some with similar states, some whose codes say little.

Exact values, so that a setting is tried in a second.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import poisson

from benchmarks.families.problem import Array, Finite
from sklearn_stackelberg.datasets import FiniteMDP

_N_SERVICES = 3


def maintenance() -> Finite:
    """A machine of 20 ages and three loads: run it, service it or replace it."""
    n_ages, chance = 20, np.array([[0.7, 0.3, 0.0], [0.2, 0.6, 0.2], [0.0, 0.3, 0.7]])
    codes = np.array(list(product(range(n_ages), range(3))), dtype=float)
    transition = np.zeros((n_ages, 3, _N_SERVICES, n_ages, 3))
    reward = np.zeros((n_ages, 3, _N_SERVICES))
    for age, load in product(range(n_ages), range(3)):
        left = (age, max(0, age - 5), 0)
        for action, (now, price) in enumerate(zip(left, (0.0, 3.0, 10.0), strict=True)):
            fails = min(0.9, 0.01 * (1 + load) * 1.17**now)
            works = 1.0 - fails
            earned = 2.0 * (load + 1) * works - 25.0 * fails
            reward[age, load, action] = earned - price - 0.1 * now
            row = transition[age, load, action]
            row[min(n_ages - 1, now + 1)] += works * chance[load]
            row[0] += fails * chance[load]
    usual = np.where(codes[:, 0] >= 14, 2, 0)
    return _process("maintenance", 0.95, codes, transition, reward, usual, 0.7, noise=2)


def pricing() -> Finite:
    """Up to 12 seats to be sold in ten days at one of five prices."""
    n_days, prices = 10, np.arange(1.0, 6.0)
    codes = np.array(list(product(range(13), range(1, n_days + 1))), dtype=float)
    place = {tuple(code): i for i, code in enumerate(codes.astype(int))}
    transition = np.zeros((len(codes), len(prices), len(codes)))
    reward = np.zeros((len(codes), len(prices)))
    start = ((codes[:, 1] == n_days) & (codes[:, 0] >= 6)).astype(float)
    start /= start.sum()
    for (seats, days), i in place.items():
        for action, price in enumerate(prices):
            sold = np.arange(seats + 1)
            chance = poisson.pmf(sold, 4.0 * np.exp(-0.45 * (price - 1.0)))
            chance[-1] += 1.0 - chance.sum()
            reward[i, action] = price * (chance @ sold)
            if days == 1:
                transition[i, action] = start
                continue
            for number, p in zip(sold, chance, strict=True):
                transition[i, action, place[seats - number, days - 1]] += p
    usual = np.ones(len(codes), dtype=int)
    return _process(
        "pricing", 0.95, codes, transition, reward, usual, 0.6, start, horizon=30
    )


def service_speed() -> Finite:
    """A queue of up to 25, arrivals slow or fast, served at one of four speeds."""
    longest, arrivals = 25, (0.3, 0.75)
    served, prices = (0.2, 0.45, 0.7, 0.95), (0.0, 0.6, 1.6, 3.4)
    phase = np.array([[0.9, 0.1], [0.2, 0.8]])
    codes = np.array(list(product(range(longest + 1), range(2))), dtype=float)
    transition = np.zeros((longest + 1, 2, 4, longest + 1, 2))
    reward = np.zeros((longest + 1, 2, 4))
    for queue, fast, action in product(range(longest + 1), range(2), range(4)):
        costs = 0.15 * queue + prices[action] + 5.0 * (queue == longest)
        reward[queue, fast, action] = -costs
        for gone, come in product((0, 1), (0, 1)):
            p = served[action] if gone else 1.0 - served[action]
            p *= arrivals[fast] if come else 1.0 - arrivals[fast]
            after = min(longest, max(0, queue - gone) + come)
            transition[queue, fast, action, after] += p * phase[fast]
    usual = np.where(codes[:, 0] > 10, 3, 1)
    return _process("service speed", 0.97, codes, transition, reward, usual, 0.7)


def garnet(n_states: int = 60, n_actions: int = 4) -> Finite:
    """Three random states after each pair; the codes of the states say nothing."""
    rng = np.random.default_rng(0)
    transition = np.zeros((n_states, n_actions, n_states))
    for state, action in product(range(n_states), range(n_actions)):
        after = rng.choice(n_states, 3, replace=False)
        transition[state, action, after] = rng.dirichlet(np.ones(3))
    reward = rng.normal(size=(n_states, n_actions))
    mdp = FiniteMDP(transition, reward, np.full(n_states, 1.0 / n_states))
    logger = 0.8 * rng.dirichlet(np.full(n_actions, 0.7), size=n_states)
    logger += 0.2 / n_actions
    codes = np.arange(float(n_states))[:, None]
    return Finite("random process", 0.9, mdp, codes, logger, 2_500, 50, noise=0.5)


def walls(width: int = 9) -> Finite:
    """A slippery grid, its halves parted by a wall with two gaps."""
    codes = np.array(list(product(range(width), repeat=2)), dtype=float)
    n_states, moves = len(codes), ((1, 0), (-1, 0), (0, 1), (0, -1))
    wall = {(width // 2, y) for y in range(width)} - {(width // 2, 1), (width // 2, 7)}

    def moved(state: int, move: tuple[int, int]) -> int:
        x, y = state // width + move[0], state % width + move[1]
        inside = 0 <= x < width and 0 <= y < width
        return x * width + y if inside and (x, y) not in wall else state

    transition = np.zeros((n_states, 4, n_states))
    for state, action, way in product(range(n_states), range(4), range(4)):
        chance = 0.05 + 0.8 * (action == way)
        transition[state, action, moved(state, moves[way])] += chance
    start = (codes[:, 0] < width // 2).astype(float)
    start /= start.sum()
    reward = np.full((n_states, 4), -1.0)
    transition[-1], reward[-1] = start, 10.0
    logger = np.tile([0.3, 0.2, 0.3, 0.2], (n_states, 1))
    mdp = FiniteMDP(transition, reward, start)
    return Finite("grid with a wall", 0.97, mdp, codes, logger, 3_000, 60)


def severity() -> Finite:
    """Patients of three scores of five levels, and six doses with side effects."""
    top, n_doses = 4, 6
    codes = np.array(list(product(range(top + 1), repeat=3)), dtype=float)
    place = {tuple(code): i for i, code in enumerate(codes.astype(int))}
    transition = np.zeros((len(codes), n_doses, len(codes)))
    burden = (codes[:, 0] + codes[:, 1] + 1.5 * codes[:, 2]) / 5.0
    reward = -burden[:, None] - 0.05 * np.arange(n_doses)
    for (first, second, third), i in place.items():
        for dose in range(n_doses):
            gap = abs(dose - 5.0 / 6.0 * (first + 0.5 * second))
            worse = 0.6 * np.clip(0.25 + 0.12 * gap, 0.02, 0.9)
            better = np.clip(0.45 - 0.12 * gap, 0.02, 1.0 - worse)
            harmed = 0.08 * dose
            steps = [
                {1: worse, -1: better, 0: 1.0 - worse - better},
                {1: 0.2, -1: 0.2, 0: 0.6},
                {1: harmed, -1: 0.4 * (1.0 - harmed), 0: 0.6 * (1.0 - harmed)},
            ]
            for moves in product(*steps):
                after = np.clip(np.add((first, second, third), moves), 0, top)
                p = np.prod([s[m] for s, m in zip(steps, moves, strict=True)])
                transition[i, dose, place[tuple(after)]] += p
    usual = codes[:, 0].astype(int)
    return _process(
        "severity", 0.95, codes, transition, reward, usual, 0.6, horizon=25, noise=0.5
    )


def _process(
    name: str,
    discount: float,
    codes: Array,
    transition: Array,
    reward: Array,
    usual: NDArray[Any],
    share: float,
    start: Array | None = None,
    *,
    horizon: int = 50,
    noise: float = 1.0,
) -> Finite:
    """Logged by whoever does what is usual in that share, and else anything."""
    n_states, n_actions = len(codes), reward.shape[-1]
    mdp = FiniteMDP(
        transition.reshape(n_states, n_actions, n_states),
        reward.reshape(n_states, n_actions),
        np.full(n_states, 1.0 / n_states) if start is None else start,
    )
    logger = share * np.eye(n_actions)[usual] + (1.0 - share) / n_actions
    return Finite(name, discount, mdp, codes, logger, 2_000, horizon, noise=noise)


FINITE = (maintenance, pricing, service_speed, garnet, walls, severity)
