"""One evaluation of v and its total derivative, in matrix-product rates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.report import Rows, markdown

N_ROWS, N_LANDMARKS, N_ACTIONS = 100_000, 200, 4
REPEATS = 7


def evaluation(dtype: torch.dtype) -> tuple[Callable[[], Any], float]:
    """Our evaluation of v and its total derivative, and the operations it needs.

    Returns
    -------
    call : callable
        One evaluation at ``N_ROWS`` x ``N_LANDMARKS`` x ``N_ACTIONS``.
    operations : float
        Floating-point operations of the products that the algorithm needs, two for
        each multiplication with its addition.
    """
    # ---- OUR SIDE: the one place here that knows the solver -------------------------
    from sklearn_stackelberg._problem.rows import Rows
    from sklearn_stackelberg.solvers._best_response import BestResponse
    from sklearn_stackelberg.solvers._lstd_discrete import DiscreteLSTD

    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(N_ROWS + 1, N_LANDMARKS, dtype=dtype, generator=generator)
    rows = Rows(
        state=np.arange(N_ROWS),
        next_state=np.arange(1, N_ROWS + 1),
        action=rng.integers(N_ACTIONS, size=N_ROWS),
        reward=rng.normal(size=N_ROWS),
        terminated=np.zeros(N_ROWS),
        initial=np.arange(N_ROWS),
    )
    system = DiscreteLSTD(
        rows, lambda index: table[torch.from_numpy(index)], N_ACTIONS, discount=0.99
    )
    shape = (N_LANDMARKS, N_ACTIONS)
    theta = 0.1 * torch.randn(shape, dtype=torch.float64, generator=generator)
    return (
        lambda: BestResponse(system, theta, 1.0, 1e-3).total_derivative(),
        sum(operations().values()),
    )


def operations() -> dict[str, float]:
    """Floating-point operations by part; softmaxes and copies are not counted."""
    thin = 2.0 * N_ROWS * N_LANDMARKS  # a row's features times one column
    size = N_ACTIONS * N_LANDMARKS
    return {
        # The last action's block of M follows from the others.
        "M": thin * (N_ACTIONS - 1) * N_LANDMARKS,
        # Logits and b, of next states and of initial states.
        "policy": thin * 3 * N_ACTIONS,
        # MᵀM, its Cholesky factor, and two solves.
        "small": 2.0 * size**3 + size**3 / 3 + 4.0 * size**2,
        # Two left and 2A right products, logits again, and back to θ.
        "back": thin * (2 + 4 * N_ACTIONS),
        # The same of the initial states: their products with w are A.
        "back, initial": thin * 3 * N_ACTIONS,
    }


def run(rows: Rows, side: str = "both", seeds: int | None = None) -> str:
    """Time both alternately, so that a busy machine slows both."""
    for dtype in (torch.float64, torch.float32) if side != "peers" else ():
        key = {"problem": str(dtype), "seed": 0, "method": "ours", "setting": {}}
        rows.once(key, partial(_measure, dtype))
    return table(rows)


def _measure(dtype: torch.dtype) -> dict[str, Any]:
    call, operations = evaluation(dtype)
    generator = torch.Generator().manual_seed(0)
    square = torch.randn(2048, 2048, dtype=dtype, generator=generator)
    tall = torch.randn(N_ROWS, N_LANDMARKS, dtype=dtype, generator=generator)
    ours, dense, thin = [], [], []
    call(), square @ square, tall.T @ tall
    for _ in range(REPEATS):
        ours.append(operations / _seconds(call))
        dense.append(2 * 2048**3 / _seconds(lambda: square @ square))
        thin.append(2 * N_ROWS * N_LANDMARKS**2 / _seconds(lambda: tall.T @ tall))
    rate = statistics.median(ours)
    return {
        "score": rate / statistics.median(dense),
        "seconds": operations / rate,
        "gigaflops": rate / 1e9,
        "square_gigaflops": statistics.median(dense) / 1e9,
        "tall_gigaflops": statistics.median(thin) / 1e9,
    }


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def table(rows: Rows) -> str:
    """Rates, and ours as a share of the machine's."""
    lines = [
        [
            row["problem"],
            f"{row['seconds']:.3f}",
            f"{row['gigaflops']:.1f}",
            f"{row['square_gigaflops']:.1f}",
            f"{row['tall_gigaflops']:.1f}",
            f"{row['score']:.0%}",
        ]
        for row in rows
    ]
    headings = ["dtype", "one evaluation, s", "ours, GFLOP/s", "2048² product"]
    headings += [
        f"{N_LANDMARKS} x {N_ROWS:,} x {N_LANDMARKS} product",
        "share of 2048²",
    ]
    return (
        f"{N_ROWS:,} rows, {N_LANDMARKS} landmarks, {N_ACTIONS} actions, one thread; "
        "medians.\n\n" + markdown(headings, lines)
    )
