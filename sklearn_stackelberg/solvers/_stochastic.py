"""The paper's own algorithm: two players on samples, one turn after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from ._base import Observer, SolverState, StochasticResult
from ._closed_form import LeaderGradient
from ._minibatch_game import MinibatchGame
from ._stochastic_run import StochasticRun

Optimizer = str | Callable[[Iterable[Tensor], float], torch.optim.Optimizer]

GAUSS_NEWTON = "gauss-newton"


class StochasticSolver:
    """Follower and leader take turns: gradient steps on samples, on two time scales.

    In a turn the follower takes steps of its own on

        F(w, θ) = v(w, θ) + λ n E_K(w, θ) + (β/2) |w|²,

    and then the leader climbs the total derivative of v, knowing how the follower will
    answer. (∂²F)⁻¹ ∂_w v is solved by conjugate gradient on Gauss-Newton products,
    from where the turn before left it; no Hessian is formed.

    F is badly conditioned: a bias of q that lasts changes the residuals by 1 − γ of
    itself only. Plain gradient steps take very long to see it, so that the follower's
    steps are damped Gauss-Newton steps unless an optimiser is named. And D_θ v weights
    a state by how often the policy gets there, which on a long horizon hides what could
    be better; the leader begins with mirror steps, as it does in closed form.

    Parameters
    ----------
    lam, beta : float
        λ and β of the follower's objective.
    leader_gradient : {"total", "individual"}
        The derivative after the mirror steps: D_θ v, or ∂_θ v with w held fixed.
    mirror_steps : int
        Of the first turns of a play, so many are mirror steps of the leader.
    max_iter : int
        Turns.
    tol : float
        Relative change of v under which a play ends. Zero plays all turns.
    batch_size : int
        Rows, and initial states, of a minibatch; all of them where there are fewer.
        The estimates of F's gradient have no bias; Gauss-Newton steps take the batch
        for the log (they need an objective that has a minimum), so give them many rows.
    learning_rate, leader_learning_rate : float
        Step sizes, falling as (1 + turn / 100) ** -0.5. Gauss-Newton steps have none.
    follower_steps, leader_steps : int
        Steps of each in a turn.
    optimizer : str or callable
        ``"gauss-newton"``, under which the leader takes Adam's steps; or, for both, a
        name of `torch.optim`; or a callable of parameters and a step size that returns
        an optimiser.
    cg_steps : int
        Products that a solution may take. Fewer are faster and blur the foresight.
    measure_every : int
        Turns from one entry of the history to the next.
    seed : int
        Of the minibatches. Equal seeds play bit-identical plays on one machine.

    Raises
    ------
    ValueError
        If the optimizer has no such name in `torch.optim`.
    """

    def __init__(
        self,
        lam: float,
        beta: float,
        *,
        leader_gradient: LeaderGradient = "total",
        mirror_steps: int = 40,
        max_iter: int = 40,
        tol: float = 1e-3,
        batch_size: int = 5_000,
        learning_rate: float = 1e-3,
        leader_learning_rate: float = 3e-3,
        follower_steps: int = 1,
        leader_steps: int = 1,
        optimizer: Optimizer = GAUSS_NEWTON,
        cg_steps: int = 20,
        measure_every: int = 5,
        seed: int = 0,
    ) -> None:
        self.lam, self.beta = lam, beta
        self.leader_gradient = leader_gradient
        self.mirror_steps, self.max_iter, self.tol = mirror_steps, max_iter, tol
        self.batch_size, self.learning_rate = batch_size, learning_rate
        self.leader_learning_rate = leader_learning_rate
        self.follower_steps, self.leader_steps = follower_steps, leader_steps
        self.gauss_newton = optimizer == GAUSS_NEWTON
        self.optimizer = named_optimizer("adam" if self.gauss_newton else optimizer)
        self.cg_steps, self.measure_every, self.seed = cg_steps, measure_every, seed

    def solve(
        self,
        sampled: MinibatchGame,
        leader: nn.Module | None = None,
        follower: nn.Module | None = None,
        *,
        state: SolverState | None = None,
        observe: Observer | None = None,
    ) -> StochasticResult:
        """Play.

        Parameters
        ----------
        sampled : MinibatchGame
        leader, follower : Module, default=None
            As they begin. They are copied, to the game's device and precision. Where a
            state is given, its players go on.
        state : SolverState, default=None
            Of a play to resume, on the same rows or on others. It is left as it is.
        observe : callable, default=None
            Called with each entry of the history; True ends the play.

        Returns
        -------
        StochasticResult
        """
        if state is None:
            state = SolverState(leader, follower, np.random.default_rng(self.seed))
        play = StochasticRun(self, sampled, deepcopy(state), observe)
        last = play.turn + self.max_iter
        while play.turn < last and not play.over:
            play.step()
        return play.result()


def named_optimizer(optimizer: Optimizer) -> Callable[..., torch.optim.Optimizer]:
    """A callable of parameters and a step size, from the name of one in torch.optim."""
    if callable(optimizer):
        return optimizer
    known = {
        name.lower(): kind
        for name, kind in vars(torch.optim).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    }
    kind = known.get(str(optimizer).lower())
    if kind is None or kind is torch.optim.Optimizer:
        names = sorted({*known} - {"optimizer"})
        raise ValueError(
            f"optimizer must be {GAUSS_NEWTON!r}, one of {names}, or a callable of "
            f"parameters and a step size, got {optimizer!r}."
        )
    return lambda parameters, rate: kind(parameters, lr=rate)
