"""What policies and Q-functions read of states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from numpy.typing import NDArray
from torch import Tensor

from .._action_scale import ActionScale
from .._problem.rows import Rows
from .._typing import Floats, Index
from ..kernels._choice import LENGTHS, are_rough, choose_kernel, some_episodes
from ..kernels._columns import (
    LinearColumns,
    StateColumns,
    are_finite,
    center_and_spread,
    weighted_lengths,
)
from ..kernels._nystroem import LandmarkFeatures
from ..kernels._state_action import StateActionFeatures
from ..networks import MLP
from ..policies._base import ContinuousPolicy as ContinuousPolicyModule
from ..transitions._linking import encode
from .hyperparameters import FunctionClass, Hyperparameters
from .support import ActionRange, ActionSupport

StateReader = LandmarkFeatures | StateColumns


class InputReaders:
    """Ways to read states: one object for both, where they read the same."""

    def __init__(
        self,
        hp: Hyperparameters,
        states: Floats,
        rng: RandomState,
        n_columns: int = 0,
        total: float | None = None,
    ) -> None:
        self._hp, self._states, self._rng = hp, states, rng
        self._total = total  # rows that the states are of
        self._n_columns = n_columns  # of continuous actions
        self._made: dict[str, StateReader] = {}

    def read(self, function_class: FunctionClass) -> StateReader:
        key = function_class if isinstance(function_class, str) else "columns"
        # A perceptron of ours reads standardised columns; a user's module the states.
        if key == "mlp" or isinstance(function_class, MLP):
            key = "standardised columns"
        if key not in self._made:
            self._made[key] = self._make(key)
        return self._made[key]

    def _make(self, key: str) -> StateReader:
        if key.endswith("columns"):
            columns = StateColumns(self._hp.dtype, standardise=key != "columns")
            return columns.fit(self._states)
        if key == "linear":
            return LinearColumns(self._hp.dtype).fit(self._states)
        settings, width = self._hp.kernel_settings(), self._states.shape[1]
        # A bandwidth may have lengths for the columns of the action too.
        both = (width + self._n_columns,)
        if self._n_columns and np.shape(settings["bandwidth"]) == both:
            settings["bandwidth"] = np.asarray(settings["bandwidth"])[:width]
        # Linear terms of states are for values that each action has of its own.
        linear_terms = self._hp.linear_terms and not self._n_columns
        features = LandmarkFeatures(
            self._hp.kernel,
            linear_terms=linear_terms,
            random_state=self._rng,
            **settings,
        )
        return features.fit(self._states, self._total)


# A sample that shows which columns matter, and its rows whose slopes are taken.
_RELEVANCE_ROWS, _SLOPE_ROWS = 5_000, 1_000

# Rows by which a rough kernel is compared with a smooth one, in whole episodes.
_SMOOTHNESS_ROWS = 5_000

# Lengths of the rough one, in those by which columns matter to the smooth one.
_ROUGH_LENGTHS = 2.0

# Steps of fitted Q iteration, and its ridge, as a share of the rows.
_RELEVANCE_STEPS, _RELEVANCE_RIDGE = 50, 1e-3

# No column counts less, so that a poor Q cannot remove it.
_LEAST_RELEVANCE = 0.05

# Multiples of the lengths that are tried, the widest last.
_MULTIPLES = (1.0, 2.0, 4.0)


def relevant_lengths(
    logged: Floats, states: Floats, rows: Rows, discount: float, rng: RandomState
) -> Floats:
    """Length scales by what a Q-function of a sample says of the columns, (d,).

    Columns count by the standard deviation of ∂Q/∂s, the diagonal of its centred
    gradient outer product. The lengths are the widest of a few multiples that explain
    held-out rows of that Q as well as the best, within a standard error.
    """
    n = len(rows.state)
    chosen = rng.choice(n, min(n, _RELEVANCE_ROWS), replace=False)
    action, reward = rows.action[chosen], rows.reward[chosen]
    center, spread = center_and_spread(logged)
    index = rows.state[chosen], rows.next_state[chosen]
    z, after = ((states[i] - center) / spread for i in index)
    features = LandmarkFeatures("rbf", linear_terms=True, random_state=rng).fit(z)
    phi, following = features.transform(z), features.transform(after)
    of_action = [np.flatnonzero(action == a) for a in np.unique(action)]
    # What targets are multiplied by to give weights, (m, k) of each action.
    solutions = [_ridge(phi[own], phi[own].T) for own in of_action]
    w = np.zeros((phi.shape[1], len(of_action)))
    carried = discount * (1.0 - rows.terminated[chosen])
    for _ in range(_RELEVANCE_STEPS):
        target = reward + carried * (following @ w).max(axis=1)
        pairs = zip(solutions, of_action, strict=True)
        w = np.stack([solution @ target[own] for solution, own in pairs], axis=1)

    # The mean slope is what the linear terms have, and only its change needs a kernel.
    some, marks, h = z[:_SLOPE_ROWS], features.landmarks_, features.bandwidth_
    assert h is not None
    gram = features.bound_kernel()(some, marks)
    u = features.projection_ @ w[: features.projection_.shape[1]]
    values, square = gram @ u, np.empty(len(h))
    for j in range(len(h)):
        slope = gram @ (marks[:, j, None] * u) - some[:, j, None] * values
        square[j] = (slope / h[j] ** 2).var(axis=0).mean()
    weight = np.sqrt(square / square.max()) if square.any() else np.ones(len(h))
    weight = weight.clip(min=_LEAST_RELEVANCE)
    lengths = weighted_lengths(z, weight, "euclidean", rng)

    errors = [
        _held_out_errors(z, multiple * lengths, target, of_action, rng)
        for multiple in _MULTIPLES
    ]
    worse = np.array(errors) - min(errors, key=np.mean)
    doubt = worse.std(axis=1) / np.sqrt(len(z))
    widest = np.flatnonzero(worse.mean(axis=1) <= doubt)[-1]
    return _MULTIPLES[widest] * lengths * spread


def _ridge(phi: Floats, right: Floats) -> Floats:
    """A ridge regression's weights for right-hand sides φᵀy."""
    prior = _RELEVANCE_RIDGE * max(len(phi), 1) * np.eye(phi.shape[1])
    return np.linalg.solve(phi.T @ phi + prior, right)


