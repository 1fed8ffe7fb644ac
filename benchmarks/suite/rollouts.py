"""Returns of single episodes, and what may be found with so many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.families import Problem
from benchmarks.families.choose import Control
from benchmarks.families.environments import Environment
from benchmarks.families.problem import Finite, Simulated
from benchmarks.problems import ROLLOUT_SEED
from sklearn_stackelberg.datasets import rollout_returns

Floats = NDArray[np.float64]

# Of UCB1, in standard deviations of all returns that were seen.
EXPLORE = 1.0


def has_episodes(problem: Problem) -> bool:
    """Whether single episodes of it can be had; of glucose only the mean of days."""
    return isinstance(problem, Control | Environment | Finite | Simulated)


def episode_returns(problem: Problem, policy: Any, n: int, seed: int) -> Floats:
    """Returns of n episodes, other ones than those of the true value."""
    if isinstance(problem, Control | Environment):
        env = (
            problem.env if isinstance(problem, Environment) else problem.problem.env_id
        )
        return np.asarray(rollout_returns(env, policy, n, 2 * ROLLOUT_SEED + seed))
    if isinstance(problem, Finite):
        return _of_finite(problem, policy, n, seed)
    if isinstance(problem, Simulated):
        return _of_simulated(problem, policy, n, seed)
    raise ValueError(f"{problem.name} has no episodes that can be bought one by one.")


def _of_finite(problem: Finite, policy: Any, n: int, seed: int) -> Floats:
    table = np.eye(problem.mdp.n_actions)[np.asarray(policy.predict(problem.codes))]
    rng = np.random.default_rng([seed, 2])
    # A horizon's worth of rows an episode at the most.
    log = problem.mdp.sample(table, n * problem.horizon, rng, horizon=problem.horizon)
    noisy = log.reward + rng.normal(0.0, problem.noise, len(log))
    returns = np.bincount(log.episode, problem.discount**log.step * noisy)
    return returns[:n]


def _of_simulated(problem: Simulated, policy: Any, n: int, seed: int) -> Floats:
    def act(states: Floats, rng: np.random.Generator) -> NDArray[Any]:
        return np.asarray(policy.predict(states)).reshape(len(states))

    discount = (
        problem.discount if problem.value_discount is None else problem.value_discount
    )
    length = problem.value_length or problem.length
    total = np.zeros(n)
    for t, step in enumerate(problem._simulate(act, n, length, [seed, 2])):
        total += discount**t * step.reward * step.alive
    return total


def upper_confidence(
    returns: Floats, budgets: Sequence[int], rng: np.random.Generator
) -> list[int]:
    """Candidates that are chosen after so many roll-outs, bought by UCB1.

    Parameters
    ----------
    returns : ndarray of shape (n_candidates, n)
        What roll-outs are drawn from.
    budgets : sequence of int, increasing

    Returns
    -------
    list of int
        After each budget the candidate of the highest mean so far.
    """
    k, n = returns.shape
    pulls, sums = np.zeros(k), np.zeros(k)
    order, chosen, seen = rng.permutation(k), [], []
    for t in range(max(budgets)):
        if t < k:
            arm = int(order[t])
        else:
            # The scale of returns is unknown: as of what was seen so far.
            width = EXPLORE * np.std(seen) * np.sqrt(2.0 * np.log(t) / pulls)
            arm = int(np.argmax(sums / pulls + width))
        drawn = returns[arm, rng.integers(n)]
        pulls[arm] += 1
        sums[arm] += drawn
        seen.append(drawn)
        if t + 1 in budgets:
            means = np.where(pulls > 0, sums / np.maximum(pulls, 1), -np.inf)
            chosen.append(int(np.argmax(means)))
    return chosen
