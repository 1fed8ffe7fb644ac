"""The policy and the Q-function of a fit, for discrete and for continuous actions.

`DiscretePlayers` and `ContinuousPlayers` are all that differs between the two: what a
solver is given, what it starts from, and the functions of states made of what it finds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.utils import check_random_state
from torch import Tensor, nn

from .._action_scale import ActionScale
from .._problem.action_space import Actions, ContinuousActions, DiscreteActions
from .._problem.dataset import OfflineProblem
from .._problem.design_effect import design_effect, most_features
from .._problem.rows import FeatureRows, feature_rows
from .._sampling import fixed_sample
from .._typing import Floats, Index
from .._validation import check_table_size
from ..kernels._state_action import StateActionFeatures
from ..networks import MLP, build_network
from ..policies._base import CONTINUOUS_POLICIES
from ..policies._base import ContinuousPolicy as ContinuousPolicyModule
from ..policies._candidates import CandidateSoftmax
from ..policies._gaussian import SquashedGaussian
from ..policies._softmax import NetworkSoftmax, SoftmaxPolicy
from ..q_functions import ContinuousQ, DiscreteQ, LinearQ
from ..solvers._best_response import LSTDSystem
from ..solvers._continuous_policies import CandidatePolicyModel, GaussianPolicyModel
from ..solvers._lstd_continuous import ContinuousLSTD
from ..solvers._lstd_discrete import DiscreteLSTD
from ..solvers._minibatch_game import MinibatchInputs, discrete_embedding
from .fitted_policy import (
    ActionDistribution,
    ContinuousPolicy,
    DiscretePolicy,
    Fitted,
    KernelScores,
    KernelValues,
    LinearFunction,
    NetworkFunction,
    NetworkValues,
    RangedOutputs,
    StateFunction,
    StateInputs,
    SupportedLogits,
)
from .hyperparameters import FunctionClass, Hyperparameters, is_network
from .state_inputs import (
    DifferentiableFeatures,
    InputReaders,
    PlayerInputs,
    StateActionColumns,
    StateColumns,
    draw_seed,
    with_relevance,
)
from .support import (
    ActionRange,
    ActionSupport,
    action_prior,
    has_few_states,
    nearest_candidates,
)

# States that a network is tried on before it is trained.
_EXAMPLES = 3

# Features and rows, of whole episodes, that the design effect is measured by.
_DESIGN_FEATURES, _DESIGN_ROWS = 100, 20_000

# Rows whose pairs show what the kernel keeps apart.
_KERNEL_ROWS = 1_000


class Players(ABC):
    """A policy and a Q-function to be learned from a problem.

    ``linear`` says that both are tensors of weights, for a solver that needs a linear
    system, and not modules. Later fits are given the inputs of the first.
    """

    actions: Actions
    action: Index | Floats

    def __init__(
        self,
        hp: Hyperparameters,
        problem: OfflineProblem,
        actions: Actions,
        linear: bool,
        inputs: PlayerInputs | None = None,
    ) -> None:
        self.hp, self.problem, self.linear = hp, problem, linear
        self.actions, self.action = actions, actions.read(problem.log)
        self.ridge = hp.ridge_for(actions.type)
        self.linear_q = not is_network(hp.q_function)
        self.rows = problem.rows(self.action)
        self.inputs = inputs or self._fit_inputs(check_random_state(hp.random_state))
        self._tables: dict[int, FeatureRows] = {}

    @abstractmethod
    def _fit_inputs(self, rng: RandomState) -> PlayerInputs: ...

    @abstractmethod
    def linear_system(self) -> LSTDSystem:
        """M(θ), b(θ) and c."""

    @abstractmethod
    def start_weights(self) -> Tensor:
        """θ of a policy that prefers nothing."""

    @abstractmethod
    def from_weights(self, theta: Tensor, w: Tensor) -> Fitted:
        """The two on states, from weights."""

    @abstractmethod
    def _embedding(self) -> FeatureRows: ...

    @abstractmethod
    def start_policy(self) -> nn.Module:
        """A module from inputs to a choice: uniform, or nearly."""

    @abstractmethod
    def start_q_function(self) -> nn.Module:
        """Zero where it is linear."""

    @abstractmethod
    def from_modules(self, policy: nn.Module, q_function: nn.Module) -> Fitted:
        """The two on states, from modules."""

    def minibatch_inputs(self) -> MinibatchInputs:
        """What is read of states and rows on the way, by their indices."""
        read = (self.inputs.policy, self.inputs.q_function)
        policy, q_function = map(self._table, read)
        prior, inputs = self.log_prior, policy
        if prior is not None:

            def policy(index: Index) -> Tensor:
                return torch.cat([inputs(index), prior[torch.from_numpy(index)]], dim=1)

        return MinibatchInputs(policy, q_function, self._embedding())

    @property
    @abstractmethod
    def log_prior(self) -> Tensor | None:
        """Columns behind the policy's inputs, of what the log supports in a state."""

    def _fit_support(
        self, codes: Index, n_actions: int, rng: RandomState
    ) -> ActionSupport | None:
        if not self.hp.support:
            return None
        states = self.problem.state
        return ActionSupport(self.hp.support).fit(
            states, codes, n_actions, has_few_states(states), rng
        )

    @cached_property
    def n_distinct(self) -> float:
        """E k(x, x)² / E k(x, x')²: how many logged pairs the kernel keeps apart.

        K where there are K of them, equal or not and equally often logged.
        """
        index = fixed_sample(len(self.rows.state), _KERNEL_ROWS)
        z = self._embedding()(index).double()
        gram = z @ z.T
        # Eq. (58) of docs/game.md.
        return float(gram.diagonal().mean() ** 2 / (gram * gram).mean())

    @cached_property
    def design_effect(self) -> float:
        """How many dependent rows are worth an independent one."""
        log, rows = self.problem.log, self.rows
        if log.episode is None:
            return 1.0
        _, episode = np.unique(log.episode, return_inverse=True)
        wanted = min(most_features(int(episode.max()) + 1), _DESIGN_FEATURES)
        if wanted == 0:
            return 1.0
        # Whole episodes, for as many rows as show how much they differ.
        sizes = np.bincount(episode)
        order = np.random.default_rng(0).permutation(len(sizes))
        chosen = order[: 1 + np.searchsorted(sizes[order].cumsum(), _DESIGN_ROWS)]
        index = np.flatnonzero(np.isin(episode, chosen))
        # Where a row's next state is another row's state, that row follows.
        place = np.full(len(episode) + 1, -1)
        place[index] = np.arange(len(index))
        follows = rows.next_state[index]
        follows = np.where(follows < len(episode), follows, len(episode))
        return design_effect(
            self._leading_features(index, wanted),
            place[follows],
            rows.reward[index],
            rows.terminated[index],
            np.unique(episode[index], return_inverse=True)[1],
            self.problem.discount,
        )

    @abstractmethod
    def _leading_features(self, index: Index, wanted: int) -> Floats:
        """The first features of logged pairs, which hold most of the kernel."""

    def _table(self, inputs: StateInputs) -> FeatureRows:
        """One table for each way to read states, whoever reads so."""
        if id(inputs) not in self._tables:
            states, width = self.problem.states, inputs.n_features_out_
            size = np.dtype(self.hp.dtype).itemsize
            self._tables[id(inputs)] = feature_rows(
                inputs.transform, states, width, itemsize=size
            )
        return self._tables[id(inputs)]

    def _scaled(self, w: Tensor) -> LinearQ:
        """Q in units of discounted return."""
        return LinearQ(w * self.problem.scale)

    def _shown(self, policy: nn.Module, q_function: nn.Module) -> dict[str, object]:
        """Attributes of the estimator, whatever the actions."""
        embedded = self.inputs.embedded
        return {
            "features_": embedded,
            "bandwidth_": getattr(embedded, "bandwidth_", None),
            "policy_": policy,
            "q_function_": q_function,
        }

    def _examples(self, inputs: StateInputs) -> Tensor:
        return torch.from_numpy(inputs.transform(self.problem.states[:_EXAMPLES]))

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=getattr(torch, self.hp.dtype))

    def _network(self, name: str, n_outputs: int, examples: Tensor) -> nn.Module:
        function_class: FunctionClass = getattr(self.hp, name)
        return build_network(
            MLP() if isinstance(function_class, str) else function_class,
            examples.shape[1],
            n_outputs,
            name=name,
            dtype=examples.dtype,
            # Two networks of one shape are not to start as the same one.
            seed=self.inputs.seed + (name == "policy"),
            examples=examples,
        )

    def _head(self, n_outputs: int) -> nn.Module:
        """Outputs of the policy's states: by a network, or linear in features."""
        examples = self._examples(self.inputs.policy)
        if is_network(self.hp.policy):
            return self._network("policy", n_outputs, examples)
        return LinearQ(self._zeros(examples.shape[1], n_outputs)).requires_grad_()


