"""What came of a fit, in the words of the estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._problem.dataset import LoggedGame
from ..equilibrium import Equilibrium
from ..metrics._holdout import LearnedEvaluation, learn_evaluation
from ..solvers._base import History


@dataclass(frozen=True, eq=False)
class Outcome:
    """The two players as a solver left them.

    Parameters
    ----------
    acting : DiscreteActing or ContinuousActing
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

    acting: Any
    attributes: dict[str, Any]
    value: float
    pessimism: float
    history: History
    n_iter: int
    shortfall: str
    equilibrium: Callable[[], Equilibrium] | None
    kept: Any
    diverged: str = ""


def learned_on(acting: Any, game: LoggedGame) -> LearnedEvaluation | None:
    """Q of a policy and its density ratios on the log that it was learned from.

    Parameters
    ----------
    acting : DiscreteActing or ContinuousActing
    game : LoggedGame

    Returns
    -------
    LearnedEvaluation or None
        None where the log, a part of one, lacks labels that the policy takes.
    """
    classes = getattr(acting, "classes_", None)
    if classes is not None and len(np.setdiff1d(classes, game.log.action)):
        return None
    return learn_evaluation(acting, game.log, game.discount)
