"""Is the point that a solver returned an equilibrium?

A differentiable Stackelberg equilibrium has D_θ v = 0 with D²_θ v negative
(semi-)definite, since the leader maximises, and ∂_w F = 0 with ∂²_{ww} F positive
definite, since the follower minimises.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ._linalg import MatVec, conjugate_gradient, largest_eigenvalue
from .solvers._closed_form import ClosedFormSolver
from .solvers._gauss_newton import BatchObjectives
from .solvers._lstd_discrete import DiscreteLSTD
from .solvers._minibatch_game import (
    Batch,
    MinibatchGame,
    Players,
    assign,
    flat,
    trained,
)
from .solvers._stochastic import StochasticSolver
from .total_derivative import total_derivative

# Products with D²v, each two evaluations of v and its derivative. The largest Ritz
# value of so many bounds the largest eigenvalue from below, closely as a rule.
LANCZOS_STEPS = 8
# Rows that tell the leader's curvature: sixteen evaluations of a whole log would cost
# as much as the climb.
_CURVATURE_ROWS = 2_000
# Of a play, whose every product goes through networks, fewer rows and steps; and, of
# followers with more weights than a few, so many products to a solution.
_PLAY_ROWS, _PLAY_STEPS = 500, 4
_FEW_WEIGHTS, _PRODUCTS = 100, 50


@dataclass(frozen=True)
class Equilibrium:
    """First- and second-order conditions of a Stackelberg equilibrium, measured.

    All are in units of the scaled rewards.

    Parameters
    ----------
    leader_gradient_norm : float
        |D_θ v|: zero at an equilibrium. A softmax that is nearly decided comes near
        zero everywhere, so read it beside ``policy_value_``.
    leader_largest_curvature : float
        Largest eigenvalue of D²_θ v: positive where v can still be climbed. On more
        than 4,000 rows, of v as a part of them tells it (`DiscreteLSTD.part`).
    follower_gradient_norm : float
        |∂_w F|, relative to the sum of the norms of its terms.
    follower_smallest_curvature : float
        Smallest eigenvalue of ∂²_{ww} F, at least β.
    """

    leader_gradient_norm: float
    leader_largest_curvature: float
    follower_gradient_norm: float
    follower_smallest_curvature: float

    def __str__(self) -> str:
        return (
            f"|D v| = {self.leader_gradient_norm:.3g}, largest eigenvalue of D²v = "
            f"{self.leader_largest_curvature:.3g}; |∂F| = "
            f"{self.follower_gradient_norm:.3g} (relative), smallest eigenvalue of "
            f"∂²F = {self.follower_smallest_curvature:.3g}"
        )


def measure_equilibrium(
    solver: ClosedFormSolver,
    sums: DiscreteLSTD,
    theta: Tensor,
    *,
    lanczos_steps: int = LANCZOS_STEPS,
) -> Equilibrium:
    """Measure both players' conditions at θ and the follower's best response to it.

    Parameters
    ----------
    solver : ClosedFormSolver
    sums : DiscreteLSTD
    theta : Tensor of shape (m, n_actions)
    lanczos_steps : int, default=LANCZOS_STEPS
        Products with D²_θ v, which is never formed.

    Returns
    -------
    Equilibrium
    """
    part = sums.subsample(_CURVATURE_ROWS)

    def derivative(at: Tensor) -> Tensor:
        return solver.evaluate(part, at).total_derivative()

    # Central differences of the exact derivative: each product costs two evaluations,
    # streams over the rows as they do, and is good to about ten digits.
    step = torch.finfo(sums.dtype).eps ** (1 / 3) * max(1.0, float(theta.norm()))

    def leader_curvature(x: Tensor) -> Tensor:
        ahead = step * x.reshape(theta.shape)
        difference = derivative(theta + ahead) - derivative(theta - ahead)
        return difference.ravel() / (2.0 * step)

    at = solver.evaluate(sums, theta)
    M, b = at.moments
    terms = [at.scale * (M.T @ (M @ at.flat_w)), at.scale * (M.T @ sums.c), b]
    flatness = largest_eigenvalue(
        lambda x: at.factor.solve(x[:, None])[:, 0], len(b), lanczos_steps
    )
    return Equilibrium(
        leader_gradient_norm=float(at.total_derivative().norm()),
        leader_largest_curvature=largest_eigenvalue(
            leader_curvature, theta.numel(), lanczos_steps
        ),
        follower_gradient_norm=float(
            at.follower_gradient.norm() / sum(term.norm() for term in terms)
        ),
        follower_smallest_curvature=1.0 / flatness,
    )


def measure_stochastic_equilibrium(
    solver: StochasticSolver,
    sampled: MinibatchGame,
    leader: nn.Module,
    follower: nn.Module,
    *,
    lanczos_steps: int = _PLAY_STEPS,
) -> Equilibrium:
    """Measure both players' conditions where a play on samples ended.

    All by products alone, in double precision, on all rows and initial states or 500
    of each, so that it takes about as long as a few turns. The derivatives are those of
    F itself, not of its Gauss-Newton approximation: the follower's answer is first
    settled by Newton steps, and again for each policy that differences are taken at. A
    network's F may have directions that bend down; ``follower_smallest_curvature`` is
    then negative, what was found is no equilibrium, and the leader's conditions are by
    Gauss-Newton products.

    Parameters
    ----------
    solver : StochasticSolver
    sampled : MinibatchGame
    leader, follower : Module
        As the play left them. They are copied.
    lanczos_steps : int, default=4
        Products with D²_θ v; five times as many with ∂²_{ww} F, whose smallest Ritz
        value bounds the smallest eigenvalue from above.

    Returns
    -------
    Equilibrium
    """
    at = _Measured(solver, sampled, leader, follower)
    theta, w = flat(at.objectives.leader), flat(at.objectives.follower)
    gradient_norm = at.follower_gradient_norm(w, theta)
    w = at.settled(w, theta)
    _, hessian = at.gradient_and_hessian(w, theta)
    smallest = -largest_eigenvalue(lambda x: -hessian(x), len(w), 5 * lanczos_steps)
    at.exact = smallest > 0.0

    step = torch.finfo(theta.dtype).eps ** (1 / 3) * max(1.0, float(theta.norm()))

    def leader_curvature(x: Tensor) -> Tensor:
        ahead = step * x.to(theta.device)
        sides = [
            at.derivative(at.settled(w, moved, steps=1), moved)
            for moved in (theta + ahead, theta - ahead)
        ]
        return (sides[0] - sides[1]).cpu() / (2.0 * step)

    return Equilibrium(
        leader_gradient_norm=float(at.derivative(w, theta).norm()),
        leader_largest_curvature=largest_eigenvalue(
            leader_curvature, len(theta), lanczos_steps
        ),
        follower_gradient_norm=gradient_norm,
        follower_smallest_curvature=smallest,
    )


class _Measured:
    """v and F of fixed rows in double precision, as functions of flat w and θ."""

    # Newton steps to an answer, and the relative change of w that is the last: steps
    # shrink by squares there, so that what is left is nothing.
    _STEPS, _SETTLED, _CG_TOL = 8, 1e-7, 1e-12

    def __init__(
        self,
        solver: StochasticSolver,
        sampled: MinibatchGame,
        leader: nn.Module,
        follower: nn.Module,
    ) -> None:
        if sampled.dtype != torch.float64:
            sampled = MinibatchGame(
                sampled.rows,
                sampled.discount,
                ridge=sampled.ridge,
                device=sampled.device,
            )
        both = []
        for player in (leader, follower):
            player = deepcopy(player).to(device=sampled.device, dtype=sampled.dtype)
            # What a play returns asks for no gradients.
            both.append(player if trained(player) else player.requires_grad_())
        players = Players(*both, sampled.discount)
        self.objectives = BatchObjectives(sampled, players, solver.lam, solver.beta)
        self.batch: Batch = sampled.fixed_batch(_PLAY_ROWS)
        n_weights = len(flat(self.objectives.follower))
        self.products = 4 * n_weights if n_weights <= _FEW_WEIGHTS else _PRODUCTS
        self.exact = True

    def v(self, w: Tensor, theta: Tensor) -> Tensor:
        return self.objectives.sampled.value(
            self.objectives.players.at(self.batch, w, theta)
        )

    def F(self, w: Tensor, theta: Tensor) -> Tensor:
        return self.objectives.biased_objective(self.batch, w, theta)

    def gradient_and_hessian(self, w: Tensor, theta: Tensor) -> tuple[Tensor, MatVec]:
        """∂_w F, and products with ∂²_{ww} F."""
        w = w.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.F(w, theta), w, create_graph=True)

        def hessian(x: Tensor) -> Tensor:
            x = x.to(gradient)
            return torch.autograd.grad(gradient, w, x, retain_graph=True)[0].cpu()

        return gradient.detach(), hessian

    def solve(self, matvec: MatVec, right: Tensor) -> Tensor:
        """Conjugate gradient as far as it comes."""
        return conjugate_gradient(
            lambda x: matvec(x).to(x.device),
            right,
            max_iter=self.products,
            tol=self._CG_TOL,
        ).x

    def settled(self, w: Tensor, theta: Tensor, steps: int = _STEPS) -> Tensor:
        """The follower's answer to θ, from w, by Newton steps as long as F falls."""
        assign(self.objectives.leader, theta)
        damping = 0.0
        for _ in range(steps):
            gradient, hessian = self.gradient_and_hessian(w, theta)
            tried = w + self.solve(hessian, -gradient)
            with torch.no_grad():
                before, after = self.F(w, theta), self.F(tried, theta)
            if not after < before:
                step = self.objectives.gauss_newton_step(
                    self.batch, w, damping, 1e-12, self.products
                )
                tried, damping = step.w, step.damping
            change = float((tried - w).norm())
            w = tried
            if change <= self._SETTLED * float(w.norm()):
                break
        return w

    def derivative(self, w: Tensor, theta: Tensor) -> Tensor:
        """D_θ v at the follower's answer."""
        curvature = None
        if not self.exact:
            with torch.no_grad():
                assign(self.objectives.leader, theta)
                choices = self.objectives.players.choices(self.batch)
            curvature = self.objectives.curvature(self.batch, w, choices)
        return total_derivative(
            self.v, self.F, w, theta, solve=self.solve, curvature=curvature
        )

    def follower_gradient_norm(self, w: Tensor, theta: Tensor) -> float:
        """|∂_w F| over the norms of its terms: of v, of the rewards, of the rest."""
        w = w.detach().requires_grad_()
        sampled, batch = self.objectives.sampled, self.batch
        play = self.objectives.players.at(batch, w, theta)
        mean = sampled.embedded(play, batch, w)
        rewards = batch.embedding.T @ batch.reward / len(batch.reward)
        scale = 2.0 * self.objectives.lam * sampled.n

        def pulled(output: Tensor, direction: Tensor | None = None) -> Tensor:
            return torch.autograd.grad(
                output, w, direction, retain_graph=True, materialize_grads=True
            )[0]

        value = pulled(sampled.value(play))
        paid = scale * pulled(mean, rewards)
        rest = scale * pulled(mean, (mean - rewards).detach())
        total = value + paid + rest + self.objectives.beta * w.detach()
        size = value.norm() + paid.norm() + rest.norm()
        return float(total.norm() / size)
