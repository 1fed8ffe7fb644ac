"""A policy on a log, as arrays: what every estimate is computed from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from .._stored_rows import ComputedRows
from .._typing import Floats, Index
from ..transitions._discounting import carried, return_range
from ..transitions._linking import encode, places_in_time
from ..transitions._step_anchor import StepAnchor
from ..transitions._tables import Log
from ..transitions._weights import EqualEpisodes, equal_episodes

# Rows that are held at once: with a thousand features, 32 MiB.
BATCH_ROWS = 4096


# Entries of the Gram matrix of nodes that are held at once: 32 MiB.
_GRAM_ENTRIES = 2**22

# Rows that one trajectory is cut into blocks from: fewer make no ten blocks of some
# length, whose spread would say anything.
FEWEST_ROWS = 50


def batches(n: int) -> Iterator[slice]:
    """Slices of n rows."""
    return gen_batches(n, BATCH_ROWS)


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """A log and what a policy does in its states; made by `tabulate_policy`.

    Discrete actions are nodes as well: one-hot columns, the same in every state.
    """

    policy: object  # without the search or the pipeline around it
    log: Log  # rows that have a weight, transformed as in the policy's pipeline
    rows: Index  # (n,), where they stand in what the user gave
    weight: Floats  # (n,), sums to 1
    total: float  # rows that they count as, the sum of the weights as given
    # States and next states, each once where a next state is the next row's state.
    # Numbers of rows times columns, or times features, are never held: read by batches.
    states: ComputedRows  # (N, d)
    state_index: Index  # (n,), where each row's state is in ``states``
    next_index: Index  # (n,), and its next state
    probabilities: Floats  # (N, A), π(a | s), or the weights of a continuous policy's
    nodes: Floats  # (N, A, p), the actions that stand for the policy in each state
    codes: Index  # (n,), logged actions as columns of the above; empty if continuous
    block_length: int | None = None  # rows of a piece; None is an episode, see `pieces`
    steps: StepAnchor | None = None  # what values are measured from, see `anchored`
    discount: float = 0.0  # that of ``steps``

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def is_continuous(self) -> bool:
        """Whether actions are numbers that may lie in between."""
        return len(self.codes) == 0

    @cached_property
    def row_weight(self) -> Floats:
        """How often each row counts, as given, (n,)."""
        return self.weight * self.total

    @cached_property
    def has_weights(self) -> bool:
        """Whether rows count for more or less than once."""
        return bool(np.abs(self.row_weight - 1.0).max() > 1e-9)

    @property
    def n_actions(self) -> int:
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
        """The logged states, (n, d), read where they are asked for."""
        return cast(Floats, self.states.at(self.state_index))

    @property
    def next_state(self) -> Floats:
        """The states that they led to, (n, d)."""
        return cast(Floats, self.states.at(self.next_index))

    @property
    def pairs(self) -> Floats:
        """The logged states with the actions behind them, (n, d + p)."""
        return cast(Floats, self.states.at(self.state_index).beside(self.actions))

    def anchored(self, discount: float, steps: StepAnchor | None) -> Self:
        """Values measured from what a log, perhaps another one, returns from steps on.

        What is fitted is then of `reward`, Q is less `offset`, which `initial_values`
        adds again. None leaves all as it is.
        """
        return replace(self, steps=steps, discount=discount)

    def by_steps(self, discount: float, steps: StepAnchor | None = None) -> Self:
        """`anchored`, and with a last column of the states that holds the step.

        By the log itself, if no ``steps`` are given. What a policy does in a state may
        be the same at all steps, and is worth more the more steps there are to come.
        """
        steps = StepAnchor.of(self.log, discount) if steps is None else steps
        if steps is None:
            return self
        assert self.log.step is not None
        step = np.empty(len(self.states))
        step[self.next_index] = self.log.step + 1
        # Last, so that a state that is also the next one has its own row's.
        step[self.state_index] = self.log.step
        states = self.states.beside(step[:, None])
        return replace(self.anchored(discount, steps), states=states)

    @cached_property
    def reward(self) -> Floats:
        """The rewards of what is fitted, (n,)."""
        if self.steps is None:
            return self.log.reward
        return self.steps.reward(self.log, self.discount)

    @cached_property
    def offset(self) -> Floats:
        """What values of the rows are measured from, (n,)."""
        if self.steps is None:
            return np.zeros(len(self))
        return self.steps.of_rows(self.log)

    @cached_property
    def next_offset(self) -> Floats:
        """The same of the values of next states, (n,)."""
        if self.steps is None:
            return np.zeros(len(self))
        return self.steps.after_rows(self.log)

    def initial_values(self, value: Floats) -> Floats:
        """V of the initial rows, from V of ``states`` as it was fitted."""
        return value[self.initial_state] + self.offset[self.initial]

    def q_range(self, discount: float) -> tuple[float, float]:
        """Where Q as it is fitted must lie if rewards are no others than the log's."""
        low, high = self.return_range(discount)
        return low - float(self.offset.max()), high - float(self.offset.min())

    def carried(self, discount: float) -> Floats:
        """γ^d (1 − terminated), what the next values weigh, (n,)."""
        return carried(self.log, discount)

    @cached_property
    def initial(self) -> Index:
        """Rows whose states are initial: all, where the log marks none."""
        # A log without a mark is taken to start anywhere, as ``initial_states="all"``.
        first = np.flatnonzero(self.log.is_initial)
        return first if len(first) else np.arange(len(self))

    @property
    def initial_state(self) -> Index:
        """Where the initial rows' states are in ``states``."""
        return self.state_index[self.initial]

    @cached_property
    def initial_weight(self) -> Floats:
        """Weights of the initial rows, that sum to 1."""
        weight = self.weight[self.initial]
        return weight / weight.sum()

    @property
    def has_episodes(self) -> bool:
        return self.log.episode is not None

    @cached_property
    def episode(self) -> Index:
        """Codes of the rows' episodes; without them each row is one of its own."""
        if self.log.episode is None:
            return np.arange(len(self))
        return encode(self.log.episode)

    @cached_property
    def n_episodes(self) -> int:
        return int(self.episode.max()) + 1

    @cached_property
    def has_blocks(self) -> bool:
        """Whether pieces are blocks of time: as asked for, or of one trajectory."""
        if self.block_length is not None:
            return True
        return self.n_episodes == 1 and len(self) >= FEWEST_ROWS

    @cached_property
    def pieces(self) -> Index:
        """Codes of what is taken as independent: episodes, rows, or blocks of time.

        A log of one episode falls into about √n blocks of √n consecutive rows. Rows of
        no known episode are each a piece, unless they have a ``block_length``.
        """
        if not self.has_blocks:
            return self.episode
        # Eq. (67) of docs/game.md.
        length = self.block_length or round(np.sqrt(len(self)))
        return time_blocks(self.log, lambda rows: max(1, round(rows / length)))

    @cached_property
    def n_pieces(self) -> int:
        return int(self.pieces.max()) + 1

    @cached_property
    def _equal(self) -> EqualEpisodes | None:
        return equal_episodes(self.log, self.episode, self.state, self.next_state)

    @cached_property
    def joined(self) -> EvaluationData:
        """Equal episodes as one of their summed weight, for what is drawn of the rows.

        What it leads to is then the same whether episodes stand k times in a log or
        have the weight k.
        """
        if self._equal is None:
            return self
        weight = self._equal.summed(self.weight)
        return replace(self.take(self._equal.first), weight=weight, total=self.total)

    @cached_property
    def distinct_pieces(self) -> Index:
        """Codes of the pieces, where those that repeat another one are it, (n,).

        They repeat it where states are measured; of few states, equal ones are chance.
        """
        if self._equal is None or self._equal.by_chance or self.has_blocks:
            return self.pieces
        return self._equal.kind

    @property
    def n_distinct_pieces(self) -> int:
        return int(self.distinct_pieces.max()) + 1

    @property
    def counted(self) -> str:
        """The pieces in words."""
        if self.has_blocks:
            sizes = np.bincount(self.pieces)
            low, high = int(sizes.min()), int(sizes.max())
            rows = f"{low:,}" if low == high else f"{low:,} to {high:,}"
            return (
                f"{self.n_pieces:,} block{'s' * (self.n_pieces != 1)} of {rows} "
                "consecutive rows"
            )
        if self.has_episodes:
            return f"{self.n_episodes:,} episode{'s' * (self.n_episodes != 1)}"
        return f"{self.n_episodes:,} rows, each taken as independent of the others"

    def td_residual(self, value: Floats, logged_q: Floats, discount: float) -> Floats:
        """δ = r + γ V(s') − Q(s, a) of the rows, by V of ``states`` and their Q."""
        # Eq. (2) of docs/game.md: what follows an end is worth nothing, whatever Q is.
        after = self.carried(discount) * value[self.next_index]
        return self.reward + after - logged_q

    def return_range(self, discount: float) -> tuple[float, float]:
        return return_range(self.log, discount)

    def mean_return(self, discount: float) -> float:
        """The mean reward at every step: what to expect where the log is silent."""
        # Eq. (45): an end as often as there is one among the rows.
        carried = self.weight @ self.carried(discount)
        return float(self.weight @ self.reward / (1.0 - carried))

    def take(self, rows: Index) -> EvaluationData:
        # ``states`` and what the policy does in them stay: features are kept by place.
        weight = self.weight[rows]
        return replace(
            self,
            log=self.log[rows],
            rows=self.rows[rows],
            weight=weight / weight.sum(),
            total=self.total * float(weight.sum()),
            state_index=self.state_index[rows],
            next_index=self.next_index[rows],
            codes=self.codes if self.is_continuous else self.codes[rows],
        )


def time_blocks(log: Log, n_blocks: Callable[[int], int]) -> Index:
    """Codes of blocks of consecutive rows of a log, inside its episodes, (n,).

    ``n_blocks`` says into how many an episode of so many rows falls. Without episodes
    the rows are one, in order; with steps, episodes are in the order of these.
    """
    episode, place, size = places_in_time(len(log), log.episode, log.step)
    # An episode shorter than its blocks are many has one for each row.
    counts = np.minimum([n_blocks(int(rows)) for rows in size], size)
    before = np.cumsum(counts) - counts
    return before[episode] + place * counts[episode] // size[episode]


def as_numbers(action: NDArray[Any]) -> Floats:
    """Logged actions as (n, p) floats."""
    return np.asarray(action, dtype=np.float64).reshape(len(action), -1)


def rows_at_once(data: EvaluationData, width: int) -> int:
    return max(1, _GRAM_ENTRIES // (width * data.n_actions))
