"""Transformers of states and next states alike, histories, and weights of rows."""

from ._censoring import censoring_weights
from ._history_states import HistoryStates
from ._on_states import OnStates

__all__ = ["HistoryStates", "OnStates", "censoring_weights"]
