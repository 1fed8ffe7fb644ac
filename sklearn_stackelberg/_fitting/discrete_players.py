"""The policy and the Q-function of a fit of discrete actions."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor, nn

from .._executor import map_blocks
from .._problem.action_space import DiscreteActions
from .._problem.rows import TABLE_BYTES, FeatureRows
from .._stored_rows import row_batches
from .._typing import Flags, Floats, Index
from .._validation import check_table_size
from ..kernels._nystroem import LandmarkFeatures
from ..kernels._registry import is_delta
from ..policies._softmax import NetworkSoftmax, SoftmaxPolicy
from ..q_functions import DiscreteQ, LinearQ
from ..solvers._best_response import LSTDSystem
from ..solvers._lstd_discrete import DiscreteLSTD, count_blocks
from ..solvers._lstd_finite import FiniteLSTD
from ..solvers._minibatch_game import discrete_embedding
from .fitted_policy import DiscretePolicy, Fitted, LinearFunction, NetworkFunction
from .players import Players, resolve_device
from .state_inputs import (
    InputReaders,
    PlayerInputs,
    draw_seed,
    with_kernel,
    with_relevance,
    with_smoothness,
)
from .support import ActionRange, ActionSupport, action_prior

# Weights of Q from which on directions that hold little of the kernel are dropped: an
# evaluation costs their number's cube, 0.5 s of 2,500.
_MANY_WEIGHTS = 2_500


def _is_finite(features: object) -> bool:
    """Whether features are unit vectors, one for each state."""
    if not isinstance(features, LandmarkFeatures) or features.linear_ is not None:
        return False
    return is_delta(features.kernel_)


class DiscretePlayers(Players):
    """Of discrete actions, k((s, a), (s', a')) = k(s, s')·1[a = a']."""

    actions: DiscreteActions
    action: Index

    @property
    def n_actions(self) -> int:
        return len(self.actions.classes)

    @cached_property
    def device(self) -> str:  # type: ignore[override]
        # Minibatches are moved by the game that draws them; pairs are counted here.
        if not self.linear or self._counts_pairs:
            return "cpu"
        width = self.inputs.embedded.n_features_out_
        n_products = len(self.action) * width * width * self.n_actions
        return resolve_device(self.hp.device, n_products)

    @cached_property
    def table_bytes(self) -> int:  # type: ignore[override]
        # Blocks compute features of their own states, and keep them: the same to the
        # bit wherever a block lies.
        if self.linear and not self._counts_pairs and self.device == "cpu":
            width = self.inputs.embedded.n_features_out_
            if count_blocks(len(self.action), self.n_actions, width) > 1:
                return 0
        return TABLE_BYTES

    def _fit_inputs(self, rng: RandomState) -> PlayerInputs:
        hp, total = self.hp, self.rows.total
        logged, states = self.problem.state, self.problem.states
        episode, discount = self.problem.log.episode, self.problem.row_discount
        hp = with_kernel(hp, logged, states, self.rows, episode, discount, rng)
        given = hp
        hp = with_relevance(hp, logged, states, self.rows, rng, self.problem.shared)
        hp = with_smoothness(hp, given, states, self.rows, episode, discount)
        readers = InputReaders(hp, logged, rng, total=total)
        q_function = readers.read(self.hp.q_function)
        # A linear Q is in the features that its own error is measured by.
        embedded = q_function if self.linear_q else readers.read("kernel")
        # A closed form solves for as many weights; where rows are fewer, for those.
        weights = self.n_actions * embedded.n_features_out_
        many = self.linear and _MANY_WEIGHTS < weights < len(self.action)
        finite = many and _is_finite(embedded)
        if many and not finite and isinstance(embedded, LandmarkFeatures):
            embedded.keep_leading(_MANY_WEIGHTS // self.n_actions)
        # Of finite states the pairs count, which are not known yet.
        if self.linear and not finite:
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
        if self._support is None and self._available is None:
            return None
        states = self.problem.states
        prior = self._zeros(len(states), self.n_actions)

        def fill(some: slice) -> None:
            prior[some] = torch.from_numpy(self.prior_at(self._support, some))

        list(map_blocks(fill, list(row_batches(states))))
        return prior

    @cached_property
    def _available(self) -> Flags | None:
        return self.problem.available(self.actions.classes)

    def prior_at(self, support: ActionSupport | None, some: slice | Index) -> Floats:
        """What support and masks add to the policy's logits in some states, (k, A)."""
        masks = None if self._available is None else self._available[some]
        found = action_prior(support, self.problem.states[some], masks)
        assert found is not None
        return found

    @property
    def _counts_pairs(self) -> bool:
        """Whether states are finite, with more pairs than can all be weights."""
        embedded = self.inputs.embedded
        many = self.n_actions * embedded.n_features_out_ > _MANY_WEIGHTS
        return many and _is_finite(embedded)

    def linear_system(self) -> LSTDSystem:
        embedded, prior = self.inputs.embedded, self.log_prior
        features, discount = self._table(embedded), self.problem.row_discount
        if self._counts_pairs:
            if prior is None:
                shape = len(self.problem.states), self.n_actions
                prior = torch.zeros(shape, dtype=torch.float64)
            width = embedded.n_features_out_
            system = FiniteLSTD(
                self.rows,
                features,
                width,
                self.n_actions,
                discount,
                prior,
                self.ridge,
            )
            check_table_size(1, len(system.pairs))
            return system
        return DiscreteLSTD(
            self.rows,
            features,
            self.n_actions,
            discount,
            self.ridge,
            log_prior=prior,
        )

    def start_weights(self) -> Tensor:
        # θ = 0 is uniform, where each action's advantage counts alike.
        shape = (self.inputs.embedded.n_features_out_, self.n_actions)
        return torch.zeros(shape, dtype=torch.float64)

    def from_weights(self, theta: Tensor, w: Tensor) -> Fitted:
        return self.from_modules(SoftmaxPolicy(theta), DiscreteQ(LinearQ(w)))

    def _leading_features(self, index: Index, wanted: int) -> Floats:
        features = self._on_cpu(self.inputs.embedded)(self.rows.state[index]).numpy()
        features = features[:, : max(1, wanted // self.n_actions)].astype(np.float64)
        own = np.eye(self.n_actions)[self.action[index]]
        return (own[:, :, None] * features[:, None, :]).reshape(len(index), -1)

    def _embedding(self) -> FeatureRows:
        features = self._on_cpu(self.inputs.embedded)
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
            problem.state_anchor,
            self.hp.deterministic,
            self._support,
            problem.log.available_actions,
            problem.log.available_rule,
        )
        shown = self._shown(policy, module) | {"classes_": self.actions.classes}
        return Fitted(fitted, shown)
