"""Offline policy learning as a Stackelberg game, for scikit-learn."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from ._lazy import lazy_exports

try:
    __version__ = version("sklearn-stackelberg")
except PackageNotFoundError:  # A source tree that was not installed has no metadata.
    __version__ = "0+unknown"

__all__ = [
    "EpisodeKFold",
    "HistoryStates",
    "OnStates",
    "StackelbergPolicyCV",
    "StackelbergPolicyEstimator",
    "Transitions",
    "as_transitions",
]

# To type checkers and editors these are ordinary imports.
if TYPE_CHECKING:
    from .estimator import StackelbergPolicyEstimator
    from .model_selection._folds import EpisodeKFold
    from .model_selection._policy_cv import StackelbergPolicyCV
    from .preprocessing._history_states import HistoryStates
    from .preprocessing._on_states import OnStates
    from .transitions._as_transitions import as_transitions
    from .transitions._transitions import Transitions
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "estimator": ["StackelbergPolicyEstimator"],
            "model_selection._folds": ["EpisodeKFold"],
            "model_selection._policy_cv": ["StackelbergPolicyCV"],
            "preprocessing._history_states": ["HistoryStates"],
            "preprocessing._on_states": ["OnStates"],
            "transitions._as_transitions": ["as_transitions"],
            "transitions._transitions": ["Transitions"],
        },
    )
