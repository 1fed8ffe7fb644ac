"""Features grown on the Bellman residual: a prototype, outside the package.

One forest is fitted to the residuals of a solution on (s, a), its prediction becomes a
feature that all actions share, and the problem is solved again. That is a round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics.pairwise import rbf_kernel

from benchmarks.peers import as_floats
from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
from sklearn_stackelberg.kernels import median_bandwidth

Array = NDArray[np.float64]

N_TREES, LEAF = 50, 10
GAME_LANDMARKS, LSPI_LANDMARKS = 300, 100
# Of a grown feature in the game's kernel, whose diagonal is 1 without it.
WEIGHT = 1.0
RIDGE = 1e-3  # per row, as that of `peers.fitted`


class Coded(NamedTuple):
    """A log as arrays, its labels as 0, 1, ...; `labels` is None for amounts."""

    log: Transitions
    labels: NDArray[Any] | None

    @classmethod
    def of(cls, log: Transitions) -> Coded:
        """Code the actions."""
        action, labels = np.asarray(log.action), None
        if action.dtype.kind != "f":
            labels, action = np.unique(action, return_inverse=True)
        log = log.with_states(as_floats(log.state), as_floats(log.next_state))
        log.action = action.ravel().astype(float)
        return cls(log, labels)

    def __getitem__(self, rows: Any) -> Coded:
        return Coded(self.log[rows], self.labels)

    def inputs(self, state: Array, action: Array) -> Array:
        """Pairs as a forest has them: labels as columns of 0 and 1."""
        if self.labels is None:
            return np.column_stack([state, action])
        return np.hstack([state, np.eye(len(self.labels))[action.astype(int)]])


class Grown:
    """A forest on the residuals, as a feature whose mean square is 1 on the log."""

    def __init__(self, data: Coded, residual: Array, seed: int) -> None:
        self._inputs = data.inputs
        self._forest = ExtraTreesRegressor(
            N_TREES,
            min_samples_leaf=LEAF,
            bootstrap=True,
            oob_score=True,
            random_state=seed,
        ).fit(data.inputs(data.log.state, data.log.action), residual)
        self.out_of_bag = np.asarray(self._forest.oob_prediction_)
        self._size = float(np.sqrt(np.mean(self.out_of_bag**2))) or 1.0

    def residual(self, state: Array, action: Array) -> Array:
        """The prediction, in the unit of rewards."""
        inputs = np.asarray(self._inputs(state, action), dtype=np.float32)
        # As forest.predict, which costs milliseconds before its first tree.
        trees = [tree.tree_.predict(inputs).ravel() for tree in self._forest]
        return np.mean(trees, axis=0)

    def __call__(self, state: Array, action: Array) -> Array:
        """The feature of each pair, (n,)."""
        return self.residual(state, action) / self._size


class Solution(Protocol):
    """A policy and its residuals."""

    def predict(self, states: Any) -> NDArray[Any]:
        """The action of each state."""
        ...

    def residuals(self, log: Transitions) -> Array:
        """TD residuals of a coded log under the policy."""
        ...


Solve = Callable[[Coded, float, int, Sequence[Grown]], Solution]


def evidence(residual: Array, prediction: Array, episode: NDArray[Any]) -> float:
    """How far a prediction lowers the squares of residuals, in standard errors.

    Of the sums of whole episodes, since the rows of one have much in common.
    """
    lowered = residual**2 - (residual - prediction) ** 2
    _, of = np.unique(episode, return_inverse=True)
    sums = np.bincount(of, lowered)
    error = sums.std(ddof=1) * np.sqrt(len(sums))
    return float(sums.sum() / error) if error > 0 else 0.0


class Rounds(NamedTuple):
    """Solutions after 0, 1, ... rounds, and what speaks for each round."""

    solutions: list[Solution]
    out_of_bag: list[float]
    held_out: list[float]


def grow(
    solve: Solve,
    data: Coded,
    discount: float,
    seed: int,
    n_rounds: int,
    held_out: Coded | None = None,
) -> Rounds:
    """Solve, and grow a feature, as often as there are rounds.

    With a held-out log the last feature is evaluated and not solved with.
    """
    log, grown = data.log, []
    rounds = Rounds([solve(data, discount, seed, grown)], [], [])
    for done in range(n_rounds):
        last = rounds.solutions[-1]
        residual = last.residuals(log)
        feature = Grown(data, residual, seed)
        rounds.out_of_bag.append(evidence(residual, feature.out_of_bag, log.episode))
        if held_out is not None:
            other = held_out.log
            predicted = feature.residual(other.state, other.action)
            rounds.held_out.append(
                evidence(last.residuals(other), predicted, other.episode)
            )
            if done == n_rounds - 1:
                break
        grown = [*grown, feature]
        rounds.solutions.append(solve(data, discount, seed, grown))
    return rounds


# ---------------------------------------------------------------------- the game


class PairKernel:
    """RBF of states where labels agree, or of both; and the grown features."""

    def __init__(self, scale: Array, discrete: bool, grown: Sequence[Grown]) -> None:
        self._scale, self._discrete, self._grown = scale, discrete, list(grown)
        self._last: tuple[Array, Array] | None = None  # landmarks, and their features

    def __call__(self, X: Array, Y: Array) -> Array:
        """The Gram matrix of rows (s, a)."""
        d = X.shape[1] - self._discrete
        gram = rbf_kernel(X[:, :d] / self._scale, Y[:, :d] / self._scale, gamma=0.5)
        if self._discrete:
            gram *= X[:, -1:] == Y[:, -1]
        if self._grown:
            if self._last is None or self._last[0] is not Y:
                self._last = Y, self._columns(Y)
            gram += WEIGHT * self._columns(X) @ self._last[1].T
        return gram

    def _columns(self, rows: Array) -> Array:
        return np.column_stack([g(rows[:, :-1], rows[:, -1]) for g in self._grown])


class Game:
    """The estimator's defaults on pairs of state and action, with grown features.

    Its Q-function is pessimistic on purpose, and its residuals say so wherever the log
    is thin. Those of the ridge LSTD of the same policy, in the same features, say what
    the features lack.
    """

    def __init__(
        self, data: Coded, discount: float, seed: int, grown: Sequence[Grown]
    ) -> None:
        log, self._labels, self._discount = data.log, data.labels, discount
        discrete, setting = data.labels is not None, {}
        rows = np.column_stack([log.state, log.action])
        if discrete:
            rows = log.state
            setting["candidates"] = np.arange(len(data.labels), dtype=float)[:, None]
        # The estimator's own length scales.
        scale = median_bandwidth(rows, "euclidean", np.random.RandomState(seed))
        self._estimator = StackelbergPolicyEstimator(
            discount=discount,
            action_type="continuous",
            kernel=PairKernel(scale, discrete, grown),
            n_components=GAME_LANDMARKS,
            random_state=seed,
            **setting,
        ).fit(log)
        now, after = self._features(log)
        gram = now.T @ now + RIDGE * len(log) * np.eye(now.shape[1])
        self._weights = np.linalg.solve(gram - now.T @ after, now.T @ log.reward)

    def _features(self, log: Transitions) -> tuple[Array, Array]:
        """Of the logged pairs, and the discounted mean of those that follow."""

        def features(state: Array, action: Array) -> Array:
            own = self._estimator.features_.transform(state, action)
            return np.hstack([own, np.ones((len(own), 1))])

        now = features(np.asarray(log.state), np.asarray(log.action)[:, None])
        states, after = np.asarray(log.next_or_own_state()), np.zeros_like(now)
        actions, weights = self._estimator.action_nodes(states)
        weights = weights * (self._discount * ~log.terminated)[:, None]
        for k in range(weights.shape[1]):
            after += weights[:, [k]] * features(states, actions[:, k])
        return now, after

    def predict(self, states: Any) -> NDArray[Any]:
        action = np.asarray(self._estimator.predict(as_floats(states))).ravel()
        return action if self._labels is None else self._labels[action.astype(int)]

    def residuals(self, log: Transitions) -> Array:
        now, after = self._features(log)
        return log.reward + (after - now) @ self._weights

    def held_out_value(self, log: Transitions) -> float:
        """The estimator's doubly robust score; NaN where it refuses."""
        try:
            return float(self._estimator.score(log))
        except ValueError:
            return float("nan")


