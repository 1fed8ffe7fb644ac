"""The game on samples: rows and initial states, a batch at a time."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import game
from .._problem.rows import TABLE_BYTES, FeatureRows, Rows
from .._sampling import fixed_sample
from .._typing import Index

# What a policy chooses in some states: probabilities (k, n_actions), or nodes.
Choice = Tensor | tuple[Tensor, Tensor]
Choices = tuple[Choice, Choice]


class MinibatchInputs(NamedTuple):
    """What is read of states and rows, by their indices.

    Parameters
    ----------
    policy, q_function : callable
        What each reads of the states at an index, (k, d); one object may be both.
    embedding : callable
        Z of the rows at an index, (k, p): the kernel's features of the logged (s, a).
    """

    policy: FeatureRows
    q_function: FeatureRows
    embedding: FeatureRows


class Batch(NamedTuple):
    """Some rows and some initial states, with all that the equations need of them."""

    policy_next: Tensor  # (k, d)
    policy_initial: Tensor  # (k0, d)
    q_state: Tensor  # (k, d')
    q_next: Tensor  # (k, d')
    q_initial: Tensor  # (k0, d')
    action: Tensor  # (k,) or (k, p)
    reward: Tensor  # (k,)
    terminated: Tensor  # (k,)
    embedding: Tensor  # (k, q)
    # Of rows and of initial states, 1 in the mean over the log; None is 1.
    weight: Tensor | None = None  # (k,)
    initial_weight: Tensor | None = None  # (k0,)


class BatchEvaluation(NamedTuple):
    """What a policy and a Q-function make of a batch."""

    initial_value: Tensor  # q(s0, π), (k0,), times its weight
    residual: Tensor  # δ, (k,), times its weight


class MinibatchGame:
    """The problem of ``needs = "samples"``: batches, on one device, in one precision.

    ``ridge`` is ρ, as in `game.bellman_error`: for a Q-function linear in the features
    that it is embedded by, whose weights are in the embedding's order.
    """

    def __init__(
        self,
        rows: Rows,
        inputs: MinibatchInputs,
        discount: float,
        *,
        ridge: float = 0.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rows, self.inputs = rows, inputs
        self.discount, self.ridge = discount, ridge
        self.dtype, self.device = dtype, torch.device(device)
        self.n, self.n_initial = len(rows.state), len(rows.initial)
        # n of λ n E_K; batches are drawn from the rows, whatever these weigh.
        self.log_length = rows.total
        indices = (rows.state, rows.next_state, rows.initial)
        n_states = 1 + max(int(index.max()) for index in indices)
        # One table serves where both read the same inputs.
        self._policy = self._table(inputs.policy, n_states)
        self._q_function = self._policy
        if inputs.q_function is not inputs.policy:
            self._q_function = self._table(inputs.q_function, n_states)
        self._embedding = self._table(inputs.embedding, self.n)
        self._state, self._next, self._initial, action = (
            torch.from_numpy(np.ascontiguousarray(part)).to(self.device)
            for part in (*indices, rows.action)
        )
        # Codes stay integers, to gather by; continuous actions take the precision.
        self._action = action.to(dtype) if action.is_floating_point() else action.long()
        self._reward, self._terminated = (
            torch.as_tensor(part, dtype=dtype, device=self.device)
            for part in (rows.reward, rows.terminated)
        )
        self._weight, self._initial_weight = (
            None
            if part is None
            else torch.as_tensor(part / part.mean(), dtype=dtype, device=self.device)
            for part in (rows.weight, rows.initial_weight)
        )

    @property
    def largest_value(self) -> float:
        """max |r| / (1 − γ): no policy's Q is larger."""
        return float(np.abs(self.rows.reward).max()) / (1.0 - self.discount)

    def checksum(self) -> int:
        """Of indices, actions, rewards, ends, inputs of states: a log has its own."""
        rows = self.rows
        chosen = fixed_sample(self.n, _CHECKED_ROWS)
        first = rows.initial[fixed_sample(self.n_initial, _CHECKED_ROWS)]
        inputs = [
            read(index).numpy()
            for read in (self.inputs.policy, self.inputs.q_function)
            for index in (rows.state[chosen], rows.next_state[chosen], first)
        ]
        # Rewards alone are not enough: CartPole pays 1 in every row of every log.
        found = 0
        for part in (*rows, *inputs):
            if part is None:
                continue
            found = zlib.crc32(np.ascontiguousarray(part).data, found)
        return found

    def _table(self, read: FeatureRows, n: int) -> Tensor | FeatureRows:
        """All inputs at once where they are small enough to lie on the device."""
        # One row shows the width without reading all of them.
        width = read(np.zeros(1, dtype=np.intp)).shape[1]
        if n * width * self.dtype.itemsize > TABLE_BYTES:
            return read
        return read(np.arange(n)).to(device=self.device, dtype=self.dtype)

    def _read(self, table: Tensor | FeatureRows, index: Tensor) -> Tensor:
        if isinstance(table, Tensor):
            return table[index]
        found = table(index.cpu().numpy())
        return found.to(device=self.device, dtype=self.dtype)

    def batch(self, rows: Index, initial: Index) -> Batch:
        """The rows and the initial states at these places, out of n and n_initial."""
        chosen = torch.from_numpy(rows).to(self.device)
        places = torch.from_numpy(initial).to(self.device)
        first = self._initial[places]
        state, after = self._state[chosen], self._next[chosen]
        return Batch(
            policy_next=self._read(self._policy, after),
            policy_initial=self._read(self._policy, first),
            q_state=self._read(self._q_function, state),
            q_next=self._read(self._q_function, after),
            q_initial=self._read(self._q_function, first),
            action=self._action[chosen],
            reward=self._reward[chosen],
            terminated=self._terminated[chosen],
            embedding=self._read(self._embedding, chosen),
            weight=None if self._weight is None else self._weight[chosen],
            initial_weight=(
                None if self._initial_weight is None else self._initial_weight[places]
            ),
        )

    def fixed_batch(self, limit: int) -> Batch:
        """Fixed rows and initial states, all of them if there are no more than that."""
        # One generator for both, so that initial states are not those of the rows.
        rng = np.random.default_rng(0)
        rows, initial = (fixed_sample(n, limit, rng) for n in (self.n, self.n_initial))
        return self.batch(rows, initial)

    def value(self, evaluation: BatchEvaluation) -> Tensor:
        """v, estimated by the batch's initial states."""
        return game.leader_objective(evaluation.initial_value, self.discount)

    def error(self, evaluation: BatchEvaluation, batch: Batch, w: Tensor) -> Tensor:
        """E_K, estimated without bias by the batch's rows."""
        return game.minibatch_bellman_error(
            evaluation.residual, batch.embedding, self.n, w, self.ridge
        )

    def embedded(self, evaluation: BatchEvaluation, batch: Batch, w: Tensor) -> Tensor:
        """The mean of the residuals in the kernel's space, (q,)."""
        return game.embedded_residual(
            evaluation.residual, batch.embedding, w, self.ridge
        )


