"""Policies: probabilities of actions, or actions and their weights, in each state."""

from ._candidates import CandidateSoftmax, choose_candidates
from ._gaussian import SquashedGaussian
from ._quadrature import Nodes
from ._softmax import NetworkSoftmax, SoftmaxPolicy

__all__ = [
    "CandidateSoftmax",
    "NetworkSoftmax",
    "Nodes",
    "SoftmaxPolicy",
    "SquashedGaussian",
    "choose_candidates",
]
