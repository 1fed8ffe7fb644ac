"""What the few rows of a pair of a state and an action do not tell of its values."""

from __future__ import annotations

import numpy as np

from .._typing import Floats, Index
from ..kernels._columns import distinct_rows, which_row
from ._estimate import spread

# Rows that the spread of all actions in a state counts as beside those of one action,
# and that of all states beside those of a state. One to four were tried: with two the
# intervals of learned policies on a chain held the truth in all of 40 logs, and in 33
# to 36 without; those of policies near the logger became 1 to 6 % wider.
_PRIOR_ROWS = 2.0


def thin_pairs_variance(
    mass: Floats, target: Floats, residual: Floats, state: Floats, action: Floats
) -> float:
    """What is to be added to a variance for pairs of a state and an action of few rows.

    Σ_g d_g² (s̃_g² − s_g²)₊ / m_g over pairs g of m_g rows, d_g the sum of their
    ``mass`` p_i ω_i, s_g² the variance of their ``target`` r + γ V(s'). Two rows of the
    same outcome have none, whatever they might have had: s̃² is a mean of m_g times s²
    and a few times that of the state, Eq. (75) of docs/evaluation.md. All are (n,), but
    for states (n, d), of which there are few, and actions (n, p).
    """
    known = distinct_rows(state)
    assert known is not None
    place = which_row(known, state)
    first, pair = _codes(np.column_stack([place, action]))
    of_state = _shrunk(place, target, float(np.mean(residual**2)))
    m, own = _variances(pair, target)
    prior = of_state[place[first]]
    added = _PRIOR_ROWS * (prior - own) / (m + _PRIOR_ROWS)  # (s̃² − s²)
    visits = np.bincount(pair, mass)
    return float((visits**2 * np.maximum(added, 0.0) / m).sum())


def _codes(rows: Floats) -> tuple[Index, Index]:
    """The first of each kind of row, and the kind of each, (n,)."""
    _, first, kind = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return first, kind.ravel()


def _shrunk(group: Index, values: Floats, prior: float) -> Floats:
    """The variance of each group, drawn to ``prior`` where it has few rows."""
    rows, own = _variances(group, values)
    return (rows * own + _PRIOR_ROWS * prior) / (rows + _PRIOR_ROWS)


def _variances(group: Index, values: Floats) -> tuple[Floats, Floats]:
    """How many values each group has, and their variance."""
    rows = np.bincount(group)
    count = np.maximum(rows, 1)
    centred = values - (np.bincount(group, values) / count)[group]
    return rows.astype(float), np.bincount(group, centred**2) / count


def widened(contributions: Floats, variance: float) -> Floats:
    """Contributions, (E,), with so much more variance of their sum."""
    error = spread(contributions)
    # Scaled, so that what two policies have in common still cancels in a difference.
    if not error > 0.0:
        return contributions
    mean = contributions.mean()
    factor = float(np.hypot(error, np.sqrt(variance))) / error
    return mean + (contributions - mean) * factor
