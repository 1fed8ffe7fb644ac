"""Off-policy estimates: what a policy is worth, from a log, and how sure that is."""

from ._bellman_error import bellman_error
from ._doubly_robust import doubly_robust_value
from ._estimate import OffPolicyEstimate
from ._fitted_q_value import fitted_q_value
from ._importance import importance_sampling_value
from ._training_rows import TrainingRowsWarning

__all__ = [
    "OffPolicyEstimate",
    "TrainingRowsWarning",
    "bellman_error",
    "doubly_robust_value",
    "fitted_q_value",
    "importance_sampling_value",
]
