"""Policies: what the leader chooses."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SoftmaxPolicy(nn.Module):
    """π_θ(a|s) ∝ exp(φ(s)ᵀθ_a): a softmax over actions, linear in features.

    Parameters
    ----------
    weight : Tensor of shape (n_features, n_actions)
        θ, a column per action. Zero is the uniform policy; multiplying θ by a larger
        number makes every choice more decided.

    Examples
    --------
    >>> import torch
    >>> policy = SoftmaxPolicy(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    >>> policy(torch.eye(2)).tolist()[1]
    [0.5, 0.5]
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Action probabilities.

        Parameters
        ----------
        features : Tensor of shape (n, n_features)

        Returns
        -------
        Tensor of shape (n, n_actions)
        """
        return action_probabilities(features, self.weight)


def action_probabilities(features: Tensor, weight: Tensor) -> Tensor:
    """π_θ(·|s), as a function of θ for derivatives to run through.

    Parameters
    ----------
    features : Tensor of shape (n, m)
    weight : Tensor of shape (m, n_actions)

    Returns
    -------
    Tensor of shape (n, n_actions)
    """
    return torch.softmax(features @ weight, dim=1)


def softmax_vjp(probabilities: Tensor, gradient: Tensor) -> Tensor:
    """∂/∂logits of a function whose ∂/∂π is known: π_a (g_a − Σ_b π_b g_b).

    Parameters
    ----------
    probabilities, gradient : Tensor of shape (n, n_actions)

    Returns
    -------
    Tensor of shape (n, n_actions)
    """
    weighted = probabilities * gradient
    return weighted - probabilities * weighted.sum(dim=1, keepdim=True)


def advantages(probabilities: Tensor, q_values: Tensor) -> Tensor:
    """q(s, a) − q(s, π) for every action.

    Parameters
    ----------
    probabilities, q_values : Tensor of shape (n, n_actions)

    Returns
    -------
    Tensor of shape (n, n_actions)
    """
    return q_values - (probabilities * q_values).sum(dim=1, keepdim=True)
