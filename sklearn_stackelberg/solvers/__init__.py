"""How an equilibrium is reached."""

from ._closed_form import ClosedFormSolver
from ._stochastic import StochasticSolver

__all__ = ["ClosedFormSolver", "StochasticSolver"]
