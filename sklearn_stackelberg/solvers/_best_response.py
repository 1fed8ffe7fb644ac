"""The follower's best response to one θ, and the leader's derivatives there."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .._linalg import Factor
from ..total_derivative import moment_gradients
from ._lstd_discrete import Moments


class LSTDSystem(Protocol):
    """What the solver asks of logged rows: `DiscreteLSTD`, or `ContinuousLSTD`.

    θ is a matrix of the leader's weights, w flat; M is square, b and c as long as w.
    """

    c: Tensor
    log_length: int

    def __call__(self, theta: Tensor) -> Moments:
        """M(θ) and b(θ)."""

    def vjp(
        self,
        theta: Tensor,
        factors: tuple[Tensor, Tensor, Tensor, Tensor],
        gradient_b: Tensor,
    ) -> Tensor:
        """D_θ v, from ∂v/∂M = x1 y1ᵀ + x2 y2ᵀ and ∂v/∂b."""

    def weights(self, flat: Tensor) -> Tensor:
        """w as the follower holds it, of shape (n_features, n_outputs)."""

    def mirror_step(self, theta: Tensor, flat_w: Tensor, size: float) -> Tensor:
        """θ after a step towards what q_w prefers; size is that of typical logits."""

    def logit_scale(self, direction: Tensor) -> float:
        """How far θ + direction moves a typical output of the policy."""

    def subsample(self) -> LSTDSystem:
        """The same over some rows, where there are many; else itself."""


class BestResponse:
    """The follower's answer to one θ, and what it makes of the leader's value.

        w*(θ) = (2λn MᵀM + βI)⁻¹ (2λn Mᵀc − b),      v = bᵀ w*(θ).

    Parameters
    ----------
    sums : DiscreteLSTD or ContinuousLSTD
    theta : Tensor
    lam, beta : float
    """

    def __init__(
        self, sums: LSTDSystem, theta: Tensor, lam: float, beta: float
    ) -> None:
        self.sums, self.theta, self.lam, self.beta = sums, theta, lam, beta
        self.scale = 2.0 * lam * sums.log_length
        self.moments: Moments = sums(theta)
        M, b = self.moments
        self.factor = Factor(M, self.scale, beta)
        right = torch.stack([self.scale * (M.T @ sums.c) - b, b], dim=1)
        self.flat_w, self.adjoint = self.factor.solve(right).unbind(dim=1)  # (A m,)
        self.value = b @ self.flat_w
        self.pessimism = b @ self.adjoint

    @property
    def w(self) -> Tensor:
        """w as the follower holds it: a column per action, or one of the joint."""
        return self.sums.weights(self.flat_w)

    @property
    def bellman_error(self) -> Tensor:
        """E_K = |c − M w|²."""
        residual = self.sums.c - self.moments.M @ self.flat_w
        return residual @ residual

    @property
    def follower_objective(self) -> Tensor:
        """F = v + λ n E_K + (β/2) |w|²."""
        penalty = 0.5 * self.beta * (self.flat_w @ self.flat_w)
        return self.value + 0.5 * self.scale * self.bellman_error + penalty

    @property
    def follower_gradient(self) -> Tensor:
        """∂_w F, zero to rounding at the best response, (A m,)."""
        M, b = self.moments
        fit = M.T @ (M @ self.flat_w - self.sums.c)
        return self.scale * fit + self.beta * self.flat_w + b

    def total_derivative(self) -> Tensor:
        """D_θ v, shaped as θ."""
        factors, gradient_b = moment_gradients(
            self.moments.M, self.sums.c, self.flat_w, self.adjoint, self.scale
        )
        return self.sums.vjp(self.theta, factors, gradient_b)

    def individual_derivative(self) -> Tensor:
        """∂_θ v with w held fixed, shaped as θ: b alone moves."""
        none = torch.zeros_like(self.flat_w)
        factors = (none, none, none, none)
        return self.sums.vjp(self.theta, factors, self.flat_w)
