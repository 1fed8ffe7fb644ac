"""Transformers of states and next states alike, and states with their history."""

from ._history_states import HistoryStates
from ._on_states import OnStates

__all__ = ["HistoryStates", "OnStates"]
