"""Minibatches without replacement, epoch after epoch, to be put down and resumed."""

from __future__ import annotations

import numpy as np

from .rows import Index


class Minibatches:
    """Places out of n, in random order, each once in an epoch.

    What an epoch leaves over, less than a batch, goes back into the next one, so that
    all batches have one size and every place has an equal share of them.

    Parameters
    ----------
    n : int
    size : int
        Rows of a batch; all n, in their own order, where it is larger.
    """

    def __init__(self, n: int, size: int) -> None:
        self.n, self.size = n, min(n, size)
        self.order: Index = np.arange(n)
        self.position = n

    def draw(self, rng: np.random.Generator) -> Index:
        """Places of the next batch.

        Parameters
        ----------
        rng : numpy Generator
            Moves on once in an epoch.

        Returns
        -------
        int array of shape (size,)
        """
        if self.size == self.n:
            return self.order
        if self.position + self.size > self.n:
            self.order, self.position = rng.permutation(self.n), 0
        start, self.position = self.position, self.position + self.size
        return self.order[start : self.position]
