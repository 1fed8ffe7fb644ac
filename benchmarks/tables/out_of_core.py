"""A Parquet log five times as large as the memory that a process may use.

The log is written once; one process fits it in blocks under the limit, another in
memory without one. The limit is a control group's where one can be made (Linux, root),
whose memory counts pages of files as well; else of the process's own data.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import run_module
from benchmarks.report import Rows, markdown

LIMIT, TIMES = 896 * 2**20, 5
N_COLUMNS, N_ACTIONS, LENGTH, N_LANDMARKS = 500, 4, 50, 50
GROUPS = Path("/sys/fs/cgroup/memory")
ROLES = {
    "state": [f"x{j}" for j in range(N_COLUMNS)],
    "action": "action",
    "reward": "reward",
    "episode": "episode",
    "step": "step",
    "terminated": "terminated",
}


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Both fits of one log; there is no peer here."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log.parquet")
        for how in ("blocks", "memory") if side != "peers" else ():
            key = {"problem": "wide log", "seed": 0, "method": how, "setting": {}}
            # Each is saved for itself: what is held in memory may end its process.
            rows.once(key, partial(_measure, how, path))
    return table(rows)


def write_log(path: str, n_bytes: int, n_columns: int = N_COLUMNS) -> int:
    """Write episodes of a log in float32 until it is as large; the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    per_group = 400 * LENGTH
    n_groups = int(-(-n_bytes // (4 * n_columns * per_group)))
    writer = None
    for k in range(n_groups):
        x = rng.normal(size=(per_group, n_columns)).astype(np.float32)
        action = rng.integers(N_ACTIONS, size=per_group)
        # Ends that no step tells of, after LENGTH rows on average.
        ended = rng.random(per_group) < 1 / LENGTH
        ended[-1] = True
        starts = np.append(0, np.flatnonzero(ended[:-1]) + 1)
        episode = np.cumsum(ended) - ended
        columns = {f"x{j}": x[:, j] for j in range(n_columns)}
        columns |= {"action": action, "terminated": ended}
        columns["step"] = np.arange(per_group) - starts[episode]
        columns["episode"] = k * per_group + episode
        pays = x[:, 0] * (action == 1) + x[:, 1] * (action == 2)
        columns["reward"] = pays + rng.normal(size=per_group)
        part = pa.table(columns)
        if writer is None:
            # Random numbers do not compress: the file is as large as what it holds.
            writer = pq.ParquetWriter(path, part.schema, compression="none")
        writer.write_table(part)
    assert writer is not None
    writer.close()
    return n_groups * per_group


@contextlib.contextmanager
def limited(limit: int) -> Iterator[tuple[str, Any, Path | None]]:
    """What limits a process: its name, what it calls first, and its group."""
    group = GROUPS / f"out-of-core-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit))
    except OSError:
        give = partial(resource.setrlimit, resource.RLIMIT_DATA, (limit, limit))
        yield "the process's data", give, None
        return
    tasks = group / "tasks"
    try:
        yield "control group", lambda: tasks.write_text(str(os.getpid())), group
    finally:
        group.rmdir()


def _measure(how: str, path: str) -> dict[str, Any]:
    n = write_log(path, TIMES * LIMIT)
    if how == "memory":
        return {"rows": n, **run_module(__name__, how, path)}
    with limited(LIMIT) as (kind, give, group):
        found = run_module(__name__, how, path, first=give)
        if group is not None:
            peak = int((group / "memory.max_usage_in_bytes").read_text())
            found["group_peak"] = peak
    size = os.path.getsize(path)
    limit = {"limit_bytes": LIMIT, "limit_of": kind}
    return {"rows": n, "file_bytes": size, **limit, **found}


def fit(how: str, path: str) -> dict[str, Any]:
    """One fit, what it found on new states, and what it took."""
    from sklearn_stackelberg import StackelbergPolicyEstimator, Transitions

    start = time.process_time(), time.perf_counter()
    log = Transitions.from_blocks(path, folder=os.path.dirname(path), **ROLES)
    if how == "memory":
        log = _held(log)
    read = time.process_time() - start[0]
    policy = StackelbergPolicyEstimator(
        discount=0.9,
        n_components=N_LANDMARKS,
        kernel="rbf",
        dtype="float32",
        # Forests of so many columns take longer than all else; so do linear terms.
        support=0.0,
        linear_terms=False,
        random_state=0,
    ).fit(log)
    used = resource.getrusage(resource.RUSAGE_SELF)
    states = np.random.default_rng(1).normal(size=(50, N_COLUMNS))
    X = _named(states) if how == "blocks" else states.astype(np.float32)
    return {
        "q": policy.q_values(X).tolist(),
        "probabilities": policy.predict_proba(X).tolist(),
        "score": policy.policy_value_,
        "read_seconds": read,
        "cpu_seconds": time.process_time() - start[0],
        "seconds": time.perf_counter() - start[1],
        "resident_peak": 1024 * used.ru_maxrss,
    }


def _held(log: Any) -> Any:
    """The log with states in memory, one array for both ends of a row."""
    states = np.empty((len(log) + 1, N_COLUMNS), np.float32)
    for first in range(0, len(log), 10_000):
        some = slice(first, min(first + 10_000, len(log)))
        states[some] = log.state[some]
    # The row behind one that ends an episode is another's, and counts for nothing.
    states[-1] = states[-2]
    return log.with_states(states[:-1], states[1:])


def _named(states: np.ndarray) -> Any:
    import pandas as pd

    return pd.DataFrame(states.astype(np.float32), columns=ROLES["state"])


def table(rows: Rows) -> str:
    """What either took, and how far apart they are."""
    found = {row["method"]: row for row in rows}
    apart = "-"
    if len(found) == 2:
        largest = max(
            float(np.abs(np.subtract(*(row[name] for row in found.values()))).max())
            for name in ("q", "probabilities", "score")
        )
        apart = f"{largest:.1e}"
    lines = []
    for how, row in found.items():
        limit = "none"
        if how == "blocks":
            limit = f"{row['limit_bytes'] / 2**20:.0f}, {row['limit_of']}"
        peak = row.get("group_peak", row["resident_peak"])
        lines.append(
            [
                how,
                f"{row['rows']:,}",
                f"{4 * N_COLUMNS * row['rows'] / 2**20:,.0f}",
                limit,
                f"{peak / 2**20:,.0f}",
                f"{row['read_seconds']:.0f}",
                f"{row['cpu_seconds']:.0f}",
                apart,
            ]
        )
    headings = ["read in", "rows", "states, MiB", "limit, MiB", "peak, MiB"]
    headings += ["reading, CPU s", "all, CPU s", "largest difference of Q, π, v"]
    return markdown(headings, lines)


if __name__ == "__main__":
    print(json.dumps(fit(*sys.argv[1:])))
