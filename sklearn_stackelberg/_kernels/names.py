"""Which kernels there are, and which of them have a bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import Kernel
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS

Array = NDArray[np.floating]

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
