"""Mirror steps of a policy of any kind: a better one at every state at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..policies._base import Policy, advantages

# A step is fitted by so many steps of the policy's optimiser, on so many states each.
_FITS, _FIT_ROWS = 50, 512

# Probabilities that a logarithm is taken of, in either precision.
_TINY = 1e-30

# Advantages that a quantile is taken of; torch's own refuses more than 16 million.
_MANY = 100_000


def mirror_step(
    policy: Policy,
    q_function: Any,  # a Module with the methods of `QFunction`
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    optimizer: torch.optim.Optimizer,
    rng: np.random.Generator,
) -> None:
    """π ← π exp(η A) / Z at some states, as near as the policy's functions come.

    ``x`` and ``y`` (k, ·) are what policy and Q-function read of the same states; the
    optimiser is the policy's, and ``rng`` draws the states of each of its steps.
    """
    target = mirror_target(policy, q_function, x, y, eta)
    for _ in range(_FITS):
        rows = torch.from_numpy(rng.integers(len(x), size=_FIT_ROWS)).to(x.device)

        def closure(rows: Tensor = rows) -> float:
            optimizer.zero_grad()
            loss = policy.mirror_loss(policy.outputs(x[rows]), target[rows])
            loss.backward()
            return float(loss.detach())

        optimizer.step(closure)


def mirror_target(
    policy: Policy, q_function: Any, x: Tensor, y: Tensor, eta: float
) -> Tensor:
    """What the policy should come to in some states: π'(a|s) ∝ π(a|s) exp(η A(s, a)).

    ``eta`` is η in units of one over the 95 % quantile of the advantages' size. The
    target is probabilities (k, S); or, of a policy whose nodes move (a squashed
    Gaussian), outputs (k, 2 p) with the mean and the spread of those probabilities.
    """
    with torch.no_grad():
        outputs = policy.outputs(x)
        choice = policy.choice(outputs)
        weights = choice if isinstance(choice, Tensor) else choice.weights
        advantage = advantages(weights, q_function.each(y, choice))
        size = float(torch.quantile(advantage.abs().flatten()[:_MANY], 0.95))
        eta = eta / size if size > 0.0 else 0.0
        # Eq. (42) of docs/game.md.
        tilted = torch.softmax(weights.clamp(min=_TINY).log() + eta * advantage, dim=1)
        return policy.mirror_target(outputs, tilted)
