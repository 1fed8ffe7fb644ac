"""A log's blocks on workers of a Dask client: what is shared out, what is serial."""

from __future__ import annotations

import json
import math
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.environment import run_module
from benchmarks.report import Rows, markdown
from benchmarks.tables.scaling import N_ACTIONS, N_FEATURES, make_log
from sklearn_stackelberg import _dask_executor
from sklearn_stackelberg._dask_executor import DaskExecutor
from sklearn_stackelberg._executor import (
    LOCAL,
    Executor,
    active_executor,
    one_torch_thread,
    subtrees,
)
from sklearn_stackelberg._problem.dataset import OfflineProblem
from sklearn_stackelberg._problem.rows import ComputedFeatures
from sklearn_stackelberg.kernels._nystroem import LandmarkFeatures
from sklearn_stackelberg.solvers._best_response import BestResponse
from sklearn_stackelberg.solvers._lstd_discrete import (
    _LONG_BLOCK_ROWS,
    DiscreteLSTD,
)

N_ROWS, N_LANDMARKS = 200_000, 100

# Evaluations of v with its derivative, after a first one that is not counted.
N_EVALUATIONS = 5

# What sums, and how many threads, or workers of one thread each.
RUNS = (("loop", 1), ("threads", 2), ("Dask", 1), ("Dask", 2), ("Dask", 4))

# The log of the plan, and on how many workers it may lie.
PLANNED_ROWS, PLANNED_WORKERS = 10_000_000, (1, 4, 10, 40, 100)

# Bytes a second between machines, of a network of 1 Gbit/s; assumed, not measured.
NETWORK = 1.25e8


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Each in a process of its own; there is no peer here."""
    for kind, number in RUNS if side != "peers" else ():
        key = {"problem": f"{N_ROWS} rows", "seed": 0, "method": kind}
        setting = {"setting": {"workers": number}}
        rows.once(key | setting, partial(run_module, __name__, kind, number))
    return table(rows)


class Timed:
    """An executor whose work in this process is timed: all threads, processor seconds.

    With a client that is the client's work and the scheduler's, which runs here too.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor, self.keeps_features = executor, executor.keeps_features
        self.seconds, self.bytes_asked, self.n_tasks = 0.0, 0, 0

    def place(self, make: Callable[[Any], object], parts: Sequence[Any]) -> Any:
        """As the executor does."""
        blocks = self._time(self._executor.place, make, parts)
        self.n_blocks = len(blocks)
        return blocks

    def tree_sum(self, method: str, blocks: Sequence[Any], *args: object) -> Any:
        """As the executor does."""
        asked = pickle.dumps((method, *map(_dask_executor._alone, args)))
        slots = [getattr(block, "slot", 0) for block in blocks]
        n_calls = len([*subtrees(slots, _dask_executor._MOST_BLOCKS)])
        self.bytes_asked += n_calls * len(asked)
        self.n_tasks += 2 * n_calls - 1
        return self._time(self._executor.tree_sum, method, blocks, *args)

    def _time(self, function: Callable[..., Any], *args: object) -> Any:
        start = time.process_time()
        found = function(*args)
        self.seconds += time.process_time() - start
        return found


# Of a worker: processor seconds of each kind of task.
SPENT: dict[str, float] = {}


def time_tasks() -> None:
    """Time the tasks of this worker, which finds their functions by name."""

    def timed(name: str, function: Callable[..., Any], *args: object) -> Any:
        start = time.thread_time()
        found = function(*args)
        SPENT[name] = SPENT.get(name, 0.0) + time.thread_time() - start
        return found

    for name in ("_build", "_call", "_add"):
        task = partial(timed, name, getattr(_dask_executor, name))
        setattr(_dask_executor, name, task)


def spent_on(dask_worker: Any) -> dict[str, float]:
    """What this worker has worked and sent to others."""
    return SPENT | {"bytes": dask_worker.transfer_outgoing_bytes_total}


