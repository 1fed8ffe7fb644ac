"""Every kernel that has a name, a record each, from which all else is derived.

To add one, write its record in `KERNELS`: nothing else in the package lists kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.gaussian_process.kernels import Kernel
from sklearn.metrics.pairwise import pairwise_kernels
from torch import Tensor

from .._stored_rows import row_batches

# Written out, so that a record of a kernel imports none of ours.
Floats = NDArray[np.floating]

# A scikit-learn Gaussian-process ``Kernel`` is called as other callables are.
KernelLike = str | Callable[..., Floats]
KernelParams = Mapping[str, object]
Form = Callable[..., Tensor]


@dataclass(frozen=True)
class NamedKernel:
    """What there is to know of a kernel; None or False is what it does not have."""

    # form(x, y, **kernel_params), the kernel of x (..., q) and y (L, q) in torch. Only
    # with one can Q be differentiated in the action, which a Gaussian policy needs.
    form: Form | None = None
    # Of `scipy.spatial.distance.pdist`: the distance whose median is the bandwidth
    # "median". None is a kernel without a length scale.
    metric: str | None = None
    # The kernel's own ``gamma`` for points in units of the bandwidth, if it has one.
    gamma: float | None = None
    # A function of x − y: x and y are taken less the columns' means, so that a large
    # offset leaves no rounding in them.
    is_stationary: bool = False
    # k((s, a), (s', a')) = k(s, s') k(a, a'): one Gram matrix of states serves all
    # actions.
    is_product: bool = False
    # function(X, Y, **kernel_params), the Gram matrix; None is scikit-learn's pairwise
    # kernel of the same name.
    function: Callable[..., Floats] | None = None
    # Nothing less than every distinct row as a landmark will do.
    needs_every_state: bool = False
    # Why it cannot be used.
    refused: str | None = None


def is_delta(kernel: object) -> bool:
    """Whether a kernel is the one of rows that are equal or not."""
    return isinstance(kernel, str) and kernel == "delta"


def delta_kernel(X: ArrayLike, Y: ArrayLike | None = None) -> Floats:
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
    codes = codes.ravel()  # numpy 2.0 gave them a second axis
    return (codes[: len(X), None] == codes[None, len(X) :]).astype(np.float64)


def _rbf_kernel(X: Floats, Y: Floats, gamma: float | None = None) -> Floats:
    """scikit-learn's, a third of its time in single precision."""
    if X.dtype != np.float32:
        return pairwise_kernels(X, Y, metric="rbf", gamma=gamma, n_jobs=1)
    gamma = 1.0 / X.shape[1] if gamma is None else gamma
    x, y = X.astype(np.float64), Y.astype(np.float64)
    square, other = (-gamma * (z * z).sum(axis=1, keepdims=True) for z in (x, y))
    # −γ|x|² + 2γ xᵀy − γ|y|² in one product. Its terms cancel, and so are in double.
    left = np.hstack([x, square, np.ones_like(square)])
    right = np.hstack([2.0 * gamma * y, np.ones_like(other), other])
    exponent = (left @ right.T).astype(np.float32)
    return np.exp(exponent, out=exponent)


# Forms in torch, of x (..., q) and y (L, q); the formulas are scikit-learn's.


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
    distance = sum_columns(x, y, lambda a, b: (a - b).abs())
    return torch.exp(-_gamma(gamma, y) * distance)


def chi2(x: Tensor, y: Tensor, gamma: float = 1.0) -> Tensor:
    """exp(−γ Σ_q (x_q − y_q)² / (x_q + y_q)), of numbers that are not negative."""

    def term(a: Tensor, b: Tensor) -> Tensor:
        total = a + b
        # Zero and zero are no distance apart.
        return (a - b) ** 2 / torch.where(total == 0, 1.0, total)

    return torch.exp(-gamma * sum_columns(x, y, term))


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
        # The root of zero has no derivative, so zero is replaced before it is taken.
        square = (z**2).sum(dim=-1, keepdim=True)
        return z / torch.where(square == 0, 1.0, square).sqrt()

    return unit(x) @ unit(y).T


