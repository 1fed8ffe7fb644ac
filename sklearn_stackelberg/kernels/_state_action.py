"""Features of states and actions together: a kernel on the joint (s, a)."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from .._action_scale import ActionScale
from .._numpy_state import NumpyState
from .._stored_rows import ComputedRows
from .._typing import Floats
from ._nystroem import KernelFeatures, in_batches
from ._registry import BoundKernel, kernel_names, record_of

# Kernels that read a column of actions through distances alone; "auto" is "rbf" here.
_OF_DISTANCES = ("auto", "rbf", "laplacian")


class StateActionFeatures(KernelFeatures):
    """Features φ of (s, a) with φ(s, a)ᵀφ(s', a') = k((s, a), (s', a')) / κ.

    The Nyström features of `LandmarkFeatures`, on the columns of the state and of the
    action side by side; landmarks are logged pairs. ``"rbf"`` and ``"laplacian"``, of
    distances, compare doses that span decades by their logarithm.

    Parameters
    ----------
    kernel, kernel_params, n_components, dtype, random_state
        As in `LandmarkFeatures`, with pairs for states; a callable kernel is given rows
        of d + p columns.
    bandwidth : float, array-like of shape (d + p,) or (d,), default="median"
        As in `LandmarkFeatures`, of all d + p columns. Lengths of the state's columns
        alone leave those of the action to the median.
        Lengths that are given for the action are in its units: no column of it is then
        compared by its logarithm.

    Attributes
    ----------
    action_scale_ : ActionScale
        Which columns of the action are compared by their logarithm.
    landmarks_ : array of shape (n_landmarks, d + p)
        Their actions on that scale.
    projection_ : array of shape (n_landmarks, n_features_out_)
    bandwidth_, center_ : array of shape (d + p,) or None
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

    def fit(self, states: Floats, actions: Floats) -> StateActionFeatures:
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
        # Lengths of the action that a user gives are in its own units.
        has_lengths = np.shape(self.bandwidth) == (states.shape[1] + actions.shape[1],)
        by_distance = self.kernel in _OF_DISTANCES and not has_lengths
        none = ActionScale(np.zeros(actions.shape[1]))
        self.action_scale_ = self._scale_of(actions) if by_distance else none
        self._fit(self._pairs(states, actions), states.shape[1])
        return self

    def transform(self, states: Floats, actions: Floats) -> Floats:
        """Features of pairs.

        Parameters
        ----------
        states : array of shape (n, d)
        actions : array of shape (n, p)

        Returns
        -------
        array of shape (n, n_features_out_)
        """
        return self._project(self._pairs(states, actions), self.projection_)

    def project(
        self, states: Floats, actions: Floats, landmark_weights: Floats
    ) -> Floats:
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
        return self._project(self._pairs(states, actions), landmark_weights)

    def similarity_to_itself(self, states: Floats, actions: Floats) -> Floats:
        """k((s, a), (s, a)) / κ.

        Parameters
        ----------
        states : array of shape (n, d)
        actions : array of shape (n, p)

        Returns
        -------
        array of shape (n,)
        """
        return self._similarity(self._pairs(states, actions))

    @property
    def is_product(self) -> bool:
        """Whether k((s, a), (s', a')) = k(s, s') k(a, a')."""
        return record_of(self.kernel_).is_product

    def gram(self, states: Floats, actions: Floats) -> Floats:
        """k((s, a), L).

        Parameters
        ----------
        states : array of shape (n, d)
        actions : array of shape (n, p)

        Returns
        -------
        array of shape (n, n_landmarks)
        """
        return self.bound_kernel()(self._pairs(states, actions), self.landmarks_)

    def state_gram(self, states: Floats) -> Floats:
        """k(s, L) of a product kernel.

        Parameters
        ----------
        states : array of shape (n, d)

        Returns
        -------
        array of shape (n, n_landmarks)
        """
        return self._gram_of(states, slice(None, self.n_state_columns_))

    def action_gram(self, actions: Floats) -> Floats:
        """k(a, L) of a product kernel.

        Parameters
        ----------
        actions : array of shape (n, p)

        Returns
        -------
        array of shape (n, n_landmarks)
        """
        actions = self.action_scale_.transform(actions)
        return self._gram_of(actions, slice(self.n_state_columns_, None))

    def check_differentiable(self) -> None:
        """Refuse a kernel that has no derivative in the action.

        Raises
        ------
        ValueError
            In a sentence that lists the kernels there are.
        """
        if record_of(self.kernel_).form is None:
            raise ValueError(
                f"kernel={self.kernel_!r} cannot be differentiated in the action, "
                "which a Gaussian policy is learned by. Use one of "
                f"{kernel_names(lambda record: record.form)}, or "
                "action_distribution='candidates', which takes any kernel."
            )

    def torch_gram(self, states: Tensor, actions: Tensor) -> Tensor:
        """k((s, a), L), differentiable.

        Parameters
        ----------
        states : Tensor of shape (..., d)
        actions : Tensor of shape (..., p)

        Returns
        -------
        Tensor of shape (..., n_landmarks)
        """
        actions = self.action_scale_.transform_tensor(actions)
        points = torch.cat([states, actions], dim=-1)
        return self.bound_kernel().in_torch(points, self.landmarks_)

    def torch_action_gram(self, actions: Tensor) -> Tensor:
        """k(a, L) of a product kernel, differentiable.

        Parameters
        ----------
        actions : Tensor of shape (..., p)

        Returns
        -------
        Tensor of shape (..., n_landmarks)
        """
        actions = self.action_scale_.transform_tensor(actions)
        columns = slice(self.n_state_columns_, None)
        return self._factor(columns).in_torch(actions, self.landmarks_[:, columns])

    def _factor(self, columns: slice) -> BoundKernel:
        return self.bound_kernel().of_columns(columns, self.landmarks_.shape[1])

    def _gram_of(self, points: Floats, columns: slice) -> Floats:
        return self._factor(columns)(points, self.landmarks_[:, columns])

    def _scale_of(self, actions: Floats) -> ActionScale:
        return ActionScale.of(actions)

    def _pairs(self, states: Floats, actions: Floats) -> Floats:
        actions = self.action_scale_.transform(actions)
        if isinstance(states, ComputedRows):
            return cast(Floats, states.beside(actions))
        return np.concatenate([states, actions], axis=1)


