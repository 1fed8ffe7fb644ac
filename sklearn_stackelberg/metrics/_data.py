"""A policy on a log, as arrays: what every estimate is computed from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from .._typing import Floats, Index
from ..transitions._linking import encode


class LoggedRows(Protocol):
    """What estimates read of a `Transitions`."""

    # An array, or a DataFrame, which has another interface.
    state: Any
    action: NDArray[Any]
    reward: NDArray[Any]
    terminated: NDArray[Any]
    is_initial: NDArray[Any]
    episode: NDArray[Any] | None
    step: NDArray[Any] | None
    propensity: NDArray[Any] | None

    def __len__(self) -> int:
        """n."""

    def __getitem__(self, key: Index) -> Self:
        """Some of the rows."""


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """A log and what a policy does in its states; made by `tabulate_policy`.

    Parameters
    ----------
    policy : object
        Without the search or the pipeline around it.
    log : Transitions
        The rows that have a weight, transformed as the policy's pipeline does.
    rows : int array of shape (n,)
        Where they stand in what the user gave.
    weight : array of shape (n,)
        Sums to 1.
    states : array of shape (N, d)
        States and next states, each once where a next state is the next row's state.
    state_index, next_index : int array of shape (n,)
        Where each row's are in ``states``.
    probabilities : array of shape (N, A)
        π(a | s) of ``states``; of a continuous policy the weights of its nodes.
    nodes : array of shape (N, A, p)
        The actions that stand for the policy in each of ``states``: discrete ones as
        one-hot columns, the same in every state.
    codes : int array of shape (n,)
        Logged discrete actions, as columns of ``probabilities``; else empty.
    """

    policy: object
    log: LoggedRows
    rows: Index
    weight: Floats
    states: Floats
    state_index: Index
    next_index: Index
    probabilities: Floats
    nodes: Floats
    codes: Index

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def is_continuous(self) -> bool:
        """Whether actions are numbers that may lie in between."""
        return len(self.codes) == 0

    @property
    def n_actions(self) -> int:
        """A."""
        return self.probabilities.shape[1]

    @cached_property
    def has_shared_nodes(self) -> bool:
        """Whether the nodes are the same actions in every state."""
        nodes = self.nodes
        # Most policies that differ do so in the last state; that costs one comparison.
        if not np.array_equal(nodes[0], nodes[-1]):
            return False
        return bool((nodes == nodes[0]).all())

    @property
    def actions(self) -> Floats:
        """The logged actions, as ``nodes`` has them, (n, p)."""
        if self.is_continuous:
            return as_numbers(self.log.action)
        return np.eye(self.n_actions)[self.codes]

    @property
    def logged_probability(self) -> Floats:
        """π(a | s) of the logged discrete actions, (n,)."""
        return self.probabilities[self.state_index, self.codes]

    @property
    def state(self) -> Floats:
        """The logged states, (n, d)."""
        return self.states[self.state_index]

    @property
    def not_done(self) -> Floats:
        """1 − terminated, (n,)."""
        return 1.0 - self.log.terminated

    @cached_property
    def initial(self) -> Index:
        """Rows whose states are initial: all, where the log marks none."""
        first = np.flatnonzero(self.log.is_initial)
        return first if len(first) else np.arange(len(self))

    @cached_property
    def initial_weight(self) -> Floats:
        """Weights of the initial rows, that sum to 1."""
        weight = self.weight[self.initial]
        return weight / weight.sum()

    @property
    def has_episodes(self) -> bool:
        """Whether rows can be told apart by episode."""
        return self.log.episode is not None

    @cached_property
    def episode(self) -> Index:
        """Codes of the rows' episodes; without them each row is one of its own."""
        if self.log.episode is None:
            return np.arange(len(self))
        return encode(self.log.episode)

    @cached_property
    def n_episodes(self) -> int:
        """Independent pieces that the log falls into."""
        return int(self.episode.max()) + 1

    @property
    def counted(self) -> str:
        """The pieces in words."""
        if self.has_episodes:
            return f"{self.n_episodes:,} episode{'s' * (self.n_episodes != 1)}"
        return f"{self.n_episodes:,} rows, each taken as independent of the others"

    def return_range(self, discount: float) -> tuple[float, float]:
        """Where returns must lie if rewards are no others than those logged."""
        return return_range(self.log, discount)

    def take(self, rows: Index) -> EvaluationData:
        """The log of some rows, with weights that sum to 1."""
        weight = self.weight[rows]
        return replace(
            self,
            log=self.log[rows],
            rows=self.rows[rows],
            weight=weight / weight.sum(),
            state_index=self.state_index[rows],
            next_index=self.next_index[rows],
            codes=self.codes if self.is_continuous else self.codes[rows],
        )


def return_range(log: LoggedRows, discount: float) -> tuple[float, float]:
    """Where returns must lie if rewards are no others than those of a log."""
    low, high = float(log.reward.min()), float(log.reward.max())
    far = low / (1.0 - discount), high / (1.0 - discount)
    if not log.terminated.any():
        return far
    # An episode may also end at its first step, with that reward alone.
    return min(low, far[0]), max(high, far[1])


def as_numbers(action: NDArray[Any]) -> Floats:
    """Logged actions as (n, p) floats."""
    return np.asarray(action, dtype=np.float64).reshape(len(action), -1)
