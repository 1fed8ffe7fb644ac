"""A solver run on a problem, and what came of it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from .._numpy_state import NumpyState
from .._problem.action_space import Actions
from .._problem.dataset import OfflineProblem, RewardUnits
from .._typing import Index
from ..equilibrium import Equilibrium
from ..game import curvature
from ..metrics._holdout import HoldoutEvaluator, fit_holdout_evaluator
from ..solvers._base import (
    Observer,
    Solver,
    SolverResult,
    SolverState,
    Weights,
)
from ..solvers._best_response import LSTDSystem
from ..solvers._minibatch_game import MinibatchGame
from .fitted_policy import Fitted, FittedPolicy
from .hyperparameters import Hyperparameters
from .made_by import described, settings_of
from .players import Players
from .state_inputs import PlayerInputs
from .support import ActionRange, ActionSupport


@dataclass(frozen=True, eq=False)
class FitState(NumpyState):
    """All that a later fit goes on from.

    ``policy`` and ``q_function`` are those that were returned, which need not be where
    the solver stands; ``made_by`` says by which hyperparameters.
    """

    actions: Actions
    inputs: PlayerInputs
    units: RewardUnits
    needs: str  # of the solver, whose state no solver of the other kind can read
    solver_state: SolverState
    policy: Weights
    q_function: Weights
    made_by: tuple[str, str]
    settings: dict[str, str]  # hyperparameters that only a first fit reads


@dataclass(frozen=True, eq=False)
class FitResult:
    """A policy and its Q-function on states, how they were found, and by which fit."""

    fit: Fit
    fitted: Fitted
    found: SolverResult
    state: FitState


# Of discrete or of continuous actions.
MakePlayers = Callable[
    [Hyperparameters, OfflineProblem, Actions, bool, PlayerInputs | None], Players
]


class Fit(ABC):
    """A problem ready to be solved, from the start or on from an earlier fit."""

    linear: bool

    def __init__(
        self,
        hp: Hyperparameters,
        solver: Solver,
        problem: OfflineProblem,
        actions: Actions,
        make_players: MakePlayers,
        state: FitState | None = None,
    ) -> None:
        self.hp, self.solver, self.problem = hp, solver, problem
        self.actions, self.state = actions, state
        # Compared by name: callables made anew for each fit are not equal.
        self.made_by = described(hp.q_function), described(hp.policy)
        inputs = state.inputs if state else None
        self._make_players = make_players
        self.players = make_players(hp, problem, actions, self.linear, inputs)

    @cached_property
    def solver_problem(self) -> LSTDSystem | MinibatchGame:
        """What the solver is given."""
        return self._make_problem()

    def solve(
        self,
        lam: float,
        observe: Observer | None = None,
        keeps_interrupted: bool = False,
    ) -> FitResult:
        """Solve at one λ; what an interrupt has left is returned, or let go of."""
        return self.result(self.search(lam, observe), keeps_interrupted)

    def search(
        self,
        lam: float,
        observe: Observer | None = None,
        problem: LSTDSystem | None = None,
    ) -> SolverResult:
        """What the solver finds, of all rows unless a problem of some is given."""
        return self.solver.solve(
            problem or self.solver_problem,
            self.state.solver_state if self.state else self._start(),
            lam=self.weight(lam),
            beta=self.beta,
            observe=observe,
        )

    def result(self, found: SolverResult, keeps_interrupted: bool = False) -> FitResult:
        """What a solver has found, on states."""
        if found.interrupted and not keeps_interrupted:
            raise KeyboardInterrupt
        state = FitState(
            actions=self.actions,
            inputs=self.players.inputs,
            units=self.problem.units,
            needs=self.solver.needs,
            solver_state=found.state,
            policy=found.policy,
            q_function=found.q_function,
            made_by=self.made_by,
            settings=settings_of(self.hp),
        )
        fitted = self.fitted(found.policy, found.q_function)
        fitted.attributes["support_"] = self.players.least_support
        return FitResult(self, fitted, found, state)

    def part(self, rows: Index) -> Fit:
        """The same of some rows of the log, from the start and in their own units."""
        problem = self.problem
        log = problem.given[rows]
        part = OfflineProblem.from_log(
            log,
            discount=problem.discount,
            initial_states=self.hp.initial_states,
        )
        return type(self)(self.hp, self.solver, part, self.actions, self._make_players)

    def varied(
        self, hp: Hyperparameters, support: ActionSupport | ActionRange | None
    ) -> Self:
        """The same rows and features, for another β, ridge or support."""
        other = copy.copy(self)
        other.hp, other.players = hp, self.players.varied(hp, support)
        if other.players.is_other_system(self.players):
            other.__dict__.pop("solver_problem", None)
        return other

    def weight(self, lam: float) -> float:
        """The factor of n E_K in F: λ, times n_distinct, over the design effect.

        By the first it does not depend on how many states and actions there are, by the
        second not on how noisy episodes are.
        """
        # Eq. (59) of docs/game.md.
        return lam * self.players.n_distinct / self.players.design_effect

    @property
    def beta(self) -> float:
        """The factor of |w|²/2 in F."""
        return curvature(self.players.beta, self.problem.row_discount)

    def evaluator(self, policy: FittedPolicy) -> HoldoutEvaluator | None:
        """What `score` starts from; None where the log, a part, lacks actions."""
        problem = self.problem
        return fit_holdout_evaluator(
            policy,
            problem.given,
            problem.discount,
            joined=problem.log,
            steps=problem.units.steps,
        )

    def release(self) -> None:
        """Let go of the solver's features: the evaluator makes its own."""
        self.__dict__.pop("solver_problem", None)
        self.players.release()

    def reconstruction(self, fitted: Fitted) -> dict[str, object]:
        """All that an estimator needs to predict and to score."""
        return fitted.attributes | {
            "_fitted_policy": fitted.policy,
            "action_type_": self.actions.type,
            "evaluation_": self.evaluator(fitted.policy),
            "n_features_in_": self.problem.states.shape[1],
        }

    @abstractmethod
    def _make_problem(self) -> LSTDSystem | MinibatchGame: ...

    @abstractmethod
    def _start(self) -> SolverState: ...

    @abstractmethod
    def fitted(self, policy: Weights, q_function: Weights) -> Fitted:
        """On states, what a solver found or passes on the way."""

    @abstractmethod
    def equilibrium(self, state: FitState, lam: float) -> Equilibrium:
        """The conditions of an equilibrium where a fit ended."""
