"""Policies: probabilities of actions, or actions and their weights, in each state."""

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
