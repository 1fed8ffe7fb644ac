"""The kernel Bellman error of a Q-function that is given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .clusters import row_groups
from .estimate import clustered_error
from .judged import Floats, JudgedLog, like


def td_residual_of(judged: JudgedLog, q_function: Any, discount: float) -> Floats:
    """δ of the logged rows by a callable, states (k, d) to Q (k, A)."""
    q = np.asarray(q_function(like(judged.log.state, judged.states)), dtype=float)
    shape = (len(judged.states), judged.n_actions)
    if q.shape != shape or not np.isfinite(q).all():
        raise ValueError(
            f"q_function returned an array of shape {q.shape} for {shape[0]} states "
            f"and {shape[1]} actions; finite values of shape {shape} were expected."
        )
    value = (q * judged.chances).sum(axis=1)
    after = judged.goes_on * value[judged.next_index]
    return judged.log.reward + discount * after - q[judged.state_index, judged.codes]


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
    """Sums of z_i δ_i by episode, with z = e_a ⊗ φ(s) of the kernel's features."""
    shape = (judged.n_actions, features.n_features_out_)
    total = np.zeros(shape)
    for _, sums in _episode_sums(judged, residual, features, shape):
        total += sums.sum(axis=0)
    own, cross = np.empty((2, judged.n_episodes))
    for episodes, sums in _episode_sums(judged, residual, features, shape):
        own[episodes] = (sums**2).sum(axis=(1, 2))
        cross[episodes] = np.tensordot(sums, total, 2)
    lengths = np.bincount(judged.episode).astype(float)
    return PairSums(float((total**2).sum()), own, cross, lengths)


def _episode_sums(
    judged: JudgedLog, residual: Floats, features: Any, shape: tuple[int, int]
) -> Iterator[tuple[NDArray[np.intp], Floats]]:
    """Episodes, some at a time, and their S_e, (k, A, m)."""
    for rows in row_groups(judged):
        phi = features.transform(judged.state[rows]) * residual[rows, None]
        episodes, local = np.unique(judged.episode[rows], return_inverse=True)
        sums = np.zeros((len(episodes), *shape))
        np.add.at(sums, (local, judged.codes[rows]), phi)
        yield episodes, sums


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