def _held_out_errors(
    z: Floats, lengths: Floats, target: Floats, groups: list[Index], rng: RandomState
) -> Floats:
    """Squared errors of each row, by a regression on half of the others, (n,)."""
    features = LandmarkFeatures(
        "rbf", bandwidth=lengths, linear_terms=True, random_state=rng
    )
    phi, error = features.fit(z).transform(z), np.empty(len(z))
    for own in groups:
        halves = own[::2], own[1::2]
        for used, held in (halves, halves[::-1]):
            z_used = phi[used]
            fitted = phi[held] @ _ridge(z_used, z_used.T @ target[used])
            error[held] = (target[held] - fitted) ** 2
    return error


def with_kernel(
    hp: Hyperparameters,
    logged: Floats,
    states: Floats,
    rows: Rows,
    episode: NDArray[Any] | None,
    discount: float,
    rng: RandomState,
) -> Hyperparameters:
    """A kernel for ``"auto"``, where states are few and nothing else is given.

    ``episode`` are the rows' ids, (n,), if any.
    """
    auto = isinstance(hp.kernel, str) and hp.kernel == "auto"
    plain = isinstance(hp.bandwidth, str) and not hp.kernel_params
    if not (auto and plain):
        return hp
    n = len(rows.state)
    if not are_finite(logged, hp.n_components, rows.total):
        return hp
    kernel = choose_kernel(
        np.asarray(logged),
        states[rows.next_state],
        np.asarray(rows.action, dtype=np.intp),
        rows.reward,
        discount * (1.0 - rows.terminated),
        episode=np.arange(n) if episode is None else encode(episode),
        weight=rows.weights(np.arange(n)),
        n_components=hp.n_components,
        rng=rng,
    )
    bandwidth = LENGTHS.get(kernel, hp.bandwidth)
    return replace(hp, kernel=kernel, bandwidth=bandwidth)


def with_relevance(
    hp: Hyperparameters,
    logged: Floats,
    states: Floats,
    rows: Rows,
    rng: RandomState,
    shared: dict[object, Any],
) -> Hyperparameters:
    """Lengths in place of ``bandwidth="relevance"``, where a kernel needs any.

    Those of the same draws are ``shared``, and leave ``rng`` where it was after them.
    """
    by_name = isinstance(hp.bandwidth, str) and hp.bandwidth == "relevance"
    named = isinstance(hp.kernel, str) and hp.kernel in ("rbf", "auto")
    unread = hp.q_function == hp.policy == "linear"
    if not by_name or not named or unread or hp.kernel_params:
        return hp
    at = rng.get_state(legacy=False)["state"]
    key = "relevance", hp.discount, at["key"].tobytes(), at["pos"]
    if key not in shared:
        lengths = relevant_lengths(logged, states, rows, hp.discount, rng)
        shared[key] = lengths, rng.get_state()
    lengths, after = shared[key]
    rng.set_state(after)
    return replace(hp, bandwidth=lengths)


