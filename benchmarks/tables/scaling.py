"""A million transitions: time and peak memory, each size in a process of its own."""

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


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Fit each size in a fresh process; there is no peer here."""
    for size in SIZES if side != "peers" else ():
        key = {"problem": f"{size} rows", "seed": 0, "method": "ours", "setting": {}}
        rows.once(key, partial(_in_process, size))
    return table(rows)


def _in_process(size: int) -> dict[str, Any]:
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.tables.scaling", str(size)],
        env=threads(N_THREADS),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        raise RuntimeError(f"The fit of {size} rows failed:\n{finished.stderr}")
    return json.loads(finished.stdout.splitlines()[-1])


def make_log(size: int) -> Any:
    """A stable linear system pushed by four actions, in episodes of 100, float32."""
    from sklearn_stackelberg import Transitions

    rng = np.random.default_rng(0)
    n_episodes = size // EPISODE_LENGTH
    push = rng.normal(size=(N_ACTIONS, N_FEATURES)).astype(np.float32)
    rotation = np.linalg.qr(rng.normal(size=(N_FEATURES, N_FEATURES)))[0]
    rotation = (0.95 * rotation).astype(np.float32)
    shape = (n_episodes, EPISODE_LENGTH, N_FEATURES)
    state, after = np.empty(shape, np.float32), np.empty(shape, np.float32)
    action = rng.integers(N_ACTIONS, size=shape[:2])
    now = rng.normal(size=(n_episodes, N_FEATURES)).astype(np.float32)
    for step in range(EPISODE_LENGTH):
        state[:, step] = now
        noise = rng.normal(scale=0.1, size=now.shape).astype(np.float32)
        now = now @ rotation + 0.3 * push[action[:, step]] + noise
        after[:, step] = now
    state, after = state.reshape(size, -1), after.reshape(size, -1)
    step = np.tile(np.arange(EPISODE_LENGTH), n_episodes)
    return Transitions(
        state,
        action.reshape(size),
        -np.linalg.norm(after, axis=1),
        after,
        np.zeros(size, dtype=bool),
        is_initial=step == 0,
        episode=np.repeat(np.arange(n_episodes), EPISODE_LENGTH),
        step=step,
    )


def fit(size: int) -> dict[str, Any]:
    """Fit one size in this process, and return its time and memory."""
    import torch

    torch.set_num_threads(N_THREADS)
    from sklearn_stackelberg import StackelbergPolicyEstimator

    log = make_log(size)
    before = _peak_gigabytes()
    start = time.perf_counter()
    policy = StackelbergPolicyEstimator(
        n_components=N_LANDMARKS, dtype="float32", random_state=0
    ).fit(log)
    return {
        "score": float(policy.policy_value_),
        "seconds": round(time.perf_counter() - start, 3),
        "peak_gigabytes": round(_peak_gigabytes(), 3),
        "peak_gigabytes_before_fit": round(before, 3),
        "n_iter": int(policy.n_iter_),
    }


def _peak_gigabytes() -> float:
    """The most memory that this process has held, the log included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def table(rows: Rows) -> str:
    """Time and memory of each size."""
    found = list(rows)
    lines = [
        [
            row["problem"],
            f"{row['seconds']:.1f}",
            f"{row['seconds'] / found[0]['seconds']:.1f}",
            row["n_iter"],
            f"{row['peak_gigabytes']:.2f}",
            f"{row['peak_gigabytes_before_fit']:.2f}",
        ]
        for row in found
    ]
    headings = ["size", "fit, s", "times the first", "iterations"]
    headings += ["peak memory, GB", "of it before fit, GB"]
    return (
        f"{N_FEATURES} state columns, {N_ACTIONS} actions, {N_LANDMARKS} landmarks, "
        f"{N_THREADS} threads, float32.\n\n" + markdown(headings, lines)
    )


if __name__ == "__main__":
    print(json.dumps(fit(int(sys.argv[1]))))
