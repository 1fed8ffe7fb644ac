"""Softmax policies over discrete actions, and the softmax's derivative."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._base import Policy, split_prior

# Probabilities that a logarithm is taken of, in either precision.
_TINY = 1e-30


class SoftmaxPolicy(Policy):
    """π_θ(a|s) ∝ exp(φ(s)ᵀθ_a): a softmax over actions, linear in features.

    Parameters
    ----------
    weight : Tensor of shape (n_features, n_actions)
        θ, a column per action. Zero is the uniform policy; multiplying θ by a larger
        number makes every choice more decided.
    has_prior : bool, default=False
        Whether the last n_actions columns of its inputs are a log prior, which is added
        to the logits.

    Examples
    --------
    >>> import torch
    >>> policy = SoftmaxPolicy(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    >>> policy(torch.eye(2)).tolist()[1]
    [0.5, 0.5]
    """

    def __init__(self, weight: Tensor, has_prior: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.n_prior = weight.shape[1] if has_prior else 0

    def outputs(self, x: Tensor) -> Tensor:
        """Logits φ(s)ᵀθ, (k, n_actions), of features (k, n_features)."""
        x, prior = split_prior(x, self.n_prior)
        return x @ self.weight + prior

    def choice(self, outputs: Tensor) -> Tensor:
        """Action probabilities, (k, n_actions)."""
        return torch.softmax(outputs, dim=1)

    def mirror_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy, of probabilities that are bounded away from zero."""
        logs = self.choice(outputs).clamp(min=_TINY).log()
        return -(target * logs).sum(dim=1).mean()


class NetworkSoftmax(Policy):
    """π_θ(a|s), the softmax of a network's logits.

    Parameters
    ----------
    module : Module
        (k, d) to (k, n_actions).
    n_prior : int, default=0
        Number of the inputs' last columns that are a log prior, added to the logits.

    Examples
    --------
    >>> import torch
    >>> policy = NetworkSoftmax(torch.nn.Identity())
    >>> policy(torch.zeros(1, 2)).tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, module: nn.Module, n_prior: int = 0) -> None:
        super().__init__()
        self.module, self.n_prior = module, n_prior

    def outputs(self, x: Tensor) -> Tensor:
        """Logits, (k, n_actions)."""
        x, prior = split_prior(x, self.n_prior)
        return self.module(x) + prior

    def choice(self, outputs: Tensor) -> Tensor:
        """Action probabilities, (k, n_actions)."""
        return torch.softmax(outputs, dim=1)


def action_probabilities(
    features: Tensor, weight: Tensor, log_prior: Tensor | None = None
) -> Tensor:
    """π_θ(·|s), (n, n_actions), of features (n, m), weights (m, n_actions)."""
    return softmax_of(product(features, weight), log_prior)


def product(left: Tensor, right: Tensor) -> Tensor:
    """Of a matrix with one of few columns, which BLAS has faster of few rows."""
    return (right.T @ left.T).T


def softmax_of(logits: Tensor, log_prior: Tensor | None = None) -> Tensor:
    """The same of logits (n, n_actions)."""
    if log_prior is not None:
        logits = logits + log_prior
    # A softmax over the rows of a matrix, of which few are long, is the slower one.
    return torch.softmax(logits.T.contiguous(), dim=0).T.contiguous()


def softmax_vjp(probabilities: Tensor, gradient: Tensor) -> Tensor:
    """∂/∂logits of a function whose ∂/∂π is known: π_a (g_a − Σ_b π_b g_b)."""
    # Step "Back to θ" of docs/game.md: the rows' gradients are known by hand there, so
    # no graph is kept of a million rows.
    weighted = probabilities * gradient  # (n, n_actions), as both arguments
    return weighted - probabilities * weighted.sum(dim=1, keepdim=True)
