"""The kernel Bellman error of a Q-function that is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from .._stored_rows import row_batches
from .._typing import Floats, RandomStateLike
from ..kernels._registry import KernelLike
from ._data import EvaluationData
from ._estimate import Figures, OffPolicyEstimate, clustered_error
from ._features import (
    FeatureMap,
    evaluation_features,
    node_batches,
)
from ._fitted_q import piece_sums
from ._prepare import evaluate
from ._settings import QSettings, fit_features
from ._tabulate import like

QFunction = Callable[..., ArrayLike]

# Of one log, or of every log without one of its episodes.
T = TypeVar("T", float, Floats)


def td_residual_of(
    data: EvaluationData, q_function: QFunction, discount: float
) -> Floats:
    """δ of the logged rows by a callable, states (k, d) to Q (k, A).

    Of continuous actions: states (k, d) and actions (k, p) to Q (k,).
    """
    of = _of_pairs if data.is_continuous else _of_states
    return data.td_residual(*of(data, q_function), discount)


def _of_states(data: EvaluationData, q_function: QFunction) -> tuple[Floats, Floats]:
    """V of the states, (N,), and Q of the logged rows, (n,)."""
    q = np.empty(data.probabilities.shape)
    for some in row_batches(data.states):
        given = q_function(like(data.log.state, data.states[some]))
        q[some] = _finite(given, q[some].shape, f"{data.n_actions} actions")
    value = (q * data.probabilities).sum(axis=1)
    return value, q[data.state_index, data.codes]


def _finite(given: ArrayLike, shape: tuple[int, ...], actions: str) -> Floats:
    q = np.asarray(given, dtype=float)
    # (n, 1) stands for (n,): regressors may return it.
    if q.shape not in (shape, (*shape, 1)[:2]) or not np.isfinite(q).all():
        raise ValueError(
            f"q_function returned an array of shape {q.shape} for {shape[0]} states "
            f"and {actions}; finite values of shape {shape} were expected."
        )
    return q.reshape(shape)


def _of_pairs(data: EvaluationData, q_function: QFunction) -> tuple[Floats, Floats]:
    """The same of a Q-function that takes actions, too."""

    def q_of(states: Floats, actions: Floats) -> Floats:
        given = q_function(like(data.log.state, states), actions)
        return _finite(given, (len(states),), "as many actions")

    value = np.empty(len(data.states))
    # One number is made of each node; what the callable itself holds is not known.
    for batch, states, actions in node_batches(data, 1):
        weights = data.probabilities[batch]
        q = q_of(states, actions).reshape(weights.shape)
        value[batch] = (weights * q).sum(axis=1)
    logged = [
        q_of(data.state[some], data.actions[some]) for some in row_batches(data.state)
    ]
    return value, np.concatenate(logged)


class PairSums(NamedTuple):
    """What an average over pairs of rows needs of S_e = Σ_{i in e} z_i δ_i."""

    total: float  # |Σ_e S_e|²
    own: Floats  # |S_e|², (E,)
    cross: Floats  # S_eᵀ Σ_f S_f, (E,)
    lengths: Floats  # rows of each episode, (E,)


def pair_sums(
    data: EvaluationData, residual: Floats, kernel_features: FeatureMap
) -> PairSums:
    """Sums of z_i δ_i by episode: k(x, x') = zᵀz', so that no pair is formed.

    A row of weight w is w rows, and an episode that repeats another one a part of it.
    """
    pieces, residual = data.distinct_pieces, data.row_weight * residual
    features = evaluation_features(data, kernel_features)
    # Twice through the log, because S_e of all episodes may not fit in memory.
    total = np.zeros(features.size)
    for _, sums in piece_sums(features, residual, pieces):
        total += sums.sum(axis=0)
    own, cross = np.empty((2, data.n_distinct_pieces))
    for episodes, sums in piece_sums(features, residual, pieces):
        own[episodes] = (sums**2).sum(axis=1)
        cross[episodes] = sums @ total
    lengths: Floats = np.bincount(pieces, data.row_weight).astype(float)
    return PairSums(float((total**2).sum()), own, cross, lengths)


def pair_average(sums: PairSums, *, unbiased: bool) -> tuple[float, float]:
    """Average of δ_i k(x_i, x_j) δ_j over pairs of rows, with its standard error.

    Unbiased, pairs inside an episode are left out.
    """
    total, own, cross, lengths = sums
    n_episodes = len(lengths)
    if unbiased and n_episodes < 2:
        raise ValueError(
            "The log holds one episode, and the unbiased Bellman error is over pairs "
            "of rows of different ones. Log more, or set unbiased=False."
        )

    def average(square: T, inside: T, rows: T, pairs: T) -> T:
        # Feng, Li and Liu, "A kernel loss for solving the Bellman equation" (2019): the
        # U-statistic, over pairs of episodes instead of rows; else their V-statistic.
        if unbiased:
            return (square - inside) / (rows**2 - pairs)
        return square / rows**2

    n, pairs = lengths.sum(), (lengths**2).sum()
    value = float(average(total, own.sum(), n, pairs))
    # Of two, each left out leaves one, which has no pairs of different ones.
    if n_episodes < 3:
        return value, float("nan")
    without = average(
        total - 2.0 * cross + own, own.sum() - own, n - lengths, pairs - lengths**2
    )
    # The jackknife: `clustered_error` brings the other E / (E − 1) of its variance.
    change = (n_episodes - 1) / n_episodes * (without - without.mean())
    return value, clustered_error(change, np.arange(n_episodes), n_episodes)


def bellman_error(
    policy: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    discount: float,
    q_function: Callable[..., ArrayLike] | None = None,
    unbiased: bool = True,
    greedy: bool = False,
    kernel: KernelLike = "auto",
    bandwidth: ArrayLike = "median",
    n_components: int | None = 200,
    confidence_level: float = 0.95,
    sample_weight: ArrayLike | None = None,
    random_state: RandomStateLike = 0,
) -> OffPolicyEstimate:
    """How far a Q-function is from the policy's Bellman equation, in a kernel's norm.

        E_K = n⁻² Σ_ij δ_i k(x_i, x_j) δ_j,
        δ = r + γ (1 − terminated) Q(s', π) − Q(s, a),

    the square of the largest weighted average of δ over weights in the unit ball of the
    kernel's space, x = (s, a). It needs no second draw of next states. Zero is what the
    true Q has; smaller is better. It says how well Q fits the log, not how good the
    policy is.

    Parameters
    ----------
    policy, X, y, discount, greedy, confidence_level, sample_weight, random_state
        As in `fitted_q_value`.
    q_function : callable, default=None
        Takes states, (k, d), and returns Q of each action, (k, A), in the order of
        ``policy.classes_``; of a continuous policy takes states and actions, (k, p),
        and returns Q, (k,). None is the policy's own ``q_values``.
    unbiased : bool, default=True
        Leave out pairs of rows of the same episode, whose δ are not independent, and of
        episodes that repeat it, unless states are few. The estimate may then be
        negative, near zero. False is E_K as above.
    kernel, bandwidth, n_components
        Of the test functions, as in `fitted_q_value`.

    Returns
    -------
    OffPolicyEstimate
        In units of squared reward. The standard error is by leaving each episode out;
        the effective sample size is n² / Σ_e n_e², in episodes.

    Raises
    ------
    ValueError
        As in `fitted_q_value`, and if there is no Q-function.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions
    >>> from sklearn_stackelberg.metrics import bellman_error
    >>> state, action = np.zeros((40, 1)), np.tile([0, 1], 20)
    >>> log = Transitions(state, action, action, state, terminated=np.ones(40))
    >>> policy = StackelbergPolicyEstimator(discount=0.0).fit(log)
    >>> true = lambda states: np.tile([0.0, 1.0], (len(states), 1))
    >>> bellman_error(policy, log, discount=0.0, q_function=true).value
    0.0
    """
    settings = QSettings(kernel, bandwidth, n_components, random_state=random_state)

    def figures(data: EvaluationData) -> Figures:
        q = q_function or getattr(data.policy, "q_values", None)
        if q is None:
            raise ValueError(
                f"The policy, a {type(data.policy).__name__}, has no q_values: give a "
                "q_function (of continuous actions: that takes states and actions)."
            )
        residual = td_residual_of(data, q, discount)
        sums = pair_sums(data, residual, fit_features(data, settings))
        value, error = pair_average(sums, unbiased=unbiased)
        # Each row weighs alike, and so an episode by its rows (Kish's size).
        lengths = sums.lengths
        return Figures(
            value,
            error,
            float(lengths.sum() ** 2 / (lengths**2).sum()),
            "Kernel Bellman error" + " (pairs of different episodes)" * unbiased,
            f"leaving out each of {data.counted}",
            "episodes",
        )

    return evaluate(
        figures, policy, X, y, discount, confidence_level, greedy, sample_weight
    )
