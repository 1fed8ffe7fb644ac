"""Off-policy estimates: what a policy is worth, from a log, and how sure that is."""

from ._bellman_error import bellman_error
from ._comparison import PolicyComparison, compare_policies
from ._differences import ValueDifference, value_difference
from ._doubly_robust import doubly_robust_value
from ._estimate import OffPolicyEstimate
from ._fitted_q_value import fitted_q_value
from ._importance import importance_sampling_value
from ._logged_value import logged_value
from ._residual_check import HiddenStateWarning
from ._selected_value import SelectedValue
from ._training_rows import TrainingRowsWarning

__all__ = [
    "HiddenStateWarning",
    "OffPolicyEstimate",
    "PolicyComparison",
    "SelectedValue",
    "TrainingRowsWarning",
    "ValueDifference",
    "bellman_error",
    "compare_policies",
    "doubly_robust_value",
    "fitted_q_value",
    "importance_sampling_value",
    "logged_value",
    "value_difference",
]
