"""What came of a fit, and what a later one goes on from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._problem.action_space import Actions
from .._problem.dataset import OfflineProblem
from ..metrics._holdout import HoldoutEvaluator, fit_holdout_evaluator
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


def holdout_evaluator_of(
    fitted_policy: FittedPolicy, problem: OfflineProblem
) -> HoldoutEvaluator | None:
    """Q of a policy and its density ratios on the log that it was learned from.

    None where the log, a part of one, lacks actions that the policy takes.
    """
    classes = getattr(fitted_policy, "classes_", None)
    if classes is not None and len(np.setdiff1d(classes, problem.log.action)):
        return None
    return fit_holdout_evaluator(fitted_policy, problem.log, problem.discount)
