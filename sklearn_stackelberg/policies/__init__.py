"""Policies: what the leader chooses."""

from ._candidates import CandidateSoftmax, choose_candidates
from ._gaussian import SquashedGaussian
from ._quadrature import Nodes
from ._softmax import SoftmaxPolicy

__all__ = [
    "CandidateSoftmax",
    "Nodes",
    "SoftmaxPolicy",
    "SquashedGaussian",
    "choose_candidates",
]
