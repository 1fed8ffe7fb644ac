"""Q-functions: what the follower chooses."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearQ(nn.Module):
    """q_w(s, a) = φ(s)ᵀw_a: linear in features, a column of weights per action.

    With landmark features of a kernel k this is a function of the kernel's space; the
    kernel of state and action is k(s, s')·1[a = a'].

    Parameters
    ----------
    weight : Tensor of shape (n_features, n_actions)

    Examples
    --------
    >>> import torch
    >>> q = LinearQ(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> q(torch.eye(2)).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Q-values of all actions.

        Parameters
        ----------
        features : Tensor of shape (n, n_features)

        Returns
        -------
        Tensor of shape (n, n_actions)
        """
        return features @ self.weight


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
