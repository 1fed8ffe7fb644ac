"""What a policy over continuous actions chooses in a state, as a finite mixture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .._numpy_state import NumpyModule


class Nodes(NamedTuple):
    """Actions and their weights, which stand for a policy: E_a f(s, a) = Σ_j w_j f_j.

    Parameters
    ----------
    actions : Tensor of shape (n, S, p)
    weights : Tensor of shape (n, S)
        Not negative, and 1 in sum.
    """

    actions: Tensor
    weights: Tensor


# Probabilities (n, n_actions) of discrete actions, or nodes of continuous ones.
Choice = Tensor | Nodes


class LinearHead(NumpyModule):
    """Outputs (..., c) linear in features (..., m), by weights of shape (m, c)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Outputs, (..., c)."""
        return features @ self.weight


def as_head(head: Tensor | nn.Module) -> nn.Module:
    """A module as it is; weights as the `LinearHead` that holds them."""
    if isinstance(head, nn.Module):
        return head
    return LinearHead(head.reshape(len(head), -1))


def head_dtype(head: nn.Module) -> torch.dtype:
    """The precision that a head computes in."""
    first = next(head.parameters(), None)
    return torch.get_default_dtype() if first is None else first.dtype


def standard_normal_nodes(
    n_nodes: int, n_columns: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Nodes (S, n_columns) and weights (S,) that stand for a standard normal.

    Gauss–Hermite's in one dimension, exact for polynomials of degree 2 S − 1; in more a
    scrambled Sobol sequence in pairs ±ε, scaled to a variance of one in each column,
    and S rounded up to an even number.
    """
    if n_columns == 1:
        nodes, mass = np.polynomial.hermite_e.hermegauss(n_nodes)
        return torch.from_numpy(nodes)[:, None], torch.from_numpy(mass / mass.sum())
    # Pairs have mean zero exactly, whatever their number.
    half = (n_nodes + 1) // 2
    sobol = torch.quasirandom.SobolEngine(n_columns, scramble=True, seed=seed)
    # The sequence may hold 0, whose quantile is infinite; 1e-6 is 4.75 σ away.
    uniform = sobol.draw(half, dtype=torch.float64).clamp(1e-6, 1.0 - 1e-6)
    points = torch.special.ndtri(uniform)
    points = torch.cat([points, -points])
    points = points / (points**2).mean(dim=0).sqrt()
    return points, torch.full((2 * half,), 0.5 / half, dtype=torch.float64)
