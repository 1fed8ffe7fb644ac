"""Off-policy estimates: what a policy is worth, from a log, and how sure that is."""

from typing import TYPE_CHECKING

from .._lazy import lazy_exports

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

# To type checkers and editors these are ordinary imports.
if TYPE_CHECKING:
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
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "_bellman_error": ["bellman_error"],
            "_comparison": ["PolicyComparison", "compare_policies"],
            "_differences": ["ValueDifference", "value_difference"],
            "_doubly_robust": ["doubly_robust_value"],
            "_estimate": ["OffPolicyEstimate"],
            "_fitted_q_value": ["fitted_q_value"],
            "_importance": ["importance_sampling_value"],
            "_logged_value": ["logged_value"],
            "_residual_check": ["HiddenStateWarning"],
            "_selected_value": ["SelectedValue"],
            "_training_rows": ["TrainingRowsWarning"],
        },
    )
