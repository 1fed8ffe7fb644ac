"""A solver run on a problem: as a linear system, or on samples."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from .._executor import one_torch_thread
from .._numpy_state import NumpyState
from .._problem.action_space import Actions, DiscreteActions
from .._problem.dataset import OfflineProblem, RewardUnits
from .._typing import Index
from ..equilibrium import (
    Equilibrium,
    measure_equilibrium,
    measure_stochastic_equilibrium,
)
from ..game import curvature
from ..metrics._holdout import HoldoutEvaluator, fit_holdout_evaluator
from ..policies._base import CONTINUOUS_POLICIES
from ..solvers._base import (
    Observer,
    ProblemSpec,
    Solver,
    SolverResult,
    SolverState,
    Weights,
)
from ..solvers._best_response import LSTDSystem
from ..solvers._closed_form import ClosedForm
from ..solvers._minibatch_game import MinibatchGame
from ..solvers._stochastic import Stochastic
from .continuous_players import ContinuousPlayers
from .discrete_players import DiscretePlayers
from .fitted_policy import Fitted, FittedPolicy
from .hyperparameters import FunctionClass, Hyperparameters, is_network
from .made_by import described, refuse_other_settings, settings_of
from .players import Players, resolve_device
from .state_inputs import PlayerInputs
from .support import ActionRange, ActionSupport
from .wider_support import widest_worthwhile


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


class Fit(ABC):
    """A problem ready to be solved, from the start or on from an earlier fit."""

    linear: bool

    def __init__(
        self,
        hp: Hyperparameters,
        solver: Solver,
        problem: OfflineProblem,
        actions: Actions,
        state: FitState | None = None,
    ) -> None:
        self.hp, self.solver, self.problem = hp, solver, problem
        self.actions, self.state = actions, state
        # Compared by name: callables made anew for each fit are not equal.
        self.made_by = described(hp.q_function), described(hp.policy)
        inputs = state.inputs if state else None
        self.players = _make_players(hp, problem, actions, self.linear, inputs)

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
        return make_fit(self.hp, part, self.actions)

    def varied(
        self, hp: Hyperparameters, support: ActionSupport | ActionRange | None
    ) -> Fit:
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
        return curvature(self.hp.beta, self.problem.row_discount)

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


class ClosedFormFit(Fit):
    """Of a solver that needs M(θ), b(θ) and c, and works on weights."""

    linear = True

    def _make_problem(self) -> LSTDSystem:
        system = self.players.linear_system()
        system.highest = self.problem.highest
        return system

    def solve(
        self,
        lam: float,
        observe: Observer | None = None,
        keeps_interrupted: bool = False,
    ) -> FitResult:
        """As of `Fit`, the same to the bit whatever the number of threads."""
        with self._threads():
            fit, found = widest_worthwhile(self, lam, observe)
            return fit.result(found or fit.search(lam, observe), keeps_interrupted)

    def _threads(self) -> AbstractContextManager[None]:
        problem = self.solver_problem
        assert isinstance(problem, LSTDSystem)
        # A large M is worth all threads.
        return one_torch_thread() if problem.is_small else nullcontext()

    def _start(self) -> SolverState:
        return SolverState(self.players.start_weights())

    def fitted(self, policy: Weights, q_function: Weights) -> Fitted:
        assert isinstance(policy, Tensor)
        assert isinstance(q_function, Tensor)
        return self.players.from_weights(policy, q_function)

    def equilibrium(self, state: FitState, lam: float) -> Equilibrium:
        assert isinstance(state.policy, Tensor)
        assert isinstance(self.solver_problem, LSTDSystem)
        with self._threads():
            return measure_equilibrium(
                self.solver_problem, state.policy, lam=self.weight(lam), beta=self.beta
            )


class StochasticFit(Fit):
    """Of a solver that needs minibatches, and works on modules."""

    linear = False

    def _make_problem(self) -> MinibatchGame:
        hp, state = self.hp, self.state
        # ρ is of the features' directions, game.bellman_error; a network has none.
        if hp.ridge and not self.players.linear_q:
            raise ValueError(
                f"ridge={hp.ridge!r} is for a Q-function that is linear in features, "
                "and q_function is a network. Set ridge=0.0."
            )
        if state and state.made_by != self.made_by:
            raise ValueError(
                "The last fit's Q-function and policy were made by "
                f"{' and '.join(state.made_by)}, and {' and '.join(self.made_by)} are "
                "asked for now. Set warm_start=False and call fit to begin anew."
            )
        return MinibatchGame(
            self.players.rows,
            self.players.minibatch_inputs(),
            self.problem.row_discount,
            ridge=self.players.ridge,
            dtype=getattr(torch, hp.dtype),
            device=resolve_device(hp.device),
        )

    def one_pass(self) -> None:
        """Let `solve` take the minibatches once over the rows."""
        # No part of the protocol: a solver may have it, as `Stochastic` has.
        make = getattr(self.solver, "one_pass", None)
        if make is not None:
            self.solver = make(len(self.players.rows.state))

    def _start(self) -> SolverState:
        policy = self.players.start_policy()
        q_function = self.players.start_q_function()
        # The minibatches' own, so that the networks' first weights move no batch.
        rng = np.random.default_rng(self.players.inputs.seed)
        return SolverState(policy, q_function, rng)

    def fitted(self, policy: Weights, q_function: Weights) -> Fitted:
        assert isinstance(policy, nn.Module)
        assert isinstance(q_function, nn.Module)
        return self.players.from_modules(policy, q_function)

    def equilibrium(self, state: FitState, lam: float) -> Equilibrium:
        assert isinstance(state.policy, nn.Module)
        assert isinstance(state.q_function, nn.Module)
        assert isinstance(self.solver_problem, MinibatchGame)
        return measure_stochastic_equilibrium(
            self.solver_problem,
            state.policy,
            state.q_function,
            lam=self.weight(lam),
            beta=self.beta,
        )


_NAMED: dict[str, type[ClosedForm] | type[Stochastic]] = {
    "closed_form": ClosedForm,
    "stochastic": Stochastic,
}


def _spec(
    hp: Hyperparameters, action_type: Literal["discrete", "continuous"]
) -> ProblemSpec:
    network = hp.policy_is_network
    # Where actions move with the state, the policy has features of its own.
    distribution = CONTINUOUS_POLICIES[hp.action_distribution]
    moving = action_type == "continuous" and distribution.has_moving_actions
    return ProblemSpec(
        action_type=action_type,
        linear_q=not hp.q_is_network,
        linear_policy=not network and (moving or hp.q_function == hp.policy),
        network_policy=network,
        device=hp.device,
        q_function=repr(hp.q_function),
        policy=repr(hp.policy),
    )


def _choose_solver(hp: Hyperparameters, spec: ProblemSpec) -> Solver:
    if not isinstance(hp.solver, str):
        return hp.solver
    # Exact and faster, wherever M(θ), b(θ) and c say all of the problem.
    exact = spec.linear_q and spec.linear_policy
    auto = "closed_form" if exact else "stochastic"
    return _NAMED[auto if hp.solver == "auto" else hp.solver]()


def make_fit(
    hp: Hyperparameters,
    problem: OfflineProblem,
    actions: Actions,
    state: FitState | None = None,
) -> Fit:
    """A problem ready to be solved, or a sentence about why it cannot be."""
    spec = _spec(hp, actions.type)
    solver = _choose_solver(hp, spec)
    if state is not None and state.needs != solver.needs:
        raise ValueError(
            f"warm_start=True goes on from the last fit, which another solver than "
            f"solver={hp.solver!r} made. Set warm_start=False to begin anew."
        )
    if state is not None:
        refuse_other_settings(hp, state.settings)
    # What a solver needs decides, and not its class: it need not be one of ours.
    kind = ClosedFormFit if solver.needs == "linear" else StochasticFit
    return kind(hp, solver.resolve(spec), problem, actions, state)


def has_one_pass(solver: str | Solver, *function_classes: FunctionClass) -> bool:
    """Whether a fit can go on pass by pass, as far as parameters tell."""
    if solver == "auto":
        return any(map(is_network, function_classes))
    return hasattr(
        _NAMED.get(solver) if isinstance(solver, str) else solver, "one_pass"
    )


def _make_players(
    hp: Hyperparameters,
    problem: OfflineProblem,
    actions: Actions,
    linear: bool,
    inputs: PlayerInputs | None,
) -> Players:
    if isinstance(actions, DiscreteActions):
        return DiscretePlayers(hp, problem, actions, linear, inputs)
    # q = φ(s)ᵀw₁ + a w₂: no state could move the best action.
    if hp.q_function == "linear":
        raise ValueError(
            "q_function='linear' with continuous actions would be linear in the "
            "action, whose best is then always one of the bounds. Use "
            "q_function='kernel' (kernel='polynomial' for a curve), or 'mlp'."
        )
    return ContinuousPlayers(hp, problem, actions, linear, inputs)
