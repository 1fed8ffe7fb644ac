"""How many rows of a log are worth one that is independent of all others."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve

from .._typing import Floats, Index

# Fewer episodes say nothing of how much they differ.
_FEWEST_EPISODES = 20

# Episodes for each feature: with more features than episodes every episode is fitted.
_EPISODES_PER_FEATURE = 4

# Of the largest eigenvalue of ZᵀZ / n, so that features which the log hardly shows fit
# no noise.
_RIDGE = 1e-3


def most_features(n_episodes: int) -> int:
    """Features that `design_effect` can bear; none where there are few episodes."""
    if n_episodes < _FEWEST_EPISODES:
        return 0
    return n_episodes // _EPISODES_PER_FEATURE


def design_effect(
    z: Floats,
    next_row: Index,
    reward: Floats,
    terminated: Floats,
    episode: Index,
    discount: float,
) -> float:
    """Σ_e |Σ_{i∈e} z_i δ_i|² / Σ_i |z_i|² δ_i², at least 1.

    n E_K of the true Q-function is one in the mean, times k̄ and the variance of δ,
    where the δ of a log are uncorrelated, and so many times that where an episode has a
    noise of its own. δ is of the logger's Q-function, LSTD in the features.

    Parameters
    ----------
    z : array of shape (n, p)
        Features of the logged pairs.
    next_row : int array of shape (n,)
        The row that follows, or -1.
    reward, terminated : arrays of shape (n,)
    episode : int array of shape (n,)
        Codes from 0 on.
    discount : float
    """
    known = (next_row >= 0) | (terminated >= 1.0)
    carried = discount * (1.0 - terminated) * (next_row >= 0)
    after = z[np.maximum(next_row, 0)] * carried[:, None]
    if not z[known].any():
        return 1.0
    own, after = z[known], after[known]
    M = own.T @ (own - after)
    ridge = _RIDGE * np.linalg.norm(own.T @ own, 2)
    w = solve(M + ridge * np.eye(len(M)), own.T @ reward[known])
    scored = own * (reward[known] + (after - own) @ w)[:, None]
    total = np.zeros((episode.max() + 1, z.shape[1]))
    np.add.at(total, episode[known], scored)
    independent = float((scored**2).sum())
    if independent == 0.0:
        return 1.0
    # Eq. (57) of docs/game.md.
    return max(1.0, float((total**2).sum()) / independent)
