"""What a policy over continuous actions chooses in a state, as a finite mixture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


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


class LinearHead(nn.Module):
    """Outputs linear in features.

    Parameters
    ----------
    weight : Tensor of shape (n_features, n_outputs)
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Outputs, (..., n_outputs)."""
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
    """Nodes and weights that stand for a standard normal distribution.

    Gauss–Hermite's in one dimension, exact for polynomials of degree 2 S − 1; in more a
    scrambled Sobol sequence in pairs ±ε, scaled to a variance of one in each column.

    Parameters
    ----------
    n_nodes : int
        S; rounded up to an even number in more than one dimension.
    n_columns : int
    seed : int, default=0
        Scrambles the sequence.

    Returns
    -------
    nodes : Tensor of shape (S, n_columns)
    weights : Tensor of shape (S,)
        1 in sum.

    Examples
    --------
    >>> nodes, weights = standard_normal_nodes(3, 1)
    >>> round(float(weights @ nodes[:, 0] ** 4), 6)
    3.0
    """
    if n_columns == 1:
        points, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
        weights = weights / weights.sum()
        return torch.from_numpy(points)[:, None], torch.from_numpy(weights)
    half = (n_nodes + 1) // 2
    sobol = torch.quasirandom.SobolEngine(n_columns, scramble=True, seed=seed)
    uniform = sobol.draw(half, dtype=torch.float64).clamp(1e-6, 1.0 - 1e-6)
    points = torch.special.ndtri(uniform)
    points = torch.cat([points, -points])
    points = points / (points**2).mean(dim=0).sqrt()
    return points, torch.full((2 * half,), 0.5 / half, dtype=torch.float64)
