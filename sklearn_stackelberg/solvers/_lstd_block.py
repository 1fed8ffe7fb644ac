"""Sums of the LSTD equations of discrete actions over a block of logged rows.

A block's M[b, a] by the logged action b and the next action a is summed a chunk of rows
at a time, and derivatives go back to θ the same way: memory is O(chunk · m). All this
is done where the features are, on a GPU if they lie there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

import numpy as np
import torch
from sklearn.utils import gen_batches
from torch import Tensor

from .._problem.rows import BlockPart, ComputedFeatures, FeatureRows, weigh
from .._typing import Floats, Index
from ..policies._base import NEVER
from ..policies._softmax import action_probabilities, product, softmax_vjp
from ..total_derivative import Factors

# Share of the rows whose next state leaves no choice from which on their part of M is
# kept.
_SETTLED_SHARE = 0.05

# Share of rows and next actions that are likely from which on all of them are summed.
_DENSE_SHARE = 0.8


class BlockSettings(NamedTuple):
    """What the blocks of a log have in common."""

    n_actions: int
    n_features: int
    dtype: torch.dtype  # of features
    device: torch.device
    discount: float
    total: float  # Σ weight of all rows
    chunk_rows: int
    product_rows: int  # of them at once, in one product
    spread_columns: int  # of features times probabilities at once
    keeps_features: bool  # of rows gathered once
    keeps_initial: bool
    may_settle: bool  # whether M is small enough for a part of it to be kept
    places_initial: bool  # at rows that lead to them


class _Chunk(NamedTuple):
    """Rows that share their logged action."""

    action: int
    state: Index
    next_state: Index
    weight: Tensor  # −γ (1 − terminated) / n, times that of the row, (k, 1)
    initial: Tensor | None  # shares of next states that are initial too, (k, 1)

    def read(self, features: FeatureRows) -> tuple[Tensor, Tensor]:
        """φ of the states and of the next states, (k, m) each."""
        return features(self.state), features(self.next_state)


# Features of other initial states, (k, m), their prior, (k, A), and shares, (k, 1).
_Initial = tuple[Tensor, Tensor | None, Tensor]


class DiscreteBlock:
    """Sums over some rows and initial states, each a part of those of the log."""

    def __init__(self, part: BlockPart, settings: BlockSettings) -> None:
        rows, share, features, self.log_prior, keeps_table = part
        self.settings, self.features, self.rows = settings, features, rows
        self.n_features, self.dtype = settings.n_features, settings.dtype
        self.device = settings.device
        # Where the episode terminated, nothing of the next state enters any sum: such
        # rows have a part in the fixed sums alone, and so have those whose next state
        # supports one action.
        continued = np.flatnonzero(rows.terminated < 1.0)
        # A state that stands at several places is one.
        initial, place = np.unique(rows.initial, return_inverse=True)
        share = np.bincount(place, share, len(initial)).astype(np.float64)
        only = self._only_actions(rows.next_state[continued])
        if np.count_nonzero(only >= 0) <= _SETTLED_SHARE * len(continued):
            only[:] = -1
        self._settled, free = continued[only >= 0], continued[only < 0]
        self._only = only[only >= 0]
        placed = self._place_initial(free, initial, share)
        single = np.full(len(initial), -1)
        if len(self._settled):
            single = self._only_actions(initial)
        left = (single < 0) & (share > 0.0)
        self._single = initial[single >= 0], share[single >= 0], single[single >= 0]
        self._initial, self._initial_share = initial[left], share[left]
        self._states: Index | None = None
        self._table: Tensor | None = None
        if isinstance(features, ComputedFeatures):
            # Each state's features are computed once, or once in a pass over the block.
            parts = rows.state, rows.next_state[continued], rows.initial
            self._states = np.unique(np.concatenate(parts))
            if keeps_table:
                self._table = features.table(self._states, self.n_features)
        self._chunks = [
            self._chunk(action, index, placed[index])
            for action, index in self._by_action(free)
        ]
        self._kept: tuple[Tensor | None, list[Tensor]] = None, []  # θ, probabilities
        self._gathered: list[tuple[Tensor, Tensor]] | None = None
        self._initial_chunks: list[_Initial] = []
        if settings.keeps_features:
            read = self._pass()
            self._gathered = [chunk.read(read) for chunk in self._chunks]
        if settings.keeps_initial:
            self._initial_chunks = list(self._read_initial(self._pass()))

    def _only_actions(self, states: Index) -> Index:
        """The one action that a state has, whatever θ, or -1; (k,)."""
        only = np.full(len(states), -1)
        if self.log_prior is not None and self.settings.may_settle:
            possible = (self.log_prior[torch.from_numpy(states)] > NEVER / 2).numpy()
            alone = possible.sum(axis=1) == 1
            only[alone] = possible[alone].argmax(axis=1)
        return only

    def _place_initial(self, free: Index, initial: Index, share: Floats) -> Floats:
        """Shares of initial states at free rows that lead there, (n,), taken off them.

        Probabilities and features of a next state are at hand where M is summed.
        """
        placed = np.zeros(len(self.rows.state))
        if self.settings.places_initial:
            after, first = np.unique(self.rows.next_state[free], return_index=True)
            _, at, mine = np.intersect1d(
                after, initial, assume_unique=True, return_indices=True
            )
            placed[free[first[at]]] = share[mine]
            share[mine] = 0.0
        return placed

    def _chunk(self, action: int, index: Index, initial: Floats) -> _Chunk:
        rows = self.rows
        carried = 1.0 - rows.terminated[index]
        carried *= self.settings.discount * rows.weights(index)
        return _Chunk(
            action,
            self._local(rows.state[index]),
            self._local(rows.next_state[index]),
            self._column(-carried / self.settings.total),
            self._column(initial) if initial.any() else None,
        )

    def _local(self, index: Index) -> Index:
        """Where a pass has the features of states."""
        if self._states is None:
            return index
        # Half of it: of a long log each number that is kept of a row counts.
        return cast(Index, np.searchsorted(self._states, index).astype(np.int32))

    def _pass(self) -> FeatureRows:
        """How features are read in one pass over the block."""
        if self._states is None:
            return self.features
        states, table = self._states, self._table

        def read(index: Index) -> Tensor:
            nonlocal table
            # Not where all that is read was gathered before.
            table = self.features(states) if table is None else table
            return table.index_select(0, torch.from_numpy(index))

        return read

    def _column(self, values: Floats) -> Tensor:
        """Values of rows beside their features, (k, 1)."""
        column = torch.as_tensor(values, dtype=self.dtype, device=self.device)
        return column[:, None]

    def _zeros(self, *shape: int) -> Tensor:
        # In float64, whatever the features: single sums of many rows would drift.
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def _prior(self, index: Index) -> Tensor | None:
        """What is added to the logits in states at an index, (k, A)."""
        if self.log_prior is None:
            return None
        return self.log_prior.index_select(0, torch.from_numpy(index)).to(self.device)

    def _probabilities(self, chunk: _Chunk, after: Tensor, theta: Tensor) -> Tensor:
        """π(·|s') of the chunk's rows, (k, A)."""
        states = chunk.next_state
        if self.log_prior is not None and self._states is not None:
            states = self._states[states]
        return action_probabilities(after, theta, self._prior(states))

    def _by_action(self, which: Index) -> Iterator[tuple[int, Index]]:
        """Chunks of these rows that share their logged action."""
        size = self.settings.chunk_rows
        for action in range(self.settings.n_actions):
            chosen = which[self.rows.action[which] == action]
            for start in range(0, len(chosen), size):
                yield action, chosen[start : start + size]

    def _read(self, read: FeatureRows) -> Iterator[tuple[_Chunk, Tensor, Tensor]]:
        """Chunks with their features."""
        for number, chunk in enumerate(self._chunks):
            if self._gathered is None:
                yield chunk, *chunk.read(read)
            else:
                yield chunk, *self._gathered[number]

    def _read_initial(self, read: FeatureRows) -> Iterator[_Initial]:
        if self._initial_chunks:
            yield from self._initial_chunks
            return
        share, size = self._column(self._initial_share), self.settings.chunk_rows
        for start in range(0, len(self._initial), size):
            some = slice(start, start + size)
            index = self._initial[some]
            yield read(self._local(index)), self._prior(index), share[some]

    def first_sums(self, theta: Tensor) -> tuple[Tensor, ...]:
        """`fixed_sums` and `sums`, by one pass over the features."""
        read = self._pass()
        return (*self.fixed_sums(read), *self.sums(theta, read))

    def fixed_sums(self, read: FeatureRows | None = None) -> tuple[Tensor, ...]:
        """What θ does not move.

        By block of M, ZᵀΦ/n and −γ Zᵀ(1 − terminated)Φ'/n of rows with a choice,
        (A, m, m) each; the part of M without a choice, (A, m, A, m), or nothing;
        c and the part of b without a choice, (A, m).
        """
        actions, m, n = self.settings.n_actions, self.n_features, self.settings.total
        gram, following = self._zeros(actions, m, m), self._zeros(actions, m, m)
        reward = self._zeros(actions, m)
        read = read or self._pass()
        for action, index in self._by_action(np.arange(len(self.rows.state))):
            z = read(self._local(self.rows.state[index]))  # (k, m)
            weighted = weigh(z, self.rows.weight, index)
            for piece in gen_batches(len(z), self.settings.product_rows):
                gram[action] += weighted[piece].T @ z[piece]
            reward[action] += (weighted.T @ self._column(self.rows.reward[index]))[:, 0]
        for chunk, z, after in self._read(read):
            after = after * chunk.weight
            for piece in gen_batches(len(z), self.settings.product_rows):
                following[chunk.action] += z[piece].T @ after[piece]
        settled, b = self._sum_settled(read), self.fixed_b(read)
        if self._gathered is not None and self.settings.keeps_initial:
            self._table = None
        return gram / n, following, settled, reward / n, b

    def fixed_b(self, read: FeatureRows | None = None) -> Tensor:
        """The part of b of initial states without a choice, (A, m)."""
        read = read or self._pass()
        b = self._zeros(self.settings.n_actions, self.n_features)
        states, share, single = self._single
        for action in range(self.settings.n_actions):
            mine = np.flatnonzero(single == action)
            for start in range(0, len(mine), self.settings.chunk_rows):
                some = mine[start : start + self.settings.chunk_rows]
                phi = read(self._local(states[some]))
                b[action] += (self._column(share[some]).T @ phi)[0]
        return b

    def _sum_settled(self, read: FeatureRows) -> Tensor:
        """The part of M of rows whose next state leaves no choice, (A, m, A, m)."""
        actions, m = self.settings.n_actions, self.n_features
        if not self.settings.may_settle:
            return self._zeros(0)
        out = self._zeros(actions, m, actions, m)
        only = np.full(len(self.rows.state), -1)
        only[self._settled] = self._only
        for action, index in self._by_action(self._settled):
            chunk = self._chunk(action, index, np.zeros(len(index)))
            z, after = chunk.read(read)
            after = after * chunk.weight
            for other in np.unique(only[index]):
                mine = np.flatnonzero(only[index] == other)
                for piece in gen_batches(len(mine), self.settings.product_rows):
                    some = torch.from_numpy(mine[piece]).to(self.device)
                    out[action, :, other] += z[some].T @ after[some]
        return out

    def sums(
        self, theta: Tensor, read: FeatureRows | None = None
    ) -> tuple[Tensor, Tensor]:
        """What θ moves of M, (A, m, A, m), less its last action, and of b, (A, m)."""
        actions, m = self.settings.n_actions, self.n_features
        given, theta = theta, theta.to(self.device, self.dtype)
        # Eq. (13) of docs/game.md. Block [b, a] for all but the last action a: Σ_a
        # π(a|s') = 1 gives the last. Summed where it stays: of many actions a copy of M
        # is a large share of all memory.
        M, b = self._zeros(actions, m, actions, m), self._zeros(actions, m)
        flat = M.view(actions, m, actions * m)
        # For the derivative at the same θ: an exponential costs more than its memory.
        kept: list[Tensor] = []
        self._kept = None if given.requires_grad else given, kept
        wide = min(max(1, self.settings.spread_columns // m), max(1, actions - 1))
        sizes = [len(chunk.state) for chunk in self._chunks]
        longest = min(self.settings.product_rows, max(sizes, default=0))
        # One for all chunks: memory taken anew costs more than what is written there.
        room = torch.empty(longest * wide * m, dtype=self.dtype, device=self.device)
        read = read or self._pass()
        for chunk, z, after in self._read(read):  # (k, m) each
            probabilities = self._probabilities(chunk, after, theta)
            kept.append(probabilities)
            if chunk.initial is not None:
                b += (probabilities * chunk.initial).T @ after
            share = probabilities * chunk.weight
            for first, last, some in self._spread(probabilities, wide):
                part = share[:, first:last]
                if isinstance(some, slice):
                    left, right, part = z[some], after[some], part[some]
                else:
                    left, right = z.index_select(0, some), after.index_select(0, some)
                    part = part.index_select(0, some)
                out = room[: part.numel() * m].view(*part.shape, m)
                pair = part[:, :, None], right[:, None, :]
                spread = torch.mul(*pair, out=None if share.requires_grad else out)
                spread = spread.view(len(left), -1)  # (k, (last - first) m)
                block = flat[chunk.action, :, first * m : last * m]
                block += left.T @ spread
        return M, b + self._initial_sums(theta, read)

    def _spread(
        self, probabilities: Tensor, wide: int
    ) -> Iterator[tuple[int, int, Tensor | slice]]:
        """Next actions but the last, from one to another, and rows that take them."""
        size = self.settings.product_rows
        # A probability below rounding is part of the last action's.
        likely = probabilities[:, :-1] > torch.finfo(self.dtype).eps
        if int(likely.sum()) > _DENSE_SHARE * likely.numel():
            for first in range(0, likely.shape[1], wide):
                for piece in gen_batches(len(likely), size):
                    yield first, min(first + wide, likely.shape[1]), piece
            return
        for action in likely.any(dim=0).nonzero()[:, 0].tolist():
            some = likely[:, action].nonzero()[:, 0]
            for piece in gen_batches(len(some), size):
                yield action, action + 1, some[piece]

    def initial_sums(self, theta: Tensor) -> Tensor:
        """b of initial states that no chunk holds, Eq. (14) of docs/game.md, (A, m)."""
        return self._initial_sums(theta.to(self.device, self.dtype), self._pass())

    def _initial_sums(self, theta: Tensor, read: FeatureRows) -> Tensor:
        b = self._zeros(self.settings.n_actions, self.n_features)
        for features, prior, share in self._read_initial(read):
            b += (action_probabilities(features, theta, prior) * share).T @ features
        return b

    def vjp(self, theta: Tensor, factors: Factors, gradient_b: Tensor) -> tuple[Tensor]:
        """Of the block's part of M and b, `LSTDSystem.vjp`, (m, A).

        A row's share of M[b, a] is −γ (1 − terminated) π(a|s') z φ'ᵀ / n, so
        ∂v/∂π(a|s') = −γ (1 − terminated) (zᵀx1_b · φ'ᵀy1_a + zᵀx2_b · φ'ᵀy2_a) / n.
        """
        actions, m = self.settings.n_actions, self.n_features
        given, theta = theta, theta.to(self.device, self.dtype)
        placed = [f.reshape(actions, m).T.to(theta) for f in (*factors, gradient_b)]
        x1, y1, x2, y2, weight = placed
        weight = (1.0 - self.settings.discount) * weight
        y = torch.cat([y1, y2, weight], dim=1)  # (m, 3 A)
        total = self._zeros(m, actions)
        kept_at, kept = self._kept
        # Equal, not the same: θ may have come from another process.
        is_kept = kept_at is not None and torch.equal(kept_at, given)
        read = self._pass()
        for number, (chunk, z, after) in enumerate(self._read(read)):
            own = torch.stack([x1[:, chunk.action], x2[:, chunk.action]], dim=1)
            left = product(z, own) * chunk.weight
            first, second, third = product(after, y).split(actions, dim=1)  # (k, A)
            gradient = left[:, :1] * first + left[:, 1:] * second  # Eq. (26)
            if chunk.initial is not None:
                gradient = gradient + chunk.initial * third
            if is_kept:
                probabilities = kept[number]
            else:
                probabilities = self._probabilities(chunk, after, theta)
            total += product(after.T, softmax_vjp(probabilities, gradient))
        for features, prior, share in self._read_initial(read):
            probabilities = action_probabilities(features, theta, prior)
            gradient = share * product(features, weight)
            total += product(features.T, softmax_vjp(probabilities, gradient))
        return (total,)

    def __sizeof__(self) -> int:
        """Bytes of features: whoever moves blocks about is to know what they weigh."""
        kept = [t for pair in self._gathered or () for t in pair]
        kept += [features for features, _, _ in self._initial_chunks]
        if self._table is not None:
            kept.append(self._table)
        return object.__sizeof__(self) + sum(t.nbytes for t in kept)
