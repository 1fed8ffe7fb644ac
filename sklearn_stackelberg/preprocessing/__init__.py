"""Transformers applied to states and next states alike, and weights of rows."""

from ._censoring import censoring_weights
from ._on_states import OnStates

__all__ = ["OnStates", "censoring_weights"]
