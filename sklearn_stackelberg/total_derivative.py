"""How the leader's value changes when the follower responds: implicit differentiation.

The follower's best response w*(θ) minimises F(w, θ), so ∂_w F(w*(θ), θ) = 0 for every
θ, and differentiating that identity gives

    D_θ v = ∂_θ v − (∂²_{θw} F)ᵀ (∂²_{ww} F)⁻¹ ∂_w v    at w*(θ).

`total_derivative` is this for any v and F, and any solve and curvature to solve with;
`gauss_newton` gives products that are never negative, where those of F's own Hessian
may be. `moment_gradients` is the same for a follower that is quadratic in w: two
rank-one matrices (``docs/game.md``, "The leader's derivative").
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ._linalg import MatVec, Operator, dense_solve

Objective = Callable[[Tensor, Tensor], Tensor]

# x1, y1, x2, y2 of ∂v/∂M = x1 y1ᵀ + x2 y2ᵀ.
Factors = tuple[Tensor, Tensor, Tensor, Tensor]


def gauss_newton(
    mean: Callable[[Tensor], Tensor], w: Tensor, scale: float, beta: float
) -> MatVec:
    """Products with 2λn JᵀJ + βI, the curvature of F where the mean residual is linear.

    F's own Hessian adds the mean residual times its second derivatives, which is small
    where q agrees with the log, zero where q is linear in w, and may be negative; this
    one is positive definite wherever the follower stands. The products hold a graph
    over the rows.

    ``mean`` is m(w), (p,) to (q,): the residuals in the kernel's space, Zᵀδ / B − ρ w,
    so that λn |m|² is the follower's second term (`game.embedded_residual`); ``scale``
    is 2λn.
    """
    # ``w`` may be a leaf of the caller's graph, which these products are no part of.
    w = w.detach().clone().requires_grad_()
    value = mean(w)  # (q,)
    # J = ∂m/∂w is never formed: u ↦ Jᵀu is a backward pass, and J x the derivative of
    # that by u, in the direction x.
    dummy = torch.zeros_like(value, requires_grad=True)
    (pulled,) = torch.autograd.grad(  # Jᵀ dummy, linear in it
        value, w, dummy, create_graph=True, materialize_grads=True
    )

    def matvec(x: Tensor) -> Tensor:
        (pushed,) = torch.autograd.grad(  # J x
            pulled, dummy, x, retain_graph=True, materialize_grads=True
        )
        (product,) = torch.autograd.grad(
            value, w, pushed, retain_graph=True, materialize_grads=True
        )
        return scale * product + beta * x  # Eq. (40) of docs/game.md

    return matvec


def total_derivative(
    leader_objective: Objective,
    follower_objective: Objective,
    w: Tensor,
    theta: Tensor,
    *,
    solve: Callable[[MatVec, Tensor], Tensor] = dense_solve,
    curvature: MatVec | None = None,
    damping: float = 0.0,
) -> Tensor:
    """D_θ v at a best response w of the follower to θ, (q,).

    Parameters
    ----------
    leader_objective, follower_objective : callable
        v(w, θ) and F(w, θ), scalar and twice differentiable, of 1-D w and θ.
    w : Tensor of shape (p,)
        The follower's best response; the formula holds nowhere else.
    theta : Tensor of shape (q,)
    solve : callable, default=dense_solve
        ``solve(matvec, b)`` returns the solution of ∂²_{ww} F x = b.
    curvature : callable, default=None
        Products with what stands for ∂²_{ww} F, such as those of `gauss_newton`. None
        takes F's own Hessian, exact and, away from a minimum, not always positive.
    damping : float, default=0.0
        Added to ∂²_{ww} F inside the inverse alone, as the paper does. Zero is the
        exact derivative; as it grows the result tends to ∂_θ v, the individual one.

    Examples
    --------
    With F = (w − θ)²/2 the follower copies the leader, so v = w θ is worth θ².

    >>> theta = torch.tensor([3.0])
    >>> def copies(w, t):
    ...     return ((w - t) ** 2).sum() / 2
    >>> total_derivative(lambda w, t: (w * t).sum(), copies, theta, theta)
    tensor([6.])
    """
    w = w.detach().clone().requires_grad_()
    theta = theta.detach().clone().requires_grad_()
    # A game may leave θ out of v, or of F: the derivative is then zero, no error.
    value_w, value_theta = torch.autograd.grad(
        leader_objective(w, theta), (w, theta), materialize_grads=True
    )
    follower_w = torch.autograd.grad(
        follower_objective(w, theta), w, create_graph=True
    )[0]  # (p,)

    def hessian(x: Tensor) -> Tensor:
        return torch.autograd.grad(follower_w, w, x, retain_graph=True)[0]

    product = hessian if curvature is None else curvature
    # Solved once for ∂_w v, not for the q columns of ∂²_{wθ} F.
    adjoint = solve(lambda x: product(x) + damping * x, value_w).detach()  # (p,)
    (cross,) = torch.autograd.grad(  # (q,)
        follower_w, theta, adjoint, materialize_grads=True
    )
    return value_theta - cross  # Eq. (22) of docs/game.md


def moment_gradients(
    M: Tensor | Operator, c: Tensor, w: Tensor, adjoint: Tensor, scale: float
) -> tuple[Factors, Tensor]:
    """∂v/∂M and ∂v/∂b of v = bᵀw with w = (2λn MᵀM + βI)⁻¹ (2λn Mᵀc − b).

    With the adjoint p = (2λn MᵀM + βI)⁻¹ b, the implicit function theorem gives

        ∂v/∂M = 2λn (c − M w) pᵀ − 2λn (M p) wᵀ,      ∂v/∂b = w − p,

    for M (p, q), c (p,), w and the adjoint (q,), and ``scale`` 2λn.
    """
    # Eqs. (24) and (25) of docs/game.md.
    residual = scale * (c - M @ w)
    occupancy = -scale * (M @ adjoint)
    # As factors: the matrix is never formed, so that pulling it back to the rows costs
    # two inner products a row and action.
    return (residual, adjoint, occupancy, w), w - adjoint
