"""The best response to one θ in closed form, and the derivatives of v there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from .. import game
from .._linalg import LinearSystem
from .._problem.rows import Rows
from .._sampling import fixed_sample
from ..total_derivative import Factors, moment_gradients

# Logged states over which a step measures what it moves: enough for a 95 % quantile.
STEP_ROWS = 2000

# A search on a log of over twice so many rows starts on so many of them.
PART_ROWS = 50_000


# Bytes of M up to which the best response keeps it.
_KEPT_BYTES = 2**25

# Of β, what is left of it where its effect is measured: none at all would leave what
# the log does not show undetermined.
_LITTLE = 1e-4

# By what a v may be over the highest, of its size, and be rounded.
_ROUNDING = 1e-9


class LSTDSystem(ABC):
    """The problem of ``needs = "linear"``: M(θ), b(θ) and c, a policy's LSTD equations.

    θ is a matrix of the policy's weights, w flat; M is square, b and c as long as w.
    ``log_length`` is n of 2λn, Σ weight of the rows: larger where they are a part of a
    longer log. With a ridge ρ, beside the n logged rows every direction of the
    features has ρ n rows more, after which the episode ends with nothing: M + ρI.
    """

    dtype: torch.dtype
    c: Tensor
    # The largest v that rewards allow, where it is known.
    highest: float = np.inf
    # Where a search on these rows has ended.
    found: BestResponse | None = None

    def __init__(
        self, rows: Rows, discount: float, ridge: float, log_length: float | None
    ) -> None:
        self.rows, self.discount, self.ridge = rows, discount, ridge
        self.n, self.total = len(rows.state), rows.total
        self.log_length = log_length or self.total

    def known(self, theta: Tensor, lam: float, beta: float) -> BestResponse | None:
        """The best response to θ, if a search has ended there."""
        found = self.found
        if found is None or found.is_released or (found.lam, found.beta) != (lam, beta):
            return None
        return found if torch.equal(found.theta, theta) else None

    @property
    def is_small(self) -> bool:
        """Whether M is, so that one thread solves as fast as several."""
        return 8 * len(self.c) ** 2 <= _KEPT_BYTES

    @abstractmethod
    def __call__(self, theta: Tensor) -> LinearSystem:
        """M(θ), b(θ) and c, in float64."""

    @abstractmethod
    def vjp(self, theta: Tensor, factors: Factors, gradient_b: Tensor) -> Tensor:
        """D_θ v, from ∂v/∂M = x1 y1ᵀ + x2 y2ᵀ and ∂v/∂b; shaped as θ, in float64."""

    @abstractmethod
    def weights(self, flat: Tensor) -> Tensor:
        """w as the Q-function holds it, of shape (n_features, n_outputs)."""

    @abstractmethod
    def mirror_step(self, theta: Tensor, flat_w: Tensor, size: float) -> Tensor:
        """θ after a step towards what q_w prefers, which moves typical logits by size.

        Typical: 95 % of the advantages move a logit by less.
        """

    @abstractmethod
    def logit_scale(self, direction: Tensor) -> float:
        """How far θ + direction moves an output of the policy: the 95 % quantile."""

    @abstractmethod
    def on_rows(self, rows: Rows) -> Self:
        """The same system of other rows, with the n of these."""

    def subsample(self, n_rows: int = PART_ROWS) -> Self:
        """The same over some rows drawn at random; itself, if there are few."""
        # Of fewer, half the rows would save little and know less.
        if self.n <= 2 * n_rows:
            return self
        # A fixed seed: which rows a search begins on is nothing to choose.
        rng = np.random.default_rng(0)
        chosen = fixed_sample(self.n, n_rows, rng)
        places = np.arange(len(self.rows.initial))
        if len(places) > n_rows:
            places = rng.choice(places, n_rows, replace=False)
        part = self.on_rows(self.rows.take(chosen, places))
        part.highest = self.highest
        return part


class BestResponse:
    """The best response to one θ, and what it makes of v.

        w*(θ) = (2λn MᵀM + βI)⁻¹ (2λn Mᵀc − b),      v = bᵀ w*(θ).

    ``flat_w`` is w*, ``adjoint`` (2λn MᵀM + βI)⁻¹ b, and ``pessimism`` bᵀ times it.
    """

    def __init__(
        self, lstd: LSTDSystem, theta: Tensor, lam: float, beta: float
    ) -> None:
        self.lstd, self.theta, self.lam, self.beta = lstd, theta, lam, beta
        self.scale = 2.0 * lam * lstd.log_length
        self.system = lstd(theta)
        found = self.system.best_response(self.scale, beta)
        self.flat_w, self.adjoint, self.factor = found
        # `game.leader_objective` of a q that is linear in w: Eqs. (16) and (21) of
        # docs/game.md.
        self.value = self.system.b @ self.flat_w
        self.pessimism = self.system.b @ self.adjoint

    @property
    def is_possible(self) -> bool:
        """Whether rewards allow v: of an M near singular its sign can be wrong."""
        highest = self.lstd.highest
        return float(self.value) <= highest + _ROUNDING * max(1.0, abs(highest))

    @property
    def credible_value(self) -> float:
        """v, or as far below the highest that rewards allow as it is above it, ()."""
        # Eq. (80) of docs/game.md.
        value = float(self.value)
        return min(value, 2.0 * self.lstd.highest - value)

    @property
    def shrinkage(self) -> Tensor:
        """What β takes off v, its part in the pessimism apart: bᵀ(w_0 − w_β), ().

        w_β is the ridge solution w* + (∂²F)⁻¹ b, and w_0 the one with hardly any β.
        """
        # Of all responses the best alone is asked, perhaps after its M was let go.
        system = self.lstd(self.theta) if self.is_released else self.system
        found = system.best_response(self.scale, _LITTLE * self.beta)
        little = system.b @ (found[0] + found[1])
        return little - (self.value + self.pessimism)

    @property
    def w(self) -> Tensor:
        """w as the Q-function holds it: a column per action, or one of the joint."""
        return self.lstd.weights(self.flat_w)

    @cached_property
    def bellman_error(self) -> Tensor:
        """E_K = |c − M w|²: `game.bellman_error`, whose Zᵀδ / n − ρ w is c − M w."""
        residual = self.system.c - self.system.M @ self.flat_w
        return residual @ residual

    @property
    def follower_objective(self) -> Tensor:
        """F at its minimum."""
        error, n = self.bellman_error, self.lstd.log_length
        return game.follower_objective(
            self.value, error, self.flat_w, n, self.lam, self.beta
        )

    @property
    def follower_gradient(self) -> Tensor:
        """∂_w F, zero to rounding at the best response, (p,)."""
        M, b, c = self.system.M, self.system.b, self.system.c
        # Eq. (18) of docs/game.md. Term by term, so that it says how well the system
        # was solved.
        fit = M.T @ (M @ self.flat_w - c)
        return self.scale * fit + self.beta * self.flat_w + b

    @property
    def is_large(self) -> bool:
        """Whether matrices of two points at once would be most of all memory."""
        M = self.system.M
        return not isinstance(M, Tensor) or M.nbytes > _KEPT_BYTES

    @property
    def is_released(self) -> bool:
        return not hasattr(self, "system")

    def release(self) -> None:
        """Let go of M and of the factor: θ, w, v and what they are measured by stay."""
        if not self.is_released:
            del self.system, self.factor

    def total_derivative(self) -> Tensor:
        """D_θ v, shaped as θ."""
        return self._total_derivative

    @cached_property
    def _total_derivative(self) -> Tensor:
        factors, gradient_b = moment_gradients(
            self.system.M, self.system.c, self.flat_w, self.adjoint, self.scale
        )
        return self.lstd.vjp(self.theta, factors, gradient_b)

    def individual_derivative(self) -> Tensor:
        """∂_θ v with w held fixed, shaped as θ: b alone moves."""
        # Eq. (29) of docs/game.md: the policy takes w for given.
        none = torch.zeros_like(self.flat_w)
        return self.lstd.vjp(self.theta, (none, none, none, none), self.flat_w)
