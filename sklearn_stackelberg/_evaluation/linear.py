"""Linear equations that may have no solution, and solutions by iterated Tikhonov."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import lu_solve
from scipy.linalg.lapack import dgecon, dgetrf

from .nodes import Floats

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
