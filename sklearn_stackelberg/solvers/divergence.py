"""Whether a play on samples is still sound, and what to change where it is not."""

from __future__ import annotations

from typing import Any

import torch

from .sampled import Batch, Players, SampledGame, flat

# q beyond so many times what rewards allow is no pessimism any more.
_EXPLODED = 1e3


def divergence(
    players: Players, sampled: SampledGame, batch: Batch, solver: Any
) -> tuple[str, str] | None:
    """What went wrong, if anything did.

    Parameters
    ----------
    players : Players
    sampled : SampledGame
    batch : Batch
        Whose initial states tell how large q is.
    solver : StochasticSolver
        Whose settings the remedy names.

    Returns
    -------
    what, remedy : str
        A clause, and a sentence that says which step size or weight to change. None
        where all is sound.
    """
    finite = {
        name: bool(torch.isfinite(flat(getattr(players, name))).all())
        for name in ("leader", "follower")
    }
    with torch.no_grad():
        q = players.follower.expected(
            batch.follower_initial, players.leader(batch.leader_initial)
        )
    # Rewards of nothing leave room for pessimism too.
    largest = float(q.abs().max())
    limit = _EXPLODED * max(1.0, sampled.largest_value)
    if all(finite.values()) and largest <= limit:
        return None
    if finite["follower"] and not finite["leader"]:
        return (
            "The policy's weights are not finite any more",
            f"Lower leader_learning_rate={solver.leader_learning_rate:g}, or raise "
            f"beta={solver.beta:g} so that the follower answers more smoothly.",
        )
    rate = f"Lower learning_rate={solver.learning_rate:g}"
    if solver.gauss_newton:
        rate = f"Raise batch_size={solver.batch_size}"
    return (
        f"Q grew to {largest:.3g} in scaled rewards, where rewards allow "
        f"{sampled.largest_value:.3g}",
        f"{rate}, raise beta={solver.beta:g}, which holds Q where the log is silent, "
        f"or raise lam={solver.lam:g}, which holds it to the log.",
    )
