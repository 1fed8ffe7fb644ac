"""Which executor sums the blocks of a fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from joblib import parallel_config
from joblib.parallel import get_active_backend

from .._dask_executor import DaskExecutor
from .._executor import LOCAL, Executor, active_executor, one_blas_thread

if TYPE_CHECKING:
    from distributed import Client


@contextmanager
def executor_of_joblib() -> Iterator[None]:
    """Sum blocks on the workers of the Dask client that joblib's active backend has."""
    backend, _ = get_active_backend()
    # By its name: joblib imports the class where it is asked for.
    if type(backend).__name__ != "DaskDistributedBackend":
        # Features and what is measured of them are the same to the bit, too.
        with one_blas_thread():
            yield
        return
    active = active_executor.set(_executor_on(backend.client))
    try:
        # All else stays here. Trees of small forests, one by one, cost more on the way
        # than they take; and a Gram matrix in parts need not be equal to the bit.
        with parallel_config(backend="sequential"), one_blas_thread():
            yield
    finally:
        active_executor.reset(active)


def _executor_on(client: Client) -> Executor:
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return DaskExecutor(client)
    # In a task of a search, which has work for all workers as it is.
    return LOCAL
