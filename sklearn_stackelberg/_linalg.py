"""Eigenvalues of symmetric operators that are known by their products alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.linalg import eigvalsh_tridiagonal, lu_solve
from scipy.linalg.lapack import dgecon, dgetrf
from torch import Tensor

from ._typing import Floats


class Factor:
    """A positive definite matrix A = 2λn MᵀM + βI, ready to solve with.

    Parameters
    ----------
    M : Tensor of shape (p, q)
    scale : float
        2λn.
    beta : float
    """

    # Squared diagonal ratio of the Cholesky factor under which MᵀM has lost too many
    # digits; a QR of M itself loses half as many, for about four times the work.
    _CONDITION = 1e-8

    def __init__(self, M: Tensor, scale: float, beta: float) -> None:
        identity = torch.eye(M.shape[1], dtype=M.dtype)
        normal = scale * (M.T @ M) + beta * identity
        upper, failed = torch.linalg.cholesky_ex(normal, upper=True)
        diagonal = upper.diagonal()
        if failed or diagonal.min() ** 2 < self._CONDITION * diagonal.max() ** 2:
            stacked = torch.cat([scale**0.5 * M, beta**0.5 * identity])
            upper = torch.linalg.qr(stacked)[1]
        self.upper = upper

    def solve(self, right: Tensor) -> Tensor:
        """A⁻¹ applied to columns, of shape (q, k)."""
        half = torch.linalg.solve_triangular(self.upper.T, right, upper=False)
        return torch.linalg.solve_triangular(self.upper, half, upper=True)


def largest_eigenvalue(
    matvec: Callable[[Tensor], Tensor], size: int, steps: int = 8
) -> float:
    """Largest Ritz value of a symmetric operator (Lanczos, re-orthogonalised).

    Parameters
    ----------
    matvec : callable
    size : int
    steps : int, default=8
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
        product = matvec(basis[-1]).detach().double()
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


ITERATIONS = 5

# Where no figure of the solution is left. Over the systems of the tests the smallest is
# 3e-14, with a ridge of 1e-8; with the default ridges it is 5e-5.
SMALLEST_RCOND = np.finfo(float).eps


def iterated(matrix: Floats, right: Floats, ridge: float) -> Floats:
    """Iterated Tikhonov: as stable as its ridge, with a bias of a higher order."""
    factor = factorise(matrix + ridge * np.eye(len(matrix)))
    out = np.zeros(len(matrix))
    for _ in range(ITERATIONS):
        out += lu_solve(factor, right - matrix @ out)
    return out


def factorise(left: Floats) -> Any:
    """LU factors of M, or a sentence where M is singular but for rounding."""
    if not np.isfinite(left).all():
        raise _no_solution("they hold NaN or infinity")
    factor, rcond = factors_and_rcond(left)
    if rcond < SMALLEST_RCOND:
        raise _no_solution(f"reciprocal condition number {rcond:.1g}")
    return factor


def factors_and_rcond(left: Floats) -> tuple[Any, float]:
    """LU factors for `lu_solve`, and 1 / (|M| |M⁻¹|) in the 1-norm, estimated.

    0 where M is singular, which `scipy.linalg.lu_factor` alone would warn of.
    """
    lu, pivots, _ = dgetrf(left)
    return (lu, pivots), float(dgecon(lu, np.abs(left).sum(axis=0).max())[0])


def _no_solution(reason: str) -> ValueError:
    return ValueError(
        "The equations of fitted-Q evaluation have no solution on this log "
        f"({reason}). Set a larger ridge, such as 1."
    )


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


class Solution(NamedTuple):
    """What conjugate gradient found: x, |b − A x| / |b|, and the products it took."""

    x: Tensor
    residual: float
    n_iter: int


def conjugate_gradient(
    matvec: MatVec,
    right: Tensor,
    start: Tensor | None = None,
    *,
    tol: float = 1e-6,
    max_iter: int = 100,
) -> Solution:
    """Solve A x = b by products with A alone.

    Parameters
    ----------
    matvec : callable
        Product with a symmetric positive definite matrix. Where a product shows that it
        is not (xᵀA x <= 0), the solution so far is returned.
    right : Tensor of shape (p,)
    start : Tensor of shape (p,), default=None
        A guess; zero if none. A good one saves products.
    tol : float, default=1e-6
        |b − A x| / |b| under which x is good enough.
    max_iter : int, default=100
        At most so many products, beside the one that a start costs. Fewer are
        a regularisation of their own: directions of little curvature come last.

    Returns
    -------
    Solution

    Examples
    --------
    >>> import torch
    >>> matrix = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> conjugate_gradient(lambda x: matrix @ x, torch.tensor([3.0, 4.0])).x
    tensor([1.0000, 1.0000])
    """
    x = torch.zeros_like(right) if start is None else start.clone()
    residual = right.clone() if start is None else right - matvec(x)
    size = float(right.norm())
    if size == 0.0:
        return Solution(torch.zeros_like(right), 0.0, 0)
    direction, square = residual, residual @ residual
    n_iter = 0
    while n_iter < max_iter and float(square) > (tol * size) ** 2:
        product = matvec(direction)
        n_iter += 1
        bend = direction @ product
        if not float(bend) > 0.0:
            break
        length = square / bend
        x = x + length * direction
        residual = residual - length * product
        before, square = square, residual @ residual
        direction = residual + (square / before) * direction
    return Solution(x, float(square) ** 0.5 / size, n_iter)
