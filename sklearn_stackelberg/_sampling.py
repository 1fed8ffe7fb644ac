"""Which rows stand for all, where all would be too many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fixed_sample(
    n: int, limit: int, rng: np.random.Generator | None = None
) -> NDArray[np.intp]:
    """Indices out of n, drawn at random and sorted; all n if there are no more.

    A stride would alias with episodes of a fixed length: it may see their first steps
    alone.

    Parameters
    ----------
    n, limit : int
    rng : numpy Generator, default=None
        Of several samples that belong together. None is a fixed seed: which rows stand
        for all is nothing to choose.

    Returns
    -------
    int array of shape (min(n, limit),)
    """
    rng = np.random.default_rng(0) if rng is None else rng
    return np.sort(rng.choice(n, min(n, limit), replace=False))
