"""Blocks on the workers of a Dask client: equal to the bit to those of a loop."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch
from _problems import random_rows, random_theta
from joblib import parallel_config
from numpy.testing import assert_array_equal
from sklearn.model_selection import GridSearchCV

from sklearn_stackelberg import (
    StackelbergPolicyCV,
    StackelbergPolicyEstimator,
    Transitions,
)
from sklearn_stackelberg._dask_executor import DaskExecutor
from sklearn_stackelberg._executor import active_executor
from sklearn_stackelberg._fitting.executor import executor_of_joblib
from sklearn_stackelberg._problem.rows import ComputedFeatures
from sklearn_stackelberg.model_selection import EpisodeKFold
from sklearn_stackelberg.solvers import ClosedForm
from sklearn_stackelberg.solvers import _lstd_discrete as lstd_discrete
from sklearn_stackelberg.solvers._best_response import BestResponse
from sklearn_stackelberg.solvers._lstd_discrete import DiscreteLSTD

distributed = pytest.importorskip(
    "distributed", reason="needs Dask: pip install 'sklearn-stackelberg[dask]'"
)
import dask  # noqa: E402

# tests/conftest.py makes fits small in this process, and not in the workers, whose fits
# of a search are compared with those made here.
pytestmark = [
    pytest.mark.usefixtures("full_fits"),
    # While it starts or ends, a worker may leave a socket to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

N_ROWS, N_BLOCKS = 300, 8


# Port 0, any that is free: Dask warns where another cluster has its own.
@pytest.fixture(scope="module")
def client():
    """Two workers, each a process."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def near_client():
    """One worker of two threads, in this process."""
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def short_blocks(monkeypatch):
    """Blocks of 40 rows: their bounds are found in this process."""
    monkeypatch.setattr(lstd_discrete, "_BLOCK_ROWS", 40)
    monkeypatch.setattr(lstd_discrete, "_BLOCK_ROWS_PER_ACTION", 1)


def make_log(n=N_ROWS):
    rng = np.random.default_rng(0)
    state = rng.normal(size=(n + 1, 2))
    return Transitions(
        state[:-1],
        rng.integers(2, size=n),
        state[:-1, 0] + rng.normal(size=n),
        state[1:],
        episode=np.arange(n) // 10,
        step=np.arange(n) % 10,
    )


LOG = make_log()
POLICY = StackelbergPolicyEstimator(
    discount=0.9,
    n_components=20,
    bandwidth=1.0,
    support=0.0,
    random_state=0,
    solver=ClosedForm(mirror_steps=3, max_iter=2, tol=1.0),
)


def fitted(client=None):
    """What a fit finds, by a loop or on a client."""
    if client is None:
        policy = POLICY.fit(LOG)
    else:
        with parallel_config(backend="dask", client=client):
            policy = POLICY.fit(LOG)
    q_values = policy.q_values(LOG.state)
    return policy.policy_value_, policy.policy_.weight.numpy().copy(), q_values


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one, other)


