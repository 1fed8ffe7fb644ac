"""
A policy whose true value is known: ICU-Sepsis
==============================================

The treatment of sepsis as a finite process, estimated from intensive care records: 716
states, 25 doses of which 2 or 3 are admissible. A log of its clinicians, with what is
admissible as masks; the value of the learned policy is exact. Needs ``icu-sepsis``.
"""

from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg.datasets import load_icu_sepsis

icu = load_icu_sepsis()
log = icu.mdp.sample(icu.clinicians, 50_000, random_state=0)
policy = StackelbergPolicyEstimator(
    kernel="delta", n_components=None, action_type="discrete"
).fit(log)
learned = policy.predict(icu.mdp.states())

print(f"clinicians: {icu.mdp.policy_value(icu.clinicians, 1.0):.3f} survive")
print(f"learned:    {icu.mdp.policy_value(learned, 1.0):.3f}")
print(f"optimum:    {icu.mdp.optimal_value(1.0):.3f}")
