"""Kernels, bandwidths and the features that represent a kernel on landmarks."""

from ._columns import median_bandwidth
from ._nystroem import LandmarkFeatures
from ._registry import check_kernel, delta_kernel
from ._state_action import CandidateGram as CandidateGram  # for solvers
from ._state_action import NodeGram as NodeGram
from ._state_action import StateActionFeatures

__all__ = [
    "LandmarkFeatures",
    "StateActionFeatures",
    "check_kernel",
    "delta_kernel",
    "median_bandwidth",
]
