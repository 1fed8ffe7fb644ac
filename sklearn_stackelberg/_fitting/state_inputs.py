"""What policies and Q-functions read of states."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.random import RandomState

from .._typing import Floats
from ..kernels._nystroem import LandmarkFeatures
from .hyperparameters import Hyperparameters


class StateInputs(Protocol):
    """Inputs (k, n_features_out_) of states (k, d)."""

    n_features_out_: int

    def transform(self, states: Floats) -> Floats: ...


class StateColumns:
    """The columns of the states, for a network.

    Standardised, each has mean 0 and standard deviation 1 in the log.
    """

    def __init__(self, dtype: str, standardise: bool) -> None:
        self.dtype, self.standardise = dtype, standardise

    def fit(self, states: Floats) -> StateColumns:
        """Learn means and standard deviations."""
        self.n_features_out_ = states.shape[1]
        self.center_ = np.zeros(states.shape[1])
        self.scale_ = np.ones(states.shape[1])
        if self.standardise:
            self.center_ = states.mean(axis=0, dtype=np.float64)
            spread = states.std(axis=0, dtype=np.float64)
            # A constant column is centred and no more.
            self.scale_ = np.where(spread > 0, spread, 1.0)
        return self

    def transform(self, states: Floats) -> Floats:
        """The columns, (n, n_features_out_)."""
        if not self.standardise:
            return states.astype(self.dtype, copy=False)
        return ((states - self.center_) / self.scale_).astype(self.dtype)


class LinearColumns(StateColumns):
    """Standardised columns behind a one: features of functions linear in the states.

    Examples
    --------
    >>> columns = LinearColumns("float64").fit(np.array([[1.0], [3.0]]))
    >>> columns.transform(np.array([[1.0], [2.0]]))
    array([[ 1., -1.],
           [ 1.,  0.]])
    """

    bandwidth_ = None

    def __init__(self, dtype: str) -> None:
        super().__init__(dtype, standardise=True)

    def fit(self, states: Floats) -> LinearColumns:
        """Learn means and standard deviations."""
        super().fit(states)
        self.n_features_out_ += 1
        return self

    def transform(self, states: Floats) -> Floats:
        """The columns behind a one, (n, d + 1)."""
        one = np.ones((len(states), 1), dtype=self.dtype)
        return np.hstack([one, super().transform(states)])

    def landmark_weights(self, weight: Floats) -> Floats:
        """The weights as they are: as of `LandmarkFeatures`, without landmarks."""
        return weight

    def project(self, states: Floats, landmark_weights: Floats) -> Floats:
        """The columns times weights, (n, c)."""
        return self.transform(states) @ landmark_weights.astype(self.dtype, copy=False)


def state_features(
    function_class: str,
    hp: Hyperparameters,
    states: Floats,
    rng: RandomState,
    n_action_columns: int = 0,
) -> LandmarkFeatures | LinearColumns:
    """Features that a ``"kernel"`` or a ``"linear"`` function is linear in."""
    if function_class == "linear":
        return LinearColumns(hp.dtype).fit(states)
    settings = hp.kernel_settings()
    # A bandwidth may have lengths for the columns of the action too.
    both = (states.shape[1] + n_action_columns,)
    if n_action_columns and np.shape(settings["bandwidth"]) == both:
        settings["bandwidth"] = np.asarray(settings["bandwidth"])[: states.shape[1]]
    return LandmarkFeatures(hp.kernel, random_state=rng, **settings).fit(states)
