"""What a policy is worth, from a log: the parts behind `metrics`."""
