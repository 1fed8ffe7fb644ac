"""Sums over the blocks of a log, the same to the bit whatever sums them.

Here by a loop or by threads; `_dask_executor` sums them on the workers of a client.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import repeat
from threading import Barrier, Lock
from typing import Any, Protocol, TypeVar

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


class Part(Protocol):
    """What a block is made of."""

    def alone(self) -> Part:
        """The same without what it shares with other parts, to be sent away."""


class Executor(Protocol):
    """Where blocks lie, and what sums them.

    What `place` returns for each block is the executor's own; the only block of a short
    log is always here.
    """

    # Whether blocks keep their features, however large they are together.
    keeps_features: bool

    def place(
        self, make: Callable[[Part], object], parts: Sequence[Part]
    ) -> Sequence[Any]:
        """A block of each part."""

    def tree_sum(
        self, method: str, blocks: Sequence[Any], *args: object
    ) -> tuple[Tensor, ...]:
        """`tree_sum` of what a method of each block returns, a tuple of tensors."""


class LocalExecutor:
    """Blocks in this process, summed by `map_blocks`."""

    keeps_features = False

    def place(
        self, make: Callable[[Item], Result], parts: Sequence[Item]
    ) -> list[Result]:
        return list(map_blocks(make, parts))

    def tree_sum(
        self, method: str, blocks: Sequence[Any], *args: object
    ) -> tuple[Tensor, ...]:
        def term(block: object) -> tuple[Tensor, ...]:
            found: tuple[Tensor, ...] = getattr(block, method)(*args)
            return found

        return tree_sum(map_blocks(term, blocks), add_to)


LOCAL = LocalExecutor()

# Of the fit that this thread is in.
active_executor: ContextVar[Executor] = ContextVar("active_executor", default=LOCAL)

_blas_users, _blas_lock = 0, Lock()
_limits: list[Any] = []  # what threadpoolctl needs to set the number back


@cache
def _libraries() -> ThreadpoolController:
    # Looking for them takes as long as a small block's sums.
    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """numpy's products by one thread, as those of torch in a block are.

    The number is of the whole process: the first to come sets it, the last to go
    sets it back.
    """
    global _blas_users
    with _blas_lock:
        if _blas_users == 0:
            _limits.append(_libraries().limit(limits=1, user_api="blas"))
        _blas_users += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0:
                _limits.pop().restore_original_limits()


# How many threads a fit that has one of torch's may have blocks summed by.
_threads_of_fit: ContextVar[int | None] = ContextVar("_threads_of_fit", default=None)

_torch_users, _torch_lock, _torch_before = 0, Lock(), 1


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Small systems are solved by one thread, which says the same on any machine.

    `map_blocks` still has those that there were. Of the calling thread alone, but for
    what threads begin with that start meanwhile: the last to go sets that back.
    """
    global _torch_users, _torch_before
    own = torch.get_num_threads()
    with _torch_lock:
        if _torch_users == 0:
            _torch_before = own
        _torch_users += 1
    token = _threads_of_fit.set(_threads_of_fit.get() or own)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _threads_of_fit.reset(token)
        torch.set_num_threads(own)
        with _torch_lock:
            _torch_users -= 1
            if _torch_users == 0 and _torch_before != own:
                torch.set_num_threads(_torch_before)


_pools: dict[int, ThreadPoolExecutor] = {}
_pools_lock = Lock()


def map_blocks(
    function: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[Result]:
    """Results in the order of the items, by as many threads as torch would use.

    That is what ``OMP_NUM_THREADS`` or ``torch.set_num_threads`` say, and a share of
    the cores in the processes that joblib starts. Each item has one thread: a product
    by several need not be equal to the bit to that by one, and several that share busy
    cores wait for one another at the end of every product.
    """
    n_threads = _threads_of_fit.get() or torch.get_num_threads()
    # Of one item the products have torch's threads: in a fit that is alone, one.
    is_alone = n_threads == 1 or len(items) == 1
    with one_blas_thread():
        yield from (map if is_alone else _pool(n_threads).map)(function, items)


def tree_sum(
    terms: Iterable[Item],
    add: Callable[[Item, Item], Item],
    counts: Iterable[int] | None = None,
) -> Item:
    """Sums in an order that depends on the number of terms alone.

    A binary tree: the rounding of a long sum grows with its depth, and of terms that
    come one by one no more are held than the tree is deep. ``counts`` are of terms that
    are such sums already, of whole `subtrees`.
    """
    held: list[tuple[int, Item]] = []  # how many terms each one sums
    for term, count in zip(terms, counts or repeat(1), strict=False):
        while held and held[-1][0] == count:
            term, count = add(held.pop()[1], term), 2 * count
        held.append((count, term))
    total = held.pop()[1]
    while held:
        total = add(held.pop()[1], total)
    return total


def subtrees(owners: Sequence[int], most: int) -> Iterator[range]:
    """Terms of one owner each, which `tree_sum` adds up before it adds any other."""
    start = 0
    while start < len(owners):
        size = 1
        while 2 * size <= most and start % (2 * size) == 0:
            last = start + 2 * size - 1
            if last >= len(owners) or owners[last] != owners[start]:
                break
            size *= 2
        yield range(start, start + size)
        start += size


def add_to(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Their sum, where the left one was."""
    pairs = zip(left, right, strict=True)
    return tuple(a + b if a.requires_grad else a.add_(b) for a, b in pairs)


def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Threads of one BLAS thread each, kept for the life of the process."""
    with _pools_lock:
        if n_threads not in _pools:
            _pools[n_threads] = _start_pool(n_threads)
        return _pools[n_threads]


def _start_pool(n_threads: int) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(n_threads, "sklearn_stackelberg")
    started = Barrier(n_threads)

    def limit() -> None:
        # A thread takes the number of all when it first asks, and it can be set after.
        torch.get_num_threads()
        # Of this thread alone, but for what threads begin with that start later: that
        # is why it is set here, once, and put back at once.
        torch.set_num_threads(1)
        started.wait()

    for waiting in [pool.submit(limit) for _ in range(n_threads)]:
        waiting.result()
    torch.set_num_threads(n_threads)
    return pool


# A forked process has none of its parent's threads, and perhaps its locked lock.
def _forget_threads() -> None:
    global _pools_lock, _blas_lock, _blas_users, _torch_users, _torch_lock
    _pools.clear()
    _limits.clear()
    _pools_lock, _blas_lock, _blas_users = Lock(), Lock(), 0
    _torch_users, _torch_lock = 0, Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forget_threads)
