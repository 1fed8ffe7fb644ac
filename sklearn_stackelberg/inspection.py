"""What a value rests on, and what a search saw: reports and pictures."""

from ._evaluation.coverage import coverage_report
from ._evaluation.coverage_words import CoverageReport
from ._inspection.coverage_display import CoverageDisplay
from ._inspection.tuning_display import TuningDisplay

__all__ = ["CoverageDisplay", "CoverageReport", "TuningDisplay", "coverage_report"]
