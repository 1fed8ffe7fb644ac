"""Who is judged, and on which rows: a policy and a log, made ready for the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._typing import Floats
from ..transitions._linking import encode
from ..transitions._transitions import Transitions


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """A log as a policy sees it.

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
    codes : int array of shape (n,), or None
        Logged actions, as columns of ``probabilities``; None of a continuous policy.
    nodes : array of shape (N, A, p), default=None
        The actions that stand for a continuous policy in each of ``states``.
    """

    policy: Any
    log: Transitions
    rows: NDArray[np.intp]
    weight: Floats
    states: Floats
    state_index: NDArray[np.intp]
    next_index: NDArray[np.intp]
    probabilities: Floats
    codes: Any
    nodes: Floats | None = None

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def n_actions(self) -> int:
        """A."""
        return self.probabilities.shape[1]

    @cached_property
    def has_shared_nodes(self) -> bool:
        """Whether a continuous policy's nodes are the same actions in every state."""
        nodes = self.nodes
        if nodes is None or not np.array_equal(nodes[0], nodes[-1]):
            return False
        return bool((nodes == nodes[0]).all())

    @property
    def actions(self) -> Floats:
        """The logged actions of a continuous policy's log, (n, p)."""
        return as_numbers(self.log.action)

    @property
    def state(self) -> Floats:
        """The logged states, (n, d)."""
        return self.states[self.state_index]

    @property
    def not_done(self) -> Floats:
        """1 − terminated, (n,)."""
        return 1.0 - self.log.terminated

    @cached_property
    def initial(self) -> NDArray[np.intp]:
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
    def episode(self) -> NDArray[np.intp]:
        """Codes of the rows' episodes; without them each row is one of its own."""
        return encode(self.log.episode) if self.has_episodes else np.arange(len(self))

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

    def take(self, rows: NDArray[np.intp]) -> EvaluationData:
        """The log of some rows, with weights that sum to 1."""
        weight = self.weight[rows]
        return EvaluationData(
            self.policy,
            self.log[rows],
            self.rows[rows],
            weight / weight.sum(),
            self.states,
            self.state_index[rows],
            self.next_index[rows],
            self.probabilities,
            None if self.codes is None else self.codes[rows],
            self.nodes,
        )


def return_range(log: Transitions, discount: float) -> tuple[float, float]:
    """Where returns must lie if rewards are no others than those of a log."""
    low, high = float(log.reward.min()), float(log.reward.max())
    far = low / (1.0 - discount), high / (1.0 - discount)
    if not log.terminated.any():
        return far
    return min(low, far[0]), max(high, far[1])


def as_numbers(action: NDArray[Any]) -> Floats:
    """Logged actions as (n, p) floats."""
    return np.asarray(action, dtype=np.float64).reshape(len(action), -1)
