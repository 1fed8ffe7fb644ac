"""From a Parquet file of millions of rows to a log: seconds, and memory at the peak."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Clock, Rows, markdown

N_ROWS, N_STEPS, N_STATES = 5_000_000, 50, 5
STATES = [f"x{j}" for j in range(N_STATES)]

# What reads the file; in any order, rows are linked by a sort.
LIBRARIES = ("polars", "pyarrow")
ORDERS = ("by episode and step", "shuffled")


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Read each file by each library, in a fresh process each."""
    for order in ORDERS if side != "peers" else ():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "log.parquet"
            write(path, order == "shuffled")
            for library in LIBRARIES:
                key = {"problem": order, "seed": 0, "method": library, "setting": {}}
                rows.once(key, partial(_measure, path, library))
    return table(rows)


def write(path: Path, shuffled: bool, n_rows: int = N_ROWS) -> None:
    """A log of ten columns: five of the state, and the five that every log has.

    Every second episode ends, and of the others one row holds the last state.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    episode = np.repeat(np.arange(n_rows // N_STEPS), N_STEPS)
    step = np.tile(np.arange(N_STEPS), n_rows // N_STEPS)
    last, even = step == N_STEPS - 1, episode % 2 == 0
    closing = last & ~even
    columns: dict[str, Any] = {name: rng.normal(size=n_rows) for name in STATES}
    columns["action"] = rng.integers(0, 4, n_rows)
    columns["reward"] = rng.normal(size=n_rows)
    columns |= {"episode": episode, "step": step, "terminated": last & even}
    order = rng.permutation(n_rows) if shuffled else slice(None)
    arrays = {name: pa.array(values[order]) for name, values in columns.items()}
    for name in ("action", "reward"):
        arrays[name] = pa.array(columns[name][order], mask=closing[order])
    pq.write_table(pa.table(arrays), path, row_group_size=500_000)


def _measure(path: Path, library: str) -> dict[str, Any]:
    code = (
        f"from benchmarks.tables.reading import read; read({str(path)!r}, {library!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def read(path: str, library: str) -> None:
    """Read the file, in this process, and print what it took."""
    import resource

    if library == "pyarrow":
        sys.modules["polars"] = None  # type: ignore[assignment] # as not installed
    from sklearn_stackelberg import Transitions

    # A small one first: libraries that are imported count for neither figure.
    small = Path(path).with_name("small.parquet")
    write(small, shuffled=True, n_rows=10 * N_STEPS)
    names = {name: name for name in ("action", "reward", "episode", "step")}
    names["terminated"] = "terminated"
    Transitions.from_frame(small, state=STATES, **names)
    before = _resident()
    with Clock() as clock:
        log = Transitions.from_frame(path, state=STATES, **names)
    # ru_maxrss: KiB on Linux, where these figures are made.
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    size = array_bytes(log)
    seconds = {"seconds": clock.seconds, "cpu_seconds": clock.cpu_seconds}
    figures = {"score": peak / size, "peak": peak, "size": size, "rows": len(log)}
    print(json.dumps(figures | seconds))


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("The resident memory of a process is read on Linux only.")


def array_bytes(log: Any) -> int:  # a Transitions, which only `read` imports
    """Bytes of the fields of a log, those of its tables of states included."""
    from sklearn_stackelberg.transitions._tables import FIELDS

    total = 0
    for name in FIELDS:
        values = getattr(log, name)
        if hasattr(values, "estimated_size"):
            total += values.estimated_size()
        elif values is not None:
            total += values.nbytes
    return total


def table(rows: Rows) -> str:
    """Seconds and memory, and the latter as a multiple of the arrays of the log."""
    lines = [
        [
            row["problem"],
            row["method"],
            f"{row['rows']:,}",
            f"{row['seconds']:.1f}",
            f"{row['cpu_seconds']:.1f}",
            f"{row['size'] / 1e6:.0f}",
            f"{row['peak'] / 1e6:.0f}",
            f"{row['score']:.2f}",
        ]
        for row in rows
    ]
    headings = ["rows of the file", "read by", "transitions", "s", "processor s"]
    headings += ["arrays, MB", "peak, MB", "peak / arrays"]
    return (
        f"{N_ROWS:,} rows by {N_STATES + 5} columns from Parquet; resident memory "
        "above the start of a fresh process.\n\n" + markdown(headings, lines)
    )
