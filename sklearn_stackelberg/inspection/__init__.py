"""What a value rests on, and what a search saw: reports and pictures."""

from ._coverage import CoverageReport, coverage_report
from ._displays import CoverageDisplay, TuningDisplay

__all__ = ["CoverageDisplay", "CoverageReport", "TuningDisplay", "coverage_report"]
