"""A play on samples: where it stands, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from .minibatches import Minibatches
from .result import History


class Standing(NamedTuple):
    """Both players' weights, and what their next solves begin with."""

    theta: Tensor
    w: Tensor
    damping: float
    adjoint: Tensor | None


class BestPlay(NamedTuple):
    """The largest v that was measured, and where it was measured."""

    value: float
    at: Standing


@dataclass
class PlayState:
    """Where a play stands: all that a later one needs to go on as if never stopped.

    It can be copied and pickled, and lies on the CPU.

    Parameters
    ----------
    leader, follower : Module
    rng : numpy Generator
        Draws the minibatches.
    turn : int
        Turns played.
    optimizers : dict
        State of the leader's and of the follower's optimiser.
    batches : dict
        Minibatches of rows and of initial states: where their epochs stand.
    adjoint : Tensor of shape (p,) or None
        (∂²F)⁻¹ ∂_w v of the last turn, from where the next one is solved.
    damping : float
        Of the next Gauss-Newton step.
    best : BestPlay or None
    log : int
        Checksum of the rows of the play, which tells them from others.
    """

    leader: nn.Module
    follower: nn.Module
    rng: np.random.Generator
    turn: int = 0
    optimizers: dict[str, Any] = field(default_factory=dict)
    batches: dict[str, Minibatches] = field(default_factory=dict)
    adjoint: Tensor | None = None
    damping: float = 1.0
    best: BestPlay | None = None
    log: int = 0


@dataclass
class PlayResult:
    """What came of a play.

    Parameters
    ----------
    leader, follower : Module
        On the CPU. The follower's answer is settled by Gauss-Newton steps on the whole
        log (or 20,000 rows of it); so answered, the leader is the better of the last
        one and the one of the largest v measured.
    value : float
        v of the two, over all initial states.
    pessimism : float
        (∂_w v)ᵀ (∂²F)⁻¹ ∂_w v: where q is linear, what v lies below the ridge estimate.
    history : History
        Of this play; the last entry is of what is returned.
    n_iter : int
        Turns, those of the plays before included.
    state : PlayState
        To go on from.
    shortfall : str
        What was left undone, when the turns ran out or because the follower could not
        answer; empty if nothing.
    diverged : str
        Why the play was given up, empty if it was not. All the rest is then of the last
        evaluation that was sound.
    stopped : bool
        Whether the observer ended it.
    """

    leader: nn.Module
    follower: nn.Module
    value: float
    pessimism: float
    history: History
    n_iter: int
    state: PlayState
    shortfall: str = ""
    diverged: str = ""
    stopped: bool = False
