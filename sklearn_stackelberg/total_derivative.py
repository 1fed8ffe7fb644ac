"""How the leader's value changes when the follower answers: implicit differentiation.

The follower's best response w*(θ) minimises F(w, θ), so ∂_w F(w*(θ), θ) = 0 for every
θ, and differentiating that identity gives

    D_θ v = ∂_θ v − (∂²_{θw} F)ᵀ (∂²_{ww} F)⁻¹ ∂_w v    at w*(θ).

`total_derivative` is this for any v and F; `moment_gradients` is the same thing for a
follower that is quadratic in w, where it comes out as two rank-one matrices.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor], Tensor]
MatVec = Callable[[Tensor], Tensor]


def dense_solve(matvec: MatVec, right: Tensor) -> Tensor:
    """Solve by forming the matrix, a column at a time: for small problems and tests.

    Parameters
    ----------
    matvec : callable
        Product with a symmetric positive definite matrix.
    right : Tensor of shape (p,)

    Returns
    -------
    Tensor of shape (p,)
    """
    identity = torch.eye(len(right), dtype=right.dtype)
    matrix = torch.stack([matvec(column) for column in identity], dim=1)
    return torch.linalg.solve(matrix, right)


def total_derivative(
    leader_objective: Objective,
    follower_objective: Objective,
    w: Tensor,
    theta: Tensor,
    *,
    solve: Callable[[MatVec, Tensor], Tensor] = dense_solve,
    damping: float = 0.0,
) -> Tensor:
    """D_θ v at a best response w of the follower to θ.

    Parameters
    ----------
    leader_objective, follower_objective : callable
        v(w, θ) and F(w, θ), scalar and twice differentiable, of 1-D w and θ.
    w : Tensor of shape (p,)
        The follower's best response; the formula holds nowhere else.
    theta : Tensor of shape (q,)
    solve : callable, default=dense_solve
        ``solve(matvec, b)`` returns the solution of ∂²_{ww} F x = b.
    damping : float, default=0.0
        Added to ∂²_{ww} F inside the inverse alone, as the paper does. Zero is the
        exact derivative; as it grows the result tends to ∂_θ v, the individual one.

    Returns
    -------
    Tensor of shape (q,)

    Examples
    --------
    With F = (w − θ)²/2 the follower copies the leader, so v = w θ is worth θ².

    >>> import torch
    >>> theta = torch.tensor([3.0])
    >>> total_derivative(
    ...     lambda w, t: (w * t).sum(),
    ...     lambda w, t: ((w - t) ** 2).sum() / 2,
    ...     theta.clone(),
    ...     theta,
    ... )
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

    def curvature(x: Tensor) -> Tensor:
        product = torch.autograd.grad(follower_w, w, x, retain_graph=True)[0]
        return product + damping * x

    adjoint = solve(curvature, value_w).detach()  # (p,)
    (cross,) = torch.autograd.grad(  # (q,)
        follower_w, theta, adjoint, materialize_grads=True
    )
    return value_theta - cross


def moment_gradients(
    M: Tensor, c: Tensor, w: Tensor, adjoint: Tensor, scale: float
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """∂v/∂M and ∂v/∂b of v = bᵀw with w = (2λn MᵀM + βI)⁻¹ (2λn Mᵀc − b).

    With the adjoint p = (2λn MᵀM + βI)⁻¹ b, the implicit function theorem gives

        ∂v/∂M = 2λn (c − M w) pᵀ − 2λn (M p) wᵀ,      ∂v/∂b = w − p.

    Parameters
    ----------
    M : Tensor of shape (p, q)
    c : Tensor of shape (p,)
    w, adjoint : Tensor of shape (q,)
    scale : float
        2λn.

    Returns
    -------
    factors : tuple of four Tensors
        (x1, y1, x2, y2) with ∂v/∂M = x1 y1ᵀ + x2 y2ᵀ; a matrix is never formed, so that
        pulling it back to the rows costs two inner products a row and action.
    gradient_b : Tensor of shape (q,)
    """
    residual = scale * (c - M @ w)
    occupancy = -scale * (M @ adjoint)
    return (residual, adjoint, occupancy, w), w - adjoint
