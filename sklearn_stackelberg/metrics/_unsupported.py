"""How much of a policy's value a log cannot show: actions that it does not support."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.utils import check_random_state

from .._action_scale import ActionScale
from .._fitting.support import ActionRange, ActionSupport
from .._stored_rows import row_batches
from .._typing import Flags, Floats, Index
from ..kernels._columns import center_and_spread
from ..kernels._registry import is_delta
from ._data import EvaluationData, batches
from ._features import DiscreteFeatures, EvaluationFeatures, node_batches
from ._fitted_q import FittedQSystem

# A logged action is that of a behaviour policy, which as good as never takes another
# one where the forest gives that less than this share of the likeliest one's: with the
# leaves of 25 rows, where it is in hardly any of the trees' leaves.
_NEVER = 0.003

# Probability of unsupported actions in a state that is let pass, as `tabulate_policy`
# lets pass as much of actions that the log never holds: the tails of a Gaussian policy
# on each of a hundred steps add up to a policy that leaves the log.
_TAILS = 0.05

# Rows that forests are grown on, and of a leaf. With smaller leaves rare actions, and
# with more rows nothing, would be found missing more often.
_ROWS, _LEAF = 2_000, 25

# Continuous actions are supported in the range of a leaf's actions, of two standard
# deviations around their mean, and so much of its width beyond: three.
_BEYOND = 0.25

# Of a Gaussian behaviour policy, see `ActionRange`: the least and largest of a leaf.
_DENSITY = 0.01


def bias_bound(system: FittedQSystem, unsupported: Flags | None = None) -> float:
    """How far a value may be off because the log does not support what is done.

    In units of return: the discounted probability of a first unsupported action, after
    which the return may be anything that rewards allow. Discrete actions that are
    ``unsupported`` are those of the log, whatever the policy.
    """
    low, high = system.data.return_range(system.discount)
    return unsupported_share(system, unsupported) * (high - low)


def unsupported_share(system: FittedQSystem, flags: Flags | None = None) -> float:
    """E[γ^T] of the first time T at which an unsupported action is taken, in [0, 1]."""
    data = system.data
    flags = unsupported_actions(system) if flags is None else flags
    unsupported = data.probabilities * flags  # (N, A)
    # Eq. (72) is of the states where the policy leaves the log for more than its tails.
    unsupported[unsupported.sum(axis=1) < _TAILS] = 0.0
    now = unsupported.sum(axis=1)
    if not now.any():
        return 0.0
    # Eq. (72) of docs/game.md: Bellman's equation of γ^T, in which the walk ends at T.
    going_on = replace(data, probabilities=data.probabilities - unsupported)
    # A share is not noisy because a value is not: it keeps the whole ridge.
    share = getattr(system.features.kernel_features, "ridge_share", 1.0)
    killed = system.by_counts().with_ridge(system.ridge / share).on(going_on)
    killed.reward = system.carried * now[data.next_index]
    linear = killed.linear_system()
    later = linear.b.numpy() @ linear.solve()
    found = data.initial_weight @ now[data.initial_state] + later
    return float(np.clip(found, 0.0, 1.0))


def unsupported_actions(system: FittedQSystem) -> Flags:
    """Which actions, or nodes, the log does not support in each state, (N, A)."""
    data, kernel = system.data, system.features.kernel_features.kernel_
    if is_delta(kernel):
        # Counts; what lacks a rounding error of one row is one.
        return support_counts(system.features) < 1.0 - 1e-6
    if data.is_continuous:
        return _out_of_range(data)
    support, rng = (
        ActionSupport(_NEVER, n_rows=_ROWS, leaf=_LEAF),
        check_random_state(0),
    )
    few = data.joined
    weight = few.row_weight if few.has_weights else None
    given = few.state, few.codes, few.n_actions, False, rng, weight
    support.fit(*given, episode=few.episode)
    out = np.empty(data.probabilities.shape, dtype=bool)
    for some in row_batches(data.states):
        found = support.counts(data.states[some])
        out[some] = found < _NEVER * found.max(axis=1, keepdims=True)
    # What was done was possible, whatever the forest makes of it.
    out[data.state_index, data.codes] = False
    return out


def _out_of_range(data: EvaluationData) -> Flags:
    """Nodes beyond the range of the logged actions at the state, (N, S)."""
    few = data.joined
    scale = ActionScale.of(few.actions)
    logged = scale.transform(few.actions)
    # Ranges are of what is left of a line: a leaf's states differ, and a logger that
    # follows them has less of a range in each than in all.
    trend = _fit_line(few.state, logged)
    beside = [trend(few.state[some]) for some in row_batches(few.state)]
    support = ActionRange(_DENSITY, n_rows=_ROWS)
    support.fit(few.state, logged - np.concatenate(beside), check_random_state(0))
    out = np.zeros(data.probabilities.shape, dtype=bool)
    for batch in batches(len(out)):
        states = data.states[batch]
        low, high = np.split(support(states)[:, None, :], 2, axis=2)  # (k, 1, p)
        reach = _BEYOND * (high - low)
        rest = scale.transform(data.nodes[batch]) - trend(states)[:, None, :]
        out[batch] = ((rest < low - reach) | (rest > high + reach)).any(axis=2)
    return out


def _fit_line(states: Floats, targets: Floats) -> Callable[[Floats], Floats]:
    """Least squares with an intercept, (k, d) to (k, p), of states read by batches."""
    center, middle = center_and_spread(states)[0], targets.mean(axis=0)
    d = len(center)
    rows: Floats = np.empty((0, d + len(middle)))
    for some in row_batches(states):
        more = np.hstack([states[some] - center, targets[some] - middle])
        # R of a QR decomposition has the least squares of all rows so far.
        rows = np.asarray(np.linalg.qr(np.vstack([rows, more]), mode="r"))
    slopes = np.linalg.lstsq(rows[:, :d], rows[:, d:], rcond=None)[0]
    return lambda some: middle + (some - center) @ slopes


def support_counts(features: EvaluationFeatures) -> Floats:
    """N_a(s) of every state of ``data.states`` and every action, (N, A).

    Of a continuous policy N(s, a) of its nodes, all logged pairs being of one kind.
    """
    if isinstance(features, DiscreteFeatures):
        return np.maximum(_support_of_actions(features), 0.0)
    data, kernel_features = features.data, features.kernel_features
    size = kernel_features.projection_.shape[1]

    def unit(states: Floats, actions: Floats) -> Floats:
        # By the kernel alone: quadratic columns reach everywhere.
        itself = kernel_features.similarity_to_itself(states, actions)
        z = kernel_features.transform(states, actions)[:, :size]
        return z / _length(itself)[:, None]

    # The identity is the prior; the noise is of variance k, which rows are divided by.
    gram = np.eye(size)
    for batch in batches(len(data)):
        rows = unit(data.states[data.state_index[batch]], data.actions[batch])
        gram += (rows * data.row_weight[batch, None]).T @ rows
    factor = cho_factor(gram)
    out = np.empty(data.probabilities.shape)
    for batch, states, actions in node_batches(data, size):
        found = _counts(unit(states, actions), factor)
        out[batch] = found.reshape(-1, data.n_actions)
    return np.maximum(out, 0.0)


def _support_of_actions(features: DiscreteFeatures) -> Floats:
    """N_a(s) of discrete actions, (N, A), a Gram matrix of the states for each."""
    data, kernel_features = features.data, features.kernel_features
    size = kernel_features.projection_.shape[1]
    # By the kernel alone: linear terms reach everywhere.
    itself = kernel_features.similarity_to_itself(data.states, local=True)
    length = _length(itself)  # (N,)

    def unit(index: Index) -> Floats:
        return features.phi(index)[:, :size] / length[index, None]

    out = np.zeros((len(data.states), data.n_actions))
    for action in range(data.n_actions):
        mine = data.codes == action
        index, weight = data.state_index[mine], data.row_weight[mine]
        gram = np.eye(size)
        for batch in batches(len(index)):
            rows = unit(index[batch])
            gram += (rows * weight[batch, None]).T @ rows
        factor = cho_factor(gram)
        for batch in batches(len(out)):
            out[batch, action] = _counts(unit(np.arange(len(out))[batch]), factor)
    # The row itself is near, even if the features do not show it.
    logged = data.state_index, data.codes
    out[logged] = np.maximum(out[logged], 1.0)
    return out


def _length(itself: Floats) -> Floats:
    """k(s, s)^½, by which features are of unit length."""
    # A state that is like nothing, not even itself, has no rows near it.
    return np.sqrt(np.where(itself > 0, itself, np.inf))


def _counts(unit: Floats, factor: tuple[Floats, bool]) -> Floats:
    """Rows from which as much could be learned, of features of unit length, (k,)."""
    # Gaussian process with noise k: the variance of Q(s, a) is k (1 − explained), and
    # after N rows at s itself it would be k / (1 + N).
    explained = (unit * (unit - cho_solve(factor, unit.T).T)).sum(axis=1)
    return 1.0 / np.maximum(1.0 - explained, np.finfo(float).eps) - 1.0
