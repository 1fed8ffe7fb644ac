"""Sums over logged rows for a Q-function linear in features of states and actions.

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
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._problem.rows import abs_quantile, subsample_rows
from .._sampling import fixed_sample
from .._typing import Floats, Index
from ._continuous_policies import ContinuousPolicyModel, Read
from ._lstd_discrete import PART_ROWS, STEP_ROWS, Moments

# States of a chunk; wider chunks than those of discrete actions, since each adds one
# product to one matrix.
CHUNK_ROWS = 1024

# What is read of chunks is kept until it takes so much; the rest is read anew.
_CACHE_BYTES = 2**30


class ContinuousRows(NamedTuple):
    """Logged rows whose actions are numbers.

    Parameters
    ----------
    states : array of shape (N, d)
    state, next_state : int array of shape (n,)
        Where each row's state and next state are among ``states``.
    action : array of shape (n, p)
    reward, terminated : float array of shape (n,)
    initial : int array of shape (n_initial,)
        Where the initial states are among ``states``.
    """

    states: Floats
    state: Index
    next_state: Index
    action: Floats
    reward: Floats
    terminated: Floats
    initial: Index


class _Chunk(NamedTuple):
    read: Read  # what the leader reads of the states
    led: Tensor  # z̃, of the rows that lead to each state, (k, m)
    initial: Tensor  # n0 / Σ n0, how often a state is initial, (k,)


class ContinuousLSTD:
    """M(θ) and b(θ), and their derivatives with respect to θ.

    Parameters
    ----------
    rows : ContinuousRows
    leader : ContinuousPolicyModel
        With the joint features that Q is linear in.
    discount : float
    ridge : float, default=0.0
        ρ: as in `DiscreteLSTD`.
    chunk_rows : int, default=CHUNK_ROWS
        Larger needs more memory; the sums are the same to rounding.
    log_length : int, default=None
        n of 2λn, where the rows are a part of a longer log; None means all of it.
    """

    def __init__(
        self,
        rows: ContinuousRows,
        leader: ContinuousPolicyModel,
        discount: float,
        ridge: float = 0.0,
        chunk_rows: int = CHUNK_ROWS,
        log_length: int | None = None,
    ) -> None:
        self.rows, self.leader, self.discount = rows, leader, discount
        self.features = leader.features
        self.n = len(rows.action)
        self.log_length = log_length or self.n
        self.n_features = self.features.n_features_out_
        self.dtype = getattr(torch, self.features.dtype)
        self._projection = torch.from_numpy(self.features.projection_)  # (L, m)
        self._chunk_rows, self._ridge = chunk_rows, ridge
        # Where the episode terminated, nothing of the next state enters any sum.
        going = np.flatnonzero(rows.terminated < 1.0)
        self._leading = going[np.argsort(rows.next_state[going], kind="stable")]
        self._states, where = np.unique(
            np.concatenate([rows.initial, rows.next_state[going]]), return_inverse=True
        )
        counts = np.bincount(where[: len(rows.initial)], minlength=len(self._states))
        self._initial_share = counts / len(rows.initial)
        self._kept: dict[int, _Chunk] = {}
        self._room = _CACHE_BYTES
        self._sum_fixed()

    def subsample(self, n_rows: int = PART_ROWS) -> ContinuousLSTD:
        """The same sums over some rows drawn at random, as estimates of those of all.

        Parameters
        ----------
        n_rows : int, default=PART_ROWS

        Returns
        -------
        ContinuousLSTD
            Itself, if it has at most twice as many rows.
        """
        if self.n <= 2 * n_rows:
            return self
        rows = subsample_rows(self.rows, n_rows)
        return ContinuousLSTD(
            rows,
            self.leader,
            self.discount,
            self._ridge,
            self._chunk_rows,
            self.log_length,
        )

    def weights(self, flat: Tensor) -> Tensor:
        """w as the follower holds it, (m, 1)."""
        return flat[:, None]

    def mirror_step(self, theta: Tensor, flat_w: Tensor, size: float) -> Tensor:
        """θ after a step of the leader towards what q_w prefers.

        Parameters
        ----------
        theta : Tensor
        flat_w : Tensor of shape (m,)
        size : float
            Of the step, in the exponents of typical actions.

        Returns
        -------
        Tensor
            Shaped as θ.
        """
        return self.leader.mirror_step(self.sample, theta, flat_w, size)

    def logit_scale(self, direction: Tensor) -> float:
        """How far θ + direction moves an output of the policy: the 95 % quantile."""
        return abs_quantile(self.leader.outputs(self.sample, direction))

    @cached_property
    def sample(self) -> Read:
        """Some logged states, as the leader reads them."""
        chosen = self.rows.state[fixed_sample(self.n, STEP_ROWS)]
        return self.leader.read(self.rows.states[chosen])

    def __call__(self, theta: Tensor) -> Moments:
        """M(θ) and b(θ).

        Parameters
        ----------
        theta : Tensor
            The leader's weights.

        Returns
        -------
        Moments
        """
        following = torch.zeros(self.n_features, len(self._projection)).double()
        first = torch.zeros(len(self._projection), dtype=torch.float64)
        for chunk in self._chunks():
            mean = self.leader.mean(chunk.read, theta)  # (k, L)
            following = following + chunk.led.T @ mean
            first = first + chunk.initial @ mean
        b = (1.0 - self.discount) * (first @ self._projection)
        return Moments(self._gram - following @ self._projection / self.n, b)

    def vjp(
        self,
        theta: Tensor,
        factors: tuple[Tensor, Tensor, Tensor, Tensor],
        gradient_b: Tensor,
    ) -> Tensor:
        """D_θ v, from ∂v/∂M = x1 y1ᵀ + x2 y2ᵀ and ∂v/∂b.

        ∂v/∂φ̄(s) = −(z̃ᵀx1 y1 + z̃ᵀx2 y2) / n + (1 − γ) n0(s) / Σ n0 · ∂v/∂b.

        Parameters
        ----------
        theta : Tensor
        factors : tuple of four Tensors of shape (m,)
        gradient_b : Tensor of shape (m,)

        Returns
        -------
        Tensor
            Shaped as θ, in float64.
        """
        x1, y1, x2, y2 = factors
        x = torch.stack([x1, x2], dim=1).to(self.dtype)  # (m, 2)
        y = self._landmark_weights(torch.stack([y1, y2, gradient_b], dim=1))  # (L, 3)
        total = torch.zeros_like(theta, dtype=torch.float64)
        for chunk in self._chunks():
            first = (1.0 - self.discount) * chunk.initial[:, None]
            left = torch.cat([-chunk.led @ x / self.n, first], dim=1)  # (k, 3)
            total = total + self.leader.vjp(chunk.read, theta, left, y)
        return total

    def _landmark_weights(self, weight: Tensor) -> Tensor:
        """Weights on the landmarks, (L, c)."""
        return (self._projection @ weight).to(self.dtype)

    def _sum_fixed(self) -> None:
        """What θ does not move: c and ZᵀΦ/n + ρI."""
        m = self.n_features
        gram = torch.zeros(m, m, dtype=torch.float64)
        reward = torch.zeros(m, dtype=torch.float64)
        for index in self._batches(np.arange(self.n)):
            z = self._pairs(index)
            gram += z.T @ z
            reward += z.T @ torch.as_tensor(self.rows.reward[index], dtype=self.dtype)
        prior = self._ridge * torch.eye(m, dtype=torch.float64)
        self._gram, self.c = gram / self.n + prior, reward / self.n

    def _pairs(self, index: Index) -> Tensor:
        """φ of logged pairs, (k, m)."""
        states = self.rows.states[self.rows.state[index]]
        return torch.from_numpy(
            self.features.transform(states, self.rows.action[index])
        )

    def _batches(self, index: Index) -> Iterator[Index]:
        for start in range(0, len(index), self._chunk_rows):
            yield index[start : start + self._chunk_rows]

    def _chunks(self) -> Iterator[_Chunk]:
        """Chunks, from memory or read anew."""
        for start in range(0, len(self._states), self._chunk_rows):
            chunk = self._kept.get(start)
            if chunk is None:
                chunk = self._read(start)
                size = sum(tensor.nbytes for tensor in (*chunk.read, *chunk[1:]))
                if size <= self._room:
                    self._room -= size
                    self._kept[start] = chunk
            yield chunk

    def _read(self, start: int) -> _Chunk:
        states = self._states[start : start + self._chunk_rows]
        after = self.rows.next_state[self._leading]
        low, high = np.searchsorted(after, [states[0], states[-1] + 1])
        led = torch.zeros(len(states), self.n_features, dtype=self.dtype)
        for index in self._batches(self._leading[low:high]):
            weight = self.discount * (1.0 - self.rows.terminated[index])
            where = np.searchsorted(states, self.rows.next_state[index])
            weighted = torch.from_numpy(weight).to(self.dtype)[:, None]
            led.index_add_(0, torch.from_numpy(where), weighted * self._pairs(index))
        share = self._initial_share[start : start + self._chunk_rows]
        return _Chunk(
            self.leader.read(self.rows.states[states]),
            led,
            torch.from_numpy(share).to(self.dtype),
        )
