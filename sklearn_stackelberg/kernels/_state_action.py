"""Features of states and actions together: a kernel on the joint (s, a)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state, gen_batches
from torch import Tensor

from .._typing import Array
from ._nystroem import LandmarkFeatures
from ._registry import BANDWIDTHS, FORMS, Gram, median_bandwidth

# k((s, a), (s', a')) = k(s, s') k(a, a'): one Gram matrix of states serves all actions.
_PRODUCTS = {"rbf", "laplacian", "chi2", "delta"}


class StateActionFeatures:
    """Features φ of states and actions with φ(s, a)ᵀφ(s', a') = k((s, a), (s', a')).

    The Nyström features of `LandmarkFeatures`, on the columns of the state and of the
    action side by side; landmarks are logged pairs.

    Parameters
    ----------
    kernel : str, callable or a scikit-learn ``Kernel``, default="rbf"
        As in `LandmarkFeatures`; a callable is given rows of d + p columns.
    bandwidth : float, array-like of shape (d + p,) or (d,), default="median"
        Length scale, larger is smoother. ``"median"`` gives each column its standard
        deviation, times the median distance between pairs so scaled. A number, or one
        for each column of the state, leaves the columns of the action to the median.
    kernel_params : dict, default=None
        The kernel's other parameters, such as ``degree``.
    n_components : int or None, default=200
        Number of landmarks; None makes every distinct logged pair one.
    dtype : {"float64", "float32"}, default="float64"
    random_state : int, RandomState instance or None, default=None
        Draws the landmarks and the rows of the median.

    Attributes
    ----------
    landmarks_ : array of shape (n_landmarks, d + p)
    projection_ : array of shape (n_landmarks, n_features_out_)
    bandwidth_ : array of shape (d + p,) or None
    n_features_out_ : int
    n_state_columns_ : int
        d.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> states, actions = rng.normal(size=(30, 2)), rng.normal(size=(30, 1))
    >>> features = StateActionFeatures("rbf", n_components=None).fit(states, actions)
    >>> norms = (features.transform(states, actions) ** 2).sum(axis=1)
    >>> bool(np.allclose(norms, 1.0))
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

    def fit(self, states: Array, actions: Array) -> StateActionFeatures:
        """Choose the bandwidth and the landmarks.

        Parameters
        ----------
        states : array of shape (n, d)
        actions : array of shape (n, p)

        Returns
        -------
        StateActionFeatures
            Itself.

        Raises
        ------
        ValueError
            As `LandmarkFeatures.fit`.
        """
        self.n_state_columns_ = states.shape[1]
        pairs = self._pairs(states, actions)
        rng = check_random_state(self.random_state)
        self._features = LandmarkFeatures(
            self.kernel,
            bandwidth=self._resolve_bandwidth(pairs, rng),
            kernel_params=self.kernel_params,
            n_components=self.n_components,
            dtype=self.dtype,
            random_state=rng,
        ).fit(pairs)
        # The draw is done; what remains of its generator is nobody's to keep.
        self._features.random_state = None
        self.landmarks_ = self._features.landmarks_
        self.projection_ = self._features.projection_
        self.bandwidth_ = self._features.bandwidth_
        self.n_features_out_ = self._features.n_features_out_
        return self

    def transform(self, states: Array, actions: Array) -> Array:
        """Features of pairs.

        Parameters
        ----------
        states : array of shape (n, d)
        actions : array of shape (n, p)

        Returns
        -------
        array of shape (n, n_features_out_)
        """
        return self._features.transform(self._pairs(states, actions))

    def landmark_weights(self, weight: Array) -> Array:
        """Weights on the landmarks that stand for weights on the features.

        Parameters
        ----------
        weight : array of shape (n_features_out_, c)

        Returns
        -------
        array of shape (n_landmarks, c)
        """
        return self._features.landmark_weights(weight)

    def project(self, states: Array, actions: Array, landmark_weights: Array) -> Array:
        """k((s, a), L) times weights on the landmarks, a batch of pairs at a time.

        Parameters
        ----------
        states : array of shape (n, d)
        actions : array of shape (n, p)
        landmark_weights : array of shape (n_landmarks, c)

        Returns
        -------
        array of shape (n, c)
        """
        return self._features.project(self._pairs(states, actions), landmark_weights)

    @property
    def is_product(self) -> bool:
        """Whether k((s, a), (s', a')) = k(s, s') k(a, a')."""
        return isinstance(self.kernel, str) and self.kernel in _PRODUCTS

    def gram(self, states: Array, actions: Array) -> Array:
        """k((s, a), L), (n, n_landmarks)."""
        return self._features.bound_kernel()(
            self._pairs(states, actions), self.landmarks_
        )

    def similarity_to_itself(self, states: Array, actions: Array) -> Array:
        """k((s, a), (s, a)), (n,)."""
        return self._features.similarity_to_itself(self._pairs(states, actions))

    def state_gram(self, states: Array) -> Array:
        """k(s, L) of a product kernel, (n, n_landmarks)."""
        return self._part(states, slice(None, self.n_state_columns_))

    def action_gram(self, actions: Array) -> Array:
        """k(a, L) of a product kernel, (n, n_landmarks)."""
        return self._part(actions, slice(self.n_state_columns_, None))

    def check_differentiable(self) -> None:
        """Refuse a kernel that has no derivative in the action.

        Raises
        ------
        ValueError
            In a sentence that lists the kernels there are.
        """
        if not (isinstance(self.kernel, str) and self.kernel in FORMS):
            raise ValueError(
                f"kernel={self.kernel!r} cannot be differentiated in the action, which "
                "a Gaussian policy is learned by. Use one of "
                f"{sorted(FORMS)}, or action_distribution='candidates', which takes "
                "any kernel."
            )

    def torch_gram(self, points: Tensor, columns: slice = slice(None)) -> Tensor:
        """k((s, a), L), differentiable; or the part of a product kernel in its columns.

        Parameters
        ----------
        points : Tensor of shape (..., d + p)
            Or as many columns as ``columns`` selects.
        columns : slice, default=slice(None)

        Returns
        -------
        Tensor of shape (..., n_landmarks)
        """
        bound = self._bound(columns)
        landmarks = torch.from_numpy(self.landmarks_[:, columns]).to(points)
        if bound.bandwidth is not None:
            scale = torch.from_numpy(bound.bandwidth).to(points)
            points, landmarks = points / scale, landmarks / scale
        params = {k: v for k, v in bound.params.items() if k != "metric"}
        return FORMS[self.kernel](points, landmarks, **params)

    def torch_action_gram(self, actions: Tensor) -> Tensor:
        """k(a, L) of a product kernel, differentiable, (..., n_landmarks)."""
        return self.torch_gram(actions, slice(self.n_state_columns_, None))

    def _part(self, points: Array, columns: slice) -> Array:
        points = np.asarray(points, dtype=self.dtype)
        return self._bound(columns)(points, self.landmarks_[:, columns])

    def _bound(self, columns: slice) -> Gram:
        """The kernel, on some of the columns alone."""
        function, params, bandwidth = self._features.bound_kernel()
        if bandwidth is not None:
            return Gram(function, params, bandwidth[columns])
        if params.get("gamma", 0) is None:
            # scikit-learn's default is for all columns, not for some.
            params = params | {"gamma": 1.0 / self.landmarks_.shape[1]}
        return Gram(function, params, None)

    def _pairs(self, states: Array, actions: Array) -> Array:
        return np.concatenate([states, actions], axis=1, dtype=self.dtype)

    def _resolve_bandwidth(self, pairs: Array, rng: Any) -> float | Array | str:
        """A bandwidth for each column where the states' alone was given."""
        has_bandwidth = isinstance(self.kernel, str) and self.kernel in BANDWIDTHS
        if isinstance(self.bandwidth, str) or not has_bandwidth:
            return self.bandwidth
        given = np.asarray(self.bandwidth, dtype=float)
        d, columns = self.n_state_columns_, pairs.shape[1]
        if given.shape == (columns,):
            return given
        if given.shape not in ((), (d,)):
            raise ValueError(
                f"bandwidth has shape {given.shape}, but the states have {d} columns "
                f"and the actions {columns - d}: give one number, one for each column "
                "of the states, or one for each column of both."
            )
        median = median_bandwidth(pairs, BANDWIDTHS[self.kernel][1], rng)
        return np.concatenate([np.broadcast_to(given, d), median[d:]])


