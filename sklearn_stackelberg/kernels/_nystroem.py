"""Features of states: a kernel, represented on landmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import eigh
from sklearn.gaussian_process.kernels import Kernel
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.utils import check_random_state, gen_batches

from .._typing import Array
from ._registry import BANDWIDTHS, Gram, check_kernel, delta_kernel, median_bandwidth

_BATCH_BYTES = 2**24

# States whose similarity to themselves is read off a Gram matrix at once.
_DIAGONAL_ROWS = 64


class LandmarkFeatures:
    """Features φ of states with φ(s)ᵀφ(s') = k(s, s'), exact on the landmarks.

    The Nyström features φ(s) = Λ^(-1/2) Uᵀ k(L, s) of landmarks L, where
    k(L, L) = U Λ Uᵀ, without the directions that only hold rounding.

    Parameters
    ----------
    kernel : str, callable or a scikit-learn ``Kernel``, default="rbf"
        A name of `sklearn.metrics.pairwise.PAIRWISE_KERNEL_FUNCTIONS` whose Gram matrix
        is positive semi-definite, ``"delta"`` (equal rows or not), or a callable
        ``kernel(X, Y)`` that returns the Gram matrix.
    bandwidth : float, array-like of shape (d,) or "median", default="median"
        Length scale in the units of the states, one for all columns or one for each,
        for ``"rbf"``, ``"laplacian"`` and ``"chi2"``: larger is smoother. ``"median"``
        gives each column its standard deviation, times the median distance between
        states so scaled; the other kernels have no bandwidth and ignore it.
    kernel_params : dict, default=None
        The kernel's other parameters, such as ``degree``.
    n_components : int or None, default=200
        Number of landmarks. None, or a number at least that of the distinct states,
        makes every distinct state a landmark, and the features exact on the log.
    dtype : {"float64", "float32"}, default="float64"
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks and the rows of the median.

    Attributes
    ----------
    landmarks_ : array of shape (n_landmarks, d)
    projection_ : array of shape (n_landmarks, n_features_out_)
        U Λ^(-1/2).
    bandwidth_ : array of shape (d,) or None
    n_features_out_ : int

    Examples
    --------
    >>> import numpy as np
    >>> states = np.array([[0.0], [1.0], [3.0]])
    >>> features = LandmarkFeatures("rbf", bandwidth=1.0).fit(states)
    >>> gram = features.transform(states) @ features.transform(states).T
    >>> bool(np.allclose(gram, np.exp(-((states - states.T) ** 2) / 2)))
    True
    """

    def __init__(
        self,
        kernel: str | Callable[..., Any] | Kernel = "rbf",
        *,
        bandwidth: float | Array | str = "median",
        kernel_params: dict[str, Any] | None = None,
        n_components: int | None = 200,
        dtype: str = "float64",
        random_state: Any = None,
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.kernel_params = kernel_params
        self.n_components = n_components
        self.dtype = dtype
        self.random_state = random_state

    def fit(self, states: Array) -> LandmarkFeatures:
        """Choose the bandwidth and the landmarks.

        Parameters
        ----------
        states : array of shape (n, d)

        Returns
        -------
        LandmarkFeatures
            Itself.

        Raises
        ------
        ValueError
            If the kernel is unknown, not positive semi-definite or has no bandwidth, or
            if the Gram matrix of the landmarks would not fit in memory.
        """
        check_kernel(self.kernel)
        rng = check_random_state(self.random_state)
        self.bandwidth_ = self._resolve_bandwidth(states, rng)
        self._gram = self._bind()
        self.landmarks_ = choose_landmarks(
            states, self.n_components, rng, every=self.kernel == "delta"
        )
        gram = np.asarray(self._gram(self.landmarks_, self.landmarks_), dtype=float)
        self.projection_ = whiten(gram, self.dtype, self.kernel)
        self.n_features_out_ = self.projection_.shape[1]
        return self

    def transform(self, states: Array) -> Array:
        """Features of states.

        Parameters
        ----------
        states : array of shape (n, d)

        Returns
        -------
        array of shape (n, n_features_out_)
        """
        return self.project(states, self.projection_)

    def landmark_weights(self, weight: Array) -> Array:
        """Weights on the landmarks that stand for weights on the features.

        φ(s)ᵀW = k(s, L) (U Λ^(-1/2) W): folded once, a prediction costs one product
        less than computing the features.

        Parameters
        ----------
        weight : array of shape (n_features_out_, c)

        Returns
        -------
        array of shape (n_landmarks, c)
        """
        return self.projection_ @ weight

    def project(self, states: Array, landmark_weights: Array) -> Array:
        """k(s, L) times weights on the landmarks, a batch of states at a time.

        Parameters
        ----------
        states : array of shape (n, d)
        landmark_weights : array of shape (n_landmarks, c)

        Returns
        -------
        array of shape (n, c)
        """
        landmark_weights = landmark_weights.astype(self.dtype, copy=False)
        out = np.empty((len(states), landmark_weights.shape[1]), dtype=self.dtype)
        rows = max(1, _BATCH_BYTES // (8 * len(self.landmarks_)))
        for batch in gen_batches(len(states), rows):
            gram = self._gram(states[batch], self.landmarks_)
            out[batch] = np.asarray(gram, dtype=self.dtype) @ landmark_weights
        return out

    def bound_kernel(self) -> Gram:
        """The kernel with its parameters and bandwidth."""
        return self._gram

    def similarity_to_itself(self, states: Array) -> Array:
        """k(s, s), which the features reach at the landmarks alone, (n,)."""
        out = np.empty(len(states))
        for batch in gen_batches(len(states), _DIAGONAL_ROWS):
            out[batch] = np.diagonal(self._gram(states[batch], states[batch]))
        return out

    def __getstate__(self) -> dict[str, Any]:
        """Leave the bound kernel out: it is made again from the parameters."""
        return {k: v for k, v in self.__dict__.items() if k != "_gram"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Bind the kernel again."""
        self.__dict__.update(state)
        if "bandwidth_" in state:
            self._gram = self._bind()

    def _resolve_bandwidth(self, states: Array, rng: Any) -> Array | None:
        has_bandwidth = isinstance(self.kernel, str) and self.kernel in BANDWIDTHS
        is_median = isinstance(self.bandwidth, str)
        if not has_bandwidth and not is_median:
            raise ValueError(
                f"kernel={self.kernel!r} has no bandwidth, but bandwidth="
                f"{self.bandwidth!r} was given. Leave bandwidth='median', which such "
                "kernels ignore, or set the kernel's own parameters by kernel_params; "
                f"a bandwidth is for {sorted(BANDWIDTHS)}."
            )
        has_gamma = "gamma" in (self.kernel_params or {})
        if has_gamma and not is_median:
            raise ValueError(
                f"kernel_params has gamma={self.kernel_params['gamma']!r} and "
                f"bandwidth={self.bandwidth!r} was given too: give one of them."
            )
        if not has_bandwidth or has_gamma:
            return None
        if is_median:
            return median_bandwidth(states, BANDWIDTHS[self.kernel][1], rng)
        bandwidth = np.asarray(self.bandwidth, dtype=float)
        if bandwidth.ndim and bandwidth.shape != (states.shape[1],):
            raise ValueError(
                f"bandwidth has shape {bandwidth.shape}, but the states have "
                f"{states.shape[1]} columns: give one number, or one for each column."
            )
        return np.broadcast_to(bandwidth, states.shape[1]).copy()

    def _bind(self) -> Gram:
        params = dict(self.kernel_params or {})
        if not isinstance(self.kernel, str):
            return Gram(self.kernel, params, None)
        if self.kernel == "delta":
            return Gram(delta_kernel, params, None)
        if self.bandwidth_ is not None:
            params["gamma"] = BANDWIDTHS[self.kernel][0]
        params["metric"] = self.kernel
        return Gram(pairwise_kernels, params, self.bandwidth_)


