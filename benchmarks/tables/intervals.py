"""Coverage of 95 % intervals, over fresh logs of fixed policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from benchmarks.problems import frozen_lake
from benchmarks.report import Clock, Rows, markdown
from sklearn_stackelberg import Transitions
from sklearn_stackelberg.datasets import log_episodes
from sklearn_stackelberg.metrics import (
    doubly_robust_value,
    fitted_q_value,
    importance_sampling_value,
)

N_LOGS = 200
TRUTH_EPISODES = 200_000
TRUTH = "truth"
METHODS: Mapping[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "fitted-Q": (fitted_q_value, {}),
    "doubly robust": (doubly_robust_value, {}),
    "doubly robust, importance": (doubly_robust_value, {"ratios": "importance"}),
    "importance sampling": (importance_sampling_value, {}),
}


class LakePolicy:
    """The optimal action with probability ``share``, else any."""

    classes_ = np.arange(4)

    def __init__(self, share: float, discount: float) -> None:
        best = np.eye(4)[frozen_lake("4x4").optimal_policy(discount)]
        self.table = share * best + (1.0 - share) / 4

    def predict_proba(self, states: NDArray[Any]) -> NDArray[Any]:
        """π(a | s), (k, 4)."""
        return self.table[np.asarray(states)[:, 0].astype(int)]


class Balance:
    """Pushes to the side that the pole leans to, more probably the more it leans."""

    classes_ = np.arange(2)

    def __init__(self, random: float, gain: float) -> None:
        self.random, self.gain = random, gain

    def predict_proba(self, states: NDArray[Any]) -> NDArray[Any]:
        """π(a | s), (k, 2)."""
        lean = np.asarray(states)[:, 2] + 0.2 * np.asarray(states)[:, 3]
        right = 1.0 / (1.0 + np.exp(-np.clip(self.gain * lean, -50, 50)))
        right = 0.5 * self.random + (1.0 - self.random) * right
        return np.stack([1.0 - right, right], axis=1)

    def behave(self, observation: Any, rng: np.random.Generator) -> tuple[int, float]:
        """An action and its propensity."""
        probabilities = self.predict_proba(np.asarray(observation, dtype=float)[None])[
            0
        ]
        action = int(rng.random() < probabilities[1])
        return action, float(probabilities[action])


class Softmax:
    """Chooses among three arms by two features of a context."""

    classes_ = np.arange(3)

    def predict_proba(self, states: NDArray[Any]) -> NDArray[Any]:
        """π(a | s), (k, 3)."""
        states = np.asarray(states)
        scores = 1.5 * np.stack([states[:, 0], states[:, 1], -states[:, 0]], axis=1)
        mass = np.exp(scores - scores.max(axis=1, keepdims=True))
        return mass / mass.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Problem:
    """A policy that is evaluated, logs to evaluate it on, and its true value.

    Parameters
    ----------
    name, about : str
    discount : float
    policy : object with ``predict_proba``
    log : callable
        ``log(seed)``.
    truth : callable
        Gives the value and its own standard error.
    """

    name: str
    about: str
    discount: float
    policy: Any
    log: Callable[[int], Transitions]
    truth: Callable[[], tuple[float, float]]


def problems() -> tuple[Problem, ...]:
    """FrozenLake, CartPole twice, and a contextual bandit."""
    lake, balance, steady = LakePolicy(0.7, 0.95), Balance(0.6, 3.0), Balance(0.3, 10.0)
    return (
        Problem(
            "FrozenLake 4x4",
            "3,000 rows; logger 40 % optimal, else uniform; policy 70 % optimal",
            0.95,
            lake,
            _lake_log,
            lambda: (frozen_lake("4x4").policy_value(lake.table, 0.95), 0.0),
        ),
        Problem(
            "CartPole",
            "3,000 rows; logger uniform; policy leans to balance, 60 % uniform",
            0.95,
            balance,
            partial(_cart_log, Balance(1.0, 0.0)),
            partial(_cart_truth, balance, 0.95),
        ),
        Problem(
            "CartPole, steadier",
            "3,000 rows; logger balances, 80 % uniform; policy 30 % uniform",
            0.95,
            steady,
            partial(_cart_log, Balance(0.8, 10.0)),
            partial(_cart_truth, steady, 0.95),
        ),
        Problem(
            "bandit",
            "2,000 rows, two features, three arms; logger half uniform",
            0.0,
            Softmax(),
            _bandit_log,
            _bandit_truth,
        ),
    )


def _lake_log(seed: int) -> Transitions:
    logger = LakePolicy(0.4, 0.95).table
    return frozen_lake("4x4").sample(logger, 3_000, [seed, 1], horizon=100)


def _cart_log(logger: Balance, seed: int) -> Transitions:
    return log_episodes(
        _cartpole(), logger.behave, 3_000, np.random.default_rng([seed, 2]), horizon=100
    )


@cache
def _cartpole() -> gym.Env:
    return gym.make("CartPole-v1")


def _cart_truth(policy: Balance, discount: float) -> tuple[float, float]:
    """Mean discounted return of many episodes, until γ^t is below 1e-6."""
    rng, at_once = np.random.default_rng(0), 2_000
    steps = int(np.ceil(np.log(1e-6) / np.log(discount)))
    env = gym.make_vec("CartPole-v1", at_once, vectorization_mode="vector_entry_point")
    returns = []
    for _ in range(TRUTH_EPISODES // at_once):
        states, _ = env.reset(seed=int(rng.integers(2**31)))
        total, going = np.zeros(at_once), np.ones(at_once)
        for step in range(steps):
            right = policy.predict_proba(states)[:, 1]
            action = (rng.random(at_once) < right).astype(int)
            states, reward, ended, _, _ = env.step(action)
            total += discount**step * going * reward
            going *= 1.0 - ended
        returns.append(total)
    env.close()
    every = np.concatenate(returns)
    return float(every.mean()), float(every.std() / np.sqrt(len(every)))


def _arms(states: NDArray[Any]) -> NDArray[Any]:
    """Mean rewards, (k, 3)."""
    x, y = states.T
    return np.stack([np.sin(2.0 * x), np.cos(2.0 * y), 0.5 * x * y], axis=1)


def _bandit_log(seed: int) -> Transitions:
    rng, n = np.random.default_rng([seed, 3]), 2_000
    states = rng.normal(size=(n, 2))
    logger = 0.5 * Softmax().predict_proba(states[:, ::-1]) + 0.5 / 3
    action = (logger.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, 2)
    each = np.arange(n)
    return Transitions(
        states,
        action,
        _arms(states)[each, action] + rng.normal(size=n) / 2,
        states,
        np.ones(n),
        is_initial=np.ones(n),
        propensity=logger[each, action],
    )


def _bandit_truth() -> tuple[float, float]:
    """By quadrature over the normal contexts."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(80)
    states = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    mass = np.outer(mass, mass).ravel() / mass.sum() ** 2
    value = (Softmax().predict_proba(states) * _arms(states)).sum(axis=1)
    return float(mass @ value), 0.0


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Every method on every log; returns the table. There are no peers."""
    for problem in problems() if side != "peers" else ():
        key = {"problem": problem.name, "seed": 0, "method": TRUTH, "setting": {}}
        rows.once(key, partial(_truth, problem))
        for seed in range(seeds or N_LOGS):
            for method in METHODS:
                key = {"problem": problem.name, "seed": seed, "method": method}
                rows.once(
                    key | {"setting": {}}, partial(_evaluate, problem, seed, method)
                )
    return table(rows)


def _truth(problem: Problem) -> dict[str, float]:
    value, error = problem.truth()
    return {"score": value, "standard_error": error}


def _evaluate(problem: Problem, seed: int, method: str) -> dict[str, Any]:
    metric, settings = METHODS[method]
    log = problem.log(seed)
    with Clock() as clock:
        found = metric(problem.policy, log, discount=problem.discount, **settings)
    low, high = found.confidence_interval
    return {
        "score": found.value,
        "standard_error": found.standard_error,
        "low": low,
        "high": high,
        "effective_sample_size": found.effective_sample_size,
        "n_episodes": found.n_episodes,
        **clock.row(),
    }


def table(rows: Rows) -> str:
    """Coverage, bias, spread and standard error."""
    by = {}
    for row in rows:
        by.setdefault((row["problem"], row["method"]), []).append(row)
    lines, about = [], []
    for problem in problems():
        if (problem.name, TRUTH) not in by:
            continue
        (known,) = by[problem.name, TRUTH]
        truth = known["score"]
        about.append(
            f"- {problem.name}: {problem.about}; discount {problem.discount:g}; true "
            f"value {truth:.4f} (± {known['standard_error']:.4f})."
        )
        for method in METHODS:
            found = by.get((problem.name, method), [])
            if not found:
                continue
            value, error, low, high, seconds = (
                np.array([row[name] for row in found])
                for name in ("score", "standard_error", "low", "high", "cpu_seconds")
            )
            inside = (low <= truth) & (truth <= high)
            lines.append(
                [
                    problem.name,
                    method,
                    f"{inside.mean():.3f}",
                    f"{value.mean() - truth:+.4f}",
                    f"{value.std():.4f}",
                    f"{error.mean():.4f}",
                    len(found),
                    f"{np.median(seconds):.2f}",
                ]
            )
    headings = ["problem", "method", "intervals that hold the true value", "bias"]
    headings += ["spread of the values", "mean standard error", "logs", "s each"]
    return "\n".join(about) + "\n\n" + markdown(headings, lines)
