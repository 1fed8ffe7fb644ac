"""The kernel Bellman error of a Q-function that is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .clusters import row_groups
from .estimate import clustered_error
from .features import pairs_of
from .judged import JudgedLog, like
from .node_pairs import node_batches
from .nodes import Floats
from .pairs import Pairs


def td_residual_of(judged: JudgedLog, q_function: Any, discount: float) -> Floats:
    """δ of the logged rows by a callable, states (k, d) to Q (k, A).

    Of continuous actions: states (k, d) and actions (k, p) to Q (k,).
    """
    value, logged = (
        _of_labels(judged, q_function)
        if judged.nodes is None
        else _of_nodes(judged, q_function)
    )
    after = judged.goes_on * value[judged.next_index]
    return judged.log.reward + discount * after - logged


def _of_labels(judged: JudgedLog, q_function: Any) -> tuple[Floats, Floats]:
    """V of the states, (N,), and Q of the logged rows, (n,)."""
    q = np.asarray(q_function(like(judged.log.state, judged.states)), dtype=float)
    shape = (len(judged.states), judged.n_actions)
    if q.shape != shape or not np.isfinite(q).all():
        raise ValueError(
            f"q_function returned an array of shape {q.shape} for {shape[0]} states "
            f"and {shape[1]} actions; finite values of shape {shape} were expected."
        )
    value = (q * judged.chances).sum(axis=1)
    return value, q[judged.state_index, judged.codes]


def _of_nodes(judged: JudgedLog, q_function: Any) -> tuple[Floats, Floats]:
    def ask(states: Floats, actions: Floats) -> Floats:
        q = q_function(like(judged.log.state, states), actions)
        q = np.asarray(q, dtype=float)
        if (
            q.shape not in ((len(states),), (len(states), 1))
            or not np.isfinite(q).all()
        ):
            raise ValueError(
                f"q_function returned an array of shape {q.shape} for {len(states)} "
                f"states and as many actions; {len(states)} finite values were "
                "expected."
            )
        return q.ravel()

    value = np.empty(len(judged.states))
    for batch, states, actions in node_batches(judged, 1):
        weights = judged.chances[batch]
        q = ask(states, actions).reshape(weights.shape)
        value[batch] = (weights * q).sum(axis=1)
    return value, ask(judged.state, judged.actions)


class PairSums(NamedTuple):
    """What an average over pairs of rows needs of S_e = Σ_{i in e} z_i δ_i.

    Parameters
    ----------
    total : float
        |Σ_e S_e|².
    own, cross : array of shape (E,)
        |S_e|² and S_eᵀ Σ_f S_f.
    lengths : array of shape (E,)
        Rows of each episode.
    """

    total: float
    own: Floats
    cross: Floats
    lengths: Floats


def pair_sums(judged: JudgedLog, residual: Floats, features: Any) -> PairSums:
    """Sums of z_i δ_i by episode, with the kernel's features z, see `Pairs`."""
    pairs = pairs_of(judged, features)
    total = np.zeros(pairs.size)
    for _, sums in _episode_sums(pairs, residual):
        total += sums.sum(axis=0)
    own, cross = np.empty((2, judged.n_episodes))
    for episodes, sums in _episode_sums(pairs, residual):
        own[episodes] = (sums**2).sum(axis=1)
        cross[episodes] = sums @ total
    lengths = np.bincount(judged.episode).astype(float)
    return PairSums(float((total**2).sum()), own, cross, lengths)


def _episode_sums(
    pairs: Pairs, residual: Floats
) -> Iterator[tuple[NDArray[np.intp], Floats]]:
    """Episodes, some at a time, and their S_e, (k, M)."""
    for rows in row_groups(pairs.judged):
        episodes, starts = np.unique(pairs.judged.episode[rows], return_index=True)
        weighted = pairs.logged(rows) * residual[rows, None]
        yield episodes, np.add.reduceat(weighted, starts)


def pair_average(sums: PairSums, *, unbiased: bool) -> tuple[float, float]:
    """Average of δ_i k(x_i, x_j) δ_j over pairs of rows, with its standard error.

    Parameters
    ----------
    sums : PairSums
    unbiased : bool
        Whether pairs inside an episode are left out.

    Returns
    -------
    value, standard_error : float
        The error by leaving each episode out.
    """
    total, own, cross, lengths = sums
    n_episodes = len(lengths)
    if unbiased and n_episodes < 2:
        raise ValueError(
            "The log holds one episode, and the unbiased Bellman error is over pairs "
            "of rows of different ones. Log more, or set unbiased=False."
        )

    def average(square: Any, inside: Any, rows: Any, pairs: Any) -> Any:
        if unbiased:
            return (square - inside) / (rows**2 - pairs)
        return square / rows**2

    n, pairs = lengths.sum(), (lengths**2).sum()
    value = float(average(total, own.sum(), n, pairs))
    if n_episodes < 3:
        return value, float("nan")
    without = average(
        total - 2.0 * cross + own, own.sum() - own, n - lengths, pairs - lengths**2
    )
    change = (n_episodes - 1) / n_episodes * (without - without.mean())
    return value, clustered_error(change, np.arange(n_episodes), n_episodes)
