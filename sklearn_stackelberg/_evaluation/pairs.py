"""Features of states and actions together, and what a policy makes of them.

The linear equations of fitted-Q evaluation need no more of features than `Pairs` has,
and are the same for labels and continuous actions.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import gen_batches

from . import clusters
from .judged import JudgedLog
from .nodes import Floats

Index = NDArray[np.intp]


class Pairs(Protocol):
    """Features z of state-action pairs, M in all, of a judged log.

    ``rows`` are rows of the log, and ``index`` places in its ``states``.
    """

    judged: JudgedLog
    features: Any
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """M."""

    def logged(self, rows: Any) -> Floats:
        """Z of the logged pairs, (k, M)."""

    def times(self, rows: Any, matrix: Floats) -> Floats:
        """Z times (M, c), or (M,)."""

    def crossed(self, rows: Any, weight: Floats, right: Floats) -> Floats:
        """Zᵀ diag(weight) times (k, c), or (k,)."""

    def mean(self, index: Index) -> Floats:
        """Σ_a π(a|s) z(s, a), (k, M)."""

    def difference(self, rows: Any, carried: Floats) -> Floats:
        """Z less ``carried`` times the mean of the next states, (k, M)."""

    def values(
        self, weight: Floats, anchor: float, limits: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        """V of all ``states``, (N,), and Q of all logged pairs, (n,).

        Q = zᵀ weight + anchor; where the actions are labels, inside the limits.
        """

    def of(self, judged: JudgedLog) -> Pairs:
        """The same features for some rows of the log, or for another policy."""


def times_all(pairs: Pairs, vector: Floats) -> Floats:
    """zᵀ vector of all logged pairs, some at a time, (n,)."""
    out = np.empty(len(pairs.judged))
    for batch in gen_batches(len(out), clusters.BATCH_ROWS):
        out[batch] = pairs.times(batch, vector.ravel())
    return out
