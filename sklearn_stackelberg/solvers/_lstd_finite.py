"""LSTD equations of finite states: of the pairs that the log and the policy hold alone.

Where φ(s) is one of the unit vectors, as ``kernel="delta"`` makes it, the rows enter
M(θ), b(θ) and c by counts alone, and a pair (s, a) that was not logged and that the
policy never takes has w = 0: its rows and columns of M, its entries of b and c are
zero. What is left is of the size of the pairs, 2,000 of 18,000 where a state has a few
of many actions, and an evaluation costs nothing that grows with the rows.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from .._linalg import LinearSystem
from .._problem.rows import FeatureRows, Rows, abs_quantile
from .._sampling import fixed_sample
from .._typing import Flags, Floats, Index
from ..policies._base import NEVER, advantages
from ..policies._softmax import softmax_vjp
from ..total_derivative import Factors
from ._best_response import STEP_ROWS, LSTDSystem

# States whose features are looked at together.
_BATCH = 4096


class Places(NamedTuple):
    """Where the states of a table are: kinds, which share features and prior.

    ``kind`` (N,) is the kind of each state in use, -1 of one without features, of which
    nothing is known; ``code`` (K,) is each kind's feature, ``prior`` (K, A) what is
    added to the policy's logits there.
    """

    kind: Index
    code: Index
    prior: Floats


def find_places(rows: Rows, features: FeatureRows, log_prior: Tensor) -> Places:
    """The kinds of the states of some rows, from features that are unit vectors."""
    used = np.unique(np.concatenate([rows.state, rows.next_state, rows.initial]))
    code = np.full(len(log_prior), -1)
    for start in range(0, len(used), _BATCH):
        index = used[start : start + _BATCH]
        largest, where = features(index).max(dim=1)
        code[index] = np.where(largest.numpy() > 0.5, where.numpy(), -1)
    known = used[code[used] >= 0]
    # Masks may differ between rows of one state: a kind has one code and one prior.
    prior = np.ascontiguousarray(log_prior[torch.from_numpy(known)].double().numpy())
    keys = np.column_stack([code[known].astype(float), prior])
    keys = keys.view(np.dtype((np.void, keys.itemsize * keys.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    kind = np.full(len(log_prior), -1)
    kind[known] = inverse.ravel()
    return Places(kind, code[known[first]], prior[first])


class FiniteLSTD(LSTDSystem):
    """M(θ) and b(θ), and their derivatives with respect to θ, of shape (m, A).

    As `DiscreteLSTD` of features that are unit vectors; w has the pairs alone that were
    logged or that ``log_prior`` lets the policy take.
    """

    dtype = torch.float64

    def __init__(
        self,
        rows: Rows,
        features: FeatureRows,
        n_features: int,
        n_actions: int,
        discount: float,
        log_prior: Tensor,
        ridge: float = 0.0,
        log_length: float | None = None,
    ) -> None:
        super().__init__(rows, discount, ridge, log_length)
        self.features, self.log_prior = features, log_prior
        self.shape = n_features, n_actions
        self.places = find_places(rows, features, log_prior)
        kind, code, prior = self.places
        self._code, self._prior = torch.from_numpy(code), torch.from_numpy(prior)
        pair = code[kind[rows.state]] * n_actions + rows.action  # (n,)
        # Pairs that matter: logged, or possible in some state that was reached.
        live = np.zeros(n_features * n_actions, dtype=bool)
        live[pair] = True
        possible = code[:, None] * n_actions + np.arange(n_actions)  # (K, A)
        live[possible[prior > NEVER / 2]] = True
        self.pairs = np.flatnonzero(live)
        number = np.full(len(live), -1)
        number[self.pairs] = np.arange(len(self.pairs))
        # Of each kind and action, its pair or -1, which nothing refers to.
        self._number = np.where(live[possible], number[possible], -1)
        self._sum_rows(number[pair], rows.weights(np.arange(self.n)))

    def _sum_rows(self, pair: Index, weight: Floats) -> None:
        """What θ does not move: counts, c, and where each pair leads."""
        rows, size, kind = self.rows, len(self.pairs), self.places.kind
        self._gram = np.bincount(pair, weight, size) / self.total + self.ridge  # (p,)
        paid = np.bincount(pair, weight * rows.reward, size) / self.total
        self.c = torch.from_numpy(paid)
        after = kind[rows.next_state]
        on = self.discount * (1.0 - rows.terminated) * weight / self.total
        # A next state without features has Q = 0, as `DiscreteLSTD` has it.
        goes = (on > 0) & (after >= 0)
        shape = size, len(self.places.code)
        entries = on[goes], (pair[goes], after[goes])
        self._following = csr_matrix(entries, shape=shape)  # (p, K), summed
        start = kind[rows.initial]
        share = rows.initial_share[start >= 0] * (1.0 - self.discount)
        initial = np.bincount(start[start >= 0], share, shape[1])
        self._initial = torch.from_numpy(initial)[:, None]  # (K, 1)

    def on_rows(self, rows: Rows) -> FiniteLSTD:
        return FiniteLSTD(
            rows,
            self.features,
            *self.shape,
            self.discount,
            self.log_prior,
            self.ridge,
            self.log_length,
        )

    def weights(self, flat: Tensor) -> Tensor:
        out = torch.zeros(self.shape[0] * self.shape[1], dtype=flat.dtype)
        out[torch.from_numpy(self.pairs)] = flat
        return out.reshape(self.shape)

    def _probabilities(self, theta: Tensor) -> Tensor:
        """π(a|s) of every kind, (K, A)."""
        return torch.softmax(theta.double()[self._code] + self._prior, dim=1)

    def __call__(self, theta: Tensor) -> LinearSystem:
        probabilities = self._probabilities(theta)
        size, can = len(self.pairs), self._can
        chosen = probabilities.numpy()[can]
        where = np.nonzero(can)[0], self._number[can]
        policy = csr_matrix((chosen, where), (len(can), size))  # (K, p)
        # Eq. (13) of docs/game.md.
        M = -(self._following @ policy).toarray()
        M[np.arange(size), np.arange(size)] += self._gram
        # Eq. (14), of the kinds that episodes start in.
        b = policy.T @ self._initial[:, 0].numpy()
        return LinearSystem(torch.from_numpy(M), torch.from_numpy(b), self.c)

    @cached_property
    def _can(self) -> Flags:
        """Whether the policy can take an action in a kind, (K, A)."""
        return self.places.prior > NEVER / 2

    def vjp(self, theta: Tensor, factors: Factors, gradient_b: Tensor) -> Tensor:
        """D_θ v, from ∂v/∂M = x1 y1ᵀ + x2 y2ᵀ and ∂v/∂b.

        A pair's share of M is −Σ_s' C(s') π(a|s'), C its counts, so that ∂v/∂π(a|s') =
        −(Cᵀx1)(s') y1(s', a) − (Cᵀx2)(s') y2(s', a), Eq. (26) summed over rows.
        """
        x1, y1, x2, y2 = (factor.double().numpy() for factor in factors)
        number, can = self._number, self._can
        gradient = -(self._following.T @ x1)[:, None] * np.where(can, y1[number], 0.0)
        gradient -= (self._following.T @ x2)[:, None] * np.where(can, y2[number], 0.0)
        slope = np.where(can, gradient_b.double().numpy()[number], 0.0)
        gradient += self._initial.numpy() * slope
        pulled = softmax_vjp(self._probabilities(theta), torch.from_numpy(gradient))
        total = torch.zeros(self.shape, dtype=torch.float64)
        return total.index_add_(0, self._code, pulled)

    def mirror_step(self, theta: Tensor, flat_w: Tensor, size: float) -> Tensor:
        """θ + η w: 95 % of the advantages move a logit by under size."""
        w = self.weights(flat_w)
        # Nothing is known of the other actions of a state, which are never taken.
        w = w - w.mean(dim=1, keepdim=True)
        kinds = self._sample
        advantage = advantages(self._probabilities(theta)[kinds], w[self._code[kinds]])
        advantage = advantage[self._prior[kinds] > NEVER / 2]
        return theta + size / abs_quantile(advantage) * w

    def logit_scale(self, direction: Tensor) -> float:
        return abs_quantile(direction[self._code[self._sample]])

    @cached_property
    def _sample(self) -> Tensor:
        """Kinds of a few of the logged states."""
        chosen = self.rows.state[fixed_sample(self.n, STEP_ROWS)]
        return torch.from_numpy(self.places.kind[chosen])
