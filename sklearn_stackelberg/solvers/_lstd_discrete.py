"""LSTD equations of discrete actions, summed over the logged rows.

For a Q-function linear in w, all that the rows say is in

    M(θ) = Zᵀ(Φ − γ (1 − terminated) Φ'_θ) / n,   c = Zᵀr / n,
    b(θ) = (1 − γ) mean φ(s0, π_θ),

with Z = Φ, the features of the logged (s, a), and φ(s, a) = e_a ⊗ φ(s); a row of weight
w counts w times in the sums and in n. M falls into
blocks M[b, a] by the logged action b and the next action a. They are summed a chunk of
rows at a time, and derivatives go back to θ the same way: memory is O(chunk · m). All
this is done where the features are, on a GPU if they lie there; what comes out, and θ,
are on the CPU, where the small system is solved.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._linalg import LinearSystem
from .._problem.rows import FeatureRows, Rows, abs_quantile, weigh
from .._sampling import fixed_sample
from .._typing import Floats, Index
from ..policies._base import NEVER, advantages
from ..policies._softmax import action_probabilities, softmax_of, softmax_vjp
from ..total_derivative import Factors
from ._best_response import STEP_ROWS, LSTDSystem
from ._few_rows import FewRows

# Rows of a chunk, and columns of its features times probabilities at once: they stay in
# a processor's cache, and a matrix product is still large. A GPU needs more to be busy.
_CPU_CHUNK, _GPU_CHUNK = (512, 800), (2**16, 4_000)

# Weights up to which M is formed, however few the rows: it costs next to nothing.
SMALL_SIZE = 500

# Share of the rows whose next state leaves no choice from which on their part of M is
# kept, and the bytes that it may take.
_SETTLED_SHARE, _SETTLED_BYTES = 0.05, 2**25

# Features of rows gathered once and kept, if all of them take no more than this.
_GATHERED_BYTES = 2**29


class _Chunk(NamedTuple):
    """Rows that share their logged action."""

    action: int
    state: Index
    next_state: Index
    weight: Tensor  # −γ (1 − terminated) / n, times that of the row, (k, 1)

    prior: Tensor | None  # of the policy's actions in the next states, (k, A)
    initial: Tensor | None  # shares of next states that are initial too, (k, 1)

    def read(self, features: FeatureRows) -> tuple[Tensor, Tensor]:
        """φ of the states and of the next states, (k, m) each."""
        return features(self.state), features(self.next_state)


# Features of other initial states, (k, m), their prior, (k, A), and shares, (k, 1).
_Initial = tuple[Tensor, Tensor | None, Tensor]


def _doubled(features: FeatureRows) -> FeatureRows:
    return lambda index: features(index).double()


class DiscreteLSTD(LSTDSystem):
    """M(θ) and b(θ), and their derivatives with respect to θ, of shape (m, A).

    ``features(index)`` gives φ of the states at ``index``, (k, m); ``log_prior`` is
    added to the policy's logits there, (N, A). Larger chunks need more memory; the sums
    are the same to rounding. ``share`` is of the rows of which these are a part, whose
    matrices will be added: M is formed, and no more is kept than the part's share.
    """

    def __init__(
        self,
        rows: Rows,
        features: FeatureRows,
        n_actions: int,
        discount: float,
        ridge: float = 0.0,
        chunk_rows: int | None = None,
        log_length: float | None = None,
        log_prior: Tensor | None = None,
        share: float = 1.0,
    ) -> None:
        super().__init__(rows, discount, ridge, log_length)
        self.n_actions, self.log_prior, self._share = n_actions, log_prior, share
        one = features(rows.state[:1])
        if one.device.type == "cuda":
            # Sums of 2¹⁶ rows in single precision moved v by 4 % on 100,000 rows, and a
            # GPU made for computing is as fast in double.
            features, one = _doubled(features), one.double()
        self.features = features
        self.n_features, self.dtype, self.device = one.shape[1], one.dtype, one.device
        rows_and_columns = _GPU_CHUNK if self.device.type == "cuda" else _CPU_CHUNK
        self._chunk_rows = chunk_rows or rows_and_columns[0]
        self._spread_columns = rows_and_columns[1]
        size = n_actions * self.n_features
        # With a ridge, M has other directions than those of the rows.
        few = max(self.n, SMALL_SIZE) <= size
        self.has_few_rows = few and ridge == 0.0 and share == 1.0
        # Where the episode terminated, nothing of the next state enters any sum: such
        # rows have a part in the fixed sums alone, and so have those whose next state
        # supports one action.
        continued = np.flatnonzero(rows.terminated < 1.0)
        self._only = self._only_actions(continued)
        settled = self._only[rows.next_state[continued]] >= 0
        self._settled, free = continued[settled], continued[~settled]
        shares = self._place_initial(free)
        self._chunks = [
            self._chunk(action, index, shares[index])
            for action, index in self._by_action(free)
        ]
        self._kept: tuple[Tensor | None, list[Tensor]] = None, []
        self._gathered: list[tuple[Tensor, Tensor]] | None = None
        self._initial_chunks: list[_Initial] = []
        row, most = self.n_features * self.dtype.itemsize, share * _GATHERED_BYTES
        if 2 * self.n * row <= most:
            self._gathered = [chunk.read(features) for chunk in self._chunks]
        if (2 * self.n + len(self._initial)) * row <= most:
            self._initial_chunks = list(self._read_initial())
        self._sum_fixed()
        # As long as the table of states, in every part of a long log.
        del self._only

    def on_rows(self, rows: Rows) -> DiscreteLSTD:
        numbers = self.n_actions, self.discount, self.ridge, self._chunk_rows
        others = self.log_length, self.log_prior, self._share
        return DiscreteLSTD(rows, self.features, *numbers, *others)

    def _only_actions(self, continued: Index) -> Index:
        """The one action that a state has, whatever θ, or -1; of all states, (N,)."""
        rows = self.rows
        n_states = 1 + max(rows.next_state.max(), rows.initial.max(initial=0))
        only = np.full(n_states, -1)
        size = self.n_actions * self.n_features
        if self.log_prior is None or 8 * size**2 > _SETTLED_BYTES:
            return only
        possible = (self.log_prior[:n_states] > NEVER / 2).numpy()
        alone = possible.sum(axis=1) == 1
        n_alone = alone[rows.next_state[continued]].sum()
        if n_alone > _SETTLED_SHARE * len(continued):
            only[alone] = possible[alone].argmax(axis=1)
        return only

    def _chunk(self, action: int, index: Index, initial: Floats) -> _Chunk:
        rows = self.rows
        carried = self.discount * (1.0 - rows.terminated[index]) * rows.weights(index)
        return _Chunk(
            action,
            rows.state[index],
            rows.next_state[index],
            self._column(-carried / self.total),
            self._prior(rows.next_state[index]),
            self._column(initial) if initial.any() else None,
        )

    def _place_initial(self, free: Index) -> Floats:
        """Shares of initial states at free rows that lead there, (n,); others are kept.

        Probabilities and features of a next state are at hand where M is summed.
        """
        rows, placed = self.rows, np.zeros(self.n)
        share = np.zeros(len(self._only))
        np.add.at(share, rows.initial, rows.initial_share)
        # Few rows are summed otherwise, without chunks.
        if not self.has_few_rows:
            after, first = np.unique(rows.next_state[free], return_index=True)
            placed[free[first]], share[after] = share[after], 0.0
        self._fixed_b = self._zeros(self.n_actions, self.n_features)
        for action in range(self.n_actions):
            chosen = np.flatnonzero((self._only == action) & (share > 0.0))
            for start in range(0, len(chosen), self._chunk_rows):
                some = chosen[start : start + self._chunk_rows]
                total = self._column(share[some]).T @ self.features(some)
                self._fixed_b[action] += total[0]
        self._initial = np.flatnonzero((self._only < 0) & (share > 0.0))
        self._initial_share = share[self._initial]
        return placed

    def _column(self, values: Floats) -> Tensor:
        """Values of rows beside their features, (k, 1)."""
        column = torch.as_tensor(values, dtype=self.dtype, device=self.device)
        return column[:, None]

    def _zeros(self, *shape: int) -> Tensor:
        # In float64, whatever the features: single sums of many rows would drift.
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def _prior(
        self, index: Index, device: torch.device | str | None = None
    ) -> Tensor | None:
        """What is added to the logits in states at an index, (k, A)."""
        if self.log_prior is None:
            return None
        return self.log_prior[torch.from_numpy(index)].to(device or self.device)

    def _by_action(self, which: Index) -> Iterator[tuple[int, Index]]:
        """Chunks of these rows that share their logged action."""
        for action in range(self.n_actions):
            chosen = which[self.rows.action[which] == action]
            for start in range(0, len(chosen), self._chunk_rows):
                yield action, chosen[start : start + self._chunk_rows]

    def _read(self) -> Iterator[tuple[_Chunk, Tensor, Tensor]]:
        """Chunks with their features, from memory or computed anew."""
        for number, chunk in enumerate(self._chunks):
            if self._gathered is None:
                yield chunk, *chunk.read(self.features)
            else:
                yield chunk, *self._gathered[number]

    @cached_property
    def _few_rows(self) -> FewRows:
        rows = self.rows
        order = np.argsort(rows.action, kind="stable")
        state, next_state = rows.state[order], rows.next_state[order]
        root = np.sqrt(rows.weights(order))
        weight = self.discount * (1.0 - rows.terminated[order]) * root
        # So few that a GPU would not gain on the way there.
        return FewRows(
            self.features(state).cpu().double() * torch.from_numpy(root)[:, None],
            self.features(next_state).cpu().double(),
            torch.from_numpy(weight)[:, None],
            torch.from_numpy(rows.action[order]),
            self.n_actions,
            self._prior(next_state, "cpu"),
            self.total,
        )

    def _sum_fixed(self) -> None:
        """What θ does not move: c; by block ZᵀΦ/n + ρI, −γ Zᵀ(1 − terminated)Φ'/n."""
        actions, m = self.n_actions, self.n_features
        if self.has_few_rows:
            # The blocks are never formed.
            few = self._few_rows
            reward = torch.zeros(actions, m, dtype=torch.float64)
            order = np.argsort(self.rows.action, kind="stable")
            paid = self.rows.reward[order] * np.sqrt(self.rows.weights(order))
            given = torch.as_tensor(paid, dtype=torch.float64)
            for action, block in few.blocks:
                reward[action] = few.z[block].T @ given[block]
            self.c = (reward / self.total).ravel()
            return
        gram, following = self._zeros(actions, m, m), self._zeros(actions, m, m)
        reward = self._zeros(actions, m)
        for action, index in self._by_action(np.arange(self.n)):
            z = self.features(self.rows.state[index])  # (k, m)
            weighted = weigh(z, self.rows.weight, index)
            gram[action] += weighted.T @ z
            reward[action] += (weighted.T @ self._column(self.rows.reward[index]))[:, 0]
        for chunk, z, after in self._read():
            following[chunk.action] += z.T @ (after * chunk.weight)
        prior = self.ridge * torch.eye(m, dtype=torch.float64, device=self.device)
        self._gram, self._following = gram / self.total + prior, following
        self._fixed = self._sum_settled() if len(self._settled) else None
        self.c = (reward / self.total).ravel().cpu()  # (A m,)

    def _sum_settled(self) -> Tensor:
        """The part of M of rows whose next state leaves no choice, (A, m, A, m)."""
        actions, m = self.n_actions, self.n_features
        total = self._zeros(actions, m, actions, m)
        for action, index in self._by_action(self._settled):
            chunk = self._chunk(action, index, np.zeros(len(index)))
            z, after = chunk.read(self.features)
            after, only = after * chunk.weight, self._only[chunk.next_state]
            for other in np.unique(only):
                mine = torch.from_numpy(np.flatnonzero(only == other)).to(self.device)
                total[action, :, other] += z[mine].T @ after[mine]
        return total

    def weights(self, flat: Tensor) -> Tensor:
        return flat.reshape(self.n_actions, -1).T

    def mirror_step(self, theta: Tensor, flat_w: Tensor, size: float) -> Tensor:
        """θ + η w: 95 % of the advantages move a logit by under size."""
        w = self.weights(flat_w)
        # A softmax does not see what all actions share; θ would grow by it.
        w = w - w.mean(dim=1, keepdim=True)
        features, prior = self._sample
        # Products with few columns cost what reading the features costs: both at once.
        logits, values = (features @ torch.cat([theta, w], dim=1)).tensor_split(2, 1)
        advantage = advantages(softmax_of(logits, prior), values)
        if prior is not None:
            # What is never chosen moves nothing: its advantage is not to count.
            advantage = advantage[prior > NEVER / 2]
        return theta + size / abs_quantile(advantage) * w

    def logit_scale(self, direction: Tensor) -> float:
        return abs_quantile(self._sample[0] @ direction)

    @cached_property
    def _sample(self) -> tuple[Tensor, Tensor | None]:
        chosen = self.rows.state[fixed_sample(self.n, STEP_ROWS)]
        return self.features(chosen).cpu().double(), self._prior(chosen, "cpu")

    def __call__(self, theta: Tensor) -> LinearSystem:
        actions, m = self.n_actions, self.n_features
        b = self._fixed_b.clone()
        if self.has_few_rows:
            self._add_initial(b, theta)
            return LinearSystem(self._few_rows(theta), self._values_at(b), self.c)
        theta_given, theta = theta, theta.to(self.device, self.dtype)
        # Eq. (13) of docs/game.md. Block [b, a] for all but the last action a: Σ_a
        # π(a|s') = 1 gives the last. Summed where it stays: of many actions a copy of M
        # is a large share of all memory.
        M = self._zeros(actions, m, actions, m)
        flat = M.view(actions, m, actions * m)
        # For the derivative at the same θ: an exponential costs more than its memory.
        kept: list[Tensor] = []
        self._kept = theta_given, kept
        wide = min(max(1, self._spread_columns // m), max(1, actions - 1))
        longest = max((len(chunk.state) for chunk in self._chunks), default=0)
        # One for all chunks: memory taken anew costs more than what is written there.
        room = torch.empty(longest * wide * m, dtype=self.dtype, device=self.device)
        for chunk, z, after in self._read():  # (k, m) each
            probabilities = action_probabilities(after, theta, chunk.prior)
            kept.append(probabilities)
            if chunk.initial is not None:
                b += (probabilities * chunk.initial).T @ after
            share = probabilities * chunk.weight
            for first in range(0, actions - 1, wide):
                last = min(first + wide, actions - 1)
                out = room[: len(z) * (last - first) * m].view(len(z), -1, m)
                spread = torch.mul(
                    share[:, first:last, None],
                    after[:, None, :],
                    out=None if share.requires_grad else out,
                ).view(len(z), -1)  # (k, (last - first) m)
                block = flat[chunk.action, :, first * m : last * m]
                if self.dtype == block.dtype:
                    block.addmm_(z.T, spread)
                else:
                    block += z.T @ spread
        M[:, :, -1] = self._following - M[:, :, :-1].sum(dim=2)
        if self._fixed is not None:
            M += self._fixed
        # ZᵀΦ has blocks on the diagonal alone: a row's z and φ share their action.
        for action in range(actions):
            M[action, :, action] += self._gram[action]
        M = M.view(actions * m, actions * m).cpu()
        self._add_initial(b, theta)
        return LinearSystem(M, self._values_at(b), self.c)

    def _add_initial(self, b: Tensor, theta: Tensor) -> None:
        """Sums of initial states that no chunk holds, Eq. (14) of docs/game.md."""
        theta = theta.to(self.device, self.dtype)
        for features, prior, share in self._initial_features():
            b += (action_probabilities(features, theta, prior) * share).T @ features

    def _values_at(self, b: Tensor) -> Tensor:
        """b(θ) of sums over the initial states, (A m,)."""
        return (1.0 - self.discount) * b.ravel().cpu()

    def _initial_features(self) -> Iterator[_Initial]:
        return iter(self._initial_chunks or self._read_initial())

    def _read_initial(self) -> Iterator[_Initial]:
        initial, share = self._initial, self._column(self._initial_share)
        for start in range(0, len(initial), self._chunk_rows):
            some = slice(start, start + self._chunk_rows)
            index = initial[some]
            yield self.features(index), self._prior(index), share[some]

    def vjp(self, theta: Tensor, factors: Factors, gradient_b: Tensor) -> Tensor:
        """D_θ v, from ∂v/∂M = x1 y1ᵀ + x2 y2ᵀ and ∂v/∂b.

        A row's share of M[b, a] is −γ (1 − terminated) π(a|s') z φ'ᵀ / n, so
        ∂v/∂π(a|s') = −γ (1 − terminated) (zᵀx1_b · φ'ᵀy1_a + zᵀx2_b · φ'ᵀy2_a) / n.
        """
        actions, m = self.n_actions, self.n_features
        theta_given, theta = theta, theta.to(self.device, self.dtype)
        placed = [f.reshape(actions, m).T.to(theta) for f in (*factors, gradient_b)]
        x1, y1, x2, y2, weight = placed
        weight = (1.0 - self.discount) * weight
        y = torch.cat([y1, y2, weight], dim=1)  # (m, 3 A)
        total = self._zeros(m, actions)
        kept_at, kept = self._kept
        for number, (chunk, z, after) in enumerate(self._read()):
            left = z @ torch.stack([x1[:, chunk.action], x2[:, chunk.action]], dim=1)
            left = left * chunk.weight
            first, second, third = (after @ y).split(actions, dim=1)  # (k, A) each
            gradient = left[:, :1] * first + left[:, 1:] * second  # Eq. (26)
            if chunk.initial is not None:
                gradient = gradient + chunk.initial * third
            if kept_at is theta_given:
                probabilities = kept[number]
            else:
                probabilities = action_probabilities(after, theta, chunk.prior)
            total += after.T @ softmax_vjp(probabilities, gradient)
        for features, prior, share in self._initial_features():
            probabilities = action_probabilities(features, theta, prior)
            gradient = share * (features @ weight)
            total += features.T @ softmax_vjp(probabilities, gradient)
        return total.cpu()
