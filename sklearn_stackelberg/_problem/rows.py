"""Logged rows, as solvers read them: indices into a table of states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from tempfile import TemporaryFile
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import gen_batches
from torch import Tensor

from .._executor import map_blocks
from .._stored_rows import StoredRows, row_batches

# Written out, as `_typing` has them: this module imports none of ours, so that whatever
# reads rows can stand low.
Index = NDArray[np.intp]
Floats = NDArray[np.floating]

# What is known of states, or of rows, at some indices: a Tensor of shape (k, m).
FeatureRows = Callable[[Index], Tensor]

# What a policy keeps of k states: tensors of k rows.
StateData = tuple[Tensor, ...]

# A table of features up to this size is kept; a larger one is computed anew, chunk by
# chunk, each time that it is read.
TABLE_BYTES = 2**30

# How much larger a table may be on a GPU, and how much of it is moved there at once.
_GPU_TABLE, _MOVED_BYTES = 8, 2**28

# Tables up to this size are held, wherever the states lie.
HELD_BYTES = 2**25


class Rows(NamedTuple):
    """Logged rows and initial states.

    Parameters
    ----------
    state, next_state : int array of shape (n,)
        Where each row's state and next state are among the states.
    action : int array of shape (n,), or float array of shape (n, p)
        Codes 0..n_actions - 1 of discrete actions, or continuous actions.
    reward, terminated : float array of shape (n,)
    initial : int array of shape (n_initial,)
        Where the initial states are among the states.
    weight, initial_weight : float arrays of shape (n,) and (n_initial,), or None
        How often each row, and each initial state, counts. None is once.
    """

    state: Index
    next_state: Index
    action: Index | Floats
    reward: Floats
    terminated: Floats
    initial: Index
    weight: Floats | None = None
    initial_weight: Floats | None = None

    @property
    def total(self) -> float:
        """How many rows they count as, Σ weight."""
        return len(self.state) if self.weight is None else float(self.weight.sum())

    def weights(self, index: Index) -> Floats:
        """Of some rows, (k,)."""
        return np.ones(len(index)) if self.weight is None else self.weight[index]

    @property
    def initial_share(self) -> Floats:
        """The initial states' weights, (n_initial,), which sum to 1."""
        if self.initial_weight is None:
            return np.full(len(self.initial), 1.0 / len(self.initial))
        return self.initial_weight / self.initial_weight.sum()

    def take(self, chosen: Index | slice, places: Index) -> Rows:
        """Some rows, and the initial states at some places."""
        weight, of_initial = self.weight, self.initial_weight
        return Rows(
            self.state[chosen],
            self.next_state[chosen],
            self.action[chosen],
            self.reward[chosen],
            self.terminated[chosen],
            self.initial[places],
            None if weight is None else weight[chosen],
            None if of_initial is None else of_initial[places],
        )


def index_states(
    state: Floats, next_state: Floats, shared: Index
) -> tuple[Floats, Index, Index]:
    """One table for states and next states, where a state that is both stands once.

    ``shared`` (n,) is the row whose state is the next state, or -1. Returned beside the
    table is where each row's state and next state are in it, (n,) each.
    """
    alone = np.flatnonzero(shared < 0)
    next_index = shared.astype(np.intp)
    if not len(alone):
        return state, np.arange(len(state)), next_index
    next_index[alone] = len(state) + np.arange(len(alone))
    states = np.concatenate([state, next_state[alone]])
    return states, np.arange(len(state)), next_index


@dataclass(frozen=True, eq=False)
class ComputedFeatures:
    """Features that are computed anew each time: a table would be too large."""

    transform: Callable[[Floats], Floats]
    states: Floats
    device: str
    folder: str | None = None  # where a table may lie

    def __call__(self, index: Index) -> Tensor:
        # Of many columns the states themselves take more memory than their features.
        rows = StoredRows(self.states, index)
        parts = [self.transform(rows[some]) for some in row_batches(rows)]
        if len(parts) != 1:
            parts = [np.concatenate(parts)] if parts else [self.transform(rows[:])]
        return torch.from_numpy(parts[0]).to(self.device)

    def table(self, index: Index, n_features: int) -> Tensor | None:
        """Those at an index, to be kept; None where a disk is full."""
        rows = StoredRows(self.states, index)
        return _filled(self.transform, rows, n_features, self.folder)


