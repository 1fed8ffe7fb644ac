"""Kernel features of the states that the fitted baselines share."""

from __future__ import annotations

import numpy as np
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics import pairwise_distances

from .._typing import Floats

# States by whose distances a median is known well enough.
_SAMPLE = 1_000


class StandardisedNystroem:
    """Landmark features of standardised states and a constant.

    Parameters
    ----------
    state : array of shape (n, d)
    n_components : int
        Landmarks, at most n.
    bandwidth : float
        In medians of the distances between standardised states.
    seed : int
    """

    def __init__(
        self, state: Floats, n_components: int, bandwidth: float, seed: int
    ) -> None:
        self._scale = state.std(axis=0)
        self._scale[self._scale == 0.0] = 1.0
        scaled = state / self._scale
        rng = np.random.default_rng(seed)
        few = rng.choice(len(scaled), size=min(_SAMPLE, len(scaled)), replace=False)
        distance = pairwise_distances(scaled[few])[np.triu_indices(len(few), 1)]
        median = float(np.median(distance)) if distance.size else 0.0
        if median == 0.0:
            # Most states are equal; those that are not have a scale nevertheless.
            median = float(distance[distance > 0].mean()) if distance.any() else 1.0
        self._map = Nystroem(
            kernel="rbf",
            gamma=0.5 / (bandwidth * median) ** 2,
            n_components=min(n_components, len(scaled)),
            random_state=seed,
        ).fit(scaled)

    def __call__(self, state: Floats) -> Floats:
        """Features, (n, n_components + 1)."""
        features = self._map.transform(state / self._scale)
        return np.hstack([features, np.ones((len(features), 1))])