def with_smoothness(
    hp: Hyperparameters,
    given: Hyperparameters,
    states: Floats,
    rows: Rows,
    episode: NDArray[Any] | None,
    discount: float,
) -> Hyperparameters:
    """A Laplacian kernel for ``"auto"``, where states are many and values are rough.

    ``hp`` has the lengths of the smooth one, ``given`` what stood for them. Those of
    the rough one are longer: it falls off at once, and slowly.
    """
    auto = isinstance(hp.kernel, str) and hp.kernel == "auto"
    plain = isinstance(given.bandwidth, str) and not hp.kernel_params
    by_kernel = isinstance(hp.q_function, str) and hp.q_function == "kernel"
    if not (auto and plain and by_kernel):
        return hp
    if episode is None:
        n = len(rows.state)
        some = np.arange(n)
        if n > _SMOOTHNESS_ROWS:
            some = np.random.default_rng(0).choice(n, _SMOOTHNESS_ROWS, replace=False)
        # Equal rows are in one fold: what is repeated would foretell itself.
        own = np.asarray(states[rows.state[some]])
        same = np.column_stack([own, rows.action[some], rows.reward[some]])
        pieces = np.unique(same, axis=0, return_inverse=True)[1].ravel()
    else:
        pieces, some = encode(episode), None
    found = some_episodes(pieces, _SMOOTHNESS_ROWS)
    if found is None:
        return hp
    chosen, fold = found
    some = chosen if some is None else some[chosen]
    own, after = (states[index[some]] for index in (rows.state, rows.next_state))
    lengths: Any = given.bandwidth
    if not isinstance(hp.bandwidth, str):
        lengths = _ROUGH_LENGTHS * np.asarray(hp.bandwidth)
    smooth, rough = (
        LandmarkFeatures(
            kernel,
            bandwidth=bandwidth,
            n_components=hp.n_components,
            linear_terms=hp.linear_terms,
            # A fixed seed: a choice is of the log alone.
            random_state=0,
        ).fit(own)
        for kernel, bandwidth in (("rbf", hp.bandwidth), ("laplacian", lengths))
    )
    is_rough = are_rough(
        (smooth.transform(own), smooth.transform(after)),
        (rough.transform(own), rough.transform(after)),
        np.asarray(rows.action, dtype=np.intp)[some],
        rows.reward[some],
        discount * (1.0 - rows.terminated[some]),
        weight=rows.weights(some),
        fold=fold,
    )
    if not is_rough:
        return hp
    assert rough.bandwidth_ is not None
    # With lengths the features draw what those of the smooth one do.
    return replace(hp, kernel="laplacian", bandwidth=rough.bandwidth_)


class StateActionColumns:
    """Columns of the state beside actions in units of half their range, (k, d + p)."""

    def __init__(self, low: Floats, high: Floats, scale: ActionScale) -> None:
        self.action_scale = scale
        low, high = scale.transform(low), scale.transform(high)
        self.center, self.half = 0.5 * (low + high), 0.5 * (high - low)

    def __call__(self, x: Tensor, action: Tensor) -> Tensor:
        center, half = (torch.from_numpy(c).to(x) for c in (self.center, self.half))
        action = self.action_scale.transform_tensor(action.to(x))
        return torch.cat([x, (action - center) / half], dim=1)


class DifferentiableFeatures:
    """Kernel features of state and action, differentiable in the action, (k, m).

    x are states less ``center``: minibatches hold them in the features' precision.
    """

    def __init__(self, features: StateActionFeatures) -> None:
        self.projection, self.rows = features.projection_, features.landmarks_
        self.scale, center = features.action_scale_, features.center_
        if center is None:
            center = np.zeros(self.rows.shape[1])
        self.center, self.action_center = np.split(center, [features.n_state_columns_])
        self.kernel = replace(features.bound_kernel(), center=None)
        self.rows = self.rows - center

    def __call__(self, x: Tensor, action: Tensor) -> Tensor:
        scaled = self.scale.transform_tensor(action.to(x))
        action = scaled - torch.from_numpy(self.action_center).to(x)
        gram = self.kernel.in_torch(torch.cat([x, action], dim=1), self.rows)
        return gram @ torch.from_numpy(self.projection).to(x)


@dataclass(frozen=True, eq=False)
class PlayerInputs:
    """What policy and Q-function read, as it was fitted on the first log.

    ``embedded`` are the features of the kernel that the Bellman error is measured by,
    of states or of states and actions; ``policy`` and ``q_function`` what each reads of
    states, None where it reads the embedded ones; ``seed`` is of the networks' first
    weights and of the minibatches; ``support`` says which actions the log supports, of
    a few or in a range.
    """

    policy: Any  # StateInputs, those of linear functions with landmark weights
    q_function: Any
    embedded: Any  # LandmarkFeatures, LinearColumns or StateActionFeatures
    # Over continuous actions, its head still to come.
    distribution: ContinuousPolicyModule | None = None
    seed: int = 0
    support: ActionSupport | ActionRange | None = None


def draw_seed(rng: RandomState) -> int:
    """Of networks and minibatches, behind all that the features have drawn."""
    return int(rng.randint(2**31 - 1))
