"""Logged problems with known values: environments and finite processes."""

from ._finite_mdp import FiniteMDP
from ._glucose import load_glucose
from ._gymnasium import log_episodes, rollout_returns

__all__ = ["FiniteMDP", "load_glucose", "log_episodes", "rollout_returns"]