_BATCH_BYTES = 2**24


class CandidateGram:
    """k((s, a_j), L) of the same candidate actions a_j in every state.

    Parameters
    ----------
    features : StateActionFeatures
    candidates : array of shape (C, p)
    """

    def __init__(self, features: StateActionFeatures, candidates: Array) -> None:
        self.features = features
        self.candidates = np.asarray(candidates, dtype=features.dtype)
        self.n_candidates = len(candidates)
        self.n_landmarks = len(features.landmarks_)
        self.width = self.n_landmarks
        if features.is_product:
            gram = features.action_gram(self.candidates)
            self._actions = torch.from_numpy(gram.astype(features.dtype))  # (C, L)
        else:
            self.width *= self.n_candidates

    def read(self, states: Array) -> Tensor:
        """What is kept of states, (n, width)."""
        out = np.empty((len(states), self.width), dtype=self.features.dtype)
        for batch in gen_batches(len(states), _batch_rows(self.width)):
            some = states[batch]
            if self.features.is_product:
                out[batch] = self.features.state_gram(some)
                continue
            each = np.repeat(some, self.n_candidates, axis=0)
            actions = np.tile(self.candidates, (len(some), 1))
            out[batch] = self.features.gram(each, actions).reshape(len(some), -1)
        return torch.from_numpy(out)

    def values(self, rows: Tensor, landmark_weights: Tensor) -> Tensor:
        """k((s, a_j), L) times weights on the landmarks.

        Parameters
        ----------
        rows : Tensor of shape (n, width)
        landmark_weights : Tensor of shape (n_landmarks, c)

        Returns
        -------
        Tensor of shape (n, C, c)
        """
        if not self.features.is_product:
            return rows.reshape(len(rows), self.n_candidates, -1) @ landmark_weights
        weights = (
            self._actions.T[:, :, None] * landmark_weights[:, None, :]
        )  # (L, C, c)
        return (rows @ weights.flatten(1)).reshape(len(rows), *weights.shape[1:])

    def mean(self, rows: Tensor, weights: Tensor) -> Tensor:
        """Σ_j weights_j k((s, a_j), L).

        Parameters
        ----------
        rows : Tensor of shape (n, width)
        weights : Tensor of shape (n, C)

        Returns
        -------
        Tensor of shape (n, n_landmarks)
        """
        if self.features.is_product:
            return rows * (weights @ self._actions)
        each = rows.reshape(len(rows), self.n_candidates, -1)
        return (weights[:, None, :] @ each)[:, 0]


