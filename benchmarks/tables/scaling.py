"""Many transitions or many actions: time and peak memory, each in its own process."""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import threading
import time
from functools import partial
from typing import Any

import numpy as np

from benchmarks.environment import run_module
from benchmarks.report import Rows, markdown

SIZES = (10_000, 100_000, 1_000_000)
N_FEATURES, N_ACTIONS, N_LANDMARKS, N_THREADS = 8, 4, 200, 2
EPISODE_LENGTH = 100

# Rows that one thread is held against two on.
ALONE = 100_000

# Rows of which no next state is another row's state, and logs read in blocks.
LOOSE, FROM_PARQUET = 1_000_000, (100_000, 1_000_000, 10_000_000)

# Rows up to which an estimate of the policy is timed, too.
N_EVALUATED = 1000

# Many actions: rows and actions of each log; one thread, float64, all else defaults.
MANY_ACTIONS = ((320, 80), (10_000, 8), (50_000, 25))


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Fit each size in a fresh process; there is no peer here."""
    for size in SIZES if side != "peers" else ():
        key = {"problem": f"{size} rows", "seed": 0, "method": "ours", "setting": {}}
        rows.once(key, partial(_in_process, size))
    if side != "peers":
        key = {"problem": f"{ALONE} rows, one thread", "seed": 0, "method": "ours"}
        rows.once(key | {"setting": {}}, partial(_in_process, ALONE, "one thread"))
        problem = f"{LOOSE} loose rows, rewards of noise"
        key = {"problem": problem, "seed": 0, "method": "ours", "setting": {}}
        rows.once(key, partial(_in_process, LOOSE, "loose"))
    for size in FROM_PARQUET if side != "peers" else ():
        problem = f"{size} rows from Parquet"
        key = {"problem": problem, "seed": 0, "method": "ours", "setting": {}}
        rows.once(key, partial(_from_parquet, size))
    for size, n_actions in MANY_ACTIONS if side != "peers" else ():
        problem = f"{size} rows, {n_actions} actions"
        key = {"problem": problem, "seed": 0, "method": "ours", "setting": {}}
        rows.once(key, partial(_in_process, size, n_actions))
    return table(rows)


def _from_parquet(size: int) -> dict[str, Any]:
    """The log is written by one process and fitted by another."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "log.parquet")
        _run("write", size, path)
        return _run("parquet", size, path)


def _in_process(size: int, how: int | str = "linked") -> dict[str, Any]:
    return _run("fit", size, how)


def _run(how: str, size: int, given: int | str) -> dict[str, Any]:
    n_threads = 1 if isinstance(given, int) or given == "one thread" else N_THREADS
    return run_module(__name__, how, size, given, n_threads=n_threads)


def write_parquet(size: int, path: str) -> dict[str, Any]:
    """The log of `make_log` in parts of a million rows, one below the other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for seed in range(-(-size // 1_000_000)):
        log = make_log(min(size, 1_000_000), seed=seed)
        columns = {f"x{j}": log.state[:, j] for j in range(N_FEATURES)}
        columns |= {"action": log.action, "reward": log.reward, "step": log.step}
        columns["episode"] = log.episode + seed * 1_000_000
        part = pa.table(columns)
        if writer is None:
            writer = pq.ParquetWriter(path, part.schema)
        writer.write_table(part, row_group_size=100_000)
    assert writer is not None
    writer.close()
    return {}


def loose_log(size: int) -> Any:
    """Rows whose next state is no other row's state, rewarded by noise."""
    from sklearn_stackelberg import Transitions

    rng = np.random.default_rng(0)
    state, after = rng.normal(size=(2, size, N_FEATURES)).astype(np.float32)
    action = rng.integers(N_ACTIONS, size=size)
    return Transitions(state, action, rng.normal(size=size), after)


def read_log(how: str, size: int, given: str) -> Any:
    """A log as it is to be fitted."""
    from sklearn_stackelberg import Transitions

    if how == "parquet":
        return Transitions.from_blocks(
            given,
            state=[f"x{j}" for j in range(N_FEATURES)],
            action="action",
            reward="reward",
            episode="episode",
            step="step",
            folder=os.path.dirname(given),
        )
    if given == "loose":
        return loose_log(size)
    return make_log(size, int(given) if given.isdigit() else N_ACTIONS)


def make_log(size: int, n_actions: int = N_ACTIONS, seed: int = 0) -> Any:
    """A stable linear system pushed by actions, in episodes of 100, float32."""
    from sklearn_stackelberg import Transitions

    rng = np.random.default_rng(seed)
    length = min(EPISODE_LENGTH, size // 10)
    n_episodes = size // length
    push = rng.normal(size=(n_actions, N_FEATURES)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(N_FEATURES, N_FEATURES)))[0]
    rotation = (0.95 * rotation).astype(np.float32)
    shape = (n_episodes, length, N_FEATURES)
    state, after = np.empty(shape, np.float32), np.empty(shape, np.float32)
    action = rng.integers(n_actions, size=shape[:2])
    now = rng.normal(size=(n_episodes, N_FEATURES)).astype(np.float32)
    for step in range(length):
        state[:, step] = now
        noise = rng.normal(scale=0.1, size=now.shape).astype(np.float32)
        now = now @ rotation + 0.3 * push[action[:, step]] + noise
        after[:, step] = now
    state, after = state.reshape(size, -1), after.reshape(size, -1)
    step = np.tile(np.arange(length), n_episodes)
    return Transitions(
        state,
        action.reshape(size),
        -np.linalg.norm(after, axis=1),
        after,
        np.zeros(size, dtype=bool),
        is_initial=step == 0,
        episode=np.repeat(np.arange(n_episodes), length),
        step=step,
    )


