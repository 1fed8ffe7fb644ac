"""Choosing among policies: folds, scorers, and what is refitted."""

from ._folds import BlockKFold, EpisodeKFold
from ._refit import PessimisticRefit
from ._scorers import (
    BellmanErrorScorer,
    DoublyRobustScorer,
    FittedQScorer,
    ImportanceSamplingScorer,
)

__all__ = [
    "BellmanErrorScorer",
    "BlockKFold",
    "DoublyRobustScorer",
    "EpisodeKFold",
    "FittedQScorer",
    "ImportanceSamplingScorer",
    "PessimisticRefit",
]
