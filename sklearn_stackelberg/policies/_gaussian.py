"""A Gaussian policy, squashed into the bounds of the action."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .._action_scale import ActionScale
from .._typing import Floats, RandomStateLike
from ._base import ContinuousPolicy
from ._quadrature import Nodes, as_head, head_dtype, standard_normal_nodes

# The log of σ stays between e^-4 (the squashed action moves by under 2 % of the bounds)
# and e^0.5 (wider ones sit on the bounds); an output of zero is σ = 0.75, most of them.
_MIDDLE, _HALF = -1.75, 2.25

# 7 nodes are exact for polynomials of degree 13 in one dimension; the 8 pairs in more
# dimensions have the mean and the variance, whatever the number of columns.
N_NODES_LINE, N_NODES_MORE = 7, 16


class SquashedGaussian(ContinuousPolicy, name="gaussian"):
    """a = centre + half · tanh(μ_θ(s) + σ_θ(s) ε), ε standard normal.

    Expectations are over common nodes of ε, the same in every state, so that the value
    of a policy is a smooth function of θ. Doses over decades are squashed on their
    logarithmic scale. Centre and half are of the bounds, or of a range of its own in
    each state: 2 p columns behind the head's outputs, the lower ends on the scale and
    the upper ones.

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
    scale : ActionScale, default=None
        None is that of no logarithm.
    has_range : bool, default=False
        Whether the last 2 p columns of its inputs are a range.

    Examples
    --------
    >>> import torch
    >>> policy = SquashedGaussian(torch.tensor([[50.0, 0.0]]), [-1.0], [3.0])
    >>> policy.mode(policy.outputs(torch.tensor([[0.0], [1.0]]))).tolist()
    [[1.0], [3.0]]
    """

    has_moving_actions = True
    low: Tensor
    high: Tensor
    epsilon: Tensor
    node_weights: Tensor

    def __init__(
        self,
        head: Tensor | nn.Module,
        low: ArrayLike,
        high: ArrayLike,
        n_nodes: int | None = None,
        seed: int = 0,
        scale: ActionScale | None = None,
        has_range: bool = False,
    ) -> None:
        super().__init__()
        self.head = as_head(head)
        dtype = head_dtype(self.head)
        below, above = inward(low, high, dtype)
        p = len(below)
        self.scale = scale or ActionScale(np.zeros(p))
        self.n_range = 2 * p if has_range else 0
        self._settings = (low, high, n_nodes, seed, self.scale)
        if n_nodes is None:
            n_nodes = N_NODES_LINE if p == 1 else N_NODES_MORE
        epsilon, weights = standard_normal_nodes(n_nodes, p, seed)
        self.n_outputs = 2 * p
        self.register_buffer("low", below)
        self.register_buffer("high", above)
        self.register_buffer("epsilon", epsilon.to(dtype))
        self.register_buffer("node_weights", weights.to(dtype))

    @classmethod
    def from_log(
        cls,
        actions: Floats,
        low: Floats,
        high: Floats,
        *,
        candidates: int | ArrayLike | None = None,
        random_state: RandomStateLike = None,
    ) -> SquashedGaussian:
        """In the bounds, on the scale of the actions."""
        head, scale = torch.zeros(1, 2 * len(low)), ActionScale.of(actions)
        return cls(head, low, high, scale=scale)

    def with_head(
        self, head: Tensor | nn.Module, has_range: bool = False
    ) -> SquashedGaussian:
        """The same bounds and nodes, in the precision of another head."""
        # From the bounds as given: rounded twice, they might be crossed.
        return SquashedGaussian(head, *self._settings, has_range=has_range)

    def outputs(self, x: Tensor) -> Tensor:
        """μ and log σ before its clamp, (n, 2 p), of inputs (n, m); and the range."""
        if not self.n_range:
            return self.head(x)
        x, ends = x[:, : -self.n_range], x[:, -self.n_range :]
        return torch.cat([self.head(x), ends], dim=1)

    def choice(self, outputs: Tensor) -> Nodes:
        """Actions at the nodes, and their weights, from outputs (n, 2 p)."""
        weights = self.node_weights.expand(len(outputs), -1)
        return Nodes(self._squash(self._free_nodes(outputs), outputs), weights)

    def _free_nodes(self, outputs: Tensor) -> Tensor:
        """The nodes μ + σ ε before squashing, (n, S, p)."""
        mean, log_std = self._mean_and_log_std(outputs)
        return mean[:, None, :] + log_std.exp()[:, None, :] * self.epsilon

    def mirror_target(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """Outputs of the Gaussian nearest to the nodes with other weights, (n, 2 p)."""
        free, weights = self._free_nodes(outputs), weights[:, :, None]
        mean = (weights * free).sum(dim=1)
        variance = (weights * (free - mean[:, None, :]) ** 2).sum(dim=1)
        # One node may have all the weight; σ is clamped far above 1e-6 in any case.
        return outputs_of(mean, 0.5 * torch.log(variance.clamp(min=1e-12)))

    def mirror_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Mean squared distance of the outputs, the range apart."""
        return nn.functional.mse_loss(outputs[:, : self.n_outputs], target)

    def _squash(self, free: Tensor, outputs: Tensor) -> Tensor:
        """From all numbers (n, ..., p) to those within the range of the outputs."""
        low, high = (self.scale.transform_tensor(b) for b in (self.low, self.high))
        if outputs.shape[1] > self.n_outputs:
            low, high = outputs[:, self.n_outputs :].chunk(2, dim=1)
            if free.ndim == 3:
                low, high = low[:, None], high[:, None]
        squashed = 0.5 * (low + high) + 0.5 * (high - low) * torch.tanh(free)
        squashed = self.scale.inverse_tensor(squashed)
        # tanh rounds to 1 from about 9 on (19 in float64), and its product with half
        # may be rounded past a bound.
        return torch.minimum(torch.maximum(squashed, self.low), self.high)

    def mode(self, outputs: Tensor) -> Tensor:
        """The median, in float64."""
        return self._squash(self._mean_and_log_std(outputs)[0], outputs).double()

    def draw(self, outputs: Tensor, rng: np.random.RandomState) -> Tensor:
        """Drawn from the Gaussian, not from its nodes, in float64."""
        noise = rng.standard_normal((len(outputs), len(self.low)))
        mean, log_std = self._mean_and_log_std(outputs)
        free = mean + log_std.exp() * torch.from_numpy(noise).to(outputs)
        return self._squash(free, outputs).double()

    def _mean_and_log_std(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return mean_and_log_std(outputs[:, : self.n_outputs])


def mean_and_log_std(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """μ and log σ before squashing, (n, p) each, from outputs of shape (n, 2 p)."""
    mean, raw = outputs.chunk(2, dim=1)
    # Clamped smoothly, so that the derivative never quite vanishes.
    return mean, _MIDDLE + _HALF * torch.tanh((raw - _MIDDLE) / _HALF)


def outputs_of(mean: Tensor, log_std: Tensor) -> Tensor:
    """The inverse of `mean_and_log_std`, where σ is within its clamp."""
    # At ±1 atanh is infinite; 0.99 is 1 % of the way from the clamp.
    share = ((log_std - _MIDDLE) / _HALF).clamp(-0.99, 0.99)
    return torch.cat([mean, _MIDDLE + _HALF * torch.atanh(share)], dim=1)


def inward(
    low: ArrayLike, high: ArrayLike, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Bounds (p,) in another precision, rounded towards each other."""
    rounded = []
    for bound, towards in ((low, torch.inf), (high, -torch.inf)):
        exact = torch.as_tensor(np.asarray(bound, dtype=np.float64))
        near = exact.to(dtype)
        # To the nearest, which may lie outside: one step in brings it back.
        step = torch.nextafter(near, torch.full_like(near, towards))
        outside = near.double() < exact if towards > 0 else near.double() > exact
        rounded.append(torch.where(outside, step, near))
    return rounded[0], rounded[1]
