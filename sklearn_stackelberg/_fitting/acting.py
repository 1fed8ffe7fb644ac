"""Policies and Q-functions as asked on states: numpy in, numpy out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..kernels import LandmarkFeatures

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Seat:
    """A player: a map from states to its inputs, and its module.

    Parameters
    ----------
    inputs : LandmarkFeatures
    module : nn.Module
        With a `weight` of shape (n_features, n_outputs).
    """

    inputs: LandmarkFeatures
    module: nn.Module

    @property
    def dtype(self) -> str:
        """Of the states that are asked about."""
        return self.inputs.dtype

    def __call__(self, states: Floats) -> Floats:
        """What is linear in the module's weights, (n, n_outputs)."""
        # k(s, L) times the weights folded onto the landmarks.
        weight = self.module.weight.numpy()
        return self.inputs.project(states, self.inputs.fold(weight))


@dataclass(frozen=True, eq=False)
class DiscreteActing:
    """A policy over labels and the Q-function that answers it.

    Parameters
    ----------
    classes_ : array of shape (n_actions,)
        The labels, sorted.
    leader, follower : Seat
    anchor : float
        What Q adds to.
    """

    classes_: NDArray[Any]
    leader: Seat
    follower: Seat
    anchor: float

    def predict(self, states: Any) -> NDArray[Any]:
        """The most probable label of each state, (n,)."""
        return self.classes_[self.leader(self._floats(states)).argmax(axis=1)]

    def predict_proba(self, states: Any) -> Floats:
        """Probability of every label in each state, (n, n_actions)."""
        logits = torch.from_numpy(self.leader(self._floats(states)))
        return torch.softmax(logits, dim=1).numpy()

    def sample(self, states: Any, rng: np.random.RandomState) -> NDArray[Any]:
        """Labels drawn as the policy would, (n,)."""
        cumulative = self.predict_proba(states).astype(np.float64).cumsum(axis=1)
        drawn = rng.uniform(size=(len(cumulative), 1))
        codes = (cumulative < drawn * cumulative[:, -1:]).sum(axis=1)
        return self.classes_[codes]

    def q_values(self, states: Any) -> Floats:
        """Q of every label in each state, (n, n_actions)."""
        return self.anchor + self.follower(self._floats(states))

    def _floats(self, states: Any) -> Floats:
        return np.asarray(states, dtype=self.leader.dtype)
