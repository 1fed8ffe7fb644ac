"""Many transitions or many actions: time and peak memory, each in its own process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from functools import partial
from typing import Any

import numpy as np

from benchmarks.environment import ROOT, threads
from benchmarks.report import Rows, markdown

SIZES = (10_000, 100_000, 1_000_000)
N_FEATURES, N_ACTIONS, N_LANDMARKS, N_THREADS = 8, 4, 200, 2
EPISODE_LENGTH = 100

# Rows up to which an estimate of the policy is timed, too.
N_EVALUATED = 1000

# Many actions: rows and actions of each log; one thread, float64, all else defaults.
MANY_ACTIONS = ((320, 80), (10_000, 8), (50_000, 25))


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Fit each size in a fresh process; there is no peer here."""
    for size in SIZES if side != "peers" else ():
        key = {"problem": f"{size} rows", "seed": 0, "method": "ours", "setting": {}}
        rows.once(key, partial(_in_process, size))
    for size, n_actions in MANY_ACTIONS if side != "peers" else ():
        problem = f"{size} rows, {n_actions} actions"
        key = {"problem": problem, "seed": 0, "method": "ours", "setting": {}}
        rows.once(key, partial(_in_process, size, n_actions))
    return table(rows)


def _in_process(size: int, n_actions: int | None = None) -> dict[str, Any]:
    given = [str(size)] if n_actions is None else [str(size), str(n_actions)]
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.tables.scaling", *given],
        env=threads(N_THREADS if n_actions is None else 1),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        raise RuntimeError(f"The fit of {size} rows failed:\n{finished.stderr}")
    return json.loads(finished.stdout.splitlines()[-1])


def make_log(size: int, n_actions: int = N_ACTIONS) -> Any:
    """A stable linear system pushed by actions, in episodes of 100, float32."""
    from sklearn_stackelberg import Transitions

    rng = np.random.default_rng(0)
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


def fit(size: int, n_actions: int | None = None) -> dict[str, Any]:
    """Fit one size in this process, and return its time and memory."""
    import torch

    torch.set_num_threads(N_THREADS if n_actions is None else 1)
    from sklearn_stackelberg import StackelbergPolicyEstimator
    from sklearn_stackelberg.metrics import doubly_robust_value

    log = make_log(size, n_actions or N_ACTIONS)
    before = _peak_gigabytes()
    start, started = time.perf_counter(), time.process_time()
    policy = StackelbergPolicyEstimator(
        n_components=N_LANDMARKS,
        dtype="float32" if n_actions is None else "float64",
        random_state=0,
    ).fit(log)
    found = {
        "score": float(policy.policy_value_),
        "seconds": round(time.perf_counter() - start, 3),
        "processor_seconds": round(time.process_time() - started, 3),
        "peak_gigabytes": round(_peak_gigabytes(), 3),
        "peak_gigabytes_before_fit": round(before, 3),
        "n_iter": int(policy.n_iter_),
        "evaluations": len(policy.history_["value"]),
    }
    if n_actions is not None and size <= N_EVALUATED:
        started = time.process_time()
        doubly_robust_value(policy, log, discount=0.99)
        found["doubly_robust_seconds"] = round(time.process_time() - started, 3)
    return found


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
            f"{row['seconds']:.1f}",
            f"{row['seconds'] / sizes[0]['seconds']:.1f}",
            row["n_iter"],
            f"{row['peak_gigabytes']:.2f}",
            f"{row['peak_gigabytes_before_fit']:.2f}",
        ]
        for row in sizes
    ]
    headings = ["size", "fit, s", "times the first", "iterations"]
    headings += ["peak memory, GB", "of it before fit, GB"]
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
    print(json.dumps(fit(*map(int, sys.argv[1:]))))
