"""The policy and the Q-function of a fit, whatever the actions.

`DiscretePlayers` and `ContinuousPlayers`, in modules of their own, are all that differs
between actions: what a solver is given, what it starts from, and the functions of
states made of what it finds.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.utils import check_random_state
from torch import Tensor, nn

from .._problem.action_space import Actions
from .._problem.dataset import OfflineProblem
from .._problem.design_effect import design_effect, most_features
from .._problem.rows import TABLE_BYTES, FeatureRows, feature_rows
from .._sampling import fixed_sample
from .._stored_rows import folder_of
from .._typing import Floats, Index
from ..kernels._columns import are_finite
from ..networks import MLP, build_network
from ..q_functions import LinearQ
from ..solvers._best_response import LSTDSystem
from ..solvers._minibatch_game import MinibatchInputs
from .fitted_policy import Fitted, StateInputs
from .hyperparameters import FunctionClass, Hyperparameters
from .state_inputs import PlayerInputs
from .support import ActionRange, ActionSupport

# States that a network is tried on before it is trained.
_EXAMPLES = 3

# Features and rows, of whole episodes, that the design effect is measured by.
_DESIGN_FEATURES, _DESIGN_ROWS = 100, 20_000

# Rows whose pairs show what the kernel keeps apart.
_KERNEL_ROWS = 1_000


# Products of an evaluation from which on ``device="auto"`` takes a GPU that is there:
# a core needs half a second for so many, and a fit some fifty evaluations.
_MANY_PRODUCTS = 2e10


def resolve_device(given: str, n_products: float = np.inf) -> str:
    """The device that ``"auto"`` stands for, or the one given if it is there."""
    there = torch.cuda.is_available()
    if given == "cuda" and not there:
        raise ValueError(
            "device='cuda' was given, and torch finds no GPU here. Set device='auto' "
            "or 'cpu', or install a build of torch for your GPU."
        )
    wanted = given == "cuda" or (given == "auto" and n_products >= _MANY_PRODUCTS)
    return "cuda" if there and wanted else "cpu"


class Players(ABC):
    """A policy and a Q-function to be learned from a problem.

    ``linear`` says that both are tensors of weights, for a solver that needs a linear
    system, and not modules. Later fits are given the inputs of the first.
    """

    actions: Actions
    action: Index | Floats
    device = "cpu"  # where tables of features lie
    table_bytes = TABLE_BYTES  # of one that is kept

    def __init__(
        self,
        hp: Hyperparameters,
        problem: OfflineProblem,
        actions: Actions,
        linear: bool,
        inputs: PlayerInputs | None = None,
    ) -> None:
        self.problem, self.linear = problem, linear
        self.actions, self.action = actions, actions.read(problem.log)
        self._set(hp)
        self.linear_q = not hp.q_is_network
        self.rows = problem.rows(self.action)
        self.inputs = inputs or self._fit_inputs(check_random_state(hp.random_state))
        self._tables: dict[int, FeatureRows] = {}

    def varied(
        self, hp: Hyperparameters, support: ActionSupport | ActionRange | None
    ) -> Players:
        """The same in the same features, with another β, ridge or support."""
        other = copy.copy(self)
        other._set(hp)
        other.inputs = replace(self.inputs, support=support)
        if support is not self.inputs.support:
            # What was computed of the support before.
            for name in ("log_prior", "_model"):
                other.__dict__.pop(name, None)
        return other

    def _set(self, hp: Hyperparameters) -> None:
        self.hp, of = hp, (self.actions.type, self.problem.row_discount)
        self.beta, self.ridge = hp.beta_for(*of), hp.ridge_for(*of)

    def is_other_system(self, other: Players) -> bool:
        """Whether M(θ), b(θ) or c differ from those of the other's, in its features."""
        same_support = self.inputs.support is other.inputs.support
        return not (same_support and self.ridge == other.ridge)

    @property
    def least_support(self) -> float:
        """The threshold of what the policy is held to; 0 where it is to nothing."""
        support = self.inputs.support
        return 0.0 if support is None else support.threshold

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

    @abstractmethod
    def prior_at(self, support: ActionSupport, some: slice | Index) -> Floats:
        """What a support adds to the policy's logits in some states, (k, A)."""

    def _fit_support(
        self,
        codes: Index,
        n_actions: int,
        rng: RandomState,
        candidates: Floats | None = None,
    ) -> ActionSupport | None:
        if not self.hp.least_support:
            return None
        states, log = self.problem.state, self.problem.log
        # Few enough to count the actions of each, however many features there are.
        finite = are_finite(states, None, self.rows.total)
        return ActionSupport(self.hp.least_support).fit(
            states, codes, n_actions, finite, rng, log.weight, candidates, log.episode
        )

    @cached_property
    def n_distinct(self) -> float:
        """E k(x, x)² / E k(x, x')²: how many logged pairs the kernel keeps apart.

        K where there are K of them, equal or not and equally often logged.
        """
        index = fixed_sample(len(self.rows.state), _KERNEL_ROWS)
        z = self._embedding()(index).double()  # (k, M)
        gram = z @ z.T
        share = torch.from_numpy(self.rows.weights(index))
        share = share / share.sum()
        # Eq. (58) of docs/game.md.
        return float((share @ gram.diagonal()) ** 2 / (share @ (gram * gram) @ share))

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
            self.problem.row_discount,
            self.rows.weights(index),
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
                inputs.transform,
                states,
                width,
                self.table_bytes,
                size,
                self.device,
                folder_of(self.problem.log.state),
            )
        return self._tables[id(inputs)]

    def release(self) -> None:
        """Let go of the tables, which are made anew where they are read again."""
        self._tables = {}

    def _on_cpu(self, inputs: StateInputs) -> FeatureRows:
        """The same, for what is measured of a few rows wherever they lie."""
        table = self._table(inputs)
        return table if self.device == "cpu" else lambda index: table(index).cpu()

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
        if self.hp.policy_is_network:
            return self._network("policy", n_outputs, examples)
        return LinearQ(self._zeros(examples.shape[1], n_outputs)).requires_grad_()