class CandidateGram(NumpyState):
    """k((s, a_j), L) of the same candidate actions a_j in every state.

    A product kernel keeps k(s, L) of a state, n_landmarks numbers, and takes k(a_j, L)
    into weights and means; any other keeps k((s, a_j), L) of all candidates, (C, p).
    """

    def __init__(self, features: StateActionFeatures, candidates: Floats) -> None:
        self.features = features
        self.candidates = np.asarray(candidates, dtype=features.dtype)
        self.n_candidates = len(candidates)
        self.n_landmarks = len(features.landmarks_)
        self.width = self.n_landmarks  # numbers that are kept of a state
        if features.is_product:
            gram = features.action_gram(self.candidates)
            self._actions = torch.from_numpy(gram.astype(features.dtype))  # (C, L)
        else:
            self.width *= self.n_candidates

    def read(self, states: Floats) -> Tensor:
        """What is kept of states, (n, width)."""
        features = self.features

        def each_candidate(some: Floats) -> Floats:
            # A state's candidates stand together, as `values` and `mean` take them.
            repeated = np.repeat(some, self.n_candidates, axis=0)
            actions = np.tile(self.candidates, (len(some), 1))
            return features.gram(repeated, actions).reshape(len(some), -1)

        rows = features.state_gram if features.is_product else each_candidate
        return torch.from_numpy(in_batches(rows, states, self.width, features.dtype))

    def values(self, rows: Tensor, landmark_weights: Tensor) -> Tensor:
        """k((s, a_j), L) times weights on the landmarks, (L, c) to (n, C, c)."""
        if not self.features.is_product:
            return rows.reshape(len(rows), self.n_candidates, -1) @ landmark_weights
        # Σ_l k(s, l) k(a_j, l) W_lc: k(a_j, L) goes into W, (L, C, c), once for all s.
        weights = self._actions.T[:, :, None] * landmark_weights[:, None, :]
        return (rows @ weights.flatten(1)).reshape(len(rows), *weights.shape[1:])

    def mean(self, rows: Tensor, weights: Tensor) -> Tensor:
        """Σ_j weights_j k((s, a_j), L), (n, n_landmarks), of weights (n, C)."""
        if self.features.is_product:
            # k(s, L) ∘ Σ_j w_j k(a_j, L): (C, L) numbers serve all states.
            return rows * (weights @ self._actions)
        each = rows.reshape(len(rows), self.n_candidates, -1)
        return (weights[:, None, :] @ each)[:, 0]


class NodeGram:
    """k((s, a), L) of actions that differ from state to state, differentiable in them.

    Of a state k(s, L) is kept if the kernel is a product, else s itself.
    """

    def __init__(self, features: StateActionFeatures) -> None:
        features.check_differentiable()
        self.features = features
        self.width = features.n_state_columns_
        if features.is_product:
            self.width = len(features.landmarks_)

    def read(self, states: Floats) -> Tensor:
        """What is kept of states, (n, width)."""
        features = self.features
        # Without a product there is nothing of k to compute before actions are known;
        # in full precision, as they are still to be centred.
        if not features.is_product:
            return torch.from_numpy(np.array(states, dtype=np.float64))
        gram, dtype = features.state_gram, features.dtype
        return torch.from_numpy(in_batches(gram, states, self.width, dtype))

    def values(self, rows: Tensor, actions: Tensor, landmark_weights: Tensor) -> Tensor:
        """k((s, a), L) of actions (n, S, p) times weights (L, c), (n, S, c)."""
        return self._gram(rows, actions) @ landmark_weights

    def mean(self, rows: Tensor, actions: Tensor, weights: Tensor) -> Tensor:
        """Σ_j weights_j k((s, a_j), L), (n, n_landmarks), of weights (n, S)."""
        if self.features.is_product:
            # k(s, L) is the same at all nodes, and is multiplied once they are summed.
            each = self.features.torch_action_gram(actions)  # (n, S, n_landmarks)
            return rows * (weights[:, None, :] @ each)[:, 0]
        return (weights[:, None, :] @ self._gram(rows, actions))[:, 0]

    def _gram(self, rows: Tensor, actions: Tensor) -> Tensor:
        """k((s, a), L), (n, S, n_landmarks)."""
        if self.features.is_product:
            return rows[:, None, :] * self.features.torch_action_gram(actions)
        states = rows[:, None, :].expand(-1, actions.shape[1], -1)
        return self.features.torch_gram(states, actions)
