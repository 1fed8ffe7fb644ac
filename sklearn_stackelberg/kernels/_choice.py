"""Which kernel states have: whether those that are similar are alike, and how."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import RandomState

from .._linalg import held_out_errors
from .._typing import Floats, Index
from ._nystroem import LandmarkFeatures

# From states that have nothing in common to smooth functions of their columns, and the
# lengths of those of few states, in median ones where any are named. Values that break
# off are in the reach of a kernel that falls off at once, and slowly: of three numbers
# that were compared on ten processes this one loses least (docs/defaults.md).
_KERNELS = ("delta", "laplacian", "rbf")
LENGTHS = {"laplacian": 4.0}

# By so much another kernel has to foretell better. Of few states a smoother one, which
# knows less of a single state: of ten processes that this was chosen by those whose
# codes say nothing are at 1.00 to 1.04, and those with neighbours that are alike at
# 0.17 to 0.91. Of many states a rough one: noise and lines are at 0.98 to 1.1, values
# that break off at 0.4 to 0.96 (docs/defaults.md).
_BETTER = 0.99

# Folds of whole episodes, and the rows of a direction that regressions are drawn in by.
_FOLDS, _RIDGES = 3, [0.1, 1.0]

# Rows by which one is chosen, in whole episodes, and weights that are not too many.
_ROWS, _WEIGHTS = 20_000, 2_500

# Features of some rows' states and next states, (k, m) each.
Table = tuple[Floats, Floats]


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
    """``"delta"``, ``"laplacian"`` or ``"rbf"`` of few states, by held-out episodes.

    Eq. (71) of docs/evaluation.md, of the logger's values: r + γ V₀(s') is regressed on
    the states' features, for each action, with V₀ by each of the three kernels in turn.
    The smoothest is taken whose error is less than that of all before, of each of these
    V₀, and its bandwidth is what `LENGTHS` has, if it has any. Each kernel foretells
    its own V₀ best, so that of a mean one V₀ would decide. Rewards are less their
    average, ``carried`` is γ (1 − terminated), and episodes are codes from 0 on.
    """
    known, where = np.unique(states, axis=0, return_inverse=True)
    found = some_episodes(episode, _ROWS)
    if found is None or len(known) * (action.max() + 1) > _WEIGHTS:
        return _KERNELS[0]
    rows, fold = found
    tables: list[Table] = []
    for kernel in _KERNELS:
        features = LandmarkFeatures(
            kernel,
            bandwidth=LENGTHS.get(kernel, "median"),
            n_components=n_components,
            random_state=rng,
        ).fit(known)
        z = features.transform(known)[where.ravel()[rows]]
        tables.append((z, features.transform(next_states[rows])))
    errors = _errors(
        tables, action[rows], reward[rows], carried[rows], weight[rows], fold
    )
    chosen, least = _KERNELS[0], errors[0]
    for kernel, error in zip(_KERNELS[1:], errors[1:], strict=True):
        if _is_less(error, least):
            chosen = kernel
        least = np.minimum(least, error)
    return chosen


def are_rough(
    smooth: Table,
    rough: Table,
    action: Index,
    reward: Floats,
    carried: Floats,
    *,
    weight: Floats,
    fold: Index,
) -> bool:
    """Whether rough features foretell held-out rows better than smooth ones.

    As in `choose_kernel`, of many states: of both V₀.
    """
    tables = smooth, rough
    errors = _errors(tables, action, reward, carried, weight, fold)
    return _is_less(errors[1], errors[0])


def some_episodes(episode: Index, n_rows: int) -> tuple[Index, Index] | None:
    """Rows of about so many, in whole episodes, and their folds; None of too few."""
    order = np.random.default_rng(0).permutation(int(episode.max()) + 1)
    sizes = np.bincount(episode, minlength=len(order))[order].cumsum()
    few = order[: 1 + np.searchsorted(sizes, n_rows)]
    if len(few) < _FOLDS:
        return None
    rows = np.flatnonzero(np.isin(episode, few))
    return rows, np.argsort(order)[episode[rows]] % _FOLDS


def _is_less(error: Floats, other: Floats) -> bool:
    """Whether all errors, (c,), are less than others."""
    return bool(np.all(error < _BETTER * other))


def _errors(
    tables: Sequence[Table],
    action: Index,
    reward: Floats,
    carried: Floats,
    weight: Floats,
    fold: Index,
) -> list[Floats]:
    """Held-out errors of each kernel's regression, of each one's V₀, (c,)."""
    root = np.sqrt(weight)[:, None]
    ahead = [_one_step_ahead(z, after, reward, carried, root) for z, after in tables]
    targets = root * np.stack(ahead, axis=1)
    return [_error(root * z, targets, fold, action) for z, _ in tables]


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
