"""How much λ, β, the kernel and its bandwidth matter, and how much the log does.

One at a time around the defaults; then all at once, and shares of the variance of the
true value by Sobol's indices. Two finite processes with exact values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import qmc, sobol_indices

from benchmarks.experiments._base import OURS, Row, Task, made, scores, spread
from benchmarks.families import progress
from benchmarks.families.finite import garnet, service_speed
from benchmarks.families.problem import Array, Finite
from benchmarks.report import Clock, markdown
from sklearn_stackelberg import Transitions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_LOGS = 5  # of one at a time
PROBLEMS: tuple[Callable[[], Finite], ...] = (service_speed, garnet)
# One hyperparameter at a time, the others at their defaults; lengths with "rbf".
ONE_AT_A_TIME: dict[str, tuple[dict[str, Any], ...]] = {
    "lam": tuple({"lam": lam} for lam in (0.1, 1.0, 10.0, 100.0, 1_000.0)),
    "beta": tuple({"beta": beta} for beta in (1e-3, 1e-2, 0.1, 1.0, 10.0)),
    "kernel": tuple({"kernel": k} for k in ("auto", "rbf", "laplacian", "delta")),
    "bandwidth": tuple(
        {"kernel": "rbf", "bandwidth": b} for b in (0.25, 0.5, 1.0, 2.0, 4.0)
    ),
}
# All at once.
KERNELS = ("rbf", "laplacian", "delta")
FACTORS = ("λ", "β", "kernel", "bandwidth", "log")
N_SOBOL_LOGS = 8
N_SAMPLES = 64  # a power of 2; (factors + 2) fits of each
SOBOL = "all at once"
N_BOOTSTRAP = 500


class Point(NamedTuple):
    """A setting of all factors."""

    seed: int
    setting: dict[str, Any]


def point(unit: Array) -> Point:
    """A point of the unit cube as hyperparameters and a log."""
    lam, beta, kernel, bandwidth, log = unit
    setting: dict[str, Any] = {
        "lam": float(10.0 ** (4.0 * lam - 1.0)),  # 0.1 to 1,000
        "beta": float(10.0 ** (4.0 * beta - 3.0)),  # 0.001 to 10
        "kernel": KERNELS[int(len(KERNELS) * kernel)],
        "bandwidth": float(2.0 ** (4.0 * bandwidth - 2.0)),  # 1/4 to 4 medians
    }
    if setting["kernel"] == "delta":
        setting["bandwidth"] = "median"  # of equal or not there is no length
    return Point(int(N_SOBOL_LOGS * log), setting)


def sample(n: int) -> tuple[Array, Array, Array]:
    """Saltelli's samples A and B, (d, n), and A with each row of B, (d, d, n)."""
    d = len(FACTORS)
    first, second = qmc.Sobol(2 * d, seed=0).random(n).T.reshape(2, d, n)
    mixed = np.tile(first, (d, 1, 1))
    mixed[np.arange(d), np.arange(d)] = second
    return first, second, mixed


@cache
def _process(make: Callable[[], Finite]) -> Finite:
    return make()


@cache
def _log(make: Callable[[], Finite], seed: int) -> Transitions:
    return _process(make).log(seed)


def tasks(n_logs: int) -> Iterator[Task]:
    """One at a time on every log; then all at once, a log being one of the factors."""
    for make in PROBLEMS:
        name = _process(make).name
        for factor, settings in ONE_AT_A_TIME.items():
            for seed in range(n_logs):
                for setting in settings:
                    run = partial(_score, make, seed, setting)
                    yield Task(name, seed, factor, run, setting)
        first, second, mixed = sample(N_SAMPLES)
        for part, units in {"A": first, "B": second, **_mixed(mixed)}.items():
            for k, unit in enumerate(units.T):
                run = partial(_score, make, *point(unit))
                yield Task(name, point(unit).seed, SOBOL, run, {"part": part, "k": k})


def _mixed(mixed: Array) -> dict[str, Array]:
    return {f"A with B's {name}": mixed[i] for i, name in enumerate(FACTORS)}


def _score(
    make: Callable[[], Finite], seed: int, setting: dict[str, Any]
) -> dict[str, Any]:
    problem, log = _process(make), _log(make, seed)
    with Clock() as clock:
        policy = made(OURS, problem.discount, 0, **setting).fit(log)
    return {"score": progress(problem, problem.value(policy)), **clock.row()}


class Indices(NamedTuple):
    """Of each factor, with 95 % intervals by the bootstrap, (2, d)."""

    first: Array
    total: Array
    first_interval: Array
    total_interval: Array
    values: Array  # of A and B: what hyperparameters at random give


def indices(rows: Sequence[Row], problem: str) -> Indices | None:
    """Sobol's indices of a problem; None where rows are missing."""
    found = {
        (row["setting"]["part"], row["setting"]["k"]): row["score"]
        for row in rows
        if row["problem"] == problem and row["method"] == SOBOL
    }
    parts = ["A", "B", *_mixed(np.zeros((len(FACTORS), 1, 1)))]
    n = len(found) // len(parts)
    if not n or n & (n - 1) or len(found) % len(parts):
        return None
    values = np.array([[found[part, k] for k in range(n)] for part in parts])
    # Samples drawn anew, of A, B and the mixed ones alike.
    drawn = np.random.default_rng(0).integers(n, size=(N_BOOTSTRAP, n))
    again = np.array([_both(values[:, each]) for each in drawn])
    (first, total), ends = _both(values), np.percentile(again, [2.5, 97.5], axis=0)
    return Indices(first, total, ends[:, 0], ends[:, 1], values[:2].ravel())


