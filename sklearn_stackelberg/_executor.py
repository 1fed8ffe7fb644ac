"""Sums over the blocks of a log, by a loop or by threads, the same to the bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock
from typing import Any, TypeVar

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


class _SingleThreadedBlas:
    """One thread for numpy's and scipy's BLAS, while any block is summed."""

    # Their number is of the whole process: the first to come takes it, and the last to
    # leave gives it back, in whichever order fits in threads of one process end.
    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._controller: ThreadpoolController | None = None
        self._limit: Any = None  # a context of threadpoolctl

    def __enter__(self) -> None:
        with self._lock:
            if self._controller is None:
                self._controller = ThreadpoolController()
            if not self._inside:
                self._limit = self._controller.limit(limits=1, user_api="blas")
                self._limit.__enter__()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limit.__exit__(None, None, None)


_blas = _SingleThreadedBlas()
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
    n_threads = torch.get_num_threads()
    if n_threads == 1:
        yield from map(function, items)
        return
    with _blas:
        yield from _pool(n_threads).map(function, items)


def tree_sum(terms: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Sums in an order that depends on the number of terms alone.

    A binary tree: the rounding of a long sum grows with its depth, and of terms that
    come one by one no more are held than the tree is deep. Terms are overwritten.
    """
    held: list[tuple[int, tuple[Tensor, ...]]] = []  # how many terms each one sums
    for term in terms:
        count = 1
        while held and held[-1][0] == count:
            term, count = _add(held.pop()[1], term), 2 * count
        held.append((count, term))
    total = held.pop()[1]
    while held:
        total = _add(held.pop()[1], total)
    return total


def _add(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
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
def _forget_pools() -> None:
    global _blas, _pools_lock
    _pools.clear()
    _blas, _pools_lock = _SingleThreadedBlas(), Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forget_pools)
