"""Choosing among policies: splits of a log."""

from ._selection.folds import EpisodeKFold

__all__ = ["EpisodeKFold"]