# Rows whose states' inputs are part of a checksum: an embedding of all would cost as
# much as a step.
_CHECKED_ROWS = 2_000


class Players(nn.Module):
    """A policy and a Q-function, and what they make of a batch.

    The policy maps its inputs to a choice, and is a `policies._base.Policy` where it
    takes mirror steps; the Q-function has the methods of `q_functions.QFunction`.
    """

    policy: nn.Module
    q_function: Any  # both a Module and a `QFunction`, which no type can say

    def __init__(self, policy: nn.Module, q_function: nn.Module, discount: float):
        super().__init__()
        self.policy, self.q_function, self.discount = policy, q_function, discount

    def choices(self, batch: Batch) -> Choices:
        """What the policy chooses in the next and in the initial states."""
        return self.policy(batch.policy_next), self.policy(batch.policy_initial)

    def forward(self, batch: Batch, choices: Choices | None = None) -> BatchEvaluation:
        """q(s0, π) and δ of a batch, by choices made before if any are given."""
        # A solve takes many products at one θ, whose choices are computed once.
        after, first = self.choices(batch) if choices is None else choices
        value = self.q_function.expected(batch.q_initial, first)
        residual = game.td_residual(
            self.q_function.logged(batch.q_state, batch.action),
            self.q_function.expected(batch.q_next, after),
            batch.reward,
            batch.terminated,
            self.discount,
        )
        # Means of these over a batch are then weighted ones.
        if batch.initial_weight is not None:
            value = value * batch.initial_weight
        if batch.weight is not None:
            residual = residual * batch.weight
        return BatchEvaluation(value, residual)

    def at(
        self,
        batch: Batch,
        w: Tensor,
        theta: Tensor | None = None,
        choices: Choices | None = None,
    ) -> BatchEvaluation:
        """The same with flat weights of the Q-function and, unless None, the policy."""
        weights = _named(self.q_function, w, "q_function.")
        if theta is not None:
            weights |= _named(self.policy, theta, "policy.")
        return torch.func.functional_call(self, weights, (batch, choices))


def trained(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that steps are taken in."""
    return [p for p in module.parameters() if p.requires_grad]


def vector(parameters: list[nn.Parameter]) -> Tensor:
    """The parameters as one vector.

    torch's own `parameters_to_vector` refuses those that are not contiguous, such as a
    transposed weight; and its `vector_to_parameters` makes the parameters views of the
    vector, which the next step of an optimiser would change.
    """
    return torch.cat([p.reshape(-1) for p in parameters])


def flat(module: nn.Module) -> Tensor:
    """A module's trained weights as one detached vector."""
    return vector(trained(module)).detach()


def split(weights: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """The parts of a flat vector, shaped as the parameters."""
    parts = weights.split([p.numel() for p in parameters])
    return [part.reshape(p.shape) for part, p in zip(parts, parameters, strict=True)]


def assign(module: nn.Module, weights: Tensor) -> None:
    """Give a module the weights of a vector, copied to its device and precision."""
    parameters = trained(module)
    with torch.no_grad():
        for parameter, part in zip(parameters, split(weights, parameters), strict=True):
            parameter.copy_(part)


def _named(module: nn.Module, weights: Tensor, prefix: str) -> dict[str, Tensor]:
    named = [(k, p) for k, p in module.named_parameters() if p.requires_grad]
    parts = split(weights, [p for _, p in named])
    return {prefix + k: part for (k, _), part in zip(named, parts, strict=True)}


def discrete_embedding(
    features: FeatureRows, rows: Rows, n_actions: int
) -> Callable[[Index], Tensor]:
    """Z of (s, a), (k, m n_actions): φ(s) ⊗ e_a, ordered as `LinearQ`'s weights."""

    def embedding(index: Index) -> Tensor:
        phi = features(rows.state[index])
        # A column of features for each action, zero but for the logged one's.
        taken = torch.zeros(len(index), n_actions, dtype=phi.dtype)
        taken[torch.arange(len(index)), torch.from_numpy(rows.action[index])] = 1.0
        return (phi[:, :, None] * taken[:, None, :]).flatten(1)

    return embedding
