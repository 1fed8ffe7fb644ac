"""Choosing among policies: folds, scorers, and what is refitted."""

from typing import TYPE_CHECKING

from .._lazy import lazy_exports

__all__ = [
    "BellmanErrorScorer",
    "BlockKFold",
    "DoublyRobustScorer",
    "EpisodeKFold",
    "FittedQScorer",
    "ImportanceSamplingScorer",
    "PessimisticRefit",
]

# To type checkers and editors these are ordinary imports.
if TYPE_CHECKING:
    from ._folds import BlockKFold, EpisodeKFold
    from ._refit import PessimisticRefit
    from ._scorers import (
        BellmanErrorScorer,
        DoublyRobustScorer,
        FittedQScorer,
        ImportanceSamplingScorer,
    )
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "_folds": ["BlockKFold", "EpisodeKFold"],
            "_refit": ["PessimisticRefit"],
            "_scorers": [
                "BellmanErrorScorer",
                "DoublyRobustScorer",
                "FittedQScorer",
                "ImportanceSamplingScorer",
            ],
        },
    )
