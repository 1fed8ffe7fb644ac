"""Off-policy estimates: what a policy is worth, from a log, and how sure that is."""

from ._evaluation.estimate import OffPolicyEstimate
from ._evaluation.value_bellman import bellman_error
from ._evaluation.value_doubly_robust import doubly_robust_value
from ._evaluation.value_fitted_q import fitted_q_value
from ._evaluation.value_importance import importance_sampling_value

__all__ = [
    "OffPolicyEstimate",
    "bellman_error",
    "doubly_robust_value",
    "fitted_q_value",
    "importance_sampling_value",
]
