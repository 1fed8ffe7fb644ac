"""Logged problems whose truth is known, in two sets that share no problem.

Methods and defaults are chosen on ``CHOOSE`` and reported on ``EVALUATE``. Whoever has
chosen by a figure of ``EVALUATE`` has no figure left to report.
"""

from benchmarks.families.choose import CHOOSE
from benchmarks.families.evaluate import EVALUATE
from benchmarks.families.problem import Problem, progress

__all__ = ["CHOOSE", "EVALUATE", "Problem", "progress"]
