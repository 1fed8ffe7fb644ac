"""What a policy does, what its value rests on, what a search saw: reports, pictures."""

from ._coverage import CoverageReport, coverage_report
from ._decisions import (
    DecisionExplanation,
    DecisionExplanations,
    explain_decisions,
)
from ._displays import CoverageDisplay, TuningDisplay
from ._explanation import PolicyExplanation, explain_policy
from ._report import PolicyReport, report
from ._tree_display import PolicyTreeDisplay

__all__ = [
    "CoverageDisplay",
    "CoverageReport",
    "DecisionExplanation",
    "DecisionExplanations",
    "PolicyExplanation",
    "PolicyReport",
    "PolicyTreeDisplay",
    "TuningDisplay",
    "coverage_report",
    "explain_decisions",
    "explain_policy",
    "report",
]
