"""How sure a figure over logs is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from benchmarks.report import Rows

N_BOOTSTRAP = 2_000

P = TypeVar("P")  # a problem


def wilson(n_hits: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share."""
    if n == 0:
        return float("nan"), float("nan")
    z = float(norm.ppf(0.5 + level / 2.0))
    share, weight = n_hits / n, 1.0 + z**2 / n
    middle = (share + z**2 / (2.0 * n)) / weight
    reach = z * np.sqrt(share * (1.0 - share) / n + z**2 / (4.0 * n**2)) / weight
    return float(middle - reach), float(middle + reach)


def share_text(hits: ArrayLike) -> str:
    """A share of truth values, with its interval."""
    found = np.asarray(hits, dtype=bool)
    if not len(found):
        return "–"
    low, high = wilson(int(found.sum()), len(found))
    return f"{found.mean():.3f} ({low:.2f}, {high:.2f})"


def bootstrap(
    rows: Sequence[Any], statistic: Callable[[Sequence[Any]], float], seed: int = 0
) -> tuple[float, float]:
    """Interval of a statistic over logs, by the percentiles of logs drawn anew."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(rows), size=(N_BOOTSTRAP, len(rows)))
    values = [statistic([rows[k] for k in each]) for each in drawn]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def each_log(
    problems: Sequence[P], n_logs: int, part: tuple[int, int]
) -> Iterator[tuple[P, int]]:
    """Problems and seeds of one of several processes that share the work."""
    for seed in range(n_logs):
        for problem in problems:
            if seed % part[1] == part[0]:
                yield problem, seed


def named(every: Iterable[Any], names: str | None) -> list[Any]:
    """Those whose ``name`` holds one of the parts, separated by ``|``."""
    parts = names.split("|") if names else [""]
    return [one for one in every if any(part in one.name for part in parts)]


def gain_cells(gains: Mapping[str, Sequence[float]], sign: str = "") -> list[str]:
    """Gains of each problem's logs: their mean, the worst problem and the worst log."""
    means = {name: float(np.mean(found)) for name, found in gains.items()}
    worst = min(means, key=means.__getitem__)
    log = min((min(found), name) for name, found in gains.items())
    return [
        f"{np.mean(list(means.values())):{sign}.3f}",
        f"{means[worst]:{sign}.2f} ({worst})",
        f"{log[0]:{sign}.2f} ({log[1]})",
    ]


def column(rows: Sequence[dict[str, Any]], name: str) -> NDArray[np.float64]:
    """A figure of all rows; None is NaN."""
    return np.array([row[name] for row in rows], dtype=float)


def of_problem(rows: Rows, name: str) -> list[dict[str, Any]]:
    """The rows of a problem, by their seeds."""
    found = [row for row in rows if row["problem"] == name]
    return sorted(found, key=lambda row: row["seed"])


class Quietly(warnings.catch_warnings):
    """Record warnings; ``messages`` are what they said."""

    def __init__(self) -> None:
        super().__init__(record=True)

    def __enter__(self) -> Quietly:  # type: ignore[override]
        self._found = super().__enter__()
        warnings.simplefilter("always")
        return self

    @property
    def messages(self) -> list[str]:
        return [str(one.message) for one in self._found or []]
