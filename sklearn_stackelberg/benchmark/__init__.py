"""Every method that is installed on one log, as a table: the baselines of a study.

From the command line: ``python -m sklearn_stackelberg.benchmark --help``.
"""

from ._compare import compare_methods
from ._results import MethodComparison

__all__ = ["MethodComparison", "compare_methods"]
