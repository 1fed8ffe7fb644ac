"""The game as it is played on samples: rows and initial states, a batch at a time."""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import game
from .._problem.rows import TABLE_BYTES, FeatureRows
from .._sampling import fixed_sample
from .._typing import Floats, Index


class MinibatchRows(NamedTuple):
    """Logged rows, and what either player sees of their states.

    Parameters
    ----------
    leader_inputs, follower_inputs : callable
        ``inputs(index)`` gives what the player sees of the states at ``index``, (k, d):
        kernel features, or the states themselves. One object may serve as both.
    embedding : callable
        ``embedding(index)`` gives Z of the rows at ``index``, (k, p): the kernel's
        features of the logged (s, a).
    state, next_state : int array of shape (n,)
        Where each row's state and next state are among the states.
    action : int array of shape (n,), or float array of shape (n, p)
        Codes, or measurements.
    reward, terminated : float array of shape (n,)
    initial : int array of shape (n_initial,)
        Where the initial states are among the states.
    """

    leader_inputs: FeatureRows
    follower_inputs: FeatureRows
    embedding: FeatureRows
    state: Index
    next_state: Index
    action: Index | Floats
    reward: Floats
    terminated: Floats
    initial: Index


# Rows whose states' inputs are part of a checksum.
_CHECKED_ROWS = 2_000


def checksum(rows: MinibatchRows) -> int:
    """Tells rows from others: indices, actions, rewards, ends and inputs of states.

    Inputs are those of some rows alone: an embedding of all would cost as much as a
    step.
    """
    chosen = fixed_sample(len(rows.state), _CHECKED_ROWS)
    first = rows.initial[fixed_sample(len(rows.initial), _CHECKED_ROWS)]
    inputs = [
        read(index).numpy()
        for read in (rows.leader_inputs, rows.follower_inputs)
        for index in (rows.state[chosen], rows.next_state[chosen], first)
    ]
    found = 0
    for part in (*_states(rows), rows.action, rows.reward, rows.terminated, *inputs):
        found = zlib.crc32(np.ascontiguousarray(part), found)
    return found


class Batch(NamedTuple):
    """Some rows and some initial states, with all that the equations ask of them."""

    leader_next: Tensor  # (k, d)
    leader_initial: Tensor  # (k0, d)
    follower_state: Tensor  # (k, d')
    follower_next: Tensor
    follower_initial: Tensor  # (k0, d')
    action: Tensor  # (k,) or (k, p)
    reward: Tensor  # (k,)
    terminated: Tensor
    embedding: Tensor  # (k, q)


class BatchEvaluation(NamedTuple):
    """What two players make of a batch."""

    initial_value: Tensor  # q(s0, π), (k0,)
    residual: Tensor  # δ, (k,)


