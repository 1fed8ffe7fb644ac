"""From hyperparameters and a log to a problem, from a solution to a policy."""
