"""
A randomised trial: ACTG 320
============================

Indinavir or not, drawn at one to one; the reward is the share of 180 days without AIDS.
Whom to treat is learned from the patients whose follow-up was long enough. Needs
``scikit-survival``, whose table it is.
"""

from sklearn_stackelberg import StackelbergPolicyEstimator, as_transitions
from sklearn_stackelberg.datasets import load_actg320
from sklearn_stackelberg.metrics import doubly_robust_value

trial = load_actg320(days=180)
kept = ~trial.censored  # as if follow-up ended by chance
X, y = trial.data[kept], trial.target[kept]
half = X.index % 2 == 0
policy = StackelbergPolicyEstimator(discount=0.0, random_state=0).fit(X[half], y[half])
held_out = as_transitions(X[~half], y[~half])

print(policy.predict(X[~half])[:5])
print(doubly_robust_value(policy, held_out, discount=0.0))
