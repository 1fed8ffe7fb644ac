"""Offline policy learning as a Stackelberg game, for scikit-learn."""

from sklearn_stackelberg.estimator import StackelbergPolicyEstimator
from sklearn_stackelberg.model_selection import EpisodeKFold
from sklearn_stackelberg.preprocessing import OnStates
from sklearn_stackelberg.transitions import Transitions, as_transitions

__version__ = "0.1.0.dev0"

__all__ = [
    "EpisodeKFold",
    "OnStates",
    "StackelbergPolicyEstimator",
    "Transitions",
    "as_transitions",
]
