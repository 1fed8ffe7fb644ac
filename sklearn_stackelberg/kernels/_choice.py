"""Which kernel few states have: whether those that are similar are alike."""

from __future__ import annotations

import numpy as np
from numpy.random import RandomState

from .._linalg import held_out_errors
from .._typing import Floats, Index
from ._nystroem import LandmarkFeatures

# From states that have nothing in common to smooth functions of their columns.
_KERNELS = ("delta", "laplacian", "rbf")

# A smoother kernel has to foretell better by so much: it knows less of a single state.
# Of six processes that this was chosen by, docs/defaults.md, those whose codes say
# nothing are at 1.00 to 1.04, and those with neighbours that are alike at 0.17 to 0.91.
_BETTER = 0.98

# Folds of whole episodes, and the rows of a direction that regressions are drawn in by.
_FOLDS, _RIDGES = 3, [0.1, 1.0]

# Rows by which one is chosen, in whole episodes, and weights that are not too many.
_ROWS, _WEIGHTS = 20_000, 2_500


def choose_kernel(
    states: Floats,
    next_states: Floats,
    action: Index,
    reward: Floats,
    carried: Floats,
    *,
    episode: Index,
    weight: Floats,
    n_components: int | None,
    rng: RandomState,
) -> str:
    """``"delta"``, ``"laplacian"`` or ``"rbf"``, by what held-out episodes say.

    Eq. (71) of docs/evaluation.md, of the logger's values: r + γ V₀(s') is regressed on
    the states' features, for each action, with V₀ by each of the three kernels in turn.
    The smoothest is taken that foretells every one of them better than all before.
    Rewards are less their average, ``carried`` is γ (1 − terminated), and episodes are
    codes from 0 on.
    """
    order = np.random.default_rng(0).permutation(int(episode.max()) + 1)
    sizes = np.bincount(episode, minlength=len(order))[order].cumsum()
    few = order[: 1 + np.searchsorted(sizes, _ROWS)]
    known, where = np.unique(states, axis=0, return_inverse=True)
    if len(few) < _FOLDS or len(known) * (action.max() + 1) > _WEIGHTS:
        return _KERNELS[0]

    rows = np.flatnonzero(np.isin(episode, few))
    fold = np.argsort(order)[episode[rows]] % _FOLDS
    root, carried = np.sqrt(weight[rows])[:, None], carried[rows]
    tables: list[tuple[Floats, Floats]] = []
    for kernel in _KERNELS:
        features = LandmarkFeatures(
            kernel, n_components=n_components, random_state=rng
        ).fit(known)
        z = features.transform(known)[where.ravel()[rows]]
        tables.append((z, features.transform(next_states[rows])))
    ahead = [
        _one_step_ahead(z, after, reward[rows], carried, root) for z, after in tables
    ]
    targets = np.stack(ahead, axis=1)
    chosen, least = _KERNELS[0], np.full(len(_KERNELS), np.inf)
    for kernel, (z, _) in zip(_KERNELS, tables, strict=True):
        error = _error(root * z, root * targets, fold, action[rows])
        if np.all(error < _BETTER * least):
            chosen = kernel
        least = np.minimum(least, error)
    return chosen


def _one_step_ahead(
    z: Floats, after: Floats, reward: Floats, carried: Floats, root: Floats
) -> Floats:
    """r + γ V₀(s'), V₀ the logger's by LSTD in these features, (k,)."""
    own = root**2 * z
    left = own.T @ (z - carried[:, None] * after) + np.eye(z.shape[1])
    return reward + carried * (after @ np.linalg.solve(left, own.T @ reward))


def _error(z: Floats, targets: Floats, fold: Index, action: Index) -> Floats:
    """Held-out squares of a regression for each action, by the better ridge, (c,)."""
    total = np.zeros((len(_RIDGES), targets.shape[1]))
    for own in (np.flatnonzero(action == a) for a in np.unique(action)):
        total += held_out_errors(z[own], targets[own], fold[own], _RIDGES)
    return total.min(axis=0)
