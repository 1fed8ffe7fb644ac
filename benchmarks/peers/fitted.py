"""Fitted peers: extra trees, and kernel features with fitted Q and with LSPI."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics import pairwise_distances

from benchmarks.peers import Method, as_floats, grid

Array = NDArray[np.float64]


class _Greedy:
    """The policy that takes the action of the largest Q."""

    def __init__(self, q: Any, classes: NDArray[Any]) -> None:
        self._q = q
        self._classes = classes

    def predict(self, states: NDArray[Any]) -> NDArray[Any]:
        """The action of each state."""
        return self._classes[self._q(as_floats(states)).argmax(axis=1)]


def _unpack(log: Any) -> tuple[Array, NDArray[Any], NDArray[Any], Array, Array, Array]:
    """States, classes, codes, rewards, next states, 1 where the value goes on."""
    classes, code = np.unique(np.asarray(log.action), return_inverse=True)
    going = 1.0 - np.asarray(log.terminated, dtype=float)
    reward = np.asarray(log.reward, dtype=float)
    return (
        as_floats(log.state), classes, code, reward, as_floats(log.next_state), going
    )  # fmt: skip


def fit_extra_trees(
    log: Any,
    random_state: int,
    *,
    per_action: bool = False,
    n_iterations: int = 50,
    min_samples: int = 5,
    discount: float = 0.99,
) -> _Greedy:
    """Fitted Q iteration with extra trees (Ernst, Geurts and Wehenkel 2005).

    Parameters
    ----------
    per_action : bool
        A forest for each action, or one on states and action together.
    n_iterations : int
    min_samples : int
        Rows below which a node is not split; trees are 50, all inputs tried.
    """
    state, classes, code, reward, next_state, going = _unpack(log)
    n_actions = len(classes)

    def forest(iteration: int) -> ExtraTreesRegressor:
        return ExtraTreesRegressor(
            n_estimators=50,
            min_samples_split=min_samples,
            random_state=random_state * 1_000 + iteration,
        )

    if per_action:

        def fit(target: Array, iteration: int) -> Any:
            forests = [
                forest(iteration).fit(state[code == a], target[code == a])
                for a in range(n_actions)
            ]
            return lambda s: np.column_stack([f.predict(s) for f in forests])

    else:
        joint = np.hstack([state, np.eye(n_actions)[code]])

        def fit(target: Array, iteration: int) -> Any:
            one = forest(iteration).fit(joint, target)

            def q(s: Array) -> Array:
                each = np.repeat(np.eye(n_actions), len(s), axis=0)
                stacked = np.hstack([np.tile(s, (n_actions, 1)), each])
                return one.predict(stacked).reshape(n_actions, len(s)).T

            return q

    q = fit(reward, 0)
    for iteration in range(1, n_iterations):
        target = reward + discount * going * q(next_state).max(axis=1)
        q = fit(target, iteration)
    return _Greedy(q, classes)


class _Features:
    """Landmark features of standardised states and a constant."""

    def __init__(
        self, state: Array, n_landmarks: int, bandwidth: float, random_state: int
    ) -> None:
        self._scale = state.std(axis=0)
        self._scale[self._scale == 0.0] = 1.0
        scaled = state / self._scale
        rng = np.random.default_rng(random_state)
        few = rng.choice(len(scaled), size=min(1_000, len(scaled)), replace=False)
        distance = pairwise_distances(scaled[few])
        median = float(np.median(distance[np.triu_indices(len(few), 1)]))
        self._map = Nystroem(
            kernel="rbf",
            gamma=0.5 / (bandwidth * median) ** 2,
            n_components=n_landmarks,
            random_state=random_state,
        ).fit(scaled)

    def __call__(self, state: Array) -> Array:
        """Features, (n, n_landmarks + 1)."""
        features = self._map.transform(state / self._scale)
        return np.hstack([features, np.ones((len(features), 1))])


def fit_kernel_fqi(
    log: Any,
    random_state: int,
    *,
    bandwidth: float = 1.0,
    ridge: float = 1e-3,
    n_landmarks: int = 200,
    n_iterations: int = 400,
    discount: float = 0.99,
) -> _Greedy:
    """Fitted Q iteration by ridge regression on kernel features.

    Parameters
    ----------
    bandwidth : float
        In medians of the distances between the scaled states.
    ridge : float
        Per row of the log, so that one grid serves every length.
    """
    state, classes, code, reward, next_state, going = _unpack(log)
    features = _Features(state, n_landmarks, bandwidth, random_state)
    now, after = features(state), features(next_state)
    rows = [np.flatnonzero(code == a) for a in range(len(classes))]
    logged = [now[r] for r in rows]
    penalty = ridge * len(state) * np.eye(now.shape[1])
    factors = [cho_factor(block.T @ block + penalty) for block in logged]
    weights = np.zeros((now.shape[1], len(classes)))
    for _ in range(n_iterations):
        target = reward + discount * going * (after @ weights).max(axis=1)
        updated = np.column_stack(
            [
                cho_solve(factor, block.T @ target[r])
                for factor, block, r in zip(factors, logged, rows, strict=True)
            ]
        )
        change = np.abs(updated - weights).max()
        weights = updated
        if change < 1e-6 * max(1.0, np.abs(weights).max()):
            break
    return _Greedy(lambda s: features(s) @ weights, classes)


def fit_lspi(
    log: Any,
    random_state: int,
    *,
    bandwidth: float = 1.0,
    ridge: float = 1e-3,
    n_landmarks: int = 200,
    n_iterations: int = 30,
    discount: float = 0.99,
) -> _Greedy:
    """Least-squares policy iteration (Lagoudakis and Parr 2003) on kernel features.

    Parameters
    ----------
    bandwidth : float
        In medians of the distances between the scaled states.
    ridge : float
        Per row of the log, added to the diagonal of the LSTD-Q matrix.
    """
    state, classes, code, reward, next_state, going = _unpack(log)
    features = _Features(state, n_landmarks, bandwidth, random_state)
    now, after = features(state), features(next_state) * going[:, None]
    n_actions, m = len(classes), now.shape[1]
    base = ridge * len(state) * np.eye(n_actions * m)
    target = np.zeros(n_actions * m)
    for a in range(n_actions):
        rows, block = code == a, slice(a * m, (a + 1) * m)
        base[block, block] += now[rows].T @ now[rows]
        target[block] = now[rows].T @ reward[rows]
    # The first policy is the greedy one of the rewards alone.
    weights = np.linalg.solve(base, target).reshape(n_actions, m).T
    chosen = np.full(len(state), -1)
    for _ in range(n_iterations):
        greedy = (after @ weights).argmax(axis=1)
        if np.array_equal(greedy, chosen):
            break
        chosen = greedy
        matrix = base.copy()
        for a in range(n_actions):
            for b in range(n_actions):
                rows = (code == a) & (chosen == b)
                matrix[a * m : (a + 1) * m, b * m : (b + 1) * m] -= discount * (
                    now[rows].T @ after[rows]
                )
        weights = np.linalg.solve(matrix, target).reshape(n_actions, m).T
    return _Greedy(lambda s: features(s) @ weights, classes)


KERNEL_GRID = grid(bandwidth=(0.5, 1.0, 2.0), ridge=(1e-5, 1e-4, 1e-3))
METHODS = (
    # A forest for each action took as long and did worse on CartPole random.
    Method("FQI extra trees", fit_extra_trees, ({"per_action": False},)),
    Method("FQI kernel features", fit_kernel_fqi, KERNEL_GRID),
    Method("LSPI kernel features", fit_lspi, KERNEL_GRID),
)
