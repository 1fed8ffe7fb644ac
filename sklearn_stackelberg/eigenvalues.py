"""Eigenvalues of symmetric operators that are known by their products alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import eigvalsh_tridiagonal
from torch import Tensor


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
