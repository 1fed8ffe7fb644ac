"""Which of a search's candidates are drawn, and their scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def mean_scores(results: dict[str, Any], metric: str) -> NDArray[np.float64]:
    """Mean score of every candidate, or a sentence with the metrics that there are."""
    name = f"mean_test_{metric}"
    if name not in results:
        prefix = "mean_test_"
        known = [k.removeprefix(prefix) for k in results if k.startswith(prefix)]
        raise ValueError(
            f"The search has no metric {metric!r}; it has {known}. Pass one of these "
            "as metric."
        )
    return np.asarray(results[name], dtype=float)


def fold_scores(results: dict[str, Any], metric: str) -> NDArray[np.float64]:
    """Scores of every fold, (n_candidates, n_folds)."""
    ending = f"_test_{metric}"
    names = [k for k in results if k.startswith("split") and k.endswith(ending)]
    names = [k for k in names if k.removesuffix(ending)[len("split") :].isdigit()]
    return np.array([results[name] for name in names], dtype=float).T


def drawn_candidates(
    params: list[dict[str, Any]],
    param_name: str,
    mean: NDArray[np.float64],
    best: int,
    others: str,
) -> list[int]:
    """Candidates to draw, one for each value of the parameter, in order."""
    searched = sorted({name for candidate in params for name in candidate})
    if param_name not in searched:
        raise ValueError(
            f"The search did not vary {param_name!r}; it varied {searched}. Pass one "
            "of these as param_name."
        )
    if others not in ("chosen", "best"):
        raise ValueError(f"others must be 'chosen' or 'best', got {others!r}.")
    of_best = {k: v for k, v in params[best].items() if k != param_name}
    found: dict[str, int] = {}
    for i, candidate in enumerate(params):
        if param_name not in candidate or not np.isfinite(mean[i]):
            continue
        rest = {k: v for k, v in candidate.items() if k != param_name}
        if others == "chosen" and repr(rest) != repr(of_best):
            continue
        key = repr(candidate[param_name])
        # A halving search judges a candidate again and again, last on most of the log.
        if others == "chosen" or key not in found or mean[i] > mean[found[key]]:
            found[key] = i
    if len(found) < 2:
        raise ValueError(
            f"Fewer than two candidates differ from the chosen one in {param_name!r} "
            "alone, so there is no line to draw. "
            + (
                "Set others='best', which draws the best candidate of each value."
                if others == "chosen"
                else "Search more values of it."
            )
        )
    out = list(found.values())
    if all(is_number(params[i][param_name]) for i in out):
        out.sort(key=lambda i: float(params[i][param_name]))
    return out


def is_number(value: Any) -> bool:
    """Whether a value of a parameter has a place on an axis of numbers."""
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
