"""Choosing among policies: folds of whole episodes, scorers, and what is refitted."""

from ._folds import EpisodeKFold
from ._refit import PessimisticRefit
from ._scorers import (
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
