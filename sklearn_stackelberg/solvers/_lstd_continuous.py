"""LSTD equations of continuous actions, summed over the logged rows.

With φ of the joint (s, a), Φ the features of the logged pairs, Z = Φ, and mean features
φ̄_θ(s) = E_{a~π_θ(·|s)} φ(s, a),

    M(θ) = Zᵀ(Φ − γ (1 − terminated) Φ̄'_θ) / n + ρI,   c = Zᵀr / n,
    b(θ) = (1 − γ) mean φ̄_θ(s0).

Both sums run over states, a chunk at a time: with z̃(s) = Σ γ (1 − terminated) z of the
rows that lead to s, and n0(s) how often s is initial,

    M(θ) = ZᵀΦ / n − Σ_s z̃(s) φ̄_θ(s)ᵀ / n + ρI,   b(θ) ∝ Σ_s n0(s) φ̄_θ(s),

so that each state's mean is taken once, and M costs one product of n · m² whatever the
number of actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .._linalg import LinearSystem
from .._problem.rows import Rows, StateData, abs_quantile, weigh
from .._sampling import fixed_sample
from .._typing import Floats, Index
from ..kernels._state_action import StateActionFeatures
from ..total_derivative import Factors
from ._best_response import STEP_ROWS, LSTDSystem

# States of a chunk; wider chunks than those of discrete actions, since each adds one
# product to one matrix.
CHUNK_ROWS = 1024

# What is read of chunks is kept until it takes so much; the rest is read anew.
_CACHE_BYTES = 2**30


class ContinuousPolicyModel(Protocol):
    """What `ContinuousLSTD` needs of a policy; θ is a matrix of its weights."""

    features: StateActionFeatures

    def start(self) -> Tensor:
        """θ of a policy that prefers nothing."""

    def read(self, states: Floats) -> StateData:
        """What is kept of states."""

    def mean(self, data: StateData, theta: Tensor) -> Tensor:
        """h = E_{a~π} k((s, a), L), (k, n_landmarks)."""

    def vjp(
        self, data: StateData, theta: Tensor, left: Tensor, landmark_weights: Tensor
    ) -> Tensor:
        """∂/∂θ of Σ_kt left_kt (h_k · u_t), left (k, t), landmark_weights (L, t)."""

    def mirror_step(
        self, data: StateData, theta: Tensor, w: Tensor, size: float
    ) -> Tensor:
        """θ after a step towards what q_w prefers, w of shape (m,)."""

    def outputs(self, data: StateData, direction: Tensor) -> Tensor:
        """How θ + direction moves what the policy is made of, a row per state."""


class _Chunk(NamedTuple):
    data: StateData  # what the policy needs of the states
    incoming: Tensor  # z̃, of the rows that lead to each state, (k, m)
    initial: Tensor  # n0 / Σ n0, how often a state is initial, (k,)


class ContinuousLSTD(LSTDSystem):
    """M(θ) and b(θ), and their derivatives with respect to θ.

    ``rows`` are indices into ``states`` (N, d); the policy has the features of state
    and action that Q is linear in. Larger chunks need more memory; the sums are the
    same to rounding.
    """

    def __init__(
        self,
        rows: Rows,
        states: Floats,
        policy: ContinuousPolicyModel,
        discount: float,
        ridge: float = 0.0,
        chunk_rows: int = CHUNK_ROWS,
        log_length: float | None = None,
    ) -> None:
        super().__init__(rows, discount, ridge, log_length)
        self.states, self.policy = states, policy
        self.features = policy.features
        self.n_features = self.features.n_features_out_
        self.dtype = getattr(torch, self.features.dtype)
        self._projection = torch.from_numpy(self.features.projection_)  # (L, m)
        self._chunk_rows = chunk_rows
        self._action = np.asarray(rows.action, dtype=np.float64)  # (n, p)
        # Where the episode terminated, nothing of the next state enters any sum.
        continued = np.flatnonzero(rows.terminated < 1.0)
        by_next = np.argsort(rows.next_state[continued], kind="stable")
        self._continued = continued[by_next]
        # Each state whose mean features are needed, once.
        self._needed, where = np.unique(
            np.concatenate([rows.initial, rows.next_state[continued]]),
            return_inverse=True,
        )
        self._initial_share = np.bincount(
            where[: len(rows.initial)], rows.initial_share, len(self._needed)
        )
        self._kept: dict[int, _Chunk] = {}
        self._room = _CACHE_BYTES
        self._sum_fixed()

    def on_rows(self, rows: Rows) -> ContinuousLSTD:
        return ContinuousLSTD(
            rows,
            self.states,
            self.policy,
            self.discount,
            self.ridge,
            self._chunk_rows,
            self.log_length,
        )

    def weights(self, flat: Tensor) -> Tensor:
        return flat[:, None]

    def mirror_step(self, theta: Tensor, flat_w: Tensor, size: float) -> Tensor:
        return self.policy.mirror_step(self.sample, theta, flat_w, size)

    def logit_scale(self, direction: Tensor) -> float:
        return abs_quantile(self.policy.outputs(self.sample, direction))

    @cached_property
    def sample(self) -> StateData:
        """Some logged states, as the policy reads them."""
        chosen = self.rows.state[fixed_sample(self.n, STEP_ROWS)]
        return self.policy.read(self.states[chosen])

    def __call__(self, theta: Tensor) -> LinearSystem:
        following = torch.zeros(self.n_features, len(self._projection)).double()
        first = torch.zeros(len(self._projection), dtype=torch.float64)
        # Eqs. (33) and (34) of docs/game.md over the landmarks, projected once: a
        # state's mean is a row of L numbers.
        for chunk in self._chunks():
            mean = self.policy.mean(chunk.data, theta)  # (k, L)
            following = following + chunk.incoming.T @ mean
            first = first + chunk.initial @ mean
        b = (1.0 - self.discount) * (first @ self._projection)
        M = self._gram - following @ self._projection / self.total
        return LinearSystem(M, b, self.c)

    def vjp(self, theta: Tensor, factors: Factors, gradient_b: Tensor) -> Tensor:
        """D_θ v, from ∂v/∂M = x1 y1ᵀ + x2 y2ᵀ and ∂v/∂b.

        ∂v/∂φ̄(s) = −(z̃ᵀx1 y1 + z̃ᵀx2 y2) / n + (1 − γ) n0(s) / Σ n0 · ∂v/∂b.
        """
        x1, y1, x2, y2 = factors
        x = torch.stack([x1, x2], dim=1).to(self.dtype)  # (m, 2)
        weight = torch.stack([y1, y2, gradient_b], dim=1)  # (m, 3)
        y = (self._projection @ weight).to(self.dtype)  # on the landmarks, (L, 3)
        total = torch.zeros_like(theta, dtype=torch.float64)
        for chunk in self._chunks():
            first = (1.0 - self.discount) * chunk.initial[:, None]
            left = torch.cat([-chunk.incoming @ x / self.total, first], dim=1)  # (k, 3)
            total = total + self.policy.vjp(chunk.data, theta, left, y)
        return total

    def _sum_fixed(self) -> None:
        """What θ does not move: c and ZᵀΦ/n + ρI."""
        m = self.n_features
        # In float64, whatever the features: single sums of many rows would drift.
        gram = torch.zeros(m, m, dtype=torch.float64)
        reward = torch.zeros(m, dtype=torch.float64)
        for index in self._batches(np.arange(self.n)):
            z = self._pairs(index)
            weighted = weigh(z, self.rows.weight, index)
            gram += weighted.T @ z
            paid = torch.as_tensor(self.rows.reward[index], dtype=self.dtype)
            reward += weighted.T @ paid
        prior = self.ridge * torch.eye(m, dtype=torch.float64)
        self._gram, self.c = gram / self.total + prior, reward / self.total

    def _pairs(self, index: Index) -> Tensor:
        """φ of logged pairs, (k, m)."""
        states = self.states[self.rows.state[index]]
        action = self._action[index]
        return torch.from_numpy(self.features.transform(states, action))

    def _batches(self, index: Index) -> Iterator[Index]:
        for start in range(0, len(index), self._chunk_rows):
            yield index[start : start + self._chunk_rows]

    def _chunks(self) -> Iterator[_Chunk]:
        """Chunks, from memory or read anew."""
        for start in range(0, len(self._needed), self._chunk_rows):
            chunk = self._kept.get(start)
            if chunk is None:
                chunk = self._read(start)
                size = sum(tensor.nbytes for tensor in (*chunk.data, *chunk[1:]))
                if size <= self._room:
                    self._room -= size
                    self._kept[start] = chunk
            yield chunk

    def _read(self, start: int) -> _Chunk:
        needed = self._needed[start : start + self._chunk_rows]
        # Both are sorted by state, so that the rows of a chunk are a slice.
        after = self.rows.next_state[self._continued]
        low, high = np.searchsorted(after, [needed[0], needed[-1] + 1])
        incoming = torch.zeros(len(needed), self.n_features, dtype=self.dtype)
        for index in self._batches(self._continued[low:high]):
            weight = self.discount * (1.0 - self.rows.terminated[index])
            weight = weight * self.rows.weights(index)
            where = np.searchsorted(needed, self.rows.next_state[index])
            weighted = torch.from_numpy(weight).to(self.dtype)[:, None]
            weighted = weighted * self._pairs(index)
            incoming.index_add_(0, torch.from_numpy(where), weighted)
        share = self._initial_share[start : start + self._chunk_rows]
        return _Chunk(
            self.policy.read(self.states[needed]),
            incoming,
            torch.from_numpy(share).to(self.dtype),
        )
