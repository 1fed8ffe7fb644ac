"""What a policy does, what its value rests on, what a search saw: reports, pictures."""

from ._coverage import CoverageReport, coverage_report
from ._decisions import (
    DecisionExplanation,
    DecisionExplanations,
    explain_decisions,
)
from ._displays import CoverageDisplay, TuningDisplay
from ._explanation import PolicyExplanation, explain_policy
from ._frozen_policy import FrozenPolicy
from ._policy_displays import PolicyDisplay
from ._report import PolicyReport, report
from ._tree_display import PolicyTreeDisplay
from ._value_displays import HistoryDisplay, ValueDisplay

__all__ = [
    "CoverageDisplay",
    "CoverageReport",
    "DecisionExplanation",
    "DecisionExplanations",
    "FrozenPolicy",
    "HistoryDisplay",
    "PolicyDisplay",
    "PolicyExplanation",
    "PolicyReport",
    "PolicyTreeDisplay",
    "TuningDisplay",
    "ValueDisplay",
    "coverage_report",
    "explain_decisions",
    "explain_policy",
    "report",
]
