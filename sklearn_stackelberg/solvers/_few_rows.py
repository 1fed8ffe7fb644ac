"""LSTD equations of fewer rows than weights, solved by way of the rows.

M = ZᵀD / n with D = Φ − γ (1 − terminated) Φ'_θ has no more directions than there are
rows. With Z Zᵀ = L Lᵀ, which falls into blocks by the logged action, N = √(2λ/n) Lᵀ D
has NᵀN = 2λn MᵀM, and by Woodbury's identity

    (2λn MᵀM + βI)⁻¹ = (I − Nᵀ (N Nᵀ + βI)⁻¹ N) / β.

Rows of weight w have z and δ times √w, and n is Σ w.
N Nᵀ is of inner products of rows alone: nothing of the size of A · m squared is formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..policies._softmax import action_probabilities

# At λ = 300 and a discount of 0.99 the first brings D_θ v to 2e-6 of that by QR.
_REFINEMENTS = 2

# Rows up to which all blocks are multiplied at once.
_FEW = 1000


@dataclass(frozen=True, eq=False)
class FewRows:
    """Features of rows that are sorted by their logged action, in float64."""

    z: Tensor  # √w φ(s), (n, m)
    after: Tensor  # φ(s'), (n, m)
    weight: Tensor  # √w γ (1 − terminated), (n, 1)
    action: Tensor  # logged, (n,)
    n_actions: int
    prior: Tensor | None  # of the policy's actions in the next states, (n, A)
    total: float  # Σ w

    def __call__(self, theta: Tensor) -> RowProducts:
        probabilities = action_probabilities(self.after, theta.double(), self.prior)
        return RowProducts(self, probabilities)

    @cached_property
    def blocks(self) -> list[tuple[int, slice]]:
        """Actions that were logged, and their rows."""
        counts = torch.bincount(self.action, minlength=self.n_actions).tolist()
        out, start = [], 0
        for action, count in enumerate(counts):
            if count:
                out.append((action, slice(start, start + count)))
            start += count
        return out

    @cached_property
    def roots(self) -> list[Tensor]:
        """L of each block, (n_b, min(n_b, m))."""
        out = []
        for _, rows in self.blocks:
            z = self.z[rows]
            # With Zᵀ = Q R, Z Zᵀ is RᵀR; with more rows than features, Z itself is L.
            wide = z.shape[0] < z.shape[1]
            out.append(torch.linalg.qr(z.T, mode="r")[1].T if wide else z)
        return out

    @cached_property
    def dense_root(self) -> Tensor | None:
        """L, (n, r), of so few rows that one product costs less than its blocks."""
        return torch.block_diag(*self.roots) if len(self.z) <= _FEW else None

    @cached_property
    def gram(self) -> tuple[Tensor, Tensor]:
        """γ k(s, s') and γ² k(s', s'), with the weights of the rows of s', (n, n)."""
        after = self.weight * self.after
        return self.z @ after.T, after @ after.T


@dataclass(frozen=True, eq=False)
class RowProducts:
    """M, known by its products: ``M @ x`` and ``M.T @ x``, of vectors or columns."""

    rows: FewRows
    probabilities: Tensor  # π(a|s'), (n, A)
    transposed: bool = False

    @property
    def T(self) -> RowProducts:
        return RowProducts(self.rows, self.probabilities, not self.transposed)

    def __matmul__(self, x: Tensor) -> Tensor:
        if x.ndim == 2:
            return torch.stack([self @ column for column in x.T], dim=1)
        n = self.rows.total
        if self.transposed:
            return self.differences_transposed(self.logged(x)) / n
        return self.logged_transposed(self.differences(x)) / n

    def logged(self, x: Tensor) -> Tensor:
        """Z x, (n,)."""
        z, action = self.rows.z, self.rows.action
        outputs = z @ x.reshape(self.rows.n_actions, -1).T  # (n, A)
        return outputs.gather(1, action[:, None])[:, 0]

    def logged_transposed(self, u: Tensor) -> Tensor:
        """Zᵀu, (A m,)."""
        return (self._scattered(u).T @ self.rows.z).ravel()

    def differences(self, x: Tensor) -> Tensor:
        """D x, (n,)."""
        next_values = self.rows.after @ x.reshape(self.rows.n_actions, -1).T
        mean = (self.probabilities * next_values).sum(dim=1)
        return self.logged(x) - self.rows.weight[:, 0] * mean

    def differences_transposed(self, u: Tensor) -> Tensor:
        """Dᵀu, (A m,)."""
        share = self.probabilities * (self.rows.weight * u[:, None])
        return self.logged_transposed(u) - (share.T @ self.rows.after).ravel()

    def _scattered(self, u: Tensor) -> Tensor:
        out = torch.zeros_like(self.probabilities)
        return out.scatter_(1, self.rows.action[:, None], u[:, None])

    def factor(self, scale: float, beta: float) -> RowFactor:
        return RowFactor(self, scale, beta)


class RowFactor:
    """2λn MᵀM + βI, ready to solve with; ``scale`` is 2λn."""

    def __init__(self, M: RowProducts, scale: float, beta: float) -> None:
        self.M, self.scale, self.beta = M, scale, beta
        # N = √scale Lᵀ D / n; see above.
        self._size = scale**0.5 / M.rows.total
        inner = self._size**2 * self._inner_products()
        self._upper, failed = torch.linalg.cholesky_ex(
            inner + beta * self._identity(), upper=True
        )
        self._eigen: tuple[Tensor, Tensor] | None = None
        if failed:
            # Of rows that repeat, where β is no larger than the rounding of N Nᵀ.
            values, vectors = torch.linalg.eigh(inner)
            self._eigen = values.clamp(min=0.0) + beta, vectors

    def solve(self, right: Tensor) -> Tensor:
        """A⁻¹ applied to columns, of shape (p, k)."""
        out = self._solve_once(right)
        # The difference of Woodbury's identity loses digits, where rows say much more
        # than β: solves of the residual give them back.
        for _ in range(_REFINEMENTS):
            left = self.scale * (self.M.T @ (self.M @ out)) + self.beta * out
            out = out + self._solve_once(right - left)
        return out

    def _solve_once(self, right: Tensor) -> Tensor:
        M = self.M
        inner = torch.stack([self._pulled(M.differences(x)) for x in right.T], dim=1)
        inner = self._solve_inner(self._size * inner)
        moved = [M.differences_transposed(self._pushed(u)) for u in inner.T]
        return (right - self._size * torch.stack(moved, dim=1)) / self.beta

    def _solve_inner(self, right: Tensor) -> Tensor:
        """(N Nᵀ + βI)⁻¹ applied to columns, (r, k)."""
        if self._eigen is None:
            return torch.cholesky_solve(right, self._upper, upper=True)
        values, vectors = self._eigen
        return vectors @ ((vectors.T @ right) / values[:, None])

    def _pulled(self, u: Tensor) -> Tensor:
        """Lᵀu, of u (n,)."""
        rows = self.M.rows
        if rows.dense_root is not None:
            return rows.dense_root.T @ u
        parts = zip(rows.blocks, rows.roots, strict=True)
        return torch.cat([root.T @ u[block] for (_, block), root in parts])

    def _pushed(self, u: Tensor) -> Tensor:
        """L u, (n,)."""
        rows = self.M.rows
        if rows.dense_root is not None:
            return rows.dense_root @ u
        split = u.split([root.shape[1] for root in rows.roots])
        return torch.cat([root @ v for root, v in zip(rows.roots, split, strict=True)])

    def _identity(self) -> Tensor:
        size = sum(root.shape[1] for root in self.M.rows.roots)
        return torch.eye(size, dtype=torch.float64)

    def _inner_products(self) -> Tensor:
        """Lᵀ D Dᵀ L, (r, r), a block of logged actions at a time."""
        rows, probabilities = self.M.rows, self.M.probabilities
        cross, following = rows.gram
        left = []
        for (action, block), root in zip(rows.blocks, rows.roots, strict=True):
            inner = probabilities[block] @ probabilities.T  # (n_b, n)
            inner *= following[block]
            inner -= cross[block] * probabilities[:, action]
            inner -= cross[:, block].T * probabilities[block][:, rows.action]
            inner[:, block] += rows.z[block] @ rows.z[block].T
            left.append(root.T @ inner)
        half = torch.cat(left)  # (r, n)
        parts = zip(rows.blocks, rows.roots, strict=True)
        return torch.cat([half[:, block] @ root for (_, block), root in parts], dim=1)
