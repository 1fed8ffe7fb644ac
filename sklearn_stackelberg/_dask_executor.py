"""Sums over the blocks of a log on the workers of a Dask client.

A block is built on a worker by a task that carries what it is made of, and stays there;
an evaluation sends θ, and sums meet in the tree of `tree_sum`. Whatever is lost with a
worker Dask computes again, elsewhere, from these tasks. Dask is imported where joblib's
active backend is Dask, and nowhere else.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import torch
from torch import Tensor

from ._executor import (
    Part,
    add_to,
    one_blas_thread,
    one_torch_thread,
    subtrees,
    tree_sum,
)
from ._typing import Floats

if TYPE_CHECKING:
    from distributed import Client, Future


# Blocks of one task: a task costs client and scheduler some milliseconds, and what a
# worker has begun nobody else can take over.
_MOST_BLOCKS = 8


class _Placed(NamedTuple):
    """A block on a worker, or on its way there."""

    future: Future
    slot: int  # thread that it was meant for, of those of all workers


class DaskExecutor:
    """Blocks in the memory of workers."""

    keeps_features = True

    def __init__(self, client: Client) -> None:
        self._client = client
        self._workers: list[str] = []  # those there were when blocks were placed

    def place(
        self, make: Callable[[Part], object], parts: Sequence[Part]
    ) -> list[_Placed]:
        import cloudpickle  # which Dask brings, for kernels that no module has
        import dask

        blocks = []
        # A block's rows are meant to travel with its task, so that it can be built
        # again; Dask warns of tasks of over 10 MB.
        large = "distributed.admin.large-graph-warning-threshold"
        with self._explained(), dask.config.set({large: "1 PB"}):
            threads = self._client.nthreads()
            self._workers = sorted(threads)
            # Consecutive blocks: most of the tree's sums meet on one worker.
            slots = [[a] for a in self._workers for _ in range(threads[a])] or [[]]
            for number, part in enumerate(parts):
                slot = number * len(slots) // len(parts)
                made_of = cloudpickle.dumps((make, part.alone()))
                # Not pure: Dask would read all of it for a name.
                block = self._client.submit(
                    _build, made_of, pure=False, **_preferring(slots[slot])
                )
                blocks.append(_Placed(block, slot))
        return blocks

    def tree_sum(
        self, method: str, blocks: Sequence[_Placed], *args: object
    ) -> tuple[Tensor, ...]:
        asked = pickle.dumps((method, *map(_alone, args)))
        name = f"{method}-{uuid4().hex}"
        graph: dict[str, tuple[object, ...]] = {}

        def task(*task: object) -> str:
            key = f"{name}-{len(graph)}"
            graph[key] = task
            return key

        # All at once: a message for each task costs twice the time.
        futures = [block.future for block in blocks]
        groups = [*subtrees([block.slot for block in blocks], _MOST_BLOCKS)]
        total = tree_sum(
            (task(_call, asked, *(futures[k] for k in group)) for group in groups),
            lambda left, right: task(_add, left, right),
            map(len, groups),
        )
        with self._explained():
            future = self._start(graph, total)
            try:
                found = future.result()
            except Exception as error:
                if future.status == "error":
                    error.add_note(_ON_WORKER)
                    # What the error holds on to would go on working for nobody.
                    self._client.cancel([*futures, future])
                raise
        # Copied: what comes over the network cannot be written to.
        return tuple(map(torch.tensor, found))

    def _start(self, graph: dict[str, tuple[object, ...]], total: str) -> Future:
        # With these named, each task goes where its block is, and none waits at the
        # scheduler for whoever comes first.
        preferred = _preferring(self._workers)
        return self._client.get(graph, total, sync=False, **preferred)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what became of the client or of its workers."""
        from distributed import CancelledError, KilledWorker

        try:
            yield
        except KilledWorker as error:
            raise RuntimeError(_KILLED) from error
        except Exception as error:
            closed = self._client.status in ("closing", "closed")
            if closed or isinstance(error, CancelledError):
                raise RuntimeError(_CLOSED) from error
            raise


def _alone(given: object) -> object:
    """Tensors that are all of their memory: of a column, pickle sends the matrix."""
    if isinstance(given, tuple):
        return tuple(map(_alone, given))
    return given.clone() if isinstance(given, Tensor) else given


def _preferring(workers: Sequence[str]) -> dict[str, object]:
    """Where tasks are meant to be: workers come and go."""
    return {"workers": workers, "allow_other_workers": True} if workers else {}


_ON_WORKER = (
    "This was raised on a worker of the Dask client, which summed a block of the log."
)

_KILLED = (
    "Workers of the Dask client died, one after the other, while they summed the same "
    "block of the log. Most often a worker has too little memory for its blocks: start "
    "workers with more memory or fewer threads (memory_limit and threads_per_worker of "
    "LocalCluster), or fit without parallel_config(backend='dask')."
)

_CLOSED = (
    "The Dask client was closed, or lost its scheduler, before the fit was over. The "
    "estimator is as it was before: fit again with a client that stays open until fit "
    "has returned, or without parallel_config(backend='dask')."
)


# What workers do. They send arrays, whose size Dask knows.
_Sums = tuple[Floats, ...]


def _build(made_of: bytes) -> object:
    make, part = pickle.loads(made_of)
    with one_torch_thread(), one_blas_thread():
        return make(part)


def _call(asked: bytes, *blocks: object) -> _Sums:
    method, *args = pickle.loads(asked)
    with one_torch_thread(), one_blas_thread():
        terms = (getattr(block, method)(*args) for block in blocks)
        return tuple(sums.numpy() for sums in tree_sum(terms, add_to))


def _add(left: _Sums, right: _Sums) -> _Sums:
    # Not where the left one was: Dask may need it again.
    return tuple(a + b for a, b in zip(left, right, strict=True))