def assert_nothing_left(client):
    """Blocks are gone with the fit."""
    deadline = time.monotonic() + 10
    while any(client.has_what().values()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(client.has_what().values())


@pytest.fixture(scope="module")
def loop():
    """What a fit in short blocks finds by a loop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lstd_discrete, "_BLOCK_ROWS", 40)
        patch.setattr(lstd_discrete, "_BLOCK_ROWS_PER_ACTION", 1)
        return fitted()


def test_a_fit_is_equal_to_the_bit_wherever_its_blocks_lie(
    client, near_client, threads, short_blocks, loop
):
    assert_same(fitted(client), loop)
    assert_same(fitted(near_client), loop)
    threads(2)
    assert_same(fitted(), loop)
    assert_nothing_left(client)


def counted(states):
    """Features, and a note on the worker of how they were asked for."""
    worker = distributed.get_worker() if len(states) > 1 else None
    if worker is not None:
        worker.asked = [*getattr(worker, "asked", ()), len(states)]
        worker.torch_threads = torch.get_num_threads()
    return states


def failing(states):
    if len(states) > 1:
        raise OSError("the disk is full")
    return states


def make_system(client, transform=None):
    """The equations of rows, each of which follows the one before."""
    n, values = np.arange(N_ROWS), np.random.default_rng(0).normal(size=(301, 3))
    rows = random_rows(0, n=N_ROWS, table=values).rows
    rows = rows._replace(state=n, next_state=n + 1, initial=n[::10])
    prior = torch.from_numpy(np.random.default_rng(1).normal(size=(301, 3)))
    features = ComputedFeatures(transform or (lambda states: states), values, "cpu")
    if client is None:
        return DiscreteLSTD(rows, features, 3, 0.9, log_prior=prior)
    with parallel_config(backend="dask", client=client), executor_of_joblib():
        system = DiscreteLSTD(rows, features, 3, 0.9, log_prior=prior)
        assert len(system.c)  # blocks are placed where they are first summed
        return system


def figures(system):
    response = BestResponse(system, random_theta(system), 2.0, 0.1)
    found = response.system
    return found.M, found.b, found.c, response.total_derivative()


def test_features_are_computed_once_on_the_worker_of_their_block(
    client, short_blocks, monkeypatch
):
    # In this process they would not be kept.
    monkeypatch.setattr(lstd_discrete, "TABLE_BYTES", 0)
    expected = figures(make_system(None))
    system = make_system(client, counted)
    for _ in range(2):
        assert_same(figures(system), expected)
    asked = client.run(lambda dask_worker: dask_worker.asked)
    # Of a worker that is late Dask may give a block to another.
    assert sum(map(len, asked.values())) == N_BLOCKS
    # The states of the rows of all blocks, and what follows the last of each; none is
    # left out that is another row's state.
    assert N_ROWS <= sum(map(sum, asked.values())) <= N_ROWS + N_BLOCKS
    torch_threads = client.run(lambda dask_worker: dask_worker.torch_threads)
    assert set(torch_threads.values()) == {1}


def test_a_task_has_one_thread_of_torch_and_gives_it_back(
    near_client, threads, short_blocks
):
    expected = figures(make_system(None))
    threads(2)
    assert_same(figures(make_system(near_client, counted)), expected)
    seen = near_client.run(lambda dask_worker: dask_worker.torch_threads)
    assert list(seen.values()) == [1]
    assert torch.get_num_threads() == 2


def test_a_worker_killed_during_a_fit_changes_nothing(
    client, short_blocks, loop, monkeypatch
):
    lost, start, calls = [], DaskExecutor._start, []

    def kill():
        holds = client.has_what()
        worker = max(holds, key=lambda address: len(holds[address]))
        lost.extend(holds[worker])
        os.kill(client.run(os.getpid, workers=[worker])[worker], 9)

    def start_and_kill(self, graph, total):
        calls.append(total)
        future = start(self, graph, total)
        if len(calls) == 5:
            kill()
        return future

    monkeypatch.setattr(DaskExecutor, "_start", start_and_kill)
    assert_same(fitted(client), loop)
    assert len(lost) >= 3, "the worker held no blocks"


def test_an_error_on_a_worker_is_raised_as_itself(near_client, short_blocks):
    with pytest.raises(OSError, match="the disk is full") as raised:
        make_system(near_client, failing)
    assert raised.value.__notes__ == [
        "This was raised on a worker of the Dask client, which summed a block of the "
        "log."
    ]


def test_a_block_that_ends_every_worker_is_said(near_client, short_blocks, monkeypatch):
    def end(task):
        worker = distributed.scheduler.WorkerState
        raise distributed.KilledWorker(task, worker.__new__(worker), 3)

    monkeypatch.setattr(distributed.Future, "result", end)
    with pytest.raises(RuntimeError, match="too little memory for its blocks"):
        make_system(near_client)


def test_a_client_that_is_closed_is_said(near_client, short_blocks, monkeypatch):
    start, calls = DaskExecutor._start, []

    def start_and_close(self, graph, total):
        calls.append(total)
        future = start(self, graph, total)
        if len(calls) == 3:
            self._client.close()
        return future

    monkeypatch.setattr(DaskExecutor, "_start", start_and_close)
    with pytest.raises(RuntimeError, match="was closed, or lost its scheduler"):
        fitted(near_client)


def test_rows_of_many_bytes_are_sent_without_a_warning(
    near_client, short_blocks, threads
):
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "2 kB"}):
        system = make_system(near_client)
    assert_same(figures(system), figures(make_system(None)))


def executor_here(client=None):
    with parallel_config(backend="dask", client=client), executor_of_joblib():
        return type(active_executor.get()).__name__


def test_fits_of_a_search_are_not_shared_out_again(client):
    assert executor_here(client) == "DaskExecutor"
    assert client.submit(executor_here).result() == "LocalExecutor"
    assert type(active_executor.get()).__name__ == "LocalExecutor"


def test_a_grid_search_finds_the_same(client):
    grid = GridSearchCV(POLICY, {"lam": [0.3]}, cv=EpisodeKFold(2))
    expected = grid.fit(LOG).cv_results_["mean_test_score"]
    value = grid.best_estimator_.policy_value_
    with parallel_config(backend="dask", client=client):
        found = grid.fit(LOG).cv_results_["mean_test_score"]
    assert_array_equal(found, expected)
    assert grid.best_estimator_.policy_value_ == value


def test_a_search_of_policies_finds_the_same(client, short_blocks):
    few = {"lams": (0.3, 3.0), "betas": (), "ridges": (), "supports": ()}
    search = StackelbergPolicyCV(
        POLICY, cv=2, kernels=("local",), bandwidths=(1.0,), random_state=0, **few
    )
    expected = search.fit(LOG).cv_results_["mean_test_score"]
    q_values = search.q_values(LOG.state)
    with parallel_config(backend="dask", client=client):
        found = search.fit(LOG).cv_results_["mean_test_score"]
    assert_array_equal(found, expected)
    assert_array_equal(search.q_values(LOG.state), q_values)
