"""The linear algebra of solvers and evaluators, in one place.

Of matrices that are formed: the factor of 2λn MᵀM + βI (`Factor`), a policy's LSTD
equations (`LinearSystem`), LU factors that refuse a singular matrix (`factorise`) and
iterated Tikhonov (`iterated`). Of matrices known by their products with vectors alone:
conjugate gradient, a dense solve for small ones, the largest eigenvalue by Lanczos.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigvalsh_tridiagonal, lu_solve
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dgecon, dgetrf, dpotrf
from torch import Tensor

# Written out, so that what solves linear systems imports none of ours.
Floats = NDArray[np.floating]

# Factors and pivots, as `scipy.linalg.lu_solve` takes them.
LU = tuple[Floats, NDArray[np.intc]]

MatVec = Callable[[Tensor], Tensor]


class Factor:
    """A = 2λn MᵀM + βI, ready to solve with; ``scale`` is 2λn."""

    # Squared diagonal ratio of the Cholesky factor, about the inverse of A's condition
    # number, under which 8 of float64's 16 digits are lost. A QR of [√scale M; √β I]
    # has the square root of that condition, for about four times the work.
    _CONDITION = 1e-8

    # The same for more columns than these, where a QR takes most of an evaluation, and
    # of thousands minutes: a factor with a few digits left will do, as solves of the
    # residual, which never forms MᵀM, give back the others ("corrected semi-normal
    # equations", Björck 1987).
    _MANY, _CORRECTED = 100, 1e-13
    _CORRECTIONS = 2

    def __init__(self, M: Tensor, scale: float, beta: float) -> None:
        upper, failed = _cholesky(M, scale, beta)
        diagonal = upper.diagonal().detach()
        ratio = 0.0 if failed else float((diagonal.min() / diagonal.max()) ** 2)
        self._corrected = M.shape[1] > self._MANY and ratio < self._CONDITION
        if self._corrected:
            self._M, self._scale, self._beta = M, scale, beta
        if ratio < (self._CORRECTED if self._corrected else self._CONDITION):
            # RᵀR of the stacked matrix is A, and its QR never forms MᵀM.
            identity = torch.eye(M.shape[1], dtype=M.dtype)
            stacked = torch.cat([scale**0.5 * M, beta**0.5 * identity])
            # Without Q it is half the work, and has no derivative.
            mode = "reduced" if M.requires_grad else "r"
            upper = torch.linalg.qr(stacked, mode=mode)[1]
        self.upper = upper

    def solve(self, right: Tensor) -> Tensor:
        """A⁻¹ applied to columns, of shape (q, k)."""
        out = self._solve_once(right)
        for _ in range(self._CORRECTIONS if self._corrected else 0):
            product = self._scale * (self._M.T @ (self._M @ out)) + self._beta * out
            out = out + self._solve_once(right - product)
        return out

    def _solve_once(self, right: Tensor) -> Tensor:
        half = torch.linalg.solve_triangular(self.upper.T, right, upper=False)
        return torch.linalg.solve_triangular(self.upper, half, upper=True)


# Columns from which on half of MᵀM is worth a call of its own.
_HALF_FROM = 256


def _cholesky(M: Tensor, scale: float, beta: float) -> tuple[Tensor, bool]:
    """R of RᵀR = scale MᵀM + βI, and whether there is none."""
    if M.requires_grad or M.shape[1] < _HALF_FROM:
        identity = torch.eye(M.shape[1], dtype=M.dtype)
        normal = scale * (M.T @ M) + beta * identity
        upper, failed = torch.linalg.cholesky_ex(normal, upper=True)
        return upper, bool(failed)
    # MᵀM is symmetric: half of it is half of the work, and is factorised where it is.
    left = M.numpy().T
    normal = dsyrk(scale, left, lower=1)
    np.fill_diagonal(normal, normal.diagonal() + beta)
    lower, info = dpotrf(normal, lower=1, clean=1, overwrite_a=1)
    return torch.from_numpy(lower).T, info != 0


class Solvable(Protocol):
    """A matrix that can be solved with."""

    def solve(self, right: Tensor) -> Tensor:
        """A⁻¹ applied to columns, of shape (q, k)."""


class Operator(Protocol):
    """A matrix M that is known by its products, with vectors or columns."""

    @property
    def T(self) -> Operator: ...

    def __matmul__(self, x: Tensor, /) -> Tensor: ...

    def factor(self, scale: float, beta: float) -> Solvable:
        """2λn MᵀM + βI, ready to solve with; ``scale`` is 2λn."""


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """M w = c, with a value v = bᵀw: the LSTD equations of one policy.

    Q is linear in w, c = Zᵀr / n is what the log pays, M = Zᵀ(Φ − γΦ') / n what it
    predicts of w, and b the mean features of the initial states.
    """

    M: Tensor | Operator  # (p, p)
    b: Tensor  # (p,)
    c: Tensor  # (p,)

    @classmethod
    def from_numpy(cls, M: Floats, b: Floats, c: Floats) -> LinearSystem:
        """The same of arrays, whose memory is shared."""
        return cls(*(torch.from_numpy(part) for part in (M, b, c)))

    def best_response(
        self, scale: float, beta: float
    ) -> tuple[Tensor, Tensor, Solvable]:
        """The w that minimises F, with (∂²_{ww}F)⁻¹ b and the factor of ∂²_{ww}F.

        F = bᵀw + ½ scale |c − M w|² + ½ β |w|² with scale = 2λn, so that ∂²_{ww}F is
        2λn MᵀM + βI, and w = (2λn MᵀM + βI)⁻¹ (2λn Mᵀc − b).
        """
        # Eqs. (17), (19) and (23) of docs/game.md; the two right-hand sides at once.
        M = self.M
        factor: Solvable = (
            Factor(M, scale, beta) if isinstance(M, Tensor) else M.factor(scale, beta)
        )
        right = torch.stack([scale * (self.M.T @ self.c) - self.b, self.b], dim=1)
        w, adjoint = factor.solve(right).unbind(dim=1)
        return w, adjoint, factor

    @property
    def matrix(self) -> Tensor:
        """M where it is in memory, as the evaluators' is."""
        assert isinstance(self.M, Tensor)
        return self.M

    @cached_property
    def lu(self) -> LU:
        """LU factors of M; a ValueError where M is singular."""
        return factorise(self.matrix.numpy())

    def solve(self, right: Floats | None = None) -> Floats:
        """M⁻¹ c, as λ → ∞; or M⁻¹ of other right-hand sides."""
        return lu_solve(self.lu, self.c.numpy() if right is None else right)

    def solve_transposed(self, right: Floats | None = None) -> Floats:
        """M⁻ᵀ b, the density ratios; or M⁻ᵀ of other right-hand sides."""
        return lu_solve(self.lu, self.b.numpy() if right is None else right, trans=1)


# Each iteration raises the order of the bias by one; the variance stays the ridge's.
# Of a singular value σ, 1 − (ρ / (σ + ρ))^5 is kept: half at σ = 0.15 ρ, not at ρ.
ITERATIONS = 5

# Where no figure of the solution is left. Over the systems of the tests the smallest is
# 3e-14, with a ridge of 1e-8; with the default ridges it is 5e-5.
SMALLEST_RCOND = np.finfo(float).eps


def iterated(matrix: Floats, right: Floats, ridge: float) -> Floats:
    """Iterated Tikhonov: as stable as its ridge, with a bias of a higher order."""
    factor = factorise(matrix + ridge * np.eye(len(matrix)))
    out = np.zeros(len(matrix))
    for _ in range(ITERATIONS):
        # x ← x + (M + ρI)⁻¹ (b − M x): what the ridge took off is given back in part.
        out += lu_solve(factor, right - matrix @ out)
    return out


def factorise(left: Floats) -> LU:
    """LU factors of M, or a sentence where M is singular but for rounding."""
    # A condition number that is NaN would be below no threshold.
    if not np.isfinite(left).all():
        raise _no_solution("they hold NaN or infinity")
    factor, rcond = factors_and_rcond(left)
    if rcond < SMALLEST_RCOND:
        raise _no_solution(f"reciprocal condition number {rcond:.1g}")
    return factor


def factors_and_rcond(left: Floats) -> tuple[LU, float]:
    """LU factors, and 1 / (|M| |M⁻¹|) in the 1-norm, estimated; 0 of a singular M."""
    # `scipy.linalg.lu_factor` warns of an exact zero, and passes one that is rounded.
    lu, pivots, _ = dgetrf(left)
    return (lu, pivots), float(dgecon(lu, np.abs(left).sum(axis=0).max())[0])


def _no_solution(reason: str) -> ValueError:
    return ValueError(
        "The equations of fitted-Q evaluation have no solution on this log "
        f"({reason}). Set a larger ridge, such as 1."
    )


def largest_eigenvalue(matvec: MatVec, size: int, steps: int = 8) -> float:
    """Largest Ritz value of a symmetric operator (Lanczos, re-orthogonalised).

    ``steps`` is the number of products; ``size`` of them are exact but for rounding.

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
        # The basis spans all that the operator reaches: what is left is rounding.
        if norm <= 1e-12 * max(map(abs, diagonal)):
            break
        off.append(norm)
        basis.append(product / norm)
    ritz = eigvalsh_tridiagonal(np.array(diagonal), np.array(off[: len(diagonal) - 1]))
    return float(ritz[-1])


def dense_solve(matvec: MatVec, right: Tensor) -> Tensor:
    """Solve by forming the matrix, a column at a time: for small problems and tests."""
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
    """Solve A x = b by products with a symmetric positive definite A alone.

    Parameters
    ----------
    matvec : callable
        Where a product shows that A is not positive (xᵀA x <= 0), the solution so far
        is returned.
    right, start : Tensor of shape (p,)
        b, and a guess of x; zero if None. A good one saves products.
    tol : float, default=1e-6
        |b − A x| / |b| under which x is good enough.
    max_iter : int, default=100
        At most so many products, beside the one that a start costs. Fewer are
        a regularisation of their own: directions of little curvature come last.

    Examples
    --------
    >>> matrix = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    >>> conjugate_gradient(lambda x: matrix @ x, torch.tensor([3.0, 4.0])).x
    tensor([1.0000, 1.0000])
    """
    x = torch.zeros_like(right) if start is None else start.clone()
    residual = right.clone() if start is None else right - matvec(x)
    size = float(right.norm())
    # A relative residual has no meaning then, and x = 0 is exact whatever the start.
    if size == 0.0:
        return Solution(torch.zeros_like(right), 0.0, 0)
    direction, square = residual, residual @ residual
    n_iter = 0
    while n_iter < max_iter and float(square) > (tol * size) ** 2:
        product = matvec(direction)
        n_iter += 1
        curvature = direction @ product
        # Also NaN. A is not positive definite, or the direction is rounding alone.
        if not float(curvature) > 0.0:
            break
        length = square / curvature
        x = x + length * direction
        # Updated, not computed anew: it drifts from b − A x by rounding, which is why
        # ``tol`` must stay above the products' own accuracy.
        residual = residual - length * product
        before, square = square, residual @ residual
        direction = residual + (square / before) * direction
    return Solution(x, float(square) ** 0.5 / size, n_iter)


def held_out_errors(
    z: Floats, target: Floats, fold: NDArray[np.intp], ridges: list[float]
) -> list[Floats]:
    """Sums of squares of a regression's held-out errors, () or (c,), for each ridge.

    Of rows z (k, m), targets (k,) or (k, c) and folds (k,); one sum of squares and
    products serves all folds and ridges.
    """
    parts = [(z[fold == k], target[fold == k]) for k in np.unique(fold)]
    grams = [(mine.T @ mine, mine.T @ own) for mine, own in parts]
    whole, right = sum(gram for gram, _ in grams), sum(other for _, other in grams)
    totals: list[Floats] = [np.zeros(target.shape[1:]) for _ in ridges]
    for (mine, own), (gram, other) in zip(parts, grams, strict=True):
        for j, ridge in enumerate(ridges):
            left = whole - gram + ridge * np.eye(len(gram))
            rest = own - mine @ cho_solve(cho_factor(left), right - other)
            totals[j] += (rest**2).sum(axis=0)
    return totals
