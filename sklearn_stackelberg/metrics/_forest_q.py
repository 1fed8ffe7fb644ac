"""Fitted-Q evaluation by trees, which a value in closed form is held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.linalg import LinearOperator, gmres
from scipy.stats import norm
from scipy.stats import t as student_t
from sklearn.ensemble import ExtraTreesRegressor

from .._linalg import held_out_errors
from .._typing import AnyArray, Floats, Index
from ..kernels._columns import StateColumns
from ..kernels._registry import is_delta
from ._data import EvaluationData
from ._estimate import freedom, spread, summed
from ._features import DiscreteFeatures
from ._fitted_q import FittedQSystem
from ._policy_columns import policy_columns

# Trees, and the rows of a leaf; and how often they are grown anew on r + γ V(s') by
# those before.
_TREES, _LEAF, _ROUNDS = 25, 5.0, 3

# Rows that trees are grown on, in whole episodes, and that they are held against the
# features by, in so many folds.
_ROWS, _HELD_OUT_ROWS, _FOLDS = 15_000, 2_500, 3

# Of the size of two values that are one.
_ROUNDING = 1e-9

# Pieces from which on trees are asked: of fewer, leaves are as wide as the log.
_FEWEST = 20

# More labels, each with trees of its own, would take longer than all else.
_MOST_KINDS = 50

# Of the equations of V, whose solution needs some 50 steps.
_TOLERANCE, _RESTART, _RESTARTS = 1e-6, 50, 20

# Standard errors up to which a distance is nothing but chance, and from which on none
# of it is. Where the log covers the policy it is 0.4 of them.
_CHANCE, _SURE, _TAIL = 1.0, 2.0, 0.025


@dataclass(frozen=True)
class Disagreement:
    """What trees make of a policy, and how far off a value may be by that."""

    value: float  # by trees
    bound: float  # of the bias, >= 0
    error: float = 0.0  # standard error of the value

    @property
    def notes(self) -> tuple[UserWarning, ...]:
        """What is to be warned of."""
        # What is less is in the interval, and no reason to act.
        if not self.bound > self.error:
            return ()
        text = (
            "Trees that solve the same equations value the policy at "
            f"{self.value:.4g}, and chance does not explain the distance: where the "
            "policy leads the log has few rows, and what is made of them depends on "
            f"the features. The interval is wider for it, by {self.bound:.4g} on each "
            "side. Evaluate a policy that is closer to what was logged (a larger lam "
            "or support), or log more of what this one does. [pitfalls: trees-disagree]"
        )
        return (UserWarning(text),)


def disagreement(
    systems: Sequence[FittedQSystem],
    value: float,
    contributions: Floats,
    held: Sequence[Index] | None = None,
) -> Disagreement:
    """Hold a value, with what each piece contributes to it, against that by trees.

    Trees average rows and never go beyond them, smooth features do: where a policy
    leads to where rows are few, either foretells its own values best, and they differ.
    Of several policies of one log, each has trees of the rows that it is ``held``
    against.
    """
    first = systems[0]
    data = first.data
    none = Disagreement(float("nan"), 0.0)
    # Of states that are equal or not there is nothing between the rows.
    finite = is_delta(first.features.kernel_features.kernel_)
    if finite or data.n_actions > _MOST_KINDS:
        return none
    parts = [np.arange(len(data))] if held is None else held
    if min(len(np.unique(data.pieces[rows])) for rows in parts) < _FEWEST:
        return none
    psi, by_trees, forests = np.zeros(data.n_pieces), 0.0, []
    for system, rows in zip(systems, parts, strict=True):
        own = system.data if held is None else system.data.take(rows)
        some = _some_rows(own, _ROWS // len(parts))
        forest = ForestQ(
            own if len(some) == len(own) else own.take(some), first.discount
        )
        # Where a walk need not end, trees may have no value.
        if not forest.converged:
            return none
        share = float(data.initial_weight[np.isin(data.initial, rows)].sum())
        by_trees += share * forest.value
        pieces = np.unique(data.pieces[rows[some]])
        if len(pieces) != forest.data.n_pieces:
            # Blocks of a part of one trajectory are others than those of all.
            return none
        psi[pieces] = share * forest.contributions
        forests.append(forest)
    if sum(len(forest.data) for forest in forests) < len(data):
        error = float(np.hypot(spread(contributions), spread(psi)))
    else:
        error = spread(contributions - psi)
    # Student's quantile over the normal one: few pieces tell an error less well.
    error *= float(student_t.isf(_TAIL, freedom(contributions)) / norm.isf(_TAIL))
    distance = abs(by_trees - value)
    if distance <= _ROUNDING * (abs(value) + abs(by_trees)):
        return none
    bound = beyond_chance(distance, error)
    if bound > 0.0 and not _foretells_better(forests[0], first):
        bound = 0.0
    return Disagreement(by_trees, bound, spread(contributions))


def beyond_chance(distance: float, error: float) -> float:
    """How much of a distance its standard error does not explain, >= 0."""
    # Eq. (88) of docs/evaluation.md.
    if not np.isfinite(error):
        return 0.0
    score = distance / error if error > 0.0 else np.inf
    return float(distance * np.clip((score - _CHANCE) / (_SURE - _CHANCE), 0.0, 1.0))


def _foretells_better(forest: ForestQ, system: FittedQSystem) -> bool:
    """Whether trees foretell r + γ V(s') of held-out pieces, V their own, better.

    If the features foretell it better, trees are too coarse for these values, and what
    they make of them says nothing: of costs that are quadratic in a state, say.
    """
    # Eq. (71) of docs/evaluation.md, with V of the trees.
    target = forest.target
    data = forest.data
    rows = _some_rows(data, _HELD_OUT_ROWS)
    # What repeats an episode is in its fold.
    order = np.random.default_rng(0).permutation(data.n_distinct_pieces)
    fold = order[data.distinct_pieces[rows]] % _FOLDS
    root = np.sqrt(data.row_weight)
    features = system.on(data).features
    by_features = by_trees = 0.0
    for own in _kinds(data.take(rows)):
        own, held = rows[own], fold[own]
        y, columns = target[own] - system.anchor, forest.logged[own]
        if isinstance(features, DiscreteFeatures):
            z = features.phi(data.state_index[own])
        else:
            z = features.logged(own)
        weight = root[own, None]
        errors = held_out_errors(weight * z, root[own] * y, held, [system.ridge])
        by_features += float(errors[0])
        for k in np.unique(held):
            rest, mine = held != k, held == k
            found = np.zeros(1)
            if rest.any():
                trees = _trees(columns[rest], y[rest], data.row_weight[own[rest]])
                found = trees.predict(columns[mine])
            by_trees += float(data.row_weight[own[mine]] @ (y[mine] - found) ** 2)
    return by_trees < by_features


class ForestQ:
    """Q of a policy that is a mean over the leaves of trees.

    Q(s, a) = Σ_i K_i(s, a) (r_i + γ g_i V(s'_i)), V(s) = Σ_a π(a|s) Q(s, a), where
    K_i(s, a) is the weight of row i in the leaf of (s, a), averaged over trees. These
    are averages, so that the equations contract, whatever the log is.
    """

    def __init__(self, data: EvaluationData, discount: float) -> None:
        self.data, self.discount = data, discount
        self.converged = True
        self._carried = data.carried(discount)
        # Values are needed where the rows lead to, and of initial states.
        asked = np.concatenate([data.next_index, data.initial_state])
        self._places, where = np.unique(asked, return_inverse=True)
        self._next, self._first = np.split(where, [len(data)])
        # Standardised before single precision, in which trees compare, rounds them.
        logged, self._place, asked = self._pairs()
        columns = StateColumns("float32", standardise=True).fit(logged)
        self.logged = columns.transform(logged)  # (n, c)
        self._asked_pairs = columns.transform(asked)  # (q, c)
        self._values = np.full(len(self._places), data.mean_return(discount))
        for _ in range(_ROUNDS):
            self._grow(self.target)
            # What the log never holds is worth the mean reward at every step.
            lost = 1.0 - np.asarray(self._asked.sum(axis=1))
            start = self._mean(data.reward) + data.mean_return(discount) * lost
            self._values = self._solved(self._step, start)

    @property
    def value(self) -> float:
        """Average V of the initial states, inside the range of returns."""
        value = self.data.initial_weight @ self._initial_values
        return float(np.clip(value, *self.data.return_range(self.discount)))

    @property
    def target(self) -> Floats:
        """r + γ V(s') of the rows, (n,)."""
        return self.data.reward + self._carried * self._values[self._next]

    @property
    def _initial_values(self) -> Floats:
        return self._values[self._first] + self.data.offset[self.data.initial]

    @cached_property
    def ratio(self) -> Floats:
        """p_i ω_i of the rows, (n,): what of each one's reward is in the value."""
        start = summed(self.data.initial_weight, self._first, len(self._places))
        return self._mean_back(self._solved(self._step_back, start))

    @cached_property
    def contributions(self) -> Floats:
        """ψ_e of each piece, as in Eq. (50) but with plain residuals, (E,)."""
        data = self.data
        psi = self.ratio * (self.target - self._own @ (self._leaves @ self.target))
        first = self._initial_values
        start = first - data.initial_weight @ first
        np.add.at(psi, data.initial, data.initial_weight * start)
        return summed(psi, data.pieces, data.n_pieces)

    def _step(self, values: Floats) -> Floats:
        """(I − Π K γ g) V."""
        return values - self._mean(self._carried * values[self._next])

    def _step_back(self, visits: Floats) -> Floats:
        """The transpose of the same."""
        led_to = self._carried * self._mean_back(visits)
        return visits - summed(led_to, self._next, len(visits))

    def _solved(self, times: Callable[[Floats], Floats], right: Floats) -> Floats:
        if not self.converged:
            return right
        matrix = LinearOperator((len(right),) * 2, matvec=times, dtype=np.float64)
        # Of the transpose, bicgstab ends at once: its start is of few states.
        found, code = gmres(
            matrix, right, rtol=_TOLERANCE, restart=_RESTART, maxiter=_RESTARTS
        )
        self.converged = code == 0 and bool(np.isfinite(found).all())
        return np.asarray(found)

    def _mean(self, rows: Floats) -> Floats:
        """Π K of the rows' numbers, at the places."""
        return np.asarray(self._asked @ (self._leaves @ rows))

    def _mean_back(self, visits: Floats) -> Floats:
        """The transpose of the same."""
        return np.asarray(self._leaves.T @ (self._asked.T @ visits))

    def _grow(self, target: Floats) -> None:
        """Grow trees on a target, and keep of them which leaf is whose."""
        leaves, own, asked = [], [], []
        n, n_leaves = len(self.data), 0
        for rows in _kinds(self.data):
            weight, logged = self.data.row_weight[rows], self.logged[rows]
            trees = _trees(logged, target[rows], weight)
            counts = [tree.tree_.node_count for tree in trees.estimators_]
            first = n_leaves + np.cumsum(counts) - counts  # leaf of each tree
            n_leaves += sum(counts)
            where = trees.apply(logged) + first  # (k, trees)
            rows = np.repeat(rows[:, None], _TREES, axis=1)
            weight = np.repeat(weight[:, None], _TREES, axis=1)
            in_leaf = np.bincount(where.ravel(), weight.ravel(), n_leaves)
            leaves.append((weight / in_leaf[where], where, rows))
            own.append((np.full(where.shape, 1.0 / _TREES), rows, where))
            which, share = self._shares(rows[0, 0])
            if len(which):
                where = trees.apply(self._asked_pairs[which]) + first
                share = np.repeat(share[:, None] / _TREES, _TREES, axis=1)
                place = np.repeat(self._place[which, None], _TREES, axis=1)
                asked.append((share, place, where))
        self._leaves = _matrix(leaves, (n_leaves, n))
        self._own = _matrix(own, (n, n_leaves))
        self._asked = _matrix(asked, (len(self._places), n_leaves))

    def _pairs(self) -> tuple[Floats, Index, Floats]:
        """Logged pairs, (n, ·), and those that values are made of, with their places.

        Of discrete actions these are the states, one each.
        """
        data, places = self.data, self._places
        states = data.states[places]
        if data.is_continuous:
            place, node = np.nonzero(data.probabilities[places])
            nodes = data.nodes[places[place], node]
            return np.asarray(data.pairs), place, np.hstack([states[place], nodes])
        # Trees, too, are to find where a policy of labels changes what it does.
        policy = policy_columns(data)
        logged = np.hstack([np.asarray(data.state), policy[data.state_index]])
        return logged, np.arange(len(places)), np.hstack([states, policy[places]])

    def _shares(self, row: int) -> tuple[Index, Floats]:
        """Which pairs the policy takes of a row's kind, and π(a|s) of these."""
        data, place = self.data, self._place
        probabilities = data.probabilities[self._places]
        if data.is_continuous:
            return np.arange(len(place)), probabilities[probabilities != 0.0]
        share = probabilities[:, data.codes[row]]
        which = np.flatnonzero(share)
        return which, share[which]


def _kinds(data: EvaluationData) -> list[Index]:
    """Rows that have trees of their own: as Q in closed form, of each action."""
    if data.is_continuous:
        return [np.arange(len(data))]
    return [np.flatnonzero(data.codes == action) for action in np.unique(data.codes)]


def _trees(columns: AnyArray, target: Floats, weight: Floats) -> ExtraTreesRegressor:
    # Half a row less: shares of a sum are rounded.
    share = min(0.5, (_LEAF - 0.5) / weight.sum())
    # A fixed seed: which trees stand for all is nothing to choose.
    trees = ExtraTreesRegressor(_TREES, min_weight_fraction_leaf=share, random_state=0)
    return trees.fit(columns, target, sample_weight=weight)


def _matrix(
    parts: Sequence[tuple[Floats, Index, Index]], shape: tuple[int, int]
) -> csr_array:
    """Of entries, their rows and their columns."""
    if not parts:
        return csr_array(shape)
    values, rows, columns = (
        np.concatenate([part[i].ravel() for part in parts]) for i in range(3)
    )
    return csr_array(coo_array((values, (rows, columns)), shape=shape))


def _some_rows(data: EvaluationData, most: int) -> Index:
    """Rows of whole pieces, drawn at random, about so many."""
    if len(data) <= most:
        return np.arange(len(data))
    if data.has_blocks:
        # One trajectory's first rows, which follow one another.
        return np.arange(most)
    order = np.random.default_rng(0).permutation(data.n_pieces)
    ends = np.bincount(data.pieces)[order].cumsum()
    few = order[: max(_FOLDS, int(np.searchsorted(ends, most)))]
    return np.flatnonzero(np.isin(data.pieces, few))
