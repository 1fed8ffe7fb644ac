"""How an equilibrium is reached."""

from .closed_form import ClosedFormSolver
from .joint_leaders import CandidateLeader, GaussianLeader
from .joint_moments import JointRows, JointSums
from .moments import RowSums
from .play import PlayResult, PlayState
from .result import SolverResult
from .rows import Rows
from .sampled import SampledGame, SampledRows
from .stochastic import StochasticSolver

__all__ = [
    "CandidateLeader",
    "ClosedFormSolver",
    "GaussianLeader",
    "JointRows",
    "JointSums",
    "PlayResult",
    "PlayState",
    "RowSums",
    "Rows",
    "SampledGame",
    "SampledRows",
    "SolverResult",
    "StochasticSolver",
]
