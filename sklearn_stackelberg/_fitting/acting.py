"""Policies over labels, and the Q-functions that answer them, as asked on states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import gen_batches
from torch import nn

from .acting_amounts import draw_codes

Floats = NDArray[np.floating]

# States that a network is asked about at once.
_BATCH_ROWS = 10_000


class Features(Protocol):
    """Features that weights can be folded into: of a kernel, or linear columns."""

    dtype: str

    def fold(self, weight: Floats) -> Floats: ...

    def project(self, states: Floats, folded: Floats) -> Floats: ...


@dataclass(frozen=True, eq=False)
class LinearSeat:
    """A player that is linear in features of the states.

    Parameters
    ----------
    inputs : LandmarkFeatures or LinearColumns
    module : nn.Module
        With a ``weight`` of shape (n_features, n_outputs).
    """

    inputs: Features
    module: nn.Module

    def __call__(self, states: Floats) -> Floats:
        """Logits or values, (n, n_outputs)."""
        # k(s, L) times the weights folded onto the landmarks.
        weight = self.module.weight.detach().numpy()
        return self.inputs.project(states, self.inputs.fold(weight))


@dataclass(frozen=True, eq=False)
class NetworkSeat:
    """A player that is a network of columns of the states.

    Parameters
    ----------
    inputs : StateColumns or features
    module : callable
        Tensors (k, d) to logits or values, (k, n_outputs).
    scale : float, default=1.0
        What the outputs are multiplied by.
    """

    inputs: Any
    module: Callable[[torch.Tensor], torch.Tensor]
    scale: float = 1.0

    def __call__(self, states: Floats) -> Floats:
        """Logits or values, (n, n_outputs)."""
        found = []
        with torch.no_grad():
            for batch in gen_batches(len(states), _BATCH_ROWS):
                columns = torch.from_numpy(self.inputs.transform(states[batch]))
                found.append(self.module(columns).numpy())
        return self.scale * np.concatenate(found)


@dataclass(frozen=True, eq=False)
class DiscreteActing:
    """A policy over labels and the Q-function that answers it.

    Parameters
    ----------
    classes_ : array of shape (n_actions,)
        The labels, sorted.
    leader, follower : callable
        States (n, d) to logits and to values less the anchor, (n, n_actions) each.
    anchor : float
    dtype : str
        Of the states that are asked about.
    """

    classes_: NDArray[Any]
    leader: Callable[[Floats], Floats]
    follower: Callable[[Floats], Floats]
    anchor: float
    dtype: str

    def predict(self, states: Any) -> NDArray[Any]:
        """The most probable label of each state, (n,)."""
        return self.classes_[self.leader(self._floats(states)).argmax(axis=1)]

    def predict_proba(self, states: Any) -> Floats:
        """Probability of every label in each state, (n, n_actions)."""
        logits = torch.from_numpy(self.leader(self._floats(states)))
        return torch.softmax(logits, dim=1).numpy()

    def sample(self, states: Any, rng: np.random.RandomState) -> NDArray[Any]:
        """Labels drawn as the policy would, (n,)."""
        return self.classes_[draw_codes(self.predict_proba(states), rng)]

    def q_values(self, states: Any, action: Any = None) -> Floats:
        """Q of every label, (n, n_actions), or of given ones, (n,)."""
        values = self.anchor + self.follower(self._floats(states))
        if action is None:
            return values
        given = np.asarray(action)
        unknown = np.setdiff1d(given, self.classes_)
        if len(unknown) or given.shape != (len(values),):
            raise ValueError(
                f"action must be one label of {self.classes_.tolist()} for each of "
                f"the {len(values)} states; got shape {given.shape}, with the unknown "
                f"labels {unknown[:5].tolist()}."
            )
        return values[np.arange(len(values)), np.searchsorted(self.classes_, given)]

    def _floats(self, states: Any) -> Floats:
        return np.asarray(states, dtype=self.dtype)
