"""``predict`` on a million states, against ``Nystroem.transform`` alone on them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.kernel_approximation import Nystroem

from benchmarks.report import Rows, markdown
from benchmarks.tables.scaling import N_FEATURES, N_LANDMARKS, make_log

N_STATES = 1_000_000
N_LOGGED = 20_000
REPEATS = 3


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Time both alternately, so that a busy machine slows both."""
    key = {"problem": "predict", "seed": 0, "method": "ours", "setting": {}}
    if side != "peers":
        rows.once(key, _measure)
    lines = [
        [f"{r['seconds']:.2f}", f"{r['transform_seconds']:.2f}", f"{r['score']:.2f}"]
        for r in rows
    ]
    headings = ["predict, s", "Nystroem.transform, s", "ratio"]
    return (
        f"{N_STATES:,} states of {N_FEATURES} columns, {N_LANDMARKS} landmarks, one "
        f"thread; medians of {REPEATS}.\n\n" + markdown(headings, lines)
    )


def _measure() -> dict[str, Any]:
    from sklearn_stackelberg import StackelbergPolicyEstimator
    from sklearn_stackelberg.solvers import ClosedForm

    log = make_log(N_LOGGED)
    policy = StackelbergPolicyEstimator(
        n_components=N_LANDMARKS, solver=ClosedForm(max_iter=2), random_state=0
    )
    _quietly(lambda: policy.fit(log))
    states = np.random.default_rng(1).normal(size=(N_STATES, N_FEATURES))
    # Nystroem has one gamma: it is given states in units of the policy's bandwidths.
    alone = Nystroem(
        kernel="rbf", gamma=0.5, n_components=N_LANDMARKS, random_state=0
    ).fit(np.asarray(log.state, dtype=float) / policy.bandwidth_)
    scaled = states / policy.bandwidth_
    predict, transform = [], []
    for _ in range(REPEATS):
        predict.append(_seconds(lambda: policy.predict(states)))
        transform.append(_seconds(lambda: alone.transform(scaled)))
    ours, peer = statistics.median(predict), statistics.median(transform)
    return {"score": ours / peer, "seconds": ours, "transform_seconds": peer}


def _quietly(call: Callable[[], Any]) -> None:
    """Run without the warning that two iterations are few, which is known here."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call()


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
