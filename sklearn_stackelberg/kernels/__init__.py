"""Kernels, bandwidths and the features that represent a kernel on landmarks."""

from ._nystroem import LandmarkFeatures
from ._registry import check_kernel, delta_kernel, median_bandwidth
from ._state_action import CandidateGram, NodeGram, StateActionFeatures

__all__ = [
    "CandidateGram",
    "LandmarkFeatures",
    "NodeGram",
    "StateActionFeatures",
    "check_kernel",
    "delta_kernel",
    "median_bandwidth",
]
