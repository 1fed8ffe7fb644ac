"""Is the point that a solver returned an equilibrium?

A differentiable Stackelberg equilibrium has D_θ v = 0 with D²_θ v negative
(semi-)definite, since the leader maximises, and ∂_w F = 0 with ∂²_{ww} F positive
definite, since the follower minimises: Eqs. (43) and (44) of docs/game.md.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ._linalg import MatVec, conjugate_gradient, largest_eigenvalue
from .solvers._best_response import BestResponse, LSTDSystem
from .solvers._gauss_newton import BatchObjectives
from .solvers._minibatch_game import MinibatchGame, Players, assign, flat, trained
from .total_derivative import total_derivative

# Products with D²v, each two evaluations of v and its derivative. The largest Ritz
# value of so many bounds the largest eigenvalue from below, closely as a rule.
LANCZOS_STEPS = 8
# Rows on which the leader's curvature is measured: sixteen evaluations of a whole log
# would cost as much as the fit.
_CURVATURE_ROWS = 2_000
# On samples, where every product goes through networks, fewer rows and steps; and, of
# followers with more weights than a few, so many products to a solution.
_SAMPLED_ROWS, _SAMPLED_STEPS = 500, 4
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
        Largest eigenvalue of D²_θ v: positive where v can still be raised. On more
        than 4,000 rows, of v estimated by 2,000 of them.
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
    system: LSTDSystem,
    theta: Tensor,
    *,
    lam: float,
    beta: float,
    lanczos_steps: int = LANCZOS_STEPS,
) -> Equilibrium:
    """Measure both players' conditions at θ and the follower's best response to it.

    ``lanczos_steps`` are products with D²_θ v, which is never formed.
    """
    part = system.subsample(_CURVATURE_ROWS)

    def derivative(at: Tensor) -> Tensor:
        return BestResponse(part, at, lam, beta).total_derivative()

    at = system.known(theta, lam, beta) or BestResponse(system, theta, lam, beta)
    M, b, c = at.system.M, at.system.b, at.system.c
    terms = [at.scale * (M.T @ (M @ at.flat_w)), at.scale * (M.T @ c), b]
    # The inverse's largest eigenvalue is one over the smallest, and Lanczos finds the
    # largest ones first.
    flatness = largest_eigenvalue(
        lambda x: at.factor.solve(x[:, None])[:, 0], len(b), lanczos_steps
    )
    return Equilibrium(
        leader_gradient_norm=float(at.total_derivative().norm()),
        leader_largest_curvature=largest_eigenvalue(
            _differences(derivative, theta, system.dtype), theta.numel(), lanczos_steps
        ),
        follower_gradient_norm=float(
            at.follower_gradient.norm() / sum(term.norm() for term in terms)
        ),
        follower_smallest_curvature=1.0 / flatness,
    )


def _differences(
    derivative: Callable[[Tensor], Tensor], theta: Tensor, dtype: torch.dtype
) -> MatVec:
    """Products with D²_θ v, on the CPU, by central differences of D_θ v.

    Each costs two evaluations and is good to about ten digits.
    """
    # Where the error of the differences, of the step's square, meets that of rounding,
    # of one over it.
    step = torch.finfo(dtype).eps ** (1 / 3) * max(1.0, float(theta.norm()))

    def product(x: Tensor) -> Tensor:
        ahead = step * x.to(theta.device).reshape(theta.shape)
        difference = derivative(theta + ahead) - derivative(theta - ahead)
        return difference.ravel().cpu() / (2.0 * step)

    return product


def measure_stochastic_equilibrium(
    problem: MinibatchGame,
    policy: nn.Module,
    q_function: nn.Module,
    *,
    lam: float,
    beta: float,
    lanczos_steps: int = _SAMPLED_STEPS,
) -> Equilibrium:
    """Measure both players' conditions where steps on samples ended.

    By products alone, in double precision, on at most 500 rows and initial states. The
    derivatives are those of F itself, not of its Gauss-Newton approximation, where the
    follower has come to its best response by Newton steps. A network's F may bend down:
    ``follower_smallest_curvature`` is then negative, what was found is no equilibrium,
    and the leader's conditions are by Gauss-Newton products.

    ``lanczos_steps`` are products with D²_θ v; five times as many with ∂²_{ww} F, whose
    smallest Ritz value bounds the smallest eigenvalue from above.
    """
    at = _Conditions(problem, policy, q_function, lam, beta)
    theta, w = flat(at.players.policy), flat(at.players.q_function)
    gradient_norm = at.follower_gradient_norm(w, theta)
    w = at.best_response(w, theta)
    _, hessian = at.gradient_and_hessian(w, theta)
    smallest = -largest_eigenvalue(lambda x: -hessian(x), len(w), 5 * lanczos_steps)
    at.exact = smallest > 0.0

    def derivative(moved: Tensor) -> Tensor:
        # So near, one Newton step from the best response is the best response.
        return at.derivative(at.best_response(w, moved, steps=1), moved)

    return Equilibrium(
        leader_gradient_norm=float(at.derivative(w, theta).norm()),
        leader_largest_curvature=largest_eigenvalue(
            _differences(derivative, theta, theta.dtype), len(theta), lanczos_steps
        ),
        follower_gradient_norm=gradient_norm,
        follower_smallest_curvature=smallest,
    )


class _Conditions:
    """v and F of fixed rows in double precision, as functions of flat w and θ."""

    # Newton steps to a best response, and the relative change of w that is the last:
    # steps shrink by squares there, so that what is left is nothing.
    _STEPS, _CHANGE, _CG_TOL = 8, 1e-7, 1e-12

    def __init__(
        self,
        problem: MinibatchGame,
        policy: nn.Module,
        q_function: nn.Module,
        lam: float,
        beta: float,
    ) -> None:
        if problem.dtype != torch.float64:
            # Differences of derivatives leave single precision no digit.
            problem = MinibatchGame(
                problem.rows,
                problem.inputs,
                problem.discount,
                ridge=problem.ridge,
                device=problem.device,
            )
        policy, q_function = (
            deepcopy(module).to(device=problem.device, dtype=problem.dtype)
            for module in (policy, q_function)
        )
        for module in (policy, q_function):
            # What a solver returns has no gradients.
            if not trained(module):
                module.requires_grad_()
        self.players = Players(policy, q_function, problem.discount)
        self.problem = problem
        self.objectives = BatchObjectives(problem, self.players, lam, beta)
        self.batch = problem.fixed_batch(_SAMPLED_ROWS)
        n_weights = len(flat(self.players.q_function))
        # In exact arithmetic as many products as weights are enough.
        self.products = 4 * n_weights if n_weights <= _FEW_WEIGHTS else _PRODUCTS
        self.exact = True

    def v(self, w: Tensor, theta: Tensor) -> Tensor:
        return self.objectives.value(self.batch, w, theta)

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

    def best_response(self, w: Tensor, theta: Tensor, steps: int = _STEPS) -> Tensor:
        """The follower's best response to θ, from w, by Newton steps while F falls."""
        assign(self.players.policy, theta)
        damping = 0.0
        for _ in range(steps):
            gradient, hessian = self.gradient_and_hessian(w, theta)
            tried = w + self.solve(hessian, -gradient)
            with torch.no_grad():
                before, after = self.F(w, theta), self.F(tried, theta)
            if not after < before:
                # Newton steps go to saddles too; Gauss-Newton steps only down.
                step = self.objectives.gauss_newton_step(
                    self.batch, w, damping, self._CG_TOL, self.products
                )
                tried, damping = step.w, step.damping
            change = float((tried - w).norm())
            w = tried
            if change <= self._CHANGE * float(w.norm()):
                break
        return w

    def derivative(self, w: Tensor, theta: Tensor) -> Tensor:
        """D_θ v at the follower's best response."""
        curvature = None
        if not self.exact:
            assign(self.players.policy, theta)
            choices = self.objectives.choices(self.batch)
            curvature = self.objectives.curvature(self.batch, w, choices)
        return total_derivative(
            self.v, self.F, w, theta, solve=self.solve, curvature=curvature
        )

    def follower_gradient_norm(self, w: Tensor, theta: Tensor) -> float:
        """|∂_w F| over the norms of its terms: of v, of the rewards, of the rest."""
        w = w.detach().requires_grad_()
        problem, batch = self.problem, self.batch
        evaluation = self.players.at(batch, w, theta)
        mean = problem.embedded(evaluation, batch, w)
        reward = batch.reward
        if batch.weight is not None:
            reward = reward * batch.weight
        rewards = batch.embedding.T @ reward / len(reward)
        scale = 2.0 * self.objectives.lam * problem.log_length

        def pulled(output: Tensor, direction: Tensor | None = None) -> Tensor:
            return torch.autograd.grad(
                output, w, direction, retain_graph=True, materialize_grads=True
            )[0]

        value = pulled(problem.value(evaluation))
        paid = scale * pulled(mean, rewards)
        rest = scale * pulled(mean, (mean - rewards).detach())
        total = value + paid + rest + self.objectives.beta * w.detach()
        size = value.norm() + paid.norm() + rest.norm()
        return float(total.norm() / size)
