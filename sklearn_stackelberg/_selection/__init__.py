"""What `model_selection.py` re-exports: folds, scorers and refit rules."""
