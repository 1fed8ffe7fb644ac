"""LSTD equations of discrete actions, summed over the logged rows.

For a Q-function linear in w, all that the rows say is in

    M(θ) = Zᵀ(Φ − γ (1 − terminated) Φ'_θ) / n,   c = Zᵀr / n,
    b(θ) = (1 − γ) mean φ(s0, π_θ),

with Z = Φ, the features of the logged (s, a), and φ(s, a) = e_a ⊗ φ(s); a row of weight
w counts w times in the sums and in n. They are summed over blocks of rows by the
executor; what comes out, and θ, are on the CPU, where the small system is solved.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._executor import LOCAL, active_executor, one_torch_thread
from .._linalg import LinearSystem
from .._problem.rows import (
    HELD_BYTES,
    TABLE_BYTES,
    BlockPart,
    ComputedFeatures,
    FeatureRows,
    Rows,
    abs_quantile,
)
from .._sampling import fixed_sample
from .._stored_rows import free_memory
from .._typing import Index
from ..policies._base import NEVER, advantages
from ..policies._softmax import softmax_of
from ..total_derivative import Factors
from ._best_response import STEP_ROWS, LSTDSystem
from ._few_rows import FewRows
from ._lstd_block import BlockSettings, DiscreteBlock

# Rows of a chunk, those of one product, and columns of its features times probabilities
# at once: they stay in a processor's cache, and a matrix product is still large. Of
# fewer rows in a chunk threads wait for the interpreter. A GPU needs more to be busy.
_CPU_CHUNK, _GPU_CHUNK = (2048, 512, 800), (2**16, 2**16, 4_000)

# Weights up to which M is formed, however few the rows: it costs next to nothing.
SMALL_SIZE = 500

# Features of rows gathered once and kept, if all of them take no more than this.
_GATHERED_BYTES = 2**29

# Bytes of a table in memory that are kept, and that are computed anew in each pass, of
# about a second: of a longer one more is kept.
_HELD_TABLE, _COMPUTED_TABLE = 2e8, 6.4e8

# Rows of a block, and of each action in it: a matrix of sums for every block costs a
# few per cent of summing it, and 100,000 rows keep two threads busy to the end. Of long
# logs blocks have more rows, and features of one are no large share of all memory.
_BLOCK_ROWS, _BLOCK_ROWS_PER_ACTION, _LONG_BLOCK_ROWS = 2**14, 2**11, 2**16
_MANY_BLOCKS = 24

# Bytes of M up to which a log is summed in blocks, since several are held at once, and
# up to which a part of it is kept.
_MATRIX_BYTES = 2**25


def _doubled(features: FeatureRows) -> FeatureRows:
    return lambda index: features(index).double()


class DiscreteLSTD(LSTDSystem):
    """M(θ) and b(θ), and their derivatives with respect to θ, of shape (m, A).

    ``features(index)`` gives φ of the states at ``index``, (k, m); ``log_prior`` is
    added to the policy's logits there, (N, A). Larger chunks need more memory; the sums
    are the same to rounding. Blocks and the order of their sums depend on the rows
    alone: however many threads there are, the sums are equal to the bit.
    """

    def __init__(
        self,
        rows: Rows,
        features: FeatureRows,
        n_actions: int,
        discount: float,
        ridge: float = 0.0,
        chunk_rows: int | None = None,
        log_length: float | None = None,
        log_prior: Tensor | None = None,
    ) -> None:
        super().__init__(rows, discount, ridge, log_length)
        self.n_actions, self.log_prior = n_actions, log_prior
        one = features(rows.state[:1])
        on_gpu = one.device.type == "cuda"
        if on_gpu:
            # Sums of 2¹⁶ rows in single precision moved v by 4 % on 100,000 rows, and a
            # GPU made for computing is as fast in double.
            features, one = _doubled(features), one.double()
        self.features = features
        self.n_features, self.dtype = one.shape[1], one.dtype
        self._chunk_rows = chunk_rows
        size = n_actions * self.n_features
        # With a ridge, M has other directions than those of the rows.
        self.has_few_rows = max(self.n, SMALL_SIZE) <= size and ridge == 0.0
        chunk, product, spread = _GPU_CHUNK if on_gpu else _CPU_CHUNK
        row = self.n_features * self.dtype.itemsize
        n_initial = len(rows.initial)
        n_states = 2 * self.n + n_initial
        if isinstance(features, ComputedFeatures):
            n_states = min(n_states, len(features.states))
            if n_states * row <= HELD_BYTES:
                features = replace(features, folder=None)
        # A GPU is busy with one block at a time.
        n_blocks = 1 if on_gpu else count_blocks(self.n, n_actions, self.n_features)
        # One block has nothing to share out, and a table of features stays where it is.
        shared_out = n_blocks > 1 and isinstance(features, ComputedFeatures)
        self._executor = active_executor.get() if shared_out else LOCAL
        n_bytes = n_states * row
        kept = float(n_bytes <= TABLE_BYTES)
        if isinstance(features, ComputedFeatures) and features.folder is None:
            held = max(_HELD_TABLE, n_bytes - _COMPUTED_TABLE)
            kept = min(TABLE_BYTES, held) / n_bytes
        n_kept = n_blocks if self._executor.keeps_features else n_blocks * kept
        share = rows.initial_share
        # Blocks that are the quicker ones come last, when threads run out of others.
        self._parts = [
            BlockPart(part, share[places], features, log_prior, n_blocks - k <= n_kept)
            for k, (part, places) in enumerate(split_rows(rows, n_blocks))
        ]
        self._settings = BlockSettings(
            n_actions,
            self.n_features,
            self.dtype,
            one.device,
            discount,
            self.total,
            chunk_rows or chunk,
            chunk_rows or product,
            spread,
            keeps_features=2 * self.n * row <= _GATHERED_BYTES,
            keeps_initial=(2 * self.n + n_initial) * row <= _GATHERED_BYTES,
            may_settle=log_prior is not None and self.is_small,
            # Few rows are summed otherwise, without chunks.
            places_initial=not self.has_few_rows,
        )

    @property
    def is_small(self) -> bool:
        return 8 * (self.n_actions * self.n_features) ** 2 <= _MATRIX_BYTES

    @cached_property
    def blocks(self) -> Sequence[Any]:
        # Not before they are summed: a search begins on a part of the log.
        make = partial(DiscreteBlock, settings=self._settings)
        free_memory()
        with self._threads():
            return self._executor.place(make, self._parts)

    def _tree_sum(self, method: str, *args: object) -> tuple[Tensor, ...]:
        found = self._executor.tree_sum(method, self.blocks, *args)
        # Features of whole blocks were computed, and let go of.
        if not all(part.keeps_table for part in self._parts):
            free_memory()
        return found

    def _threads(self) -> AbstractContextManager[None]:
        # As in the search.
        return one_torch_thread() if self.is_small else nullcontext()

    def on_rows(self, rows: Rows) -> DiscreteLSTD:
        numbers = self.n_actions, self.discount, self.ridge, self._chunk_rows
        log = self.log_length, self.log_prior
        return DiscreteLSTD(rows, self.features, *numbers, *log)

    @cached_property
    def _few_rows(self) -> FewRows:
        rows = self.rows
        order = np.argsort(rows.action, kind="stable")
        state, next_state = rows.state[order], rows.next_state[order]
        root = np.sqrt(rows.weights(order))
        weight = self.discount * (1.0 - rows.terminated[order]) * root
        # So few that a GPU would not gain on the way there.
        return FewRows(
            self.features(state).cpu().double() * torch.from_numpy(root)[:, None],
            self.features(next_state).cpu().double(),
            torch.from_numpy(weight)[:, None],
            torch.from_numpy(rows.action[order]),
            self.n_actions,
            self._prior(next_state),
            self.total,
        )

    @property
    def c(self) -> Tensor:  # type: ignore[override]
        return self._fixed[3]

    @cached_property
    def _fixed(self) -> tuple[Tensor, ...]:
        """What θ does not move, see `DiscreteBlock.fixed_sums`; with a ridge, and c."""
        with self._threads():
            return self._sum_fixed()

    def _sum_fixed(self) -> tuple[Tensor, ...]:
        actions, m = self.n_actions, self.n_features
        if self.has_few_rows:
            # The blocks are never formed.
            few = self._few_rows
            reward = torch.zeros(actions, m, dtype=torch.float64)
            order = np.argsort(self.rows.action, kind="stable")
            paid = self.rows.reward[order] * np.sqrt(self.rows.weights(order))
            given = torch.as_tensor(paid, dtype=torch.float64)
            for action, block in few.blocks:
                reward[action] = few.z[block].T @ given[block]
            nothing = torch.empty(0)
            c, b = (reward / self.total).ravel(), self.blocks[0].fixed_b()
            return nothing, nothing, nothing, c, b
        return self._with_ridge(*self._tree_sum("fixed_sums"))

    def _with_ridge(self, gram: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        prior = self.ridge * torch.eye(self.n_features, dtype=torch.float64)
        following, settled, reward, b = others
        return gram + prior.to(gram), following, settled, reward.ravel().cpu(), b

    def weights(self, flat: Tensor) -> Tensor:
        return flat.reshape(self.n_actions, -1).T

    def mirror_step(self, theta: Tensor, flat_w: Tensor, size: float) -> Tensor:
        """θ + η w: 95 % of the advantages move a logit by under size."""
        w = self.weights(flat_w)
        # A softmax does not see what all actions share; θ would grow by it.
        w = w - w.mean(dim=1, keepdim=True)
        features, prior = self._sample
        # Products with few columns cost what reading the features costs: both at once.
        logits, values = (features @ torch.cat([theta, w], dim=1)).tensor_split(2, 1)
        advantage = advantages(softmax_of(logits, prior), values)
        if prior is not None:
            # What is never chosen moves nothing: its advantage is not to count.
            advantage = advantage[prior > NEVER / 2]
        return theta + size / abs_quantile(advantage) * w

    def logit_scale(self, direction: Tensor) -> float:
        return abs_quantile(self._sample[0] @ direction)

    @cached_property
    def _sample(self) -> tuple[Tensor, Tensor | None]:
        chosen = self.rows.state[fixed_sample(self.n, STEP_ROWS)]
        return self.features(chosen).cpu().double(), self._prior(chosen)

    def _prior(self, index: Index) -> Tensor | None:
        return None if self.log_prior is None else self.log_prior[index]

    def __call__(self, theta: Tensor) -> LinearSystem:
        actions, m = self.n_actions, self.n_features
        if self.has_few_rows:
            c, fixed_b = self._fixed[3:]
            b = fixed_b + self.blocks[0].initial_sums(theta)
            return LinearSystem(self._few_rows(theta), self._values_at(b), c)
        if "_fixed" in self.__dict__:
            M, b = self._tree_sum("sums", theta)
        else:
            # Features that are not kept are computed once for both.
            *fixed, M, b = self._tree_sum("first_sums", theta)
            self.__dict__["_fixed"] = self._with_ridge(*fixed)
        gram, following, settled, c, fixed_b = self._fixed
        M[:, :, -1] = following - M[:, :, :-1].sum(dim=2)
        if settled.any():
            M += settled
        # ZᵀΦ has blocks on the diagonal alone: a row's z and φ share their action.
        for action in range(actions):
            M[action, :, action] += gram[action]
        M = M.view(actions * m, actions * m).cpu()
        return LinearSystem(M, self._values_at(fixed_b + b), c)

    def _values_at(self, b: Tensor) -> Tensor:
        """b(θ) of sums over the initial states, (A m,)."""
        return (1.0 - self.discount) * b.ravel().cpu()

    def vjp(self, theta: Tensor, factors: Factors, gradient_b: Tensor) -> Tensor:
        """D_θ v, from ∂v/∂M = x1 y1ᵀ + x2 y2ᵀ and ∂v/∂b."""
        where = theta, factors, gradient_b
        return self._tree_sum("vjp", *where)[0].cpu()


def split_rows(rows: Rows, n_blocks: int) -> list[tuple[Rows, Index]]:
    """Consecutive rows with the initial states that are near, and where these stand."""
    if n_blocks == 1:
        return [(rows, np.arange(len(rows.initial)))]
    bounds = np.linspace(0, len(rows.state), n_blocks + 1).astype(np.intp)
    # A next state is mostly the next row's state: where it is initial too, its features
    # are computed once, if both are in one block.
    last = np.maximum.accumulate(rows.state[bounds[1:] - 1])
    block = np.minimum(np.searchsorted(last, rows.initial), n_blocks - 1)
    places = [np.flatnonzero(block == k) for k in range(n_blocks)]
    return [
        (rows.take(slice(bounds[k], bounds[k + 1]), places[k]), places[k])
        for k in range(n_blocks)
    ]


def count_blocks(n_rows: int, n_actions: int, n_features: int) -> int:
    """How many blocks rows make; one where they are few, or M is large."""
    per_block = max(_BLOCK_ROWS, _BLOCK_ROWS_PER_ACTION * n_actions)
    if 8 * (n_actions * n_features) ** 2 > _MATRIX_BYTES:
        return 1
    many = max(1, n_rows // per_block)
    # Of three blocks, two threads have one each and then one has the last.
    many += many > 1 and many % 2
    long = max(per_block, _LONG_BLOCK_ROWS)
    return min(many, max(_MANY_BLOCKS, n_rows // long))
