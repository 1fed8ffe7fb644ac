"""What came of a fit, and what a later one goes on from."""

from __future__ import annotations

from dataclasses import dataclass

from .._problem.action_space import Actions
from ..solvers._base import SolverResult, SolverState, Weights
from .fitted_policy import FittedPolicy
from .players import PlayerInputs


@dataclass(frozen=True, eq=False)
class FitState:
    """All that a later fit goes on from.

    ``policy`` and ``q_function`` are those that were returned, which need not be where
    the solver stands; ``made_by`` says what they were asked to be.
    """

    actions: Actions
    inputs: PlayerInputs
    units: tuple[float, float]  # anchor and scale of the rewards
    needs: str  # of the solver
    solver_state: SolverState
    policy: Weights
    q_function: Weights
    made_by: tuple[str, str]


@dataclass(frozen=True, eq=False)
class FitResult:
    """A policy and its Q-function on states, and how they were found."""

    fitted_policy: FittedPolicy
    attributes: dict[str, object]  # fitted attributes of the two: policy_, features_
    found: SolverResult
    state: FitState
