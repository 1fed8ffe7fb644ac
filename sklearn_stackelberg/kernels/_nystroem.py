"""Features of states: a kernel, represented on landmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy

import numpy as np
from numpy.linalg import eigh
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state, gen_batches

from .._stored_rows import row_batches
from .._typing import Floats, RandomStateLike
from ._columns import (
    LinearColumns,
    are_finite,
    center_and_spread,
    distinct_rows,
    length_scales,
    median_bandwidth,
)
from ._registry import (
    BoundKernel,
    KernelLike,
    KernelParams,
    bind_kernel,
    check_kernel,
    kernel_names,
    record_of,
    refuse_negative,
)

# 16 MiB of Gram rows in float64, so that memory does not grow with the log.
_BATCH_BYTES = 2**24

# Bytes for each of them: fewer rows stay in a cache, and cost more calls.
_BYTES_EACH = {"float64": 8, "float32": 64}

# A mean k(x, x) so near 1 is 1.
_ROUNDING = 1e-6

# States whose similarity to themselves is read off a Gram matrix at once: it needs the
# diagonal alone, and a callable kernel has no other way to give it.
_DIAGONAL_ROWS = 64


class KernelFeatures:
    """What features of states and those of states and actions share."""

    kernel_: KernelLike
    landmarks_: Floats
    projection_: Floats
    bandwidth_: Floats | None
    center_: Floats | None
    mean_similarity_: float
    n_features_out_: int

    def __init__(
        self,
        kernel: KernelLike = "rbf",
        *,
        bandwidth: float | ArrayLike = "median",
        kernel_params: KernelParams | None = None,
        n_components: int | None = 200,
        dtype: str = "float64",
        random_state: RandomStateLike = None,
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.kernel_params = kernel_params
        self.n_components = n_components
        self.dtype = dtype
        self.random_state = random_state

    def landmark_weights(self, weight: Floats) -> Floats:
        """Weights on the landmarks that stand for weights on the features.

        φᵀW = k(·, L) (U (κ Λ)^(-1/2) W): computed once, a prediction costs one product
        less than computing the features.

        Parameters
        ----------
        weight : array of shape (n_features_out_, c)

        Returns
        -------
        array of shape (n_landmarks, c)
        """
        return self.projection_ @ weight

    def bound_kernel(self) -> BoundKernel:
        """The kernel with its parameters, bandwidth and centre."""
        return bind_kernel(
            self.kernel_,
            self.kernel_params,
            self.bandwidth_,
            self.center_,
            self.dtype,
        )

    def _fit(self, rows: Floats, n_states: int, total: float | None = None) -> None:
        """Bandwidth, landmarks and projection; the first columns are the state's."""
        rng = check_random_state(self.random_state)
        self.kernel_ = self._resolve_kernel(rows, n_states, total)
        check_kernel(self.kernel_)
        refuse_negative(self.kernel_, rows)
        stationary = record_of(self.kernel_).is_stationary
        self.center_ = center_and_spread(rows)[0] if stationary else None
        self.bandwidth_ = self._resolve_bandwidth(rows, n_states, rng)
        self.landmarks_ = choose_landmarks(rows, self.n_components, rng, self.kernel_)
        gram = np.asarray(self.bound_kernel()(self.landmarks_, self.landmarks_), float)
        self.projection_ = whiten(gram, self.dtype, self.kernel_)
        # Else λ and β would have the unit of x'y, where the kernel is linear.
        self.mean_similarity_ = float(gram.diagonal().mean())
        if abs(self.mean_similarity_ - 1.0) < _ROUNDING:
            self.mean_similarity_ = 1.0
        self.projection_ /= np.sqrt(self.mean_similarity_)
        self.n_features_out_ = self.projection_.shape[1]

    def _resolve_kernel(
        self, rows: Floats, n_states: int, total: float | None
    ) -> KernelLike:
        """What "auto" stands for on these rows."""
        if not (isinstance(self.kernel, str) and self.kernel == "auto"):
            return self.kernel
        # Whoever gives lengths or parameters means the kernel that has them.
        plain = isinstance(self.bandwidth, str) and not self.kernel_params
        alone = rows.shape[1] == n_states
        finite = plain and alone and are_finite(rows, self.n_components, total)
        return "delta" if finite else "rbf"

    def _resolve_bandwidth(
        self, rows: Floats, n_states: int, rng: np.random.RandomState
    ) -> Floats | None:
        """A length scale for each column; None where the kernel takes none."""
        kernel, bandwidth, params = (
            self.kernel_,
            self.bandwidth,
            self.kernel_params or {},
        )
        record, is_median = record_of(kernel), isinstance(bandwidth, str)
        # A named one ignores a multiple, so that a grid of kernels and bandwidths may
        # be a product. Lengths are meant, and a callable may have some of its own.
        is_ignored = isinstance(kernel, str) and np.ndim(bandwidth) == 0
        if record.metric is None and not is_median and not is_ignored:
            raise ValueError(
                f"kernel={kernel!r} has no bandwidth, but bandwidth={bandwidth!r} was "
                "given. Leave bandwidth='median', which such kernels ignore, or set "
                "the kernel's own parameters by kernel_params; a bandwidth is for "
                f"{kernel_names(lambda record: record.metric)}."
            )
        # gamma is the bandwidth in another unit: one of them is enough.
        has_gamma = record.gamma is not None and "gamma" in params
        if has_gamma and not is_median:
            raise ValueError(
                f"kernel_params has gamma={params['gamma']!r} and "
                f"bandwidth={bandwidth!r} was given too: give one of them."
            )
        if record.metric is None or has_gamma:
            return None
        shape, n_actions = np.shape(bandwidth), rows.shape[1] - n_states
        if shape not in ((), (n_states,), (rows.shape[1],)):
            and_actions = f" and the actions {n_actions}" if n_actions else ""
            raise ValueError(
                f"bandwidth has shape {shape}, but the states have {n_states} "
                f"columns{and_actions}: give a multiple of the median lengths, or a "
                "length for each column (those of the actions may be left out)."
            )
        lengths = length_scales(rows, bandwidth, record.metric, rng)
        if shape == (rows.shape[1],) or len(lengths) == rows.shape[1]:
            return lengths
        # Lengths of the states say nothing of the actions, such as doses.
        median = median_bandwidth(rows, record.metric, rng)
        return np.concatenate([lengths, median[n_states:]])

    def _project(
        self, rows: Floats, landmark_weights: Floats, out: Floats | None = None
    ) -> Floats:
        refuse_negative(self.kernel_, rows)
        kernel, landmarks = self.bound_kernel(), self.landmarks_
        weights = landmark_weights.astype(self.dtype, copy=False)
        if out is None:
            out = np.empty((len(rows), weights.shape[1]), dtype=self.dtype)
        for batch in _batches(rows, max(weights.shape[1], len(landmarks)), self.dtype):
            gram = np.asarray(kernel(rows[batch], landmarks), dtype=self.dtype)
            np.matmul(gram, weights, out=out[batch])
        return out

    def _similarity(self, rows: Floats) -> Floats:
        """k(x, x) / κ of rows, (n,): the features reach it at the landmarks alone."""
        kernel, out = self.bound_kernel(), np.empty(len(rows))
        for batch in gen_batches(len(rows), _DIAGONAL_ROWS):
            out[batch] = np.diagonal(kernel(rows[batch], rows[batch]))
        return out / self.mean_similarity_


