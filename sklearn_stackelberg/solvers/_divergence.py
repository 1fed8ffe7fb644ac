"""Whether steps on samples have left what makes sense, and what to change then."""

from __future__ import annotations

import torch

from ._base import StochasticSettings
from ._minibatch_game import Batch, MinibatchGame, Players, flat
from ._optimizers import GAUSS_NEWTON

# q beyond so many times what rewards allow is no pessimism any more.
_EXPLODED = 1e3


def divergence(
    players: Players,
    problem: MinibatchGame,
    batch: Batch,
    settings: StochasticSettings,
    *,
    lam: float,
    beta: float,
) -> tuple[str, str] | None:
    """What went wrong, a clause, and what to change, a sentence; None if nothing.

    How large Q is, is measured at the initial states of the batch.
    """
    finite_policy, finite_q = (
        bool(torch.isfinite(flat(module)).all())
        for module in (players.policy, players.q_function)
    )
    with torch.no_grad():
        choice = players.policy(batch.policy_initial)
        q = players.q_function.expected(batch.q_initial, choice)
    largest = float(q.abs().max())
    # Rewards of nothing leave room for pessimism too.
    limit = _EXPLODED * max(1.0, problem.largest_value)
    if finite_policy and finite_q and largest <= limit:
        return None
    if finite_q and not finite_policy:
        return (
            "The policy's weights are not finite any more",
            f"Lower leader_learning_rate={settings.leader_learning_rate:g}, or raise "
            f"beta={beta:g} so that the Q-function responds more smoothly.",
        )
    rate = f"Lower learning_rate={settings.learning_rate:g}"
    if settings.optimizer == GAUSS_NEWTON:
        # Its steps have no size: what they lack is rows that are like the log.
        rate = f"Raise batch_size={settings.batch_size}"
    return (
        f"Q grew to {largest:.3g} in scaled rewards, where rewards allow "
        f"{problem.largest_value:.3g}",
        f"{rate}, raise beta={beta:g}, which holds Q where the log is "
        f"silent, or raise lam={lam:g}, which holds it to the log.",
    )
