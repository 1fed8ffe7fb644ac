"""Leaders over continuous actions, as the closed form asks them.

What a policy makes of Q's features is their mean φ̄(s) = E_{a~π(·|s)} φ(s, a). It is
kept as a mean h(s) of Gram rows k((s, a), L), φ̄ = h P with P the features' projection:
then a product kernel costs one row of n_landmarks numbers a state, whatever the policy.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .._problem.rows import abs_quantile
from .._typing import Floats
from ..kernels._nystroem import LandmarkFeatures
from ..kernels._state_action import CandidateGram, NodeGram, StateActionFeatures
from ..policies._gaussian import SquashedGaussian
from ..policies._softmax import advantages, softmax_vjp

Read = tuple[Tensor, ...]

# A Gaussian's step reweights its nodes by no more than about e to this: longer ones
# would leave one node, and no spread to find the next.
_GAUSSIAN_STEP = 2.0

# Ridge of the regression on the policy's features, whose mean square is at most 1.
_RIDGE = 1e-4


class ContinuousPolicyModel(Protocol):
    """What `ContinuousLSTD` asks of a leader; θ is a matrix of its weights."""

    features: StateActionFeatures
    width: int

    def start(self) -> Tensor:
        """θ of a policy that prefers nothing."""

    def read(self, states: Floats) -> Read:
        """What is kept of states: ``width`` numbers each, in tensors of k rows."""

    def mean(self, rows: Read, theta: Tensor) -> Tensor:
        """h = E_{a~π} k((s, a), L), (k, n_landmarks)."""

    def vjp(
        self, rows: Read, theta: Tensor, left: Tensor, landmark_weights: Tensor
    ) -> Tensor:
        """∂/∂θ of Σ_kt left_kt (h_k · folded_t), for left (k, t), folded (L, t)."""

    def mirror_step(self, rows: Read, theta: Tensor, w: Tensor, size: float) -> Tensor:
        """θ after a step towards what q_w prefers, w of shape (m,)."""

    def outputs(self, rows: Read, direction: Tensor) -> Tensor:
        """How θ + direction moves what the policy is made of, a row per state."""


class CandidatePolicyModel:
    """π(a_j|s) ∝ exp(φ(s, a_j)ᵀu), u of shape (m, 1): in the features of Q.

    Parameters
    ----------
    features : StateActionFeatures
    candidates : array of shape (C, p)
    """

    def __init__(self, features: StateActionFeatures, candidates: Floats) -> None:
        self.features = features
        self.gram = CandidateGram(features, candidates)
        self.width = self.gram.width
        self._projection = torch.from_numpy(features.projection_)  # (L, m)

    def start(self) -> Tensor:
        """u = 0, the uniform policy."""
        return torch.zeros(self._projection.shape[1], 1, dtype=torch.float64)

    def read(self, states: Floats) -> Read:
        """What is kept of states, (k, width)."""
        return (self.gram.read(states),)

    def outputs(self, rows: Read, direction: Tensor) -> Tensor:
        """Logits φ(s, a_j)ᵀu of the candidates, (k, C)."""
        (gram,) = rows
        landmark_weights = self._projection @ direction.double()
        return self.gram.values(gram, landmark_weights.to(gram.dtype))[..., 0]

    def probabilities(self, rows: Read, theta: Tensor) -> Tensor:
        """π(a_j|s), (k, C)."""
        return torch.softmax(self.outputs(rows, theta), dim=1)

    def mean(self, rows: Read, theta: Tensor) -> Tensor:
        """h = Σ_j π(a_j|s) k((s, a_j), L), (k, n_landmarks)."""
        return self.gram.mean(rows[0], self.probabilities(rows, theta))

    def vjp(
        self, rows: Read, theta: Tensor, left: Tensor, landmark_weights: Tensor
    ) -> Tensor:
        """By hand: values at the candidates, the softmax, and the mean once more."""
        values = self.gram.values(rows[0], landmark_weights)  # (k, C, t)
        gradient = (left[:, None, :] * values).sum(dim=2)
        moved = softmax_vjp(self.probabilities(rows, theta), gradient)  # (k, C)
        total = self.gram.mean(rows[0], moved).sum(dim=0)  # (L,)
        return (self._projection.T @ total.double())[:, None]

    def mirror_step(self, rows: Read, theta: Tensor, w: Tensor, size: float) -> Tensor:
        """u + η w: 95 % of the advantages move a logit by under size."""
        direction = w[:, None]
        values = self.outputs(rows, direction)
        advantage = advantages(self.probabilities(rows, theta), values)
        return theta + size / abs_quantile(advantage) * direction


class GaussianPolicyModel:
    """The squashed Gaussian whose μ and log σ are linear in features of states.

    θ is of shape (n_state_features, 2 p).

    Parameters
    ----------
    features : StateActionFeatures
        Of a kernel that can be differentiated in the action.
    inputs : LandmarkFeatures
        The policy's features of states.
    policy : SquashedGaussian
        Bounds and nodes; its head is not used.

    Raises
    ------
    ValueError
        If the kernel cannot be differentiated.
    """

    def __init__(
        self,
        features: StateActionFeatures,
        inputs: LandmarkFeatures,
        policy: SquashedGaussian,
    ) -> None:
        self.features, self.inputs = features, inputs
        self.gram = NodeGram(features)
        self.width = self.gram.width + inputs.n_features_out_
        none = torch.zeros(1, 1, dtype=getattr(torch, features.dtype))
        self.policy = policy.with_head(none)
        self._projection = torch.from_numpy(features.projection_)

    def start(self) -> Tensor:
        """θ = 0: μ in the middle of the bounds, wide."""
        columns = 2 * len(self.policy.low)
        return torch.zeros(self.inputs.n_features_out_, columns, dtype=torch.float64)

    def read(self, states: Floats) -> Read:
        """What is kept of states: Gram rows, and the policy's features."""
        inputs = torch.from_numpy(self.inputs.transform(states))
        return self.gram.read(states), inputs.to(self.policy.low.dtype)

    def outputs(self, rows: Read, direction: Tensor) -> Tensor:
        """What μ and log σ come from, (k, 2 p)."""
        return rows[1] @ direction.to(rows[1].dtype)

    def mean(self, rows: Read, theta: Tensor) -> Tensor:
        """h = Σ_j w_j k((s, a_j), L) over the nodes, (k, n_landmarks)."""
        nodes = self.policy.nodes(self.outputs(rows, theta))
        return self.gram.mean(rows[0], nodes.actions, nodes.weights)

    def vjp(
        self, rows: Read, theta: Tensor, left: Tensor, landmark_weights: Tensor
    ) -> Tensor:
        """By automatic differentiation, to the outputs of this chunk's states."""
        outputs = self.outputs(rows, theta.detach()).requires_grad_()
        with torch.enable_grad():
            nodes = self.policy.nodes(outputs)
            mean = self.gram.mean(rows[0], nodes.actions, nodes.weights)
            total = (left * (mean @ landmark_weights)).sum()
        return (rows[1].T @ torch.autograd.grad(total, outputs)[0]).double()

    def mirror_step(self, rows: Read, theta: Tensor, w: Tensor, size: float) -> Tensor:
        """The Gaussian nearest to π · exp(η q_w) at every state, regressed on states.

        Nodes are reweighted by exp(η advantage), 95 % of the exponents under ``size``;
        their mean and spread are those of the new policy, and the change of its outputs
        is projected on the policy's features by least squares.
        """
        outputs = self.outputs(rows, theta)  # (k, 2 p)
        nodes, free = self.policy.nodes(outputs), self.policy.free_nodes(outputs)
        landmark_weights = (self._projection @ w).to(outputs.dtype)[:, None]
        values = self.gram.values(rows[0], nodes.actions, landmark_weights)[
            ..., 0
        ]  # (k, S)
        advantage = advantages(nodes.weights, values)
        eta = min(size, _GAUSSIAN_STEP) / abs_quantile(advantage)
        weights = nodes.weights.log() + eta * advantage
        target = self.policy.matching(free, torch.softmax(weights, dim=1))
        return theta + self.regress(rows, target - outputs)

    def regress(self, rows: Read, outputs: Tensor) -> Tensor:
        """θ whose outputs on these states are nearest to some, (m, 2 p).

        Parameters
        ----------
        rows : as `read` gives them
        outputs : Tensor of shape (k, 2 p)

        Returns
        -------
        Tensor of shape (n_state_features, 2 p)
        """
        inputs = rows[1].double()
        gram = inputs.T @ inputs / len(inputs)
        gram = gram + _RIDGE * torch.eye(len(gram), dtype=gram.dtype)
        right = inputs.T @ outputs.double() / len(inputs)
        return torch.linalg.solve(gram, right)
