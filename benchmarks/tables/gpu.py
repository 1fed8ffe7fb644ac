"""One evaluation of a policy on a large log, and a fit: a GPU against all cores."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.report import Rows, markdown
from benchmarks.tables.scaling import make_log
from sklearn_stackelberg import StackelbergPolicyEstimator
from sklearn_stackelberg._problem.rows import Rows as LoggedRows
from sklearn_stackelberg._problem.rows import feature_rows
from sklearn_stackelberg.solvers import ClosedForm
from sklearn_stackelberg.solvers._best_response import BestResponse
from sklearn_stackelberg.solvers._lstd_discrete import DiscreteLSTD

N_ROWS, N_FEATURES, N_ACTIONS = 1_000_000, 400, 4
N_FIT_ROWS = 100_000
REPEATS = 3

# Of a fit, so that the processor's takes no minutes.
SOLVER = ClosedForm(mirror_steps=20, max_iter=5)
LAM, BETA = 3.0, 1e-3


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Both devices in one process; there is no peer here."""
    if side != "peers":
        torch.set_num_threads(os.cpu_count() or 1)
        for what, compute in _COMPUTED:
            key = {"problem": what, "seed": 0, "method": "ours", "setting": {}}
            rows.once(key, partial(compute))
    return table(rows)


def _devices() -> list[str]:
    return ["cpu"] + ["cuda"] * torch.cuda.is_available()


def _timed(compute: Callable[[], Any], device: str) -> tuple[float, Any]:
    start = time.perf_counter()
    found = compute()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, found


def _evaluations() -> dict[str, Any]:
    """v, w* and D_θ v of one policy, on features that are there."""
    rng = np.random.default_rng(0)
    states = rng.standard_normal((N_ROWS, N_FEATURES), dtype=np.float32)
    states /= np.sqrt(N_FEATURES)
    state = np.arange(N_ROWS)
    rows = LoggedRows(
        state,
        np.roll(state, -1),
        rng.integers(N_ACTIONS, size=N_ROWS),
        rng.normal(size=N_ROWS),
        (rng.random(N_ROWS) < 0.01).astype(float),
        state[:10_000],
    )
    theta = torch.from_numpy(rng.normal(size=(N_FEATURES, N_ACTIONS)))
    out: dict[str, Any] = {"n_threads": torch.get_num_threads()}
    for device in _devices():
        features = feature_rows(
            lambda x: x, states, N_FEATURES, 2**32, 4, device=device
        )
        lstd = DiscreteLSTD(rows, features, N_ACTIONS, 0.99)

        def evaluate(lstd: DiscreteLSTD = lstd) -> tuple[float, torch.Tensor]:
            # A θ of its own each time: derivatives keep what they had at the last.
            response = BestResponse(lstd, theta.clone(), LAM, BETA)
            return float(response.value), response.total_derivative()

        evaluate()  # libraries are loaded by the first
        found = [_timed(evaluate, device) for _ in range(REPEATS)]
        system = [_timed(lambda lstd=lstd: lstd(theta), device) for _ in range(REPEATS)]
        out[device] = {
            "seconds": float(np.median([seconds for seconds, _ in found])),
            "sums": float(np.median([seconds for seconds, _ in system])),
            "value": found[0][1][0],
            "derivative": found[0][1][1].norm().item(),
        }
        del lstd, features
    return out


def _fits() -> dict[str, Any]:
    log = make_log(N_FIT_ROWS)
    out: dict[str, Any] = {"n_threads": torch.get_num_threads()}
    for device in _devices():
        policy = StackelbergPolicyEstimator(
            n_components=N_FEATURES, dtype="float32", device=device, random_state=0
        ).set_params(solver=SOLVER)
        seconds, _ = _timed(partial(policy.fit, log), device)
        out[device] = {"seconds": seconds, "value": float(policy.policy_value_)}
    return out


_COMPUTED = (
    (f"evaluation, {N_ROWS:,} rows", _evaluations),
    (f"fit, {N_FIT_ROWS:,} rows", _fits),
)


def table(rows: Rows) -> str:
    """A line for each; the ratio is of the two devices in one run."""
    lines = []
    for row in rows:
        here, there = row["cpu"], row.get("cuda")
        ratio = here["seconds"] / there["seconds"] if there else None
        lines.append(
            [
                row["problem"],
                row["n_threads"],
                f"{here['seconds']:.2f}",
                "–" if there is None else f"{there['seconds']:.3f}",
                "–" if ratio is None else f"{ratio:.1f}",
                "–"
                if there is None
                else f"{abs(there['value'] - here['value']) / abs(here['value']):.1e}",
            ]
        )
    header = [
        f"{N_FEATURES} features, {N_ACTIONS} actions, float32",
        "threads",
        "CPU, s",
        "GPU, s",
        "ratio",
        "values differ by",
    ]
    return markdown(header, lines)
