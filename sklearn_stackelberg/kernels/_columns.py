"""Columns of states: where they are, how far they spread, whether they are finite."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist

from .._stored_rows import row_batches

# Written out, so that what reads columns can stand low.
Floats = NDArray[np.floating]

# Finite states get one feature each where this many rows stand for each on average.
_ROWS_PER_STATE = 10

# A spread of so many units in the last place is rounding.
_ROUNDED_ULPS = 4


def center_and_spread(states: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column, (d,) each; 1 where it is constant."""
    # Less the first row, which is exact where all are near 1.7e9, or equal.
    first = states[:1][0].astype(np.float64)
    total, square = np.zeros((2, len(first)))
    for some in row_batches(states):
        total += (states[some] - first).sum(axis=0)
    center = first + total / len(states)
    for some in row_batches(states):
        square += ((states[some] - center) ** 2).sum(axis=0)
    spread = np.sqrt(square / len(states))
    noise = _ROUNDED_ULPS * np.finfo(float).eps * np.abs(center)
    return center, np.where(spread > noise, spread, 1.0)


# Rows among which the median distance is taken: 1,000 give it to within about 1 %.
_MEDIAN_ROWS = 1000


def median_bandwidth(states: Floats, metric: str, rng: np.random.RandomState) -> Floats:
    """A length scale for each column, from the spread of the states.

    Parameters
    ----------
    states : array of shape (n, d)
    metric : str
        A metric of `scipy.spatial.distance.pdist`.
    rng : numpy RandomState
        Draws the states that are compared, where there are more than 1,000.

    Returns
    -------
    array of shape (d,)
        Standard deviations times the median distance between states divided by them;
        a constant column's standard deviation counts as 1.

    Examples
    --------
    >>> states = np.array([[0.0, 0.0], [1.0, 100.0]])
    >>> median_bandwidth(states, "cityblock", np.random.RandomState(0))
    array([  2., 200.])
    """
    return weighted_lengths(states, 1.0, metric, rng)


def weighted_lengths(
    states: Floats, weight: Floats | float, metric: str, rng: np.random.RandomState
) -> Floats:
    """Median lengths where columns count by weights: at half of it, twice as long."""
    center, spread = center_and_spread(states)
    if len(states) > _MEDIAN_ROWS:
        states = states[rng.choice(len(states), _MEDIAN_ROWS, replace=False)]
    # Not by way of inner products, which leave rounding between equal states.
    distances = pdist((states - center) * (weight / spread), metric)
    # Repeated states would pull the median to zero, and the kernel to the identity.
    distances = distances[distances > 0]
    middle = float(np.median(distances)) if len(distances) else 1.0
    return middle * spread / weight


def length_scales(
    rows: Floats, bandwidth: ArrayLike, metric: str, rng: np.random.RandomState
) -> Floats:
    """Lengths as given, or for all columns "median" or a multiple of it."""
    if np.ndim(bandwidth) == 1:
        return np.array(bandwidth, dtype=np.float64)
    multiple = 1.0 if isinstance(bandwidth, str) else float(np.asarray(bandwidth))
    return multiple * median_bandwidth(rows, metric, rng)


def are_finite(
    states: Floats, n_components: int | None, total: float | None = None
) -> bool:
    """Whether there are few enough distinct states for a feature each.

    ``total`` is how many rows the states are of, where they stand for more or fewer.
    """
    limit = int((len(states) if total is None else total) // _ROWS_PER_STATE)
    limit = limit if n_components is None else min(limit, n_components)
    return distinct_rows(states, limit) is not None


def distinct_rows(rows: Floats, limit: float = np.inf) -> Floats | None:
    """The distinct rows, sorted; None if there are more than ``limit``."""
    known, batches = np.asarray(rows[:0]), list(row_batches(rows))
    # Most logs of measured states show more in their first rows, and need no sort of a
    # million.
    first = slice(0, int(min(4 * limit + 1, batches[0].stop)))
    for some in (first, *batches):
        known = np.unique(np.concatenate([known, rows[some]]), axis=0)
        if len(known) > limit:
            return None
    return known


def which_row(known: Floats, rows: Floats) -> NDArray[np.intp]:
    """Where rows are among those that `distinct_rows` found of them, (n,)."""
    where = np.empty(len(rows), dtype=np.intp)
    for some in row_batches(rows):
        both = np.concatenate([known, rows[some]])
        found = np.unique(both, axis=0, return_inverse=True)[1].ravel()
        where[some] = found[len(known) :]
    return where


class StateColumns:
    """The columns of the states, for a network.

    Standardised, each has mean 0 and standard deviation 1 in the log; else it is less
    ``center``, or as it is.
    """

    def __init__(
        self, dtype: str, standardise: bool, center: Floats | None = None
    ) -> None:
        self.dtype, self.standardise, self.center = dtype, standardise, center

    def fit(self, states: Floats) -> StateColumns:
        self.n_features_out_ = states.shape[1]
        if self.standardise:
            self.center_, self.scale_ = center_and_spread(states)
        return self

    def transform(self, states: Floats) -> Floats:
        if not self.standardise:
            if self.center is not None:
                states = states - self.center
            # torch warns of arrays that it could not write to: of pandas, of a file.
            return states.astype(self.dtype, copy=not states.flags.writeable)
        return ((states - self.center_) / self.scale_).astype(self.dtype)


class LinearColumns(StateColumns):
    """Standardised columns behind a one: features of functions linear in the states.

    Examples
    --------
    >>> columns = LinearColumns("float64").fit(np.array([[1.0], [3.0]]))
    >>> columns.transform(np.array([[1.0], [2.0]]))
    array([[ 1., -1.],
           [ 1.,  0.]])
    """

    bandwidth_ = None

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype, standardise=True)

    def fit(self, states: Floats) -> LinearColumns:
        super().fit(states)
        self.n_features_out_ += 1
        return self

    def transform(self, states: Floats) -> Floats:
        one = np.ones((len(states), 1), dtype=self.dtype)
        return np.hstack([one, super().transform(states)])

    def landmark_weights(self, weight: Floats) -> Floats:
        """The weights as they are: as of `LandmarkFeatures`, without landmarks."""
        return weight

    def project(self, states: Floats, landmark_weights: Floats) -> Floats:
        return self.transform(states) @ landmark_weights.astype(self.dtype, copy=False)