def measure(kind: str, number: int) -> dict[str, Any]:
    """Set up the equations of one log and evaluate them."""
    if kind != "Dask":
        torch.set_num_threads(number if kind == "threads" else 1)
        # As a fit does: the small system has one thread, the blocks those there are.
        with one_torch_thread():
            return _evaluate(Timed(LOCAL), lambda: {})
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=number, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(time_tasks)

        def spent() -> dict[str, float]:
            found = client.run(spent_on).values()
            names = {name for one in found for name in one}
            return {name: sum(one.get(name, 0.0) for one in found) for name in names}

        return _evaluate(Timed(DaskExecutor(client)), spent)


def _evaluate(timed: Timed, spent: Callable[[], dict[str, float]]) -> dict[str, Any]:
    log = make_log(N_ROWS)
    problem = OfflineProblem.from_log(log, discount=0.99, initial_states="all")
    states = problem.states
    features = LandmarkFeatures("rbf", n_components=N_LANDMARKS, random_state=0)
    features.fit(states[:20_000])
    computed = ComputedFeatures(features.transform, states, "cpu")
    active_executor.set(timed)
    start = time.process_time()
    rows = problem.rows(np.asarray(problem.log.action))
    system = DiscreteLSTD(rows, computed, N_ACTIONS, 0.99)
    assert len(system.c)  # blocks are placed where they are first summed
    set_up = {"here": time.process_time() - start, "tasks": spent()}

    size = features.n_features_out_, N_ACTIONS
    thetas = np.random.default_rng(0).normal(size=(1 + N_EVALUATIONS, *size))
    for number, theta in enumerate(torch.from_numpy(thetas)):
        if number == 1:  # libraries are loaded by the first
            before = spent()
            timed.seconds, timed.bytes_asked, timed.n_tasks = 0.0, 0, 0
            start, wall = time.process_time(), time.perf_counter()
        response = BestResponse(system, theta, 3.0, 1e-3)
        derivative = response.total_derivative()
    here, wall = time.process_time() - start, time.perf_counter() - wall
    after = spent()
    tasks = {name: after[name] - before.get(name, 0.0) for name in after}
    return {
        "score": float(response.value),
        "derivative": float(derivative.norm()),
        "n_blocks": timed.n_blocks,
        "n_weights": size[0] * N_ACTIONS,
        "set_up": set_up,
        "seconds": wall / N_EVALUATIONS,
        "solve": (here - timed.seconds) / N_EVALUATIONS,
        "sums_here": timed.seconds / N_EVALUATIONS,
        "n_tasks": timed.n_tasks / N_EVALUATIONS,
        "bytes_asked": timed.bytes_asked / N_EVALUATIONS,
        "tasks": {name: value / N_EVALUATIONS for name, value in tasks.items()},
    }


def _parts(row: dict[str, Any]) -> tuple[float, float]:
    """Processor seconds of an evaluation that are shared out, and that are not."""
    if row["method"] != "Dask":
        return row["sums_here"], row["solve"]
    work = row["tasks"]["_call"] + row["tasks"].get("_add", 0.0)
    return work, row["solve"] + row["sums_here"]


