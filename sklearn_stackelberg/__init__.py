"""Offline policy learning as a Stackelberg game, for scikit-learn."""

from typing import TYPE_CHECKING

from ._lazy import lazy_exports
from ._versions import __version__ as __version__

__all__ = [
    "EpisodeKFold",
    "HistoryStates",
    "OnStates",
    "StackelbergPolicyCV",
    "StackelbergPolicyEstimator",
    "Transitions",
    "as_transitions",
    "show_versions",
]

# To type checkers and editors these are ordinary imports.
if TYPE_CHECKING:
    from ._versions import show_versions
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
            "_versions": ["show_versions"],
        },
    )