class NodeGram:
    """k((s, a), L) of actions that differ from state to state, differentiable in them.

    Parameters
    ----------
    features : StateActionFeatures

    Raises
    ------
    ValueError
        If the kernel has no form that can be differentiated.
    """

    def __init__(self, features: StateActionFeatures) -> None:
        features.check_differentiable()
        self.features = features
        self.width = (
            len(features.landmarks_)
            if features.is_product
            else features.n_state_columns_
        )

    def read(self, states: Array) -> Tensor:
        """What is kept of states, (n, width)."""
        states = np.asarray(states, dtype=self.features.dtype)
        if not self.features.is_product:
            return torch.from_numpy(states)
        out = np.empty((len(states), self.width), dtype=self.features.dtype)
        for batch in gen_batches(len(states), _batch_rows(self.width)):
            out[batch] = self.features.state_gram(states[batch])
        return torch.from_numpy(out)

    def values(self, rows: Tensor, actions: Tensor, landmark_weights: Tensor) -> Tensor:
        """k((s, a), L) times weights on the landmarks.

        Parameters
        ----------
        rows : Tensor of shape (n, width)
        actions : Tensor of shape (n, S, p)
        landmark_weights : Tensor of shape (n_landmarks, c)

        Returns
        -------
        Tensor of shape (n, S, c)
        """
        return self._gram(rows, actions) @ landmark_weights

    def mean(self, rows: Tensor, actions: Tensor, weights: Tensor) -> Tensor:
        """Σ_j weights_j k((s, a_j), L).

        Parameters
        ----------
        rows : Tensor of shape (n, width)
        actions : Tensor of shape (n, S, p)
        weights : Tensor of shape (n, S)

        Returns
        -------
        Tensor of shape (n, n_landmarks)
        """
        if self.features.is_product:
            each = self.features.torch_action_gram(actions)
            return rows * (weights[:, None, :] @ each)[:, 0]
        return (weights[:, None, :] @ self._gram(rows, actions))[:, 0]

    def _gram(self, rows: Tensor, actions: Tensor) -> Tensor:
        """k((s, a), L), (n, S, n_landmarks)."""
        if self.features.is_product:
            return rows[:, None, :] * self.features.torch_action_gram(actions)
        states = rows[:, None, :].expand(-1, actions.shape[1], -1)
        return self.features.torch_gram(torch.cat([states, actions], dim=2))


def _batch_rows(width: int) -> int:
    return max(1, _BATCH_BYTES // (8 * width))