class BlockPart(NamedTuple):
    """The part of a log that a block sums.

    ``features(index)`` gives φ of the states at ``index``, (k, m); ``log_prior`` is
    added to the policy's logits there, (N, A); ``share`` is of each initial state of
    the rows, as a share of the whole log's; ``keeps_table``: of computed features.
    """

    rows: Rows
    share: Floats
    features: FeatureRows
    log_prior: Tensor | None
    keeps_table: bool

    def alone(self) -> BlockPart:
        """With a table of states of its own, of features computed anew."""
        features, rows, prior = self.features, self.rows, self.log_prior
        assert isinstance(features, ComputedFeatures)
        index = rows.state, rows.next_state, rows.initial
        own = np.unique(np.concatenate(index))
        state, next_state, initial = (np.searchsorted(own, one) for one in index)
        return BlockPart(
            rows._replace(state=state, next_state=next_state, initial=initial),
            self.share,
            replace(features, states=features.states[own], folder=None),
            None if prior is None else prior[torch.from_numpy(own)],
            self.keeps_table,
        )


def feature_rows(
    transform: Callable[[Floats], Floats],
    states: Floats,
    n_features: int,
    table_bytes: int = TABLE_BYTES,
    itemsize: int = 8,
    device: str = "cpu",
    folder: str | None = None,
) -> FeatureRows:
    """Features by index: from a table if it is small enough, else computed anew.

    A ``device`` has its own memory, where the table may be eight times larger; in a
    ``folder`` a table that is not short is a file, which goes with it.
    """
    on_cpu = device == "cpu"
    most = table_bytes * (1 if on_cpu else _GPU_TABLE)
    if len(states) * n_features * itemsize > most:
        return ComputedFeatures(transform, states, device, folder)
    if on_cpu:
        short = len(states) * n_features * itemsize <= HELD_BYTES
        filled = _filled(transform, states, n_features, None if short else folder)
        if filled is None:
            return ComputedFeatures(transform, states, device)
        table = filled
    else:
        # In parts, so that the computer's memory never holds all of it.
        at_once = max(1, _MOVED_BYTES // (n_features * itemsize))
        parts = gen_batches(len(states), at_once)
        moved = [torch.from_numpy(transform(states[some])).to(device) for some in parts]
        table = torch.cat(moved)
    # Of a matrix's rows a fraction of what indexing by a tensor takes.
    return lambda index: table.index_select(0, torch.from_numpy(index).to(device))


def _filled(
    transform: Callable[[Floats], Floats],
    states: Floats | StoredRows,
    n_features: int,
    folder: str | None,
) -> Tensor | None:
    """Features of all states, made by as many threads as torch has."""
    batches = list(row_batches(states))
    if folder is not None:
        try:
            return _filed(transform, states, n_features, batches, folder)
        except OSError:
            return None
    if len(batches) <= 1:
        return torch.from_numpy(transform(states[:]))
    first = torch.from_numpy(transform(states[batches[0]]))
    table = first.new_empty(len(states), n_features)
    table[batches[0]] = first

    def fill(some: slice) -> None:
        table[some] = torch.from_numpy(transform(states[some]))

    list(map_blocks(fill, batches[1:]))
    return table


def _filed(
    transform: Callable[[Floats], Floats],
    states: Floats | StoredRows,
    n_features: int,
    batches: list[slice],
    folder: str,
) -> Tensor:
    """The same in a file without a name, of which no more is held than is read."""
    lock = Lock()
    dtype = transform(states[:1]).dtype
    with TemporaryFile(dir=folder) as file:

        def fill(some: slice) -> None:
            part = transform(states[some])
            with lock:
                file.seek(some.start * n_features * dtype.itemsize)
                file.write(part.data)

        list(map_blocks(fill, batches))
        file.flush()
        # torch warns of what cannot be written to; nothing is.
        shape = len(states), n_features
        return torch.from_numpy(np.memmap(file, dtype, "c", shape=shape))


def weigh(features: Tensor, weight: Floats | None, index: Index) -> Tensor:
    """Features of rows at an index, (k, m), times their weights."""
    if weight is None:
        return features
    return features * torch.from_numpy(weight[index]).to(features)[:, None]


def abs_quantile(outputs: Tensor) -> float:
    """95 % quantile of the size of outputs; 1 where all are zero."""
    # Not the largest: one action that is all but never taken would set every step.
    size = float(np.quantile(outputs.abs().numpy(), 0.95))
    return size if size > 0 else 1.0
