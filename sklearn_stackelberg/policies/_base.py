"""What solvers and fitted estimators need of a policy.

A new policy class is a file of its own that `policies/__init__.py` imports: a subclass
of `ContinuousPolicy` is then known by its short name in `CONTINUOUS_POLICIES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from .._numpy_state import NumpyModule
from .._typing import Floats, RandomStateLike
from ._quadrature import Choice, Nodes

# A logit that is as good as minus infinity, and whose products with zero are zero: the
# probability is zero in either precision.
NEVER = -1e9


class Policy(NumpyModule, ABC):
    """A policy whose choice is made from outputs: logits, or a location and a scale.

    ``policy(x)`` is the choice for inputs x of k states: probabilities (k, n_actions)
    of discrete actions, or `Nodes` of continuous ones. The mirror step (docs/game.md)
    is that of a softmax over logits, unless a subclass has another.
    """

    def forward(self, x: Tensor) -> Choice:
        """The choice for inputs (k, ·)."""
        return self.choice(self.outputs(x))

    @abstractmethod
    def outputs(self, x: Tensor) -> Tensor:
        """What the choice is made from, (k, n_outputs)."""

    @abstractmethod
    def choice(self, outputs: Tensor) -> Choice:
        """Probabilities, or nodes."""

    def mirror_target(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """What outputs are fitted to, where the choice's weights become (k, S)."""
        return weights

    def mirror_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """How far outputs are from a `mirror_target`, (): here, cross-entropy."""
        # Logits may be any size: their softmax may be zero, and has no logarithm then.
        return -(target * torch.log_softmax(outputs, dim=1)).sum(dim=1).mean()


# By the short name that ``action_distribution`` takes.
CONTINUOUS_POLICIES: dict[str, type[ContinuousPolicy]] = {}


class ContinuousPolicy(Policy):
    """A policy over continuous actions, in bounds; p is their number of columns.

    A subclass gives its short name, ``class Beta(ContinuousPolicy, name="beta")``. What
    it gives for predictions is in float64, whatever the policy computes in.
    """

    # Whether its actions depend on the state, so that their derivatives, and therefore
    # the kernel's, are needed; otherwise it is a softmax over actions fixed once.
    has_moving_actions: ClassVar[bool]
    n_outputs: int

    def __init_subclass__(cls, name: str, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        CONTINUOUS_POLICIES[name] = cls

    @classmethod
    @abstractmethod
    def from_log(
        cls,
        actions: Floats,
        low: Floats,
        high: Floats,
        *,
        candidates: int | ArrayLike | None = None,
        random_state: RandomStateLike = None,
    ) -> Self:
        """For logged actions (n, p) in bounds (p,), with a head of zeros."""

    @abstractmethod
    def with_head(self, head: Tensor | nn.Module) -> Self:
        """The same policy with another head, in its precision."""

    @abstractmethod
    def choice(self, outputs: Tensor) -> Nodes:
        """Actions (k, S, p) and their weights (k, S)."""

    def predicted_nodes(self, outputs: Tensor) -> Nodes:
        """The choice, for predictions."""
        actions, weights = self.choice(outputs)
        return Nodes(actions.double(), weights.double())

    @abstractmethod
    def mode(self, outputs: Tensor) -> Tensor:
        """The action to recommend, (k, p), for predictions."""

    @abstractmethod
    def draw(self, outputs: Tensor, rng: np.random.RandomState) -> Tensor:
        """Actions drawn as the policy would, (k, p), for predictions."""


def split_prior(x: Tensor, n_prior: int) -> tuple[Tensor, Tensor | float]:
    """Inputs (k, d + n_prior) as inputs (k, d) and a log prior; 0 of no columns."""
    return (x[:, :-n_prior], x[:, -n_prior:]) if n_prior else (x, 0.0)


def advantages(probabilities: Tensor, q_values: Tensor) -> Tensor:
    """q(s, a) − q(s, π) for every action, (n, n_actions), as both arguments."""
    return q_values - (probabilities * q_values).sum(dim=1, keepdim=True)
