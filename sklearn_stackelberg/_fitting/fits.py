"""A solver run on a problem: as a linear system, or on samples."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from .._executor import one_torch_thread
from .._problem.action_space import Actions, DiscreteActions
from .._problem.dataset import OfflineProblem
from .._sampling import fixed_sample
from ..equilibrium import (
    Equilibrium,
    measure_equilibrium,
    measure_stochastic_equilibrium,
)
from ..policies._base import CONTINUOUS_POLICIES
from ..solvers._base import (
    Observer,
    ProblemSpec,
    Solver,
    SolverResult,
    SolverState,
    Weights,
)
from ..solvers._best_response import BestResponse, LSTDSystem
from ..solvers._closed_form import ClosedForm
from ..solvers._minibatch_game import MinibatchGame
from ..solvers._stochastic import Stochastic
from .continuous_players import ContinuousPlayers
from .discrete_players import DiscretePlayers
from .fit import Fit, FitResult, FitState
from .fitted_policy import Fitted
from .hyperparameters import FunctionClass, Hyperparameters, is_network
from .made_by import refuse_other_settings
from .players import Players, resolve_device
from .state_inputs import PlayerInputs
from .support import ActionSupport

# The support that is tried beside the first, what is left of λ where it has to be worth
# more than that, and by what share of v: by worst case over problems, docs/defaults.md.
_LESS_SUPPORT, _DOUBT, _MARGIN = 0.01, 0.3, 0.3

# States in which it is looked up whether less support allows more.
_SUPPORT_ROWS = 20_000


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
            fit, found = self._worthwhile(lam, observe)
            return fit.result(found or fit.search(lam, observe), keeps_interrupted)

    def _worthwhile(
        self, lam: float, observe: Observer | None
    ) -> tuple[ClosedFormFit, SolverResult | None]:
        """A fit, of this and one with less support, and what it found on all rows.

        The other, where its policy is worth more at 0.3 of λ than this one's at λ:
        what a bad logger does now and then may be far better than all it does often,
        and what only looks better is worth little to a more pessimistic follower.
        """
        support = self.players.inputs.support
        wanted = self.hp.support == "auto" and self.state is None
        if not wanted or not isinstance(support, ActionSupport):
            return self, None
        less = support.with_threshold(_LESS_SUPPORT)
        # Of many states some show it.
        some = fixed_sample(len(self.problem.states), _SUPPORT_ROWS)
        usual, more = (self.players.prior_at(one, some) for one in (support, less))
        if np.array_equal(usual, more):
            return self, None
        other = self.varied(self.hp, less)
        mine, others = self._system.subsample(), other._system.subsample()
        is_part = mine is not self._system
        if is_part:
            observe = None  # of the search on all rows alone
        found = self.search(lam, observe, mine)
        ended = found.stopped or found.interrupted
        further = found if ended else other.search(lam, observe, others)
        if ended or further.interrupted:
            return self, replace(found, interrupted=further.interrupted)
        # Eq. (82) of docs/game.md.
        doubted = other._value_at(_DOUBT * lam, others, further)
        value = max(self._value_at(x * lam, mine, found) for x in (_DOUBT, 1.0))
        if doubted > value + _MARGIN * abs(value):
            return other, None if is_part else further
        return self, None if is_part else found

    def _value_at(self, lam: float, system: LSTDSystem, found: SolverResult) -> float:
        """v of a policy that was found at another λ."""
        assert isinstance(found.policy, Tensor)
        weight = self.weight(lam)
        return BestResponse(system, found.policy, weight, self.beta).credible_value

    @property
    def _system(self) -> LSTDSystem:
        assert isinstance(self.solver_problem, LSTDSystem)
        return self.solver_problem

    def _threads(self) -> AbstractContextManager[None]:
        # A large M is worth all threads.
        return one_torch_thread() if self._system.is_small else nullcontext()

    def _start(self) -> SolverState:
        return SolverState(self.players.start_weights())

    def fitted(self, policy: Weights, q_function: Weights) -> Fitted:
        assert isinstance(policy, Tensor)
        assert isinstance(q_function, Tensor)
        return self.players.from_weights(policy, q_function)

    def equilibrium(self, state: FitState, lam: float) -> Equilibrium:
        assert isinstance(state.policy, Tensor)
        with self._threads():
            return measure_equilibrium(
                self._system, state.policy, lam=self.weight(lam), beta=self.beta
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
    return kind(hp, solver.resolve(spec), problem, actions, _make_players, state)


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
