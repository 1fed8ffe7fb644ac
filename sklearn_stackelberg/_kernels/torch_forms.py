"""scikit-learn's kernels written in torch, so that derivatives run through them.

Each form equals its namesake of `sklearn.metrics.pairwise`, its defaults included, and
takes points x of shape (..., q) and landmarks y of shape (L, q) to k(x, y), (..., L).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Form = Callable[..., Tensor]


def _by_column(x: Tensor, y: Tensor, term: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """Σ_q term(x_q, y_q); never a tensor of shape (..., L, q)."""
    return sum(term(x[..., q, None], y[:, q]) for q in range(y.shape[1]))


def _gamma(gamma: float | None, y: Tensor) -> float:
    return 1.0 / y.shape[1] if gamma is None else gamma


def rbf(x: Tensor, y: Tensor, gamma: float | None = None) -> Tensor:
    """exp(−γ |x − y|²)."""
    # −γ|x|² + 2γ xᵀy − γ|y|² in one product; centred, so that its terms stay small.
    gamma, middle = _gamma(gamma, y), y.mean(dim=0)
    x, y = x - middle, y - middle
    square, other = (-gamma * (z**2).sum(dim=-1, keepdim=True) for z in (x, y))
    left = torch.cat([x, square, torch.ones_like(square)], dim=-1)
    right = torch.cat([2.0 * gamma * y, torch.ones_like(other), other], dim=-1)
    return torch.exp(left @ right.T)


def laplacian(x: Tensor, y: Tensor, gamma: float | None = None) -> Tensor:
    """exp(−γ |x − y|₁)."""
    distance = _by_column(x, y, lambda a, b: (a - b).abs())
    return torch.exp(-_gamma(gamma, y) * distance)


def chi2(x: Tensor, y: Tensor, gamma: float = 1.0) -> Tensor:
    """exp(−γ Σ_q (x_q − y_q)² / (x_q + y_q)), of numbers that are not negative."""

    def term(a: Tensor, b: Tensor) -> Tensor:
        total = a + b
        # Zero and zero are no distance apart.
        return (a - b) ** 2 / torch.where(total == 0, 1.0, total)

    return torch.exp(-gamma * _by_column(x, y, term))


def linear(x: Tensor, y: Tensor) -> Tensor:
    """xᵀy."""
    return x @ y.T


def polynomial(
    x: Tensor,
    y: Tensor,
    degree: float = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
) -> Tensor:
    """(γ xᵀy + c)^degree."""
    return (_gamma(gamma, y) * (x @ y.T) + coef0) ** degree


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """xᵀy / |x||y|; zero where either is zero."""

    def unit(z: Tensor) -> Tensor:
        square = (z**2).sum(dim=-1, keepdim=True)
        return z / torch.where(square == 0, 1.0, square).sqrt()

    return unit(x) @ unit(y).T


FORMS: dict[str, Form] = {
    "rbf": rbf,
    "laplacian": laplacian,
    "chi2": chi2,
    "linear": linear,
    "polynomial": polynomial,
    "poly": polynomial,
    "cosine": cosine,
}
