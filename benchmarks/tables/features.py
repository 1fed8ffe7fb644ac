"""Features: many columns, large columns, and columns of noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import as_floats
from benchmarks.problems import CARTPOLE_DEFAULT, CONTROL, ControlProblem
from benchmarks.report import Clock, Rows, markdown, setting_text
from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions

Array = NDArray[np.float64]

# One hyperparameter is changed at a time; the first two are what there was before.
OLD = {"kernel": "rbf", "bandwidth": "median", "linear_terms": False}
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    OLD,
    {"bandwidth": "median"},
    {"linear_terms": False},
)
N_NOISE = (0, 4, 16)
N_LOGS = 3
STATIONARY = ("rbf", "laplacian")


@dataclass(frozen=True)
class LinearProblem:
    """Rewards linear in half of the columns; the others are noise.

    Half of the columns follow the action, all of them remember four fifths of where
    they were; three actions, taken at random, in episodes of thirty steps.
    """

    n_transitions: int = 150_000
    name: str = "linear, 30 columns"
    n_columns: int = 30
    n_actions: int = 3
    horizon: int = 30
    discount: float = 0.9

    def _effects(self) -> tuple[Array, Array]:
        """Of the columns on the reward, and of an action on them, (A, d) each."""
        rng, half = np.random.default_rng([0, 7]), self.n_columns // 2
        reward = np.zeros((self.n_actions, self.n_columns))
        push = np.zeros_like(reward)
        reward[:, :half] = 0.1 * rng.normal(size=(self.n_actions, half))
        reward[:, :half] += rng.normal(size=half)
        push[:, :half] = 0.05 * rng.normal(size=(self.n_actions, half))
        return reward, push

    def step(
        self, state: Array, action: NDArray[Any], rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Mean rewards, and next states."""
        reward, push = self._effects()
        noise = 0.6 * rng.normal(size=state.shape)
        paid = (state * reward[action]).sum(axis=1)
        return paid, 0.8 * state + push[action] + noise

    def log(self, seed: int) -> Transitions:
        """Log ``n_transitions`` rows."""
        rng, n = np.random.default_rng([seed, 1]), self.n_transitions // self.horizon
        state, steps = rng.normal(size=(n, self.n_columns)), []
        for _ in range(self.horizon):
            action = rng.integers(self.n_actions, size=n)
            paid, after = self.step(state, action, rng)
            steps.append((state, action, paid + 3.0 * rng.normal(size=n), after))
            state = after
        columns = (np.stack(part, axis=1) for part in zip(*steps, strict=True))
        rows = n * self.horizon
        flat = [part.reshape(rows, *part.shape[2:]) for part in columns]
        episode, step = np.divmod(np.arange(rows), self.horizon)
        return Transitions(*flat, np.zeros(rows, bool), episode=episode, step=step)

    def value(self, policy: Any, n: int = 4_000, n_steps: int = 60) -> float:
        """Mean discounted return of simulated episodes."""
        rng = np.random.default_rng(5)
        state, total = rng.normal(size=(n, self.n_columns)), 0.0
        for t in range(n_steps):
            paid, state = self.step(state, policy.predict(state), rng)
            total += self.discount**t * float(paid.mean())
        return total


class RidgeFQI:
    """Fitted Q iteration by ridge regression on standardised columns and a one."""

    def __init__(self, log: Transitions, discount: float, ridge: float = 1e-3) -> None:
        state = as_floats(log.state)
        self.center, self.scale = state.mean(axis=0), state.std(axis=0)
        own, after = self._inputs(state), self._inputs(as_floats(log.next_state))
        n_actions = int(log.action.max()) + 1
        rows = [np.flatnonzero(log.action == a) for a in range(n_actions)]
        eye = np.eye(own.shape[1])
        solve = [
            np.linalg.solve(own[i].T @ own[i] + ridge * len(i) * eye, own[i].T)
            for i in rows
        ]
        self.weight = np.zeros((own.shape[1], n_actions))
        for _ in range(100):
            target = log.reward + discount * (after @ self.weight).max(axis=1)
            pairs = zip(solve, rows, strict=True)
            self.weight = np.stack([s @ target[i] for s, i in pairs], axis=1)

    def predict(self, states: Array) -> NDArray[Any]:
        """The action of each state."""
        return (self._inputs(states) @ self.weight).argmax(axis=1)

    def _inputs(self, states: Array) -> Array:
        ones = np.ones((len(states), 1))
        return np.hstack([ones, (states - self.center) / self.scale])


@dataclass(frozen=True)
class NoisyProblem:
    """A control problem with so many columns of standard normal noise."""

    problem: ControlProblem
    n_noise: int

    @property
    def name(self) -> str:
        return f"{self.problem.name}, {self.n_noise} of noise"

    def log(self, seed: int) -> Transitions:
        """The problem's log; a state that is a next state as well has one noise."""
        log, rng = self.problem.log(seed), np.random.default_rng([seed, self.n_noise])
        state, after = as_floats(log.state), as_floats(log.next_state)
        noise, later = rng.normal(size=(2, len(log), self.n_noise))
        same = np.flatnonzero((after[:-1] == state[1:]).all(axis=1))
        later[same] = noise[same + 1]
        fields = ("is_initial", "episode", "step")
        return Transitions(
            np.hstack([state, noise]),
            log.action,
            log.reward,
            np.hstack([after, later]),
            log.terminated,
            **{name: getattr(log, name) for name in fields},
        )

    def returns(self, policy: Any) -> float:
        """Mean return of a hundred episodes."""
        return float(self.problem.returns(_WithNoise(policy, self.n_noise)).mean())


