"""What a policy and a Q-function know of a batch: objectives, derivatives, steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .. import game
from .._linalg import MatVec, Solution, conjugate_gradient
from ..total_derivative import gauss_newton, total_derivative
from ._minibatch_game import (
    Batch,
    BatchEvaluation,
    Choices,
    MinibatchGame,
    Players,
    flat,
)

# Trials of a Gauss-Newton step, each damped ten times as much as the one before.
_TRIALS = 8

# Less damping than this would be the same step, beside any β that is of use.
_LEAST_DAMPING = 1e-10

# F can fall no further where the curvature promises less than so much of its size, or
# less than what rounding makes of F: so many units in its last place.
_ROUNDED, _ROUNDED_ULPS = 1e-6, 100.0


class TotalDerivative(NamedTuple):
    """D_θ v of a batch, and what was solved for it."""

    derivative: Tensor  # (q,)
    adjoint: Tensor  # (∂²F)⁻¹ ∂_w v, as far as conjugate gradient went, (p,)
    pessimism: float  # (∂_w v)ᵀ (∂²F)⁻¹ ∂_w v
    cg_residual: float  # relative, of the adjoint


class GaussNewtonStep(NamedTuple):
    """A damped Gauss-Newton step of the Q-function, or the one that could not be."""

    w: Tensor  # (p,); as it was where no damping made F fall
    damping: float  # to begin the next step with
    fall: float  # how much F fell, as a share of its size
    failed: bool = False  # no damping made F fall, and w is not at the minimum


@dataclass(frozen=True)
class BatchObjectives:
    """v and F of batches, as functions of a policy's and a Q-function's weights."""

    problem: MinibatchGame
    players: Players
    lam: float
    beta: float

    def value(self, batch: Batch, w: Tensor, theta: Tensor | None = None) -> Tensor:
        """v."""
        return self.problem.value(self.players.at(batch, w, theta))

    def unbiased_objective(
        self, evaluation: BatchEvaluation, batch: Batch, w: Tensor
    ) -> Tensor:
        """F, estimated without bias by the batch."""
        value = self.problem.value(evaluation)
        error, n = self.problem.error(evaluation, batch, w), self.problem.log_length
        return game.follower_objective(value, error, w, n, self.lam, self.beta)

    def biased_objective(
        self,
        batch: Batch,
        w: Tensor,
        theta: Tensor | None = None,
        choices: Choices | None = None,
    ) -> Tensor:
        """F as if the batch were the whole log: never below v, and so safe to minimise.

        The unbiased estimate has no minimum on a batch that is a part of the log.
        """
        evaluation = self.players.at(batch, w, theta, choices)
        mean = self.problem.embedded(evaluation, batch, w)
        # Eq. (39) of docs/game.md.
        value, n = self.problem.value(evaluation), self.problem.log_length
        return game.follower_objective(value, mean @ mean, w, n, self.lam, self.beta)

    def choices(self, batch: Batch) -> Choices:
        """What the policy chooses, once for all products of a solve."""
        with torch.no_grad():
            return self.players.choices(batch)

    def curvature(self, batch: Batch, w: Tensor, choices: Choices) -> MatVec:
        """Products with 2λ (n/B²) JᵀKJ + βI, positive definite at any w."""

        def mean(w: Tensor) -> Tensor:
            evaluation = self.players.at(batch, w, choices=choices)
            return self.problem.embedded(evaluation, batch, w)

        return gauss_newton(
            mean, w, 2.0 * self.lam * self.problem.log_length, self.beta
        )

    def individual_derivative(self, batch: Batch) -> Tensor:
        """∂_θ v with w held fixed."""
        theta = flat(self.players.policy).requires_grad_()
        value = self.value(batch, flat(self.players.q_function), theta)
        return torch.autograd.grad(value, theta)[0]

    def total_derivative_of(
        self, batch: Batch, start: Tensor | None, tol: float, max_iter: int
    ) -> TotalDerivative:
        """D_θ v by conjugate gradient on Gauss-Newton products.

        ``start`` is a guess of the adjoint, such as that of the iteration before.
        """
        w, theta = flat(self.players.q_function), flat(self.players.policy)
        solved: list[tuple[Tensor, Solution]] = []

        def solve(matvec: MatVec, right: Tensor) -> Tensor:
            found = conjugate_gradient(matvec, right, start, tol=tol, max_iter=max_iter)
            solved.append((right, found))
            return found.x

        derivative = total_derivative(
            lambda w, theta: self.value(batch, w, theta),
            lambda w, theta: self.unbiased_objective(
                self.players.at(batch, w, theta), batch, w
            ),
            w,
            theta,
            solve=solve,
            curvature=self.curvature(batch, w, self.choices(batch)),
        )
        ((value_w, found),) = solved
        pessimism = float(value_w @ found.x)
        return TotalDerivative(derivative, found.x, pessimism, found.residual)

    def gauss_newton_step(
        self, batch: Batch, w: Tensor, damping: float, tol: float, max_iter: int
    ) -> GaussNewtonStep:
        """One damped Gauss-Newton step of the Q-function towards its best response.

        The step solves (2λ (n/B²) JᵀKJ + (β + damping) I) x = −∂_w F by conjugate
        gradient, with more damping until F falls (Levenberg and Marquardt). Where q is
        linear in w, one step solved to the end is the best response itself.
        """
        choices = self.choices(batch)
        w = w.detach().requires_grad_()
        before = self.biased_objective(batch, w, choices=choices)
        (gradient,) = torch.autograd.grad(before, w)
        w, before = w.detach(), before.detach()
        curvature = self.curvature(batch, w, choices)
        for _ in range(_TRIALS):
            # Eq. (41) of docs/game.md.
            def damped(x: Tensor, damping: float = damping) -> Tensor:
                return curvature(x) + damping * x

            step = conjugate_gradient(damped, -gradient, tol=tol, max_iter=max_iter).x
            with torch.no_grad():
                after = self.biased_objective(batch, w + step, choices=choices)
            if after < before:
                damping = max(damping / 10.0, _LEAST_DAMPING)
                fall = float((before - after) / before.abs())
                return GaussNewtonStep(w + step, damping, fall)
            # A step that needed none before starts at what can be seen beside β.
            damping = 10.0 * max(damping, 1e-4)
        # By its curvature, F would fall by half of gᵀ (∂²F)⁻¹ g.
        step = conjugate_gradient(curvature, gradient, tol=tol, max_iter=max_iter).x
        with torch.no_grad():
            value = self.problem.value(self.players.at(batch, w, choices=choices))
        # F itself may be near zero where v and what is added to it cancel.
        size = value.abs() + (before - value).abs()
        share = max(_ROUNDED, _ROUNDED_ULPS * torch.finfo(w.dtype).eps)
        converged = bool(0.5 * (gradient @ step) <= share * size)
        return GaussNewtonStep(w, damping, 0.0, failed=not converged)
