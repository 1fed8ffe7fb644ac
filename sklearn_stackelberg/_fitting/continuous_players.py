"""The policy and the Q-function of a fit of continuous actions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.utils import check_random_state
from torch import Tensor, nn

from .._action_scale import ActionScale
from .._problem.action_space import ContinuousActions
from .._problem.rows import FeatureRows
from .._typing import Floats, Index
from .._validation import check_table_size
from ..kernels._state_action import StateActionFeatures
from ..policies._base import CONTINUOUS_POLICIES
from ..policies._base import ContinuousPolicy as ContinuousPolicyModule
from ..policies._candidates import CandidateSoftmax
from ..policies._gaussian import SquashedGaussian
from ..q_functions import ContinuousQ, LinearQ
from ..solvers._continuous_policies import CandidatePolicyModel, GaussianPolicyModel
from ..solvers._lstd_continuous import ContinuousLSTD
from .fitted_policy import (
    ActionDistribution,
    ContinuousPolicy,
    Fitted,
    KernelScores,
    KernelValues,
    NetworkFunction,
    NetworkValues,
    RangedOutputs,
    StateFunction,
    SupportedLogits,
)
from .players import Players
from .state_inputs import (
    DifferentiableFeatures,
    InputReaders,
    PlayerInputs,
    StateActionColumns,
    StateColumns,
    draw_seed,
)
from .support import ActionRange, ActionSupport, nearest_candidates


class ContinuousPlayers(Players):
    """Of continuous actions, and a kernel on state and action together."""

    actions: ContinuousActions
    action: Floats

    def _fit_inputs(self, rng: RandomState) -> PlayerInputs:
        hp, state, (low, high) = self.hp, self.problem.state, self.actions.bounds
        embedded = StateActionFeatures(
            hp.kernel, random_state=rng, **hp.kernel_settings()
        ).fit(state, self.action)
        q_function = None
        # Of a linear system, the mean's landmarks are drawn as if they were the first.
        own = check_random_state(hp.random_state) if self.linear else rng
        readers = InputReaders(hp, state, own, len(low), self.rows.total)
        if not self.linear:
            q_function = (
                StateColumns(
                    hp.dtype, False, DifferentiableFeatures(embedded).center
                ).fit(state)
                if self.linear_q
                else readers.read(hp.q_function)
            )
        distribution = CONTINUOUS_POLICIES[hp.action_distribution].from_log(
            self.action, low, high, candidates=hp.candidates, random_state=rng
        )
        moving = distribution.has_moving_actions
        # The candidates' logits are linear in the joint features where Q is, of a
        # linear system; else they are functions of the state.
        policy = readers.read(hp.policy) if moving or not self.linear else None
        seed = 0 if self.linear else draw_seed(rng)
        support: ActionSupport | ActionRange | None = None
        if isinstance(distribution, CandidateSoftmax):
            # The likeliest candidate is the nearest to what was done.
            candidates = distribution.exact.numpy()
            codes = nearest_candidates(self.action, candidates)
            support = self._fit_support(codes, len(candidates), rng, candidates)
        elif isinstance(distribution, SquashedGaussian) and hp.least_support:
            support = ActionRange(hp.least_support).fit(state, self.action, rng)
        return PlayerInputs(policy, q_function, embedded, distribution, seed, support)

    @cached_property
    def _model(self) -> CandidatePolicyModel | GaussianPolicyModel:
        inputs = self.inputs
        check_table_size(1, inputs.embedded.n_features_out_)
        policy = inputs.distribution
        assert policy is not None
        if isinstance(policy, CandidateSoftmax):
            candidates = policy.exact.numpy()
            return CandidatePolicyModel(inputs.embedded, candidates, self._support)
        return GaussianPolicyModel(
            inputs.embedded, inputs.policy, policy, self._support
        )

    @property
    def _support(self) -> Callable[[Floats], Floats] | None:
        """Of states, the candidates' log prior or the range of a Gaussian."""
        support = self.inputs.support
        return support.log_prior if isinstance(support, ActionSupport) else support

    @cached_property
    def log_prior(self) -> Tensor | None:
        """What `_support` gives of every state; None where all is allowed."""
        if self._support is None:
            return None
        columns = torch.from_numpy(self._support(self.problem.states))
        return columns.to(getattr(torch, self.hp.dtype))

    def prior_at(self, support: ActionSupport, some: slice | Index) -> Floats:
        """What a support adds to the candidates' logits in some states, (k, C)."""
        return support.log_prior(self.problem.states[some])

    def _supported(self, outputs: StateFunction) -> StateFunction:
        """Outputs of states, and what the log supports there."""
        support = self.inputs.support
        if isinstance(support, ActionRange):
            return RangedOutputs(outputs, support)
        return outputs if support is None else SupportedLogits(outputs, support)

    def linear_system(self) -> ContinuousLSTD:
        states, discount = self.problem.states, self.problem.row_discount
        return ContinuousLSTD(self.rows, states, self._model, discount, self.ridge)

    def start_weights(self) -> Tensor:
        return self._model.start()

    def from_weights(self, theta: Tensor, w: Tensor) -> Fitted:
        features, model = self.inputs.embedded, self._model
        policy: ContinuousPolicyModule
        outputs: StateFunction
        if isinstance(model, CandidatePolicyModel):
            # In single precision a candidate may be rounded past its bound.
            candidates = model.gram.candidates.astype(float).clip(*self.actions.bounds)
            policy = CandidateSoftmax(theta, torch.from_numpy(candidates))
            weights = features.landmark_weights(theta.numpy())
            outputs = self._supported(KernelScores(model.gram, weights))
        else:
            policy = model.policy.with_head(theta.to(model.dtype))
            outputs = NetworkFunction(model.inputs, policy.outputs)
            outputs = self._supported(outputs)
        q_function = self._scaled(w)
        weights = features.landmark_weights(q_function.weight.numpy())
        values = KernelValues(features, weights)
        return self._fitted(policy, q_function, outputs, values)

    def _leading_features(self, index: Index, wanted: int) -> Floats:
        states = self.problem.states[self.rows.state[index]]
        found = self.inputs.embedded.transform(states, self.action[index])
        return found[:, :wanted].astype(np.float64)

    def _embedding(self) -> FeatureRows:
        states, where = self.problem.states, self.problem.state_index

        def embedding(index: Index) -> Tensor:
            state, action = states[where[index]], self.action[index]
            return torch.from_numpy(self.inputs.embedded.transform(state, action))

        return embedding

    def start_policy(self) -> nn.Module:
        policy = self.inputs.distribution
        assert policy is not None
        head = self._head(policy.n_outputs)
        if isinstance(policy, CandidateSoftmax):
            has_prior = self.log_prior is not None
            return CandidateSoftmax(head, policy.exact, has_prior)
        if isinstance(policy, SquashedGaussian):
            return policy.with_head(head, has_range=self.log_prior is not None)
        return policy.with_head(head)

    def start_q_function(self) -> nn.Module:
        if self.linear_q:
            embedded = self.inputs.embedded
            # The actions of a batch are no table: ∂q/∂a is taken through the kernel.
            embedded.check_differentiable()
            weight = self._zeros(embedded.n_features_out_, 1)
            features = DifferentiableFeatures(embedded)
            return ContinuousQ(LinearQ(weight).requires_grad_(), features)
        scale = ActionScale.of(self.action)
        pair = StateActionColumns(*self.actions.bounds, scale)
        examples = self._examples(self.inputs.q_function)
        # Any action within the bounds would do to try the network on.
        middle = torch.from_numpy(pair.center).to(examples)
        examples = pair(examples, middle.expand(len(examples), -1))
        return ContinuousQ(self._network("q_function", 1, examples), pair)

    def from_modules(self, policy: nn.Module, q_function: nn.Module) -> Fitted:
        assert isinstance(q_function, ContinuousQ)
        inputs, module = self.inputs, q_function.module
        if isinstance(module, LinearQ):
            module = self._scaled(module.weight.detach())
        assert isinstance(policy, ContinuousPolicyModule)
        # The head's outputs alone: what the log supports is added here.
        supported = inputs.support is not None or isinstance(policy, CandidateSoftmax)
        head = policy.get_submodule("head") if supported else policy.outputs
        outputs = self._supported(NetworkFunction(inputs.policy, head))
        values = NetworkValues(inputs.q_function, q_function, self.problem.scale)
        return self._fitted(policy, module, outputs, values)

    def _fitted(
        self,
        policy: ContinuousPolicyModule,
        q_function: nn.Module,
        outputs: StateFunction,
        values: KernelValues | NetworkValues,
    ) -> Fitted:
        actions, anchor = self.actions, self.problem.state_anchor
        shown = self._shown(policy, q_function)
        shown |= {"action_bounds_": actions.bounds, "action_names_": actions.names}
        if isinstance(policy, CandidateSoftmax):
            shown["candidates_"] = policy.exact.numpy()
        distribution = ActionDistribution(outputs, policy)
        fitted = ContinuousPolicy(
            actions, distribution, values, anchor, self.hp.deterministic
        )
        return Fitted(fitted, shown)