class _WithNoise:
    def __init__(self, policy: Any, n_noise: int) -> None:
        self._policy, self._n_noise = policy, n_noise
        self._rng = np.random.default_rng(77)

    def predict(self, states: Any) -> NDArray[Any]:
        """The policy's action, with noise behind each state."""
        states = as_floats(states)
        noise = self._rng.normal(size=(len(states), self._n_noise))
        return self._policy.predict(np.hstack([states, noise]))


LINEAR = LinearProblem()
# The first was used to choose, together with the linear one; the others were not.
NOISY = tuple(
    NoisyProblem(problem, n)
    for problem in (
        CARTPOLE_DEFAULT,
        CONTROL[0],
        replace(CONTROL[2], name="Acrobot medium, 5,000", n_transitions=5_000),
    )
    for n in N_NOISE
)


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """All three parts; ``side`` is without effect, as the peer is a reference."""
    log = LINEAR.log(0)
    key = {"problem": LINEAR.name, "seed": 0}
    peer = key | {"method": "FQI ridge", "setting": {}}
    rows.once(peer, partial(_linear, lambda: RidgeFQI(log, LINEAR.discount)))
    pair = {"q_function": "linear", "policy": "linear"}
    for setting in (*SETTINGS, pair):
        fit = partial(_fit, log, 0, setting, discount=LINEAR.discount)
        ours = key | {"method": "ours", "setting": setting}
        rows.once(ours, partial(_linear, fit))
    for kernel in STATIONARY:
        setting = {"kernel": kernel}
        key = {"problem": "large columns", "seed": 0, "method": "ours"}
        rows.once(key | {"setting": setting}, partial(_large, setting))
    for seed in range(seeds or N_LOGS):
        for problem in NOISY:
            log = problem.log(seed)
            key = {"problem": problem.name, "seed": seed, "method": "ours"}
            for setting in SETTINGS:
                compute = partial(_noise, problem, log, seed, setting)
                rows.once(key | {"setting": setting}, compute)
    return table(rows)


def _fit(
    log: Transitions, seed: int, setting: Mapping[str, Any], discount: float = 0.99
) -> Any:
    return StackelbergPolicyEstimator(
        discount=discount, random_state=seed, **setting
    ).fit(log)


def _linear(fit: Callable[[], Any]) -> dict[str, Any]:
    with Clock() as clock:
        policy = fit()
    return {"score": LINEAR.value(policy), **clock.row()}


def _large(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Least share of equal actions, where a column is moved or in another unit."""
    log = CARTPOLE_DEFAULT.log(0)
    # Multiples of a power of two, which the largest offset does not round.
    state, after = (
        np.round(2.0**20 * as_floats(s)) / 2.0**20 for s in (log.state, log.next_state)
    )
    cases = [(1.0, 0.0), (1.0, 1e9), (1e6, 0.0)]
    found, seconds = [], 0.0
    for unit, offset in cases:
        scale, move = np.array([unit, 1, 1, 1]), np.array([offset, 0, 0, 0])
        moved = log.with_states(state * scale + move, after * scale + move)
        with Clock() as clock:
            policy = _fit(moved, 0, setting)
        seconds += clock.cpu_seconds
        found.append(policy.predict(moved))
    score = min(float(np.mean(found[0] == other)) for other in found[1:])
    return {"score": score, "seconds": seconds, "cpu_seconds": seconds}


def _noise(
    problem: NoisyProblem, log: Transitions, seed: int, setting: Mapping[str, Any]
) -> dict[str, Any]:
    with Clock() as clock:
        policy = _fit(log, seed, setting)
    return {"score": problem.returns(policy), **clock.row()}


def table(rows: Rows) -> str:
    """Value against ridge FQI, equal actions, and returns with noise."""
    linear = [row for row in rows if row["problem"] == LINEAR.name]
    peer = max(row["score"] for row in linear if row["method"] == "FQI ridge")
    first = [
        [
            row["method"],
            setting_text(row["setting"]),
            f"{row['score']:.2f}",
            f"{row['score'] / peer:.3f}",
            f"{row['cpu_seconds']:.1f}",
        ]
        for row in linear
    ]
    second = [
        [row["setting"]["kernel"], f"{row['score']:.4f}"]
        for row in rows
        if row["problem"] == "large columns"
    ]
    third = []
    for problem in NOISY:
        cells = []
        for setting in SETTINGS:
            found = [
                row["score"]
                for row in rows
                if (row["problem"], row["setting"]) == (problem.name, setting)
            ]
            cells.append(f"{np.mean(found):.0f} ({min(found):.0f})" if found else "")
        third.append([problem.name, *cells])
    parts = (
        markdown(["method", "setting", "value", "of FQI's", "fit, s"], first),
        markdown(["kernel", "equal actions, column + 1e9 and × 1e6"], second),
        markdown(["log", *map(setting_text, SETTINGS)], third),
    )
    return "\n\n".join(parts)
