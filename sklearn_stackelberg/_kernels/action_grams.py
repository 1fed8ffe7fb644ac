"""What the landmarks say about actions in a state: Gram rows, means and values.

Both classes speak of rows that `read` makes of states once, and that may be kept: for
a product kernel k(s, L), from which every action follows by a product.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import gen_batches
from torch import Tensor

from .joint import JointFeatures

Array = NDArray[np.floating]

_BATCH_BYTES = 2**24


class CandidateGram:
    """k((s, a_j), L) of the same candidate actions a_j in every state.

    Parameters
    ----------
    features : JointFeatures
    candidates : array of shape (C, p)
    """

    def __init__(self, features: JointFeatures, candidates: Array) -> None:
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

    def values(self, rows: Tensor, folded: Tensor) -> Tensor:
        """k((s, a_j), L) times weights on the landmarks.

        Parameters
        ----------
        rows : Tensor of shape (n, width)
        folded : Tensor of shape (n_landmarks, c)

        Returns
        -------
        Tensor of shape (n, C, c)
        """
        if not self.features.is_product:
            return rows.reshape(len(rows), self.n_candidates, -1) @ folded
        weights = self._actions.T[:, :, None] * folded[:, None, :]  # (L, C, c)
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
    features : JointFeatures

    Raises
    ------
    ValueError
        If the kernel has no form that can be differentiated.
    """

    def __init__(self, features: JointFeatures) -> None:
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

    def values(self, rows: Tensor, actions: Tensor, folded: Tensor) -> Tensor:
        """k((s, a), L) times weights on the landmarks.

        Parameters
        ----------
        rows : Tensor of shape (n, width)
        actions : Tensor of shape (n, S, p)
        folded : Tensor of shape (n_landmarks, c)

        Returns
        -------
        Tensor of shape (n, S, c)
        """
        return self._gram(rows, actions) @ folded

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