class DiscretePlayers(Players):
    """Of discrete actions, k((s, a), (s', a')) = k(s, s')·1[a = a']."""

    actions: DiscreteActions
    action: Index

    @property
    def n_actions(self) -> int:
        return len(self.actions.classes)

    def _fit_inputs(self, rng: RandomState) -> PlayerInputs:
        hp = with_relevance(self.hp, self.problem.states, self.rows, rng)
        readers = InputReaders(hp, self.problem.state, rng)
        q_function = readers.read(self.hp.q_function)
        # A linear Q is in the features that its own error is measured by.
        embedded = q_function if self.linear_q else readers.read("kernel")
        if self.linear:
            n_rows = None if self.ridge else len(self.action)
            check_table_size(self.n_actions, embedded.n_features_out_, n_rows)
        policy = readers.read(self.hp.policy)
        seed = 0 if self.linear else draw_seed(rng)
        support = self._fit_support(self.action, self.n_actions, rng)
        return PlayerInputs(policy, q_function, embedded, seed=seed, support=support)

    @property
    def _support(self) -> ActionSupport | None:
        support = self.inputs.support
        assert not isinstance(support, ActionRange)
        return support

    @cached_property
    def log_prior(self) -> Tensor | None:
        """What is added to the policy's logits in every state, (N, A); None if zero."""
        available = self.problem.available(self.actions.classes)
        prior = action_prior(self._support, self.problem.states, available)
        if prior is None:
            return None
        return torch.from_numpy(prior).to(getattr(torch, self.hp.dtype))

    def linear_system(self) -> DiscreteLSTD:
        features, discount = self._table(self.inputs.embedded), self.problem.discount
        return DiscreteLSTD(
            self.rows,
            features,
            self.n_actions,
            discount,
            self.ridge,
            log_prior=self.log_prior,
        )

    def start_weights(self) -> Tensor:
        # θ = 0 is uniform, where each action's advantage counts alike.
        shape = (self.inputs.embedded.n_features_out_, self.n_actions)
        return torch.zeros(shape, dtype=torch.float64)

    def from_weights(self, theta: Tensor, w: Tensor) -> Fitted:
        return self.from_modules(SoftmaxPolicy(theta), DiscreteQ(LinearQ(w)))

    def _leading_features(self, index: Index, wanted: int) -> Floats:
        features = self._table(self.inputs.embedded)(self.rows.state[index]).numpy()
        features = features[:, : max(1, wanted // self.n_actions)].astype(np.float64)
        own = np.eye(self.n_actions)[self.action[index]]
        return (own[:, :, None] * features[:, None, :]).reshape(len(index), -1)

    def _embedding(self) -> FeatureRows:
        features = self._table(self.inputs.embedded)
        return discrete_embedding(features, self.rows, self.n_actions)

    def start_policy(self) -> nn.Module:
        head = self._head(self.n_actions)
        if isinstance(head, LinearQ):
            weight, has_prior = head.weight.detach(), self.log_prior is not None
            return SoftmaxPolicy(weight, has_prior).requires_grad_()
        return NetworkSoftmax(head, 0 if self.log_prior is None else self.n_actions)

    def start_q_function(self) -> nn.Module:
        if not self.linear_q:
            examples = self._examples(self.inputs.q_function)
            return DiscreteQ(self._network("q_function", self.n_actions, examples))
        weight = self._zeros(self.inputs.q_function.n_features_out_, self.n_actions)
        return DiscreteQ(LinearQ(weight).requires_grad_())

    def from_modules(self, policy: nn.Module, q_function: nn.Module) -> Fitted:
        assert isinstance(q_function, DiscreteQ)
        inputs, problem, module = self.inputs, self.problem, q_function.module
        logits: LinearFunction | NetworkFunction
        values: LinearFunction | NetworkFunction
        if isinstance(policy, SoftmaxPolicy):
            logits = LinearFunction(inputs.policy, policy)
        else:
            assert isinstance(policy, NetworkSoftmax)
            logits = NetworkFunction(inputs.policy, policy.module)
        if isinstance(module, LinearQ):
            module = self._scaled(module.weight.detach())
            values = LinearFunction(inputs.q_function, module)
        else:
            values = NetworkFunction(inputs.q_function, module, problem.scale)
        fitted = DiscretePolicy(
            self.actions,
            logits,
            values,
            problem.anchor,
            self._support,
            problem.log.available_actions,
            problem.log.available_rule,
        )
        shown = self._shown(policy, module) | {"classes_": self.actions.classes}
        return Fitted(fitted, shown)


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
        readers = InputReaders(hp, state, own, len(low))
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
            support = self._fit_support(codes, len(candidates), rng)
        elif isinstance(distribution, SquashedGaussian) and hp.support:
            support = ActionRange(hp.support).fit(state, self.action, rng)
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

    def _supported(self, outputs: StateFunction) -> StateFunction:
        """Outputs of states, and what the log supports there."""
        support = self.inputs.support
        if isinstance(support, ActionRange):
            return RangedOutputs(outputs, support)
        return outputs if support is None else SupportedLogits(outputs, support)

    def linear_system(self) -> ContinuousLSTD:
        states, discount = self.problem.states, self.problem.discount
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
        actions, anchor = self.actions, self.problem.anchor
        shown = self._shown(policy, q_function)
        shown |= {"action_bounds_": actions.bounds, "action_names_": actions.names}
        if isinstance(policy, CandidateSoftmax):
            shown["candidates_"] = policy.exact.numpy()
        distribution = ActionDistribution(outputs, policy)
        fitted = ContinuousPolicy(actions, distribution, values, anchor)
        return Fitted(fitted, shown)
