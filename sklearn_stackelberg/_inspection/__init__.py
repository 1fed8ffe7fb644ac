"""Pictures; what is public is in `sklearn_stackelberg.inspection`."""
