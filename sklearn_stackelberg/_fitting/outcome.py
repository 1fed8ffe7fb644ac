"""What came of a fit, in the words of the estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..equilibrium import Equilibrium
from ..solvers.result import History


@dataclass(frozen=True, eq=False)
class Outcome:
    """The two players as a solver left them.

    Parameters
    ----------
    policy, q_function : nn.Module
        On their inputs; Q in units of discounted return.
    acting : DiscreteActing
        The same on states.
    value, pessimism : float
        In units of the game.
    history : History
    n_iter : int
    shortfall : str
    equilibrium : callable
        Measures the conditions of an equilibrium.
    """

    policy: nn.Module
    q_function: nn.Module
    acting: Any
    value: float
    pessimism: float
    history: History
    n_iter: int
    shortfall: str
    equilibrium: Callable[[], Equilibrium]
