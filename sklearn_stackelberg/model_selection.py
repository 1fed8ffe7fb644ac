"""Choosing among policies: folds of whole episodes, scorers, and what is refitted."""

from ._selection.folds import EpisodeKFold
from ._selection.refit import PessimisticRefit
from ._selection.scorers import (
    BellmanErrorScorer,
    DoublyRobustScorer,
    FittedQScorer,
    ImportanceSamplingScorer,
)

__all__ = [
    "BellmanErrorScorer",
    "DoublyRobustScorer",
    "EpisodeKFold",
    "FittedQScorer",
    "ImportanceSamplingScorer",
    "PessimisticRefit",
]
