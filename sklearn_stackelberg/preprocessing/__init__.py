"""Transformers applied to states and next states alike."""

from ._on_states import OnStates

__all__ = ["OnStates"]
