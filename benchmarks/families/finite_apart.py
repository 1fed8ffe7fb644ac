"""Finite processes that no kernel was chosen by: some smooth, some that break off.

By the last two nothing was chosen, of fits or of evaluators.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.stats import binom, poisson

from benchmarks.families.problem import Finite
from benchmarks.families.queues import Process


def cliff(length: int = 10, width: int = 5) -> Finite:
    """A slippery path along a cliff: who falls is back at the start, and pays."""
    process = Process(list(product(range(length), range(width))), 4)
    moves, goal = ((1, 0), (-1, 0), (0, 1), (0, -1)), (length - 1, 0)
    for state, action in product(process.states, range(4)):
        row = process.index[state]
        process.reward[row, action] = -1.0
        if state == goal:
            process.reward[row, action] = 30.0
            process.add(state, action, (0, 0), 1.0)
            continue
        for way in range(4):
            chance = 0.04 + 0.84 * (way == action)
            x, y = (
                int(np.clip(place + step, 0, most - 1))
                for place, step, most in zip(
                    state, moves[way], (length, width), strict=True
                )
            )
            if y == 0 and 0 < x < length - 1:
                process.reward[row, action] -= 8.0 * chance
                x, y = 0, 0
            process.add(state, action, (x, y), chance)
    return process.made("cliff", 2, [0.4, 0.15, 0.25, 0.2], 3_000, 60)


def storage() -> Finite:
    """A store of up to 10 units, bought and sold at prices of the hour and the day."""
    size, hours = 10, 8
    process = Process(list(product(range(size + 1), range(hours), range(3))), 3)
    for state, action in product(process.states, range(3)):
        held, hour, level = state
        price = (1.0 + 0.6 * np.sin(2.0 * np.pi * hour / hours)) * (0.6 + 0.4 * level)
        moved = min(2, held) if action == 0 else -min(2, size - held) * (action == 2)
        paid = price * moved * (0.95 if moved > 0 else 1.05) - 0.02 * held
        process.reward[process.index[state], action] = paid
        for after, chance in enumerate(
            ([0.7, 0.3, 0], [0.2, 0.6, 0.2], [0, 0.3, 0.7])[level]
        ):
            left = held - moved, (hour + 1) % hours, after
            process.add(state, action, left, chance)
    return process.made("storage", 2, [0.3, 0.4, 0.3], 4_000, 60)


def perishable() -> Finite:
    """Fresh and old units of up to 6 each, of which what is old is sold or lost."""
    size = 6
    process = Process(list(product(range(size + 1), repeat=2)), 5)
    for state, order in product(process.states, range(5)):
        fresh, old = state
        row = process.index[state]
        number = np.arange(fresh + old + 1)
        demand = poisson.pmf(number, 3.0)
        demand[-1] += 1.0 - demand.sum()
        for asked, chance in zip(number, demand, strict=True):
            sold_old = min(old, int(asked))
            kept = fresh - (int(asked) - sold_old)
            process.reward[row, order] += chance * (
                4.0 * asked - 2.0 * (old - sold_old)
            )
            process.add(state, order, (min(size, order), kept), chance)
        process.reward[row, order] -= 1.5 * order + 0.5 * (order > 0)
    return process.made("perishable", 2, [0.3, 0.2, 0.2, 0.2, 0.1], 2_000, 50)


def wards() -> Finite:
    """Two wards of up to 8 beds: whom a patient is given to, or turned away."""
    beds, leaves, worth = 8, (0.15, 0.25), (1.0, 2.5)
    process = Process(list(product(range(beds + 1), range(beds + 1), range(2))), 3)
    for state, action in product(process.states, range(3)):
        *taken, severe = state
        full = action > 0 and taken[action - 1] == beds
        given = action > 0 and not full
        # The second ward is for severe patients, and spent on the others.
        good = worth[severe] * (1.0 if action == 1 + severe else 0.5)
        process.reward[process.index[state], action] = good * given - 2.0 * full
        if given:
            taken[action - 1] += 1
        lefts = [
            binom.pmf(np.arange(n + 1), n, p)
            for n, p in zip(taken, leaves, strict=True)
        ]
        for (one, p), (two, q) in product(*map(enumerate, lefts)):
            for following, chance in enumerate((0.65, 0.35)):
                after = taken[0] - one, taken[1] - two, following
                process.add(state, action, after, p * q * chance)
    return process.made("wards", 2, [0.2, 0.4, 0.4], 3_000, 60)


def reservoir() -> Finite:
    """Water of up to 15 units in four seasons, wet or dry, and how much is let out."""
    size, wet = 15, (0.8, 0.5, 0.2, 0.5)
    process = Process(list(product(range(size + 1), range(4), range(2))), 4)
    for state, out in product(process.states, range(4)):
        level, season, rains = state
        let = min(out, level)
        comes = poisson.pmf(np.arange(6), 2.2 if rains else 0.7)
        comes[-1] += 1.0 - comes.sum()
        row = process.index[state]
        process.reward[row, out] = 2.0 * np.sqrt(let) - 1.0 * (out > level)
        for more, chance in enumerate(comes):
            left = level - let + more
            process.reward[row, out] -= 3.0 * chance * max(0, left - size)
            for after, turn in ((season, 0.75), ((season + 1) % 4, 0.25)):
                for dry, p in enumerate((1.0 - wet[after], wet[after])):
                    to = min(size, left), after, dry
                    process.add(state, out, to, chance * turn * p)
    return process.made("reservoir", 1, [0.4, 0.3, 0.2, 0.1], 3_000, 60)


def fleet(n_zones: int = 6) -> Finite:
    """A van in one of six zones goes to another, and may find a fare there."""
    process = Process(list(product(range(n_zones), repeat=2)), n_zones)
    comes = np.array([0.3, 0.1, 0.2, 0.05, 0.25, 0.1])
    order = (0, 3, 1, 5, 2, 4)  # the names of zones say little of where they are
    for state, action in product(process.states, range(n_zones)):
        at, fare = state
        far = abs(order[at] - order[action])
        row = process.index[state]
        process.reward[row, action] = -0.4 * far + 3.0 * (action == fare)
        for following, chance in enumerate(comes):
            process.add(state, action, (action, following), 0.7 * chance)
            process.add(state, action, (action, fare), 0.3 * chance)
    return process.made("fleet", 1, [0.3, 0.1, 0.1, 0.1, 0.3, 0.1], 2_500, 40)


UNSEEN = (reservoir, fleet)
FINITE_APART = (cliff, storage, perishable, wards)
