"""A play on samples: where it stands, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn

from ._minibatch_game import Minibatches


class Standing(NamedTuple):
    """Both players' weights, and what their next solves begin with."""

    theta: Tensor
    w: Tensor
    damping: float
    adjoint: Tensor | None


class BestPoint(NamedTuple):
    """The largest v that was measured, and where it was measured."""

    value: float
    at: Standing


@dataclass
class SolverState:
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
    best : BestPoint or None
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
    best: BestPoint | None = None
    log: int = 0


@dataclass
class StochasticResult:
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
    state : SolverState
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
    state: SolverState
    shortfall: str = ""
    diverged: str = ""
    stopped: bool = False


# Called with each new entry of the history and what gives the leader's and the
# follower's weights, or modules, as they are then; True stops the climb.
Observer = Callable[[dict[str, float], Callable[[], tuple[Any, Any]]], bool | None]


@dataclass
class History:
    """One entry per evaluation of the leader's value.

    ``value`` is v, ``pessimism`` the part of v that was given up for what the log does
    not say, ``follower_objective`` F, ``bellman_error`` E_K, ``leader_gradient_norm``
    the norm of the derivative that the leader followed, ``follower_gradient_norm`` that
    of ∂_w F, all in units of the scaled rewards; ``cg_residual`` the relative residual
    of (∂²F)⁻¹ ∂_w v by conjugate gradient; ``seconds`` since the start. NaN is what was
    not computed: a mirror step takes no derivative, a closed form no gradient steps.
    """

    entries: dict[str, list[float]] = field(
        default_factory=lambda: {
            "value": [],
            "pessimism": [],
            "follower_objective": [],
            "bellman_error": [],
            "leader_gradient_norm": [],
            "follower_gradient_norm": [],
            "cg_residual": [],
            "seconds": [],
        }
    )
    _start: float = field(default_factory=time.perf_counter)

    def add(self, **entry: float) -> None:
        """Append one evaluation; NaN stands for what it leaves out."""
        entry["seconds"] = time.perf_counter() - self._start
        for name, column in self.entries.items():
            given = entry.pop(name, float("nan"))
            column.append(float(given))
        if entry:
            raise KeyError(f"History has no column {next(iter(entry))!r}.")

    def last(self) -> dict[str, float]:
        """The newest entry."""
        return {name: column[-1] for name, column in self.entries.items()}

    def rescaled(self, anchor: float, unit: float) -> dict[str, list[float]]:
        """The entries, with ``value`` and ``pessimism`` in units of discounted return.

        Parameters
        ----------
        anchor : float
            Value that a v of zero stands for.
        unit : float
            Discounted return that a v of one adds to it.

        Returns
        -------
        dict of str to list
        """
        return self.entries | {
            "value": [anchor + unit * value for value in self.entries["value"]],
            "pessimism": [unit * value for value in self.entries["pessimism"]],
        }


@dataclass
class SolverResult:
    """The best point that a solver saw.

    Parameters
    ----------
    theta : Tensor of shape (m, n_actions)
        The leader's weights.
    w : Tensor of shape (m, n_actions)
        The follower's best response to them.
    value : float
        v(w*(θ), θ).
    pessimism : float
        bᵀ(2λn MᵀM + βI)⁻¹b, what v lies below the ridge estimate of the value.
    history : History
    n_iter : int
        Steps that the leader took.
    shortfall : str
        What was left undone when the iterations ran out, empty if nothing.
    stopped : bool
        Whether the observer stopped the climb.
    """

    theta: Tensor
    w: Tensor
    value: float
    pessimism: float
    history: History
    n_iter: int
    shortfall: str = ""
    stopped: bool = False
