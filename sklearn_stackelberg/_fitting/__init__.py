"""From hyperparameters and a log to a problem, from a solution to a policy."""

from typing import TYPE_CHECKING

from .._lazy import lazy_exports

__all__ = [
    "ClosedFormFit",
    "Hyperparameters",
    "StochasticFit",
    "calibrate",
    "executor_of_joblib",
    "has_one_pass",
    "labels_not_worse",
    "make_fit",
    "q_with_std",
    "range_not_worse",
]

# What estimators call, for which an estimator that does not fit needs no torch.
if TYPE_CHECKING:
    from .calibration import calibrate
    from .executor import executor_of_joblib
    from .fits import ClosedFormFit, StochasticFit, has_one_pass, make_fit
    from .hyperparameters import Hyperparameters
    from .q_uncertainty import labels_not_worse, q_with_std, range_not_worse
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "calibration": ["calibrate"],
            "executor": ["executor_of_joblib"],
            "fits": ["ClosedFormFit", "StochasticFit", "has_one_pass", "make_fit"],
            "hyperparameters": ["Hyperparameters"],
            "q_uncertainty": ["labels_not_worse", "q_with_std", "range_not_worse"],
        },
    )
