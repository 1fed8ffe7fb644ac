"""What a policy is worth, from a log: for `metrics`, `inspection` and `score`."""
