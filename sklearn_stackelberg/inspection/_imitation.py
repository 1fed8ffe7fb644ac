"""Trees that imitate a policy, where that is worth most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from .._typing import AnyArray, Flags, Floats
from ..kernels._columns import center_and_spread
from ..metrics._data import EvaluationData, as_numbers
from ..metrics._estimate import summed
from ..metrics._fitted_q import FittedQ
from ..metrics._holdout import HoldoutEvaluation
from ..metrics._tabulate import AnyPolicy, action_nodes, codes_of, like
from ..metrics._unsupported import bias_bound, unsupported_actions
from ..transitions._actions import masks_at
from ..transitions._step_anchor import StepAnchor
from ..transitions._transitions import Transitions
from ._rule_columns import ByRow
from ._rule_tree import (
    ContinuousTreePolicy,
    DiscreteTreePolicy,
    RuleTree,
    TreePolicy,
    from_sklearn,
    optimal_tree,
)

# Trees of one depth that are grown, each where the ones before it went. On twelve logs
# of six problems whose truth is known, trees of depth 2 had 0.69 of the policies' gain
# over the logger with one, and 0.89 with five (medians). Those that are grown by costs
# are every other one: on nine logs with three actions or more, trees of depth 3 had
# 0.68 of the gain without them, and 0.77 with them (means, no more than 1 each).
_ROUNDS = 6

# Of all weight, what a leaf holds at least; and of rows.
_LEAF_SHARE, _LEAF_ROWS = 0.01, 5.0

# What a decision counts that is worth as much as the policy's, beside a mean one: of
# trees that are worth the same the one that decides alike is chosen.
_ALIKE = 0.01

# Of a leaf, what may lie where the log does not support its action.
_UNSUPPORTED = 0.05


@dataclass(frozen=True, eq=False)
class SeenByRows:
    """A tree on a log whose states a pipeline has transformed.

    The tree asks for columns as people know them, and evaluations are of the same
    features as the policy's: differences are then of the decisions alone.
    """

    tree: Any  # DiscreteTreePolicy
    columns: ByRow

    @property
    def classes_(self) -> AnyArray:
        return self.tree.classes_

    def predict_proba(self, states: Any, available: Flags | None = None) -> Floats:
        return self.tree.predict_proba(self.columns(states), available)


@dataclass(frozen=True, eq=False)
class AmountsByRows:
    """The same of continuous actions."""

    tree: Any  # ContinuousTreePolicy
    columns: ByRow

    def action_nodes(self, states: Any) -> tuple[Floats, Floats]:
        return self.tree.action_nodes(self.columns(states))


def seen_by_rows(tree: TreePolicy, columns: ByRow) -> AnyPolicy:
    kind = SeenByRows if isinstance(tree, DiscreteTreePolicy) else AmountsByRows
    return kind(tree, columns)


class Imitation:
    """A policy on one log, and the trees that imitate it there.

    A tree π̂ loses V(π) − V(π̂) = E over the states s that π̂ comes to of −A(s, π̂(s)), A
    being the advantages of π (the performance difference lemma). Labels are therefore
    the policy's decisions, weighted by what another decision would cost at most, as in
    VIPER [1]_, and by how often the trees before would be in the state, where VIPER
    asks a simulator. Advantages are a fitted Q's, and costs are their sizes: where
    Q finds another action better than the policy's, that is as likely its own error.

    References
    ----------
    .. [1] O. Bastani, Y. Pu, A. Solar-Lezama, "Verifiable reinforcement learning via
       policy extraction", 2018.
    """

    def __init__(
        self,
        policy: AnyPolicy,
        log: Transitions,
        discount: float,
        columns: ByRow,
        optimal: bool = False,
    ) -> None:
        self._policy, self.find, self._optimal = policy, columns, optimal
        # Values by the step, where that says when an episode ends, as a fit has them.
        steps = StepAnchor.of(log, discount)
        self._evaluation = HoldoutEvaluation(log, discount, steps=steps)
        self.fit: FittedQ = self._evaluation.fit(policy)
        self.data: EvaluationData = self.fit.data
        self.columns = columns(np.asarray(self.data.states))  # (N, k)
        self.is_flat = log.action.ndim == 1
        self._sums = 0.5 * self._logged + 0.5 * self._visits(self.fit)

    @cached_property
    def decided(self) -> AnyArray:
        """What the policy does in each state: a column, (N,), or numbers, (N, p)."""
        if not self.data.is_continuous:
            return self.data.probabilities.argmax(axis=1)
        states = like(self.data.log.state, np.asarray(self.data.states))
        width = self.data.nodes.shape[2]
        return action_nodes(self._policy, states, width, greedy=True)[0][:, 0]

    @cached_property
    def q(self) -> Floats:
        """Q of all discrete actions, (N, A)."""
        features = self.fit.system.features.kernel_features
        q = features.transform(self.data.states) @ self.fit.weight.T
        low, high = self.data.q_range(self.fit.system.discount)
        return np.clip(q + self.fit.system.anchor, low, high)

    @cached_property
    def supported(self) -> Flags:
        """Discrete actions that are the policy's, or that the log supports, (N, A)."""
        data = self.data
        classes = np.asarray(self._policy.classes_)
        out = ~unsupported_actions(self.fit.system)
        mask = masks_at(
            data.log, classes, data.state_index, data.next_index, len(data.states)
        )
        if mask is not None:
            out &= mask
        out[np.arange(len(out)), self.decided] = True
        return out

    @cached_property
    def cost(self) -> Floats:
        """What each discrete action costs beside the policy's own, (N, A)."""
        own = np.arange(len(self.q)), self.decided
        cost = np.abs(self.q - self.q[own][:, None])
        cost += max(_ALIKE * float(cost[self.supported].mean()), np.finfo(float).tiny)
        cost[own] = 0.0
        return cost

    @property
    def _logged(self) -> Floats:
        data = self.data
        return summed(data.weight, data.state_index, len(data.states))

    def _visits(self, fit: FittedQ) -> Floats:
        """How often a policy comes to each state, discounted, by its flow, (N,)."""
        data = fit.data
        moved = data.weight * data.carried(fit.system.discount)
        out = summed(data.initial_weight, data.initial_state, len(data.states))
        # A negative ratio is an artefact of smooth features.
        moved = moved * np.maximum(fit.ratio, 0.0)
        out += summed(moved, data.next_index, len(data.states))
        return out / out.sum()

    def tree(self, depth: int, random_state: int) -> TreePolicy:
        """The tree of this depth at most that is worth most by a fitted Q."""
        weight, best, found = self._sums, -np.inf, None
        seen: list[AnyArray] = []
        for number in range(_ROUNDS):
            tree = self._grown(weight, depth, random_state, bool(number % 2))
            done = self.decisions(tree)
            if any(np.array_equal(done, other) for other in seen):
                continue
            seen.append(done)
            found = tree if found is None else found
            if np.array_equal(done, self.decided):
                return tree
            fit = self._evaluation.fit(seen_by_rows(tree, self.find))
            worth = fit.value
            if not self.data.is_continuous:
                worth -= bias_bound(fit.system, ~self.supported)
            if worth > best:
                best, found = worth, tree
            weight = (weight * (number + 2) + self._visits(fit)) / (number + 3)
        assert found is not None
        return found

    def value(self, tree: TreePolicy) -> float:
        """What a tree is worth on this log, by a fitted Q."""
        return self._evaluation.fit(seen_by_rows(tree, self.find)).value

    def advantage(self, log: Transitions, done: AnyArray) -> Floats:
        """Q of what is ``done`` in each row, less that of what was logged, (n,)."""
        features = self.fit.system.features.kernel_features
        states = np.asarray(log.state, dtype=np.float64)
        weight = self.fit.weight
        if self.data.is_continuous:
            logged = as_numbers(log.action)
            z = features.transform(states, done) - features.transform(states, logged)
            return z @ weight
        q = features.transform(states) @ weight.T
        own = np.arange(len(q))
        codes = codes_of(log.action, np.asarray(self._policy.classes_))
        return q[own, done] - q[own, codes]

    def decisions(self, tree: TreePolicy) -> AnyArray:
        """What a tree does in each state, as `decided` has it."""
        if isinstance(tree, DiscreteTreePolicy):
            data = self.data
            mask = masks_at(
                data.log,
                tree.classes_,
                data.state_index,
                data.next_index,
                len(data.states),
            )
            return tree.codes(self.columns, mask)
        return tree.action_nodes(self.columns)[0][:, 0]

    def _grown(
        self, weight: Floats, depth: int, random_state: int, by_cost: bool
    ) -> TreePolicy:
        known = np.flatnonzero(weight > 0)
        columns, weight = self.columns[known], weight[known]
        # Standardised before single precision, in which trees compare, rounds them.
        center, spread = center_and_spread(columns)
        grown_on = ((columns - center) / spread).astype(np.float32)
        least = max(_LEAF_SHARE, _LEAF_ROWS / self.data.total)
        settings: dict[str, Any] = {
            "max_depth": depth,
            "min_samples_leaf": min(least, 0.5),
            "random_state": random_state,
        }
        if self.data.is_continuous:
            amount = self.decided[known]
            scale = center_and_spread(amount)[1]
            model: Any = DecisionTreeRegressor(**settings)
            model.fit(grown_on, amount / scale, weight)

            def mean(rows: Flags) -> Floats:
                some = amount[rows]
                # Without the rounding of a mean, where all are the same.
                found: Floats = np.average(some, axis=0, weights=weight[rows])
                return np.where(np.ptp(some, axis=0) == 0.0, some[0], found)

            rules = from_sklearn(model, grown_on, columns, lambda r: tuple(mean(r)))
            return ContinuousTreePolicy.of(
                rules, _by_leaf(rules, columns, mean), self.is_flat
            )
        cost, supported = self.cost[known], self.supported[known]

        def costs(rows: Flags) -> Floats:
            own = weight[rows] / weight[rows].sum()
            # What is not supported comes after all that is.
            lacking = own @ ~supported[rows] > _UNSUPPORTED
            return own @ cost[rows] + np.where(lacking, cost.max() + 1.0, 0.0)

        def choice(rows: Flags) -> int:
            return int(costs(rows).argmin())

        if self._optimal:
            paid = weight[:, None] * np.where(supported, cost, cost.max())
            fewest = max(int(settings["min_samples_leaf"] * len(columns)), 1)
            rules = optimal_tree(columns, paid, depth, fewest, choice)
        else:
            worst = np.where(supported, cost, 0.0).max(axis=1)
            worst = np.maximum(worst, np.finfo(float).tiny)
            label, seen, counted = self.decided[known], grown_on, weight * worst
            if by_cost:
                # Every action of a state, by how much less than the worst it costs:
                # the policy's as above, and of half of the worst's a fourth of it.
                better = np.maximum(worst[:, None] - cost, 0.0) * supported
                counted = (weight[:, None] * better**2 / worst[:, None]).ravel()
                seen = np.repeat(grown_on, cost.shape[1], axis=0)
                label = np.tile(np.arange(cost.shape[1]), len(cost))
            model = DecisionTreeClassifier(**settings)
            model.fit(seen, label, counted / counted.mean())
            rules = from_sklearn(model, grown_on, columns, choice)
        classes = np.asarray(self._policy.classes_)
        return DiscreteTreePolicy.of(rules, _by_leaf(rules, columns, costs), classes)


def _by_leaf(
    rules: RuleTree, columns: Floats, of_rows: Callable[[Flags], Floats]
) -> Floats:
    """Figures of the rows of each leaf, (n_nodes, ...); 0 of other nodes."""
    leaf = rules.apply(columns)
    found = {int(node): of_rows(leaf == node) for node in rules.leaves}
    out = np.zeros((len(rules.left), *next(iter(found.values())).shape))
    for node, figures in found.items():
        out[node] = figures
    return out
