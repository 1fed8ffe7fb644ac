"""Which rows stand for all, where all would be too many."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fixed_sample(
    n: int, limit: int, rng: np.random.Generator | None = None
) -> NDArray[np.intp]:
    """Indices out of n, drawn at random and sorted; all n if there are no more.

    A stride would alias with episodes of a fixed length: it may see their first steps
    alone. ``rng`` is for several samples that belong together.
    """
    # A fixed seed: which rows stand for all is nothing to choose.
    rng = np.random.default_rng(0) if rng is None else rng
    return np.sort(rng.choice(n, min(n, limit), replace=False))


class Minibatches:
    """Places out of n, in random order, each once in an epoch.

    A batch has ``size`` places; all n, in their own order, where it would be larger.
    """

    def __init__(self, n: int, size: int) -> None:
        self.n, self.size = n, min(n, size)
        self.order: NDArray[np.intp] = np.arange(n)
        self.position = n

    def draw(self, rng: np.random.Generator) -> NDArray[np.intp]:
        """Places of the next batch; ``rng`` moves on once in an epoch."""
        if self.size == self.n:
            return self.order
        # What an epoch leaves over, less than a batch, goes back into the next one, so
        # that all batches have one size and every place has an equal share of them.
        if self.position + self.size > self.n:
            self.order, self.position = rng.permutation(self.n), 0
        start, self.position = self.position, self.position + self.size
        return self.order[start : self.position]
