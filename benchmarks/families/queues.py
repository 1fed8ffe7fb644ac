"""Queues and repairs to choose by: finite, values that are smooth in the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.stats import binom, poisson

from benchmarks.families.problem import Array, Finite
from sklearn_stackelberg.datasets import FiniteMDP

State = tuple[int, ...]


class Process:
    """Transitions and rewards by states' names, filled one by one."""

    def __init__(self, states: Sequence[State], n_actions: int) -> None:
        self.states = list(states)
        self.index = {state: row for row, state in enumerate(self.states)}
        n = len(self.states)
        self.transition = np.zeros((n, n_actions, n))
        self.reward = np.zeros((n, n_actions))

    def add(self, state: State, action: int, after: State, chance: float) -> None:
        self.transition[self.index[state], action, self.index[after]] += chance

    def made(
        self, name: str, starts: int, logger: Sequence[float], rows: int, horizon: int
    ) -> Finite:
        """Begins where the first numbers are 0; the logger is blind to the state."""
        start = np.array([float(not any(s[:starts])) for s in self.states])
        mdp = FiniteMDP(self.transition, self.reward, start / start.sum())
        codes: Array = np.array(self.states, dtype=float)
        table = np.tile(logger, (len(self.states), 1))
        return Finite(name, 0.97, mdp, codes, table, rows, horizon)


def polling() -> Finite:
    """One server of three queues of up to 5, which it takes time to change between."""
    size, comes, costs = 5, (0.25, 0.15, 0.1), np.array([0.2, 0.4, 1.0])
    process = Process(list(product(*[range(size + 1)] * 3, range(3))), 3)
    for state, action in product(process.states, range(3)):
        *queues, at = state
        row = process.index[state]
        process.reward[row, action] = -costs @ queues - 0.3 * (action != at)
        serves = 0.9 if action == at else 0.5
        for served, arrivals in product((0, 1), product((0, 1), repeat=3)):
            chance, after = (serves if served else 1.0 - serves), list(queues)
            after[action] = max(0, after[action] - served)
            for k, (came, p) in enumerate(zip(arrivals, comes, strict=True)):
                chance *= p if came else 1.0 - p
                after[k] = min(size, after[k] + came)
            process.add(state, action, (*after, action), chance)
    return process.made("polling", 3, [1 / 3] * 3, 5_000, 100)


def tandem() -> Finite:
    """Two stations of up to 9 jobs, one behind the other, each slow or fast."""
    size, rates = 9, ((0.35, 0.65), (0.3, 0.6))
    process = Process(list(product(range(size + 1), repeat=2)), 4)
    for state, action in product(process.states, range(4)):
        fast, (first, second) = divmod(action, 2), state
        costs = 0.2 * sum(state) + 0.5 * fast[0] + 0.8 * fast[1] + 3.0 * (first == size)
        process.reward[process.index[state], action] = -costs
        for done in product((0, 1), repeat=2):
            chance = 1.0
            for d, rate, speed in zip(done, rates, fast, strict=True):
                chance *= rate[speed] if d else 1.0 - rate[speed]
            ahead = max(0, second - done[1])
            moves = done[0] and first > 0 and ahead < size
            left = first - moves
            for came, p in ((0, 0.6), (1, 0.4)):
                after = min(size, left + came), ahead + moves
                process.add(state, action, after, chance * p)
    return process.made("tandem", 2, [0.25] * 4, 3_000, 75)


def repairs() -> Finite:
    """Up to 12 broken machines of 12, three seasons, and up to three kinds of help."""
    n, most, fixes = 12, 4, (0.0, 0.5, 0.9, 1.6)
    prices, breaks = (0.0, 0.4, 1.0, 2.5), (0.03, 0.06, 0.12)
    process = Process(list(product(range(n + 1), range(3))), 4)
    for state, action in product(process.states, range(4)):
        broken, season = state
        process.reward[process.index[state], action] = (
            0.5 * (n - broken) - prices[action] - 2.0 * (broken > 8)
        )
        number = np.arange(most + 1)
        fixed = poisson.pmf(number, fixes[action])
        fixed[-1] += 1.0 - fixed.sum()
        more = binom.pmf(np.arange(n - broken + 1), n - broken, breaks[season])
        for (f, p), (m, q) in product(enumerate(fixed), enumerate(more)):
            left = min(n, max(0, broken - f) + m)
            process.add(state, action, (left, season), 0.8 * p * q)
            process.add(state, action, (left, (season + 1) % 3), 0.2 * p * q)
    return process.made("repairs", 2, [0.4, 0.3, 0.2, 0.1], 3_000, 60)


def overflow() -> Finite:
    """A fast and a slow server of up to 7 jobs, which are worth more or less."""
    size, rates, worth = 7, (0.5, 0.2), (0.5, 1.5, 5.0)
    process = Process(list(product(range(size + 1), range(size + 1), range(3))), 3)
    for state, action in product(process.states, range(3)):
        *queues, kind = state
        taken = action > 0 and queues[action - 1] < size
        if taken:
            queues[action - 1] += 1
        process.reward[process.index[state], action] = worth[kind] * taken - 0.15 * sum(
            queues
        )
        for done in product((0, 1), repeat=2):
            chance, left = 1.0, []
            for queue, d, rate in zip(queues, done, rates, strict=True):
                chance *= rate if d else 1.0 - rate
                left.append(max(queue - d, 0))
            for following, p in enumerate((0.5, 0.3, 0.2)):
                process.add(state, action, (*left, following), chance * p)
    return process.made("overflow", 2, [0.2, 0.4, 0.4], 4_000, 100)


QUEUES = (polling, tandem, repairs, overflow)