# Landmark directions below this share of the largest eigenvalue are dropped: dividing
# by their square root would blow rounding up into features (float32 most of all).
_RANK_TOLERANCE = {"float64": 1e-10, "float32": 1e-8}

# Rows per landmark among which landmarks are drawn.
_LANDMARK_POOL = 20

_GRAM_BYTES = 2**31


def choose_landmarks(
    states: Array, wanted: int | None, rng: Any, *, every: bool = False
) -> Array:
    """Rows that a kernel is represented on.

    Parameters
    ----------
    states : array of shape (n, d)
    wanted : int or None
        None takes every distinct row.
    rng : numpy RandomState
    every : bool, default=False
        Whether nothing less than every distinct row will do.

    Returns
    -------
    array of shape (n_landmarks, d)

    Raises
    ------
    ValueError
        If their Gram matrix would not fit in memory, or not all of them are wanted.
    """
    distinct = _distinct_rows(states, wanted)
    if distinct is not None:
        _refuse_large_gram(len(distinct))
        return distinct
    if every:
        raise ValueError(
            f"kernel='delta' tells states apart only if each is a landmark, but "
            f"the log has more than n_components={wanted} distinct states. Set "
            "n_components=None, or use a smooth kernel such as 'rbf'."
        )
    _refuse_large_gram(wanted)
    # Equal rows would be one landmark counted often: draw among distinct ones, of a
    # part of the log where that holds enough of them.
    part = states
    if len(states) > _LANDMARK_POOL * wanted:
        part = states[rng.choice(len(states), _LANDMARK_POOL * wanted, False)]
    pool = np.unique(part, axis=0)
    if len(pool) < wanted:
        pool = np.unique(states, axis=0)
    return pool[np.sort(rng.choice(len(pool), wanted, replace=False))]