class MinibatchGame:
    """Batches of the rows, on one device and in one precision.

    Parameters
    ----------
    rows : MinibatchRows
    discount : float
    ridge : float, default=0.0
        ρ, as in `game.bellman_error`: for a follower linear in the features that it is
        embedded by, whose weights are in the embedding's order.
    dtype : dtype, default=torch.float64
    device : device or str, default="cpu"
    """

    def __init__(
        self,
        rows: MinibatchRows,
        discount: float,
        *,
        ridge: float = 0.0,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        self.rows, self.discount, self.ridge = rows, discount, ridge
        self.dtype, self.device = dtype, torch.device(device)
        self.n, self.n_initial = len(rows.state), len(rows.initial)
        n_states = 1 + max(int(part.max()) for part in _states(rows))
        self._leader = self._table(rows.leader_inputs, n_states)
        self._follower = self._leader
        if rows.follower_inputs is not rows.leader_inputs:
            self._follower = self._table(rows.follower_inputs, n_states)
        self._embedding = self._table(rows.embedding, self.n)
        self._index = tuple(
            torch.from_numpy(np.ascontiguousarray(part)).to(self.device)
            for part in _states(rows)
        )
        action = torch.from_numpy(np.ascontiguousarray(rows.action)).to(self.device)
        self._action = action.to(dtype) if action.is_floating_point() else action.long()
        self._reward, self._terminated = (
            torch.as_tensor(part, dtype=dtype, device=self.device)
            for part in (rows.reward, rows.terminated)
        )

    @property
    def largest_value(self) -> float:
        """max |r| / (1 − γ): no policy's Q is larger."""
        return float(np.abs(self.rows.reward).max()) / (1.0 - self.discount)

    def _table(self, read: FeatureRows, n: int) -> Tensor | FeatureRows:
        """All inputs at once where they are small enough to lie on the device."""
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
        """The rows and the initial states at these places.

        Parameters
        ----------
        rows : int array of shape (k,)
            Out of ``n``.
        initial : int array of shape (k0,)
            Out of ``n_initial``.

        Returns
        -------
        Batch
        """
        chosen = torch.from_numpy(rows).to(self.device)
        first = self._index[2][torch.from_numpy(initial).to(self.device)]
        state, after = self._index[0][chosen], self._index[1][chosen]
        return Batch(
            leader_next=self._read(self._leader, after),
            leader_initial=self._read(self._leader, first),
            follower_state=self._read(self._follower, state),
            follower_next=self._read(self._follower, after),
            follower_initial=self._read(self._follower, first),
            action=self._action[chosen],
            reward=self._reward[chosen],
            terminated=self._terminated[chosen],
            embedding=self._read(self._embedding, chosen),
        )

    def fixed_batch(self, limit: int) -> Batch:
        """Fixed rows and initial states, all of them if there are no more.

        Parameters
        ----------
        limit : int
            Of either.

        Returns
        -------
        Batch
        """
        rng = np.random.default_rng(0)
        return self.batch(
            *(fixed_sample(n, limit, rng) for n in (self.n, self.n_initial))
        )

    def value(self, play: BatchEvaluation) -> Tensor:
        """v, estimated by the batch's initial states."""
        return game.leader_objective(play.initial_value, self.discount)

    def error(self, play: BatchEvaluation, batch: Batch, w: Tensor) -> Tensor:
        """E_K, estimated without bias by the batch's rows."""
        weight = w if self.ridge else None
        return game.minibatch_bellman_error(
            play.residual, batch.embedding, self.n, weight, self.ridge
        )

    def embedded(self, play: BatchEvaluation, batch: Batch, w: Tensor) -> Tensor:
        """The mean of the residuals in the kernel's space, (q,)."""
        weight = w if self.ridge else None
        return game.embedded_residual(
            play.residual, batch.embedding, weight, self.ridge
        )

    def follower_objective(
        self, play: BatchEvaluation, batch: Batch, w: Tensor, lam: float, beta: float
    ) -> Tensor:
        """F, estimated without bias by the batch."""
        error = self.error(play, batch, w)
        return game.follower_objective(self.value(play), error, w, self.n, lam, beta)


class Players(nn.Module):
    """A leader and a follower, who make of a batch what the equations ask for.

    Parameters
    ----------
    leader : Module
        Inputs (k, d) to a choice: probabilities, or nodes.
    follower : Module
        With `followers.Follower`'s methods.
    discount : float
    """

    def __init__(self, leader: nn.Module, follower: Any, discount: float) -> None:
        super().__init__()
        self.leader, self.follower, self.discount = leader, follower, discount

    def choices(self, batch: Batch) -> tuple[Any, Any]:
        """What the leader chooses in the next and in the initial states."""
        return self.leader(batch.leader_next), self.leader(batch.leader_initial)

    def forward(
        self, batch: Batch, choices: tuple[Any, Any] | None = None
    ) -> BatchEvaluation:
        """q(s0, π) and δ of a batch, by choices made before if any are given."""
        after, first = self.choices(batch) if choices is None else choices
        return BatchEvaluation(
            self.follower.expected(batch.follower_initial, first),
            game.td_residual(
                self.follower.logged(batch.follower_state, batch.action),
                self.follower.expected(batch.follower_next, after),
                batch.reward,
                batch.terminated,
                self.discount,
            ),
        )

    def at(
        self, batch: Batch, w: Tensor, theta: Tensor | None = None, choices: Any = None
    ) -> BatchEvaluation:
        """The same, with the players' weights given, flat.

        Parameters
        ----------
        batch : Batch
        w : Tensor of shape (p,)
            The follower's, as `flat` gives them.
        theta : Tensor of shape (q,), default=None
            The leader's; as they are if None.
        choices : tuple, default=None

        Returns
        -------
        Play
        """
        weights = _unflattened(self.follower, w, "follower.")
        if theta is not None:
            weights |= _unflattened(self.leader, theta, "leader.")
        return torch.func.functional_call(self, weights, (batch, choices))


def trained(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that are played with."""
    return [p for p in module.parameters() if p.requires_grad]


def flat(module: nn.Module) -> Tensor:
    """A player's weights as one detached vector."""
    return torch.cat([p.detach().reshape(-1) for p in trained(module)])


def assign(module: nn.Module, weights: Tensor) -> None:
    """Give a player the weights of a vector."""
    start = 0
    with torch.no_grad():
        for parameter in trained(module):
            size = parameter.numel()
            parameter.copy_(weights[start : start + size].reshape(parameter.shape))
            start += size


def _unflattened(module: nn.Module, weights: Tensor, prefix: str) -> dict[str, Tensor]:
    found, start = {}, 0
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            part = weights[start : start + parameter.numel()]
            found[prefix + name] = part.reshape(parameter.shape)
            start += parameter.numel()
    return found


def _states(rows: MinibatchRows) -> tuple[Index, Index, Index]:
    return rows.state, rows.next_state, rows.initial


def discrete_embedding(
    features: FeatureRows, state: Index, action: Index, n_actions: int
) -> FeatureRows:
    """Z of (s, a): φ(s) ⊗ e_a, in the order of `LinearQ`'s flat weights.

    Parameters
    ----------
    features : callable
        φ of states by index, (k, m).
    state, action : int array of shape (n,)
    n_actions : int

    Returns
    -------
    callable
        Row indices to a Tensor of shape (k, m n_actions).
    """

    def embedding(index: Index) -> Tensor:
        phi = features(state[index])
        taken = torch.zeros(len(index), n_actions, dtype=phi.dtype)
        taken[torch.arange(len(index)), torch.from_numpy(action[index])] = 1.0
        return (phi[:, :, None] * taken[:, None, :]).flatten(1)

    return embedding


class Minibatches:
    """Places out of n, in random order, each once in an epoch.

    What an epoch leaves over, less than a batch, goes back into the next one, so that
    all batches have one size and every place has an equal share of them.

    Parameters
    ----------
    n : int
    size : int
        Rows of a batch; all n, in their own order, where it is larger.
    """

    def __init__(self, n: int, size: int) -> None:
        self.n, self.size = n, min(n, size)
        self.order: Index = np.arange(n)
        self.position = n

    def draw(self, rng: np.random.Generator) -> Index:
        """Places of the next batch.

        Parameters
        ----------
        rng : numpy Generator
            Moves on once in an epoch.

        Returns
        -------
        int array of shape (size,)
        """
        if self.size == self.n:
            return self.order
        if self.position + self.size > self.n:
            self.order, self.position = rng.permutation(self.n), 0
        start, self.position = self.position, self.position + self.size
        return self.order[start : self.position]
