"""LSTD equations of a long log: sums of those of its blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from torch import Tensor

from .._executor import map_blocks, tree_sum
from .._linalg import LinearSystem
from .._problem.rows import Rows
from .._sampling import fixed_sample
from ..total_derivative import Factors
from ._best_response import STEP_ROWS, LSTDSystem

# Rows of a block, and of each action in it: a matrix of sums for every block costs a
# few per cent of summing it, and 100,000 rows keep two threads busy to the end.
_BLOCK_ROWS, _BLOCK_ROWS_PER_ACTION = 2**14, 2**11

# Of longer logs they are longer: each keeps sums that θ does not move.
_MOST_BLOCKS = 16

# Bytes of M up to which a log is summed in blocks. Several are held at once.
_MATRIX_BYTES = 2**25

# The equations of some rows, which are this share of all.
MakeSystem = Callable[[Rows, float], LSTDSystem]


class _Block(NamedTuple):
    system: LSTDSystem
    share: float  # of the rows' weight
    initial_share: float  # of the initial states' weight


class SummedLSTD(LSTDSystem):
    """M(θ), b(θ) and c of all rows, from ``make(rows, share)`` of each block of them.

    M and c are means over rows and b one over initial states, so that those of the log
    are means of those of blocks, weighted by what is in them. Blocks and the order of
    the sums depend on the rows alone: however many threads there are, the results are
    equal to the bit.
    """

    def __init__(
        self,
        rows: Rows,
        make: MakeSystem,
        per_block: int,
        discount: float,
        ridge: float = 0.0,
        log_length: float | None = None,
    ) -> None:
        super().__init__(rows, discount, ridge, log_length)
        self._make, self._per_block = make, per_block
        n_blocks = min(max(1, self.n // per_block), _MOST_BLOCKS)
        total, initial_total = rows.total, rows.initial_total

        def make_block(part: Rows) -> _Block:
            system = make(part, len(part.state) / self.n)
            initial_share = part.initial_total / initial_total
            return _Block(system, part.total / total, initial_share)

        self.blocks = list(map_blocks(make_block, split_rows(rows, n_blocks)))
        self.dtype = self.blocks[0].system.dtype

    def __call__(self, theta: Tensor) -> LinearSystem:
        def sums(block: _Block) -> tuple[Tensor, ...]:
            found = block.system(theta)
            assert isinstance(found.M, Tensor)
            b = found.b * block.initial_share
            return found.M * block.share, b, found.c * block.share

        return LinearSystem(*tree_sum(map_blocks(sums, self.blocks)))

    def vjp(self, theta: Tensor, factors: Factors, gradient_b: Tensor) -> Tensor:
        x1, y1, x2, y2 = factors

        def pulled(block: _Block) -> tuple[Tensor, ...]:
            own = x1 * block.share, y1, x2 * block.share, y2
            slope = gradient_b * block.initial_share
            return (block.system.vjp(theta, own, slope),)

        return tree_sum(map_blocks(pulled, self.blocks))[0]

    def weights(self, flat: Tensor) -> Tensor:
        return self.blocks[0].system.weights(flat)

    def mirror_step(self, theta: Tensor, flat_w: Tensor, size: float) -> Tensor:
        return self._sample.mirror_step(theta, flat_w, size)

    def logit_scale(self, direction: Tensor) -> float:
        return self._sample.logit_scale(direction)

    @cached_property
    def _sample(self) -> LSTDSystem:
        """The rows over which steps are measured, those of the system in one."""
        chosen = fixed_sample(self.n, STEP_ROWS)
        none = np.zeros(0, dtype=np.intp)
        return self._make(self.rows.take(chosen, none), STEP_ROWS / self.n)

    def on_rows(self, rows: Rows) -> SummedLSTD:
        return SummedLSTD(
            rows,
            self._make,
            self._per_block,
            self.discount,
            self.ridge,
            self.log_length,
        )


def split_rows(rows: Rows, n_blocks: int) -> list[Rows]:
    """Rows in blocks of one size, each with initial states that are near."""
    bounds = np.linspace(0, len(rows.state), n_blocks + 1).astype(np.intp)
    # A next state is mostly the next row's state: where it is initial too, its features
    # are computed once, if both are in one block.
    last = np.maximum.accumulate(rows.state[bounds[1:] - 1])
    block = np.minimum(np.searchsorted(last, rows.initial), n_blocks - 1)
    return [
        rows.take(np.arange(bounds[k], bounds[k + 1]), np.flatnonzero(block == k))
        for k in range(n_blocks)
    ]


def rows_per_block(n_rows: int, n_actions: int, n_features: int) -> int | None:
    """How many rows a block has; None where rows are few, or M is large."""
    size = n_actions * n_features
    per_block = max(_BLOCK_ROWS, _BLOCK_ROWS_PER_ACTION * n_actions)
    # Of fewer than two whole blocks nothing is gained.
    if n_rows < 2 * per_block or 8 * size**2 > _MATRIX_BYTES:
        return None
    return per_block