class LandmarkFeatures(KernelFeatures):
    """Features φ of states with φ(s)ᵀφ(s') = k(s, s') / κ, exact on the landmarks.

    The Nyström features φ(s) = (κ Λ)^(-1/2) Uᵀ k(L, s) of landmarks L, where
    k(L, L) = U Λ Uᵀ, without the directions that only hold rounding. κ is the mean
    k(l, l): 1 for most kernels, and for the others it makes their unit none.

    Parameters
    ----------
    kernel : str, callable or a scikit-learn ``Kernel``, default="rbf"
        A name of `sklearn.metrics.pairwise.PAIRWISE_KERNEL_FUNCTIONS` whose Gram matrix
        is positive semi-definite, ``"delta"`` (equal rows or not), or a callable
        ``kernel(X, Y)`` that returns the Gram matrix. ``"auto"`` is ``"delta"`` where
        there are ten rows for each state on average, else ``"rbf"``.
    bandwidth : float, array-like of shape (d,) or "median", default="median"
        Length scale of ``"rbf"``, ``"laplacian"`` and ``"chi2"``: larger is smoother.
        ``"median"`` gives each column its standard deviation, times the median distance
        between states so scaled; a number is a multiple of that, and an array has a
        length for each column, in its unit. The other kernels ignore ``"median"``.
    kernel_params : dict, default=None
        The kernel's other parameters, such as ``degree``.
    n_components : int or None, default=200
        Number of landmarks. None, or a number at least that of the distinct states,
        makes every distinct state a landmark, and the features exact on the log.
    linear_terms : bool, default=False
        Adds a one and the standardised columns behind the features of ``"rbf"``,
        ``"laplacian"`` and ``"chi2"``, that is, their inner product to the kernel.
    dtype : {"float64", "float32"}, default="float64"
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks and the rows of the median.

    Attributes
    ----------
    kernel_ : str, callable or Kernel
        What ``"auto"`` stood for.
    landmarks_ : array of shape (n_landmarks, d)
    projection_ : array of shape (n_landmarks, n_kernel_features)
        U (κ Λ)^(-1/2).
    mean_similarity_ : float
        κ.
    bandwidth_ : array of shape (d,) or None
    center_ : array of shape (d,) or None
        The columns' means, which kernels of differences alone are computed less of.
    n_features_out_ : int

    Examples
    --------
    >>> import numpy as np
    >>> states = np.array([[0.0], [1.0], [3.0]])
    >>> features = LandmarkFeatures("rbf", bandwidth=[1.0]).fit(states)
    >>> gram = features.transform(states) @ features.transform(states).T
    >>> bool(np.allclose(gram, np.exp(-((states - states.T) ** 2) / 2)))
    True
    """

    linear_: LinearColumns | None

    def __init__(
        self,
        kernel: KernelLike = "rbf",
        *,
        bandwidth: float | ArrayLike = "median",
        kernel_params: KernelParams | None = None,
        n_components: int | None = 200,
        linear_terms: bool = False,
        dtype: str = "float64",
        random_state: RandomStateLike = None,
    ) -> None:
        super().__init__(
            kernel,
            bandwidth=bandwidth,
            kernel_params=kernel_params,
            n_components=n_components,
            dtype=dtype,
            random_state=random_state,
        )
        self.linear_terms = linear_terms

    def fit(self, states: Floats, total: float | None = None) -> LandmarkFeatures:
        """Choose the bandwidth and the landmarks.

        Parameters
        ----------
        states : array of shape (n, d)
        total : float, default=None
            How many rows of a log the states are of, by which ``"auto"`` goes. None is
            n.

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
        self._fit(states, states.shape[1], total)
        self.linear_ = None
        # A kernel without a length scale is taken to be meant as it is.
        if self.linear_terms and record_of(self.kernel_).metric:
            self._add_linear_terms(states)
        return self

    def with_linear_terms(self, states: Floats) -> LandmarkFeatures:
        """The same landmarks, with a one and the standardised columns behind them.

        Parameters
        ----------
        states : array of shape (n, d)
            By which columns are standardised.

        Returns
        -------
        LandmarkFeatures
        """
        found = copy(self)
        found._add_linear_terms(states)
        return found

    def _add_linear_terms(self, states: Floats) -> None:
        self.linear_ = LinearColumns(self.dtype).fit(states)
        self.n_features_out_ += self.linear_.n_features_out_

    def keep_leading(self, n_features: int) -> None:
        """Drop directions of the kernel that hold least of it, if they hold little.

        Parameters
        ----------
        n_features : int
            How many features are wanted, linear terms included. More are kept where
            the others hold over 5 % of the kernel on the landmarks.
        """
        # Columns of U Λ^(-1/2) have norm Λ^(-1/2), the largest eigenvalue first.
        held = 1.0 / (self.projection_.astype(np.float64) ** 2).sum(axis=0)
        needed = 1 + np.searchsorted(held.cumsum(), (1.0 - _LITTLE) * held.sum())
        linear = self.n_features_out_ - len(held)
        kept = min(len(held), max(n_features - linear, int(needed)))
        self.projection_ = np.ascontiguousarray(self.projection_[:, :kept])
        self.n_features_out_ = kept + linear

    def transform(self, states: Floats) -> Floats:
        """Features of states.

        Parameters
        ----------
        states : array of shape (n, d)

        Returns
        -------
        array of shape (n, n_features_out_)
        """
        if self.linear_ is None:
            return self._project(states, self.projection_)
        width = self.projection_.shape[1]
        out = np.empty((len(states), self.n_features_out_), dtype=self.dtype)
        # Beside one another as they are made: both and their copy are a lot of memory.
        for some in row_batches(out):
            self._project(states[some], self.projection_, out[some, :width])
            out[some, width:] = self.linear_.transform(states[some])
        return out

    def landmark_weights(self, weight: Floats) -> Floats:
        """As of `KernelFeatures`, with the weights of the linear terms behind."""
        split = self.projection_.shape[1]
        return np.vstack([super().landmark_weights(weight[:split]), weight[split:]])

    def project(self, states: Floats, landmark_weights: Floats) -> Floats:
        """k(s, L) times weights on the landmarks, a batch of states at a time.

        Parameters
        ----------
        states : array of shape (n, d)
        landmark_weights : array of shape (n_landmarks, c)

        Returns
        -------
        array of shape (n, c)
        """
        split = len(self.landmarks_)
        out = self._project(states, landmark_weights[:split])
        if self.linear_ is not None:
            out += self.linear_.project(states, landmark_weights[split:])
        return out

    def similarity_to_itself(self, states: Floats, *, local: bool = False) -> Floats:
        """k(s, s) / κ, which the features reach at the landmarks alone.

        Parameters
        ----------
        states : array of shape (n, d)
        local : bool, default=False
            Without the linear terms.

        Returns
        -------
        array of shape (n,)
        """
        itself = self._similarity(states)
        if self.linear_ is not None and not local:
            itself += (self.linear_.transform(states) ** 2).sum(axis=1)
        return itself


def in_batches(
    function: Callable[[Floats], Floats], rows: Floats, width: int, dtype: str
) -> Floats:
    """A function of rows, (n, width), of as many at a time as may be held."""
    out = np.empty((len(rows), width), dtype=dtype)
    for batch in _batches(rows, width, dtype):
        out[batch] = function(rows[batch])
    return out


def _batches(rows: Floats, held: int, dtype: str) -> Iterator[slice]:
    """Rows of each of which so many numbers are held at a time."""
    # Of some rows there is a number, of others a vector.
    held = max(held, 1, *rows.shape[1:])
    at_once = max(1, _BATCH_BYTES // (_BYTES_EACH[dtype] * held))
    return gen_batches(len(rows), at_once) if len(rows) else iter(())


# Landmark directions below this share of the largest eigenvalue are dropped: dividing
# by their square root would blow rounding up into features (float32 most of all).
_RANK_TOLERANCE = {"float64": 1e-10, "float32": 1e-8}

# How far from symmetric, and how far below zero, a Gram matrix may be for rounding: a
# kernel that computes in float32 leaves about 1e-7 of the largest entry times the
# number of its terms. Kernels that are not symmetric or indefinite are far beyond.
_ASYMMETRY, _NEGATIVE = 1e-4, 1e-6

# Share of the kernel on the landmarks that can be dropped where features are too many.
_LITTLE = 0.05

# Rows per landmark among which landmarks are drawn, so that no million is sorted.
_LANDMARK_POOL = 20

# 16,384 landmarks in float64; `eigh` needs about as much again.
_GRAM_BYTES = 2**31


def choose_landmarks(
    rows: Floats, wanted: int | None, rng: np.random.RandomState, kernel: KernelLike
) -> Floats:
    """Distinct rows that a kernel is represented on; None wants all of them."""
    wanted = len(rows) if wanted is None else wanted
    distinct = distinct_rows(rows, wanted)
    if distinct is not None:
        _refuse_large_gram(len(distinct))
        return distinct
    if record_of(kernel).needs_every_state:
        raise ValueError(
            f"kernel={kernel!r} distinguishes states only if each is a landmark, but "
            f"the log has more than n_components={wanted} distinct states. Set "
            "n_components=None, or use a smooth kernel such as 'rbf'."
        )
    _refuse_large_gram(wanted)
    # Equal rows would be one landmark counted often: draw among distinct ones, of a
    # part of the log where that holds enough of them.
    part = rows
    if len(rows) > _LANDMARK_POOL * wanted:
        part = rows[rng.choice(len(rows), _LANDMARK_POOL * wanted, False)]
    pool = np.unique(part, axis=0)
    if len(pool) < wanted:
        pool = np.unique(rows, axis=0)
    return pool[np.sort(rng.choice(len(pool), wanted, replace=False))]


def whiten(gram: Floats, dtype: str, kernel: KernelLike) -> Floats:
    """U Λ^(-1/2) of a Gram matrix U Λ Uᵀ, largest eigenvalue first, (L, m)."""
    if not np.isfinite(gram).all():
        raise ValueError(
            f"The kernel {kernel!r} gave NaN or infinity on the logged states. Scale "
            "the states, or choose kernel parameters that suit their range."
        )
    # `eigh` reads one triangle alone, and would not see that the other is another.
    if np.abs(gram - gram.T).max() > _ASYMMETRY * np.abs(gram).max():
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
    if -values[-1] > _NEGATIVE * max(largest, np.finfo(float).tiny):
        raise ValueError(
            f"The kernel {kernel!r} is not positive semi-definite: the Gram matrix of "
            f"the landmarks has eigenvalues from {values[-1]:.3g} to {values[0]:.3g}."
        )
    kept = values > _RANK_TOLERANCE[dtype] * largest
    return vectors[:, kept] / np.sqrt(values[kept])


def _refuse_large_gram(n_landmarks: int) -> None:
    size = 8 * n_landmarks**2
    if size > _GRAM_BYTES:
        raise ValueError(
            f"{n_landmarks} landmarks need a Gram matrix of {size / 2**30:.1f} GiB, "
            f"more than the {_GRAM_BYTES / 2**30:.0f} GiB allowed. Set n_components to "
            "a few hundred landmarks."
        )
