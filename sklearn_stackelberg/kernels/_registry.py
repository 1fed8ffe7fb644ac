"""Which kernels there are, and which of them have a bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from sklearn.gaussian_process.kernels import Kernel
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS
from torch import Tensor

from .._typing import Array

# The kernel's own gamma for states in units of the bandwidth, and the distance that the
# bandwidth is measured in: exp(-|s - s'|² / 2h²), exp(-|s - s'|₁ / h), and so on.
BANDWIDTHS = {
    "rbf": (0.5, "euclidean"),
    "laplacian": (1.0, "cityblock"),
    "chi2": (1.0, "cityblock"),
}

_INDEFINITE = {
    "sigmoid": "its Gram matrix is not positive semi-definite",
    "additive_chi2": "it is negative, only conditionally positive definite; use 'chi2'",
}


def delta_kernel(X: Array, Y: Array | None = None) -> NDArray[np.float64]:
    """1 where two rows are equal, else 0: finite states, represented exactly.

    Parameters
    ----------
    X : array of shape (n_x, d)
    Y : array of shape (n_y, d), default=None
        None means ``X``.

    Returns
    -------
    array of shape (n_x, n_y)

    Examples
    --------
    >>> delta_kernel([[3], [5]], [[5], [7], [3]])
    array([[0., 0., 1.],
           [0., 1., 0.]])
    """
    X = np.asarray(X)
    Y = X if Y is None else np.asarray(Y)
    # Equal rows get equal codes; one sort serves where n_x * n_y comparisons would not.
    _, codes = np.unique(np.concatenate([X, Y]), axis=0, return_inverse=True)
    codes = codes.ravel()
    return (codes[: len(X), None] == codes[None, len(X) :]).astype(np.float64)


def check_kernel(kernel: Any) -> None:
    """Refuse a kernel that the game cannot be played with.

    Parameters
    ----------
    kernel : object

    Raises
    ------
    ValueError
        In a sentence that lists the kernels there are.
    """
    if isinstance(kernel, Kernel) or callable(kernel) or kernel == "delta":
        return
    usable = sorted({*PAIRWISE_KERNEL_FUNCTIONS, "delta"} - {*_INDEFINITE})
    if isinstance(kernel, str) and kernel in _INDEFINITE:
        raise ValueError(
            f"kernel={kernel!r} cannot be used: {_INDEFINITE[kernel]}. Use one of "
            f"{usable}."
        )
    if kernel not in usable:
        raise ValueError(
            f"kernel={kernel!r} is unknown. Use one of {usable}, a callable that takes "
            "(X, Y) and returns their Gram matrix, or a Gaussian-process Kernel."
        )


class Gram(NamedTuple):
    """A kernel with its parameters bound."""

    function: Callable[..., Any]
    params: dict[str, Any]
    bandwidth: Array | None

    def __call__(self, X: Array, Y: Array) -> Array:
        if self.bandwidth is not None:
            # In the states' precision; whole numbers have none, a bandwidth has.
            scale = self.bandwidth.astype(np.result_type(X.dtype, np.float32))
            X, Y = X / scale, Y / scale
        gram = self.function(X, Y, **self.params)
        if np.shape(gram) != (len(X), len(Y)):
            raise ValueError(
                f"The kernel {self.function!r} returned an array of shape "
                f"{np.shape(gram)} for {len(X)} and {len(Y)} rows; it must return their"
                f" Gram matrix, of shape ({len(X)}, {len(Y)})."
            )
        return gram


Form = Callable[..., Tensor]


def _by_column(x: Tensor, y: Tensor, term: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """Σ_q term(x_q, y_q); never a tensor of shape (..., L, q)."""
    return sum(term(x[..., q, None], y[:, q]) for q in range(y.shape[1]))


def _gamma(gamma: float | None, y: Tensor) -> float:
    return 1.0 / y.shape[1] if gamma is None else gamma


def rbf(x: Tensor, y: Tensor, gamma: float | None = None) -> Tensor:
    """exp(−γ |x − y|²)."""
    # −γ|x|² + 2γ xᵀy − γ|y|² in one product; centred, so that its terms stay small.
    gamma, middle = _gamma(gamma, y), y.mean(dim=0)
    x, y = x - middle, y - middle
    square, other = (-gamma * (z**2).sum(dim=-1, keepdim=True) for z in (x, y))
    left = torch.cat([x, square, torch.ones_like(square)], dim=-1)
    right = torch.cat([2.0 * gamma * y, torch.ones_like(other), other], dim=-1)
    return torch.exp(left @ right.T)


def laplacian(x: Tensor, y: Tensor, gamma: float | None = None) -> Tensor:
    """exp(−γ |x − y|₁)."""
    distance = _by_column(x, y, lambda a, b: (a - b).abs())
    return torch.exp(-_gamma(gamma, y) * distance)


def chi2(x: Tensor, y: Tensor, gamma: float = 1.0) -> Tensor:
    """exp(−γ Σ_q (x_q − y_q)² / (x_q + y_q)), of numbers that are not negative."""

    def term(a: Tensor, b: Tensor) -> Tensor:
        total = a + b
        # Zero and zero are no distance apart.
        return (a - b) ** 2 / torch.where(total == 0, 1.0, total)

    return torch.exp(-gamma * _by_column(x, y, term))


def linear(x: Tensor, y: Tensor) -> Tensor:
    """xᵀy."""
    return x @ y.T


def polynomial(
    x: Tensor,
    y: Tensor,
    degree: float = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
) -> Tensor:
    """(γ xᵀy + c)^degree."""
    return (_gamma(gamma, y) * (x @ y.T) + coef0) ** degree


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """xᵀy / |x||y|; zero where either is zero."""

    def unit(z: Tensor) -> Tensor:
        square = (z**2).sum(dim=-1, keepdim=True)
        return z / torch.where(square == 0, 1.0, square).sqrt()

    return unit(x) @ unit(y).T


FORMS: dict[str, Form] = {
    "rbf": rbf,
    "laplacian": laplacian,
    "chi2": chi2,
    "linear": linear,
    "polynomial": polynomial,
    "poly": polynomial,
    "cosine": cosine,
}

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
