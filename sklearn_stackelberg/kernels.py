"""Kernel names, bandwidths and landmark features; only `_kernels` names a kernel."""

from ._kernels.action_grams import CandidateGram, NodeGram
from ._kernels.bandwidth import median_bandwidth
from ._kernels.joint import JointFeatures
from ._kernels.landmarks import LandmarkFeatures
from ._kernels.names import check_kernel, delta_kernel

__all__ = [
    "CandidateGram",
    "JointFeatures",
    "LandmarkFeatures",
    "NodeGram",
    "check_kernel",
    "delta_kernel",
    "median_bandwidth",
]
