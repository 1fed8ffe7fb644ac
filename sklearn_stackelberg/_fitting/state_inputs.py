"""What policies and Q-functions read of states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

from .._action_scale import ActionScale
from .._typing import Floats
from ..kernels._columns import LinearColumns, StateColumns
from ..kernels._nystroem import LandmarkFeatures
from ..kernels._state_action import StateActionFeatures
from ..networks import MLP
from ..policies._base import ContinuousPolicy as ContinuousPolicyModule
from .hyperparameters import FunctionClass, Hyperparameters
from .support import ActionRange, ActionSupport

StateReader = LandmarkFeatures | StateColumns


class InputReaders:
    """Ways to read states: one object for both, where they read the same."""

    def __init__(
        self, hp: Hyperparameters, states: Floats, rng: RandomState, n_columns: int = 0
    ) -> None:
        self._hp, self._states, self._rng = hp, states, rng
        self._n_columns = n_columns  # of continuous actions
        self._made: dict[str, StateReader] = {}

    def read(self, function_class: FunctionClass) -> StateReader:
        key = function_class if isinstance(function_class, str) else "columns"
        # A perceptron of ours reads standardised columns; a user's module the states.
        if key == "mlp" or isinstance(function_class, MLP):
            key = "standardised columns"
        if key not in self._made:
            self._made[key] = self._make(key)
        return self._made[key]

    def _make(self, key: str) -> StateReader:
        if key.endswith("columns"):
            columns = StateColumns(self._hp.dtype, standardise=key != "columns")
            return columns.fit(self._states)
        if key == "linear":
            return LinearColumns(self._hp.dtype).fit(self._states)
        settings, width = self._hp.kernel_settings(), self._states.shape[1]
        # A bandwidth may have lengths for the columns of the action too.
        both = (width + self._n_columns,)
        if self._n_columns and np.shape(settings["bandwidth"]) == both:
            settings["bandwidth"] = np.asarray(settings["bandwidth"])[:width]
        # Linear terms of states are for values that each action has of its own.
        linear_terms = self._hp.linear_terms and not self._n_columns
        features = LandmarkFeatures(
            self._hp.kernel,
            linear_terms=linear_terms,
            random_state=self._rng,
            **settings,
        )
        return features.fit(self._states)


class StateActionColumns:
    """Columns of the state beside actions in units of half their range, (k, d + p)."""

    def __init__(self, low: Floats, high: Floats, scale: ActionScale) -> None:
        self.action_scale = scale
        low, high = scale.transform(low), scale.transform(high)
        self.center, self.half = 0.5 * (low + high), 0.5 * (high - low)

    def __call__(self, x: Tensor, action: Tensor) -> Tensor:
        center, half = (torch.from_numpy(c).to(x) for c in (self.center, self.half))
        action = self.action_scale.transform_tensor(action.to(x))
        return torch.cat([x, (action - center) / half], dim=1)


class DifferentiableFeatures:
    """Kernel features of state and action, differentiable in the action, (k, m).

    x are states less ``center``: minibatches hold them in the features' precision.
    """

    def __init__(self, features: StateActionFeatures) -> None:
        self.projection, self.rows = features.projection_, features.landmarks_
        self.scale, center = features.action_scale_, features.center_
        if center is None:
            center = np.zeros(self.rows.shape[1])
        self.center, self.action_center = np.split(center, [features.n_state_columns_])
        self.kernel = replace(features.bound_kernel(), center=None)
        self.rows = self.rows - center

    def __call__(self, x: Tensor, action: Tensor) -> Tensor:
        scaled = self.scale.transform_tensor(action.to(x))
        action = scaled - torch.from_numpy(self.action_center).to(x)
        gram = self.kernel.in_torch(torch.cat([x, action], dim=1), self.rows)
        return gram @ torch.from_numpy(self.projection).to(x)


@dataclass(frozen=True, eq=False)
class PlayerInputs:
    """What policy and Q-function read, as it was fitted on the first log.

    ``embedded`` are the features of the kernel that the Bellman error is measured by,
    of states or of states and actions; ``policy`` and ``q_function`` what each reads of
    states, None where it reads the embedded ones; ``seed`` is of the networks' first
    weights and of the minibatches; ``support`` says which actions the log supports, of
    a few or in a range.
    """

    policy: Any  # StateInputs, those of linear functions with landmark weights
    q_function: Any
    embedded: Any  # LandmarkFeatures, LinearColumns or StateActionFeatures
    # Over continuous actions, its head still to come.
    distribution: ContinuousPolicyModule | None = None
    seed: int = 0
    support: ActionSupport | ActionRange | None = None


def draw_seed(rng: RandomState) -> int:
    """Of networks and minibatches, behind all that the features have drawn."""
    return int(rng.randint(2**31 - 1))
