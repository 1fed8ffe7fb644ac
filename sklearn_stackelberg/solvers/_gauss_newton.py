"""What two players can know of a batch: objectives, curvature, derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import game
from .._linalg import MatVec, Solution, conjugate_gradient
from ..total_derivative import gauss_newton, total_derivative
from ._minibatch_game import Batch, MinibatchGame, Players, flat

# Trials of a Gauss-Newton step, each damped ten times as much as the one before.
_TRIALS = 8

_LEAST_DAMPING = 1e-10

# F can fall no further where the curvature promises less than so much of its size, or
# less than what rounding makes of F: so many units in its last place.
_ROUNDED, _ROUNDED_ULPS = 1e-6, 100.0


@dataclass(frozen=True)
class TotalDerivative:
    """D_θ v of a batch, and what was solved for it.

    Parameters
    ----------
    derivative : Tensor of shape (q,)
    adjoint : Tensor of shape (p,)
        (∂²F)⁻¹ ∂_w v, as far as conjugate gradient went.
    pessimism : float
        (∂_w v)ᵀ (∂²F)⁻¹ ∂_w v.
    cg_residual : float
        Relative residual of the solution.
    """

    derivative: Tensor
    adjoint: Tensor
    pessimism: float
    cg_residual: float


class Response(NamedTuple):
    """A damped Gauss-Newton step of the follower.

    Parameters
    ----------
    w : Tensor of shape (p,)
        As it was where no damping makes F fall.
    damping : float
        To begin the next step with.
    fall : float
        How much F fell, as a share of its size.
    failed : bool
        Whether no damping made F fall although w is not at its minimum.
    """

    w: Tensor
    damping: float
    fall: float
    failed: bool = False


@dataclass(frozen=True)
class BatchObjectives:
    """The game on samples between two players, at the weights that they have.

    Parameters
    ----------
    sampled : MinibatchGame
    players : Players
    lam, beta : float
    """

    sampled: MinibatchGame
    players: Players
    lam: float
    beta: float

    @property
    def leader(self) -> nn.Module:
        """The policy."""
        return self.players.leader

    @property
    def follower(self) -> Any:
        """The Q-function."""
        return self.players.follower

    def objective(
        self, batch: Batch, w: Tensor, theta: Tensor | None = None, choices: Any = None
    ) -> Tensor:
        """F, estimated without bias by the batch."""
        play = self.players.at(batch, w, theta, choices)
        return self.sampled.follower_objective(play, batch, w, self.lam, self.beta)

    def biased_objective(
        self, batch: Batch, w: Tensor, theta: Tensor | None = None, choices: Any = None
    ) -> Tensor:
        """F as if the batch were the whole log: never below v, and so safe to minimise.

        The unbiased estimate has no minimum on a batch that is a part of the log.
        """
        play = self.players.at(batch, w, theta, choices)
        mean = self.sampled.embedded(play, batch, w)
        value, n = self.sampled.value(play), self.sampled.n
        return game.follower_objective(value, mean @ mean, w, n, self.lam, self.beta)

    def curvature(self, batch: Batch, w: Tensor, choices: Any) -> MatVec:
        """Products with 2λ (n/B²) JᵀKJ + βI, positive definite at any w."""

        def mean(w: Tensor) -> Tensor:
            play = self.players.at(batch, w, choices=choices)
            return self.sampled.embedded(play, batch, w)

        return gauss_newton(mean, w, 2.0 * self.lam * self.sampled.n, self.beta)

    def individual_derivative(self, batch: Batch) -> Tensor:
        """∂_θ v with w held fixed."""
        w, theta = flat(self.follower), flat(self.leader).requires_grad_()
        value = self.sampled.value(self.players.at(batch, w, theta))
        return torch.autograd.grad(value, theta)[0]

    def total_derivative_of(
        self, batch: Batch, start: Tensor | None, tol: float, max_iter: int
    ) -> TotalDerivative:
        """D_θ v by conjugate gradient on Gauss-Newton products.

        Parameters
        ----------
        batch : Batch
        start : Tensor of shape (p,) or None
            A guess of the adjoint, such as that of the turn before.
        tol, max_iter
            Of `conjugate_gradient`.

        Returns
        -------
        TotalDerivative
        """
        w, theta = flat(self.follower), flat(self.leader)
        with torch.no_grad():
            choices = self.players.choices(batch)
        solved: list[tuple[Tensor, Solution]] = []

        def solve(matvec: MatVec, right: Tensor) -> Tensor:
            found = conjugate_gradient(matvec, right, start, tol=tol, max_iter=max_iter)
            solved.append((right, found))
            return found.x

        derivative = total_derivative(
            lambda w, theta: self.sampled.value(self.players.at(batch, w, theta)),
            lambda w, theta: self.objective(batch, w, theta),
            w,
            theta,
            solve=solve,
            curvature=self.curvature(batch, w, choices),
        )
        ((value_w, found),) = solved
        return TotalDerivative(
            derivative, found.x, float(value_w @ found.x), found.residual
        )

    def gauss_newton_step(
        self, batch: Batch, w: Tensor, damping: float, tol: float, max_iter: int
    ) -> Response:
        """One damped Gauss-Newton step of the follower towards its best response.

        The step solves (2λ (n/B²) JᵀKJ + (β + damping) I) x = −∂_w F by conjugate
        gradient, with more damping until F falls. Where q is linear in w, one step
        solved to the end is the best response itself.

        Parameters
        ----------
        batch : Batch
        w : Tensor of shape (p,)
        damping : float
            Larger makes the step shorter.
        tol, max_iter
            Of `conjugate_gradient`.

        Returns
        -------
        Response
        """
        with torch.no_grad():
            choices = self.players.choices(batch)
        w = w.detach().requires_grad_()
        before = self.biased_objective(batch, w, choices=choices)
        (gradient,) = torch.autograd.grad(before, w)
        w, before = w.detach(), before.detach()
        curvature = self.curvature(batch, w, choices)
        for _ in range(_TRIALS):
            step = conjugate_gradient(
                lambda x, damping=damping: curvature(x) + damping * x,
                -gradient,
                tol=tol,
                max_iter=max_iter,
            ).x
            with torch.no_grad():
                after = self.biased_objective(batch, w + step, choices=choices)
            if after < before:
                return Response(
                    w + step,
                    max(damping / 10.0, _LEAST_DAMPING),
                    float((before - after) / before.abs()),
                )
            damping = 10.0 * max(damping, 1e-4)
        # By its curvature, F would fall by half of gᵀ (∂²F)⁻¹ g.
        step = conjugate_gradient(curvature, gradient, tol=tol, max_iter=max_iter).x
        with torch.no_grad():
            value = self.sampled.value(self.players.at(batch, w, choices=choices))
        # F itself may be near zero where v and what is added to it cancel.
        size = value.abs() + (before - value).abs()
        share = max(_ROUNDED, _ROUNDED_ULPS * torch.finfo(w.dtype).eps)
        converged = bool(0.5 * (gradient @ step) <= share * size)
        return Response(w, damping, 0.0, failed=not converged)
