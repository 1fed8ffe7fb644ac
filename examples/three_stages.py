"""
A treatment at each of three stages
===================================

A cohort of 1,000, a row for each stage that a person reached. The stage is part of the
state, so that the policy may differ from one to the next. Needs ``zepid``, whose table
it is.
"""

from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.datasets import load_three_stages

X, y = load_three_stages(return_X_y=True)
policy = StackelbergPolicyEstimator(discount=0.99, random_state=0).fit(X, y)

print("treated, logged and by the policy, at each stage")
chosen = y.assign(stage=X["stage"], policy=policy.predict(X))
print(chosen.groupby("stage")[["action", "policy"]].mean().round(2))
