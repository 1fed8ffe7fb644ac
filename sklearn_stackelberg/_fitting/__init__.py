"""From hyperparameters and a log to a game, and from what a solver found to a policy.

The estimator's private half: what is scikit-learn's stays in `estimator`, equations in
`game`, the climb in `solvers`.
"""
