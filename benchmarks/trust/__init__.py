"""Problems that estimates of a policy's value are measured on, with true values."""

from benchmarks.trust.problems import PROBLEMS, TrustProblem, by_name

__all__ = ["PROBLEMS", "TrustProblem", "by_name"]
