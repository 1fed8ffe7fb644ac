"""How an equilibrium is reached."""

from .closed_form import ClosedFormSolver
from .joint_leaders import CandidateLeader, GaussianLeader
from .joint_moments import JointRows, JointSums
from .moments import RowSums
from .result import SolverResult
from .rows import Rows

__all__ = [
    "CandidateLeader",
    "ClosedFormSolver",
    "GaussianLeader",
    "JointRows",
    "JointSums",
    "RowSums",
    "Rows",
    "SolverResult",
]
