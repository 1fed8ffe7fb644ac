"""Which rows stand for all, where all would be too many."""

from __future__ import annotations

import numpy as np

from ._typing import Index


def fixed_sample(n: int, limit: int, rng: np.random.Generator | None = None) -> Index:
    """Indices out of n, drawn at random and sorted; all n if there are no more."""
    # A stride would alias with episodes of a fixed length: of episodes of 10 steps every
    # tenth row is a first step. No generator is a fixed seed: which rows stand for all is
    # not the user's choice; several samples that belong together share a generator.
    rng = np.random.default_rng(0) if rng is None else rng
    return np.sort(rng.choice(n, min(n, limit), replace=False))
