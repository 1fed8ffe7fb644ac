"""Linear equations that may have no solution, and solutions that are stable."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.linalg import LinAlgWarning, lu_factor, lu_solve

from .nodes import Floats

ITERATIONS = 5


def iterated(matrix: Floats, right: Floats, ridge: float) -> Floats:
    """Iterated Tikhonov: as stable as its ridge, with a bias of a higher order."""
    factor = factorise(matrix + ridge * np.eye(len(matrix)))
    out = np.zeros(len(matrix))
    for _ in range(ITERATIONS):
        out += lu_solve(factor, right - matrix @ out)
    return out


def factorise(left: Floats) -> Any:
    """LU factors of M, or a sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", LinAlgWarning)
        try:
            return lu_factor(left)
        except (LinAlgWarning, ValueError) as error:
            raise ValueError(
                "The equations of fitted-Q evaluation have no solution on this log "
                f"({error}). Set a larger ridge, such as 1."
            ) from error
