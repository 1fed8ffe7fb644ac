"""Offline policy learning as a Stackelberg game, for scikit-learn."""

from sklearn_stackelberg.transitions import Transitions, as_transitions

__all__ = ["Transitions", "as_transitions"]
