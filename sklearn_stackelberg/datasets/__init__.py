"""Logged problems: environments, finite processes, and tables that packages ship."""

from ._finite_mdp import FiniteMDP
from ._glucose import load_glucose
from ._gymnasium import log_episodes, rollout_returns
from ._icu_sepsis import load_icu_sepsis
from ._open_bandit import load_open_bandit
from ._trials import load_actg320, load_three_stages

__all__ = [
    "FiniteMDP",
    "load_actg320",
    "load_glucose",
    "load_icu_sepsis",
    "load_open_bandit",
    "load_three_stages",
    "log_episodes",
    "rollout_returns",
]