def sum_columns(
    x: Tensor, y: Tensor, term: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Σ_q term(x_q, y_q), (..., L)."""
    # A column at a time: all at once would hold a tensor of shape (..., L, q).
    total = term(x[..., 0, None], y[:, 0])
    for q in range(1, y.shape[1]):
        total = total + term(x[..., q, None], y[:, q])
    return total


def _gamma(gamma: float | None, y: Tensor) -> float:
    return 1.0 / y.shape[1] if gamma is None else gamma


# In units of h: exp(−|s − s'|² / 2h²), exp(−|s − s'|₁ / h), exp(−χ²(s, s') / h). χ² of
# non-negative numbers never exceeds their cityblock distance, whose unit it has.
KERNELS: dict[str, NamedKernel] = {
    "rbf": NamedKernel(
        rbf, "euclidean", 0.5, is_stationary=True, is_product=True, function=_rbf_kernel
    ),
    "laplacian": NamedKernel(
        laplacian, "cityblock", 1.0, is_stationary=True, is_product=True
    ),
    "chi2": NamedKernel(chi2, "cityblock", 1.0, is_product=True),
    "linear": NamedKernel(linear),
    "polynomial": NamedKernel(polynomial),
    "poly": NamedKernel(polynomial),
    "cosine": NamedKernel(cosine),
    "delta": NamedKernel(
        is_product=True, function=delta_kernel, needs_every_state=True
    ),
    "sigmoid": NamedKernel(refused="its Gram matrix is not positive semi-definite"),
    "additive_chi2": NamedKernel(
        refused="it is negative, only conditionally positive definite; use 'chi2'"
    ),
}


def record_of(kernel: object) -> NamedKernel:
    """The record of a kernel by its name; of a callable, one that promises nothing."""
    found = KERNELS.get(kernel) if isinstance(kernel, str) else None
    if isinstance(kernel, Kernel):
        found = NamedKernel(is_stationary=kernel.is_stationary())
    return found or NamedKernel()


def kernel_names(
    condition: Callable[[NamedKernel], object] = lambda record: True,
) -> list[str]:
    """The usable kernels whose record meets a condition, sorted."""
    return sorted(n for n, k in KERNELS.items() if not k.refused and condition(k))


def check_kernel(kernel: object) -> None:
    """Refuse what is not a kernel, and kernels that are not positive semi-definite.

    Parameters
    ----------
    kernel : object

    Raises
    ------
    ValueError
        In a sentence that lists the kernels there are.

    Examples
    --------
    >>> check_kernel("rbf")
    """
    if callable(kernel):  # a Gaussian-process Kernel is
        return
    if not isinstance(kernel, str) or kernel not in KERNELS:
        raise ValueError(
            f"kernel={kernel!r} is unknown. Use one of {kernel_names()}, a callable "
            "that takes (X, Y) and returns their Gram matrix, or a Gaussian-process "
            "Kernel."
        )
    if KERNELS[kernel].refused:
        raise ValueError(
            f"kernel={kernel!r} cannot be used: {KERNELS[kernel].refused}. Use one of "
            f"{kernel_names()}."
        )


def refuse_negative(kernel: object, rows: Floats) -> None:
    """Refuse negative numbers, of (n, q), where a kernel is for others alone.

    Parameters
    ----------
    kernel : object
    rows : array of shape (n, q)

    Raises
    ------
    ValueError
        In a sentence that names the columns.

    Examples
    --------
    >>> import numpy as np
    >>> refuse_negative("chi2", np.eye(2))
    """
    if not (isinstance(kernel, str) and kernel == "chi2"):
        return
    negative = [(rows[some] < 0).any(axis=0) for some in row_batches(rows)]
    if (columns := np.flatnonzero(np.any(negative, axis=0))).size:
        raise ValueError(
            "kernel='chi2' is for numbers that are not negative, such as counts; there "
            f"are negative ones in the columns {columns.tolist()} of the states (and "
            "of continuous actions, behind them). Put a MinMaxScaler in front, or use "
            "kernel='laplacian'."
        )


@dataclass(frozen=True)
class BoundKernel:
    """A kernel of q columns with its parameters, and what they are moved and scaled by.

    ``dtype`` is what the kernel is computed in; None is the columns' own.
    """

    kernel: KernelLike
    params: KernelParams
    bandwidth: Floats | None  # (q,)
    center: Floats | None  # (q,)
    dtype: str | None

    @property
    def function(self) -> Callable[..., Floats]:
        if not isinstance(self.kernel, str):
            return self.kernel
        own = record_of(self.kernel).function
        # n_jobs=1: by joblib's active backend it would be computed a part of the
        # columns at a time, which need not be equal to the bit.
        return own or partial(pairwise_kernels, metric=self.kernel, n_jobs=1)

    def __call__(self, X: Floats, Y: Floats) -> Floats:
        """The Gram matrix of rows (n, q) and (L, q)."""
        gram = self.function(self._scaled(X), self._scaled(Y), **self.params)
        if np.shape(gram) != (len(X), len(Y)):
            raise ValueError(
                f"The kernel {self.function!r} returned an array of shape "
                f"{np.shape(gram)} for {len(X)} and {len(Y)} rows; it must return their"
                f" Gram matrix, of shape ({len(X)}, {len(Y)})."
            )
        return gram

    def in_torch(self, x: Tensor, rows: Floats) -> Tensor:
        """The Gram matrix (..., L) of x (..., q) and rows (L, q), by the form."""
        form = record_of(self.kernel).form
        if form is None:
            raise ValueError(f"The kernel {self.function!r} has no form in torch.")
        y = torch.from_numpy(self._scaled(rows))
        if self.center is not None:
            x = x - torch.from_numpy(self.center).to(x)
        if self.bandwidth is not None:
            x = x / torch.from_numpy(self.bandwidth).to(x)
        x = x.to(y.dtype)
        return form(x, y.to(x), **self.params)

    def of_columns(self, columns: slice, n_columns: int) -> BoundKernel:
        """The factor of a product kernel that is of some of its columns."""
        params, each = self.params, (self.bandwidth, self.center)
        if self.bandwidth is None and params.get("gamma", 0) is None:
            # scikit-learn's default is for all columns, not for some.
            params = {**params, "gamma": 1.0 / n_columns}
        bandwidth, center = (None if one is None else one[columns] for one in each)
        return replace(self, params=params, bandwidth=bandwidth, center=center)

    def _scaled(self, rows: Floats) -> Floats:
        if self.center is not None:
            rows = rows - self.center
        if self.bandwidth is not None:
            rows = rows / self.bandwidth
        # Cast last: in single precision 1.7e9 is known to 128.
        return np.asarray(rows, self.dtype)


def bind_kernel(
    kernel: KernelLike,
    kernel_params: KernelParams | None,
    bandwidth: Floats | None,
    center: Floats | None,
    dtype: str,
) -> BoundKernel:
    """A kernel with its parameters, and the bandwidth and centre of its features."""
    params, record = dict(kernel_params or {}), record_of(kernel)
    if not isinstance(kernel, str):
        return BoundKernel(kernel, params, None, center, dtype)
    if bandwidth is not None and record.gamma is not None:
        params["gamma"] = record.gamma
    # Rounded, states that differ would be equal.
    own = None if record.needs_every_state else dtype
    return BoundKernel(kernel, params, bandwidth, center, own)
