"""Length scales, and the median distance that sets them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

Array = NDArray[np.floating]

# Rows among which the median distance is taken: 1,000 give it to within about 1 %.
_MEDIAN_ROWS = 1000


def median_bandwidth(states: Array, metric: str, rng: Any) -> Array:
    """A length scale for each column, from the spread of the states.

    Parameters
    ----------
    states : array of shape (n, d)
    metric : str
        A metric of `scipy.spatial.distance.pdist`.
    rng : numpy RandomState

    Returns
    -------
    array of shape (d,)
        Standard deviations times the median distance between states divided by them;
        a constant column's standard deviation counts as 1.
    """
    spread = states.std(axis=0, dtype=np.float64)
    spread[spread == 0] = 1.0
    if len(states) > _MEDIAN_ROWS:
        states = states[rng.choice(len(states), _MEDIAN_ROWS, replace=False)]
    # Not by way of inner products, which leave rounding between equal states.
    distances = pdist(states / spread, metric)
    # Repeated states would pull the median to zero, and the kernel to the identity.
    distances = distances[distances > 0]
    middle = float(np.median(distances)) if len(distances) else 1.0
    return middle * spread
