"""What a value rests on, and what a search saw: reports and pictures."""

from ._coverage import CoverageReport, coverage_report
from ._displays import CoverageDisplay, TuningDisplay
from ._explanation import PolicyExplanation, explain_policy

__all__ = [
    "CoverageDisplay",
    "CoverageReport",
    "PolicyExplanation",
    "TuningDisplay",
    "coverage_report",
    "explain_policy",
]
