"""Mirror steps of a policy of any kind: a better one at every state at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..policies._softmax import advantages
from ._minibatch_game import Choice

# A step is fitted by so many steps of the policy's optimiser, on so many states each.
_FITS, _FIT_ROWS = 50, 512

# Probabilities that a logarithm is taken of, in either precision.
_TINY = 1e-30

# Advantages that a quantile is taken of; torch's own refuses more than 16 million.
_MANY = 100_000


def mirror_step(
    policy: nn.Module,
    q_function: Any,  # a Module with the methods of `q_functions.Follower`
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
            loss = mirror_loss(policy, x[rows], target[rows])
            loss.backward()
            return float(loss.detach())

        optimizer.step(closure)


def mirror_target(
    policy: Any, q_function: Any, x: Tensor, y: Tensor, eta: float
) -> Tensor:
    """What the policy should come to in some states: π'(a|s) ∝ π(a|s) exp(η A(s, a)).

    ``eta`` is η in units of one over the 95 % quantile of the advantages' size. The
    target is probabilities (k, S); or, of a policy whose nodes move (a squashed
    Gaussian), outputs (k, 2 p) with the mean and the spread of those probabilities.
    """
    with torch.no_grad():
        outputs = policy.head(x) if _moves(policy) else None
        choice = policy(x) if outputs is None else policy.nodes(outputs)
        weights = _weights(choice)
        advantage = advantages(weights, q_function.each(y, choice))
        size = float(torch.quantile(advantage.abs().flatten()[:_MANY], 0.95))
        eta = eta / size if size > 0.0 else 0.0
        tilted = torch.softmax(weights.clamp(min=_TINY).log() + eta * advantage, dim=1)
        if outputs is None:
            return tilted
        return policy.matching(policy.free_nodes(outputs), tilted)


def mirror_loss(policy: Any, x: Tensor, target: Tensor) -> Tensor:
    """How far the policy is from a target: cross-entropy, or squared distance."""
    if _moves(policy):
        return nn.functional.mse_loss(policy.head(x), target)
    if hasattr(policy, "logits"):
        # More exact than the logarithm of a softmax where it is nearly decided.
        logs = torch.log_softmax(policy.logits(x), dim=1)
    else:
        logs = _weights(policy(x)).clamp(min=_TINY).log()
    return -(target * logs).sum(dim=1).mean()


def _weights(choice: Choice) -> Tensor:
    """Probabilities of what is chosen from, (k, S)."""
    return choice if isinstance(choice, Tensor) else choice[1]


def _moves(policy: object) -> bool:
    """A policy whose weights are fixed, and whose nodes are what it chooses."""
    return hasattr(policy, "matching")
