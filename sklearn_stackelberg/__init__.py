"""Offline policy learning as a Stackelberg game, for scikit-learn."""

from importlib.metadata import PackageNotFoundError, version

from .estimator import StackelbergPolicyEstimator
from .model_selection._folds import EpisodeKFold
from .model_selection._policy_cv import StackelbergPolicyCV
from .preprocessing._history_states import HistoryStates
from .preprocessing._on_states import OnStates
from .transitions._as_transitions import as_transitions
from .transitions._transitions import Transitions

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