def whiten(gram: Array, dtype: str, kernel: Any) -> Array:
    """U Λ^(-1/2) of the Gram matrix, largest eigenvalue first.

    Parameters
    ----------
    gram : array of shape (n_landmarks, n_landmarks)
    dtype : {"float64", "float32"}
        Directions that hold only its rounding are dropped.
    kernel : object
        Named in messages.

    Returns
    -------
    array of shape (n_landmarks, n_features)

    Raises
    ------
    ValueError
        If the matrix is not symmetric, finite and positive semi-definite, or zero.
    """
    if not np.isfinite(gram).all():
        raise ValueError(
            f"The kernel {kernel!r} gave NaN or infinity on the logged states. Scale "
            "the states, or choose kernel parameters that suit their range."
        )
    if np.abs(gram - gram.T).max() > 1e-4 * np.abs(gram).max():
        raise ValueError(
            f"The kernel {kernel!r} is not symmetric: k(s, s') and k(s', s) differ by "
            f"up to {np.abs(gram - gram.T).max():.3g} on the landmarks."
        )
    values, vectors = eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    if not gram.any():
        raise ValueError(
            f"The kernel {kernel!r} is zero on all logged states, so it gives no "
            "features to learn from. Choose another, such as 'rbf'; with 'linear', add "
            "a column that is not zero."
        )
    largest = max(values[0], 0.0)
    if -values[-1] > 1e-6 * max(largest, np.finfo(float).tiny):
        raise ValueError(
            f"The kernel {kernel!r} is not positive semi-definite: the Gram matrix of "
            f"the landmarks has eigenvalues from {values[-1]:.3g} to {values[0]:.3g}."
        )
    kept = values > _RANK_TOLERANCE[dtype] * largest
    return vectors[:, kept] / np.sqrt(values[kept])


def _distinct_rows(states: Array, limit: int | None) -> Array | None:
    """The distinct rows, sorted; None if there are more than ``limit``."""
    # Most logs of measured states show more than ``limit`` in their first rows, and
    # need no sort of a million.
    if limit is not None and len(np.unique(states[: 4 * limit], axis=0)) > limit:
        return None
    distinct = np.unique(states, axis=0)
    return distinct if limit is None or len(distinct) <= limit else None


def _refuse_large_gram(n_landmarks: int) -> None:
    size = 8 * n_landmarks**2
    if size > _GRAM_BYTES:
        raise ValueError(
            f"{n_landmarks} landmarks need a Gram matrix of {size / 2**30:.1f} GiB, "
            f"more than the {_GRAM_BYTES / 2**30:.0f} GiB allowed. Set n_components to "
            "a few hundred landmarks."
        )
