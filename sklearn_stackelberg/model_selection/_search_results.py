"""What a search found: scikit-learn's table, and a few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.ma import MaskedArray
from numpy.typing import NDArray
from scipy.stats import rankdata

from ..metrics._estimate import shown
from ._grid import Candidate, Params
from ._halving import Halving
from ._held_out import Tuned

if TYPE_CHECKING:
    from ..metrics._selected_value import SelectedValue

Results = dict[str, Any]


def as_results(halving: Halving, tuned: Tuned) -> Results:
    """``cv_results_``, a row for each candidate in the order of trying."""
    candidates = list(halving.found)
    params = [tuned.prefixed(halving.grid.params(c)) for c in candidates]
    results: Results = {}
    for name in ("fit_time", "score_time"):
        times = [[getattr(o, name) for o in halving.found[c]] for c in candidates]
        results[f"mean_{name}"] = np.array([np.mean(some) for some in times])
        results[f"std_{name}"] = np.array([np.std(some) for some in times])
    for name in dict.fromkeys(name for one in params for name in one):
        results[f"param_{name}"] = _column([one.get(name) for one in params])
    results["params"] = params
    scores = np.array([halving.scores(c) for c in candidates])  # (n, n_splits)
    for place, column in enumerate(scores.T):
        results[f"split{place}_test_score"] = column
    n_scored = np.isfinite(scores).sum(axis=1)
    # What has no score at all is NaN, without a warning of an empty mean.
    known = np.where(n_scored[:, None] > 0, scores, 0.0)
    none = np.where(n_scored > 0, 0.0, np.nan)
    results["mean_test_score"] = np.nanmean(known, axis=1) + none
    results["std_test_score"] = np.nanstd(known, axis=1) + none
    results["rank_test_score"] = _ranks(halving, candidates, n_scored)
    results["n_splits_scored"] = n_scored
    results["dropped"] = n_scored < len(halving.splits)
    results["round"] = np.array([halving.round[c] for c in candidates])
    return results


def _column(values: Sequence[Any]) -> MaskedArray:
    """Of objects, as scikit-learn has it."""
    column: MaskedArray = MaskedArray(np.empty(len(values), object), mask=False)
    for place, value in enumerate(values):
        column[place] = value
    return column


def _ranks(
    halving: Halving, candidates: Sequence[Candidate], n_scored: NDArray[Any]
) -> NDArray[np.int32]:
    """1 is the best; those that were dropped stand behind those that got further."""
    order = halving.best_first(halving.finished)
    finished = {c: place for place, c in enumerate(order)}
    keys = []
    for candidate, n in zip(candidates, n_scored, strict=True):
        mean = halving.mean(candidate, int(n)) if n else -np.inf
        place = finished.get(candidate, len(order))
        keys.append((place, -int(n), -mean))
    unique = sorted(set(keys))
    return rankdata([unique.index(key) for key in keys], "min").astype(np.int32)


# Standard errors beyond which a difference is hardly chance.
_SURE = 2.0

# What a larger or a smaller value of each does, where the best is an end of the grid.
_BEYOND = {
    ("lam", "highest"): "larger lams, which trust the log more",
    ("lam", "lowest"): "smaller lams, which are more pessimistic",
    ("beta", "highest"): "larger betas",
    ("beta", "lowest"): "smaller betas",
    ("ridge", "highest"): "larger ridges",
    ("ridge", "lowest"): "smaller ridges",
    ("bandwidth", "highest"): "larger bandwidths, which are smoother",
    ("bandwidth", "lowest"): "smaller bandwidths, and more n_components with them",
    ("support", "highest"): "larger supports, which stay nearer to the log",
    ("support", "lowest"): "smaller supports, which leave the log further",
}


def in_words(halving: Halving, tuned: Tuned, value: SelectedValue | None) -> str:
    """What was chosen, how sure that is, and what to try next."""
    finished, grid = halving.finished, halving.grid
    chosen, start, n_splits = halving.chosen, grid.start, len(halving.splits)
    n_failed = sum(any(o.error for o in found) for found in halving.found.values())
    lines = [
        f"Chosen among {len(halving.found)} of {len(grid)} combinations, "
        f"{len(finished)} of them scored on all {n_splits} splits: "
        f"{_text(grid.params(chosen))}."
    ]
    if chosen == start and finished[0] != start:
        best = finished[0]
        changed = _text(_changed(grid.params(start), grid.params(best)))
        lines.append(
            f"It is the estimator's own setting. The highest score, of {changed}, is "
            f"higher by {_lead(halving, best, start)}, which may be noise."
        )
    elif chosen == start:
        lines.append("It is the estimator's own setting, and has the highest score.")
    elif start in finished:
        changed = _text(_changed(grid.params(start), grid.params(chosen)))
        lines.append(
            f"It differs from the estimator's own setting by {changed}, and its score "
            f"is higher by {_lead(halving, chosen, start)}."
        )
    others = [c for c in finished if c not in (chosen, start)]
    if others and chosen != start:
        differs = _text(_changed(grid.params(chosen), grid.params(others[0])))
        lead = halving.lead(chosen, others[0])
        if lead.mean < 0.0:
            lines.append(
                f"The highest score, of {differs}, is higher by "
                f"{_lead(halving, others[0], chosen)}, and less sure to be better than "
                "the estimator's own."
            )
        else:
            noise = "is no noise" if lead.bound(_SURE) > 0.0 else "may be noise"
            lines.append(
                f"The next best, {differs}, is behind by "
                f"{_lead(halving, chosen, others[0])}, which {noise}."
            )
    lines.extend(_next(halving, chosen, n_failed))
    if value is not None:
        low, high = value.confidence_interval
        ends = shown((value.value, low, high), value.standard_error)
        lines.append(
            f"What such a search chooses is worth {ends[0]} "
            f"({100 * value.confidence_level:g} % interval {ends[1]} to {ends[2]}, for "
            f"as many candidates as there were)."
        )
        lines.extend(f"Warning: {note}" for note in value.notes)
    else:
        lines.append("What was chosen has no value_: see there.")
    return "\n".join(lines)


def _next(halving: Halving, best: Candidate, n_failed: int) -> list[str]:
    """What an end of the grid, and failures, suggest."""
    lines = []
    ends = halving.grid.ends(best)
    if ends:
        hit = " and ".join(f"{name} ({end})" for name, end in ends.items())
        advice = " and ".join(_BEYOND[name, end] for name, end in ends.items())
        lines.append(f"At an end of its grid is {hit}: try {advice}.")
    else:
        lines.append("No end of a grid was hit.")
    if n_failed:
        errors = [o.error for found in halving.found.values() for o in found if o.error]
        lines.append(f"{n_failed} candidates failed, the first by {errors[0]}")
    return lines


def _lead(halving: Halving, one: Candidate, other: Candidate) -> str:
    lead = halving.lead(one, other)
    mean, error = shown((lead.mean, lead.error), lead.error)
    return f"{mean} (standard error {error})"


def _changed(before: Params, after: Params) -> Params:
    """Parameters that differ."""
    return {k: v for k, v in after.items() if not np.array_equal(before[k], v)}


def _text(params: Params) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items())
