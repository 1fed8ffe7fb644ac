"""Solvers: how the policy and the Q-function that is its best response are found."""

from ._base import ProblemSpec, Solver, SolverResult, SolverState
from ._closed_form import ClosedForm
from ._stochastic import Stochastic

__all__ = [
    "ClosedForm",
    "ProblemSpec",
    "Solver",
    "SolverResult",
    "SolverState",
    "Stochastic",
]
