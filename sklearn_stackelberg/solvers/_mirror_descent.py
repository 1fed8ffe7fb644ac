"""Mirror steps of a leader of any kind: a better policy at every state at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..policies._softmax import advantages

# A step is fitted by so many steps of the leader's optimiser, on so many states each.
_FITS, _FIT_ROWS = 50, 512

# Probabilities that a logarithm is taken of, in either precision.
_TINY = 1e-30

# Advantages that a quantile is taken of.
_MANY = 100_000


def mirror_step(
    leader: Any,
    follower: Any,
    x: Tensor,
    y: Tensor,
    *,
    eta: float,
    optimizer: torch.optim.Optimizer,
    rng: np.random.Generator,
) -> None:
    """π ← π exp(η A) / Z at some states, as near as the leader's functions come.

    Parameters
    ----------
    leader, follower : Module
    x, y : Tensor of shape (k, ·)
        The leader's and the follower's inputs of the same states.
    eta : float
        As in `mirror_target`.
    optimizer : Optimizer
        Of the leader.
    rng : numpy Generator
        Draws the states of each step of the fit.
    """
    target = mirror_target(leader, follower, x, y, eta)
    for _ in range(_FITS):
        rows = torch.from_numpy(rng.integers(len(x), size=_FIT_ROWS)).to(x.device)

        def closure(rows: Tensor = rows) -> Tensor:
            optimizer.zero_grad()
            loss = mirror_loss(leader, x[rows], target[rows])
            loss.backward()
            return loss

        optimizer.step(closure)


def mirror_target(leader: Any, follower: Any, x: Tensor, y: Tensor, eta: float) -> Any:
    """What the leader should come to in some states: π'(a|s) ∝ π(a|s) exp(η A(s, a)).

    Parameters
    ----------
    leader, follower : Module
    x, y : Tensor of shape (k, ·)
        The leader's and the follower's inputs of the same states.
    eta : float
        η in units of one over the 95 % quantile of the advantages' size.

    Returns
    -------
    Tensor
        Probabilities (k, S); or, of a leader whose nodes move (a squashed Gaussian),
        outputs (k, 2 p) with the mean and the spread of those probabilities.
    """
    with torch.no_grad():
        outputs = leader.head(x) if _moves(leader) else None
        choice = leader(x) if outputs is None else leader.nodes(outputs)
        weights = choice if isinstance(choice, Tensor) else choice.weights
        advantage = advantages(weights, follower.each(y, choice))
        size = float(torch.quantile(advantage.abs().flatten()[:_MANY], 0.95))
        eta = eta / size if size > 0.0 else 0.0
        tilted = torch.softmax(weights.clamp(min=_TINY).log() + eta * advantage, dim=1)
        if outputs is None:
            return tilted
        return leader.matching(leader.free_nodes(outputs), tilted)


def mirror_loss(leader: Any, x: Tensor, target: Tensor) -> Tensor:
    """How far the leader is from a target: cross-entropy, or squared distance.

    Parameters
    ----------
    leader : Module
    x : Tensor of shape (k, ·)
    target : Tensor
        Of `mirror_target`.

    Returns
    -------
    Tensor of shape ()
    """
    if _moves(leader):
        return nn.functional.mse_loss(leader.head(x), target)
    if hasattr(leader, "logits"):
        logs = torch.log_softmax(leader.logits(x), dim=1)
    else:
        choice = leader(x)
        weights = choice if isinstance(choice, Tensor) else choice.weights
        logs = weights.clamp(min=_TINY).log()
    return -(target * logs).sum(dim=1).mean()


def _moves(leader: Any) -> bool:
    """A leader whose weights are fixed, and whose nodes are what it chooses."""
    return hasattr(leader, "matching")
