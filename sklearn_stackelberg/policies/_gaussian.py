"""A Gaussian policy, squashed into the bounds of the action."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .._typing import Array
from ._quadrature import Nodes, as_head, head_dtype, standard_normal_nodes

# The log of σ stays between e^-4 (the squashed action moves by under 2 % of the bounds)
# and e^0.5 (wider ones sit on the bounds); an output of zero is σ = 0.75, most of them.
_MIDDLE, _HALF = -1.75, 2.25

N_NODES_LINE, N_NODES_MORE = 7, 16


class SquashedGaussian(nn.Module):
    """a = centre + half · tanh(μ_θ(s) + σ_θ(s) ε), ε standard normal.

    Expectations are over common nodes of ε, the same in every state, so that the value
    of a policy is a smooth function of θ.

    Parameters
    ----------
    head : Tensor of shape (m, 2 p), or nn.Module
        Gives μ and a clamped log σ of all columns, (n, 2 p), from features of states:
        linear in them, or by a module of its own.
    low, high : array of shape (p,)
        Bounds, never crossed, whatever the rounding.
    n_nodes : int, default=None
        None is 7 in one dimension, 16 in more. Larger is more exact.
    seed : int, default=0
        Scrambles the nodes in more than one dimension.

    Examples
    --------
    >>> import torch
    >>> policy = SquashedGaussian(torch.tensor([[50.0, 0.0]]), [-1.0], [3.0])
    >>> policy.median(torch.tensor([[0.0], [1.0]])).tolist()
    [[1.0], [3.0]]
    """

    low: Tensor
    high: Tensor
    epsilon: Tensor
    node_weights: Tensor

    def __init__(
        self,
        head: Tensor | nn.Module,
        low: Array,
        high: Array,
        n_nodes: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.head = as_head(head)
        dtype = head_dtype(self.head)
        self._settings = (low, high, n_nodes, seed)
        low, high = inward(low, high, dtype)
        if n_nodes is None:
            n_nodes = N_NODES_LINE if len(low) == 1 else N_NODES_MORE
        epsilon, weights = standard_normal_nodes(n_nodes, len(low), seed)
        self.register_buffer("low", low)
        self.register_buffer("high", high)
        self.register_buffer("epsilon", epsilon.to(dtype))
        self.register_buffer("node_weights", weights.to(dtype))

    def with_head(self, head: Tensor | nn.Module) -> SquashedGaussian:
        """The same bounds and nodes, in the precision of another head."""
        return SquashedGaussian(head, *self._settings)

    def forward(self, x: Tensor) -> Nodes:
        """Actions at the nodes, and their weights.

        Parameters
        ----------
        x : Tensor of shape (n, m)

        Returns
        -------
        Nodes
        """
        return self.nodes(self.head(x))

    def nodes(self, outputs: Tensor) -> Nodes:
        """Actions at the nodes, from the outputs of the head, (n, 2 p)."""
        weights = self.node_weights.expand(len(outputs), -1)
        return Nodes(self.squash(self.free_nodes(outputs)), weights)

    def free_nodes(self, outputs: Tensor) -> Tensor:
        """The nodes μ + σ ε before squashing, (n, S, p)."""
        mean, log_std = mean_and_log_std(outputs)
        return mean[:, None, :] + log_std.exp()[:, None, :] * self.epsilon

    def matching(self, free: Tensor, weights: Tensor) -> Tensor:
        """Outputs of the Gaussian with the mean and spread of weighted nodes.

        Parameters
        ----------
        free : Tensor of shape (n, S, p)
            Before squashing.
        weights : Tensor of shape (n, S)

        Returns
        -------
        Tensor of shape (n, 2 p)
        """
        weights = weights[:, :, None]
        mean = (weights * free).sum(dim=1)
        variance = (weights * (free - mean[:, None, :]) ** 2).sum(dim=1)
        return outputs_of(mean, 0.5 * torch.log(variance.clamp(min=1e-12)))

    def squash(self, free: Tensor) -> Tensor:
        """From all numbers to those within the bounds, (..., p)."""
        centre, half = 0.5 * (self.low + self.high), 0.5 * (self.high - self.low)
        squashed = centre + half * torch.tanh(free)
        return torch.minimum(torch.maximum(squashed, self.low), self.high)

    def free(self, actions: Tensor, margin: float = 0.02) -> Tensor:
        """The inverse of `squash`, of actions at least ``margin`` off the bounds."""
        centre, half = 0.5 * (self.low + self.high), 0.5 * (self.high - self.low)
        share = (actions - centre) / torch.where(half > 0, half, 1.0)
        return torch.atanh(share.clamp(margin - 1.0, 1.0 - margin))

    def median(self, x: Tensor) -> Tensor:
        """The action in the middle of the distribution, (n, p)."""
        return self.squash(mean_and_log_std(self.head(x))[0])

    def sample(self, x: Tensor, noise: Tensor) -> Tensor:
        """Actions drawn as the policy would, (n, p).

        Parameters
        ----------
        x : Tensor of shape (n, m)
        noise : Tensor of shape (n, p)
            Drawn from a standard normal distribution.
        """
        mean, log_std = mean_and_log_std(self.head(x))
        return self.squash(mean + log_std.exp() * noise)


def mean_and_log_std(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """μ and log σ before squashing, (n, p) each, from outputs of shape (n, 2 p).

    The log of σ is clamped smoothly, so that its derivative never quite vanishes.
    """
    mean, raw = outputs.chunk(2, dim=1)
    return mean, _MIDDLE + _HALF * torch.tanh((raw - _MIDDLE) / _HALF)


def outputs_of(mean: Tensor, log_std: Tensor) -> Tensor:
    """The inverse of `mean_and_log_std`, where σ is within its clamp."""
    share = ((log_std - _MIDDLE) / _HALF).clamp(-0.99, 0.99)
    return torch.cat([mean, _MIDDLE + _HALF * torch.atanh(share)], dim=1)


def inward(low: Array, high: Array, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Bounds in another precision, rounded towards each other.

    Parameters
    ----------
    low, high : array of shape (p,)
    dtype : torch.dtype

    Returns
    -------
    low, high : Tensor of shape (p,)
    """
    exact = [torch.as_tensor(np.asarray(b, dtype=np.float64)) for b in (low, high)]
    rounded = [bound.to(dtype) for bound in exact]
    up, down = (torch.full_like(rounded[0], sign * torch.inf) for sign in (1, -1))
    return (
        torch.where(
            rounded[0].double() < exact[0], torch.nextafter(rounded[0], up), rounded[0]
        ),
        torch.where(
            rounded[1].double() > exact[1],
            torch.nextafter(rounded[1], down),
            rounded[1],
        ),
    )
