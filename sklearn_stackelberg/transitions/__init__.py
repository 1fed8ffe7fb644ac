"""Logged transitions, the ways in and out of them."""

from ._as_transitions import as_transitions
from ._transitions import Transitions

__all__ = ["Transitions", "as_transitions"]