def table(rows: Rows) -> str:
    """A line for each, and the plan."""
    found, lines = list(rows), []
    for row in found:
        work, serial = _parts(row)
        on_dask = row["method"] == "Dask"
        lines.append(
            [
                f"{row['method']}, {row['setting']['workers']}",
                f"{work:.2f}",
                f"{row['solve']:.2f}",
                f"{row['sums_here']:.2f}" if on_dask else "–",
                f"{serial / (work + serial):.0%}",
                f"{row['n_tasks']:.0f}" if on_dask else "–",
                f"{row['bytes_asked'] / 1e3:.0f}" if on_dask else "–",
                f"{row['tasks']['bytes'] / 1e6:.2f}" if on_dask else "–",
                f"{row['seconds']:.2f}",
                "yes" if _numbers(row) == _numbers(found[0]) else "NO",
            ]
        )
    headings = ["sums by, how many", "blocks, s", "solve, s", "tasks handed out, s"]
    headings += ["serial share", "tasks", "θ and factors sent, kB"]
    headings += ["between workers, MB", "wall clock, s", "v the same to the bit"]
    return (
        f"{N_ROWS:,} rows, {N_FEATURES} state columns, {N_ACTIONS} actions, "
        f"{N_LANDMARKS} landmarks, {found[0]['n_blocks']} blocks: one evaluation of v "
        f"and its derivative, a mean of {N_EVALUATIONS}, in processor seconds summed "
        "over tasks. Four workers are more processes than the two cores of the "
        "machine, which others shared: its wall clock says little. Sums, v and its "
        "derivative are equal to the bit by all of them.\n\n"
        + markdown(headings, lines)
        + "\n\n"
        + _plan(found)
    )


def _numbers(row: dict[str, Any]) -> tuple[float, float]:
    return row["score"], row["derivative"]


def _plan(found: list[dict[str, Any]]) -> str:
    """Seconds of an evaluation of a longer log, by the constants of these runs."""
    runs = [row for row in found if row["method"] == "Dask"]
    if not runs:
        return ""
    one = runs[-1]
    per_row = float(np.median([r["tasks"]["_call"] for r in runs])) / N_ROWS
    # What tasks cost client and scheduler, and what the two trees of an evaluation do
    # however few tasks they have: a line through the runs.
    fits = [[r["n_tasks"], 1.0] for r in runs], [r["sums_here"] for r in runs]
    per_task, fixed = np.linalg.lstsq(*map(np.array, fits))[0]
    solve = float(np.median([r["solve"] for r in runs]))
    n_blocks = PLANNED_ROWS // _LONG_BLOCK_ROWS
    matrix = 8 * one["n_weights"] ** 2
    add = one["tasks"]["_add"] / (one["n_tasks"] - 2) * 2.0  # half of the tasks
    lines = []
    for workers in PLANNED_WORKERS:
        most = math.ceil(n_blocks / workers) / n_blocks
        work = per_row * PLANNED_ROWS * most
        levels = math.ceil(math.log2(workers)) if workers > 1 else 0
        tree = levels * (add + matrix / NETWORK)
        slots = [k * workers // n_blocks for k in range(n_blocks)]
        n_calls = len([*subtrees(slots, _dask_executor._MOST_BLOCKS)])
        n_tasks = 2 * (2 * n_calls - 1)  # sums and derivatives, a tree each
        handed_out = fixed + per_task * n_tasks
        total = work + tree + handed_out + solve
        whole = per_row * PLANNED_ROWS + solve
        lines.append(
            [
                workers,
                n_tasks,
                f"{work:.2f}",
                f"{tree:.2f}",
                f"{handed_out:.2f}",
                f"{solve:.2f}",
                f"{total:.2f}",
                f"{whole / total:.0f}",
            ]
        )
    headings = [
        "workers",
        "tasks",
        "blocks, s",
        "tree, s",
        "tasks handed out, s",
        "solve, s",
    ]
    return (
        f"The plan: {PLANNED_ROWS:,} rows, {n_blocks} blocks. A model, not a run: "
        f"{per_row * 1e6:.2f} µs a row and {per_task * 1e3:.2f} ms a task and "
        f"{fixed * 1e3:.0f} ms more of client and scheduler (a line through the runs "
        f"above), {matrix / 1e6:.1f} MB of sums over a network "
        f"of 1 Gbit/s at each level of the tree.\n\n"
        + markdown([*headings, "evaluation, s", "times faster than a loop"], lines)
    )


def main(kind: str, number: str) -> None:
    """Measure one in this process."""
    print(json.dumps(measure(kind, int(number))))


if __name__ == "__main__":
    # By its name: workers are to find what `time_tasks` has set.
    from benchmarks.tables import dask

    dask.main(*sys.argv[1:])
