"""What a value rests on, and what a search saw: reports and pictures."""

from ._coverage import CoverageReport, coverage_report
from ._coverage_display import CoverageDisplay
from ._tuning_display import TuningDisplay

__all__ = ["CoverageDisplay", "CoverageReport", "TuningDisplay", "coverage_report"]
