"""Baselines that a study of offline policies compares with, with `fit` and `predict`.

They take what `StackelbergPolicyEstimator` takes, and `metrics` takes them.
"""

from ._d3rlpy import D3RLPyContinuous, D3RLPyDiscrete
from ._econml import DRPolicy
from ._fitted_q import LSPI, DirectMethod, FittedQIteration, KernelFittedQIteration
from ._imitation import BehaviourCloning, BestSingleAction, ContinuousBehaviourCloning
from ._tabular import TabularValueIteration

__all__ = [
    "LSPI",
    "BehaviourCloning",
    "BestSingleAction",
    "ContinuousBehaviourCloning",
    "D3RLPyContinuous",
    "D3RLPyDiscrete",
    "DRPolicy",
    "DirectMethod",
    "FittedQIteration",
    "KernelFittedQIteration",
    "TabularValueIteration",
]
