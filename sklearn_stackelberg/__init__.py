"""Offline policy learning as a Stackelberg game, for scikit-learn."""

from importlib.metadata import PackageNotFoundError, version

from sklearn_stackelberg.estimator import StackelbergPolicyEstimator
from sklearn_stackelberg.model_selection import EpisodeKFold
from sklearn_stackelberg.preprocessing import OnStates
from sklearn_stackelberg.transitions import Transitions, as_transitions

try:
    __version__ = version("sklearn-stackelberg")
except PackageNotFoundError:  # A source tree that was not installed has no metadata.
    __version__ = "0+unknown"

__all__ = [
    "EpisodeKFold",
    "OnStates",
    "StackelbergPolicyEstimator",
    "Transitions",
    "as_transitions",
]
