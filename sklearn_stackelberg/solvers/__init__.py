"""How an equilibrium is reached."""

from .closed_form import ClosedFormSolver
from .moments import RowSums
from .result import SolverResult
from .rows import Rows

__all__ = ["ClosedFormSolver", "RowSums", "Rows", "SolverResult"]
