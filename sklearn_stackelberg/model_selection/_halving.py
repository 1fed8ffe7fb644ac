"""A search that drops losers early and looks around the best."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed

from .._typing import Floats, Index
from ..metrics._estimate import spread
from ._grid import Candidate, Grid
from ._held_out import Outcome, Split

# One in so many candidates goes on from a split to the next.
_KEPT = 4

# Standard errors that are taken off what a candidate's score is higher by than that of
# the estimator's own setting, which has been good on many problems.
_DOUBT = 2.0

# Of scores: what policies that do the same differ by, for the rounding of sums.
_ROUNDING = 1e-9

# Different reasons why fits failed that an error names.
_REASONS = 3


class Lead(NamedTuple):
    """By how much the score of a candidate is higher than that of another."""

    mean: float
    # Of the episodes' paired contributions, or over the splits, whichever is larger: of
    # a few splits the spread says little.
    error: float

    def bound(self, n_errors: float) -> float:
        return self.mean - n_errors * self.error


class Halving:
    """Candidates, and what came of them on one split after the other.

    Whatever is compared is compared on the same splits: after each split the worse ones
    are dropped, so that the last ones are seen by a few. The estimator's own setting,
    which is tried first, is never dropped.
    """

    def __init__(
        self, grid: Grid, splits: Sequence[Split], n_jobs: int | None, verbose: int
    ) -> None:
        self.grid, self.splits, self._verbose = grid, splits, verbose
        self._parallel = Parallel(n_jobs=n_jobs, require="sharedmem")
        self.found: dict[Candidate, list[Outcome]] = {}  # in the order of trying
        self.round: dict[Candidate, int] = {}

    def run(self) -> None:
        """All rounds, the last ones along the step that was best."""
        grid = self.grid
        before = self._try(0, first_candidates(grid))
        best = self._try(1, grid.near(before, "lam", "beta", "ridge"))
        number = 1
        while best != before:
            number += 1
            beyond = grid.beyond(before, best)
            before, best = best, self._try(number, beyond)

    @property
    def chosen(self) -> Candidate:
        """The one that is surest to be better than the estimator's own setting."""
        return self.choice(np.arange(len(self.splits)))

    def choice(self, places: Index) -> Candidate:
        """The same of some splits."""
        finished, start = self.finished, self.grid.start
        if start not in finished:
            return max(finished, key=lambda c: self.scores(c)[places].mean())
        # Of equal ones the first: its own, which is above itself by 0.
        own_first = [start, *(c for c in finished if c != start)]
        return max(own_first, key=lambda c: self.lead(c, start, places).bound(_DOUBT))

    def lead(
        self, one: Candidate, other: Candidate, places: Index | None = None
    ) -> Lead:
        """By how much one is better than another, on the same splits."""
        places = np.arange(len(self.splits)) if places is None else places
        difference = (self.scores(one) - self.scores(other))[places]
        n, errors = len(places), [0.0]
        if n > 1:
            errors.append(float(difference.std(ddof=1) / np.sqrt(n)))
        pairs = [(self.found[c][i] for c in (one, other)) for i in places]
        paired = [
            mine.contributions - theirs.contributions
            for mine, theirs in pairs
            if mine.contributions is not None and theirs.contributions is not None
        ]
        if len(paired) == n:
            variance = np.nansum([spread(psi) ** 2 for psi in paired])
            errors.append(float(np.sqrt(variance) / n))
        return Lead(float(difference.mean()), max(errors))

    def scores(self, candidate: Candidate) -> Floats:
        """One a split, NaN where there is none, (n_splits,)."""
        out = np.full(len(self.splits), np.nan)
        outcomes = self.found[candidate]
        out[: len(outcomes)] = [outcome.score for outcome in outcomes]
        return out

    def mean(self, candidate: Candidate, n_splits: int | None = None) -> float:
        """Mean score over the first splits; -inf where one failed or is missing."""
        mean = float(self.scores(candidate)[:n_splits].mean())
        return mean if np.isfinite(mean) else -np.inf

    def best_first(
        self, candidates: Iterable[Candidate], n_splits: int | None = None
    ) -> list[Candidate]:
        """By their mean over the first splits; of equal ones that tried first."""
        means = {c: self.mean(c, n_splits) for c in candidates}
        largest = max(map(abs, filter(np.isfinite, means.values())), default=0.0)
        step = _ROUNDING * largest or 1.0
        # The sort is stable, and the estimator's own was tried before all.
        return sorted(means, key=lambda c: -np.round(means[c] / step))

    @property
    def finished(self) -> list[Candidate]:
        """Those that have a score on every split, the best first."""
        return self.best_first(c for c in self.found if np.isfinite(self.mean(c)))

    def _try(self, number: int, candidates: Iterable[Candidate]) -> Candidate:
        """A round of new candidates; the best of all so far."""
        alive = [c for c in dict.fromkeys(candidates) if c not in self.found]
        self.round |= dict.fromkeys(alive, number)
        self.found |= {candidate: [] for candidate in alive}
        begin, n = time.perf_counter(), len(self.splits)
        for done, split in enumerate(self.splits, start=1):
            if not alive:
                break
            self._run(split, alive)
            if self._verbose:
                print(
                    f"round {number + 1}, split {done} of {n}: {len(alive)} candidates "
                    f"scored, {time.perf_counter() - begin:.1f} s"
                )
            alive = self._kept(alive, done)
        if not self.finished:
            self._refuse()
        return self.finished[0]

    def _run(self, split: Split, candidates: list[Candidate]) -> None:
        split.prepare()

        def key(candidate: Candidate) -> tuple[str, ...]:
            return split.features_key(self.grid.params(candidate))

        # One alone makes the features that all are scored in, whatever the threads.
        start = self.grid.start
        first = start if start in candidates else candidates[0]
        self.found[first] += split.run(self.grid, [first])
        others = sorted((c for c in candidates if c != first), key=key)
        # Those of the same features one after the other, which share them.
        groups = [list(group) for _, group in groupby(others, key)]
        tasks = (delayed(split.run)(self.grid, group) for group in groups)
        for group, outcomes in zip(groups, self._parallel(tasks), strict=True):
            for candidate, outcome in zip(group, outcomes, strict=True):
                self.found[candidate].append(outcome)

    def _kept(self, candidates: list[Candidate], n_splits: int) -> list[Candidate]:
        """Those that go on after so many splits."""
        ranked = self.best_first(candidates, n_splits)
        ranked = [c for c in ranked if np.isfinite(self.mean(c, n_splits))]
        # Of two one is the best, and the other says how sure that is.
        kept = ranked[: max(2, -(-len(candidates) // _KEPT))]
        if self.finished:
            # On the same splits; what has lost there is not waited for.
            least = self.mean(self.finished[0], n_splits)
            kept = [c for c in ranked[:1] if self.mean(c, n_splits) > least]
        start = self.grid.start
        return [*kept, start] if start in ranked and start not in kept else kept

    def _refuse(self) -> None:
        outcomes = [o for found in self.found.values() for o in found]
        reasons = Counter(outcome.error for outcome in outcomes if outcome.error)
        shown = "; ".join(
            f"{count} times {text}" for text, count in reasons.most_common(_REASONS)
        )
        raise ValueError(
            f"All {len(self.found)} candidates failed on at least one of "
            f"{len(self.splits)} splits, so that there is nothing to choose among. Why "
            f"fits or scores failed: {shown}. With few episodes or rare actions set cv "
            "lower, or give a splitter."
        )


def first_candidates(grid: Grid) -> list[Candidate]:
    """The estimator's own setting, and one step from it in features and support.

    At two levels of trust, since which bandwidth is best hangs on λ and ridge; at the
    larger one with all combinations of bandwidth and support.
    """
    start, trusting = grid.start, grid.trusting(grid.start)
    return [
        start,
        *grid.crossed(start, "bandwidth"),
        *grid.crossed(start, "support"),
        *grid.crossed(start, "kernel"),
        *grid.crossed(trusting, "bandwidth", "support"),
    ]
