"""Methods as a user runs them, on two halves of problems that share none.

``choose`` is what methods and defaults may be chosen by; ``evaluate`` is looked at once
for each release. Logs of the halves have seeds of their own.
"""

from benchmarks.suite.halves import FIRST_SEED, HALVES
from benchmarks.suite.methods import GRID, GRID_NAME, suite_methods

__all__ = ["FIRST_SEED", "GRID", "GRID_NAME", "HALVES", "suite_methods"]
