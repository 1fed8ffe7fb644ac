"""Is the point that a solver returned an equilibrium?

A differentiable Stackelberg equilibrium has D_θ v = 0 with D²_θ v negative
(semi-)definite, since the leader maximises, and ∂_w F = 0 with ∂²_{ww} F positive
definite, since the follower minimises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigvalsh_tridiagonal
from torch import Tensor

from .solvers import ClosedFormSolver, RowSums

# Products with D²v, each two evaluations of v and its derivative. The largest Ritz
# value of so many bounds the largest eigenvalue from below, closely as a rule.
LANCZOS_STEPS = 8
# Rows that tell the leader's curvature: sixteen evaluations of a whole log would cost
# as much as the climb.
_CURVATURE_ROWS = 2_000


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
        than 4,000 rows, of v as a part of them tells it (`RowSums.part`).
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
    sums: RowSums,
    theta: Tensor,
    *,
    lanczos_steps: int = LANCZOS_STEPS,
) -> Equilibrium:
    """Measure both players' conditions at θ and the follower's best response to it.

    Parameters
    ----------
    solver : ClosedFormSolver
    sums : RowSums
    theta : Tensor of shape (m, n_actions)
    lanczos_steps : int, default=LANCZOS_STEPS
        Products with D²_θ v, which is never formed.

    Returns
    -------
    Equilibrium
    """
    part = sums.part(_CURVATURE_ROWS)

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


def largest_eigenvalue(
    matvec: Callable[[Tensor], Tensor], size: int, steps: int = LANCZOS_STEPS
) -> float:
    """Largest Ritz value of a symmetric operator (Lanczos, re-orthogonalised).

    Parameters
    ----------
    matvec : callable
    size : int
    steps : int, default=LANCZOS_STEPS
        As many products; ``size`` of them give the eigenvalue to rounding.

    Returns
    -------
    float

    Examples
    --------
    >>> import torch
    >>> round(largest_eigenvalue(lambda x: torch.tensor([3.0, -5.0]) * x, 2), 6)
    3.0
    """
    # A fixed start: any vector with a part in every direction serves.
    start = np.random.default_rng(0).standard_normal(size)
    basis = [torch.as_tensor(start / np.linalg.norm(start))]
    diagonal: list[float] = []
    off: list[float] = []
    for _ in range(min(steps, size)):
        product = matvec(basis[-1]).double()
        diagonal.append(float(basis[-1] @ product))
        known = torch.stack(basis)  # (j, size)
        for _ in range(2):  # once leaves rounding in the directions already found
            product = product - known.T @ (known @ product)
        norm = float(product.norm())
        if norm <= 1e-12 * max(map(abs, diagonal)):
            break
        off.append(norm)
        basis.append(product / norm)
    ritz = eigvalsh_tridiagonal(np.array(diagonal), np.array(off[: len(diagonal) - 1]))
    return float(ritz[-1])
