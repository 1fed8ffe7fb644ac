"""Baselines that a study of offline policies compares with, with `fit` and `predict`.

They take what `StackelbergPolicyEstimator` takes, and `metrics` takes them.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_exports

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

# To type checkers and editors these are ordinary imports.
if TYPE_CHECKING:
    from ._d3rlpy import D3RLPyContinuous, D3RLPyDiscrete
    from ._econml import DRPolicy
    from ._fitted_q import LSPI, DirectMethod, FittedQIteration, KernelFittedQIteration
    from ._imitation import (
        BehaviourCloning,
        BestSingleAction,
        ContinuousBehaviourCloning,
    )
    from ._tabular import TabularValueIteration
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "_d3rlpy": ["D3RLPyContinuous", "D3RLPyDiscrete"],
            "_econml": ["DRPolicy"],
            "_fitted_q": [
                "LSPI",
                "DirectMethod",
                "FittedQIteration",
                "KernelFittedQIteration",
            ],
            "_imitation": [
                "BehaviourCloning",
                "BestSingleAction",
                "ContinuousBehaviourCloning",
            ],
            "_tabular": ["TabularValueIteration"],
        },
    )
