"""What came of a fit, in the words of the estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..equilibrium import Equilibrium
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