def _both(values: Array) -> Array:
    """First-order and total indices, (2, d), of values of A, B and mixed samples."""
    given = {"f_A": values[:1], "f_B": values[1:2], "f_AB": values[2:, None]}
    found = sobol_indices(func=given, n=values.shape[1])
    return np.array([np.ravel(found.first_order), np.ravel(found.total_order)])


def table(rows: Sequence[Row]) -> str:
    """One at a time, then indices."""
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    lines = []
    for name in problems:
        for factor in ONE_AT_A_TIME:
            own = [r for r in rows if r["problem"] == name and r["method"] == factor]
            found = scores(own, factor)
            each = [f"{_text(value)}: {spread(v)}" for (value,), v in found.items()]
            lines.append([name, factor, *each, *[""] * (5 - len(each))])
    one = markdown(["problem", "varied", *[""] * 5], lines)
    every = []
    for name in problems:
        if (shares := indices(rows, name)) is None:
            continue
        for i, factor in enumerate(FACTORS):
            first = _with(shares.first[i], shares.first_interval[:, i])
            total = _with(shares.total[i], shares.total_interval[:, i])
            every.append([name, factor, first, total])
    text = [
        "One at a time, each value with its score, 0 the logger and 1 the optimum, "
        "exact; mean ± standard deviation over the logs.",
        one,
    ]
    if every:
        text += [
            "Shares of the variance of the true value where all vary at once (95 % "
            "intervals by the bootstrap):",
            markdown(["problem", "factor", "first order", "total"], every),
            "What settings at random give: "
            + "; ".join(_summary(rows, name) for name in problems)
            + ".",
        ]
    return "\n\n".join(text)


def _with(value: float, interval: Array) -> str:
    return f"{value:.2f} ({interval[0]:.2f}, {interval[1]:.2f})"


def _summary(rows: Sequence[Row], name: str) -> str:
    found = indices(rows, name)
    if found is None:
        return f"{name} –"
    values = found.values
    low, middle, high = np.percentile(values, [10, 50, 90])
    return (
        f"{name} {values.mean():.2f} ± {values.std():.2f} (10, 50 and 90 % quantiles "
        f"{low:.2f}, {middle:.2f} and {high:.2f}; worse than the logger in "
        f"{100 * (values < 0.0).mean():.0f} % of {len(values)})"
    )


def picture(rows: Sequence[Row]) -> Figure:
    """A row of panels for each problem: one at a time, and the indices."""
    from matplotlib.figure import Figure

    from benchmarks.experiments._drawing import style

    problems = list(dict.fromkeys(row["problem"] for row in rows))
    columns = len(ONE_AT_A_TIME) + 1
    figure = Figure(figsize=(3.0 * columns, 3.0 * len(problems)), layout="constrained")
    every = figure.subplots(len(problems), columns, squeeze=False)
    for line, name in zip(every, problems, strict=True):
        for axes, factor in zip(line[:-1], ONE_AT_A_TIME, strict=True):
            own = [r for r in rows if r["problem"] == name and r["method"] == factor]
            found = scores(own, factor)
            given = [value for (value,) in found]
            values = np.array([*found.values()])  # (levels, logs)
            at = np.arange(len(given))
            # Between kernels there is nothing to draw a line through.
            joined = {"ls": "" if factor == "kernel" else "-"}
            for log in values.T:
                axes.plot(at, log, color="0.65", lw=0.8, marker=".", ms=4, **joined)
            axes.plot(at, values.mean(axis=1), **style(0) | joined)
            axes.set_xticks(at, map(_text, given))
            axes.axhline(0.0, color="0.3", lw=0.9, ls=":")
            axes.axhline(1.0, color="black", lw=0.9)
            unit = ", medians" if factor == "bandwidth" else ""
            axes.set(title=f"{name}\n{factor}{unit}", ylim=(-0.6, 1.1))
        _draw_indices(line[-1], rows, name)
        line[0].set_ylabel("0 the logger, 1 the optimum")
    for axes in every.ravel():
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _draw_indices(axes: Any, rows: Sequence[Row], name: str) -> None:
    from benchmarks.experiments._drawing import style

    found = indices(rows, name)
    if found is None:
        axes.set_axis_off()
        return
    at = np.arange(len(FACTORS))
    pairs = (
        ("first order", found.first, found.first_interval),
        ("total", found.total, found.total_interval),
    )
    for place, (label, value, (low, high)) in enumerate(pairs):
        look = style(place) | {"ls": ""}
        bars = np.maximum([value - low, high - value], 0.0)
        axes.errorbar(
            at + 0.24 * place - 0.12, value, bars, label=label, capsize=2, **look
        )
    axes.axhline(0.0, color="0.3", lw=0.9, ls=":")
    axes.set_xticks(at, FACTORS, rotation=20)
    axes.set(title=f"{name}\nshares of the variance", ylim=(-0.3, 1.3))
    axes.legend(frameon=False, loc="upper left", fontsize=8)