def fit(how: str, size: int, given: str) -> dict[str, Any]:
    """Fit one log in this process, and return its time and memory."""
    import torch

    # Of many actions, given by their number.
    many = given.isdigit()
    torch.set_num_threads(1 if many or given == "one thread" else N_THREADS)
    from sklearn_stackelberg import StackelbergPolicyEstimator
    from sklearn_stackelberg.metrics import doubly_robust_value

    held = _Held()
    reading = time.perf_counter()
    log = read_log(how, size, given)
    reading = time.perf_counter() - reading
    before = _peak_gigabytes()
    start, started = time.perf_counter(), time.process_time()
    policy = StackelbergPolicyEstimator(
        n_components=N_LANDMARKS,
        dtype="float64" if many else "float32",
        random_state=0,
    ).fit(log)
    seconds = time.perf_counter() - start
    # The first two entries are of where steps of the whole log begin.
    ends = policy.history_["seconds"][1:]
    found = {
        "score": float(policy.policy_value_),
        "seconds": round(seconds, 3),
        "seconds_each": round((ends[-1] - ends[0]) / max(1, len(ends) - 1), 3),
        "processor_seconds": round(time.process_time() - started, 3),
        "reading_seconds": round(reading, 3),
        "peak_gigabytes": round(_peak_gigabytes(), 3),
        "held_gigabytes": round(held.most(), 3),
        "peak_gigabytes_before_fit": round(before, 3),
        "n_iter": int(policy.n_iter_),
        "evaluations": len(policy.history_["value"]),
    }
    if many and size <= N_EVALUATED:
        started = time.process_time()
        doubly_robust_value(policy, log, discount=0.99)
        found["doubly_robust_seconds"] = round(time.process_time() - started, 3)
    return found


class _Held:
    """The most memory of a process that is not of a file, looked at now and then."""

    def __init__(self) -> None:
        self._most, self._ends = 0.0, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def _look(self) -> None:
        while not self._ends.wait(0.1):
            self._most = max(self._most, _anonymous_gigabytes())

    def most(self) -> float:
        """In GB; 0 where the system does not say."""
        self._ends.set()
        self._watch.join()
        return self._most


def _anonymous_gigabytes() -> float:
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            lines = [line.split() for line in status if line.startswith("RssAnon")]
    except OSError:
        return 0.0
    return 1024 * int(lines[0][1]) / 1e9 if lines else 0.0


def _peak_gigabytes() -> float:
    """The most memory that this process has held, the log included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def table(rows: Rows) -> str:
    """Time and memory of each size."""
    found = list(rows)
    sizes = [row for row in found if "actions" not in row["problem"]]
    lines = [
        [
            row["problem"],
            f"{row['reading_seconds']:.1f}",
            f"{row['seconds']:.1f}",
            f"{row['processor_seconds']:.1f}",
            row["n_iter"],
            row["evaluations"] - 1,
            f"{row['seconds_each']:.2f}" if "seconds_each" in row else "–",
            f"{row['peak_gigabytes']:.2f}",
            f"{row['held_gigabytes']:.2f}",
        ]
        for row in sizes
    ]
    headings = ["log", "making or reading it, s", "fit, s", "processor s", "iterations"]
    headings += ["evaluations of the whole log", "of one and its derivative, s"]
    headings += ["peak memory, GB", "most of no file, GB"]
    return (
        f"{N_FEATURES} state columns, {N_ACTIONS} actions, {N_LANDMARKS} landmarks, "
        f"{N_THREADS} threads, float32.\n\n"
        + markdown(headings, lines)
        + "\n\nMany actions: one thread, float64; processor seconds.\n\n"
        + _many_actions([row for row in found if "actions" in row["problem"]])
    )


def _many_actions(found: list[dict[str, Any]]) -> str:
    lines = [
        [
            row["problem"],
            f"{row['processor_seconds']:.1f}",
            row["evaluations"],
            f"{row['peak_gigabytes']:.2f}",
            f"{row.get('doubly_robust_seconds', float('nan')):.1f}",
        ]
        for row in found
    ]
    headings = ["log", "fit, s", "evaluations of v", "peak memory, GB"]
    return markdown([*headings, "doubly robust estimate, s"], lines)


if __name__ == "__main__":
    how, size, given = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    made = write_parquet(size, given) if how == "write" else fit(how, size, given)
    print(json.dumps(made))
