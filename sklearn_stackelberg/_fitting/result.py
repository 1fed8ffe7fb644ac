"""What came of a fit, in the words of the estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._problem.dataset import OfflineProblem
from ..equilibrium import Equilibrium
from ..metrics._holdout import HoldoutEvaluator, fit_holdout_evaluator
from ..solvers._base import History


@dataclass(frozen=True, eq=False)
class FitResult:
    """The two players as a solver left them.

    Parameters
    ----------
    fitted_policy : DiscretePolicy or ContinuousPolicy
        The players on states.
    attributes : dict
        Fitted attributes that tell of the players: ``policy_``, ``features_``, ...
    value, pessimism : float
        In units of the game.
    history : History
    n_iter : int
    shortfall : str
    diverged : str
        Why the solver gave up, empty if it did not.
    equilibrium : callable or None
        Measures the conditions of an equilibrium, where that is cheap.
    kept : object
        What a later fit goes on from.
    """

    fitted_policy: Any
    attributes: dict[str, Any]
    value: float
    pessimism: float
    history: History
    n_iter: int
    shortfall: str
    equilibrium: Callable[[], Equilibrium] | None
    kept: Any
    diverged: str = ""


def holdout_evaluator_of(
    fitted_policy: Any, game: OfflineProblem
) -> HoldoutEvaluator | None:
    """Q of a policy and its density ratios on the log that it was learned from.

    Parameters
    ----------
    fitted_policy : DiscretePolicy or ContinuousPolicy
    game : OfflineProblem

    Returns
    -------
    HoldoutEvaluator or None
        None where the log, a part of one, lacks labels that the policy takes.
    """
    classes = getattr(fitted_policy, "classes_", None)
    if classes is not None and len(np.setdiff1d(classes, game.log.action)):
        return None
    return fit_holdout_evaluator(fitted_policy, game.log, game.discount)
