"""A fit whose follower answers in closed form: what labels and amounts share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..equilibrium import Equilibrium, measure_equilibrium
from ..solvers import ClosedFormSolver
from ..solvers.evaluation import Sums
from ..solvers.result import Observer
from .acting import DiscreteActing
from .acting_amounts import ContinuousActing
from .logged_game import LoggedGame
from .outcome import Outcome

Acting = DiscreteActing | ContinuousActing


@dataclass(frozen=True, eq=False)
class KeptPolicy:
    """What a later climb goes on from: the actions, what is read of states, and θ."""

    actions: Any
    reads: Any
    theta: Tensor
    units: tuple[float, float]


class ClosedForm(ABC):
    """Q linear in its weights, and a policy that reaches it through M and b alone.

    Parameters
    ----------
    params : dict
        The estimator's hyperparameters.
    game : LoggedGame
    actions : Labels or Amounts
    reads : object
        What is read of states: features, or a leader that has them.
    sums : RowSums or JointSums
    start : Tensor
        θ to climb from.
    """

    def __init__(
        self,
        params: dict[str, Any],
        game: LoggedGame,
        actions: Any,
        reads: Any,
        sums: Sums,
        start: Tensor,
    ) -> None:
        self.params, self.game, self.actions = params, game, actions
        self.reads, self.sums, self.start = reads, sums, start

    def solve(self, lam: float, observe: Observer | None = None) -> Outcome:
        """Climb at one λ.

        Parameters
        ----------
        lam : float
        observe : callable, default=None
            Hears of each evaluation.

        Returns
        -------
        Outcome
        """
        solver, sums = closed_form_solver(self.params, lam, observe), self.sums
        result = solver.solve(sums, [self.start])
        acting, attributes = self.players(result.theta, result.w)
        return Outcome(
            acting=acting,
            attributes=attributes,
            value=result.value,
            pessimism=result.pessimism,
            history=result.history,
            n_iter=result.n_iter,
            shortfall=result.shortfall,
            equilibrium=lambda: measure_equilibrium(solver, sums, result.theta),
            kept=KeptPolicy(self.actions, self.reads, result.theta, self.game.units),
        )

    def equilibrium(self, lam: float) -> Equilibrium:
        """The conditions at the policy that is gone on from."""
        solver = closed_form_solver(self.params, lam, None)
        return measure_equilibrium(solver, self.sums, self.start)

    @abstractmethod
    def players(self, theta: Tensor, w: Tensor) -> tuple[Acting, dict[str, Any]]:
        """The players on states, and what the estimator shows of them."""


def closed_form_solver(
    params: dict[str, Any], lam: float, observe: Observer | None
) -> ClosedFormSolver:
    """The solver that hyperparameters ask for.

    Parameters
    ----------
    params : dict
    lam : float
    observe : callable or None

    Returns
    -------
    ClosedFormSolver
    """
    return ClosedFormSolver(
        lam,
        params["beta"],
        leader_gradient=params["leader_gradient"],
        mirror_steps=params["mirror_steps"],
        max_iter=params["max_iter"],
        tol=params["tol"],
        observe=observe,
    )
