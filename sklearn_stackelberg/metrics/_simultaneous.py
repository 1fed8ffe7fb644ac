"""A quantile that holds for several estimates of one log at once."""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student_t
from sklearn.utils import check_random_state

from .._typing import Floats, RandomStateLike
from ._estimate import freedom

# The quantile of so many draws is right to about one in a hundred.
_DRAWS = 20_000


def simultaneous_quantile(
    contributions: Floats,
    level: float,
    one_sided: bool = False,
    random_state: RandomStateLike = 0,
) -> float:
    """How many standard errors m estimates are off at once, at a level.

    Parameters
    ----------
    contributions : array of shape (E, m)
        ψ of E independent pieces to m estimates, see `OffPolicyEstimate`.
    level : float
        Probability that all intervals hold.
    one_sided : bool, default=False
        Whether the intervals are open to one side.
    random_state : int, RandomState instance or None, default=0
        Draws.

    Returns
    -------
    float
        The quantile of the largest of m Student's t with the correlation of the
        contributions: from that of one alone to Bonferroni's.
    """
    # Of the estimate whose spread is known least.
    df = min(freedom(column) for column in contributions.T)
    alpha = (1.0 - level) / (1 if one_sided else 2)
    alone = float(student_t.isf(alpha, df))
    centred = contributions - contributions.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    # An estimate that no piece moves is off by nothing.
    unit = centred[:, length > 0] / length[length > 0]
    m = unit.shape[1]
    if m < 2:
        return alone
    rng = check_random_state(random_state)
    # Eq. (64) of docs/game.md: Gaussian multipliers ξ of the pieces give ξᵀψ̃, which is
    # normal with the correlation ψ̃ᵀψ̃; the root of that needs m numbers a draw, not E.
    values, vectors = np.linalg.eigh(unit.T @ unit)
    root = vectors * np.sqrt(values.clip(min=0.0))
    score = rng.standard_normal((_DRAWS, m)) @ root.T
    score /= np.sqrt(rng.chisquare(df, size=(_DRAWS, 1)) / df)
    largest = (score if one_sided else np.abs(score)).max(axis=1)
    bonferroni = float(student_t.isf(alpha / m, df))
    return float(np.clip(np.quantile(largest, level), alone, bonferroni))