# -------------------------------------- least-squares policy iteration, as the issue


class LSPI:
    """`peers.fitted.fit_lspi` at its defaults, with features that all actions share."""

    def __init__(
        self, data: Coded, discount: float, seed: int, grown: Sequence[Grown]
    ) -> None:
        if data.labels is None:
            raise ValueError("LSPI needs labels; the actions are amounts.")
        log, self._labels, self._discount = data.log, data.labels, discount
        self._grown = list(grown)
        self._scale = log.state.std(axis=0)
        self._scale[self._scale == 0.0] = 1.0
        scaled = log.state / self._scale
        median = median_bandwidth(scaled, "euclidean", np.random.RandomState(seed))[0]
        self._map = Nystroem(
            gamma=0.5 / median**2, n_components=LSPI_LANDMARKS, random_state=seed
        ).fit(scaled)
        n, now = len(log), self._features(log.state, log.action)
        after_states = np.asarray(log.next_or_own_state())
        after = [self._features(after_states, np.full(n, a)) for a in self._codes]
        going = discount * ~log.terminated[:, None]
        gram = now.T @ now + RIDGE * n * np.eye(now.shape[1])
        target = now.T @ log.reward
        self._weights = np.linalg.solve(gram, target)
        chosen = np.full(n, -1)
        for _ in range(30):
            q = np.column_stack([features @ self._weights for features in after])
            if np.array_equal(greedy := q.argmax(axis=1), chosen):
                break
            chosen = greedy
            following = np.empty_like(now)
            for a, features in enumerate(after):
                following[chosen == a] = features[chosen == a]
            matrix = gram - now.T @ (going * following)
            self._weights = np.linalg.solve(matrix, target)

    @property
    def _codes(self) -> range:
        return range(len(self._labels))

    def _features(self, state: Array, action: Array) -> Array:
        own = self._map.transform(state / self._scale)
        own = np.hstack([own, np.ones((len(own), 1))])
        label = np.eye(len(self._labels))[action.astype(int)]
        blocks = (label[:, :, None] * own[:, None, :]).reshape(len(own), -1)
        return np.column_stack([blocks, *(g(state, action) for g in self._grown)])

    def _q(self, states: Array) -> Array:
        return np.column_stack(
            [
                self._features(states, np.full(len(states), a)) @ self._weights
                for a in self._codes
            ]
        )

    def predict(self, states: Any) -> NDArray[Any]:
        return self._labels[self._q(as_floats(states)).argmax(axis=1)]

    def residuals(self, log: Transitions) -> Array:
        following = self._q(np.asarray(log.next_or_own_state())).max(axis=1)
        following *= self._discount * ~log.terminated
        own = self._features(log.state, log.action) @ self._weights
        return log.reward + following - own
