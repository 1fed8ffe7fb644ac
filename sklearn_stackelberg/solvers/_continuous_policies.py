"""Policies over continuous actions, as the closed form needs them.

What a policy makes of Q's features is their mean φ̄(s) = E_{a~π(·|s)} φ(s, a). It is
kept as a mean h(s) of Gram rows k((s, a), L), φ̄ = h P with P the features' projection:
then a product kernel costs one row of n_landmarks numbers a state, whatever the policy.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .._problem.rows import StateData, abs_quantile
from .._typing import Floats
from ..kernels._nystroem import LandmarkFeatures
from ..kernels._state_action import CandidateGram, NodeGram, StateActionFeatures
from ..policies._base import NEVER, ContinuousPolicy, advantages
from ..policies._quadrature import Nodes
from ..policies._softmax import softmax_vjp

# A Gaussian's step reweights its nodes by no more than about e to this: longer ones
# would leave one node, and no spread to find the next.
_GAUSSIAN_STEP = 2.0

# Ridge of the regression on the policy's features, whose mean square is at most 1.
_RIDGE = 1e-4


class CandidatePolicyModel:
    """π(a_j|s) ∝ exp(φ(s, a_j)ᵀu) of C candidates, u of shape (m, 1).

    ``log_prior`` of states (k, d) is added to the logits, (k, C).
    """

    def __init__(
        self,
        features: StateActionFeatures,
        candidates: Floats,
        log_prior: Callable[[Floats], Floats] | None = None,
    ) -> None:
        self.features, self.log_prior = features, log_prior
        self.gram = CandidateGram(features, candidates)
        self._projection = torch.from_numpy(features.projection_)  # (L, m)

    def start(self) -> Tensor:
        """u = 0, the uniform policy."""
        return torch.zeros(self._projection.shape[1], 1, dtype=torch.float64)

    def read(self, states: Floats) -> StateData:
        gram = self.gram.read(states)
        if self.log_prior is None:
            return (gram,)
        return gram, torch.from_numpy(self.log_prior(states)).to(gram.dtype)

    def outputs(self, data: StateData, direction: Tensor) -> Tensor:
        """φ(s, a_j)ᵀu of the candidates, (k, C)."""
        gram = data[0]
        landmark_weights = self._projection @ direction.double()
        return self.gram.values(gram, landmark_weights.to(gram.dtype))[..., 0]

    def probabilities(self, data: StateData, theta: Tensor) -> Tensor:
        logits = self.outputs(data, theta)
        return torch.softmax(logits + data[1] if len(data) > 1 else logits, dim=1)

    def mean(self, data: StateData, theta: Tensor) -> Tensor:
        """h = Σ_j π(a_j|s) k((s, a_j), L), (k, n_landmarks)."""
        return self.gram.mean(data[0], self.probabilities(data, theta))

    def vjp(
        self, data: StateData, theta: Tensor, left: Tensor, landmark_weights: Tensor
    ) -> Tensor:
        """By hand: values at the candidates, the softmax, and the mean once more."""
        values = self.gram.values(data[0], landmark_weights)  # (k, C, t)
        gradient = (left[:, None, :] * values).sum(dim=2)
        moved = softmax_vjp(self.probabilities(data, theta), gradient)  # (k, C)
        # A mean is linear in its weights: with ∂/∂logits for them it goes back to u.
        total = self.gram.mean(data[0], moved).sum(dim=0)  # (L,)
        return (self._projection.T @ total.double())[:, None]

    def mirror_step(
        self, data: StateData, theta: Tensor, w: Tensor, size: float
    ) -> Tensor:
        """u + η w: 95 % of the advantages move a logit by under size."""
        direction = w[:, None]
        values = self.outputs(data, direction)
        advantage = advantages(self.probabilities(data, theta), values)
        if len(data) > 1:
            # What is never chosen moves nothing: its advantage is not to count.
            advantage = advantage[data[1] > NEVER / 2]
        return theta + size / abs_quantile(advantage) * direction  # Eq. (35)


class GaussianPolicyModel:
    """The squashed Gaussian whose μ and log σ are linear in features of states.

    θ is of shape (n_state_features, 2 p). Of ``policy`` the bounds and the nodes are
    taken, not the head; a kernel without a derivative in the action is refused.
    ``action_range`` of states (k, d) is the range it is held to in each, (k, 2 p).
    """

    def __init__(
        self,
        features: StateActionFeatures,
        inputs: LandmarkFeatures,
        policy: ContinuousPolicy,
        action_range: Callable[[Floats], Floats] | None = None,
    ) -> None:
        self.features, self.inputs, self.range = features, inputs, action_range
        self.gram = NodeGram(features)
        # θ is an argument of every method: the head that the policy has is never used.
        self.dtype: torch.dtype = getattr(torch, features.dtype)
        self.policy = policy.with_head(torch.zeros(1, 1, dtype=self.dtype))
        self._projection = torch.from_numpy(features.projection_)

    def start(self) -> Tensor:
        """θ = 0: μ in the middle of the bounds, wide."""
        shape = self.inputs.n_features_out_, self.policy.n_outputs
        return torch.zeros(shape, dtype=torch.float64)

    def read(self, states: Floats) -> StateData:
        inputs = torch.from_numpy(self.inputs.transform(states))
        kept = self.gram.read(states), inputs.to(self.dtype)
        if self.range is None:
            return kept
        return *kept, torch.from_numpy(self.range(states)).to(self.dtype)

    def outputs(self, data: StateData, direction: Tensor) -> Tensor:
        """What μ and log σ come from, (k, 2 p)."""
        return data[1] @ direction.to(data[1].dtype)

    def choice(self, data: StateData, outputs: Tensor) -> Nodes:
        """The nodes, in the range of each state."""
        return self.policy.choice(torch.cat([outputs, *data[2:]], dim=1))

    def mean(self, data: StateData, theta: Tensor) -> Tensor:
        """h = Σ_j w_j k((s, a_j), L) over the nodes, (k, n_landmarks)."""
        nodes = self.choice(data, self.outputs(data, theta))
        return self.gram.mean(data[0], nodes.actions, nodes.weights)

    def vjp(
        self, data: StateData, theta: Tensor, left: Tensor, landmark_weights: Tensor
    ) -> Tensor:
        """By automatic differentiation, to the outputs of this chunk's states."""
        # Through nodes and kernel; the step from the outputs to θ is linear.
        outputs = self.outputs(data, theta.detach()).requires_grad_()
        with torch.enable_grad():
            nodes = self.choice(data, outputs)
            mean = self.gram.mean(data[0], nodes.actions, nodes.weights)
            total = (left * (mean @ landmark_weights)).sum()
        return (data[1].T @ torch.autograd.grad(total, outputs)[0]).double()

    def mirror_step(
        self, data: StateData, theta: Tensor, w: Tensor, size: float
    ) -> Tensor:
        """The Gaussian nearest to π · exp(η q_w) at every state, regressed on states.

        Nodes are reweighted by exp(η advantage), 95 % of the exponents under ``size``;
        their mean and spread are those of the new policy, and the change of its outputs
        is projected on the policy's features by least squares.
        """
        outputs = self.outputs(data, theta)  # (k, 2 p)
        nodes = self.choice(data, outputs)
        landmark_weights = (self._projection @ w).to(outputs.dtype)[:, None]
        values = self.gram.values(data[0], nodes.actions, landmark_weights)  # (k, S, 1)
        advantage = advantages(nodes.weights, values[..., 0])
        eta = min(size, _GAUSSIAN_STEP) / abs_quantile(advantage)
        # Eq. (37) of docs/game.md.
        weights = nodes.weights.log() + eta * advantage
        target = self.policy.mirror_target(outputs, torch.softmax(weights, dim=1))
        return theta + self.regress(data, target - outputs)

    def regress(self, data: StateData, outputs: Tensor) -> Tensor:
        """θ whose outputs on these states are nearest to some, (m, 2 p)."""
        inputs = data[1].double()
        gram = inputs.T @ inputs / len(inputs)
        gram = gram + _RIDGE * torch.eye(len(gram), dtype=gram.dtype)
        right = inputs.T @ outputs.double() / len(inputs)
        return torch.linalg.solve(gram, right)
